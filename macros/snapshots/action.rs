#[allow(clippy::unused_async)]
pub async fn show(name: String, State(db): State<Db>) -> Result<Json<User>> {
    Ok(Json(db.user(&name).await?))
}
#[doc(hidden)]
#[allow(non_camel_case_types)]
pub enum show {}
#[allow(deprecated)]
impl show {
    /// Where the action answers, and how to run it.
    pub const ACTION: ::catamaran::Action<Db> = ::catamaran::Action {
        route: ::catamaran::Route {
            method: ::catamaran::Method::Get,
            path: "/users/{name}",
            transports: ::catamaran::Transports::Both,
            action: "show",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: 0,
            doc: "",
            params: &["name"],
        },
        call: |call| ::catamaran::__private::call2::<
            Db,
            ::catamaran::__private::Param<0, String>,
            State<Db>,
            Result<Json<User>>,
            _,
            _,
            _,
        >(call, |name, argument1| show(name.0, argument1)),
    };
    /// The action's route.
    pub const ROUTES: &[::catamaran::Route] = &[Self::ACTION.route];
    /// The action as a controller of one.
    pub const CONTROLLER: ::catamaran::Controller<Db> = ::catamaran::Controller {
        routes: Self::ROUTES,
        actions: &[Self::ACTION],
    };
    #[doc(hidden)]
    pub fn call<__S, __M>(
        call: ::catamaran::__private::Call<__S>,
    ) -> ::catamaran::__private::Reply
    where
        Db: ::catamaran::__private::PartOf<__S, __M>,
    {
        ::catamaran::__private::lift(call, Self::ACTION.call)
    }
}
