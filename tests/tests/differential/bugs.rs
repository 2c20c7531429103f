//! Bugs that the comparison must find, each planted on the socket's side alone.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, Uri, header, uri::PathAndQuery},
    middleware::Next,
    response::Response,
};

/// One way for a socket's request to be another than HTTP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    PathDecodedTwice,
    CaseIgnored,
    SlashForgiven,
    DotsResolved,
    LastOfAQueryWins,
    CookieFromPacket,
    NonAsciiCookieLost,
    HandshakeHeaderLost,
    MethodOverridden,
    BodyParsedAndWritten,
    EmptyBodyIsNull,
    PolicySkipped,
    SetCookieForgotten,
    RunTwice,
    EventLost,
    CreatedIsOk,
    LocationLost,
    PanicTold,
    TimeoutIsPanic,
}

/// All of them.
pub(crate) const BUGS: [Bug; 19] = [
    Bug::PathDecodedTwice,
    Bug::CaseIgnored,
    Bug::SlashForgiven,
    Bug::DotsResolved,
    Bug::LastOfAQueryWins,
    Bug::CookieFromPacket,
    Bug::NonAsciiCookieLost,
    Bug::HandshakeHeaderLost,
    Bug::MethodOverridden,
    Bug::BodyParsedAndWritten,
    Bug::EmptyBodyIsNull,
    Bug::PolicySkipped,
    Bug::SetCookieForgotten,
    Bug::RunTwice,
    Bug::EventLost,
    Bug::CreatedIsOk,
    Bug::LocationLost,
    Bug::PanicTold,
    Bug::TimeoutIsPanic,
];

/// Under this name the driver hands over the `cookie` of a packet, which a sound application never sees.
pub(crate) const PACKET_COOKIE: &str = "x-cookie-of-the-packet";

impl Bug {
    /// Stands around the whole router.
    pub(crate) async fn plant(State(bug): State<Self>, request: Request, next: Next) -> Response {
        let request = bug.before(request).await;
        if bug == Self::EventLost && request.uri().path().ends_with("%20") {
            return empty(StatusCode::ACCEPTED);
        }
        if bug == Self::RunTwice && request.method() == Method::DELETE {
            let (head, body) = request.into_parts();
            let body = whole(body).await;
            let again = Request::from_parts(head.clone(), Body::from(body.clone()));
            next.clone().run(again).await;
            return next.run(Request::from_parts(head, Body::from(body))).await;
        }
        bug.after(next.run(request).await).await
    }

    async fn before(self, mut request: Request) -> Request {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let own_cookie = request.headers_mut().remove(PACKET_COOKIE);
        match self {
            Self::PathDecodedTwice => set_target(&mut request, &path.replace("%25", "%"), &query),
            Self::CaseIgnored => set_target(&mut request, &path.to_lowercase(), &query),
            Self::SlashForgiven if path.len() > 1 => set_target(&mut request, path.trim_end_matches('/'), &query),
            Self::DotsResolved => set_target(&mut request, &path.replace("/./", "/"), &query),
            Self::LastOfAQueryWins => {
                let last = query.rsplit('&').next().unwrap_or_default().to_owned();
                set_target(&mut request, &path, &last);
            }
            Self::CookieFromPacket => {
                if let Some(cookie) = own_cookie {
                    request.headers_mut().insert(header::COOKIE, cookie);
                }
            }
            Self::NonAsciiCookieLost => {
                let cookie = request.headers().get(header::COOKIE);
                if cookie.is_some_and(|cookie| cookie.to_str().is_err()) {
                    request.headers_mut().remove(header::COOKIE);
                }
            }
            Self::HandshakeHeaderLost => drop(request.headers_mut().remove(header::USER_AGENT)),
            Self::MethodOverridden => {
                let method = request.headers().get("x-http-method-override").map(|name| name.as_bytes().to_owned());
                if let Some(method) = method.and_then(|name| Method::from_bytes(&name).ok()) {
                    *request.method_mut() = method;
                }
            }
            Self::BodyParsedAndWritten | Self::EmptyBodyIsNull => {
                let (head, body) = request.into_parts();
                let body = whole(body).await;
                let parsed = serde_json::from_slice::<serde_json::Value>(&body);
                let body = match parsed {
                    Ok(value) if self == Self::BodyParsedAndWritten => value.to_string().into(),
                    _ if self == Self::EmptyBodyIsNull && body.is_empty() => Bytes::from_static(b"null"),
                    _ => body,
                };
                return Request::from_parts(head, Body::from(body));
            }
            _ => {}
        }
        request
    }

    async fn after(self, mut response: Response) -> Response {
        match self {
            Self::SetCookieForgotten => drop(response.headers_mut().remove(header::SET_COOKIE)),
            Self::CreatedIsOk if response.status() == StatusCode::CREATED => *response.status_mut() = StatusCode::OK,
            Self::LocationLost => drop(response.headers_mut().remove(header::LOCATION)),
            Self::PanicTold if response.status() == StatusCode::INTERNAL_SERVER_ERROR => {
                *response.body_mut() = Body::from("thread panicked");
            }
            Self::TimeoutIsPanic if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            _ => {}
        }
        response
    }
}

fn set_target(request: &mut Request, path: &str, query: &str) {
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    if let Ok(target) = target.parse::<PathAndQuery>() {
        *request.uri_mut() = Uri::from(target);
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

async fn whole(body: Body) -> Bytes {
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}
