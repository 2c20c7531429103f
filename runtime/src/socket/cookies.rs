//! The cookies of one socket.

use std::{collections::BTreeMap, time::SystemTime};

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::Cookie;

/// The cookies that a socket's requests carry: those of its handshake, as changed by the answers since.
///
/// A browser takes no cookie from an ack, so the socket keeps what it is given itself: a login over a socket lasts for
/// that socket, also where the handshake had no cookie.
#[derive(Debug)]
pub(crate) struct Cookies {
    header: Option<HeaderValue>,
}

impl Cookies {
    pub(crate) fn of(handshake: &HeaderMap) -> Self {
        Self { header: handshake.get(header::COOKIE).cloned() }
    }

    /// The value of the `cookie` header of the next request.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        self.header.clone()
    }

    /// Takes over what a response sets.
    pub(crate) fn keep(&mut self, response: &HeaderMap) {
        let mut changes = response
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| Cookie::parse(value.to_str().ok()?.to_owned()).ok())
            .peekable();
        if changes.peek().is_none() {
            return;
        }
        let before = self.header.as_ref().and_then(|header| header.to_str().ok()).unwrap_or_default();
        let mut cookies: BTreeMap<String, String> =
            Cookie::split_parse(before).flatten().map(|cookie| (cookie.name().into(), cookie.value().into())).collect();
        for change in changes {
            if is_removal(&change) {
                cookies.remove(change.name());
            } else {
                cookies.insert(change.name().into(), change.value().into());
            }
        }
        let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.header = (!pairs.is_empty()).then(|| HeaderValue::try_from(pairs.join("; ")).ok()).flatten();
    }
}

/// Whether a `set-cookie` takes its cookie away: RFC 6265 does that by an expiry in the past.
fn is_removal(cookie: &Cookie<'_>) -> bool {
    if let Some(age) = cookie.max_age() {
        return age <= cookie::time::Duration::ZERO;
    }
    cookie.expires_datetime().is_some_and(|at| at <= SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(handshake: Option<&'static str>, set: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.extend(handshake.map(|cookie| (header::COOKIE, HeaderValue::from_static(cookie))));
        let mut cookies = Cookies::of(&headers);
        let mut response = HeaderMap::new();
        for value in set {
            response.append(header::SET_COOKIE, HeaderValue::from_static(value));
        }
        cookies.keep(&response);
        cookies.header().map(|header| header.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_socket_without_a_cookie_keeps_the_one_it_is_given() {
        assert_eq!(after(None, &["sid=s%3A1.x; Path=/; HttpOnly"]).unwrap(), "sid=s%3A1.x");
        assert_eq!(after(None, &[]), None);
    }

    #[test]
    fn an_answer_changes_the_cookies_of_the_handshake() {
        assert_eq!(after(Some("a=1; sid=2"), &["sid=3; Path=/", "b=4"]).unwrap(), "a=1; b=4; sid=3");
        assert_eq!(after(Some("a=1; sid=2"), &["sid=; Max-Age=0"]).unwrap(), "a=1");
        assert_eq!(after(Some("sid=2"), &["sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]), None);
    }
}
