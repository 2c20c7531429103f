//! The proxies in front of the server, and the client behind them.
//!
//! A proxy appends to what a client wrote in the same header. So elements are judged from the right, each by itself and as
//! bytes: nothing that a client writes can hide or change what a proxy wrote after it. A request is refused where a proxy
//! that is trusted says what cannot be read, or where two headers contradict each other.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, HeaderName, header, request::Parts, uri::Authority},
};
use ipnet::IpNet;

use crate::{Error, Hub};

/// The list of addresses to which each proxy adds the one that it saw.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client that sent a request, the same over both transports.
///
/// It is the peer of the connection. Where that is one of the [`App::trusted_proxies`](crate::App::trusted_proxies), it is
/// the address that the proxies name in [`App::client_addr_header`](crate::App::client_addr_header). On a socket it is the
/// client of the handshake, from whose parts it can be read as well.
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
/// # Errors
///
/// 400 `forwarded_refused` if a trusted proxy says what cannot be read, or if two headers contradict each other.
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
        proxies.map_or(Ok(peer), |proxies| proxies.client(peer, &parts.headers)).map(Self)
    }
}

/// The other end of the connection. A listener for both versions of IP shows IPv4 as a part of IPv6.
pub(super) async fn peer(parts: &mut Parts) -> Option<IpAddr> {
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

/// The networks of the proxies that are trusted, and the header in which they name the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Arc<Trust>);

#[derive(Debug, Default)]
struct Trust {
    networks: Vec<IpNet>,
    header: ClientHeader,
}

/// The one header whose addresses count.
#[derive(Debug, Default, PartialEq, Eq)]
enum ClientHeader {
    /// A list of addresses.
    #[default]
    XForwardedFor,
    /// A list of elements as in RFC 7239.
    Forwarded,
    /// One address.
    Single(HeaderName),
}

/// How clients reach the server, as far as it is known: what its own pages have as their origin.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) scheme: Option<&'static str>,
    pub(crate) host: Option<String>,
}

/// What a header claims about the client or the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim<T> {
    Absent,
    Value(T),
    Unreadable,
}

impl<T> From<Option<Option<T>>> for Claim<T> {
    fn from(read: Option<Option<T>>) -> Self {
        match read {
            None => Self::Absent,
            Some(None) => Self::Unreadable,
            Some(Some(value)) => Self::Value(value),
        }
    }
}

impl fmt::Display for ClientHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR.fmt(f),
            Self::Forwarded => header::FORWARDED.fmt(f),
            Self::Single(name) => name.fmt(f),
        }
    }
}

