//! How an action reads its request: the context, and the path, body and query as one value.

pub(crate) mod ctx;
pub(crate) mod params;

pub use ctx::{Ctx, Http, Via};
pub use params::Params;
