//! What the engine knows of a resource: its fields, its associations, its policy; without its types.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{Arc, OnceLock},
};

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, FromQueryResult, IdenStatic, Identity, Iterable, ModelTrait,
    QueryResult, RelationDef, TryGetable, Value,
    sea_query::{DynIden, Expr, TableRef, sea_value_to_json_value},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::{
    Policy, Resource,
    engine::sql,
    error::Problem,
    input::{self, Input},
    policy::Viewer,
};

/// What the engine knows of a resource; `#[resource]` writes it.
pub struct Meta {
    pub(crate) identity: &'static str,
    pub(crate) table: TableRef,
    /// The table's name alone, for columns and for stripes.
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
    pub(crate) associations: Vec<Association>,
    pub(crate) viewer: TypeId,
    pub(crate) scope: fn(&Viewer) -> Condition,
    can_read: fn(&Viewer, &Row) -> bool,
    can_write: fn(&Viewer, &Row) -> bool,
    pub(crate) decode: fn(&Meta, &QueryResult) -> Result<Row, DbErr>,
    pub(crate) create: fn(Json) -> Result<Values, Vec<Problem>>,
    pub(crate) patch: fn(Json) -> Result<Values, Vec<Problem>>,
}

/// Values for columns, by the position of the field.
pub type Values = Vec<(usize, Value)>;

/// What a request may do with a column.
#[derive(Clone, Copy)]
pub struct Flags {
    /// Whether it identifies the record.
    pub primary_key: bool,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether no two records have the same value.
    pub unique: bool,
    /// Whether it is never told, and so neither filtered, sorted nor selected by.
    pub hidden: bool,
    /// Whether it cannot be filtered or sorted by.
    pub no_filter: bool,
    /// Whether a new record may say it.
    pub create: bool,
    /// Whether an update may say it.
    pub update: bool,
}

/// A column.
pub struct Field {
    /// Its name on the wire.
    pub(crate) name: &'static str,
    pub(crate) flags: Flags,
    column: &'static str,
    text: bool,
    parse: fn(&Json) -> Result<Value, String>,
    read: fn(&QueryResult, &str) -> Result<Value, DbErr>,
    save: Box<dyn Fn(Expr) -> Expr + Send + Sync>,
    load: Box<dyn Fn(Expr) -> Expr + Send + Sync>,
}

impl Field {
    /// A field of the Rust type `T`.
    pub fn new<E: EntityTrait, T>(name: &'static str, flags: Flags, column: E::Column) -> Self
    where
        T: DeserializeOwned + Into<Value> + TryGetable + 'static,
        E::Column: Send + Sync,
    {
        Self {
            name,
            flags,
            column: column.as_str(),
            text: [TypeId::of::<String>(), TypeId::of::<Option<String>>()].contains(&TypeId::of::<T>()),
            parse: input::parse::<T>,
            read: |row, name| row.try_get::<T>("", name).map(Into::into),
            save: Box::new(move |value| column.save_as(value)),
            load: Box::new(move |expr| column.select_as(expr)),
        }
    }

    pub(crate) fn column(&self) -> &'static str {
        self.column
    }

    /// Whether operators on text apply.
    pub(crate) fn is_text(&self) -> bool {
        self.text
    }

    pub(crate) fn parse(&self, json: &Json) -> Result<Value, String> {
        (self.parse)(json)
    }

    /// Null, if the field may be.
    pub(crate) fn null(&self) -> Option<Value> {
        self.flags.nullable.then(|| self.parse(&Json::Null).ok()).flatten()
    }

    /// Reads a value of this field's type from another column.
    pub(crate) fn read(&self, row: &QueryResult, name: &str) -> Result<Value, DbErr> {
        (self.read)(row, name)
    }

    /// A value as the database takes it, which an enum must be told.
    pub(crate) fn save(&self, value: Value) -> Expr {
        (self.save)(Expr::val(value))
    }

    pub(crate) fn load(&self, column: Expr) -> Expr {
        (self.load)(column)
    }

    pub(crate) fn can_be_filtered(&self) -> bool {
        !self.flags.hidden && !self.flags.no_filter
    }
}

/// A way from a resource to another, or to itself.
pub struct Association {
    name: &'static str,
    many: bool,
    to: fn() -> RelationDef,
    via: Option<fn() -> RelationDef>,
    target: fn() -> &'static Meta,
    link: OnceLock<Link>,
}

impl Association {
    /// `to` leads to the other table, from the own or from the one between, to which `via` leads.
    pub fn new<E: Resource>(
        name: &'static str,
        many: bool,
        to: fn() -> RelationDef,
        via: Option<fn() -> RelationDef>,
    ) -> Self {
        Self { name, many, to, via, target: E::meta, link: OnceLock::new() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it leads to any number of records.
    pub(crate) fn is_many(&self) -> bool {
        self.many
    }

    pub(crate) fn target(&self) -> &'static Meta {
        (self.target)()
    }
}

/// Where the keys of an association are.
pub(crate) enum Link {
    /// In the record: the position of the field.
    Own(usize),
    /// In the associated records: the position of their field.
    Theirs(usize),
    /// In a table between.
    Between { table: TableRef, name: DynIden, ours: DynIden, theirs: DynIden },
}

/// A record: as its policy sees it, and as it goes out.
#[derive(Clone)]
pub struct Row {
    model: Arc<dyn Any + Send + Sync>,
    values: Arc<[Value]>,
    /// What everybody who sees the record may see of it.
    pub(crate) json: Map<String, Json>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Row").field(&self.json).finish()
    }
}

