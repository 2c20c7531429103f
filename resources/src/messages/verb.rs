//! What a socket is told of a change, as Sails words it.

use catamaran::__resources::EncodedEvent;
use serde::Serialize;
use serde_json::{Map, Value as Json, value::to_raw_value};

use crate::{
    engine::{Change, Kind},
    meta::Row,
};

/// How a change looks to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// As what it is.
    Itself,
    /// A record that was out of sight came into it.
    Appears,
    /// A record went out of sight.
    Vanishes,
}

#[derive(Serialize)]
#[serde(tag = "verb", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Verb<'a> {
    Created {
        data: &'a Row,
        id: &'a Json,
    },
    Updated {
        data: Map<String, Json>,
        id: &'a Json,
        previous: &'a Row,
    },
    Destroyed {
        id: &'a Json,
        #[serde(skip_serializing_if = "Option::is_none")]
        previous: Option<&'a Row>,
    },
    AddedTo {
        id: &'a Json,
        attribute: &'a str,
        added_id: &'a Json,
    },
    RemovedFrom {
        id: &'a Json,
        attribute: &'a str,
        removed_id: &'a Json,
    },
}

/// The message of a change.
pub(super) fn message(change: &Change, look: Look) -> EncodedEvent {
    let verb = verb(change, look);
    let argument = to_raw_value(&verb).unwrap_or_default();
    EncodedEvent::new(change.meta.identity(), argument)
}

fn verb(change: &Change, look: Look) -> Verb<'_> {
    let Change { id, before, after, .. } = change;
    let [before, after] = [before, after].map(Option::as_ref);
    match (look, &change.kind, before, after) {
        (Look::Appears, _, _, Some(data)) | (Look::Itself, Kind::Created, _, Some(data)) => Verb::Created { data, id },
        (Look::Itself, Kind::Updated(fields), Some(previous), Some(after)) => {
            let key = change.meta.fields[change.meta.key()].name;
            let told = |(name, _): &(&str, &Json)| *name == key || fields.contains(name);
            let data = after.told().filter(told).map(|(name, value)| (name.to_owned(), value.clone())).collect();
            Verb::Updated { data, id, previous }
        }
        (Look::Itself, Kind::AddedTo { attribute, child }, ..) => Verb::AddedTo { id, attribute, added_id: child },
        (Look::Itself, Kind::RemovedFrom { attribute, child }, ..) => {
            Verb::RemovedFrom { id, attribute, removed_id: child }
        }
        (Look::Itself, Kind::Destroyed, previous, _) => Verb::Destroyed { id, previous },
        _ => Verb::Destroyed { id, previous: None },
    }
}
