//! The proxies in front of the server, and who asks through them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use ipnet::IpNet;

use crate::{Error, Hub};

/// The address of the client that sent a request, the same over both transports.
///
/// It is the peer of the connection, or, where that is one of the
/// [`App::trusted_proxies`](crate::App::trusted_proxies), whom the proxies name. On a socket it is the client of the
/// handshake, from whose parts it can be read as well.
///
/// ```
/// use catamaran::{ClientAddr, prelude::*};
///
/// #[action(get "/ip")]
/// async fn ip(ClientAddr(address): ClientAddr) -> String {
///     address.to_string()
/// }
/// ```
///
/// A router of [`App::into_router`](crate::App::into_router) knows its peers only if it is served with
/// `into_make_service_with_connect_info::<SocketAddr>()`; otherwise the answer is a 500 that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub IpAddr);

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddr {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        // A request has its proxies if the application trusts any, a handshake always.
        if parts.extensions.get::<Proxies>().is_none() {
            Hub::of_request(parts, "ClientAddr")?;
        }
        let peer = peer(parts).await.ok_or_else(Error::no_client_address)?;
        let proxies = parts.extensions.get::<Proxies>();
        Ok(Self(proxies.map_or(peer, |proxies| proxies.client(peer, &parts.headers))))
    }
}

/// The other end of the connection. A listener for both versions of IP shows IPv4 as a part of IPv6.
async fn peer(parts: &mut Parts) -> Option<IpAddr> {
    let peer = ConnectInfo::<SocketAddr>::from_request_parts(parts, &()).await.ok();
    peer.map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

/// What one client has of addresses, for whoever counts clients: one of IPv4, or a whole network of 64 bits in IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The networks of the proxies whose `forwarded` headers count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Arc<[IpNet]>);

/// How clients reach the server, as far as it is known: what its own pages have as their origin.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) scheme: Option<&'static str>,
    pub(crate) host: Option<String>,
}

impl Proxies {
    /// Reads addresses and networks; the error names the entry that is neither.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, String> {
        let network = |entry: &String| {
            let address = || entry.parse::<IpAddr>().map(IpNet::from);
            entry.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                format!(
                    "`trusted_proxies` must be addresses or networks, such as \"127.0.0.1\" or \"10.0.0.0/8\"; \
                     {entry:?} is neither"
                )
            })
        };
        entries.iter().map(network).collect::<Result<Vec<_>, _>>().map(|networks| Self(networks.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who is behind this peer. A header that the peer's proxy does not write may come from the client, so where two
    /// say different things neither is believed.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let listed = self.outermost(peer, from_right(headers, "x-forwarded-for").map(address));
        let forwarded = from_right(headers, "forwarded").map(|element| parameter(element, "for").and_then(address));
        let forwarded = self.outermost(peer, forwarded);
        if listed == peer || listed == forwarded {
            forwarded
        } else if forwarded == peer {
            listed
        } else {
            peer
        }
    }

    /// Goes from one hop to the hop that it names, for as long as the one that names it is trusted.
    fn outermost(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut outermost = peer;
        for hop in hops {
            match hop {
                Some(address) if self.trusts(outermost) => outermost = address,
                _ => break,
            }
        }
        outermost
    }

    /// How the client of this request reached the server.
    pub(crate) async fn site(&self, parts: &mut Parts) -> Site {
        let trusted = !self.is_empty() && peer(parts).await.is_some_and(|peer| self.trusts(peer));
        let headers = &parts.headers;
        let forwarded = |name| {
            from_right(headers, "forwarded").next().and_then(|element| parameter(element, name)).filter(|_| trusted)
        };
        let named = |name| from_right(headers, name).next().filter(|_| trusted);
        let asked = match parts.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => only(headers, header::HOST.as_str()),
        };
        let scheme = match agreed(named("x-forwarded-proto"), forwarded("proto")) {
            // Some proxies name the scheme of a websocket so.
            Some("https" | "wss") => Some("https"),
            Some("http" | "ws") => Some("http"),
            _ => None,
        };
        Site { scheme, host: agreed(named("x-forwarded-host"), forwarded("host")).or(asked).map(str::to_owned) }
    }
}

