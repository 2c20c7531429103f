//! What can be wrong with a resource: one rule, one function, one sentence.

use catamaran_macros_core::{Errors, events, tokens::first_span};

use crate::model::{Association, Column, Resource};

/// Checks everything that the model alone can tell.
pub(crate) fn resource(resource: &Resource, errors: &mut Errors) {
    is_a_model(resource, errors);
    identity_is_free(resource, errors);
    path_has_no_parameters(resource, errors);
    has_one_key(resource, errors);
    names_differ(resource, errors);
    for column in &resource.columns {
        is_not_skipped(column, errors);
        key_is_told(column, errors);
        is_written_or_not(column, errors);
        has_a_value(column, errors);
        is_preset_or_written(column, errors);
        key_is_preset_once(resource, column, errors);
        is_validated_if_written(column, errors);
        is_no_association(column, errors);
    }
    for association in &resource.associations {
        is_no_column(association, errors);
        is_read_or_written(association, errors);
        leads_to_many_if_written(resource, association, errors);
    }
}

/// SeaORM calls a record `Model`, and so do the other names beside it.
fn is_a_model(resource: &Resource, errors: &mut Errors) {
    if resource.name != "Model" {
        let message = format!("`{}` is no model: SeaORM calls the struct of an entity `Model`", resource.name);
        errors.at(resource.name.span(), message);
    }
}

/// The identity is the name of the events that tell of its records.
fn identity_is_free(resource: &Resource, errors: &mut Errors) {
    let identity = resource.identity.value();
    if let Some(owner) = events::owner(&identity) {
        let message = format!(
            "`{identity}` is an event of {owner} itself, and a resource sends events of its identity; give it another one \
             with `identity = \"..\"`"
        );
        errors.at(resource.identity.span(), message);
    }
}

/// The records of a resource are found by their identity alone.
fn path_has_no_parameters(resource: &Resource, errors: &mut Errors) {
    if resource.path.value().contains('{') {
        errors.at(resource.path.span(), "a parameter cannot stand in the path of a resource, e.g. `path = \"/pet\"`");
    }
}

/// A path has one identity.
fn has_one_key(resource: &Resource, errors: &mut Errors) {
    let mut keys = resource.columns.iter().filter(|column| column.primary_key);
    match (keys.next(), keys.next()) {
        (None, _) => {
            let message = "a resource needs a primary key: `#[sea_orm(primary_key)]` above a field";
            errors.at(resource.name.span(), message);
        }
        (Some(_), Some(second)) => {
            let message = "a resource has one primary key; a table between two others is no resource, \
                           they lead through it with `via`";
            errors.at(second.ident.span(), message);
        }
        _ => {}
    }
}

/// What is sent under one name is one thing.
fn names_differ(resource: &Resource, errors: &mut Errors) {
    for (at, column) in resource.columns.iter().enumerate() {
        if resource.columns[..at].iter().any(|earlier| earlier.name == column.name) {
            errors.at(column.ident.span(), format!("another field is `{}` on the wire already", column.name));
        }
    }
    for association in resource.associations.iter().filter(|association| association.many) {
        if resource.columns.iter().any(|column| column.name == association.name) {
            let message = format!("a column is `{}` on the wire already", association.name);
            errors.at(association.ident.span(), message);
        }
    }
}

/// A column is there; only what leads to others can be left out.
fn is_not_skipped(column: &Column, errors: &mut Errors) {
    if let Some(span) = column.said.skip {
        errors.at(span, "an association can be skipped, a column cannot; write `#[field(hidden, read_only)]`");
    }
}

/// Without its identity a record cannot be asked for.
fn key_is_told(column: &Column, errors: &mut Errors) {
    if let Some(span) = column.said.hidden.or(column.said.no_filter).filter(|_| column.primary_key) {
        errors.at(span, "the primary key cannot be hidden: records are asked for by it");
    }
}

/// `read_only` is `create_only` and more.
fn is_written_or_not(column: &Column, errors: &mut Errors) {
    if let (Some(_), Some(span)) = (column.said.read_only, column.said.create_only) {
        errors.at(span, "a field is `read_only` or `create_only`, not both");
    }
}

/// What no request says has a default, or may be null.
fn has_a_value(column: &Column, errors: &mut Errors) {
    let has_value = column.default().is_some() || column.said.create.is_some();
    let absent = !column.nullable && !column.generated && !has_value;
    if let Some(update) = column.said.update.as_ref().filter(|_| absent) {
        let name = &column.ident;
        let message = format!(
            "`{name}` is not null and a new record has no value for it; add one, e.g. `#[field(create = .., update = ..)]`"
        );
        errors.at(first_span(update), message);
    }
    if let Some(span) = column.said.read_only.filter(|_| absent) {
        let name = &column.ident;
        let message = format!(
            "`{name}` is not null and no request says it, so a new record has no value for it; \
             add one, e.g. `#[field(read_only, default = ..)]`"
        );
        errors.at(span, message);
    }
}

/// One value has one source.
fn is_preset_or_written(column: &Column, errors: &mut Errors) {
    let said = &column.said;
    if let Some(span) = said.read_only.or(said.create_only).filter(|_| column.is_preset()) {
        errors.at(span, "requests say no field that has `create` or `update`; remove this");
    }
    if let (Some(_), Some(default)) = (&said.create, &said.default) {
        errors.at(first_span(default), "a new record has the value of `create`; remove `default`");
    }
    if let Some(create) = said.create.as_ref().filter(|_| column.generated) {
        errors.at(
            first_span(create),
            "the database makes this key; write `#[sea_orm(primary_key, auto_increment = false)]`",
        );
    }
}

