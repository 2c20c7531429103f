//! Questions about tokens.

extern crate proc_macro;

use proc_macro2::{Ident, Literal, Span};
use quote::ToTokens;
use syn::{GenericArgument, PathArguments, PathSegment, Type};

/// Returns the last segment of a type that is a path.
pub fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// Returns the `T` of a segment `Name<T>`.
pub fn type_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// Returns the span of the first token: a joined span needs a nightly compiler.
pub fn first_span(tokens: &impl ToTokens) -> Span {
    tokens.to_token_stream().into_iter().next().map_or_else(Span::call_site, |token| token.span())
}

/// Returns the line of a name in its file, or 0 outside a compiler.
pub fn line(name: &Ident) -> Literal {
    let line = if proc_macro::is_available() { name.span().unwrap().line() } else { 0 };
    Literal::usize_unsuffixed(line)
}
