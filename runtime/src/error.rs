//! Errors that an action answers with, and the ones the framework answers with for it.

use std::{
    error::Error as StdError,
    fmt, io, iter,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    ChannelConflict, MembersError, PublishError, Route, SendError, SubscribeError, TagError, Transports,
    UnreachedServers, logged,
};

/// The header that says of a 503 that its request was not begun, so that it may be repeated whatever it does.
const NOT_RUN: HeaderName = HeaderName::from_static("x-catamaran-not-run");
const DRAINING: &str = "draining";
/// What a client reads of an error that `?` converted.
const INTERNAL: &str = "Internal Server Error";

/// What an action answers: a value, or an [`Error`] that becomes a response.
///
/// ```
/// use axum::{Json, http::StatusCode};
///
/// async fn double(text: String) -> catamaran::Result<Json<u64>> {
///     let number: u64 = text.parse()?; // any error becomes a 500 whose cause only the log sees
///     if number > 1_000 {
///         return Err(catamaran::Error::new(StatusCode::UNPROCESSABLE_ENTITY, "at most 1000"));
///     }
///     Ok(Json(number * 2))
/// }
/// ```
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// A failure as the client sees it: a status, a message, and a source that stays on the server.
///
/// As a response it is the status with the JSON body `{"message": ".."}`; answers that the framework gives on its own
/// also have a `code` to branch on. The source is logged, never sent.
///
/// Every `std::error::Error` converts into a 500 by `?`. For the same reason this type is not one itself; an
/// application that wants its own error type can use that with actions just as well, as long as it is `IntoResponse`.
pub struct Error {
    status: StatusCode,
    code: Option<&'static str>,
    message: String,
    /// When to ask again.
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// The answer, where it is made already; it is locked since a body cannot be shared.
    answer: Option<Box<Mutex<Response>>>,
}

