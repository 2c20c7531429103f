//! A record.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

use sea_orm::Value;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::{Field, Meta, exact};
use crate::Resource;

/// A model of any entity.
pub(super) type Model = dyn Any + Send + Sync;

/// A record: as its policy sees it, and as it goes out.
#[derive(Clone)]
pub struct Row {
    meta: &'static Meta,
    model: Arc<Model>,
    /// Its columns as JSON, hidden ones too, in the order of the fields.
    columns: Arc<[Json]>,
    /// The same as the database takes them, once somebody asks: most records only go out.
    values: OnceLock<Arc<[Value]>>,
}

impl Row {
    pub(crate) fn of<E: Resource>(meta: &'static Meta, model: E::Model) -> Self
    where
        E::Model: Sync,
    {
        let columns = E::to_json(&model).into();
        Self { meta, columns, model: Arc::new(model), values: OnceLock::new() }
    }

    pub(crate) fn model<E: Resource>(&self) -> Option<&E::Model> {
        self.model.downcast_ref()
    }

    /// The value of the field at this position.
    pub(crate) fn value(&self, at: usize) -> &Value {
        let value = |field: &Field| field.value_in(&*self.model);
        &self.values.get_or_init(|| self.meta.fields.iter().filter_map(value).collect())[at]
    }

    /// Its identity, as it goes out.
    pub(crate) fn id(&self) -> &Json {
        &self.columns[self.meta.key()]
    }

    /// The resource of the record.
    pub(crate) fn meta(&self) -> &'static Meta {
        self.meta
    }

    /// Everything that the record is, by the names of its columns, for other servers.
    pub(crate) fn whole(&self) -> Map<String, Json> {
        let columns = self.meta.fields.iter().zip(&*self.columns).enumerate();
        columns.map(|(at, (field, shown))| (field.column().to_owned(), exact::write(self.value(at), shown))).collect()
    }

    /// What everybody who sees the record may see of it, by the names on the wire.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&'static str, &Json)> {
        let told = self.meta.fields.iter().zip(&*self.columns).filter(|(field, _)| !field.flags.hidden);
        told.map(|(field, value)| (field.name, value))
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.told()).finish()
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.told())
    }
}