/// What one of two says, or both; nothing if they contradict each other.
fn agreed<'a>(one: Option<&'a str>, other: Option<&'a str>) -> Option<&'a str> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one).filter(|one| *one == other),
        _ => one.or(other),
    }
}

/// The value of a header that stands once.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
}

/// The elements of a list, the last first, since each proxy adds its own at the end.
///
/// A comma in quotes parts elements too: otherwise a quote that a client left open would swallow what a proxy added.
fn from_right<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(str::trim)
}

/// A parameter of an element of `forwarded`: `for=192.0.2.1;proto=https`.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().trim_matches('"'))
}

/// An address as proxies write it, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse::<IpAddr>().ok().or_else(with_port).or_else(bare).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let at = |text: &str| network(text.parse().unwrap());
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    fn headers(lines: &[(&'static str, &str)]) -> Parts {
        let request = lines.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let proxies = Proxies::parse(&["10.0.0.0/8".into(), "::1".into()]).unwrap();
        proxies.client(peer.parse().unwrap(), &headers(lines).headers).to_string()
    }

    #[test]
    fn only_a_trusted_peer_names_the_client() {
        assert_eq!(client("192.0.2.1", &[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")]), "192.0.2.1");
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3");
        for (name, value, expected) in [
            ("x-forwarded-for", "1.2.3.4", "1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4, 5.6.7.8", "5.6.7.8"),
            ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 10.9.9.9", "5.6.7.8"),
            ("x-forwarded-for", "10.0.0.7,10.0.0.8", "10.0.0.7"),
            ("x-forwarded-for", "5.6.7.8:4711", "5.6.7.8"),
            ("x-forwarded-for", "2001:db8::1", "2001:db8::1"),
            ("x-forwarded-for", "[2001:db8::1]:4711", "2001:db8::1"),
            ("x-forwarded-for", "::ffff:5.6.7.8", "5.6.7.8"),
            ("x-forwarded-for", "1.2.3.4, unknown", "10.0.0.1"),
            ("x-forwarded-for", "1.2.3.4, unknown, 10.9.9.9", "10.9.9.9"),
            ("x-forwarded-for", "", "10.0.0.1"),
            ("forwarded", "for=1.2.3.4", "1.2.3.4"),
            ("forwarded", "FOR=\"[2001:db8::1]:4711\";proto=https, for=\"[::1]\"", "2001:db8::1"),
            ("forwarded", "for=1.2.3.4, proto=https", "10.0.0.1"),
            ("forwarded", "for=1.2.3.4, for=_hidden", "10.0.0.1"),
            ("forwarded", "for=1.2.3.4;x=\", for=5.6.7.8", "5.6.7.8"),
        ] {
            assert_eq!(client("10.0.0.1", &[(name, value)]), expected, "{name}: {value}");
        }
    }

    #[test]
    fn lines_of_a_header_are_one_list() {
        assert_eq!(client("::1", &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "5.6.7.8")]), "5.6.7.8");
    }

    #[test]
    fn headers_that_contradict_each_other_do_not_count() {
        let both = |listed, forwarded| client("10.0.0.1", &[("x-forwarded-for", listed), ("forwarded", forwarded)]);
        assert_eq!(both("5.6.7.8", "for=5.6.7.8"), "5.6.7.8");
        assert_eq!(both("5.6.7.8", "for=1.2.3.4"), "10.0.0.1");
        assert_eq!(both("5.6.7.8", "for=unknown"), "5.6.7.8");
        assert_eq!(both("unknown", "for=5.6.7.8"), "5.6.7.8");
    }

    #[test]
    fn an_entry_that_is_no_network_is_named() {
        for entry in ["", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.1:80", "*"] {
            let mistake = Proxies::parse(&["10.0.0.1".into(), entry.into()]).unwrap_err();
            assert!(mistake.contains(&format!("{entry:?}")) && mistake.contains("\"10.0.0.0/8\""), "{mistake}");
        }
    }
}