impl Row {
    /// The value of the field at this position.
    pub(crate) fn value(&self, at: usize) -> &Value {
        &self.values[at]
    }
}

impl Meta {
    /// Describes the entity `E`.
    pub fn new<E: Resource>(identity: &'static str, fields: Vec<Field>, associations: Vec<Association>) -> Self
    where
        E::Model: Sync,
    {
        let entity = E::default();
        Self {
            identity,
            table: entity.table_ref(),
            name: entity.table_name(),
            fields,
            associations,
            viewer: TypeId::of::<<E::Policy as Policy<E>>::Viewer>(),
            scope: |viewer| match viewer.get() {
                Some(viewer) => E::Policy::scope(viewer),
                None => Condition::all().add(sql::never()),
            },
            can_read: |viewer, row| asked::<E>(viewer, row, E::Policy::can_read),
            can_write: |viewer, row| asked::<E>(viewer, row, E::Policy::can_write),
            decode: decode::<E>,
            create: |body| input::read::<E::Create>(body).map(Input::into_values),
            patch: |body| input::read::<E::Patch>(body).map(Input::into_values),
        }
    }

    /// What the resource is called on the wire.
    pub fn identity(&self) -> &'static str {
        self.identity
    }

    /// Whether a viewer of this resource's policy sees a record.
    pub fn can_read(&self, viewer: &Viewer, row: &Row) -> bool {
        (self.can_read)(viewer, row)
    }

    pub(crate) fn can_write(&self, viewer: &Viewer, row: &Row) -> bool {
        (self.can_write)(viewer, row)
    }

    /// The position of the primary key.
    pub(crate) fn key(&self) -> usize {
        self.fields.iter().position(|field| field.flags.primary_key).unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    pub(crate) fn association(&self, name: &str) -> Option<&Association> {
        self.associations.iter().find(|association| association.name == name)
    }

    /// The identity of a record, as it goes out.
    pub(crate) fn id(&self, row: &Row) -> Json {
        row.json.get(self.fields[self.key()].name).cloned().unwrap_or_default()
    }

    /// Where an association of this resource has its keys.
    ///
    /// # Panics
    ///
    /// If a key leads elsewhere than to a primary key.
    pub(crate) fn link<'a>(&'a self, association: &'a Association) -> &'a Link {
        association.link.get_or_init(|| self.resolve(association))
    }

    fn resolve(&self, association: &Association) -> Link {
        let (to, target) = ((association.to)(), association.target());
        let place = |meta: &Self, column: &Identity| {
            let column = only(column).to_string();
            meta.fields.iter().position(|field| field.column == column)
        };
        let leads_to_key = |meta: &Self, column: &Identity| place(meta, column) == Some(meta.key());
        let link = match association.via {
            Some(via) => {
                let via = via();
                let fits = leads_to_key(self, &via.from_col) && leads_to_key(target, &to.to_col);
                let name = match &via.to_tbl {
                    TableRef::Table(table, _) => Some(table.1.clone()),
                    _ => None,
                };
                name.filter(|_| fits).map(|name| Link::Between {
                    table: via.to_tbl,
                    name,
                    ours: only(&via.to_col),
                    theirs: only(&to.from_col),
                })
            }
            // SeaORM calls the side that is referred to the owner.
            None if to.is_owner => {
                place(target, &to.to_col).filter(|_| leads_to_key(self, &to.from_col)).map(Link::Theirs)
            }
            None => place(self, &to.from_col).filter(|_| leads_to_key(target, &to.to_col)).map(Link::Own),
        };
        let (name, identity) = (association.name, self.identity);
        link.unwrap_or_else(|| panic!("the association `{name}` of `{identity}` does not lead to a primary key"))
    }

    /// The association of the other side that is the same one, if it has one.
    pub(crate) fn inverse(&self, association: &Association) -> Option<&'static Association> {
        let target = association.target();
        target.associations.iter().find(|other| {
            std::ptr::eq(other.target(), self)
                && match (self.link(association), target.link(other)) {
                    (Link::Own(one), Link::Theirs(two)) | (Link::Theirs(one), Link::Own(two)) => one == two,
                    (
                        Link::Between { name, ours, theirs, .. },
                        Link::Between { name: table, ours: mine, theirs: yours, .. },
                    ) => name == table && ours == yours && theirs == mine,
                    _ => false,
                }
        })
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The column of a key; one of several columns does not fit anywhere.
fn only(columns: &Identity) -> DynIden {
    match columns {
        Identity::Unary(column) => column.clone(),
        _ => "".into(),
    }
}

fn asked<E: Resource>(
    viewer: &Viewer,
    row: &Row,
    question: fn(&<E::Policy as Policy<E>>::Viewer, &E::Model) -> bool,
) -> bool
where
    E::Model: Sync,
{
    match (viewer.get(), row.model.downcast_ref()) {
        (Some(viewer), Some(model)) => question(viewer, model),
        _ => false,
    }
}

fn decode<E: Resource>(meta: &Meta, row: &QueryResult) -> Result<Row, DbErr>
where
    E::Model: Sync,
{
    let model = E::Model::from_query_result(row, "")?;
    let value =
        |field: &Field| E::Column::iter().find(|column| column.as_str() == field.column).map(|it| model.get(it));
    let values = meta.fields.iter().filter_map(value).collect();
    Ok(Row { json: E::to_json(&model), values, model: Arc::new(model) })
}

/// A value as the key of a map, whatever integer type its column has.
pub(crate) fn key_text(value: &Value) -> String {
    sea_value_to_json_value(value).to_string()
}