impl Error {
    /// A failure with this status, and a message that the client will read.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, message: message.into(), retry_after: None, source: None, answer: None }
    }

    /// The same failure with its cause, for the log.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// A failure whose answer is made already.
    #[doc(hidden)]
    pub fn answered(message: impl Into<String>, answer: Response) -> Self {
        let status = answer.status();
        Self { answer: Some(Box::new(Mutex::new(answer))), ..Self::new(status, message) }
    }

    /// Its cause, which the client is not told.
    pub fn source(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// Its source, the source of that, and so on.
    fn causes(&self) -> impl Iterator<Item = &dyn StdError> {
        let source = self.source.as_deref().map(|source| source as &dyn StdError);
        iter::successors(source, |&cause| cause.source())
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The message that the client reads.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn framework(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(status, message) }
    }

    /// A packet, or a part of one, that is not a request.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::framework(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// A URL longer than HTTP's own library takes.
    pub(crate) fn url_too_long(limit: usize) -> Self {
        Self::framework(StatusCode::URI_TOO_LONG, "url_too_long", format!("a url has at most {limit} bytes"))
    }

    /// A body that keeps the server waiting.
    pub(crate) fn slow_body() -> Self {
        let message = "the body came too slowly: send it at once, at 1,000 bytes a second at least";
        Self::framework(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
    }

    /// An action asked over a transport that its context rules out.
    pub(crate) fn wrong_transport(transports: Transports, route: Option<&Route>) -> Self {
        let (action, target) = match route {
            Some(Route { action, method, path, .. }) => (format!("`{action}`"), format!("{method} {path}")),
            None => ("this route".into(), "it".into()),
        };
        match transports {
            Transports::Socket => Self::framework(
                StatusCode::UPGRADE_REQUIRED,
                "socket_only",
                format!("{action} answers sockets only: connect with Socket.IO and request {target} there"),
            ),
            Transports::Http | Transports::Both => Self::framework(
                StatusCode::BAD_REQUEST,
                "http_only",
                format!("{action} answers HTTP only: request {target} over HTTP"),
            ),
        }
    }

    /// A page, or a client, that may not open a socket.
    pub(crate) fn origin_refused(reason: impl Into<String>) -> Self {
        Self::framework(StatusCode::FORBIDDEN, "origin_refused", reason)
    }

    /// A websocket of a draft before RFC 6455.
    pub(crate) fn websocket_version() -> Self {
        let message = "the websocket must be of version 13, RFC 6455: send `sec-websocket-version: 13`";
        Self::framework(StatusCode::UPGRADE_REQUIRED, "websocket_version", message)
    }

    /// A websocket handshake that a proxy, most likely, has made into a plain request.
    pub(crate) fn websocket_upgrade(fault: &str) -> Self {
        let message = format!(
            "the websocket handshake {fault}: the proxy in front of the server must pass `upgrade: websocket` and \
             `connection: upgrade` on, over HTTP/1.1 (docs/deployment.md); without websockets, clients can use long-polling \
             where `App::transports` allows it"
        );
        Self::framework(StatusCode::UPGRADE_REQUIRED, "websocket_upgrade", message)
    }

    /// A websocket handshake without a key that RFC 6455 allows.
    pub(crate) fn websocket_key() -> Self {
        let message = "the websocket handshake must have one header `sec-websocket-key`, the base64 of 16 bytes";
        Self::framework(StatusCode::BAD_REQUEST, "websocket_key", message)
    }

    /// A request that may change something, sent by a page that may not.
    pub(crate) fn cross_site(method: &Method, origin: Option<&str>) -> Self {
        let message = match origin {
            Some("null") => format!(
                "a page of the origin `null` (sandboxed, local, or with the referrer policy `no-referrer`) may not send \
                 {method} here: `App::allow_cross_site` names the routes that any page may send to"
            ),
            Some(origin) => {
                let origin: String = origin.chars().take(200).collect();
                format!(
                    "pages of the origin {origin:?} may not send {method} here: name the origin, \
                     `App::origins(Origins::same().and({origin:?}))`, or the route, `App::allow_cross_site`"
                )
            }
            None => format!(
                "a page of another site may not send {method} here, and does not say one origin: \
                 `App::allow_cross_site` names the routes that any page may send to"
            ),
        };
        Self::framework(StatusCode::FORBIDDEN, "cross_site_refused", message)
    }

    /// A request that names no host, or several.
    pub(crate) fn host_refused(reason: &str) -> Self {
        Self::framework(
            StatusCode::BAD_REQUEST,
            "host_refused",
            format!("{reason}: send one `Host`, such as \"example.com\""),
        )
    }

    /// A path that a client over a socket cannot request either.
    pub(crate) fn path_refused() -> Self {
        let message = "the path begins with two slashes, so a browser would take it for a host: begin it with one `/`";
        Self::framework(StatusCode::BAD_REQUEST, "path_refused", message)
    }

    /// A final status of 1xx, after which the client would wait for the answer.
    pub(crate) fn informational(status: StatusCode) -> Self {
        let message = "the action answered with a status of 1xx, which is no answer: use 200 or above";
        tracing::error!(status = status.as_u16(), "{message}");
        Self::framework(StatusCode::INTERNAL_SERVER_ERROR, "informational_status", message)
    }

    /// A proxy that is trusted and says what cannot be read, or contradicts itself.
    pub(crate) fn forwarded_refused(reason: impl Into<String>) -> Self {
        Self::framework(StatusCode::BAD_REQUEST, "forwarded_refused", reason)
    }

    /// A request with the id of a long-polling session, but without what its handshake carried.
    pub(crate) fn session_refused(difference: &str) -> Self {
        let message = format!("{difference} the handshake of this session: connect again");
        Self::framework(StatusCode::FORBIDDEN, "session_refused", message)
    }

    /// A handshake whose head would be kept for too long.
    pub(crate) fn handshake_too_large(limit: usize) -> Self {
        let message = format!("the head of a handshake has at most {limit} bytes: send fewer or shorter headers");
        Self::framework(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "handshake_too_large", message)
    }

    /// A session for which there is no place.
    pub(crate) fn too_many_connections() -> Self {
        let message = "the server has as many connections as it takes: retry later";
        let retry_after = Some(Duration::from_secs(5));
        Self { retry_after, ..Self::framework(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message) }
    }

    /// A mistake of whoever serves the router, so the answer names the remedy.
    pub(crate) fn no_client_address() -> Self {
        Self::framework(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no_client_address",
            "the address of the client is not known: serve the router with \
             `into_make_service_with_connect_info::<SocketAddr>()`",
        )
    }

    /// An extractor in a request that no application has prepared: what it would do, nobody would notice that it does not.
    pub(crate) fn outside_app(extractor: &'static str) -> Self {
        let message = format!(
            "`{extractor}` works inside an `App` only: add the route with `App::merge` or `App::map_router`, add the layer \
             with `App::layer`, and keep the extensions of a request that a layer rebuilds"
        );
        tracing::error!(extractor, "extractor used outside an App: {message}");
        Self::framework(StatusCode::INTERNAL_SERVER_ERROR, "outside_app", message)
    }

    /// An answer without an end, which cannot become an ack.
    pub(crate) fn endless() -> Self {
        Self::framework(
            StatusCode::BAD_REQUEST,
            "http_only",
            "this route answers with a stream of events, which cannot be sent over a socket: request it over HTTP",
        )
    }

    pub(crate) fn answer_too_large(limit: usize) -> Self {
        Self::framework(
            StatusCode::INTERNAL_SERVER_ERROR,
            "answer_too_large",
            format!("the answer has more than the {limit} bytes that can be sent over a socket: request it over HTTP"),
        )
    }

    pub(crate) fn panicked() -> Self {
        Self::framework(StatusCode::INTERNAL_SERVER_ERROR, "panicked", "the action failed unexpectedly")
    }

    pub(crate) fn broken_answer() -> Self {
        Self::framework(StatusCode::INTERNAL_SERVER_ERROR, "broken_answer", "the action's answer broke off")
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::framework(
            StatusCode::SERVICE_UNAVAILABLE,
            "timed_out",
            format!("the action did not answer within {} s", limit.as_secs_f32()),
        )
    }

    /// A request that met a server which is about to stop, and was not begun.
    pub(crate) fn draining() -> Self {
        Self::framework(StatusCode::SERVICE_UNAVAILABLE, DRAINING, "the server stops and did not begin this: ask again")
    }

    /// A client's connection that arrives after its next one.
    pub(crate) fn superseded() -> Self {
        Self::framework(StatusCode::CONFLICT, "superseded", "a newer connection of this client has taken its place")
    }

    /// A socket that was closed before it was let in, or while its request ran.
    pub(crate) fn closed() -> Self {
        Self::framework(StatusCode::UNAUTHORIZED, "closed", "the login that opened this socket has ended")
    }

    /// An answer that finds no room beside those that its client has not read.
    pub(crate) fn answers_waiting(limit: usize) -> Self {
        let message = format!(
            "the request was carried out, but its answer has no room: answers that this socket has not read yet fill the \
             {limit} bytes that may wait for it. Await answers before sending more requests"
        );
        Self::framework(StatusCode::SERVICE_UNAVAILABLE, "answers_waiting", message)
    }

    /// A CONNECT packet that would be kept for as long as its socket.
    pub(crate) fn connect_too_large(limit: usize) -> Self {
        let message = format!("`auth` has at most {limit} bytes: send less on connecting, and the rest in a request");
        Self::framework(StatusCode::PAYLOAD_TOO_LARGE, "connect_too_large", message)
    }

    /// A request of a socket that has so many unanswered ones already.
    pub(crate) fn too_many_in_flight(
        max_in_flight: usize,
        max_in_flight_bytes: usize,
        max_answer_bytes: usize,
    ) -> Self {
        let message = format!(
            "at most {max_in_flight} requests of this socket, with {max_in_flight_bytes} bytes, wait for their answers, and \
             {max_answer_bytes} bytes of answers: await some before sending more"
        );
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::framework(StatusCode::TOO_MANY_REQUESTS, "too_many_in_flight", message) }
    }

    /// A request of a socket that sends too many in a second.
    pub(crate) fn too_many_messages(limit: u32) -> Self {
        let message = format!("a socket sends at most {limit} requests a second: retry later");
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::framework(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message) }
    }

    #[cfg(feature = "rate-limit")]
    pub(crate) fn rate_limited(free_in: Duration) -> Self {
        let message = "too many requests: ask again later";
        Self { retry_after: Some(free_in), ..Self::framework(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message) }
    }
}

