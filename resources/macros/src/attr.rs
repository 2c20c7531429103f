//! The grammar: what stands in the parentheses of `#[resource]`, `#[field]`, and of SeaORM's own attributes.

use catamaran_macros_core::Errors;
use proc_macro2::{Span, TokenStream};
use syn::{
    Attribute, Expr, Field, Ident, ItemStruct, Lit, LitStr, Token, Type, bracketed,
    meta::ParseNestedMeta,
    parse::{ParseStream, Parser},
    punctuated::Punctuated,
};

const EXAMPLE: &str = "e.g. `#[resource(path = \"/pet\", policy = OwnPets)]`";

/// What can be done with the records of a resource.
pub(crate) const VERBS: &[&str] =
    &["find", "find_one", "create", "update", "destroy", "populate", "add", "remove", "replace"];

/// `path = "/pet", policy = OwnPets, identity = "pet", except = [create]`, or `only = [find]`
pub(crate) struct ResourceAttr {
    pub(crate) path: LitStr,
    pub(crate) policy: Type,
    pub(crate) identity: Option<LitStr>,
    /// What it does not do.
    pub(crate) except: Vec<&'static str>,
}

impl ResourceAttr {
    pub(crate) fn read(attr: TokenStream, errors: &mut Errors) -> Option<Self> {
        let parse = |input: ParseStream<'_>| {
            let (mut path, mut policy, mut identity, mut except, mut only) = (None, None, None, None, None);
            while !input.is_empty() {
                let word: Ident = input.parse()?;
                let known = ["path", "policy", "identity", "except", "only"].iter().any(|known| word == known);
                if !known {
                    let message = format!("`{word}` is not an option: expected path, policy, identity, except or only");
                    return Err(syn::Error::new(word.span(), message));
                }
                input.parse::<Token![=]>()?;
                let repeated = match word.to_string().as_str() {
                    "path" => path.replace(input.parse()?).is_some(),
                    "policy" => policy.replace(input.parse()?).is_some(),
                    "identity" => identity.replace(input.parse()?).is_some(),
                    "except" => except.replace(input.call(verbs)?).is_some(),
                    _ => only.replace(input.call(verbs)?).is_some(),
                };
                if repeated {
                    return Err(syn::Error::new(word.span(), format!("`{word}` is said already")));
                }
                if except.is_some() && only.is_some() {
                    let message = "`only` and `except` exclude each other: keep `only` to name what the resource does";
                    return Err(syn::Error::new(word.span(), message));
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            let left_out = |verb: &&&str| match (&except, &only) {
                (_, Some(only)) => only.iter().all(|named| named != **verb),
                (except, None) => except.iter().flatten().any(|named: &Ident| named == **verb),
            };
            let left_out: Vec<&str> = VERBS.iter().filter(left_out).copied().collect();
            Ok((path, policy, identity, left_out))
        };
        let (path, policy, identity, except) = match parse.parse2(attr) {
            Ok(read) => read,
            Err(error) => {
                errors.add(error);
                return None;
            }
        };
        if path.is_none() {
            errors.at(Span::call_site(), format!("a resource needs a path, {EXAMPLE}"));
        }
        if policy.is_none() {
            let message = format!(
                "who may read and write these records? a resource needs a policy, {EXAMPLE}; \
                 one that is open to everybody says `policy = catamaran_resources::Public`"
            );
            errors.at(Span::call_site(), message);
        }
        Some(Self { path: path?, policy: policy?, identity, except })
    }
}

/// `[create, destroy]`
fn verbs(input: ParseStream<'_>) -> syn::Result<Vec<Ident>> {
    let list;
    bracketed!(list in input);
    let verbs = Punctuated::<Ident, Token![,]>::parse_terminated(&list)?;
    for verb in &verbs {
        if !VERBS.iter().any(|known| verb == known) {
            let message = format!("`{verb}` is nothing that a resource does: expected {}", VERBS.join(", "));
            return Err(syn::Error::new(verb.span(), message));
        }
    }
    Ok(verbs.into_iter().collect())
}

/// What `#[field(..)]` and `#[garde(..)]` say of a field.
#[derive(Default)]
pub(crate) struct FieldAttr {
    pub(crate) hidden: Option<Span>,
    pub(crate) read_only: Option<Span>,
    pub(crate) create_only: Option<Span>,
    pub(crate) writable: Option<Span>,
    pub(crate) no_filter: Option<Span>,
    pub(crate) skip: Option<Span>,
    pub(crate) default: Option<Expr>,
    /// What the server says of a new record.
    pub(crate) create: Option<Expr>,
    /// What the server says of each change.
    pub(crate) update: Option<Expr>,
    pub(crate) garde: Vec<Attribute>,
}

/// Reads the attributes that are ours, field by field, and takes them off.
pub(crate) fn take_fields(entity: &mut ItemStruct, errors: &mut Errors) -> Vec<FieldAttr> {
    entity.fields.iter_mut().map(|field| take(field, errors)).collect()
}

fn take(field: &mut Field, errors: &mut Errors) -> FieldAttr {
    let mut read = FieldAttr::default();
    field.attrs.retain(|attr| {
        if attr.path().is_ident("garde") {
            read.garde.push(attr.clone());
            return false;
        }
        if !attr.path().is_ident("field") {
            return true;
        }
        attr.parse_nested_meta(|meta| read.option(&meta)).unwrap_or_else(|error| errors.add(error));
        false
    });
    read
}

impl FieldAttr {
    fn option(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let expected = "expected hidden, read_only, create_only, no_filter, writable, skip, `default = ..`, `create = ..` \
                        or `update = ..`";
        let Some(word) = meta.path.get_ident() else { return Err(meta.error(expected)) };
        let flag = match word.to_string().as_str() {
            "hidden" => &mut self.hidden,
            "read_only" => &mut self.read_only,
            "create_only" => &mut self.create_only,
            "no_filter" => &mut self.no_filter,
            "writable" => &mut self.writable,
            "skip" => &mut self.skip,
            "default" | "create" | "update" => {
                let value = match word.to_string().as_str() {
                    "default" => &mut self.default,
                    "create" => &mut self.create,
                    _ => &mut self.update,
                };
                return match value.replace(meta.value()?.parse()?) {
                    None => Ok(()),
                    Some(_) => Err(syn::Error::new(word.span(), format!("`{word}` is said already"))),
                };
            }
            _ => return Err(syn::Error::new(word.span(), format!("`{word}` is not an option: {expected}"))),
        };
        *flag = Some(word.span());
        Ok(())
    }
}

/// What SeaORM's own attributes say, as far as a resource needs to know it.
#[derive(Default)]
pub(crate) struct SeaOrm {
    pub(crate) flags: Vec<String>,
    texts: Vec<(String, LitStr)>,
    auto_increment: Option<bool>,
}

impl SeaOrm {
    pub(crate) fn read(attrs: &[Attribute]) -> Self {
        let mut read = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("sea_orm")) {
            // What is wrong with the attribute, SeaORM says.
            let _ = attr.parse_nested_meta(|meta| {
                let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                if !meta.input.peek(Token![=]) {
                    read.flags.push(word);
                    return Ok(());
                }
                match meta.value()?.parse::<Lit>()? {
                    Lit::Str(text) => read.texts.push((word, text)),
                    Lit::Bool(value) if word == "auto_increment" => read.auto_increment = Some(value.value),
                    _ => {}
                }
                Ok(())
            });
        }
        read
    }

    pub(crate) fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    pub(crate) fn text(&self, word: &str) -> Option<&LitStr> {
        self.texts.iter().find(|(known, _)| known == word).map(|(_, text)| text)
    }

    /// Whether the database makes the key, which it does for a number unless told not to.
    pub(crate) fn makes_key(&self) -> bool {
        self.auto_increment.unwrap_or(true)
    }
}
