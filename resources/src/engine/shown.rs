//! Records as they go out.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value as Json;

use crate::meta::{Association, Row};

/// A record, what is selected of it, and what it is populated with.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(super) row: Row,
    pub(super) select: Option<Vec<&'static str>>,
    pub(super) populated: Vec<(&'static Association, Vec<Row>)>,
}

impl Shown {
    /// Its identity, which may not be selected.
    pub(crate) fn id(&self) -> &Json {
        self.row.id()
    }

    /// The records that it is populated with by this association.
    pub(crate) fn with(&self, association: &Association) -> &[Row] {
        let populated = self.populated.iter().find(|(it, _)| std::ptr::eq(*it, association));
        populated.map_or(&[], |(_, rows)| rows)
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.row.told() {
            let selected = self.select.as_ref().is_none_or(|names| names.contains(&name));
            // A key gives way to the record that it leads to.
            if selected && !self.populated.iter().any(|(association, _)| association.name() == name) {
                map.serialize_entry(name, value)?;
            }
        }
        for (association, rows) in &self.populated {
            match association.is_many() {
                true => map.serialize_entry(association.name(), rows)?,
                false => map.serialize_entry(association.name(), &rows.first())?,
            }
        }
        map.end()
    }
}
