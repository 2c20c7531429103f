//! The application.

use std::sync::Arc;

use axum::Router;

use crate::{Route, controller::Table, endpoint::Endpoints};

/// An application.
pub struct App<S: 'static> {
    state: S,
    tables: Vec<Table<S>>,
}

impl<S: Send + Sync + 'static> App<S> {
    /// An application with this state.
    pub fn new(state: S) -> Self {
        Self { state, tables: Vec::new() }
    }

    /// Adds controllers.
    #[must_use]
    pub fn mount(mut self, table: Table<S>) -> Self {
        self.tables.push(table);
        self
    }

    /// The routes.
    pub fn routes(&self) -> impl Iterator<Item = &'static Route> {
        self.tables.iter().flat_map(|table| table.routes)
    }

    /// A plain router.
    pub fn into_router(self) -> Router {
        let state = Arc::new(self.state);
        self.tables
            .iter()
            .flat_map(|table| table.controllers)
            .fold(Router::new(), |router, controller| router.merge(controller.mount(&state, Endpoints)))
    }
}
