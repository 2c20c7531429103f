//! The types of a new record and of changes to one: tokens only.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use super::model::{Column, Resource};

/// What a request says of a new record.
pub(super) fn create(resource: &Resource) -> TokenStream {
    let vis = &resource.vis;
    let any_rules = has_rules(resource, Column::in_create);
    let columns = || resource.columns.iter().enumerate();
    let written = columns().filter(|(_, column)| column.in_create());
    let fields = written.clone().map(|(_, column)| {
        let (ident, ty, name) = (&column.ident, &column.ty, &column.name);
        let (docs, rules) = (docs(column), rules(column, any_rules));
        let absent = match column.default() {
            Some(_) => {
                let default = format!("Create::{}", default_name(column));
                quote!(#[serde(default = #default)])
            }
            None if column.nullable => quote!(#[serde(default)]),
            None => quote!(),
        };
        quote!(#docs #[serde(rename = #name)] #absent #rules pub #ident: #ty)
    });
    let defaults = columns().filter_map(|(_, column)| {
        let (name, ty, default) = (default_name(column), &column.ty, column.default()?);
        Some(quote!(fn #name() -> #ty { #default }))
    });
    let values = columns().filter_map(|(at, column)| {
        let at = Literal::usize_unsuffixed(at);
        let ident = &column.ident;
        if column.in_create() {
            return Some(quote!((#at, self.#ident.into())));
        }
        let default = column.default().map(|_| default_name(column))?;
        Some(quote!((#at, Self::#default().into())))
    });
    let (validate, problems) = validation(resource, any_rules);
    quote! {
        /// A new record, as a request says it.
        #[derive(Clone, Debug, ::catamaran_resources::__private::serde::Deserialize, #validate)]
        #[serde(crate = "::catamaran_resources::__private::serde", deny_unknown_fields)]
        #vis struct Create { #(#fields,)* }
        impl Create { #(#defaults)* }
        impl ::catamaran_resources::__private::Input for Create {
            #problems
            fn into_values(self) -> ::catamaran_resources::__private::Values {
                ::std::vec![#(#values),*]
            }
        }
    }
}

/// What a request says of changes to a record.
pub(super) fn patch(resource: &Resource) -> TokenStream {
    let vis = &resource.vis;
    let any_rules = has_rules(resource, Column::in_patch);
    let written = resource.columns.iter().enumerate().filter(|(_, column)| column.in_patch());
    let fields = written.clone().map(|(_, column)| {
        let (ident, ty, name) = (&column.ident, &column.ty, &column.name);
        let (docs, rules) = (docs(column), rules(column, any_rules));
        quote! {
            #docs
            #[serde(rename = #name, default, deserialize_with = "::catamaran_resources::__private::present")]
            #rules
            pub #ident: ::core::option::Option<#ty>
        }
    });
    let values = written.map(|(at, column)| {
        let at = Literal::usize_unsuffixed(at);
        let ident = &column.ident;
        quote!(values.extend(self.#ident.map(|value| (#at, value.into())));)
    });
    let (validate, problems) = validation(resource, any_rules);
    quote! {
        /// Changes to a record, as a request says them: `None` leaves a value as it is, `Some(None)` sets it to null.
        #[derive(Clone, Debug, Default, ::catamaran_resources::__private::serde::Deserialize, #validate)]
        #[serde(crate = "::catamaran_resources::__private::serde", deny_unknown_fields)]
        #vis struct Patch { #(#fields,)* }
        impl ::catamaran_resources::__private::Input for Patch {
            #problems
            #[allow(unused_mut)]
            fn into_values(self) -> ::catamaran_resources::__private::Values {
                let mut values = ::catamaran_resources::__private::Values::new();
                #(#values)*
                values
            }
        }
    }
}

/// Whether a part of the fields has rules.
fn has_rules(resource: &Resource, part: fn(&Column) -> bool) -> bool {
    resource.columns.iter().any(|column| part(column) && !column.said.garde.is_empty())
}

/// The derive of garde and its question, for an input that has rules; a program without rules needs no garde.
fn validation(resource: &Resource, any: bool) -> (TokenStream, TokenStream) {
    let problems = quote!(::std::vec::Vec<::catamaran_resources::__private::Problem>);
    if !any {
        return (quote!(), quote!(fn problems(&self) -> #problems { ::std::vec::Vec::new() }));
    }
    let names = resource.columns.iter().map(|Column { ident, name, .. }| {
        let ident = ident.unraw().to_string();
        quote!((#ident, #name))
    });
    let ask = quote! {
        fn problems(&self) -> #problems {
            ::catamaran_resources::__private::problems(self, &[#(#names),*])
        }
    };
    (quote!(::garde::Validate), ask)
}

/// The rules of a field of an input; garde wants each field to have some, or none on purpose.
fn rules(column: &Column, any: bool) -> TokenStream {
    if !any {
        return quote!();
    }
    match &column.said.garde[..] {
        [] => quote!(#[garde(skip)]),
        rules => quote!(#(#rules)*),
    }
}

fn docs(column: &Column) -> TokenStream {
    match &column.docs[..] {
        [] => {
            let text = format!(" As [`Model::{}`].", column.ident);
            quote!(#[doc = #text])
        }
        docs => quote!(#(#docs)*),
    }
}

fn default_name(column: &Column) -> Ident {
    format_ident!("default_{}", column.ident.unraw())
}
