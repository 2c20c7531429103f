//! The service behind one route: transports, policy, action, and what becomes of a panic or a delay.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter},
};
use futures_util::{FutureExt, future::CatchUnwind};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::{
    Action, Error, Method, Route, Socket, Transports,
    routing::action::{Call, Reply},
    routing::policy::Policy,
};

/// Makes the services behind the routes of an application.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    /// How long an action may take; longer is answered with 503.
    pub(crate) timeout: Duration,
}

impl Endpoints {
    pub(crate) fn router<T: Send + Sync + 'static>(self, actions: &'static [Action<T>], state: &Arc<T>) -> Router {
        actions.iter().fold(Router::new(), |router, action| {
            let state = state.clone();
            self.add(router, &action.route, move |request| run(action, request, &state))
        })
    }

    pub(crate) fn guarded_router<S, T, P>(
        self,
        actions: &'static [Action<T>],
        state: &Arc<T>,
        application: &Arc<S>,
    ) -> Router
    where
        S: Send + Sync + 'static,
        T: Send + Sync + 'static,
        P: Policy<S>,
    {
        actions.iter().fold(Router::new(), |router, action| {
            let (state, application) = (state.clone(), application.clone());
            self.add(router, &action.route, move |request| {
                let (state, application) = (state.clone(), application.clone());
                Box::pin(async move {
                    let (mut parts, body) = request.into_parts();
                    match P::admit(&mut parts, &application).await {
                        Ok(()) => run(action, Request::from_parts(parts, body), &state).await,
                        Err(refusal) => refusal,
                    }
                })
            })
        })
    }

    fn add<F>(self, router: Router, route: &'static Route, run: F) -> Router
    where
        F: Fn(Request) -> Reply + Clone + Send + Sync + 'static,
    {
        let method = match route.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Patch => MethodFilter::PATCH,
            Method::Delete => MethodFilter::DELETE,
        };
        let endpoint = Endpoint { route, run, timeout: self.timeout };
        router.route(route.path, MethodRouter::new().on_service(method, endpoint))
    }
}

fn run<T>(action: &'static Action<T>, request: Request, state: &Arc<T>) -> Reply {
    (action.call)(Call { request, state: state.clone(), params: action.route.params })
}

/// One route as a service, the same for both transports.
#[derive(Clone)]
struct Endpoint<F> {
    route: &'static Route,
    run: F,
    timeout: Duration,
}

impl<F: Fn(Request) -> Reply> Service<Request> for Endpoint<F> {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answering {
        let over_socket = request.extensions().get::<Socket>().is_some();
        let reply = match (self.route.transports, over_socket) {
            (Transports::Socket, false) | (Transports::Http, true) => {
                let refusal = Error::wrong_transport(self.route.transports, Some(self.route)).into_response();
                Box::pin(async { refusal })
            }
            _ => (self.run)(request),
        };
        let guarded = AssertUnwindSafe(reply).catch_unwind();
        Answering { route: self.route, limit: self.timeout, guarded, timeout: None }
    }
}

pin_project! {
    /// An action under way, whose panic becomes a 500 and whose delay a 503.
    ///
    /// It does so inside the application's layers, so that a CORS layer, say, still adds its headers to that answer.
    struct Answering {
        route: &'static Route,
        limit: Duration,
        #[pin]
        guarded: CatchUnwind<AssertUnwindSafe<Reply>>,
        // Runs from when the action first waits; most never do.
        timeout: Option<Pin<Box<Sleep>>>,
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(outcome) = this.guarded.poll(cx) {
            return Poll::Ready(Ok(outcome.unwrap_or_else(|_panic| Error::panicked().into_response())));
        }
        let limit = *this.limit;
        ready!(this.timeout.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        tracing::warn!(action = this.route.action, "an action was cut off by the timeout");
        Poll::Ready(Ok(Error::timed_out(limit).into_response()))
    }
}
