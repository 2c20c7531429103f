//! `#[derive(Event)]`: the name of an event; its payload is serde's work.

use catamaran_macros_core::{Errors, events};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Ident, LitStr, Token, ext::IdentExt, meta::ParseNestedMeta};

/// The reserved names as an array, for names that are known at run time alone.
pub(crate) fn reserved() -> TokenStream {
    let names = events::reserved();
    quote!([#(#names),*])
}

/// The name of an event, and where it was written.
struct Name {
    text: String,
    span: Span,
}

pub(crate) fn event(item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let input: DeriveInput = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    has_no_tag(&input.attrs, &mut errors);
    let own = name(&input.attrs, &input.ident, &mut errors);
    let of_self = match &input.data {
        Data::Struct(_) => {
            is_not_reserved(&own, &mut errors);
            let text = own.text;
            quote!(#text)
        }
        Data::Enum(data) => {
            if input.attrs.iter().any(|attr| attr.path().is_ident("event")) {
                errors.at(
                    own.span,
                    "an enum has a name for each variant: write `#[event(name = \"..\")]` above a variant",
                );
            }
            let names: Vec<Name> =
                data.variants.iter().map(|variant| name(&variant.attrs, &variant.ident, &mut errors)).collect();
            names.iter().for_each(|name| is_not_reserved(name, &mut errors));
            differ(&names, &mut errors);
            let arms = data.variants.iter().zip(&names).map(|(variant, name)| {
                let (variant, text) = (&variant.ident, &name.text);
                quote!(Self::#variant { .. } => #text,)
            });
            quote!(match *self { #(#arms)* })
        }
        Data::Union(data) => {
            errors.at(data.union_token.span, "an event is an enum or a struct");
            return quote!(#errors);
        }
    };
    let code = expand(&input, &of_self);
    quote!(#code #errors)
}

fn expand(input: &DeriveInput, name: &TokenStream) -> TokenStream {
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        generics.make_where_clause().predicates.push(syn::parse_quote!(Self: ::catamaran::__private::Serialize));
    }
    let (impl_generics, ty_generics, bounds) = generics.split_for_impl();
    let message = quote_spanned!(ident.span()=> ::catamaran::__private::message);
    let result = quote! {
        ::core::result::Result<::catamaran::__private::EncodedEvent, ::catamaran::__private::EncodeError>
    };
    quote! {
        impl #impl_generics ::catamaran::Event for #ident #ty_generics #bounds {
            fn message(&self) -> #result {
                #message(#name, self)
            }
        }
    }
}

/// The name from `#[event(name = "..")]`, or else the identifier in camelCase.
fn name(attrs: &[Attribute], ident: &Ident, errors: &mut Errors) -> Name {
    let mut name = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("event")) {
        let parsed = attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("expected `name = \"..\"`; an event has no other option"));
            }
            let text: LitStr = meta.value()?.parse()?;
            name = Some(Name { text: text.value(), span: text.span() });
            Ok(())
        });
        parsed.unwrap_or_else(|error| errors.add(error));
    }
    name.unwrap_or_else(|| Name { text: camel_case(&ident.unraw().to_string()), span: ident.span() })
}

/// As serde's `camelCase`: the first letter becomes small.
fn camel_case(ident: &str) -> String {
    let mut letters = ident.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// The event's name is the tag, and the payload has no second one.
fn has_no_tag(attrs: &[Attribute], errors: &mut Errors) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
        // What is wrong with the attribute otherwise, serde says.
        let _ = attr.parse_nested_meta(|meta| {
            if let Some(word) = ["tag", "content", "untagged"].iter().find(|word| meta.path.is_ident(word)) {
                let span = meta.path.get_ident().map_or_else(Span::call_site, Ident::span);
                errors.at(span, format!("an event's name is its tag and travels beside the payload; remove `{word}`"));
            }
            skip_value(&meta)
        });
    }
}

fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.input.parse::<proc_macro2::Group>()?;
    }
    Ok(())
}

/// Some names have a meaning of their own.
fn is_not_reserved(name: &Name, errors: &mut Errors) {
    let Name { text, span } = name;
    if let Some(owner) = events::owner(text) {
        let message = format!(
            "`{text}` is an event of {owner} itself; give this one another name with `#[event(name = \"..\")]`"
        );
        errors.at(*span, message);
    } else if text.is_empty() {
        errors.at(*span, "an event needs a name");
    }
}

/// A client tells events apart by their names.
fn differ(names: &[Name], errors: &mut Errors) {
    for (at, name) in names.iter().enumerate() {
        if names[..at].iter().any(|earlier| earlier.text == name.text) {
            errors.at(name.span, format!("another variant is named `{}` already", name.text));
        }
    }
}
