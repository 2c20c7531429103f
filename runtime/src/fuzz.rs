//! What must hold for any bytes that a client sends: asked by the fuzz targets in `fuzz/`, and of their corpora by a test.

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    http::{HeaderValue, Method, Request, request::Parts},
};
use serde_json::{Value, json};

use crate::{
    Any,
    channels::escape,
    socketio::{ConnectLimits, ConnectPayload, HeaderRules, PacketHeaders, lasting_headers, virtual_request},
};

/// A whole event packet.
pub fn packet(data: &[u8]) {
    for method in [Method::GET, Method::POST] {
        asked(&method, data);
    }
}

/// A URL in a packet.
pub fn url(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else { return };
    let Some(request) = asked(&Method::GET, json!(["get", { "url": url }]).to_string().as_bytes()) else { return };
    let target = request.uri().to_string();
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
    // Nothing was decoded, and nothing resolved.
    let sent = url.split('#').next().unwrap_or_default();
    assert!(target.matches('%').count() >= sent.matches('%').count(), "{url} became {target}");
    assert_eq!(target.matches('/').count(), sent.matches('/').count(), "{url} became {target}");
}

/// The headers of a packet: a name and a value a line.
pub fn headers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let headers: serde_json::Map<_, _> = pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    asked(&Method::POST, json!(["post", { "url": "/", "headers": headers, "data": null }]).to_string().as_bytes());
}

/// The payload of a CONNECT packet.
pub fn connect(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = ConnectLimits { bytes: 4096, auth: 1024, positions: 8, name: 64 };
    let Ok(ConnectPayload { client, auth }) = ConnectPayload::read(text, &limits) else { return };
    assert!(auth.is_none_or(|auth| auth.len() <= limits.auth));
    if let Some(client) = client {
        assert!((16..=128).contains(&client.name.len()));
        assert!(client.resume.len() <= limits.positions);
        assert!(client.resume.iter().all(|(name, had)| name.len() <= limits.name && had.upto.epoch.len() <= 64));
    }
}

/// The values of two channels: no two lists of them give one name.
pub fn channel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (one, other) = text.split_once('\n').unwrap_or((text, ""));
    let lists = [one, other].map(|list| list.split('\t').collect::<Vec<_>>());
    let names = lists.clone().map(|list| {
        let mut name = String::from("room");
        for value in list {
            name.push(':');
            escape(&mut name, &value);
        }
        name
    });
    assert_eq!(lists[0] == lists[1], names[0] == names[1], "{lists:?} gives {names:?}");
}

/// The virtual request of a packet, if it is one; then it is what the handshake says, and not what the packet says.
fn asked(method: &Method, packet: &[u8]) -> Option<axum::extract::Request> {
    const OWN: [(&str, &str); 3] =
        [("host", "app.example"), ("origin", "http://app.example"), ("x-forwarded-for", "10.0.0.1")];
    let handshake =
        OWN.iter().fold(Request::get("/socket.io/"), |request, (name, value)| request.header(*name, *value));
    let (handshake, ()): (Parts, ()) = handshake.body(()).expect("a request").into_parts();
    let lasting = lasting_headers(&handshake.headers);
    let cookie = |_: &str| Some(HeaderValue::from_static("sid=1"));
    // Every name that can be allowed is.
    static RULES: LazyLock<HeaderRules> = LazyLock::new(|| PacketHeaders::from(Any).rules().expect("a setting"));
    let packet = Bytes::copy_from_slice(packet);
    let (request, _) = virtual_request(method, &packet, &handshake, &lasting, cookie, &RULES).ok()?;
    assert_eq!(request.method(), method);
    let path = request.uri().path();
    assert!(path.starts_with('/') && !path.starts_with("//"), "{path}");
    assert!(request.uri().authority().is_none() && request.uri().scheme().is_none());
    for (name, value) in OWN.into_iter().chain([("cookie", "sid=1")]) {
        let all: Vec<_> = request.headers().get_all(name).iter().collect();
        assert_eq!(all, [value], "{name}");
    }
    for name in ["x-remote-user", "x-goog-iap-jwt-assertion", "x-ms-client-principal", "forwarded", "referer"] {
        assert!(!request.headers().contains_key(name), "{name}");
    }
    for name in ["transfer-encoding", "connection", "upgrade", "te", "expect", "accept-encoding", "content-encoding"] {
        assert!(!request.headers().contains_key(name), "{name}");
    }
    assert!(request.headers().len() <= OWN.len() + 64 + 3);
    Some(request)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    type Target = fn(&[u8]);

    /// Beside its corpus a target gets every input cut short, and with a byte changed.
    #[test]
    fn the_corpora_hold() {
        let targets: [(&str, Target); 5] = [
            ("packet", super::packet),
            ("url", super::url),
            ("headers", super::headers),
            ("connect", super::connect),
            ("channel", super::channel),
        ];
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (name, target) in targets {
            let inputs: Vec<_> = fs::read_dir(corpora.join(name)).expect("a corpus").collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            for input in inputs {
                let input = fs::read(input.expect("an input").path()).expect("its bytes");
                target(&input);
                for end in 0..input.len().min(200) {
                    target(&input[..end]);
                    let mut changed = input.clone();
                    changed[end] ^= 1 << (end % 8);
                    target(&changed);
                }
            }
        }
    }
}