impl Proxies {
    /// Reads addresses and networks, and the name of the header; the error names the entry that is wrong.
    pub(crate) fn parse(entries: &[String], header: &str) -> Result<Self, String> {
        let network = |entry: &String| {
            let address = || entry.parse::<IpAddr>().map(IpNet::from);
            entry.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                format!(
                    "`trusted_proxies` must be addresses or networks, such as \"127.0.0.1\" or \"10.0.0.0/8\"; \
                     {entry:?} is neither"
                )
            })
        };
        let networks = entries.iter().map(network).collect::<Result<_, _>>()?;
        let header = match HeaderName::try_from(header) {
            Ok(name) if name == X_FORWARDED_FOR => ClientHeader::XForwardedFor,
            Ok(name) if name == header::FORWARDED => ClientHeader::Forwarded,
            Ok(name) => ClientHeader::Single(name),
            Err(_) => {
                return Err(format!(
                    "`client_addr_header` must be the name of a header, such as \"x-real-ip\"; {header:?} is none"
                ));
            }
        };
        Ok(Self(Arc::new(Trust { networks, header })))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.networks.is_empty()
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.networks.iter().any(|network| network.contains(&address))
    }

    /// The client behind this peer.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Error> {
        if !self.trusts(peer) {
            return Ok(peer);
        }
        let listed = || self.outermost(elements(headers, &X_FORWARDED_FOR).map(address));
        let forwarded = || self.outermost(elements(headers, &header::FORWARDED).map(address_of_for));
        let (named, other) = match &self.0.header {
            ClientHeader::XForwardedFor => (listed(), forwarded()),
            ClientHeader::Forwarded => (forwarded(), listed()),
            ClientHeader::Single(name) => {
                let mut values = headers.get_all(name).iter();
                let value = values.next().map(|value| address(value.as_bytes().trim_ascii()));
                let named = if values.next().is_some() { Claim::Unreadable } else { value.into() };
                // The lists name the hops between as well, so they are not compared.
                let is_listed = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED);
                let other = if is_listed && matches!(named, Claim::Absent) { Claim::Unreadable } else { Claim::Absent };
                (named, other)
            }
        };
        // A proxy that forwards a request must not become the client. It is one only without any of these headers.
        if matches!((&named, &other), (Claim::Absent, Claim::Value(_) | Claim::Unreadable)) {
            return Err(Error::forwarded_refused(format!(
                "the proxy names its client, but not in `{0}`: let it send `{0}`, or name its header by \
                 `App::client_addr_header`",
                self.0.header
            )));
        }
        Ok(self.agreed(named, other, "address")?.unwrap_or(peer))
    }

    /// Goes from one hop to the hop that it names, as long as the hop is trusted.
    fn outermost(&self, hops: impl Iterator<Item = Option<IpAddr>>) -> Claim<IpAddr> {
        let mut outermost = Claim::Absent;
        for hop in hops {
            outermost = Some(hop).into();
            if !hop.is_some_and(|address| self.trusts(address)) {
                break;
            }
        }
        outermost
    }

    /// How the client of this request reached the server.
    pub(super) async fn site(&self, parts: &mut Parts) -> Result<Site, Error> {
        let is_trusted = !self.is_empty() && peer(parts).await.is_some_and(|peer| self.trusts(peer));
        let headers = &parts.headers;
        let asked = match parts.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => only(headers, header::HOST.as_str()),
        };
        if !is_trusted {
            return Ok(Site { scheme: None, host: asked.map(str::to_owned) });
        }
        let scheme = self.nearest(headers, &HeaderName::from_static("x-forwarded-proto"), "proto", as_scheme)?;
        let host = self.nearest(headers, &HeaderName::from_static("x-forwarded-host"), "host", as_host)?;
        Ok(Site { scheme, host: host.or(asked).map(str::to_owned) })
    }

    /// What the nearest proxy says of something, in a header of its own and as a parameter of `forwarded`.
    fn nearest<'a, T: PartialEq>(
        &self,
        headers: &'a HeaderMap,
        listed: &HeaderName,
        name: &str,
        read: fn(&'a [u8]) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let last = |name| elements(headers, name).next();
        let listed = Claim::from(last(listed).map(read));
        let forwarded = match last(&header::FORWARDED).map_or(Claim::Absent, |last| parameter(last, name)) {
            Claim::Value(value) => Some(read(value)).into(),
            Claim::Absent => Claim::Absent,
            Claim::Unreadable => Claim::Unreadable,
        };
        let is_forwarded = self.0.header == ClientHeader::Forwarded;
        let (named, other) = if is_forwarded { (forwarded, listed) } else { (listed, forwarded) };
        self.agreed(named, other, name)
    }

    /// What the header that counts says, as long as the other one does not contradict it.
    fn agreed<T: PartialEq>(&self, named: Claim<T>, other: Claim<T>, what: &str) -> Result<Option<T>, Error> {
        match (named, other) {
            (Claim::Absent, _) => Ok(None),
            (Claim::Unreadable, _) => Err(Error::forwarded_refused(format!(
                "the {what} that the proxy names cannot be read: see `{}` and what it sends beside that",
                self.0.header
            ))),
            (Claim::Value(named), Claim::Value(other)) if named != other => Err(Error::forwarded_refused(format!(
                "`forwarded` and `x-forwarded-*` name different values for the {what}: let the proxy clear the one that it \
                 does not write"
            ))),
            (Claim::Value(named), _) => Ok(Some(named)),
        }
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
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// A parameter of an element of `forwarded`: `for=192.0.2.1;proto=https`. It cannot be read if it stands twice.
fn parameter<'a>(element: &'a [u8], name: &str) -> Claim<&'a [u8]> {
    let mut values = element.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        key.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Claim::Absent,
        (Some(value), None) => {
            let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            Claim::Value(unquoted.unwrap_or(value))
        }
        (Some(_), Some(_)) => Claim::Unreadable,
    }
}

