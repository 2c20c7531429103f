//! Everything that generated code may name beside the public types, and nothing else.

pub use catamaran::{Action, Controller, Method, Route, Transports};
pub use sea_orm::{Related, RelationTrait};
pub use serde::{Deserialize, Deserializer};
pub use serde_json::Value as Json;

pub use crate::actions::{Verb, ask, check};
pub use crate::error::Problem;
pub use crate::input::{Fields, Input, deserialize, problems};
pub use crate::meta::{Association, Field, Values};
pub use crate::policy::Viewers;
pub use crate::resource::{Columns, Tell, Told, Unreadable, Viewed, json};
pub use crate::state::HasResources;
