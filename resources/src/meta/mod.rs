//! What the engine knows of a resource: its fields, its associations, its policy; without its types.

mod association;
mod exact;
mod field;
mod row;

use std::{
    any::TypeId,
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use sea_orm::{
    Condition, DbErr, EntityTrait, FromQueryResult, QueryResult, RelationDef, TryGetable, Value,
    sea_query::{TableRef, sea_value_to_json_value},
};
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value as Json};

pub use self::association::Association;
pub(crate) use self::{association::Link, exact::read as read_exact};
pub use self::{field::Field, row::Row};
use crate::{
    Policy, Resource, Write,
    engine::sql,
    error::Problem,
    input,
    policy::Viewer,
    resource::{Columns, Unreadable},
};

/// What the engine knows of a resource; `#[resource]` writes it.
pub struct Meta {
    pub(crate) identity: &'static str,
    pub(crate) table: TableRef,
    /// The table's name alone, for columns and for stripes.
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
    pub(crate) associations: Vec<Association>,
    /// What it does not answer.
    except: &'static [&'static str],
    pub(crate) viewer: TypeId,
    pub(crate) scope: fn(&Viewer) -> Condition,
    can_read: fn(&Viewer, &Row) -> bool,
    can_write: fn(&Viewer, Write<'_, Row>) -> bool,
    /// What the server says of a new record, and of each change.
    pub(crate) on_create: Presets,
    pub(crate) on_update: Presets,
    pub(crate) decode: fn(&'static Self, &QueryResult) -> Result<Row, DbErr>,
    record: fn(&'static Self, Vec<Json>) -> Result<Row, Unreadable>,
    pub(crate) create: fn(Map<String, Json>) -> Result<Values, Vec<Problem>>,
    pub(crate) patch: fn(Map<String, Json>) -> Result<Values, Vec<Problem>>,
}

/// Values for columns, by the position of the field.
pub type Values = Vec<(usize, Value)>;

/// The values that the server says as a viewer writes; none if the viewer is of another policy.
pub(crate) type Presets = fn(&Viewer) -> Option<Values>;

impl Meta {
    /// Describes the entity `E`.
    #[doc(hidden)]
    pub fn new<E: Resource>(identity: &'static str) -> Self
    where
        E::Model: Sync,
    {
        let entity = E::default();
        Self {
            identity,
            table: entity.table_ref(),
            name: entity.table_name(),
            fields: Vec::new(),
            associations: Vec::new(),
            except: &[],
            viewer: TypeId::of::<<E::Policy as Policy<E>>::Viewer>(),
            scope: |viewer| match viewer.get() {
                Some(viewer) => E::Policy::scope(viewer),
                None => Condition::all().add(sql::never()),
            },
            can_read: |viewer, row| match (viewer.get(), row.model::<E>()) {
                (Some(viewer), Some(model)) => E::Policy::can_read(viewer, model),
                _ => false,
            },
            can_write: |viewer, write| match (viewer.get(), write.try_map(Row::model::<E>)) {
                (Some(viewer), Some(write)) => E::Policy::can_write(viewer, write),
                _ => false,
            },
            on_create: |viewer| viewer.get().map(E::on_create),
            on_update: |viewer| viewer.get().map(E::on_update),
            decode: |meta, row| Ok(Row::of::<E>(meta, E::Model::from_query_result(row, "")?)),
            record: |meta, values| {
                let mut columns = Columns::new(values);
                let model = E::from_json(&mut columns).map_err(|_| meta.unreadable(&columns))?;
                Ok(Row::of::<E>(meta, model))
            },
            create: input::read::<E::Create>,
            patch: input::read::<E::Patch>,
        }
    }

    /// Adds a column.
    #[doc(hidden)]
    pub fn add_field<E: EntityTrait, T>(&mut self, name: &'static str, column: E::Column) -> &mut Field
    where
        T: DeserializeOwned + Into<Value> + TryGetable + 'static,
        E::Column: Send + Sync,
    {
        let at = self.fields.len();
        self.fields.push(Field::new::<E, T>(name, column));
        &mut self.fields[at]
    }

    /// Adds an association: `to` leads to the other table, from the own or from the one between, to which `via` leads.
    #[doc(hidden)]
    pub fn add_association<E: Resource>(
        &mut self,
        name: &'static str,
        many: bool,
        to: fn() -> RelationDef,
        via: Option<fn() -> RelationDef>,
    ) -> &mut Association {
        let at = self.associations.len();
        self.associations.push(Association::new::<E>(name, many, to, via));
        &mut self.associations[at]
    }

    /// Says what it does not answer: the verbs that `#[resource]` knows.
    #[doc(hidden)]
    pub fn except(&mut self, verbs: &'static [&'static str]) {
        self.except = verbs;
    }

    /// Whether requests may do this with the records.
    pub(crate) fn does(&self, verb: &str) -> bool {
        !self.except.contains(&verb)
    }

    /// Fails while the application is built if the resource makes no sense, in words.
    ///
    /// # Panics
    ///
    /// If its key identifies nothing, an association leads nowhere, or another resource has its identity: both would have
    /// one channel, and each would be asked for the policy of the other.
    pub(crate) fn check<E: Resource>(&self) {
        static KNOWN: Mutex<BTreeMap<&str, (TypeId, &str)>> = Mutex::new(BTreeMap::new());
        self.fields[self.key()].check_key(self.identity);
        for association in &self.associations {
            self.link(association);
        }
        let own = (TypeId::of::<E>(), std::any::type_name::<E>());
        let known = *KNOWN.lock().unwrap_or_else(PoisonError::into_inner).entry(self.identity).or_insert(own);
        assert!(
            known.0 == own.0,
            "`{}` and `{}` are both the resource `{}`: give one of them another name, `#[resource(.., identity = \"..\")]`",
            known.1,
            own.1,
            self.identity
        );
    }

    /// What the resource is called on the wire.
    pub fn identity(&self) -> &'static str {
        self.identity
    }

    /// Whether a viewer of this resource's policy sees a record.
    pub fn can_read(&self, viewer: &Viewer, row: &Row) -> bool {
        (self.can_read)(viewer, row)
    }

    pub(crate) fn can_write(&self, viewer: &Viewer, write: Write<'_, Row>) -> bool {
        (self.can_write)(viewer, write)
    }

    /// The position of the primary key.
    pub(crate) fn key(&self) -> usize {
        self.fields.iter().position(|field| field.flags.primary_key).unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    pub(crate) fn association(&self, name: &str) -> Option<&Association> {
        self.associations.iter().find(|association| association.name() == name)
    }

    /// A record that another server told of.
    pub(crate) fn row_of(&'static self, mut columns: Map<String, Json>) -> Result<Row, Unreadable> {
        let values = self.fields.iter().map(|field| columns.remove(field.column()).unwrap_or_default());
        (self.record)(self, values.collect())
    }

    /// Names the column that was read last. What serde says of it has its value, which may be secret.
    fn unreadable(&self, columns: &Columns) -> Unreadable {
        let read = self.fields.len() - columns.left();
        let name = read.checked_sub(1).map_or("", |last| self.fields[last].column());
        Unreadable::custom(format!("column `{name}` is no value of its type"))
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A value as the key of a map, whatever integer type its column has.
pub(crate) fn key_text(value: &Value) -> String {
    sea_value_to_json_value(value).to_string()
}
