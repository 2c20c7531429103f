#[allow(clippy::unused_async)]
pub async fn me(user: CurrentUser) -> Json<User> {
    Json(user.0)
}
#[doc(hidden)]
#[allow(non_camel_case_types)]
pub enum me {}
#[allow(deprecated)]
impl me {
    /// The action's route.
    pub const ROUTES: &[::catamaran::Route] = &[
        ::catamaran::Route {
            method: ::catamaran::Method::Get,
            path: "/me",
            transports: {
                #[allow(unused_imports)]
                use ::catamaran::__private::NoContext as _;
                ::catamaran::__private::transports(
                    &[::catamaran::__private::Probe::<CurrentUser>::DECLARED],
                )
            },
            action: "me",
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: 0,
            doc: "",
            params: &[],
        },
    ];
    #[doc(hidden)]
    pub fn call<__S, __M>(
        call: ::catamaran::__private::Call<__S>,
    ) -> ::catamaran::__private::Reply
    where
        __S: ::core::marker::Send + ::core::marker::Sync + 'static,
        CurrentUser: ::catamaran::__private::Last<__S, __M>,
    {
        ::catamaran::__private::call1::<
            __S,
            CurrentUser,
            Json<User>,
            __M,
            _,
            _,
        >(call, |user| me(user))
    }
    /// The action as a controller of one, on any state that its arguments can be read from.
    #[allow(non_snake_case)]
    pub fn CONTROLLER<__S, __M>() -> ::catamaran::Controller<__S>
    where
        __S: ::core::marker::Send + ::core::marker::Sync + 'static,
        CurrentUser: ::catamaran::__private::Last<__S, __M>,
    {
        ::catamaran::Controller {
            routes: Self::ROUTES,
            actions: const {
                &[
                    ::catamaran::Action {
                        route: Self::ROUTES[0],
                        call: Self::call::<__S, __M>,
                    },
                ]
            },
        }
    }
}
