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
    /// How many bytes the header may have.
    limit: usize,
}

/// How many bytes answers may add to the cookies of a handshake, as many as a browser keeps of four large cookies.
const MAX_ADDED: usize = 16 * 1024;

impl Cookies {
    pub(crate) fn of(handshake: &HeaderMap) -> Self {
        let header = handshake.get(header::COOKIE).cloned();
        let limit = header.as_ref().map_or(0, HeaderValue::len) + MAX_ADDED;
        Self { header, limit }
    }

    /// The value of the `cookie` header of the next request.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        self.header.clone()
    }

    /// Takes over what a response sets; a cookie for which there is no room is not kept.
    pub(crate) fn keep(&mut self, response: &HeaderMap) {
        let mut changes = response
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|value| value.len() <= MAX_ADDED)
            .filter_map(|value| Cookie::parse(value.to_str().ok()?.to_owned()).ok())
            .peekable();
        if changes.peek().is_none() {
            return;
        }
        let before = self.header.as_ref().and_then(|header| header.to_str().ok()).unwrap_or_default();
        let mut cookies: BTreeMap<String, String> =
            Cookie::split_parse(before).flatten().map(|cookie| (cookie.name().into(), cookie.value().into())).collect();
        let mut bytes: usize = cookies.iter().map(|(name, value)| pair_bytes(name, value)).sum();
        for change in changes {
            let (name, value) = change.name_value();
            bytes -= cookies.get(name).map_or(0, |old| pair_bytes(name, old));
            if is_removal(&change) {
                cookies.remove(name);
                continue;
            }
            let with = bytes + pair_bytes(name, value);
            if with > self.limit {
                tracing::warn!(limit = self.limit, "cookie not kept: the cookies of its socket have too many bytes");
                bytes += cookies.get(name).map_or(0, |old| pair_bytes(name, old));
                continue;
            }
            bytes = with;
            cookies.insert(name.into(), value.into());
        }
        let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.header = (!pairs.is_empty()).then(|| HeaderValue::try_from(pairs.join("; ")).ok()).flatten();
    }
}

/// How many bytes of the header a cookie takes: `name=value; `.
fn pair_bytes(name: &str, value: &str) -> usize {
    name.len() + value.len() + "=; ".len()
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
    fn cookies_past_the_limit_are_not_kept() {
        let handshake = format!("sid=1; big={}", "x".repeat(20_000));
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, handshake.parse().unwrap());
        let mut cookies = Cookies::of(&headers);
        let mut set = |cookie: String| {
            let response = HeaderMap::from_iter([(header::SET_COOKIE, cookie.parse().unwrap())]);
            cookies.keep(&response);
            cookies.header().unwrap().to_str().unwrap().to_owned()
        };
        for n in 0..400 {
            set(format!("c{n}={}", "x".repeat(100)));
        }
        let full = set(format!("too-large={}", "x".repeat(MAX_ADDED)));
        assert!(full.len() <= handshake.len() + MAX_ADDED && full.len() > handshake.len() + MAX_ADDED - 200);
        assert!(full.contains("c0=x") && !full.contains("c399=") && !full.contains("too-large"));
        // Those that are there can still change, and make room.
        assert!(set("sid=2".into()).contains("sid=2"));
        assert!(!set("big=; Max-Age=0".into()).contains("big="));
        assert!(set("late=1".into()).contains("late=1"));
    }

    #[test]
    fn an_answer_changes_the_cookies_of_the_handshake() {
        assert_eq!(after(Some("a=1; sid=2"), &["sid=3; Path=/", "b=4"]).unwrap(), "a=1; b=4; sid=3");
        assert_eq!(after(Some("a=1; sid=2"), &["sid=; Max-Age=0"]).unwrap(), "a=1");
        assert_eq!(after(Some("sid=2"), &["sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]), None);
    }
}