/// By `?`, of every error, be it of the standard library, `anyhow` or `eyre`, and of a text.
impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Error {
    fn from(source: E) -> Self {
        let source: Box<dyn StdError + Send + Sync> = source.into();
        let any = &*source;
        let subscribe = any.downcast_ref::<SubscribeError>();
        let publish = any.downcast_ref::<PublishError>();
        let members = any.downcast_ref::<MembersError>();
        let refused = match (subscribe, members, any.downcast_ref()) {
            (Some(SubscribeError::TooMany(_)), ..) | (_, Some(MembersError::TooMany(_)), _) => {
                Some((StatusCode::CONFLICT, "too_many_subscriptions"))
            }
            (Some(SubscribeError::NameTooLong(_)), ..) | (_, Some(MembersError::NameTooLong(_)), _) => {
                Some((StatusCode::BAD_REQUEST, "channel_name_too_long"))
            }
            (.., Some(TagError::TooMany(_))) => Some((StatusCode::CONFLICT, "too_many_tags")),
            (.., Some(TagError::TooLong(_))) => Some((StatusCode::BAD_REQUEST, "tag_too_long")),
            _ => None,
        };
        if let Some((status, code)) = refused {
            return Self::framework(status, code, source.to_string());
        }
        if matches!(subscribe, Some(SubscribeError::Gone)) || matches!(any.downcast_ref(), Some(TagError::Gone)) {
            return Self::closed();
        }
        if any.is::<UnreachedServers>()
            || matches!(members, Some(MembersError::UnreachedServers(_)))
            || matches!(any.downcast_ref(), Some(SendError::UnreachedServers(_)))
        {
            return Self::framework(StatusCode::SERVICE_UNAVAILABLE, "servers_unreached", source.to_string());
        }
        if any.is::<ChannelConflict>()
            || matches!(subscribe, Some(SubscribeError::Conflict(_)))
            || matches!(publish, Some(PublishError::Conflict(_)))
            || matches!(members, Some(MembersError::Conflict(_)))
        {
            let message = "two types of channel share this channel's name: the log of the server names them";
            let conflict = Self::framework(StatusCode::INTERNAL_SERVER_ERROR, "channel_conflict", message);
            return conflict.with_source(source);
        }
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL).with_source(source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.message)
    }
}

