//! `#[resource]`: a SeaORM entity whose records answer requests.

mod attr;
mod check;
mod expand;
mod inputs;
mod model;
mod relation;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ItemStruct;

use self::{attr::ResourceAttr, model::Resource};
use crate::{errors::Errors, model::first_span};

pub(crate) fn resource(attr: TokenStream, item: &TokenStream) -> TokenStream {
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
