//! Whose pages may open sockets, and send requests that change something.

use std::net::Ipv6Addr;

use super::proxy::Site;
use crate::Error;

/// Names the pages that may open sockets and send requests that change something.
///
/// These are the server's own pages, those of other origins that are named, or all. A browser lets any page open a websocket
/// to any server and send it a form, with the cookies of its user. It says whose page that is in the headers `Origin` and
/// `Sec-Fetch-Site`. So a page of another origin is refused with 403 unless its origin is named here:
///
/// - on the Socket.IO path, before anything is upgraded;
/// - on every other path, over both transports, for all methods but GET, HEAD and OPTIONS, before the body is read.
///   [`App::allow_cross_site`](crate::App::allow_cross_site) exempts single routes.
///
/// ```
/// use catamaran::{Origins, prelude::*};
///
/// let app = App::new(()).origins(Origins::same().and("https://app.example.com").and("capacitor://localhost"));
/// ```
///
/// The server's own origin is the host that the request was sent to; behind one of the
/// [`App::trusted_proxies`](crate::App::trusted_proxies) the host and scheme that it says the client asked for. `null`,
/// the origin of sandboxed and local pages, is always refused, since it says nothing of who asks.
///
/// Clients that are no browsers send no `Origin`, and could send any. They pass; sockets of theirs are refused if an origin is
/// [`required`](Self::required).
#[derive(Clone, Debug)]
pub struct Origins {
    named: Vec<String>,
    any: bool,
    required: bool,
}

/// What a page that was let in is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Its own, or a named one: it may read answers that depend on cookies.
    Known,
    /// One of anybody.
    Strange,
}

impl Origins {
    /// The pages of the server's own origin: the default.
    pub fn same() -> Self {
        Self { named: Vec::new(), any: false, required: false }
    }

    /// The pages of any origin.
    ///
    /// Every page that a user visits can then act for that user wherever a cookie is enough to say who asks: over sockets, and
    /// by forms and scripts over HTTP. It suits a public server without cookies. Over long-polling the answers of pages that are not named carry
    /// `access-control-allow-origin: *`, which a browser accepts only where no cookies were sent along.
    pub fn any() -> Self {
        Self { any: true, ..Self::same() }
    }

    /// Also the pages of this origin, as browsers write it: a scheme, a host, and a port if it is not the default one.
    ///
    /// What is none is refused when the application starts. `file://`, which some web views send for local pages, is one.
    #[must_use]
    pub fn and(mut self, origin: impl Into<String>) -> Self {
        self.named.push(origin.into());
        self
    }

    /// Refuses sockets of clients that are no browsers, by their lack of an `Origin` header.
    ///
    /// A client that sends the header is not told apart from a browser. Requests over HTTP need none.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The first named origin that is none, with one that is.
    pub(crate) fn check(&self) -> Result<(), String> {
        for entry in &self.named {
            let right = as_browsers_write_it(entry);
            if right.as_ref().is_none_or(|right| !right.eq_ignore_ascii_case(entry)) {
                let right = right.as_deref().unwrap_or("https://app.example.com");
                return Err(format!(
                    "`origins` must be written as browsers send them, a scheme and a host, with a port only if it is not \
                     the default one: {entry:?} is not, write {right:?}"
                ));
            }
        }
        Ok(())
    }

    /// Lets a page of this origin in, to a server that its clients reach by `site`, or says why not.
    pub(crate) fn admit(&self, origin: &str, site: &Site) -> Result<Page, Error> {
        if origin == "null" {
            let reason =
                "the origin `null`, of a sandboxed or local page, is never allowed: it says nothing of who asks";
            return Err(Error::origin_refused(reason));
        }
        self.knows(origin, site).ok_or_else(|| {
            let origin: String = origin.chars().take(200).collect();
            Error::origin_refused(format!(
                "pages of the origin {origin:?} may not connect: `App::origins` names those that may, beside the server's own"
            ))
        })
    }

    /// What a page of this origin is to a server that its clients reach by `site`; none if it may do nothing.
    pub(crate) fn knows(&self, origin: &str, site: &Site) -> Option<Page> {
        if origin == "null" {
            return None;
        }
        let is_known = self.named.iter().any(|named| named.eq_ignore_ascii_case(origin)) || is_of_site(origin, site);
        if is_known { Some(Page::Known) } else { self.any.then_some(Page::Strange) }
    }

    /// Whether any page may do what the server's own may.
    pub(crate) fn are_any(&self) -> bool {
        self.any
    }

    /// Lets a client in that says no origin; `fetched` is the `sec-fetch-site` by which a browser says all the same who
    /// asks. It sends no origin with the polls of the server's own pages, nor with the source of an image of any page.
    pub(crate) fn admit_unsaid(&self, fetched: Option<&str>) -> Result<(), Error> {
        match fetched {
            Some("same-origin") => Ok(()),
            Some("same-site" | "cross-site") if !self.any => {
                Err(Error::origin_refused("a page of another origin asks, and does not say which"))
            }
            _ if self.required => Err(Error::origin_refused("a request without an `Origin` header is refused here")),
            _ => Ok(()),
        }
    }
}