/// With its causes. An error that `?` converted is its cause, without the status and the message that a client gets: as the result
/// of `main` it says what happened.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes = self.causes().peekable();
        match causes.next_if(|_| self.message == INTERNAL && self.code.is_none()) {
            Some(cause) => write!(f, "{cause}")?,
            None => write!(f, "{self}")?,
        }
        causes.try_for_each(|cause| write!(f, "\n  caused by: {cause}"))
    }
}

/// An error with its causes, for a log.
struct WithCauses<'a>(&'a Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.causes().try_for_each(|cause| write!(f, ", caused by: {cause}"))
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    message: &'a str,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.source.is_some() {
            tracing::error!(error = %logged::error(WithCauses(&self)), "an action failed");
        }
        if let Some(answer) = self.answer {
            return answer.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
        let body = Json(Body { code: self.code, message: &self.message });
        let mut response = (self.status, body).into_response();
        if self.code == Some(DRAINING) {
            response.headers_mut().insert(NOT_RUN, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110, 15.5.22: a 426 names the protocol to upgrade to.
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if let Some(time) = self.retry_after {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Why an application could not be served.
///
/// As the result of `main` it prints its message, not its fields.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is in use, not this machine's, or not allowed.
    #[error("cannot listen: {0}")]
    Bind(io::Error),
    /// Two mounted tables answer the same requests, or a route lies where the application serves something else.
    #[error("{0}")]
    Routes(String),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}

impl ServeError {
    /// None of these addresses can be bound.
    pub(crate) fn bind(addresses: &[SocketAddr], error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                ": the address is in use, so stop the program that listens there, or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => {
                ": this is no address of this machine, so choose one that is, or 0.0.0.0 for all of them"
            }
            io::ErrorKind::PermissionDenied => {
                ": this user may not listen there, so choose a port above 1023, or give the program the right to"
            }
            _ => "",
        };
        let addresses = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
        Self::Bind(io::Error::new(error.kind(), format!("{addresses}: {error}{remedy}")))
    }

    /// What was given is no address, or a name that nobody knows.
    pub(crate) fn unresolved(error: &io::Error) -> Self {
        let message = format!("the address cannot be resolved: {error}: write host:port, such as \"127.0.0.1:1337\"");
        Self::Bind(io::Error::new(error.kind(), message))
    }
}

/// For an application that binds its own listener.
impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Bind(error)
    }
}

impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_is_logged_and_never_sent() {
        let error = Error::from(std::io::Error::other("the password is hunter2"));
        assert!(format!("{error:?}").contains("hunter2"));
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(body, r#"{"message":"Internal Server Error"}"#);
    }

    #[test]
    fn only_what_was_not_begun_says_so() {
        assert_eq!(Error::draining().into_response().headers()["x-catamaran-not-run"], "1");
        let late = Error::timed_out(Duration::from_secs(1)).into_response();
        assert_eq!(late.status(), Error::draining().status());
        assert!(!late.headers().contains_key("x-catamaran-not-run"));
    }

    #[test]
    fn an_upgrade_required_names_the_protocol() {
        let response = Error::wrong_transport(Transports::Socket, None).into_response();
        assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(response.headers()["upgrade"], "websocket");
    }

    #[test]
    fn boxed_error_converts_by_question_mark() {
        /// As `anyhow::Error`, which is no `std::error::Error` itself.
        struct Dynamic(std::io::Error);
        impl From<Dynamic> for Box<dyn std::error::Error + Send + Sync> {
            fn from(error: Dynamic) -> Self {
                error.0.into()
            }
        }
        fn fails(boxed: bool) -> crate::Result {
            let error = std::io::Error::other("disk full");
            if boxed {
                let error: Box<dyn std::error::Error + Send + Sync> = error.into();
                return Err(error.into());
            }
            Err(Dynamic(error))?
        }
        for boxed in [true, false] {
            let error = fails(boxed).unwrap_err();
            assert_eq!(error.status(), axum::http::StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("disk full"));
        }
    }
}