/// The address in an element of `forwarded`.
fn address_of_for(element: &[u8]) -> Option<IpAddr> {
    match parameter(element, "for") {
        Claim::Value(value) => address(value),
        Claim::Absent | Claim::Unreadable => None,
    }
}

/// An address as proxies write it, perhaps with a port.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse::<IpAddr>().ok().or_else(with_port).or_else(bare).map(|address| address.to_canonical())
}

/// A scheme as proxies write it; some name that of a websocket.
fn as_scheme(bytes: &[u8]) -> Option<&'static str> {
    match bytes.to_ascii_lowercase().as_slice() {
        b"https" | b"wss" => Some("https"),
        b"http" | b"ws" => Some("http"),
        _ => None,
    }
}

/// A host, perhaps with a port.
fn as_host(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    Authority::try_from(text).is_ok_and(|_| !text.contains('@')).then_some(text)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let at = |text: &str| network(text.parse().unwrap());
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    fn headers(lines: &[(&'static str, &str)]) -> Parts {
        let request = lines.iter().fold(Request::builder(), |request, (name, value)| {
            request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        request.body(()).unwrap().into_parts().0
    }

    fn proxies(header: &str) -> Proxies {
        Proxies::parse(&["10.0.0.0/8".into(), "::1".into()], header).unwrap()
    }

    /// The client, or `refused`.
    fn client_by(header: &str, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let client = proxies(header).client(peer.parse().unwrap(), &headers(lines).headers);
        client.map_or_else(|refusal| refusal_of(&refusal), |client| client.to_string())
    }

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        client_by("x-forwarded-for", peer, lines)
    }

    #[track_caller]
    fn refusal_of(refusal: &Error) -> String {
        assert_eq!(refusal.status(), 400);
        "refused".into()
    }

    #[test]
    fn only_a_trusted_peer_names_the_client() {
        for lines in
            [&[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")] as &[_], &[("x-forwarded-for", "?")]]
        {
            assert_eq!(client("192.0.2.1", lines), "192.0.2.1");
        }
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn addresses_are_judged_from_the_right() {
        for (value, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4, 5.6.7.8", "5.6.7.8"),
            ("1.2.3.4, 5.6.7.8, 10.9.9.9", "5.6.7.8"),
            ("10.0.0.7,10.0.0.8", "10.0.0.7"),
            ("5.6.7.8:4711", "5.6.7.8"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:5.6.7.8", "5.6.7.8"),
            ("unknown, é, , 5.6.7.8", "5.6.7.8"),
            ("é, 5.6.7.8, 10.9.9.9", "5.6.7.8"),
            ("1.2.3.4, unknown", "refused"),
            ("1.2.3.4, unknown, 10.9.9.9", "refused"),
            ("1.2.3.4, 5.6.7.8é", "refused"),
            ("1.2.3.4,", "refused"),
            ("", "refused"),
        ] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", value)]), expected, "{value}");
        }
        for (value, expected) in [
            ("for=1.2.3.4", "1.2.3.4"),
            ("FOR=\"[2001:db8::1]:4711\";proto=https, for=\"[::1]\"", "2001:db8::1"),
            ("for=1.2.3.4;x=\", for=5.6.7.8", "5.6.7.8"),
            ("é, for=5.6.7.8", "5.6.7.8"),
            ("for=1.2.3.4, proto=https", "refused"),
            ("for=1.2.3.4, for=_hidden", "refused"),
            ("for=1.2.3.4;for=5.6.7.8", "refused"),
        ] {
            assert_eq!(client_by("forwarded", "10.0.0.1", &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn lines_of_a_header_are_one_list() {
        assert_eq!(client("::1", &[("x-forwarded-for", "1.2.3.4é"), ("x-forwarded-for", "5.6.7.8")]), "5.6.7.8");
        assert_eq!(client("::1", &[("x-forwarded-for", "5.6.7.8"), ("x-forwarded-for", "")]), "refused");
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused() {
        for (listed, forwarded, by_list, by_forwarded) in [
            ("5.6.7.8", "for=5.6.7.8", "5.6.7.8", "5.6.7.8"),
            ("5.6.7.8", "for=1.2.3.4", "refused", "refused"),
            ("5.6.7.8", "for=unknown", "5.6.7.8", "refused"),
            ("unknown", "for=5.6.7.8", "refused", "5.6.7.8"),
        ] {
            let lines = [("x-forwarded-for", listed), ("forwarded", forwarded)];
            assert_eq!(client("10.0.0.1", &lines), by_list, "{lines:?}");
            assert_eq!(client_by("forwarded", "10.0.0.1", &lines), by_forwarded, "{lines:?}");
        }
    }

    #[test]
    fn a_header_that_is_not_the_named_one_is_not_believed() {
        for (named, sent) in
            [("x-forwarded-for", "forwarded"), ("forwarded", "x-forwarded-for"), ("x-real-ip", "forwarded")]
        {
            assert_eq!(client_by(named, "10.0.0.1", &[(sent, "1.2.3.4")]), "refused", "{named}");
            assert_eq!(client_by(named, "10.0.0.1", &[]), "10.0.0.1", "the proxy asks for itself");
        }
    }

    #[test]
    fn a_single_address_stands_once() {
        let by_real_ip = |values: &[&str]| {
            let lines: Vec<_> = values.iter().map(|value| ("x-real-ip", *value)).collect();
            client_by("X-Real-IP", "10.0.0.1", &lines)
        };
        assert_eq!(by_real_ip(&["5.6.7.8"]), "5.6.7.8");
        for values in [&["1.2.3.4", "5.6.7.8"] as &[_], &["5.6.7.8", "5.6.7.8"], &["1.2.3.4, 5.6.7.8"], &["é"], &[""]]
        {
            assert_eq!(by_real_ip(values), "refused", "{values:?}");
        }
    }

    /// Random bytes and pieces of addresses, as a client may send them.
    fn noise(random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
        const PIECES: [&[u8]; 14] = [
            b",",
            b", ",
            b";",
            b"\"",
            b"=",
            b"for=",
            b"FOR=\"",
            b"10.0.0.1",
            b"1.2.3.4",
            b"::1",
            b"[2001:db8::1]:4711",
            b"\xe9",
            b"unknown",
            b"\t",
        ];
        let mut bytes = Vec::new();
        for _ in 0..random(8) {
            match random(3) {
                0 => bytes.push(b' ' + u8::try_from(random(95)).unwrap()),
                1 => bytes.push(0x80 + u8::try_from(random(128)).unwrap()),
                _ => bytes.extend(PIECES[random(PIECES.len())]),
            }
        }
        bytes
    }

    /// Whatever a client sends in any header, behind a proxy of any of the usual kinds.
    #[test]
    fn bytes_of_a_client_never_choose_its_address() {
        const SEEN: &str = "203.0.113.9";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut sent = HeaderMap::new();
            for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
                for _ in 0..random(3) {
                    sent.append(name, HeaderValue::from_bytes(&noise(&mut random)).unwrap());
                }
            }
            let said = format!("{sent:?}");
            let kind = random(5);
            let (name, value) = match kind {
                3 => ("forwarded", format!("for={SEEN};proto=https")),
                4 => ("x-real-ip", SEEN.into()),
                _ => ("x-forwarded-for", SEEN.into()),
            };
            let mut lines: Vec<_> = sent.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
            match kind {
                // One line, as nginx makes of `$proxy_add_x_forwarded_for`.
                0 | 3 => lines = vec![[lines, vec![value.into_bytes()]].concat().join(&b", "[..])],
                // A line of its own, as HAProxy adds.
                1 => lines.push(value.into_bytes()),
                // What the client sent is gone.
                _ => lines = vec![value.into_bytes()],
            }
            sent.remove(name);
            for line in lines {
                sent.append(name, HeaderValue::from_bytes(&line).unwrap());
            }
            let clears_others = random(2) == 0;
            if clears_others {
                ["x-forwarded-for", "forwarded", "x-real-ip"].iter().filter(|other| **other != name).for_each(
                    |other| {
                        sent.remove(*other);
                    },
                );
            }
            match proxies(name).client("10.0.0.1".parse().unwrap(), &sent) {
                Ok(client) => assert_eq!(client.to_string(), SEEN, "{said}"),
                Err(_) if clears_others => panic!("the client had no part in it: {said}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 20, "contradictions were generated: {refused}");
    }

    #[tokio::test]
    async fn the_nearest_proxy_names_host_and_scheme() {
        let site = async |header: &str, lines: &[(&'static str, &str)]| {
            let mut parts = headers(lines);
            parts.extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 80))));
            let site = proxies(header).site(&mut parts).await;
            site.map_or_else(|refusal| refusal_of(&refusal), |site| format!("{:?} {}", site.scheme, site.host.unwrap()))
        };
        let host = ("host", "inside:1337");
        for (header, lines, expected) in [
            ("x-forwarded-for", &[] as &[_], "None inside:1337"),
            (
                "x-forwarded-for",
                &[("x-forwarded-host", "a.example"), ("x-forwarded-proto", "wss")],
                "Some(\"https\") a.example",
            ),
            (
                "x-forwarded-for",
                &[("x-forwarded-host", "é, a.example"), ("x-forwarded-proto", "é,http")],
                "Some(\"http\") a.example",
            ),
            ("x-forwarded-for", &[("x-forwarded-host", "é")], "refused"),
            ("x-forwarded-for", &[("x-forwarded-host", "a.example@b.example")], "refused"),
            ("x-forwarded-for", &[("x-forwarded-proto", "https, ")], "refused"),
            ("x-forwarded-for", &[("x-forwarded-proto", "gopher")], "refused"),
            ("x-forwarded-for", &[("x-forwarded-proto", "https"), ("forwarded", "proto=http")], "refused"),
            ("x-forwarded-for", &[("forwarded", "host=evil.example;proto=http")], "None inside:1337"),
            ("forwarded", &[("x-forwarded-host", "evil.example")], "None inside:1337"),
            (
                "forwarded",
                &[("forwarded", "host=b.example, host=\"a.example:8443\";proto=HTTPS")],
                "Some(\"https\") a.example:8443",
            ),
            ("forwarded", &[("forwarded", "proto=http;proto=https")], "refused"),
            ("forwarded", &[("x-forwarded-host", "evil.example"), ("forwarded", "host=a.example")], "refused"),
            ("forwarded", &[("x-forwarded-host", "é"), ("forwarded", "host=a.example")], "None a.example"),
        ] {
            assert_eq!(site(header, &[&[host], lines].concat()).await, expected, "{header}: {lines:?}");
        }
    }

    #[test]
    fn an_entry_that_is_no_network_is_named() {
        for entry in ["", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.1:80", "*"] {
            let mistake = Proxies::parse(&["10.0.0.1".into(), entry.into()], "x-forwarded-for").unwrap_err();
            assert!(mistake.contains(&format!("{entry:?}")) && mistake.contains("\"10.0.0.0/8\""), "{mistake}");
        }
    }

    #[test]
    fn a_name_that_is_no_header_is_named() {
        let mistake = Proxies::parse(&[], "x real ip").unwrap_err();
        assert!(mistake.contains("\"x real ip\"") && mistake.contains("\"x-real-ip\""), "{mistake}");
    }
}
