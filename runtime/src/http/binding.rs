//! What binds a request to its long-polling session, beside the id of the session.
//!
//! A websocket proves by its connection that its packets come from the client of the handshake. Long-polling has many
//! connections, so each request repeats the credentials of the handshake.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, HeaderValue, header};

use crate::{Error, socketio::secret};

/// The cookie by which a browser shows that it opened a session. Its other cookies may change between two polls.
const COOKIE: &str = "catamaran_polling";

/// Headers that name the caller, set by the client or by an authenticating proxy. Tokens that a proxy renews by itself
/// are not among them.
const CREDENTIALS: [&str; 24] = [
    "authorization",
    "proxy-authorization",
    "remote-user",
    "tailscale-user-login",
    "x-amzn-oidc-identity",
    "x-auth-request-email",
    "x-auth-request-user",
    "x-authenticated-user",
    "x-authentik-username",
    "x-client-cert",
    "x-client-dn",
    "x-consumer-id",
    "x-consumer-username",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-user",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-remote-user",
    "x-ssl-client-cert",
    "x-ssl-client-dn",
    "x-webauth-user",
];

/// The credentials of one session's handshake.
pub(super) struct Binding {
    credentials: Vec<(&'static str, HeaderValue)>,
    /// As pairs of name and value, since what follows them may be in another order.
    cookies: Box<[Box<[u8]>]>,
    key: String,
    seen: Mutex<Seen>,
}

/// What the requests of the session have shown so far.
struct Seen {
    /// Its client keeps cookies.
    key: bool,
    /// A browser sends none with the first poll of the server's own page, and one with the first POST.
    origin: Option<HeaderValue>,
}

impl Binding {
    /// Binds a session to the head of its handshake, from which it takes the key that the client may have already.
    pub(super) fn new(handshake: &mut HeaderMap) -> Self {
        let key = take_key(handshake);
        let cookies = cookies(handshake).map(Box::from).collect();
        let credentials = credentials(handshake).map(|(name, value)| (name, copied(value))).collect();
        let seen = Seen { key: key.is_some(), origin: handshake.get(header::ORIGIN).map(copied) };
        let key = key.unwrap_or_else(secret);
        Self { credentials, cookies, key, seen: Mutex::new(seen) }
    }

    /// The cookie for a client that has none yet.
    pub(super) fn set_cookie(&self, secure: bool) -> Option<HeaderValue> {
        if self.seen().key {
            return None;
        }
        let secure = if secure { "; Secure" } else { "" };
        HeaderValue::try_from(format!("{COOKIE}={}; HttpOnly; SameSite=Lax{secure}", self.key)).ok()
    }

    /// Refuses a request that does not carry what the handshake carried.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        if !credentials(headers).eq(self.credentials.iter().map(|(name, value)| (*name, value))) {
            return Err(Error::session_refused("`authorization`, or the user whom a proxy names, differs from"));
        }
        let mut seen = self.seen();
        let is_key = |cookie| value_of_key(cookie) == Some(self.key.as_bytes());
        let shows_key = cookies(headers).any(is_key);
        if !shows_key {
            let present: HashSet<_> = cookies(headers).collect();
            if seen.key || !self.cookies.iter().all(|cookie| present.contains(&**cookie)) {
                return Err(Error::session_refused("the cookies lack those of"));
            }
        }
        let origin = headers.get(header::ORIGIN);
        if origin.is_some() && seen.origin.is_some() && origin != seen.origin.as_ref() {
            return Err(Error::session_refused("the origin differs from that of"));
        }
        seen.key |= shows_key;
        if seen.origin.is_none() {
            seen.origin = origin.map(copied);
        }
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the key out of the cookies of a handshake, which the application sees. Returns it if it can be one.
pub(super) fn take_key(headers: &mut HeaderMap) -> Option<String> {
    let key = cookies(headers).find_map(value_of_key).map(<[u8]>::to_vec)?;
    let others: Vec<_> = cookies(headers).filter(|cookie| value_of_key(cookie).is_none()).collect();
    let others = HeaderValue::from_bytes(&others.join(&b"; "[..])).ok().filter(|others| !others.is_empty());
    headers.remove(header::COOKIE);
    headers.extend(others.map(|others| (header::COOKIE, others)));
    let is_key =
        key.len() == secret().len() && key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    String::from_utf8(key).ok().filter(|_| is_key)
}

fn value_of_key(cookie: &[u8]) -> Option<&[u8]> {
    cookie.strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")
}

/// The cookies of a request: `name=value` each.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii).filter(|c| !c.is_empty())
}

