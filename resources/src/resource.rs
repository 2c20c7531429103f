//! An entity whose records answer requests.

use axum::http::request::Parts;
use sea_orm::EntityTrait;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{Meta, Policy, input::Input, policy::Viewers};

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

    /// A record without what is hidden.
    fn to_json(model: &Self::Model) -> Object;
}

/// A resource in an application whose state `S` tells its policies who asks.
pub trait Viewed<S>: Resource {
    /// Who asks, as the policies of this resource and of its associations know them.
    fn viewers(parts: &mut Parts, state: &S) -> impl Future<Output = Viewers> + Send;
}

/// A JSON object.
pub type Object = Map<String, Json>;

/// Who asks, as the policy of a resource knows it.
pub type ViewerOf<E> = <<E as Resource>::Policy as Policy<E>>::Viewer;

/// The value of a field; one that cannot be JSON is null.
pub fn json(value: &impl Serialize) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}
