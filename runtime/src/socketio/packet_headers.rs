//! Which headers the packets of a socket may set.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::http::{HeaderMap, HeaderName};

/// How many dropped names the log shows, once each.
const MAX_WARNINGS: usize = 64;
/// The longest name that the log shows whole, in bytes.
const MAX_SHOWN: usize = 64;

/// The headers that packets may set beside those that every packet may: the argument of
/// [`App::packet_headers`](crate::App::packet_headers).
///
/// It is made of names or of [`Any`].
#[derive(Clone, Debug, Default)]
pub struct PacketHeaders {
    names: Vec<String>,
    any: bool,
}

/// Takes the place of names in [`App::packet_headers`](crate::App::packet_headers): packets set all but identity headers.
#[derive(Clone, Copy, Debug)]
pub struct Any;

impl From<Any> for PacketHeaders {
    fn from(_: Any) -> Self {
        Self { names: Vec::new(), any: true }
    }
}

impl<T: AsRef<str>, const N: usize> From<[T; N]> for PacketHeaders {
    fn from(names: [T; N]) -> Self {
        names.as_slice().into()
    }
}

impl<T: AsRef<str>> From<Vec<T>> for PacketHeaders {
    fn from(names: Vec<T>) -> Self {
        names.as_slice().into()
    }
}

impl<T: AsRef<str>> From<&[T]> for PacketHeaders {
    fn from(names: &[T]) -> Self {
        Self { names: names.iter().map(|name| name.as_ref().to_owned()).collect(), any: false }
    }
}

impl PacketHeaders {
    /// Adds what another call names.
    pub(crate) fn extend(&mut self, more: Self) {
        self.names.extend(more.names);
        self.any |= more.any;
    }

    /// The rules for packets; the error names the first entry that no packet may set.
    pub(crate) fn rules(&self) -> Result<HeaderRules, String> {
        let parse = |entry: &String| {
            let name = HeaderName::try_from(entry.as_str()).map_err(|_| {
                format!("`packet_headers` must be names of headers, such as \"x-tenant\"; {entry:?} is none")
            })?;
            let Some(owner) = owner(name.as_str()) else { return Ok(name) };
            Err(format!("`packet_headers` must not name `{name}`: {owner}; remove it, or choose a name of your own"))
        };
        let named = self.names.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(HeaderRules { named, any: self.any, dropped: Mutex::default(), silent: AtomicBool::new(false) })
    }
}

/// What becomes of the headers of a packet.
#[derive(Debug)]
pub(crate) struct HeaderRules {
    named: HashSet<HeaderName>,
    any: bool,
    /// The names that the log has shown.
    dropped: Mutex<HashSet<String>>,
    /// The log has shown as many as it may.
    silent: AtomicBool,
}

impl HeaderRules {
    /// Whether a packet sets this header on a request that has these headers of its handshake.
    pub(crate) fn allow(&self, name: &HeaderName, handshake: &HeaderMap) -> bool {
        match Listed::of(name) {
            Some(Listed::Sets) => true,
            Some(Listed::Fills) => !handshake.contains_key(name),
            None if self.fills(name) => !handshake.contains_key(name),
            None => {
                self.warn(name);
                false
            }
        }
    }

    /// Whether the application lets packets set this header.
    fn fills(&self, name: &HeaderName) -> bool {
        let named = !self.named.is_empty() && self.named.contains(name);
        named || (self.any && owner(name.as_str()).is_none())
    }

    /// Logs a dropped header, the first time that its name comes. Returns whether it did.
    fn warn(&self, name: &HeaderName) -> bool {
        if self.silent.load(Ordering::Relaxed) {
            return false;
        }
        // A name is ASCII without control characters.
        let shown = &name.as_str()[..name.as_str().len().min(MAX_SHOWN)];
        let last = {
            let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            if dropped.contains(shown) {
                return false;
            }
            dropped.insert(shown.to_owned());
            dropped.len() >= MAX_WARNINGS
        };
        if last {
            self.silent.store(true, Ordering::Relaxed);
        }
        if owner(name.as_str()).is_none() {
            tracing::warn!(
                header = shown,
                "packet header dropped: allow it with `.packet_headers([{shown:?}])` on `App`"
            );
        } else {
            tracing::warn!(header = shown, "packet header dropped: only the handshake may carry it");
        }
        if last {
            tracing::warn!("packet headers of {MAX_WARNINGS} names were dropped; further names are not logged");
        }
        true
    }
}

/// What becomes of the headers that every packet may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    /// The packet's value counts.
    Sets,
    /// The packet's value counts where the handshake has none.
    Fills,
}

impl Listed {
    fn of(name: &HeaderName) -> Option<Self> {
        match name.as_str() {
            "accept" | "accept-language" | "content-type" | "x-csrf-token" | "x-requested-with" | "if-match"
            | "if-none-match" | "idempotency-key" | "last-event-id" => Some(Self::Sets),
            "authorization" => Some(Self::Fills),
            _ => None,
        }
    }
}

/// Why no packet may ever set this header, if so.
fn owner(name: &str) -> Option<&'static str> {
    match name {
        _ if is_of_connection(name) => Some("it describes how bytes travel"),
        _ if is_of_handshake(name) => Some("it says who the client is, so it must come from the handshake or a proxy"),
        _ => None,
    }
}