fn credentials(headers: &HeaderMap) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
    CREDENTIALS.into_iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)))
}

/// A value that does not keep the buffer it was read into.
pub(super) fn copied(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// Whether a request with one head belongs to the session that another one opened.
    fn belongs(handshake: &[(&'static str, &str)], request: &[(&'static str, &str)]) -> bool {
        Binding::new(&mut head(handshake)).check(&head(request)).is_ok()
    }

    #[test]
    fn request_without_the_handshakes_credentials_is_refused() {
        for (name, value, other) in [
            ("cookie", "user=1", "user=2"),
            ("cookie", "user=1; lang=en", "lang=en"),
            ("authorization", "Bearer a", "Bearer b"),
            ("x-forwarded-user", "ada", "eve"),
            ("x-ssl-client-dn", "CN=ada", "CN=eve"),
        ] {
            let handshake = &[(name, value)];
            assert!(belongs(handshake, handshake), "{name}");
            assert!(!belongs(handshake, &[]), "{name}");
            assert!(!belongs(handshake, &[(name, other)]), "{name}");
        }
        assert!(!belongs(&[], &[("authorization", "Bearer a")]), "another caller than that of the handshake");
    }

    #[test]
    fn each_credential_header_is_compared() {
        for name in CREDENTIALS {
            assert!(!belongs(&[(name, "ada")], &[]), "{name}");
            assert!(!belongs(&[(name, "ada")], &[(name, "ada"), (name, "eve")]), "{name}");
        }
    }

    #[test]
    fn cookies_may_be_added_and_reordered() {
        let handshake = &[("cookie", "user=1; lang=en")];
        assert!(belongs(handshake, &[("cookie", "lang=en; new=1;user=1")]));
        assert!(belongs(handshake, &[("cookie", "lang=en"), ("cookie", "user=1")]));
        assert!(belongs(&[], &[("cookie", "user=1")]));
    }

    #[test]
    fn browser_that_shows_its_key_may_renew_its_cookies() {
        let binding = Binding::new(&mut head(&[("cookie", "session=old")]));
        let set = binding.set_cookie(true).unwrap();
        let set = set.to_str().unwrap();
        assert!(set.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{set}");
        let key = set.split(';').next().unwrap();
        assert!(binding.check(&head(&[("cookie", &format!("session=new; {key}"))])).is_ok());
        assert!(binding.check(&head(&[("cookie", key)])).is_ok());
        // From then on each request needs the key.
        assert!(binding.check(&head(&[("cookie", "session=old")])).is_err());
        let forged = key.replace(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase(), "x");
        assert!(binding.check(&head(&[("cookie", &forged)])).is_err());
    }

    #[test]
    fn key_of_an_earlier_session_binds_at_once_and_is_hidden() {
        let key = secret();
        let mut handshake = head(&[("cookie", &format!("a=1; {COOKIE}={key}; b=2"))]);
        let binding = Binding::new(&mut handshake);
        assert_eq!(handshake["cookie"], "a=1; b=2");
        assert_eq!(binding.set_cookie(false), None);
        assert!(binding.check(&head(&[("cookie", "a=1; b=2")])).is_err());
        assert!(binding.check(&head(&[("cookie", &format!("{COOKIE}={key}"))])).is_ok());

        let mut alone = head(&[("cookie", &format!("{COOKIE}=guessable"))]);
        assert!(Binding::new(&mut alone).set_cookie(false).is_some());
        assert!(alone.is_empty());
    }

    #[test]
    fn request_of_another_origin_is_refused() {
        let (own, other) = (&[("origin", "https://a.example")], &[("origin", "https://b.example")]);
        assert!(belongs(own, own) && !belongs(own, other));
        // The polls of a server's own page have no origin, its POSTs do.
        let binding = Binding::new(&mut head(&[]));
        for (request, belongs) in [(&[] as &[_], true), (own, true), (&[], true), (other, false)] {
            assert_eq!(binding.check(&head(request)).is_ok(), belongs, "{request:?}");
        }
    }
}
