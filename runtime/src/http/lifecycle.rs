//! The outermost layer of the application's router, the same for both transports: the hub, the proxies, the span of a
//! request, the refusal of requests whose host or path is unclear and of cross-site requests, a panic outside our actions, the
//! body that a status has or must not have, and what becomes of a request when the server stops.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Once,
    task::{self, Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequestParts, MatchedPath, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, CatchUnwind, Either, ready},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Span, field};

use crate::{
    ClientAddr, Error, Hub, Socket,
    http::{CrossSite, Drain, InFlight, Proxies, check_target, refuse},
    logged,
    metrics::{self, Transport},
};

/// Wraps every route and the fallback, however the application combined them.
#[derive(Clone)]
pub(crate) struct LifecycleLayer {
    pub(crate) hub: Hub,
    pub(crate) drain: Drain,
    /// Those that may say who a request is from.
    pub(crate) proxies: Proxies,
    pub(crate) cross_site: CrossSite,
}

impl<S> Layer<S> for LifecycleLayer {
    type Service = Finishing<S>;

    fn layer(&self, inner: S) -> Finishing<S> {
        let Self { hub, proxies, drain, cross_site } = self.clone();
        Finishing { inner, hub, proxies, drain, cross_site }
    }
}

#[derive(Clone)]
pub(crate) struct Finishing<S> {
    inner: S,
    hub: Hub,
    drain: Drain,
    proxies: Proxies,
    cross_site: CrossSite,
}

impl<S: Service<Request, Response = Response, Error = Infallible>> Service<Request> for Finishing<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = Finished<Either<S::Future, Refusal>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        request.extensions_mut().insert(self.hub.clone());
        if !self.proxies.is_empty() {
            request.extensions_mut().insert(self.proxies.clone());
        }
        // A socket's request is in flight until its ack is sent, so it is counted there.
        let over_http = request.extensions().get::<Socket>().is_none();
        let switches = over_http && request.headers().contains_key(header::UPGRADE);
        let in_flight = over_http.then(|| self.drain.enter(Transport::Http));
        let span = span(&request, over_http);
        let answering = if self.drain.refuses() {
            let refused: Refusal = Box::pin(async { Ok(refuse(request).await) });
            Either::Right(refused)
        } else {
            let admitted = || {
                if over_http {
                    check_target(&request)?;
                }
                self.cross_site.admit(with_client_address(request)?)
            };
            span.in_scope(|| match admitted() {
                Ok(request) => Either::Left(self.inner.call(request)),
                Err(refusal) => Either::Right(Box::pin(ready(Ok(refusal.into_response()))) as Refusal),
            })
        };
        let guarded = AssertUnwindSafe(answering).catch_unwind();
        // Reading the clock costs as much as routing does, so it is read only for somebody who listens.
        let started = (!span.is_disabled()).then(Instant::now);
        Finished { guarded, span, started, in_flight, switches }
    }
}

/// Puts the address of the client where layers and keys of rate limits look for it. A request whose headers make it
/// unknowable is refused: a layer that finds none would count nothing.
fn with_client_address(request: Request) -> Result<Request, Error> {
    static WARNED: Once = Once::new();
    let (mut parts, body) = request.into_parts();
    match ClientAddr::from_request_parts(&mut parts, &()).now_or_never() {
        Some(Ok(address)) => drop(parts.extensions.insert(address)),
        Some(Err(error)) if error.status().is_client_error() => return Err(error),
        Some(Err(error)) => WARNED.call_once(|| tracing::warn!(reason = error.message(), "client address unknown")),
        None => {}
    }
    Ok(Request::from_parts(parts, body))
}

/// The span of a request: transport, method and route now, status and latency at its end. Bodies, cookies and query
/// values stay out of it.
fn span(request: &Request, over_http: bool) -> Span {
    let extensions = request.extensions();
    tracing::info_span!(
        "request",
        transport = if over_http { Transport::Http } else { Transport::Socket }.as_str(),
        method = logged::method(request.method()),
        route = extensions.get::<MatchedPath>().map(MatchedPath::as_str),
        status = field::Empty,
        latency = field::Empty,
    )
}

type Refusal = BoxFuture<'static, Result<Response, Infallible>>;

pin_project! {
    pub(crate) struct Finished<F> {
        #[pin]
        guarded: CatchUnwind<AssertUnwindSafe<F>>,
        span: Span,
        started: Option<Instant>,
        in_flight: Option<InFlight>,
        // The request asks for another protocol, so 101 can be its answer.
        switches: bool,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Finished<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.span.enter();
        let response = match task::ready!(this.guarded.poll(cx)) {
            Ok(Ok(response)) => finished(response, *this.switches),
            Ok(Err(never)) => match never {},
            Err(_panic) => Error::panicked().into_response(),
        };
        if let Some(started) = this.started {
            this.span.record("status", response.status().as_u16());
            this.span.record("latency", field::debug(started.elapsed()));
        }
        tracing::debug!("answered");
        if this.in_flight.take().is_some() {
            metrics::request_answered(Transport::Http, response.status());
        }
        drop(entered);
        Poll::Ready(Ok(response))
    }
}

/// The answer that both transports can carry. hyper would do the same for most of it, but over HTTP alone.
fn finished(mut response: Response, switches: bool) -> Response {
    match response.status() {
        // axum answers an unknown path and a wrong method with an empty body; a client is told in words.
        StatusCode::NOT_FOUND => with_words(response, "Not Found"),
        StatusCode::METHOD_NOT_ALLOWED => with_words(response, "Method Not Allowed"),
        // These have no body, nor what describes one.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            *response.body_mut() = Body::empty();
            for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
                response.headers_mut().remove(name);
            }
            response
        }
        StatusCode::SWITCHING_PROTOCOLS if switches => response,
        status if status.is_informational() => Error::informational(status).into_response(),
        _ => response,
    }
}

fn with_words(mut response: Response, words: &'static str) -> Response {
    if response.body().is_end_stream() && !response.headers().contains_key(header::CONTENT_TYPE) {
        *response.body_mut() = Body::from(words);
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    response
}
