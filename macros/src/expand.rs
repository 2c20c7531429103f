//! The code that stands beside an action: tokens only, no decisions about what is right.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, Item, LitStr, Path, Type, ext::IdentExt, parse_quote};

use crate::attr::{ActionsInput, Listed, Mounted, RoutesInput};
use crate::model::{Action, Argument, Companion, Source, first_span};

/// Arguments of these types are no context, so nobody needs to ask the compiler.
const EXTRACTORS: &[&str] = &[
    "Bytes",
    "ConnectInfo",
    "Extension",
    "Form",
    "HeaderMap",
    "Host",
    "Json",
    "MatchedPath",
    "Method",
    "Multipart",
    "OriginalUri",
    "Params",
    "Path",
    "Query",
    "RawForm",
    "RawPathParams",
    "RawQuery",
    "Request",
    "State",
    "String",
    "Uri",
    "Version",
];

/// The type beside the function, with its route, its call, and itself as a controller of one.
pub(crate) fn companion(action: &Action) -> TokenStream {
    let Companion { name, state, cfgs, .. } = &action.companion;
    let declaration = declaration(&action.companion);
    let (route, call, one_context) = (route(action), call(action), one_context(action));
    quote! {
        #declaration
        #(#cfgs)*
        impl #name {
            /// Where the action answers, and how to run it.
            pub const ACTION: ::catamaran::Action<#state> = ::catamaran::Action { route: #route, call: #call };
            /// The action's route alone.
            pub const ROUTES: &[::catamaran::Route] = &[Self::ACTION.route];
            /// The action as a controller of one.
            pub const CONTROLLER: ::catamaran::Controller<#state> =
                ::catamaran::Controller { routes: Self::ROUTES, actions: &[Self::ACTION] };
        }
        #one_context
    }
}

