fn table() -> Table<AppState> {
    {
        #[allow(unused_imports)]
        use ::catamaran::__private::NoContext as _;
        const CONTROLLERS: &[&[::catamaran::Route]] = &[
            hello::ROUTES,
            api::chat::ROUTES,
            admin::ROUTES,
        ];
        #[allow(long_running_const_eval)]
        static ROUTES: [::catamaran::Route; ::catamaran::__private::total(
            CONTROLLERS,
        )] = ::catamaran::__private::flatten(
            CONTROLLERS,
            &[
                ::core::option::Option::None,
                ::core::option::Option::None,
                ::catamaran::__private::Probe::<RequireAdmin>::DECLARED,
            ],
        );
        const _: () = ::catamaran::__private::guards(
            admin::ROUTES,
            ::catamaran::__private::Probe::<RequireAdmin>::DECLARED,
        );
        #[allow(long_running_const_eval)]
        const CLASH: ::core::option::Option<::catamaran::__private::Clash> = ::catamaran::__private::clash(
            &ROUTES,
        );
        const _: () = ::catamaran::__private::settle(&ROUTES, CLASH, CONTROLLERS, 0);
        const _: () = ::catamaran::__private::settle(&ROUTES, CLASH, CONTROLLERS, 1);
        const _: () = ::catamaran::__private::settle(&ROUTES, CLASH, CONTROLLERS, 2);
        ::catamaran::Table {
            routes: &ROUTES,
            controllers: &[
                &hello::CONTROLLER,
                &api::chat::CONTROLLER,
                &::catamaran::__private::Guarded {
                    controller: admin::CONTROLLER,
                    policy: ::core::marker::PhantomData::<fn() -> RequireAdmin>,
                },
            ],
        }
    }
}
