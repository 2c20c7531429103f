//! A column of a resource.

use std::any::TypeId;

use sea_orm::{
    ColumnTrait, ColumnType, DbErr, EntityTrait, IdenStatic, ModelTrait, QueryResult, TryGetable, Value,
    sea_query::Expr,
};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::row::Model;
use crate::input;

/// What a request may do with a column.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for alone")]
pub(crate) struct Flags {
    /// Whether it identifies the record.
    pub(crate) primary_key: bool,
    /// Whether the database makes its value.
    pub(crate) generated: bool,
    /// Whether it may be null.
    pub(crate) nullable: bool,
    /// Whether no two records have the same value.
    pub(crate) unique: bool,
    /// Whether it is never told, and so neither filtered, sorted nor selected by.
    pub(crate) hidden: bool,
    /// Whether it cannot be filtered or sorted by.
    pub(crate) no_filter: bool,
    /// Whether a new record may say it.
    pub(crate) create: bool,
    /// Whether an update may say it.
    pub(crate) update: bool,
}

/// A column, under the name that it has on the wire.
pub struct Field {
    pub(crate) name: &'static str,
    pub(crate) flags: Flags,
    column: Column,
    text: bool,
    parse: fn(&Json) -> Result<Value, String>,
    from_text: fn(&str) -> Json,
    read: fn(&QueryResult, &str) -> Result<Value, DbErr>,
}

/// What SeaORM knows of a column, without its type.
struct Column {
    name: &'static str,
    save: Cast,
    load: Cast,
    value: Box<Read>,
    kind: ColumnType,
}

type Cast = Box<dyn Fn(Expr) -> Expr + Send + Sync>;
type Read = dyn Fn(&Model) -> Option<Value> + Send + Sync;

impl Column {
    fn of<E: EntityTrait>(column: E::Column) -> Self
    where
        E::Column: Send + Sync,
    {
        Self {
            name: column.as_str(),
            kind: column.def().get_column_type().clone(),
            save: Box::new(move |value| column.save_as(value)),
            load: Box::new(move |expr| column.select_as(expr)),
            value: Box::new(move |model| Some(model.downcast_ref::<E::Model>()?.get(column))),
        }
    }
}

impl Field {
    /// A column whose values have the type `T`.
    pub(super) fn new<E: EntityTrait, T>(name: &'static str, column: E::Column) -> Self
    where
        T: DeserializeOwned + Into<Value> + TryGetable + 'static,
        E::Column: Send + Sync,
    {
        Self::of::<T>(name, Column::of::<E>(column))
    }

    fn of<T>(name: &'static str, column: Column) -> Self
    where
        T: DeserializeOwned + Into<Value> + TryGetable + 'static,
    {
        Self {
            name,
            flags: Flags::default(),
            column,
            text: [TypeId::of::<String>(), TypeId::of::<Option<String>>()].contains(&TypeId::of::<T>()),
            parse: input::parse::<T>,
            from_text: input::from_text::<T>,
            read: |row, name| row.try_get::<T>("", name).map(Into::into),
        }
    }

    /// It identifies the record.
    pub fn primary_key(&mut self) -> &mut Self {
        self.flags.primary_key = true;
        self
    }

    /// The database makes its value.
    pub fn generated(&mut self) -> &mut Self {
        self.flags.generated = true;
        self
    }

    /// It may be null.
    pub fn nullable(&mut self) -> &mut Self {
        self.flags.nullable = true;
        self
    }

    /// No two records have the same value.
    pub fn unique(&mut self) -> &mut Self {
        self.flags.unique = true;
        self
    }

    /// It is never told.
    pub fn hidden(&mut self) -> &mut Self {
        self.flags.hidden = true;
        self
    }

    /// It cannot be filtered or sorted by.
    pub fn no_filter(&mut self) -> &mut Self {
        self.flags.no_filter = true;
        self
    }

    /// A new record may say it.
    pub fn create(&mut self) -> &mut Self {
        self.flags.create = true;
        self
    }

    /// An update may say it.
    pub fn update(&mut self) -> &mut Self {
        self.flags.update = true;
        self
    }

    pub(crate) fn column(&self) -> &'static str {
        self.column.name
    }

    /// Whether operators on text apply.
    pub(crate) fn is_text(&self) -> bool {
        self.text
    }

    /// Whether it is JSON as text, which PostgreSQL cannot compare.
    pub(crate) fn is_json(&self) -> bool {
        self.column.kind == ColumnType::Json
    }

    /// Fails if records cannot be identified by it.
    ///
    /// # Panics
    ///
    /// With words that say how to repair it.
    pub(super) fn check_key(&self, identity: &str) {
        use ColumnType as Kind;
        let (name, kind) = (self.name, &self.column.kind);
        let is_opaque = matches!(
            kind,
            Kind::Binary(_)
                | Kind::VarBinary(_)
                | Kind::Blob
                | Kind::Bit(_)
                | Kind::VarBit(_)
                | Kind::Json
                | Kind::JsonBinary
                | Kind::Array(_)
        );
        assert!(
            !is_opaque,
            "the key `{name}` of `{identity}` is {kind:?}, which cannot stand in a path: use a number, text or a UUID"
        );
        let is_integer = matches!(
            kind,
            Kind::TinyInteger
                | Kind::SmallInteger
                | Kind::Integer
                | Kind::BigInteger
                | Kind::TinyUnsigned
                | Kind::SmallUnsigned
                | Kind::Unsigned
                | Kind::BigUnsigned
        );
        assert!(
            is_integer || !self.flags.generated,
            "the key `{name}` of `{identity}` is no number, so no database makes it: write \
             `#[sea_orm(primary_key, auto_increment = false)]`"
        );
    }

    pub(crate) fn parse(&self, json: &Json) -> Result<Value, String> {
        (self.parse)(json)
    }

    /// The JSON that text in a form stands for.
    pub(crate) fn read_text(&self, text: &str) -> Json {
        (self.from_text)(text)
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
        (self.column.save)(Expr::val(value))
    }

    pub(crate) fn load(&self, column: Expr) -> Expr {
        (self.column.load)(column)
    }

    /// The value of this field in a record.
    pub(super) fn value_in(&self, model: &Model) -> Option<Value> {
        (self.column.value)(model)
    }

    pub(crate) fn can_be_filtered(&self) -> bool {
        !self.flags.hidden && !self.flags.no_filter
    }
}