/// What a rejected action leaves behind, so that nothing else stops resolving.
pub(crate) fn stub(companion: &Companion) -> TokenStream {
    let Companion { name, state, cfgs, .. } = companion;
    let declaration = declaration(companion);
    quote! {
        #declaration
        #(#cfgs)*
        impl #name {
            pub const ACTION: ::catamaran::Action<#state> =
                ::catamaran::Action { route: ::catamaran::Route::NONE, call: ::catamaran::__private::rejected };
            pub const ROUTES: &[::catamaran::Route] = &[];
            pub const CONTROLLER: ::catamaran::Controller<#state> =
                ::catamaran::Controller { routes: &[], actions: &[] };
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
    let (reach, line) = (reach(action), line(name));
    quote! {
        ::catamaran::Route {
            method: ::catamaran::Method::#variant,
            path: #path,
            reach: #reach,
            action: #text,
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: #line,
            doc: #doc,
            params: &[#(#params),*],
        }
    }
}

/// The reach that the context declares; what is a context, the compiler knows better than a name.
fn reach(action: &Action) -> TokenStream {
    let types: Vec<&Type> = maybe_contexts(action).map(|argument| &argument.ty).collect();
    if types.is_empty() {
        return quote!(::catamaran::Reach::Both);
    }
    quote! {{
        #[allow(unused_imports)]
        use ::catamaran::__private::NoContext as _;
        ::catamaran::__private::reach(&[#(::catamaran::__private::Probe::<#types>::REACH),*])
    }}
}

/// A check of its own where several arguments may be contexts, placed at the second.
fn one_context(action: &Action) -> Option<TokenStream> {
    let types: Vec<&Type> = maybe_contexts(action).map(|argument| &argument.ty).collect();
    let checks = types.iter().enumerate().skip(1).map(|(at, ty)| {
        let earlier = &types[..at];
        quote_spanned! {first_span(ty)=>
            ::catamaran::__private::alone(
                &[#(::catamaran::__private::Probe::<#earlier>::REACH),*],
                ::catamaran::__private::Probe::<#ty>::REACH,
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
    action.arguments.iter().filter(|argument| argument.source == Source::Request && !argument.is(EXTRACTORS))
}

/// Reads the arguments, those from the path first, and calls the function with them in its own order.
fn call(action: &Action) -> TokenStream {
    let Companion { name, state, .. } = &action.companion;
    let arguments: Vec<(&Argument, Ident)> =
        action.arguments.iter().enumerate().map(|(at, argument)| (argument, binding(argument, at))).collect();
    let values = arguments.iter().map(|(_, value)| value);
    let body = quote_spanned!(name.span()=> #name(#(#values),*));

    let mut read: Vec<_> = arguments.iter().collect();
    read.sort_by_key(|(argument, _)| match argument.source {
        Source::Path(at) => (0, at),
        Source::Request => (1, 0),
    });
    let types = read.iter().map(|(argument, _)| slot(argument));
    let patterns = read.iter().map(|(argument, value)| match argument.source {
        Source::Path(_) => quote!(::catamaran::__private::Param(#value)),
        Source::Request => quote!(#value),
    });
    let call = format_ident!("call{}", arguments.len(), span = name.span());
    let call = quote_spanned!(name.span()=> ::catamaran::__private::#call);
    let answer = &action.answer;
    // What only the compiler can name: how the last argument is read, the closure, and its future.
    let inferred = if arguments.is_empty() { quote!(_, _) } else { quote!(_, _, _) };
    quote!(|call| #call::<#state, #(#types,)* #answer, #inferred>(call, |#(#patterns),*| #body))
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
    match &argument.name {
        Some(name) => {
            let mut value = name.clone();
            value.set_span(Span::mixed_site());
            value
        }
        None => format_ident!("argument{at}", span = Span::mixed_site()),
    }
}

fn line(name: &Ident) -> Literal {
    let line = if proc_macro::is_available() { name.span().unwrap().line() } else { 0 };
    Literal::usize_unsuffixed(line)
}

/// The constants of a controller whose actions are in the same module.
pub(crate) fn controller(state: &TokenStream, listed: &[(Vec<Attribute>, Ident)]) -> [Item; 2] {
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
    let state = match &input.controller.state {
        Some(state) => quote!(#state),
        None => quote!(::catamaran::NoState),
    };
    let routes = input
        .actions
        .iter()
        .map(|Listed { cfgs, action }| quote!(#(#cfgs)* ::catamaran::__private::under!(#prefix, #action)));
    let lifted = input.actions.iter().map(|Listed { cfgs, action }| {
        let lift = quote_spanned!(last_span(action)=> ::catamaran::__private::lift(call, #action::ACTION.call));
        quote! {
            #(#cfgs)*
            ::catamaran::Action { route: ::catamaran::__private::under!(#prefix, #action), call: |call| #lift }
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
    let mounted = input.controllers.iter().map(|Mounted { controller, policy }| match policy {
        Some(policy) => {
            quote_spanned!(first_span(policy)=> const { &#controller::CONTROLLER.guarded::<#policy>() })
        }
        None => quote_spanned!(last_span(controller)=> &#controller::CONTROLLER),
    });
    quote! {{
        const CONTROLLERS: &[&[::catamaran::Route]] = &[#(#controllers::ROUTES),*];
        #[allow(long_running_const_eval)]
        static ROUTES: [::catamaran::Route; ::catamaran::__private::total(CONTROLLERS)] =
            ::catamaran::__private::flatten(CONTROLLERS);
        #[allow(long_running_const_eval)]
        const CLASH: ::core::option::Option<::catamaran::__private::Clash> = ::catamaran::__private::clash(&ROUTES);
        #(#checks)*
        ::catamaran::Table { routes: &ROUTES, controllers: &[#(#mounted),*] }
    }}
}

fn last_span(path: &Path) -> Span {
    path.segments.last().map_or_else(Span::call_site, |segment| segment.ident.span())
}