/// Headers by which browsers, proxies and gateways say who the client is, or how it reached the server. Applications
/// behind them believe these, since over HTTP no client can set them there.
fn is_of_handshake(name: &str) -> bool {
    /// Families of names: each belongs to browsers, or to one proxy, gateway or platform.
    const PREFIXES: &[&str] = &[
        "akamai-",
        "ali-cdn-",
        "cdn-",
        "cf-",
        "client-cert",
        "cloudfront-",
        "fastly-",
        "fly-",
        "impersonate-",
        "incap-",
        "proxy-",
        "remote-",
        "sec-",
        "ssl-client-",
        "tailscale-",
        "wl-proxy-",
        "x-akamai-",
        "x-amzn-mtls-",
        "x-amzn-oidc-",
        "x-appengine-",
        "x-arr-",
        "x-auth-request-",
        "x-authenticated-",
        "x-authentik-",
        "x-azure-",
        "x-client-cert",
        "x-cluster-",
        "x-consumer-",
        "x-credential-",
        "x-endpoint-api-userinfo",
        "x-envoy-",
        "x-forward",
        "x-goog-authenticated-user-",
        "x-goog-iap-",
        "x-ms-client-principal",
        "x-ms-token-",
        "x-nf-",
        "x-original-",
        "x-originating-",
        "x-pomerium-",
        "x-proxy",
        "x-real-",
        "x-remote-",
        "x-rewrite-",
        "x-ssl-",
        "x-sucuri-",
        "x-tls-",
        "x-vercel-",
        "x-vouch-",
        "x-webauth-",
    ];
    matches!(
        name,
        "client-ip"
            | "cookie"
            | "cookie2"
            | "do-connecting-ip"
            | "forwarded"
            | "forwarded-for"
            | "front-end-https"
            | "host"
            | "origin"
            | "referer"
            | "true-client-ip"
            | "via"
            | "x-anonymous-consumer"
            | "x-apigateway-api-userinfo"
            | "x-apigateway-event"
            | "x-apigateway-context"
            | "x-auth-audience"
            | "x-auth-email"
            | "x-auth-expiresin"
            | "x-auth-family-name"
            | "x-auth-given-name"
            | "x-auth-groups"
            | "x-auth-name"
            | "x-auth-roles"
            | "x-auth-subject"
            | "x-auth-user"
            | "x-auth-userid"
            | "x-auth-username"
            | "x-client-dn"
            | "x-client-ip"
            | "x-client-verify"
            | "x-custom-ip-authorization"
            | "x-host"
            | "x-http-host-override"
            | "x-id-token"
            | "x-replaced-path"
            | "x-scheme"
            | "x-true-client-ip"
            | "x-url-scheme"
            | "x-userinfo"
    ) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Headers about how bytes travel, which a virtual request does not have.
pub(super) fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "accept-encoding"
            | "content-length"
            | "content-encoding"
            | "http2-settings"
    ) || name.starts_with("sec-websocket-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HeaderName {
        HeaderName::try_from(text).unwrap()
    }

    #[test]
    fn name_that_no_packet_may_set_is_refused() {
        for (entry, words) in [
            ("cookie", "must come from the handshake"),
            ("Host", "must come from the handshake"),
            ("x-forwarded-for", "must come from the handshake"),
            ("X-Remote-User", "must come from the handshake"),
            ("transfer-encoding", "how bytes travel"),
            ("sec-websocket-key", "how bytes travel"),
            ("x tenant", "is none"),
            ("", "is none"),
            ("x-tenant:", "is none"),
        ] {
            let mistake = PacketHeaders::from(["x-tenant", entry]).rules().unwrap_err();
            assert!(mistake.contains(words) && mistake.contains("must"), "{entry}: {mistake}");
        }
        assert!(PacketHeaders::from(vec![String::from("X-Tenant"), "accept".into()]).rules().is_ok());
        assert!(PacketHeaders::from(Any).rules().is_ok());
    }

    #[test]
    fn calls_add_up() {
        let mut headers = PacketHeaders::from(["x-tenant"]);
        headers.extend(["X-Other"].into());
        let rules = headers.rules().unwrap();
        let none = HeaderMap::new();
        for (header, allowed) in [("x-tenant", true), ("x-other", true), ("x-third", false)] {
            assert_eq!(rules.allow(&name(header), &none), allowed, "{header}");
        }
        headers.extend(Any.into());
        assert!(headers.rules().unwrap().allow(&name("x-third"), &none));
    }

    #[test]
    fn warnings_are_one_a_name_and_bounded() {
        let rules = PacketHeaders::default().rules().unwrap();
        assert!(rules.warn(&name("x-a")));
        assert!(!rules.warn(&name("x-a")));
        let long = |end: char| name(&format!("x-{}{end}", "y".repeat(500)));
        assert!(rules.warn(&long('1')));
        let warned = (0..1000).filter(|nth| rules.warn(&name(&format!("x-{nth}")))).count();
        assert_eq!(warned, MAX_WARNINGS - 2);
        let dropped = rules.dropped.lock().unwrap();
        assert!(dropped.iter().all(|name| name.len() <= MAX_SHOWN));
    }
}