/// What changes by itself leaves associations alone.
fn key_is_preset_once(resource: &Resource, column: &Column, errors: &mut Errors) {
    let is_key = |association: &Association| association.key.as_ref().is_some_and(|key| column.variant == key);
    if let Some(update) = &column.said.update
        && (column.primary_key || resource.associations.iter().any(is_key))
    {
        let message = "a key does not change with each update: say it of a new record, e.g. `#[field(create = viewer.id)]`, \
                       or write an action";
        errors.at(first_span(update), message);
    }
}

/// A rule for what no request says would never be asked.
fn is_validated_if_written(column: &Column, errors: &mut Errors) {
    if let Some(attr) = column.said.garde.first().filter(|_| !column.in_create()) {
        let message = format!("`{}` is not validated, since no request says it; remove this", column.ident);
        errors.at(first_span(attr.path()), message);
    }
}

/// A column is written unless something else is said.
fn is_no_association(column: &Column, errors: &mut Errors) {
    if let Some(span) = column.said.writable {
        let message = "a column is writable unless it is `read_only` or `create_only`; remove this";
        errors.at(span, message);
    }
}

/// What is said of values is said of columns.
fn is_no_column(association: &Association, errors: &mut Errors) {
    let said = &association.said;
    for span in [said.create_only, said.no_filter].into_iter().flatten() {
        let message = "this is said of a column; of an association say `hidden`, `read_only`, `writable` or `skip`, \
                       e.g. `#[field(read_only)]`";
        errors.at(span, message);
    }
    if let Some(attr) = said.garde.first() {
        errors.at(first_span(attr.path()), "an association is not validated");
    }
    if let Some(default) = &said.default {
        errors.at(first_span(default), "an association has no default");
    }
    if let Some(value) = said.create.as_ref().or(said.update.as_ref()) {
        let message = "an association has no value: say it of its key, e.g. `#[field(create = viewer.id)]`";
        errors.at(first_span(value), message);
    }
}

/// One of them would mean nothing.
fn is_read_or_written(association: &Association, errors: &mut Errors) {
    let said = &association.said;
    if let (Some(span), true) = (said.writable, said.read_only.is_some() || said.hidden.is_some()) {
        errors.at(span, "an association is `writable`, `read_only` or `hidden`: keep one of them");
    }
}

/// An association that leads to one record is written by its key.
fn leads_to_many_if_written(resource: &Resource, association: &Association, errors: &mut Errors) {
    let said = &association.said;
    let Some(span) = said.writable.or(said.read_only).filter(|_| !association.many) else { return };
    let message = match resource.key_of(association) {
        Some(key) => format!(
            "`{}` is written by its key: say it there, e.g. `#[field(read_only)]` above `{}`",
            association.ident, key.ident
        ),
        None => format!("`{}` is written by the key in the other model: say it there", association.ident),
    };
    errors.at(span, message);
}

#[cfg(test)]
mod tests {
    use quote::quote;

    #[test]
    fn identity_of_a_reserved_event_is_refused() {
        for (identity, refused) in [("state", true), ("error", true), ("$pet", true), ("pet", false)] {
            let attr = quote!(path = "/pet", policy = Public, identity = #identity);
            let item = quote! {
                pub struct Model {
                    #[sea_orm(primary_key)]
                    pub id: i64,
                }
            };
            let code = crate::expanded(attr, &item).to_string();
            assert_eq!(code.contains("sends events of its identity"), refused, "{identity}: {code}");
        }
    }

    /// A model with this field beside the key, and an association.
    fn refusals(field: &proc_macro2::TokenStream) -> String {
        let item = quote! {
            #[sea_orm(table_name = "pet")]
            pub struct Model {
                #[sea_orm(primary_key)]
                pub id: i64,
                #field
                pub keeper_id: i64,
                #[sea_orm(belongs_to, from = "owner_id", to = "id")]
                pub owner: BelongsTo<super::user::Entity>,
            }
        };
        crate::expanded(quote!(path = "/pet", policy = Public), &item).to_string()
    }

    #[test]
    fn contradicting_preset_is_refused() {
        let sound = refusals(&quote!(#[field(create = viewer.id, update = viewer.id)]));
        assert!(!sound.contains("compile_error"), "{sound}");
        for (field, message) in [
            (quote!(#[field(create = 1, default = 2)]), "remove `default`"),
            (quote!(#[field(create = 1, read_only)]), "requests say no field"),
            (quote!(#[field(create = 1, create_only)]), "requests say no field"),
            (quote!(#[field(create = 1, create = 2)]), "`create` is said already"),
            (quote!(#[field(update = 1)]), "a new record has no value for it"),
            (quote!(#[garde(range(min = 1))] #[field(create = 1)]), "is not validated"),
            (quote!(#[field(create = 1, update = 1)] pub owner_id: i64,), "a key does not change with each update"),
            (quote!(#[sea_orm(primary_key)] #[field(create = 1)] pub other_id: i64,), "the database makes this key"),
            (quote!(#[sea_orm(has_many)] #[field(create = 1)] pub pets: HasMany<super::pet::Entity>,), "has no value"),
        ] {
            let code = refusals(&field);
            assert!(code.contains(message), "{field}: {code}");
        }
    }
}
