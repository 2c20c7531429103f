//! A resource as the macro understands it.

use catamaran_macros_core::{
    Errors, path,
    tokens::{last_segment, type_argument},
};
use proc_macro2::Span;
use syn::{Attribute, Expr, Fields, Ident, ItemStruct, LitStr, Type, Visibility, ext::IdentExt};

use crate::{
    attr::{FieldAttr, ResourceAttr, SeaOrm},
    relation::Relation,
};

/// The model of an entity, with what makes it a resource.
pub(crate) struct Resource {
    pub(crate) path: LitStr,
    pub(crate) policy: Type,
    pub(crate) identity: LitStr,
    /// What it does not do.
    pub(crate) except: Vec<&'static str>,
    pub(crate) name: Ident,
    pub(crate) vis: Visibility,
    pub(crate) columns: Vec<Column>,
    pub(crate) associations: Vec<Association>,
}

/// A field that is a column.
pub(crate) struct Column {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// The variant of SeaORM's `Column`.
    pub(crate) variant: Ident,
    /// Its name on the wire.
    pub(crate) name: String,
    pub(crate) primary_key: bool,
    pub(crate) nullable: bool,
    pub(crate) unique: bool,
    /// Whether the database makes its value.
    pub(crate) generated: bool,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) said: FieldAttr,
}

/// A field that leads to other records.
pub(crate) struct Association {
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) many: bool,
    pub(crate) target: Type,
    pub(crate) relation: Relation,
    pub(crate) said: FieldAttr,
    /// The name of the column that has its key, if that is in this model.
    pub(crate) key: Option<String>,
}

/// The types of keys that SeaORM does not take for numbers, by the ends of their names.
const NOT_NUMBERS: &[&str] = &["String", "Uuid", "Vec"];

impl Resource {
    /// Reads what is written; none if that is no entity.
    pub(crate) fn read(
        attr: ResourceAttr,
        entity: &ItemStruct,
        said: Vec<FieldAttr>,
        errors: &mut Errors,
    ) -> Option<Self> {
        let Fields::Named(fields) = &entity.fields else {
            errors.at(entity.ident.span(), "a resource is a struct whose fields have names");
            return None;
        };
        let path = path::prefix(&attr.path, errors);
        let identity = attr.identity.clone().or_else(|| SeaOrm::read(&entity.attrs).text("table_name").cloned());
        let identity = identity.unwrap_or_else(|| {
            let message = "what are these records called? say the table, e.g. `#[sea_orm(table_name = \"pet\")]`";
            errors.at(entity.ident.span(), message);
            LitStr::new("", Span::call_site())
        });
        let mut columns = Vec::new();
        let mut associations: Vec<Association> = Vec::new();
        // The column that an association has its key in goes out under the name of the association.
        let mut keys: Vec<(String, String)> = Vec::new();
        let all: Vec<SeaOrm> = fields.named.iter().map(|field| SeaOrm::read(&field.attrs)).collect();
        for ((field, said), sea_orm) in fields.named.iter().zip(said).zip(&all) {
            let ident = field.ident.clone()?;
            let Some((many, target)) = leads_to(&field.ty) else {
                columns.push(Column::read(ident, &field.ty, &field.attrs, said, sea_orm));
                continue;
            };
            if said.skip.is_some() {
                continue;
            }
            let name = camel_case(&ident.unraw().to_string());
            let from = sea_orm.text("from").filter(|_| sea_orm.text("via").is_none());
            let key = from.map(|from| upper_camel_case(last(&from.value())));
            keys.extend(key.clone().map(|key| (key, name.clone())));
            let relation = Relation::read(sea_orm, &target, &all);
            associations.push(Association { ident, name, many, target, relation, said, key });
        }
        for column in &mut columns {
            if let Some((_, name)) = keys.iter().find(|(key, _)| column.variant == key) {
                column.name.clone_from(name);
            }
        }
        let (name, vis) = (entity.ident.clone(), entity.vis.clone());
        let ResourceAttr { policy, except, .. } = attr;
        Some(Self { path, policy, identity, except, name, vis, columns, associations })
    }

    /// Whether the resource does this.
    pub(crate) fn does(&self, verb: &str) -> bool {
        !self.except.contains(&verb)
    }

    /// The column that an association has its key in, if it is one of this model.
    pub(crate) fn key_of(&self, association: &Association) -> Option<&Column> {
        let key = association.key.as_ref()?;
        self.columns.iter().find(|column| column.variant == key)
    }

    /// Whether requests may read an association: one whose key is hidden would tell the key.
    pub(crate) fn reads(&self, association: &Association) -> bool {
        let key_is_hidden = self.key_of(association).is_some_and(|column| column.said.hidden.is_some());
        association.said.hidden.is_none() && !key_is_hidden
    }
}

impl Column {
    fn read(ident: Ident, ty: &Type, attrs: &[Attribute], said: FieldAttr, sea_orm: &SeaOrm) -> Self {
        let plain = ident.unraw().to_string();
        let variant = sea_orm.text("enum_name").map_or_else(|| upper_camel_case(&plain), LitStr::value);
        let segment = last_segment(ty).map(|segment| segment.ident.to_string()).unwrap_or_default();
        let primary_key = sea_orm.is("primary_key");
        Self {
            name: camel_case(&plain),
            variant: Ident::new(&variant, ident.span()),
            primary_key,
            nullable: segment == "Option",
            unique: sea_orm.is("unique"),
            generated: primary_key && sea_orm.makes_key() && !NOT_NUMBERS.iter().any(|end| segment.ends_with(end)),
            docs: attrs.iter().filter(|attr| attr.path().is_ident("doc")).cloned().collect(),
            ident,
            ty: ty.clone(),
            said,
        }
    }

    /// Whether a new record may say it.
    pub(crate) fn in_create(&self) -> bool {
        self.said.read_only.is_none() && !self.is_preset() && !self.generated
    }

    /// Whether the server says its values.
    pub(crate) fn is_preset(&self) -> bool {
        self.said.create.is_some() || self.said.update.is_some()
    }

    /// Whether an update may say it.
    pub(crate) fn in_patch(&self) -> bool {
        self.in_create() && self.said.create_only.is_none() && !self.primary_key
    }

    pub(crate) fn default(&self) -> Option<&Expr> {
        self.said.default.as_ref()
    }
}

/// The other entity of an association's type, and whether it leads to many.
fn leads_to(ty: &Type) -> Option<(bool, Type)> {
    let segment = last_segment(ty)?;
    let many = match segment.ident.to_string().as_str() {
        "HasMany" => true,
        "HasOne" | "BelongsTo" => false,
        _ => return None,
    };
    let inner = type_argument(segment)?;
    let optional = last_segment(inner).filter(|segment| segment.ident == "Option").and_then(type_argument);
    Some((many, optional.unwrap_or(inner).clone()))
}

/// The last name of a path: of `Column::OwnerId`, `OwnerId`.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path).trim()
}

/// `owner_id` as `OwnerId`.
pub(crate) fn upper_camel_case(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect::<String>())
    });
    words.collect()
}

/// `owner_id` as `ownerId`.
fn camel_case(name: &str) -> String {
    let upper = upper_camel_case(name);
    let mut letters = upper.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}
