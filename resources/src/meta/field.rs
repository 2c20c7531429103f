//! A column of a resource.

use std::any::TypeId;

use sea_orm::{ColumnTrait, DbErr, EntityTrait, IdenStatic, QueryResult, TryGetable, Value, sea_query::Expr};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::input;

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
