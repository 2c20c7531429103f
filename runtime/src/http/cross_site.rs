//! Requests that a page of another site sends in its user's name: the check before everything that may change something.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, header},
};
use futures_util::FutureExt;

use super::{gate::Gate, proxy::Site};
use crate::{Error, metrics};

/// Decides which requests may change something, by the page that sent them.
#[derive(Clone, Debug)]
pub(crate) struct CrossSite(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    gate: Gate,
    /// The paths of routes that any page may send to.
    exempt: Vec<String>,
}

/// A header that a browser sends once.
#[derive(Clone, Copy)]
enum Said<'a> {
    Nothing,
    Once(&'a str),
    /// Sent twice, or not as text.
    Unclear,
}

impl<'a> Said<'a> {
    fn of(headers: &'a HeaderMap, name: &str) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => value.to_str().map_or(Self::Unclear, Self::Once),
            (Some(_), Some(_)) => Self::Unclear,
        }
    }
}

impl CrossSite {
    pub(crate) fn new(gate: Gate, exempt: Vec<String>) -> Self {
        Self(Arc::new(Rules { gate, exempt }))
    }

    /// Passes a request on, or refuses it before its body is read.
    ///
    /// `Sec-Fetch-Site` decides, because only a browser can set it. A browser that does not send it sends the `Origin`. A
    /// client that sends neither is no browser, and has no cookies of a user that it could misuse.
    pub(crate) fn admit(&self, request: Request) -> Result<Request, Error> {
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(request);
        }
        let headers = request.headers();
        match (Said::of(headers, "sec-fetch-site"), Said::of(headers, header::ORIGIN.as_str())) {
            (Said::Once("same-origin" | "none"), _) | (Said::Nothing, Said::Nothing) => Ok(request),
            (fetched, _) => self.admit_page(matches!(fetched, Said::Nothing), request),
        }
    }

    /// Passes on a request of a page that is named. A page of the server's own `Host` passes only `by_host`: otherwise the
    /// browser has said that it is of another site.
    fn admit_page(&self, by_host: bool, request: Request) -> Result<Request, Error> {
        let Rules { gate, exempt } = &*self.0;
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        if route.is_some_and(|route| exempt.iter().any(|path| path == route)) {
            return Ok(request);
        }
        let (mut parts, body) = request.into_parts();
        let site = if by_host {
            // It reads what the request has, and waits for nothing.
            gate.proxies.site(&mut parts).now_or_never().unwrap_or_else(|| Ok(Site::default()))?
        } else {
            Site::default()
        };
        let origin = Said::of(&parts.headers, header::ORIGIN.as_str());
        let may = match origin {
            Said::Once(origin) => gate.origins.knows(origin, &site).is_some(),
            Said::Nothing => gate.origins.are_any(),
            Said::Unclear => false,
        };
        if may {
            return Ok(Request::from_parts(parts, body));
        }
        let origin = match origin {
            Said::Once(origin) => Some(origin),
            Said::Nothing | Said::Unclear => None,
        };
        let refusal = Error::cross_site(&parts.method, origin);
        metrics::origin_refused();
        tracing::warn!(reason = refusal.message(), "cross-site request refused");
        Err(refusal)
    }
}
