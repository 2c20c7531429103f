//! A change on its way to the servers: whole, what is hidden too, since a policy may ask for it.

use catamaran::__resources::FilterInput;
use serde::{Deserialize, Serialize};
use serde_json::{
    Map, Value as Json,
    value::{RawValue, to_raw_value},
};

use crate::{
    Meta,
    engine::{Change, Kind},
    meta::Row,
};

#[derive(Deserialize, Serialize)]
struct Transfer {
    id: Json,
    #[serde(flatten)]
    what: What,
    before: Option<Map<String, Json>>,
    after: Option<Map<String, Json>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<Map<String, Json>>,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "verb", rename_all = "camelCase")]
enum What {
    Created,
    Updated { fields: Vec<String> },
    Destroyed,
    AddedTo { attribute: String, child: Json },
    RemovedFrom { attribute: String, child: Json },
}

/// A change as JSON.
pub(crate) fn write(change: &Change) -> Box<RawValue> {
    let row = |row: &Option<Row>| row.as_ref().map(Row::whole);
    let what = match &change.kind {
        Kind::Created => What::Created,
        Kind::Updated(fields) => What::Updated { fields: fields.iter().map(|&name| name.to_owned()).collect() },
        Kind::Destroyed => What::Destroyed,
        Kind::AddedTo { attribute, child } => {
            What::AddedTo { attribute: (*attribute).to_owned(), child: child.clone() }
        }
        Kind::RemovedFrom { attribute, child } => {
            What::RemovedFrom { attribute: (*attribute).to_owned(), child: child.clone() }
        }
    };
    let [before, after, member] = [&change.before, &change.after, &change.member].map(row);
    let transfer = Transfer { id: change.id.clone(), what, before, after, member };
    to_raw_value(&transfer).unwrap_or_default()
}

/// A change that a server told of; none if it is of a version with other columns.
pub(super) fn read(meta: &'static Meta, event: &FilterInput<'_>) -> Option<Change> {
    let transfer = event.message.argument().map(|text| serde_json::from_str::<Transfer>(text.get()));
    let change = transfer.and_then(Result::ok).and_then(|transfer| transfer.change(meta));
    if change.is_none() {
        tracing::warn!(resource = meta.identity(), "change message lost: it was unreadable");
    }
    change
}

impl Transfer {
    fn change(self, meta: &'static Meta) -> Option<Change> {
        let row = |meta: &'static Meta, columns: Option<Map<String, Json>>| {
            let row = columns.map(|columns| meta.row_of(columns)).transpose();
            row.inspect_err(
                |error| tracing::warn!(resource = meta.identity(), %error, "record in change message unreadable"),
            )
            .ok()
        };
        let association = |name: &str| meta.association(name).map(|association| association.name());
        let kind = match self.what {
            What::Created => Kind::Created,
            What::Updated { fields } => {
                Kind::Updated(fields.iter().filter_map(|name| Some(meta.field(name)?.1.name)).collect())
            }
            What::Destroyed => Kind::Destroyed,
            What::AddedTo { attribute, child } => Kind::AddedTo { attribute: association(&attribute)?, child },
            What::RemovedFrom { attribute, child } => Kind::RemovedFrom { attribute: association(&attribute)?, child },
        };
        let member = match &kind {
            Kind::AddedTo { attribute, .. } | Kind::RemovedFrom { attribute, .. } => {
                row(meta.association(attribute)?.target(), self.member)?
            }
            _ => None,
        };
        let (before, after) = (row(meta, self.before)?, row(meta, self.after)?);
        Some(Change { meta, id: self.id, kind, before, after, member })
    }
}
