//! Controllers, and the table that joins them.

use std::{fmt, marker::PhantomData, sync::Arc};

use axum::{
    Router,
    extract::{FromRef, FromRequestParts},
};

use crate::{Action, Route, endpoint::Endpoints};

/// A list of actions that share a state `S`.
///
/// `#[controller]` and `actions!` write this constant into the module as `CONTROLLER`, and every action has one of its own.
pub struct Controller<S: 'static> {
    /// The routes of the actions, in the same order.
    pub routes: &'static [Route],
    #[doc(hidden)]
    pub actions: &'static [Action<S>],
}

impl<S: 'static> Controller<S> {
    /// The same controller behind a policy `P`: an extractor that runs before each of its actions.
    #[doc(hidden)]
    pub const fn guarded<P>(self) -> Guarded<S, P> {
        Guarded { actions: self.actions, policy: PhantomData }
    }
}

impl<S> fmt::Debug for Controller<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes).finish()
    }
}

/// A controller behind a policy, as `admin => RequireAdmin` in `routes!` makes it.
pub struct Guarded<S: 'static, P> {
    actions: &'static [Action<S>],
    policy: PhantomData<fn() -> P>,
}

impl<S, P> fmt::Debug for Guarded<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.actions).finish()
    }
}

/// A policy: an extractor whose rejection is the answer of whom it does not let in.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot guard a controller",
    label = "not an extractor for the application state `{S}`",
    note = "a policy is a type that implements `FromRequestParts`; its rejection is the answer of whom it does not let in"
)]
pub trait Policy<S>: Send + 'static {
    #[doc(hidden)]
    fn admit(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> impl Future<Output = Result<(), axum::response::Response>> + Send;
}

impl<S: Send + Sync, P: FromRequestParts<S> + Send + 'static> Policy<S> for P {
    async fn admit(parts: &mut axum::http::request::Parts, state: &S) -> Result<(), axum::response::Response> {
        match P::from_request_parts(parts, state).await {
            Ok(_) => Ok(()),
            Err(rejection) => Err(axum::response::IntoResponse::into_response(rejection)),
        }
    }
}

/// What the table needs of a controller once the application's state `S` is known.
pub trait Mount<S>: Sync {
    #[doc(hidden)]
    fn mount(&self, state: &Arc<S>, endpoints: Endpoints) -> Router;
}

impl<S, T> Mount<S> for Controller<T>
where
    S: Send + Sync + 'static,
    T: FromRef<S> + Send + Sync + 'static,
{
    fn mount(&self, state: &Arc<S>, endpoints: Endpoints) -> Router {
        let own = Arc::new(T::from_ref(state));
        endpoints.router(self.actions, &own)
    }
}

impl<S, T, P> Mount<S> for Guarded<T, P>
where
    S: Send + Sync + 'static,
    T: FromRef<S> + Send + Sync + 'static,
    P: Policy<S>,
{
    fn mount(&self, state: &Arc<S>, endpoints: Endpoints) -> Router {
        let own = Arc::new(T::from_ref(state));
        endpoints.guarded_router::<S, T, P>(self.actions, &own, state)
    }
}

/// The controllers of an application, checked against one another while compiling: what `routes!` makes.
pub struct Table<S: 'static> {
    /// All routes, controller by controller.
    pub routes: &'static [Route],
    #[doc(hidden)]
    pub controllers: &'static [&'static dyn Mount<S>],
}

impl<S> fmt::Debug for Table<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes).finish()
    }
}
