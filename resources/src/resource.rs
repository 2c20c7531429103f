//! An entity whose records answer requests.

use std::pin::Pin;

use axum::{extract::FromRequestParts, http::request::Parts};
use sea_orm::{EntityTrait, sea_query::ValueType};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use crate::{
    Meta, Policy,
    input::Input,
    meta::{Values, read_exact},
    policy::Viewers,
};

/// An entity whose records answer requests: what `#[resource]` makes of a model.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no resource",
    label = "an association leads from a resource to a resource",
    note = "write `#[resource(path = \"/..\", policy = ..)]` above its model, or `#[field(skip)]` above this association"
)]
pub trait Resource: EntityTrait {
    /// Who may read and write the records.
    type Policy: Policy<Self>;
    /// A new record, as a request says it.
    type Create: Input;
    /// Changes to a record, as a request says them.
    type Patch: Input;

    /// What the engine knows of it.
    fn meta() -> &'static Meta;

    /// The values of a record, by the positions of the fields.
    fn to_json(model: &Self::Model) -> Vec<Json>;

    /// A record of its values.
    fn from_json(columns: &mut Columns) -> Result<Self::Model, Unreadable>;

    /// What the server says of a new record, by the positions of the fields.
    fn on_create(_viewer: &<Self::Policy as Policy<Self>>::Viewer) -> Values {
        Values::new()
    }

    /// What the server says of each change to a record.
    fn on_update(_viewer: &<Self::Policy as Policy<Self>>::Viewer) -> Values {
        Values::new()
    }
}

/// A resource in an application whose state `S` tells its policies who asks.
#[diagnostic::on_unimplemented(
    message = "the state `{S}` does not tell the policies of `{Self}` who asks",
    label = "a `Viewer` is no extractor for the state `{S}`",
    note = "implement `FromRequestParts<{S}>` for the `Viewer` of its policy, and of the policies that its associations lead to",
    note = "a policy whose `Viewer` is `()` does not ask"
)]
pub trait Viewed<S: 'static>: Resource {
    /// How to read who asks, as the policies of this resource and of its associations know them.
    const VIEWERS: &'static [Tell<S>];
}

/// Reads who asks as one policy knows it.
pub type Tell<S> = for<'a> fn(&'a mut Viewers, &'a mut Parts, &'a S) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A resource whose policy can be told who asks.
pub trait Told<S> {
    /// Adds the viewer of its policy.
    const TELL: Tell<S>;
}

#[diagnostic::do_not_recommend]
impl<E, S> Told<S> for E
where
    E: Resource,
    ViewerOf<E>: FromRequestParts<S>,
    S: Send + Sync,
{
    const TELL: Tell<S> = |viewers, parts, state| Box::pin(viewers.read::<ViewerOf<E>, S>(parts, state));
}

/// The values of a record, one after the other.
pub struct Columns(std::vec::IntoIter<Json>);

/// Why a value is not one of its column.
pub type Unreadable = serde_json::Error;

impl Columns {
    pub(crate) fn new(values: Vec<Json>) -> Self {
        Self(values.into_iter())
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    /// The next one.
    #[expect(clippy::should_implement_trait, reason = "each has a type of its own")]
    pub fn next<T: DeserializeOwned + ValueType>(&mut self) -> Result<T, Unreadable> {
        read_exact(self.0.next().unwrap_or_default())
    }
}

/// Who asks, as the policy of a resource knows it.
pub(crate) type ViewerOf<E> = <<E as Resource>::Policy as Policy<E>>::Viewer;

/// The value of a field; one that cannot be JSON is null.
pub fn json(value: &impl Serialize) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}
