//! The types of a new record and of changes to one: tokens only.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Expr, Token, ext::IdentExt, punctuated::Punctuated};

use crate::model::{Column, Resource};

/// What a request says of a new record.
pub(crate) fn create(resource: &Resource) -> TokenStream {
    let vis = &resource.vis;
    let any_rules = has_rules(resource, Column::in_create);
    let columns = || resource.columns.iter().enumerate();
    let written = || resource.columns.iter().filter(|column| column.in_create());
    let fields = written().map(|column| {
        let (ident, ty) = (&column.ident, &column.ty);
        let (docs, rules) = (docs(column), rules(column, any_rules));
        quote!(#docs #rules pub #ident: #ty)
    });
    let read = written().map(|column| {
        let Column { ty, name, .. } = column;
        match column.default() {
            Some(_) => {
                let default = default_name(column);
                quote!(or::<#ty>(#name, Self::#default))
            }
            None if column.nullable => quote!(or::<#ty>(#name, ::core::default::Default::default)),
            None => quote!(required::<#ty>(#name)),
        }
    });
    let read = reading(written(), read);
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
    let deserialize = deserialize("Create");
    quote! {
        /// A new record, as a request says it.
        #[derive(Clone, Debug, #validate)]
        #vis struct Create { #(#fields,)* }
        impl Create { #(#defaults)* }
        impl ::catamaran_resources::__private::Input for Create {
            #read
            #problems
            fn into_values(self) -> ::catamaran_resources::__private::Values {
                [#(#values),*].into()
            }
        }
        #deserialize
    }
}

/// What a request says of changes to a record.
pub(crate) fn patch(resource: &Resource) -> TokenStream {
    let vis = &resource.vis;
    let any_rules = has_rules(resource, Column::in_patch);
    let written = || resource.columns.iter().enumerate().filter(|(_, column)| column.in_patch());
    let fields = written().map(|(_, column)| {
        let (ident, ty) = (&column.ident, &column.ty);
        let (docs, rules) = (docs(column), rules_within(column, any_rules));
        quote!(#docs #rules pub #ident: ::core::option::Option<#ty>)
    });
    let read = written().map(|(_, Column { ty, name, .. })| quote!(optional::<#ty>(#name)));
    let read = reading(written().map(|(_, column)| column), read);
    let values = written().map(|(at, column)| {
        let at = Literal::usize_unsuffixed(at);
        let ident = &column.ident;
        quote!(values.extend(self.#ident.map(|value| (#at, value.into())));)
    });
    let (validate, problems) = validation(resource, any_rules);
    let deserialize = deserialize("Patch");
    quote! {
        /// Changes to a record, as a request says them: `None` leaves a value as it is, `Some(None)` sets it to null.
        #[derive(Clone, Debug, Default, #validate)]
        #vis struct Patch { #(#fields,)* }
        impl ::catamaran_resources::__private::Input for Patch {
            #read
            #problems
            #[allow(unused_mut)]
            fn into_values(self) -> ::catamaran_resources::__private::Values {
                let mut values = ::catamaran_resources::__private::Values::new();
                #(#values)*
                values
            }
        }
        #deserialize
    }
}

/// The function that reads all fields, and says of all what is wrong with them.
fn reading<'a>(columns: impl Iterator<Item = &'a Column>, read: impl Iterator<Item = TokenStream>) -> TokenStream {
    let idents: Vec<_> = columns.map(|column| &column.ident).collect();
    // A column may have this name, too.
    let fields = Ident::new("fields", Span::mixed_site());
    quote! {
        fn read(#fields: &mut ::catamaran_resources::__private::Fields) -> ::core::option::Option<Self> {
            #(let #idents = #fields.#read;)*
            ::core::option::Option::Some(Self { #(#idents: #idents?),* })
        }
    }
}

/// An action of an application reads an input as a resource does.
fn deserialize(name: &str) -> TokenStream {
    let name = format_ident!("{name}");
    quote! {
        impl<'de> ::catamaran_resources::__private::Deserialize<'de> for #name {
            fn deserialize<D>(deserializer: D) -> ::core::result::Result<Self, D::Error>
            where
                D: ::catamaran_resources::__private::Deserializer<'de>,
            {
                ::catamaran_resources::__private::deserialize(deserializer)
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

/// The same where the field may be absent. Most rules of garde look into an option by themselves; these are asked of its value.
fn rules_within(column: &Column, any: bool) -> TokenStream {
    const OF_THE_VALUE: &[&str] = &["custom", "required", "inner"];
    let is_of_the_value = |rule: &Expr| match rule {
        Expr::Call(call) => is_named(&call.func, OF_THE_VALUE),
        rule => is_named(rule, OF_THE_VALUE),
    };
    let parse = Punctuated::<Expr, Token![,]>::parse_terminated;
    let lists = column.said.garde.iter().map(|attr| attr.parse_args_with(parse)).collect::<Result<Vec<_>, _>>();
    match lists {
        Ok(lists) if lists.iter().flatten().any(is_of_the_value) => {
            let (within, beside): (Vec<_>, Vec<_>) = lists.iter().flatten().partition(|rule| is_of_the_value(rule));
            quote!(#[garde(inner(#(#within),*) #(, #beside)*)])
        }
        // What is wrong with the others, garde says.
        _ => rules(column, any),
    }
}

fn is_named(expr: &Expr, names: &[&str]) -> bool {
    matches!(expr, Expr::Path(path) if names.iter().any(|name| path.path.is_ident(name)))
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
