/// The routes of this controller.
pub const ROUTES: &[::catamaran::Route] = &[
    ::catamaran::__private::under!("/users", list),
    #[cfg(feature = "admin")]
    ::catamaran::__private::under!("/users", admin::remove),
];
/// This controller, as `routes!` takes it.
pub const CONTROLLER: ::catamaran::Controller<AppState> = ::catamaran::Controller {
    routes: ROUTES,
    actions: &[
        ::catamaran::Action {
            route: ::catamaran::__private::under!("/users", list),
            call: list::call::<AppState, _>,
        },
        #[cfg(feature = "admin")]
        ::catamaran::Action {
            route: ::catamaran::__private::under!("/users", admin::remove),
            call: admin::remove::call::<AppState, _>,
        },
    ],
};
