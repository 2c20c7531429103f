//! `#[action]`: attribute and function in, function and companion out.

use catamaran_macros_core::{Errors, path, tokens::first_span};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Ident, ItemFn, LitStr};

use crate::{
    attr::{ActionAttr, RouteAttr, Within},
    check, expand,
    model::{self, Action, Companion, State},
};

pub(crate) fn action(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Ok(mut function) = syn::parse2::<ItemFn>(item.clone()) else {
        errors.at(first_span(&item), "an action is a function: `#[action]` goes on `async fn name(..) { .. }`");
        return quote!(#item #errors);
    };
    let ActionAttr { within, route } = match syn::parse2(attr) {
        Ok(attr) => attr,
        Err(error) => ActionAttr { within: None, route: Err(error) },
    };
    let item = match take_repeated(&mut function, &mut errors) {
        true => function.to_token_stream(),
        false => item,
    };
    let (prefix, state) = match within {
        Some(Within::Rejected) => {
            let stub = expand::stub(&Companion::new(&function, State::Controller(model::no_state())));
            return quote!(#item #stub);
        }
        Some(Within::Controller { prefix, state }) => (prefix.value(), State::Controller(*state)),
        None => (String::new(), own_state(&function, &route, &mut errors)),
    };
    let named = check::name_is_no_type(&function.sig.ident, &mut errors);
    let companion = Companion::new(&function, state);
    let code = match route {
        Ok(route) => {
            let action = read(&function, &prefix, route, companion, &mut errors);
            check::action(&action, &function.sig, &mut errors);
            if errors.is_empty() { expand::companion(&action) } else { expand::stub(&action.companion) }
        }
        Err(error) => {
            errors.add(error);
            expand::stub(&companion)
        }
    };
    // A companion whose name hides a type would break code that is not wrong, and a method cannot have one.
    let code = (named && function.sig.receiver().is_none()).then_some(code);
    quote!(#item #code #errors)
}

/// Puts the attribute and the function together.
fn read(function: &ItemFn, prefix: &str, route: RouteAttr, companion: Companion, errors: &mut Errors) -> Action {
    let RouteAttr { method, path: written } = route;
    // The controller has reported what is wrong with its prefix.
    let outer = path::parameters(&LitStr::new(prefix, written.span()), &mut Errors::default());
    let own = path::parameters(&written, errors);
    let path = path::join(prefix, &written);
    if let Some(twice) = own.iter().find(|name| outer.contains(name)) {
        errors.at(written.span(), format!("`{{{twice}}}` appears twice in {:?}", path.value()));
    }
    let inner = own.into_iter().filter(|name| !outer.contains(name)).collect::<Vec<_>>();
    let params = [outer, inner].concat();
    Action {
        method,
        written,
        path,
        doc: model::doc(&function.attrs),
        arguments: model::arguments(&function.sig, &params),
        answer: model::answer(&function.sig.output),
        params,
        companion,
    }
}

/// The state of an action that belongs to no controller.
fn own_state(function: &ItemFn, route: &syn::Result<RouteAttr>, errors: &mut Errors) -> State {
    let params = route.as_ref().map_or(Vec::new(), |route| path::parameters(&route.path, &mut Errors::default()));
    let mut arguments = model::arguments(&function.sig, &params).into_iter();
    if arguments.any(|argument| argument.is_unknown() && !argument.is(&["Ctx"])) {
        return State::Any;
    }
    let states = model::states(&function.sig);
    check::one_state(states.iter().map(|state| (&function.sig.ident, state)), "/x", errors);
    State::Own(states.into_iter().next().unwrap_or_else(model::no_state))
}

/// Reports and removes further `#[action]`s, whose companions would collide.
fn take_repeated(function: &mut ItemFn, errors: &mut Errors) -> bool {
    let before = function.attrs.len();
    function.attrs.retain(|attr| {
        let repeated = is_action(attr);
        if repeated {
            let message = "an action has one route; write a second function for the second route";
            errors.at(first_span(attr.path()), message);
        }
        !repeated
    });
    function.attrs.len() < before
}

/// Whether an attribute is `#[action(..)]`, be it imported under another name.
pub(crate) fn is_action(attr: &Attribute) -> bool {
    let named = attr.path().segments.last().is_some_and(|segment| segment.ident == "action");
    named || attr.parse_args_with(looks_like_a_route).unwrap_or(false)
}

fn looks_like_a_route(input: syn::parse::ParseStream<'_>) -> syn::Result<bool> {
    let word: Ident = input.parse()?;
    input.parse::<LitStr>()?;
    Ok(["get", "post", "put", "patch", "delete"].iter().any(|method| word == method))
}
