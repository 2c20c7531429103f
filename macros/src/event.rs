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
    let own = name(&input.attrs, &input.ident, None, &mut errors);
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
            let words = serde_words(&input.attrs);
            let rule = words.iter().find(|word| word.name == "rename_all").and_then(|word| word.text.as_ref());
            let names = data.variants.iter().map(|variant| {
                is_not_skipped(&variant.attrs, &mut errors);
                name(&variant.attrs, &variant.ident, rule, &mut errors)
            });
            let names: Vec<Name> = names.collect();
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

/// The name from `#[event(name = "..")]`, else from serde's `rename`, else the identifier by serde's `rename_all`, or else in
/// camelCase.
fn name(attrs: &[Attribute], ident: &Ident, rule: Option<&LitStr>, errors: &mut Errors) -> Name {
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
    let renamed = || serde_words(attrs).into_iter().find(|word| word.name == "rename").and_then(|word| word.text);
    let name = name.or_else(|| renamed().map(|text| Name { text: text.value(), span: text.span() }));
    name.unwrap_or_else(|| {
        let written = ident.unraw().to_string();
        let text = rule.and_then(|rule| cased(&written, &rule.value())).unwrap_or_else(|| camel_case(&written));
        Name { text, span: ident.span() }
    })
}

/// A word of a `#[serde(..)]`, and its text. `rename(serialize = "..")` gives the name for sending.
struct SerdeWord {
    name: String,
    span: Span,
    text: Option<LitStr>,
}

/// What the `#[serde(..)]`s say; what is wrong with them, serde reports.
fn serde_words(attrs: &[Attribute]) -> Vec<SerdeWord> {
    let mut words = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
        let _ = attr.parse_nested_meta(|meta| {
            let Some(word) = meta.path.get_ident().cloned() else { return skip_value(&meta) };
            let mut text = None;
            if meta.input.peek(syn::token::Paren) {
                let _ = meta.parse_nested_meta(|inner| {
                    let value: syn::Expr = inner.value()?.parse()?;
                    if inner.path.is_ident("serialize") {
                        text = string(&value);
                    }
                    Ok(())
                });
            } else if meta.input.peek(Token![=]) {
                text = string(&meta.value()?.parse()?);
            }
            words.push(SerdeWord { name: word.to_string(), span: word.span(), text });
            Ok(())
        });
    }
    words
}

fn string(value: &syn::Expr) -> Option<LitStr> {
    match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.clone()),
        _ => None,
    }
}

/// A variant's identifier in one of serde's cases.
fn cased(ident: &str, rule: &str) -> Option<String> {
    let mut snake = String::new();
    for (at, letter) in ident.char_indices() {
        if at > 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    let cased = match rule {
        "lowercase" => ident.to_ascii_lowercase(),
        "UPPERCASE" => ident.to_ascii_uppercase(),
        "PascalCase" => ident.to_owned(),
        "camelCase" => camel_case(ident),
        "snake_case" => snake,
        "SCREAMING_SNAKE_CASE" => snake.to_ascii_uppercase(),
        "kebab-case" => snake.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => snake.to_ascii_uppercase().replace('_', "-"),
        _ => return None,
    };
    Some(cased)
}

/// serde refuses to write a skipped variant, so it could not be published.
fn is_not_skipped(attrs: &[Attribute], errors: &mut Errors) {
    for word in serde_words(attrs).iter().filter(|word| ["skip", "skip_serializing"].contains(&word.name.as_str())) {
        let message = format!("a skipped variant cannot be published; remove `{}`, or the variant", word.name);
        errors.at(word.span, message);
    }
}

/// As serde's `camelCase`: the first letter becomes small.
fn camel_case(ident: &str) -> String {
    let mut letters = ident.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// The event's name is the tag, and the payload has no second one.
fn has_no_tag(attrs: &[Attribute], errors: &mut Errors) {
    for word in serde_words(attrs).iter().filter(|word| ["tag", "content", "untagged"].contains(&word.name.as_str())) {
        let message = format!("an event's name is its tag and travels beside the payload; remove `{}`", word.name);
        errors.at(word.span, message);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variant_is_cased_as_serde_does() {
        for (rule, expected) in [
            ("lowercase", "rowsadded"),
            ("UPPERCASE", "ROWSADDED"),
            ("PascalCase", "RowsAdded"),
            ("camelCase", "rowsAdded"),
            ("snake_case", "rows_added"),
            ("SCREAMING_SNAKE_CASE", "ROWS_ADDED"),
            ("kebab-case", "rows-added"),
            ("SCREAMING-KEBAB-CASE", "ROWS-ADDED"),
        ] {
            assert_eq!(cased("RowsAdded", rule).as_deref(), Some(expected));
        }
        assert_eq!(cased("RowsAdded", "TitleCase"), None);
    }

    #[test]
    fn event_name_beats_rename_and_rename_beats_rename_all() {
        let code = event(quote! {
            #[serde(rename_all = "snake_case")]
            enum E {
                RowsAdded,
                #[serde(rename(serialize = "b", deserialize = "c"))]
                B,
                #[serde(rename = "c")]
                #[event(name = "d")]
                D,
            }
        });
        let code = code.to_string();
        for arm in ["RowsAdded { .. } => \"rows_added\"", "B { .. } => \"b\"", "D { .. } => \"d\""] {
            assert!(code.contains(arm), "{arm}: {code}");
        }
    }
}
