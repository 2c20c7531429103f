//! `#[controller]`: passes its prefix and its state to the actions inside, and collects them.

use catamaran_macros_core::{Errors, path, tokens::first_span};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Ident, Item, ItemFn, ItemMod, LitStr, Meta, Type, UseTree, parse_quote};

use crate::{
    action::is_action,
    attr::{ActionAttr, ControllerAttr},
    check, expand, model,
};

pub(crate) fn controller(attr: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Ok(mut module) = syn::parse2::<ItemMod>(item.clone()) else {
        errors.at(first_span(item), "a controller is a module: `#[controller(\"/chat\")]` goes on `mod chat { .. }`");
        return quote!(#item #errors);
    };
    let name = module.ident.clone();
    let Some((_, items)) = &mut module.content else {
        errors.at(name.span(), "#[controller] needs the module's body here; in its own file use `actions!`");
        return quote!(#item #errors);
    };
    match syn::parse2::<ControllerAttr>(attr) {
        Ok(attr) => {
            let prefix = path::prefix(&attr.prefix, &mut errors);
            if errors.is_empty() { collect(&attr, &prefix, items, &mut errors) } else { give_up(items) }
        }
        Err(error) => {
            errors.add(error);
            give_up(items);
        }
    }
    items.push(Item::Verbatim(errors.to_token_stream()));
    module.to_token_stream()
}

/// Rewrites each action's attribute, and writes the controller's constants.
fn collect(attr: &ControllerAttr, prefix: &LitStr, items: &mut Vec<Item>, errors: &mut Errors) {
    imports_the_attribute(items, errors);
    actions_are_not_conditional(items, errors);
    let nameless = names_are_free(items, errors);
    let mut rejected = routes_differ(prefix, items, errors);
    if attr.state.is_none() {
        let written = attr.prefix.value();
        let states: Vec<_> =
            actions(items).flat_map(|f| model::states(&f.sig).into_iter().map(|s| (&f.sig.ident, s))).collect();
        rejected.extend(check::one_state(states.iter().map(|(action, state)| (*action, state)), &written, errors));
    }
    let state = attr.state.clone().or_else(|| actions(items).find_map(|f| model::states(&f.sig).into_iter().next()));
    let state = state.unwrap_or_else(model::no_state);

    let mut listed = Vec::new();
    for function in items.iter_mut().filter_map(function_mut) {
        let Some(at) = function.attrs.iter().position(is_action) else { continue };
        if nameless.contains(&function.sig.ident) {
            // Even a stub would need the name.
            function.attrs.remove(at);
            continue;
        }
        if rejected.contains(&function.sig.ident) {
            reject(&mut function.attrs[at]);
            continue;
        }
        pass_on(&mut function.attrs[at], prefix, &state);
        if check::name_is_no_type(&function.sig.ident, &mut Errors::default()) {
            listed.push((model::cfgs(&function.attrs), function.sig.ident.clone()));
        }
    }
    items.extend(expand::controller(&state, &listed));
}

/// Writes `in("/prefix", State)` before the method, where `#[action]` finds it.
fn pass_on(attr: &mut Attribute, prefix: &LitStr, state: &Type) {
    let path = attr.path().clone();
    let route = match &attr.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    attr.meta = parse_quote!(#path(in(#prefix, #state) #route));
}

/// Leaves a stub in place of each action when the controller's own attribute is wrong.
fn give_up(items: &mut Vec<Item>) {
    let mut listed = Vec::new();
    for function in items.iter_mut().filter_map(function_mut) {
        let Some(attr) = function.attrs.iter_mut().find(|attr| is_action(attr)) else { continue };
        reject(attr);
        listed.push((model::cfgs(&function.attrs), function.sig.ident.clone()));
    }
    items.extend(expand::controller(&model::no_state(), &listed));
}

/// Tells `#[action]` that the controller has said what is wrong.
fn reject(attr: &mut Attribute) {
    let path = attr.path().clone();
    attr.meta = parse_quote!(#path(in(rejected)));
}

/// A module sees nothing of the one around it until it says so.
fn imports_the_attribute(items: &mut Vec<Item>, errors: &mut Errors) {
    if items.iter().any(|item| matches!(item, Item::Use(_))) {
        return;
    }
    let unqualified = |attr: &&Attribute| is_action(attr) && attr.path().get_ident().is_some();
    let Some(first) = actions(items).flat_map(|function| &function.attrs).find(unqualified) else { return };
    errors.at(first_span(first.path()), "`action` is not imported in this module; begin it with `use super::*;`");
    // With the import in place, this is the only error.
    items.push(parse_quote!(
        #[allow(unused_imports)]
        use super::*;
    ));
}

/// A `cfg_attr` would leave the route out without a word.
fn actions_are_not_conditional(items: &[Item], errors: &mut Errors) {
    let attrs = items.iter().filter_map(function).flat_map(|function| &function.attrs);
    for attr in attrs.filter(|attr| attr.path().is_ident("cfg_attr")) {
        let Meta::List(list) = &attr.meta else { continue };
        if list.tokens.clone().into_iter().any(|token| token.to_string() == "action") {
            let message = "an action inside a controller cannot be conditional by `cfg_attr`; \
                           put `#[cfg(..)]` on the function beside `#[action(..)]`";
            errors.at(first_span(attr.path()), message);
        }
    }
}

/// An action's companion is a type, so no other type of the module has its name.
fn names_are_free(items: &[Item], errors: &mut Errors) -> Vec<Ident> {
    let types: Vec<Ident> = items.iter().flat_map(type_names).collect();
    let taken = actions(items).map(|function| &function.sig.ident).filter(|name| types.contains(name));
    taken
        .inspect(|name| {
            let message = format!("an action's name is also a type, and this module has another `{name}`; rename one");
            errors.at(name.span(), message);
        })
        .cloned()
        .collect()
}

fn type_names(item: &Item) -> Vec<Ident> {
    match item {
        Item::Enum(item) => vec![item.ident.clone()],
        Item::Mod(item) => vec![item.ident.clone()],
        Item::Struct(item) => vec![item.ident.clone()],
        Item::Trait(item) => vec![item.ident.clone()],
        Item::Type(item) => vec![item.ident.clone()],
        Item::Union(item) => vec![item.ident.clone()],
        Item::Use(item) => imported(&item.tree),
        _ => Vec::new(),
    }
}

fn imported(tree: &UseTree) -> Vec<Ident> {
    match tree {
        UseTree::Path(path) => imported(&path.tree),
        UseTree::Name(name) => vec![name.ident.clone()],
        UseTree::Rename(rename) => vec![rename.rename.clone()],
        UseTree::Group(group) => group.items.iter().flat_map(imported).collect(),
        UseTree::Glob(_) => Vec::new(),
    }
}

/// Two actions of a module cannot answer one route, unless a `#[cfg]` may choose between them.
fn routes_differ(prefix: &LitStr, items: &[Item], errors: &mut Errors) -> Vec<Ident> {
    let mut seen: Vec<(String, Ident)> = Vec::new();
    let mut rejected = Vec::new();
    for function in actions(items).filter(|function| model::cfgs(&function.attrs).is_empty()) {
        let attr = function.attrs.iter().find(|attr| is_action(attr)).and_then(|attr| attr.parse_args().ok());
        let Some(ActionAttr { route: Ok(route), .. }) = attr else { continue };
        let full = path::join(&prefix.value(), &route.path).value();
        let name = &function.sig.ident;
        let route_text = format!("{} {full}", route.method.upper());
        match seen.iter().find(|(text, _)| *text == route_text) {
            Some((_, first)) => {
                errors.at(route.path.span(), format!("`{route_text}` is already answered by `{first}`"));
                rejected.push(name.clone());
            }
            None => seen.push((route_text, name.clone())),
        }
    }
    rejected
}

fn actions(items: &[Item]) -> impl Iterator<Item = &ItemFn> {
    items.iter().filter_map(function).filter(|function| function.attrs.iter().any(is_action))
}

fn function(item: &Item) -> Option<&ItemFn> {
    match item {
        Item::Fn(function) => Some(function),
        _ => None,
    }
}

fn function_mut(item: &mut Item) -> Option<&mut ItemFn> {
    match item {
        Item::Fn(function) => Some(function),
        _ => None,
    }
}
