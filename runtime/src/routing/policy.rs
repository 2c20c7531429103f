//! Who may ask the actions of a controller.

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};

/// A policy: an extractor whose rejection is the answer of whom it does not let in.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot guard a controller",
    label = "not an extractor for the application state `{S}`",
    note = "a policy is a type that implements `FromRequestParts`; its rejection is the answer of whom it does not let in"
)]
pub trait Policy<S>: Send + 'static {
    #[doc(hidden)]
    fn admit(parts: &mut Parts, state: &S) -> impl Future<Output = Result<(), Response>> + Send;
}

impl<S: Send + Sync, P: FromRequestParts<S> + Send + 'static> Policy<S> for P {
    async fn admit(parts: &mut Parts, state: &S) -> Result<(), Response> {
        match P::from_request_parts(parts, state).await {
            Ok(_) => Ok(()),
            Err(rejection) => Err(rejection.into_response()),
        }
    }
}
