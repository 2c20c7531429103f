//! The gate of the Socket.IO path: whose pages come in, and what they may read.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use tracing::field;

use super::{
    origin::{Origins, Page},
    proxy::{Proxies, only, peer},
    session::{Caller, transport},
    target::check_target,
};
use crate::{Error, logged, metrics};

/// Where a Sails client in a page of another origin fetches the cookie that its socket will carry.
pub(crate) const COOKIE_PATH: &str = "/__getcookie";
/// How long a browser may keep the answer of a preflight, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// The version of the protocol in RFC 6455. Drafts before it have known faults, and Engine.IO's library looks at none.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Who may ask, and how the client of a request is told.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
}

/// Guards the Socket.IO path: the handshake, each request of long-polling, and the upgrade.
pub(crate) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let target = check_target(&request);
    let (mut parts, body) = request.into_parts();
    let origin = parts.headers.get(header::ORIGIN).cloned();
    if let Err(refusal) = target {
        return readable_by(None, origin, refusal.into_response());
    }
    let (page, caller) = match gate.admit(&mut parts).await {
        Ok(admitted) => admitted,
        Err(refusal) => return readable_by(None, origin, refusal.into_response()),
    };
    if let Some(preflight) = answer_to_preflight(&parts) {
        return readable_by(page, origin, preflight);
    }
    if let Err(refusal) = check_websocket(&parts) {
        tracing::warn!(reason = refusal.message(), "websocket handshake refused");
        let mut refusal = refusal.into_response();
        refusal.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, VERSION);
        return readable_by(page, origin, refusal);
    }
    parts.extensions.insert(caller);
    // The handshake is what a socket's client address is read from.
    parts.extensions.insert(gate.proxies);
    readable_by(page, origin, next.run(Request::from_parts(parts, body)).await)
}

impl Gate {
    /// Lets a request in by its proxy and its origin; `None` is for one that has no origin.
    async fn admit(&self, parts: &mut Parts) -> Result<(Option<Page>, Caller), Error> {
        let arrived = async {
            let site = self.proxies.site(parts).await?;
            let peer = peer(parts).await;
            let address = peer.map(|peer| self.proxies.client(peer, &parts.headers)).transpose()?;
            Ok((Caller { address, secure: site.scheme == Some("https") }, site))
        };
        let (caller, site) = arrived.await.inspect_err(|refusal: &Error| {
            tracing::warn!(reason = refusal.message(), "a client was not let in to Socket.IO");
        })?;
        let headers = &parts.headers;
        let admitted = if headers.contains_key(header::ORIGIN) {
            only(headers, header::ORIGIN.as_str())
                .ok_or_else(|| Error::origin_refused("a request has one `Origin`, of ASCII characters"))
                .and_then(|origin| self.origins.admit(origin, &site))
                .map(Some)
        } else {
            self.origins.admit_unsaid(only(headers, "sec-fetch-site")).map(|()| None)
        };
        if let Err(refusal) = &admitted {
            metrics::origin_refused();
            let host = site.host.as_deref().map(|host| field::display(logged::value(host)));
            tracing::warn!(host, reason = %logged::value(refusal.message()), "a client was not let in to Socket.IO");
        }
        admitted.map(|page| (page, caller))
    }
}

/// Checks a websocket handshake as RFC 6455 (4.2.1) describes it. Engine.IO's library answers 101 to any request that has a
/// key, and then nobody hears anything if a proxy has dropped the headers of the upgrade.
fn check_websocket(parts: &Parts) -> Result<(), Error> {
    // Other methods are refused by Engine.IO, and polls may carry an offer to upgrade, which is ignored.
    if parts.method != Method::GET || transport(&parts.uri) != Some("websocket") {
        return Ok(());
    }
    let headers = &parts.headers;
    // HTTP/1.0 has no upgrades, and in HTTP/2 a websocket is no GET.
    if parts.version != Version::HTTP_11 {
        return Err(Error::websocket_upgrade(&format!("arrived over {:?}", parts.version)));
    }
    if !lists(headers, header::UPGRADE, "websocket") {
        return Err(Error::websocket_upgrade("arrived without the header `upgrade: websocket`"));
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err(Error::websocket_upgrade("arrived without the header `connection: upgrade`"));
    }
    if !is_single(headers, header::SEC_WEBSOCKET_VERSION, |version| version == VERSION.as_bytes()) {
        return Err(Error::websocket_version());
    }
    if !is_single(headers, header::SEC_WEBSOCKET_KEY, is_key) {
        return Err(Error::websocket_key());
    }
    Ok(())
}

/// Whether a header that is a list has this token.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let mut tokens = headers.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether a header is there once, with such a value.
fn is_single(headers: &HeaderMap, name: HeaderName, is_valid: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut values = headers.get_all(name).into_iter();
    matches!((values.next(), values.next()), (Some(value), None) if is_valid(value.as_bytes()))
}

/// Whether this is the base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22 && digits.iter().all(is_base64))
}

/// The answer to a browser that asks whether one of its pages may send a request to long-polling.
fn answer_to_preflight(parts: &Parts) -> Option<Response> {
    let asks = parts.method == Method::OPTIONS && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    asks.then(|| {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
        if let Some(wanted) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        response
    })
}

/// Lets a page of another origin read an answer, which a browser keeps from it otherwise.
fn readable_by(page: Option<Page>, origin: Option<HeaderValue>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
    // Handshakes have the id of a session, and polls what is sent to one user.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match (page, origin) {
        (Some(Page::Known), Some(origin)) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        (Some(Page::Strange), _) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        _ => {}
    }
    response
}

/// Adds the script by which a page of another origin gets a cookie. It stands among the controllers, so that the
/// application's session layer sets one.
pub(crate) fn serve_cookie(router: Router, gate: Gate) -> Router {
    router.route(COOKIE_PATH, get(cookie).with_state(gate))
}

/// A script tag sends no origin, but mostly says which page it stands in. There is nothing to read in the answer, so a
/// page that does not say is no danger.
async fn cookie(State(gate): State<Gate>, mut parts: Parts) -> Result<impl IntoResponse, Error> {
    let site = gate.proxies.site(&mut parts).await?;
    if let Some(origin) = origin_of_page(&parts.headers) {
        gate.origins.admit(&origin, &site)?;
    }
    let content_type = HeaderValue::from_static("application/javascript; charset=utf-8");
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, "_sailsIoJSConnect();"))
}

/// The origin of the page that asks: as it says, or that of its address.
fn origin_of_page(headers: &HeaderMap) -> Option<String> {
    if let Some(origin) = only(headers, header::ORIGIN.as_str()) {
        return Some(origin.to_owned());
    }
    let referer: Uri = only(headers, header::REFERER.as_str())?.parse().ok()?;
    Some(format!("{}://{}", referer.scheme_str()?, referer.authority()?))
}
