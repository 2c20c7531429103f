//! `#[action]`: attribute and function in, function and companion out.

use catamaran_macros_core::{Errors, path, tokens::first_span};
use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, FnArg, Ident, ItemFn, LitStr, Meta, Signature, Visibility,
    parse::{Parse, ParseStream},
    parse_quote,
};

use crate::{
    attr::{ActionAttr, RouteAttr, Within},
    check, expand,
    model::{self, Action, Companion, State},
};

pub(crate) fn action(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    if let Some(code) = one_of_each_cfg(&attr, &item) {
        return code;
    }
    let Ok(mut function) = syn::parse2::<ItemFn>(item.clone()) else {
        if item.clone().into_iter().any(|token| matches!(&token, TokenTree::Ident(word) if word == "fn")) {
            // The compiler says what is wrong with the function; what names the action goes on resolving.
            let stub = syn::parse2::<Head>(item.clone())
                .ok()
                .map(|Head(function)| expand::stub(&Companion::new(&function, State::Controller(model::no_state()))));
            return quote!(#item #stub);
        }
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
    // An action is `async` whether it waits for something or not.
    quote!(#[allow(clippy::unused_async)] #item #code #errors)
}

/// The attributes, the visibility and the signature of a function whose body does not parse.
struct Head(ItemFn);

impl Parse for Head {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let (vis, sig): (Visibility, Signature) = (input.parse()?, input.parse()?);
        input.parse::<TokenStream>()?;
        Ok(Self(parse_quote!(#(#attrs)* #vis #sig {})))
    }
}

/// An argument with a `#[cfg]` makes two actions, one with it and one without, of which the compiler takes one.
fn one_of_each_cfg(attr: &TokenStream, item: &TokenStream) -> Option<TokenStream> {
    let mut function = syn::parse2::<ItemFn>(item.clone()).ok()?;
    let (at, nth) = function.sig.inputs.iter().enumerate().find_map(|(at, input)| {
        let FnArg::Typed(argument) = input else { return None };
        Some((at, argument.attrs.iter().position(|attr| attr.path().is_ident("cfg"))?))
    })?;
    let FnArg::Typed(argument) = &mut function.sig.inputs[at] else { return None };
    let Meta::List(condition) = argument.attrs.remove(nth).meta else { return None };
    let condition = condition.tokens;
    let mut without = function.clone();
    without.sig.inputs =
        function.sig.inputs.iter().enumerate().filter(|(nth, _)| *nth != at).map(|it| it.1.clone()).collect();
    Some(quote! {
        #[cfg(#condition)]
        #[::catamaran::action(#attr)]
        #function
        #[cfg(not(#condition))]
        #[::catamaran::action(#attr)]
        #without
    })
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
