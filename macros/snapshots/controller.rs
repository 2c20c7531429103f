pub mod chat {
    use super::*;
    #[allow(clippy::unused_async)]
    /// Greets the caller.
    pub async fn hello() -> &'static str {
        "hello"
    }
    #[doc(hidden)]
    #[allow(non_camel_case_types)]
    pub enum hello {}
    #[allow(deprecated)]
    impl hello {
        /// Where the action answers, and how to run it.
        pub const ACTION: ::catamaran::Action<Db> = ::catamaran::Action {
            route: ::catamaran::Route {
                method: ::catamaran::Method::Get,
                path: "/chat/hello",
                transports: ::catamaran::Transports::Both,
                action: "hello",
                module: ::core::module_path!(),
                file: ::core::file!(),
                line: 0,
                doc: "Greets the caller.",
                params: &[],
            },
            call: |call| ::catamaran::__private::call0::<Db, _, _, _>(call, || hello()),
        };
    }
    #[allow(clippy::unused_async)]
    pub async fn say(
        ctx: Ctx<Socket>,
        id: u64,
        State(db): State<Db>,
        Json(line): Json<Line>,
    ) -> Result<StatusCode> {
        db.add(id, line).await?;
        Ok(StatusCode::CREATED)
    }
    #[doc(hidden)]
    #[allow(non_camel_case_types)]
    pub enum say {}
    #[allow(deprecated)]
    impl say {
        /// Where the action answers, and how to run it.
        pub const ACTION: ::catamaran::Action<Db> = ::catamaran::Action {
            route: ::catamaran::Route {
                method: ::catamaran::Method::Post,
                path: "/chat/rooms/{id}",
                transports: {
                    #[allow(unused_imports)]
                    use ::catamaran::__private::NoContext as _;
                    ::catamaran::__private::transports(
                        &[::catamaran::__private::Probe::<Ctx<Socket>>::DECLARED],
                    )
                },
                action: "say",
                module: ::core::module_path!(),
                file: ::core::file!(),
                line: 0,
                doc: "",
                params: &["id"],
            },
            call: |call| ::catamaran::__private::call4::<
                Db,
                ::catamaran::__private::Param<0, u64>,
                Ctx<Socket>,
                State<Db>,
                Json<Line>,
                Result<StatusCode>,
                _,
                _,
                _,
            >(call, |id, ctx, argument2, argument3| say(ctx, id.0, argument2, argument3)),
        };
    }
    /// The routes of this controller.
    pub const ROUTES: &[::catamaran::Route] = &[hello::ACTION.route, say::ACTION.route];
    /// This controller, as `routes!` takes it.
    pub const CONTROLLER: ::catamaran::Controller<Db> = ::catamaran::Controller {
        routes: ROUTES,
        actions: &[hello::ACTION, say::ACTION],
    };
}