/// Whether the origin is that of the server itself. The scheme counts where it is known: only a proxy knows of TLS.
fn is_of_site(origin: &str, site: &Site) -> bool {
    let (Some((scheme, authority)), Some(host)) = (origin.split_once("://"), &site.host) else { return false };
    let same_scheme = site.scheme.is_none_or(|of_site| of_site == scheme);
    let authority = without_default_port(scheme, authority);
    same_scheme && !authority.is_empty() && authority.eq_ignore_ascii_case(without_default_port(scheme, host))
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// The origin that somebody means who writes this; `None` where that cannot be told.
fn as_browsers_write_it(entry: &str) -> Option<String> {
    if entry == "file://" {
        return Some(entry.to_owned());
    }
    let (scheme, rest) = entry.split_once("://").unwrap_or(("https", entry));
    let scheme = match scheme.to_ascii_lowercase() {
        socket if socket == "ws" => "http".into(),
        socket if socket == "wss" => "https".into(),
        scheme => scheme,
    };
    let authority = rest.split(['/', '?', '#']).next().and_then(|authority| authority.rsplit('@').next())?;
    let authority = without_default_port(&scheme, authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let version_6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match version_6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    };
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (is_host && is_port && is_scheme).then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(scheme: Option<&'static str>, host: &str) -> Site {
        Site { scheme, host: Some(host.into()) }
    }

    #[test]
    fn the_servers_own_origin_has_its_host_and_port() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://example.com", "example.com"),
            ("http://example.com:1337", "example.com:1337"),
            ("http://example.com", "example.com:80"),
            ("https://example.com", "example.com:443"),
            ("https://example.com:443", "example.com"),
            ("http://EXAMPLE.com", "example.COM"),
            ("http://[::1]:80", "[::1]"),
        ] {
            assert!(is_of_site(origin, &site(None, host)), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://example.com", "example.com:1337"),
            ("http://example.com:1337", "example.com"),
            ("http://example.com", "example.com:443"),
            ("https://example.com", "example.com:80"),
            ("http://example.com.evil", "example.com"),
            ("http://evil-example.com", "example.com"),
            ("http://a.example.com", "example.com"),
            ("http://evil@example.com", "example.com"),
            ("http://example.com/", "example.com"),
            ("example.com", "example.com"),
            ("http://", ""),
            ("http://:80", ""),
        ] {
            assert!(!is_of_site(origin, &site(None, host)), "{origin} {host}");
        }
        assert!(!is_of_site("http://example.com", &Site::default()));
    }

    #[test]
    fn a_known_scheme_counts() {
        assert!(is_of_site("https://example.com", &site(Some("https"), "example.com")));
        assert!(!is_of_site("http://example.com", &site(Some("https"), "example.com")));
        assert!(!is_of_site("https://example.com", &site(Some("http"), "example.com")));
    }

    #[test]
    fn an_entry_that_is_no_origin_is_named_with_a_right_one() {
        for (wrong, right) in [
            ("localboast.com", "https://localboast.com"),
            ("http://localboast.com:80", "http://localboast.com"),
            ("https://localboast.com:443", "https://localboast.com"),
            ("https://example.com/", "https://example.com"),
            ("https://example.com:8443/app?x#y", "https://example.com:8443"),
            ("https://user@example.com", "https://example.com"),
            ("wss://example.com", "https://example.com"),
            ("localhost:3000", "https://localhost:3000"),
            ("", "https://app.example.com"),
            ("*", "https://app.example.com"),
            ("https://*.example.com", "https://app.example.com"),
            ("https://bücher.example", "https://app.example.com"),
            ("https://example.com:99999", "https://app.example.com"),
            ("https://[::x]", "https://app.example.com"),
            ("file://host/page", "file://host"),
            ("1://example.com", "https://app.example.com"),
        ] {
            let mistake = Origins::same().and("https://good.example").and(wrong).check().unwrap_err();
            assert!(mistake.ends_with(&format!("{wrong:?} is not, write {right:?}")), "{mistake}");
        }
        let null = Origins::same().and("null").check();
        assert!(null.is_err());
    }

    #[test]
    fn an_origin_may_have_any_scheme_and_port() {
        for right in [
            "https://app.example.com",
            "https://App.Example.com",
            "http://localhost:3000",
            "http://[::1]:3000",
            "https://xn--bcher-kva.example",
            "capacitor://localhost",
            "chrome-extension://abcdef",
            "file://",
        ] {
            assert_eq!(Origins::any().and(right).check(), Ok(()), "{right}");
        }
    }
}
