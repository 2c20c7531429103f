//! What must hold for any bytes that a client sends: asked by the fuzz targets in `fuzz/`, and of their corpora by a test.

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    http::{HeaderValue, Method, Request, request::Parts},
};
use bytes::BytesMut;
use serde_json::{Value, json};

use crate::{
    Any,
    channels::escape,
    http::frames::Frames,
    socketio::{ConnectLimits, ConnectPayload, HeaderRules, PacketHeaders, Reader, lasting_headers, virtual_request},
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

/// What the client of a websocket sends, in pieces of a size that the first byte says: Engine.IO is handed the same messages,
/// but for those that it could not read.
pub fn frames(data: &[u8]) {
    let Some((size, sent)) = data.split_first() else { return };
    let mut reader = Reader::default();
    let written = |(code, payload): (u8, Vec<u8>)| match std::str::from_utf8(&payload) {
        Ok(text) if code == TEXT => (code, reader.read(text).map_or(payload, String::into_bytes)),
        _ => (code, payload),
    };
    let expected: Vec<_> = messages(sent).into_iter().map(written).filter_map(comparable).collect();
    for size in [usize::from(*size).max(1), sent.len().max(1)] {
        let (mut frames, mut handed) = (Frames::new(LIMIT), BytesMut::new());
        for piece in sent.chunks(size) {
            let (mut piece, mut behind) = (piece.to_vec(), BytesMut::new());
            let passed = frames.pass(&mut piece, &mut behind);
            handed.extend_from_slice(&piece[..passed]);
            handed.extend_from_slice(&behind);
        }
        let handed: Vec<_> = messages(&handed).into_iter().filter_map(comparable).collect();
        assert_eq!(handed, expected, "in pieces of {size}");
    }
}

/// How many bytes a message may have here.
const LIMIT: usize = 4096;
const TEXT: u8 = 1;

/// A message but for what may differ: an event that nobody receives has a namespace of each process, and of a text that is
/// none the library reads nothing.
fn comparable((code, payload): (u8, Vec<u8>)) -> Option<(u8, Vec<u8>)> {
    if payload.ends_with(b",[]") {
        return None;
    }
    let is_broken = code == TEXT && std::str::from_utf8(&payload).is_err();
    Some((code, if is_broken { b"broken".to_vec() } else { payload }))
}

/// The messages, pings and the like that a websocket carries, up to the first that is too large or breaks the protocol.
fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut all, mut message): (Vec<_>, Option<(u8, Vec<u8>)>) = (Vec::new(), None);
    while let [first, second, rest @ ..] = bytes {
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(extended) else { break };
        let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        let length = if extended == 0 { u64::from(second & 0x7f) } else { length };
        if second & 0x80 == 0 || first & 0x70 != 0 || length > LIMIT as u64 {
            break;
        }
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else { break };
        let Some((payload, rest)) = rest.split_at_checked(length as usize) else { break };
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>();
        bytes = rest;
        let (is_last, code) = (first & 0x80 != 0, first & 0x0f);
        match (code, &mut message) {
            (0, Some((_, begun))) => begun.extend(payload),
            (1 | 2, None) => message = Some((code, payload)),
            (8..=10, _) if is_last && length <= 125 => {
                all.push((code, payload));
                continue;
            }
            _ => break,
        }
        if message.as_ref().is_some_and(|(_, begun)| begun.len() > LIMIT) {
            break;
        }
        if is_last {
            all.extend(message.take());
        }
    }
    all
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
    // As the packet comes from a connection.
    let packet = Reader::default().read(&format!("42{}", std::str::from_utf8(packet).ok()?))?;
    let packet = Bytes::copy_from_slice(&packet.as_bytes()[2..]);
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
        let targets: [(&str, Target); 6] = [
            ("packet", super::packet),
            ("url", super::url),
            ("headers", super::headers),
            ("connect", super::connect),
            ("channel", super::channel),
            ("frames", super::frames),
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
