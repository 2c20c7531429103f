//! The service behind one route.

use std::sync::Arc;

use axum::{
    Router,
    routing::{MethodFilter, MethodRouter},
};

use crate::{Action, Method, action::Call, controller::Policy};

/// How the routes of an application are served.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints;

impl Endpoints {
    pub(crate) fn router<T: Send + Sync + 'static>(self, actions: &'static [Action<T>], state: Arc<T>) -> Router {
        let mut router = Router::new();
        for action in actions {
            let state = state.clone();
            let filter = match action.route.method {
                Method::Get => MethodFilter::GET,
                Method::Post => MethodFilter::POST,
                Method::Put => MethodFilter::PUT,
                Method::Patch => MethodFilter::PATCH,
                Method::Delete => MethodFilter::DELETE,
            };
            router = router.route(
                action.route.path,
                MethodRouter::new().on(filter, move |request| {
                    (action.call)(Call { request, state: state.clone(), params: action.route.params })
                }),
            );
        }
        router
    }
    pub(crate) fn guarded_router<T: Send + Sync + 'static, P: Policy<S>, S: Send + Sync + 'static>(
        self,
        actions: &'static [Action<T>],
        own: Arc<T>,
        _: &Arc<S>,
    ) -> Router {
        self.router(actions, own)
    }
}

/// a
#[derive(Clone, Debug)]
pub struct Endpoint;
