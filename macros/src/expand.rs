//! The code that stands beside an action: tokens only, no decisions about what is right.

use catamaran_macros_core::tokens::{first_span, line};
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, Item, LitStr, Path, Type, ext::IdentExt, parse_quote};

use crate::attr::{ActionsInput, Listed, Mounted, RoutesInput};
use crate::model::{self, Action, Argument, Companion, Source, State};

/// The type beside the function, with its route, its call, and itself as a controller of one.
pub(crate) fn companion(action: &Action) -> TokenStream {
    let Companion { name, state, cfgs, .. } = &action.companion;
    let declaration = declaration(&action.companion);
    let constants = match state {
        // Its controller is what a table takes, and a constant less counts where there are a thousand of them.
        State::Controller(state) => constant(action, state),
        State::Own(state) => {
            let (constant, controller, lift) = (constant(action, state), controller_of_one(state), lift(state));
            quote!(#constant #controller #lift)
        }
        State::Any => functions(action),
    };
    let one_context = one_context(action);
    quote! {
        #declaration
        #(#cfgs)*
        #[allow(deprecated)]
        impl #name { #constants }
        #one_context
    }
}

/// What an action on a known state has.
fn constant(action: &Action, state: &Type) -> TokenStream {
    let route = route(action);
    let (request, call) = (request(), call(action, &quote!(#state), &quote!(_)));
    quote! {
        /// Where the action answers, and how to run it.
        pub const ACTION: ::catamaran::Action<#state> = ::catamaran::Action { route: #route, call: |#request| #call };
    }
}

/// What makes an action alone a controller of one.
fn controller_of_one(state: &Type) -> TokenStream {
    quote! {
        /// The action's route.
        pub const ROUTES: &[::catamaran::Route] = &[Self::ACTION.route];
        /// The action as a controller of one.
        pub const CONTROLLER: ::catamaran::Controller<#state> =
            ::catamaran::Controller { routes: Self::ROUTES, actions: &[Self::ACTION] };
    }
}

/// What `actions!` needs of an action beside its route: a call on the controller's state.
fn lift(state: &Type) -> TokenStream {
    quote! {
        #[doc(hidden)]
        pub fn call<__S, __M>(call: ::catamaran::__private::Call<__S>) -> ::catamaran::__private::Reply
        where
            #state: ::catamaran::__private::PartOf<__S, __M>,
        {
            ::catamaran::__private::lift(call, Self::ACTION.call)
        }
    }
}

/// What an action has whose state its table decides: the same for every state that its arguments can be read from.
fn functions(action: &Action) -> TokenStream {
    let (route, request, call) = (route(action), request(), call(action, &quote!(__S), &quote!(__M)));
    let arguments = from_path_first(action);
    let bounds = arguments.iter().enumerate().map(|(at, (argument, _))| {
        let (slot, span) = (slot(argument), first_span(&argument.ty));
        match at + 1 == arguments.len() {
            true => quote_spanned!(span=> #slot: ::catamaran::__private::Last<__S, __M>),
            false => quote_spanned!(span=> #slot: ::catamaran::__private::Part<__S>),
        }
    });
    let bounds: Vec<TokenStream> = bounds.collect();
    quote! {
        /// The action's route.
        pub const ROUTES: &[::catamaran::Route] = &[#route];
        #[doc(hidden)]
        pub fn call<__S, __M>(#request: ::catamaran::__private::Call<__S>) -> ::catamaran::__private::Reply
        where
            __S: ::core::marker::Send + ::core::marker::Sync + 'static,
            #(#bounds,)*
        {
            #call
        }
        /// The action as a controller of one, on any state that its arguments can be read from.
        #[allow(non_snake_case)]
        pub fn CONTROLLER<__S, __M>() -> ::catamaran::Controller<__S>
        where
            __S: ::core::marker::Send + ::core::marker::Sync + 'static,
            #(#bounds,)*
        {
            ::catamaran::Controller {
                routes: Self::ROUTES,
                actions: const { &[::catamaran::Action { route: Self::ROUTES[0], call: Self::call::<__S, __M> }] },
            }
        }
    }
}

/// What a rejected action leaves behind, so that nothing else stops resolving.
pub(crate) fn stub(companion: &Companion) -> TokenStream {
    let Companion { name, state, cfgs, .. } = companion;
    let (declaration, state) = (declaration(companion), state.ty());
    quote! {
        #declaration
        #(#cfgs)*
        impl #name {
            pub const ACTION: ::catamaran::Action<#state> =
                ::catamaran::Action { route: ::catamaran::Route::NONE, call: ::catamaran::__private::rejected };
            pub const ROUTES: &[::catamaran::Route] = &[Self::ACTION.route];
            pub const CONTROLLER: ::catamaran::Controller<#state> =
                ::catamaran::Controller { routes: &[], actions: &[] };
            pub fn call<__S, __M>(call: ::catamaran::__private::Call<__S>) -> ::catamaran::__private::Reply
            where
                (): ::catamaran::__private::PartOf<(), __M>,
            {
                ::catamaran::__private::rejected(call)
            }
        }
    }
}

fn declaration(Companion { name, vis, cfgs, .. }: &Companion) -> TokenStream {
    quote! {
        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #vis enum #name {}
    }
}

fn route(action: &Action) -> TokenStream {
    let Action { method, path, params, doc, .. } = action;
    let name = &action.companion.name;
    let (variant, text) = (&method.variant, name.unraw().to_string());
    let (transports, line) = (transports(action), line(name));
    quote! {
        ::catamaran::Route {
            method: ::catamaran::Method::#variant,
            path: #path,
            transports: #transports,
            action: #text,
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: #line,
            doc: #doc,
            params: &[#(#params),*],
        }
    }
}

/// The transports that the context declares, or a socket; which argument is one, the compiler knows better than a name.
fn transports(action: &Action) -> TokenStream {
    let types: Vec<&Type> = maybe_contexts(action).map(|argument| &argument.ty).collect();
    if types.is_empty() {
        return quote!(::catamaran::Transports::Both);
    }
    quote! {{
        #[allow(unused_imports)]
        use ::catamaran::__private::NoContext as _;
        ::catamaran::__private::transports(&[#(::catamaran::__private::Probe::<#types>::DECLARED),*])
    }}
}

/// A check of its own where several arguments may be contexts or sockets, placed at the second.
fn one_context(action: &Action) -> Option<TokenStream> {
    let types: Vec<&Type> = maybe_contexts(action).map(|argument| &argument.ty).collect();
    let checks = types.iter().enumerate().skip(1).map(|(at, ty)| {
        let earlier = &types[..at];
        quote_spanned! {first_span(ty)=>
            ::catamaran::__private::agree(
                &[#(::catamaran::__private::Probe::<#earlier>::DECLARED),*],
                ::catamaran::__private::Probe::<#ty>::DECLARED,
            )
        }
    });
    let checks: Vec<TokenStream> = checks.collect();
    let cfgs = &action.companion.cfgs;
    (!checks.is_empty()).then(|| {
        quote! {
            #(#cfgs)*
            const _: () = {
                #[allow(unused_imports)]
                use ::catamaran::__private::NoContext as _;
                #(#checks;)*
            };
        }
    })
}

fn maybe_contexts(action: &Action) -> impl Iterator<Item = &Argument> {
    action.arguments.iter().filter(|argument| argument.is_unknown())
}

/// Reads the arguments, those from the path first, and calls the function with them in its own order.
///
/// `last` says how the last argument is read.
fn call(action: &Action, state: &TokenStream, last: &TokenStream) -> TokenStream {
    let name = &action.companion.name;
    let values = action.arguments.iter().enumerate().map(|(at, argument)| {
        let value = binding(argument, at);
        match argument.source {
            Source::Path(_) => quote!(#value.0),
            Source::Request => quote!(#value),
        }
    });
    let body = quote_spanned!(name.span()=> #name(#(#values),*));

    let arguments = from_path_first(action);
    let types = arguments.iter().map(|(argument, _)| slot(argument));
    let variables = arguments.iter().map(|(_, variable)| variable);
    let call = format_ident!("call{}", arguments.len(), span = name.span());
    let call = quote_spanned!(name.span()=> ::catamaran::__private::#call);
    let answer = &action.answer;
    let last = (!arguments.is_empty()).then(|| quote!(#last,));
    let request = request();
    // Only the compiler can name the closure and its future; an error about the future belongs to the function.
    let inferred = quote_spanned!(name.span()=> _, _);
    quote!(#call::<#state, #(#types,)* #answer, #last #inferred>(#request, |#(#variables),*| #body))
}

/// The variable of the request under way; its hygiene keeps it apart from an action named `call`.
fn request() -> Ident {
    Ident::new("call", Span::mixed_site())
}

/// The arguments in the order in which they are read, with their variables.
fn from_path_first(action: &Action) -> Vec<(&Argument, Ident)> {
    let arguments = action.arguments.iter().enumerate();
    let mut arguments: Vec<_> = arguments.map(|(at, argument)| (argument, binding(argument, at))).collect();
    arguments.sort_by_key(|(argument, _)| match argument.source {
        Source::Path(at) => (0, at),
        Source::Request => (1, 0),
    });
    arguments
}

/// The type that `callN` reads for an argument.
fn slot(argument: &Argument) -> TokenStream {
    let ty = &argument.ty;
    match argument.source {
        Source::Path(at) => {
            let at = Literal::usize_unsuffixed(at);
            quote_spanned!(first_span(ty)=> ::catamaran::__private::Param<#at, #ty>)
        }
        Source::Request => quote!(#ty),
    }
}

/// A variable for an argument; its hygiene keeps it apart from a function of the same name.
fn binding(argument: &Argument, at: usize) -> Ident {
    // An error about the variable is an error about the argument's type.
    let span = Span::mixed_site().located_at(first_span(&argument.ty));
    match &argument.name {
        Some(name) => {
            let mut variable = name.clone();
            variable.set_span(span);
            variable
        }
        None => format_ident!("argument{at}", span = span),
    }
}

/// The constants of a controller whose actions are in the same module.
pub(crate) fn controller(state: &Type, listed: &[(Vec<Attribute>, Ident)]) -> [Item; 2] {
    let routes = listed.iter().map(|(cfgs, name)| quote!(#(#cfgs)* #name::ACTION.route));
    let actions = listed.iter().map(|(cfgs, name)| quote!(#(#cfgs)* #name::ACTION));
    [
        parse_quote! {
            /// The routes of this controller.
            pub const ROUTES: &[::catamaran::Route] = &[#(#routes),*];
        },
        parse_quote! {
            /// This controller, as `routes!` takes it.
            pub const CONTROLLER: ::catamaran::Controller<#state> =
                ::catamaran::Controller { routes: ROUTES, actions: &[#(#actions),*] };
        },
    ]
}

/// The constants of a controller in its own file: each action under the prefix, on the controller's state.
pub(crate) fn actions(prefix: &LitStr, input: &ActionsInput) -> TokenStream {
    let state = input.controller.state.clone().unwrap_or_else(model::no_state);
    let routes = input
        .actions
        .iter()
        .map(|Listed { cfgs, action }| quote!(#(#cfgs)* ::catamaran::__private::under!(#prefix, #action)));
    let lifted = input.actions.iter().map(|Listed { cfgs, action }| {
        let state = match &input.controller.state {
            Some(state) => quote!(#state),
            None => quote_spanned!(last_span(action)=> ::catamaran::NoState),
        };
        let run = quote_spanned!(last_span(action)=> #action::call::<#state, _>);
        quote! {
            #(#cfgs)*
            ::catamaran::Action { route: ::catamaran::__private::under!(#prefix, #action), call: #run }
        }
    });
    quote! {
        /// The routes of this controller.
        pub const ROUTES: &[::catamaran::Route] = &[#(#routes),*];
        /// This controller, as `routes!` takes it.
        pub const CONTROLLER: ::catamaran::Controller<#state> =
            ::catamaran::Controller { routes: ROUTES, actions: &[#(#lifted),*] };
    }
}

/// The table of an application, with one check for each controller at that controller's name.
pub(crate) fn routes(input: &RoutesInput) -> TokenStream {
    let controllers: Vec<&Path> = input.controllers.iter().map(|mounted| &mounted.controller).collect();
    let checks = controllers.iter().enumerate().map(|(at, controller)| {
        let at = Literal::usize_unsuffixed(at);
        quote_spanned!(last_span(controller)=> const _: () = ::catamaran::__private::settle(&ROUTES, CLASH, CONTROLLERS, #at);)
    });
    let routes = controllers.iter().map(|controller| quote_spanned!(last_span(controller)=> #controller::ROUTES));
    let mounted = input.controllers.iter().map(|Mounted { controller, policy, .. }| match policy {
        Some(policy) => {
            let span = first_span(policy);
            let policy = quote!(::core::marker::PhantomData::<fn() -> #policy>);
            quote_spanned!(span=> &::catamaran::__private::Guarded { controller: #controller::CONTROLLER, policy: #policy })
        }
        None => quote_spanned!(last_span(controller)=> &#controller::CONTROLLER),
    });
    // A policy that is a context or a socket narrows the routes that it guards.
    let policies = input.controllers.iter().map(|Mounted { policy, .. }| match policy {
        Some(policy) => quote_spanned!(first_span(policy)=> ::catamaran::__private::Probe::<#policy>::DECLARED),
        None => quote!(::core::option::Option::None),
    });
    let agreements = input.controllers.iter().filter_map(|Mounted { controller, policy, .. }| {
        let policy = policy.as_ref()?;
        Some(quote_spanned! {first_span(policy)=>
            const _: () =
                ::catamaran::__private::guards(#controller::ROUTES, ::catamaran::__private::Probe::<#policy>::DECLARED);
        })
    });
    quote! {{
        #[allow(unused_imports)]
        use ::catamaran::__private::NoContext as _;
        const CONTROLLERS: &[&[::catamaran::Route]] = &[#(#routes),*];
        #[allow(long_running_const_eval)]
        static ROUTES: [::catamaran::Route; ::catamaran::__private::total(CONTROLLERS)] =
            ::catamaran::__private::flatten(CONTROLLERS, &[#(#policies),*]);
        #(#agreements)*
        #[allow(long_running_const_eval)]
        const CLASH: ::core::option::Option<::catamaran::__private::Clash> = ::catamaran::__private::clash(&ROUTES);
        #(#checks)*
        ::catamaran::Table { routes: &ROUTES, controllers: &[#(#mounted),*] }
    }}
}

fn last_span(path: &Path) -> Span {
    path.segments.last().map_or_else(Span::call_site, |segment| segment.ident.span())
}
