//! Where SeaORM keeps the definition of an association.
//!
//! Its `Related` names one relation between two entities; the relation enum names each, so that several associations to
//! one entity, and those of an entity with itself, are told apart.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Ident, LitStr, Path, Type};

use crate::{
    attr::SeaOrm,
    model::{last, upper_camel_case},
};

/// The way of an association, in one step or in two.
pub(crate) struct Relation {
    /// To the other table, from the own or from the one between.
    pub(crate) to: TokenStream,
    /// From the own table to the one between.
    pub(crate) via: Option<TokenStream>,
}

impl Relation {
    /// `all` is what SeaORM is told of all fields: the other direction of a way stands at another field.
    pub(crate) fn read(sea_orm: &SeaOrm, target: &Type, all: &[SeaOrm]) -> Self {
        let forward = sea_orm.text("relation_enum").map_or_else(|| inferred(target), LitStr::value);
        let forward = ident(&upper_camel_case(&forward));
        let Some(via) = sea_orm.text("via") else {
            return Self { to: definition(&quote!(Relation::#forward)), via: None };
        };
        let (module, relation) = junction(via);
        if sea_orm.is("self_ref") {
            let reverse = sea_orm.is("reverse");
            let same = |other: &&SeaOrm| other.text("via").is_some_and(|text| text.value() == via.value());
            let says =
                if reverse { all.iter().filter(same).find(|it| it.text("from").is_some()) } else { Some(sea_orm) };
            let end = |word| ident(&says.and_then(|it| it.text(word)).map(LitStr::value).unwrap_or_default());
            let (from, to) = if reverse { (end("to"), end("from")) } else { (end("from"), end("to")) };
            let back = definition(&quote!(super::#module::Relation::#from));
            return Self { to: definition(&quote!(super::#module::Relation::#to)), via: Some(quote!(#back.rev())) };
        }
        let back = match relation {
            Some(relation) => definition(&quote!(super::#module::Relation::#relation)),
            None => quote!(<super::#module::Entity as ::catamaran_resources::__private::Related<Entity>>::to()),
        };
        Self { to: definition(&quote!(super::#module::Relation::#forward)), via: Some(quote!(#back.rev())) }
    }
}

fn definition(relation: &TokenStream) -> TokenStream {
    quote!(::catamaran_resources::__private::RelationTrait::def(&#relation))
}

/// The name that SeaORM gives a relation by itself: of `super::user::Entity`, `User`.
fn inferred(target: &Type) -> String {
    let Type::Path(path) = target else { return String::new() };
    let names: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    match &names[..] {
        [.., module, _] => module.clone(),
        [entity] => entity.clone(),
        [] => String::new(),
    }
}

/// `pet_toy`, or `pet_toy::Pet`.
fn junction(via: &LitStr) -> (Ident, Option<Ident>) {
    let names: Vec<Ident> =
        via.parse::<Path>().map(|path| path.segments.into_iter().map(|it| it.ident).collect()).unwrap_or_default();
    let mut names = names.into_iter();
    (names.next().unwrap_or_else(|| ident("")), names.next())
}

/// A name of SeaORM's; one that is none is a mistake that SeaORM reports.
fn ident(name: &str) -> Ident {
    syn::parse_str(last(name)).unwrap_or_else(|_| format_ident!("Missing", span = Span::call_site()))
}
