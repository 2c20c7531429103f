//! `#[resource]` of [catamaran-resources](https://docs.rs/catamaran-resources), which re-exports and documents it.
//!
//! `attr` reads what stands in its parentheses and in `#[field]`, `model` reads the entity below, `check` says what is wrong with it,
//! `expand` writes the code. Code is written even when something is wrong, so that one mistake gives one error.

mod attr;
mod check;
mod expand;
mod inputs;
mod model;
mod relation;
#[cfg(test)]
mod snapshots;

use catamaran_macros_core::{Errors, tokens::first_span};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ItemStruct;

use self::{attr::ResourceAttr, model::Resource};

/// See `catamaran_resources::resource`.
#[proc_macro_attribute]
pub fn resource(attr: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expanded(attr.into(), &item.into()).into()
}

fn expanded(attr: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Ok(mut entity) = syn::parse2::<ItemStruct>(item.clone()) else {
        let message = "a resource is the model of an entity: `#[resource(..)]` goes above `#[sea_orm::model]`";
        errors.at(first_span(item), message);
        return quote!(#item #errors);
    };
    if entity.ident == "ModelEx" {
        // SeaORM's own macro has made two structs of the model, each with this attribute.
        errors.at(Span::call_site(), "`#[resource(..)]` goes above `#[sea_orm::model]`");
        return quote!(#entity #errors);
    }
    // What belongs to the macro is taken off even if something is wrong, so that it is no second mistake.
    let fields = attr::take_fields(&mut entity, &mut errors);
    let attr = ResourceAttr::read(attr, &mut errors);
    let Some(resource) = attr.and_then(|attr| Resource::read(attr, &entity, fields, &mut errors)) else {
        let stub = expand::stub(&entity.vis);
        return quote!(#entity #stub #errors);
    };
    check::resource(&resource, &mut errors);
    let code = expand::resource(&resource);
    quote!(#entity #code #errors)
}
