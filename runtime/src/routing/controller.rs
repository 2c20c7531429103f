//! Controllers, and the table that joins them.

use std::{fmt, marker::PhantomData, sync::Arc};

use axum::{Router, extract::FromRef};

use crate::{Action, Route, routing::endpoint::Endpoints, routing::policy::Policy};

/// A list of actions that share a state `S`.
///
/// `#[controller]` and `actions!` write this constant into the module as `CONTROLLER`; an action alone has one of its own.
pub struct Controller<S: 'static> {
    /// The routes of the actions, in the same order.
    pub routes: &'static [Route],
    #[doc(hidden)]
    pub actions: &'static [Action<S>],
}

impl<S> fmt::Debug for Controller<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes).finish()
    }
}

/// A controller whose own state is known once the application's state `S` is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be mounted on the state `{S}`",
    note = "`routes!` takes controllers and actions, e.g. `routes![hello, chat, admin => RequireAdmin]`"
)]
pub trait Mountable<S>: Sync {
    #[doc(hidden)]
    type State: Send + Sync + 'static;
    #[doc(hidden)]
    fn bind(&self, state: &Arc<S>) -> (&'static [Action<Self::State>], Arc<Self::State>);
}

/// A controller says its state, which is a part of the application's.
impl<S, T> Mountable<S> for Controller<T>
where
    T: FromRef<S> + Send + Sync + 'static,
{
    type State = T;
    fn bind(&self, state: &Arc<S>) -> (&'static [Action<T>], Arc<T>) {
        (self.actions, Arc::new(T::from_ref(state)))
    }
}

/// An action that takes an extractor of the application's own fits any state that this extractor reads, so its
/// `CONTROLLER` is a generic function.
impl<S, F> Mountable<S> for F
where
    S: Send + Sync + 'static,
    F: Fn() -> Controller<S> + Sync,
{
    type State = S;
    fn bind(&self, state: &Arc<S>) -> (&'static [Action<S>], Arc<S>) {
        (self().actions, state.clone())
    }
}

/// A controller behind a policy `P`, as `admin => RequireAdmin` in `routes!` makes it.
#[derive(Debug)]
pub struct Guarded<C, P> {
    /// What it guards.
    pub controller: C,
    /// The policy, which is a type without a value.
    pub policy: PhantomData<fn() -> P>,
}

/// What the table needs of a controller once the application's state `S` is known.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be mounted on the state `{S}`",
    label = "does not fit the state `{S}`",
    note = "a controller's state is a part of the application's: implement `FromRef<{S}>` for it, or give `App::new` the state that holds it",
    note = "a policy, as in `routes![admin => RequireAdmin]`, is an extractor for the application's state"
)]
pub trait Mount<S>: Sync {
    #[doc(hidden)]
    fn mount(&self, state: &Arc<S>, endpoints: Endpoints) -> Router;
}

impl<S, T> Mount<S> for Controller<T>
where
    T: FromRef<S> + Send + Sync + 'static,
{
    fn mount(&self, state: &Arc<S>, endpoints: Endpoints) -> Router {
        let (actions, own) = self.bind(state);
        endpoints.router(actions, &own)
    }
}

impl<S, F> Mount<S> for F
where
    S: Send + Sync + 'static,
    F: Fn() -> Controller<S> + Sync,
{
    fn mount(&self, state: &Arc<S>, endpoints: Endpoints) -> Router {
        let (actions, own) = self.bind(state);
        endpoints.router(actions, &own)
    }
}

impl<S, C, P> Mount<S> for Guarded<C, P>
where
    S: Send + Sync + 'static,
    C: Mountable<S>,
    P: Policy<S>,
{
    fn mount(&self, state: &Arc<S>, endpoints: Endpoints) -> Router {
        let (actions, own) = self.controller.bind(state);
        endpoints.guarded_router::<S, C::State, P>(actions, &own, state)
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
