//! What a request over HTTP asks of whom: its `Host` and its path, each of which must have one meaning.

use std::net::SocketAddr;

use axum::{
    extract::ConnectInfo,
    http::{HeaderValue, Request, Uri, Version, header, uri::Authority},
};

use crate::Error;

/// Refuses a request to the application's routes that names no host, several, or one that is none, or whose path no socket
/// can request.
pub(crate) fn check_target<B>(request: &Request<B>) -> Result<(), Error> {
    // A test that asks a router directly names no host. A request that a server read has the address of its peer.
    let from_a_server = || request.extensions().get::<ConnectInfo<SocketAddr>>().is_some();
    check_host(request, needs_host(request) && from_a_server())?;
    match request.uri().path().as_bytes() {
        [b'/', b'/' | b'\\', ..] => Err(Error::path_refused()),
        _ => Ok(()),
    }
}

/// Whether the version of a request demands a `Host`: HTTP/1.0 has none, and HTTP/2 has `:authority`.
pub(super) fn needs_host<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
}

/// Refuses a request with several hosts, or with one that is none; see RFC 9112, 3.2. The target of a request may name a host,
/// too: in HTTP/1.1 to a proxy, in HTTP/2 always.
pub(super) fn check_host<B>(request: &Request<B>, needs_host: bool) -> Result<(), Error> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if needs_host => Err(Error::host_refused("the request names no host")),
        (Some(_), Some(_)) => Err(Error::host_refused("the request names several hosts")),
        (Some(host), None) if !is_host(host) => Err(Error::host_refused("the `Host` of the request is none")),
        (Some(host), None) if !is_host_of(request.uri(), host) => {
            Err(Error::host_refused("the target and the `Host` of the request name different hosts"))
        }
        _ => Ok(()),
    }
}

/// Whether a target names the same host as the header, or none.
fn is_host_of(target: &Uri, host: &HeaderValue) -> bool {
    target.authority().is_none_or(|authority| authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
}

/// A host with or without a port. A target without an authority has an empty one.
fn is_host(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    bytes.is_empty() || (!bytes.contains(&b'@') && Authority::try_from(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(version: Version, hosts: &[&str], from_a_server: bool, uri: &str) -> Option<u16> {
        let request =
            hosts.iter().fold(Request::get(uri).version(version), |request, host| request.header("host", *host));
        let mut request = request.body(()).unwrap();
        if from_a_server {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        }
        check_target(&request).err().map(|error| error.status().as_u16())
    }

    #[test]
    fn request_without_one_host_is_refused() {
        let (old, usual, new) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (version, hosts, from_a_server, refused) in [
            (usual, &["a.example"][..], true, None),
            (usual, &["[::1]:80"], true, None),
            (usual, &["A.example:1337"], true, None),
            (usual, &[""], true, None),
            (usual, &[], true, Some(400)),
            (usual, &[], false, None),
            (old, &[], true, None),
            (new, &[], true, None),
            (old, &["a.example", "a.example"], false, Some(400)),
            (usual, &["a.example", "b.example"], false, Some(400)),
            (new, &["a.example", ""], true, Some(400)),
            (usual, &["user@a.example"], false, Some(400)),
            (usual, &["a.example/x"], false, Some(400)),
            (usual, &["a.example b.example"], false, Some(400)),
            (usual, &["größe.example"], false, Some(400)),
        ] {
            assert_eq!(status(version, hosts, from_a_server, "/a"), refused, "{version:?} {hosts:?} {from_a_server}");
        }
    }

    #[test]
    fn target_and_header_name_one_host() {
        let (usual, new) = (Version::HTTP_11, Version::HTTP_2);
        for (version, hosts, refused) in [
            (usual, &["A.example:80"][..], None),
            (usual, &["b.example"], Some(400)),
            (usual, &["a.example"], Some(400)),
            (usual, &["a.example:81"], Some(400)),
            (usual, &[""], Some(400)),
            (new, &["a.example:80"], None),
            (new, &["b.example"], Some(400)),
            (new, &[], None),
        ] {
            assert_eq!(status(version, hosts, true, "http://a.example:80/a"), refused, "{version:?} {hosts:?}");
        }
    }

    #[test]
    fn path_with_a_host_in_it_is_refused() {
        for (uri, refused) in
            [("/", None), ("/a//b", None), ("//a//b", Some(400)), ("//", Some(400)), ("/\\a", Some(400))]
        {
            assert_eq!(status(Version::HTTP_11, &["a.example"], true, uri), refused, "{uri}");
        }
    }
}
