//! The virtual request: an envelope and a handshake as an `http::Request`.

use std::{borrow::Cow, net::SocketAddr};

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts},
};
use catamaran_pubsub::Resume;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    envelope::{Envelope, LONGEST_ESCAPE, kind, readable},
    incoming::arguments,
    packet_headers::{HeaderRules, is_of_connection},
};
use crate::Error;

/// The longest URL that `http::Uri` takes, in bytes.
const MAX_URL: usize = (u16::MAX - 1) as usize;

/// Builds the request that the router sees, and takes out what is not for it: the positions of a client that resumes.
///
/// `packet` is the whole text of a request, as [`arguments`] reads it, so that the body can share its memory; `lasting` are the headers that the
/// handshake lends to every request of its socket, and `cookie` gives the cookies of a request to a path.
pub(crate) fn virtual_request(
    method: &Method,
    packet: &Bytes,
    handshake: &Parts,
    lasting: &HeaderMap,
    cookie: impl FnOnce(&str) -> Option<HeaderValue>,
    rules: &HeaderRules,
) -> Result<(Request, Resume), Error> {
    let text = std::str::from_utf8(packet).map_err(|_| Error::malformed("the packet is not text"))?;
    let envelope = Envelope::parse(arguments(text)?)?;
    let in_query = matches!(*method, Method::GET | Method::HEAD);

    let uri = uri(&envelope.url, envelope.data.filter(|_| in_query))?;
    let body = envelope.data.filter(|_| !in_query).map(|data| packet.slice_ref(data.get().as_bytes()));
    let cookie = cookie(uri.path());
    let mut request = request(method, uri, handshake, lasting, cookie, body);
    add_headers(request.headers_mut(), &envelope.headers, lasting, rules)?;
    Ok((request, envelope.resume))
}

/// The handshake itself as a request that the router sees, with this JSON as its body.
pub(crate) fn handshake_request(handshake: &Parts, cookie: Option<HeaderValue>, body: Option<Bytes>) -> Request {
    let lasting = lasting_headers(&handshake.headers);
    request(&Method::GET, handshake.uri.clone(), handshake, &lasting, cookie, body)
}

fn request(
    method: &Method,
    uri: Uri,
    handshake: &Parts,
    lasting: &HeaderMap,
    cookie: Option<HeaderValue>,
    body: Option<Bytes>,
) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = lasting.clone();
    request.headers_mut().extend(cookie.map(|cookie| (header::COOKIE, cookie)));
    if let Some(body) = body {
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *request.body_mut() = Body::from(body);
    }
    if let Some(peer) = handshake.extensions.get::<ConnectInfo<SocketAddr>>() {
        request.extensions_mut().insert(*peer);
    }
    request
}

/// What a browser's URL parser would percent-encode before it sends a path and query over HTTP.
const UNSENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'\\').add(b'^').add(b'|');

fn uri(url: &str, query: Option<&RawValue>) -> Result<Uri, Error> {
    let target = url.split('#').next().unwrap_or_default();
    let bytes = target.as_bytes();
    if bytes.first() != Some(&b'/') || matches!(bytes.get(1), Some(b'/' | b'\\')) {
        let message = format!("`url` must be a path such as \"/hello\", this is {:?}", shortened(url));
        return Err(Error::malformed(message));
    }
    if target.len() > MAX_URL {
        return Err(Error::url_too_long(MAX_URL));
    }
    if target.chars().any(char::is_control) {
        return Err(Error::malformed("`url` has a control character"));
    }
    let mut target: Cow<'_, str> = utf8_percent_encode(target, UNSENT).into();
    if let Some(data) = query {
        join_query(&mut target, data)?;
    }
    if target.len() > MAX_URL {
        return Err(Error::url_too_long(MAX_URL));
    }
    Uri::try_from(target.as_ref()).map_err(|error| Error::malformed(format!("`url`: {error}")))
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Adds the data of a GET to the query as `$.get` would: scalars as values, arrays repeated, objects as JSON text.
fn join_query(target: &mut Cow<'_, str>, data: &RawValue) -> Result<(), Error> {
    let query = match kind(data) {
        "null" => return Ok(()),
        "an object" => {
            let mut query = Query { pairs: form_urlencoded::Serializer::new(String::new()), bytes: 0, ended: None };
            let joined = serde_json::Deserializer::from_str(data.get()).deserialize_map(&mut query);
            if let Some(error) = query.ended {
                return Err(error);
            }
            joined.map_err(|error| unreadable_data(&error))?;
            query.pairs.finish()
        }
        kind => {
            let message = format!("`data` of a GET joins the query, so it must be an object, this is {kind}");
            return Err(Error::malformed(message));
        }
    };
    if !query.is_empty() {
        let target = target.to_mut();
        match target.find('?') {
            None => target.push('?'),
            Some(at) if at + 1 < target.len() => target.push('&'),
            Some(_) => {}
        }
        target.push_str(&query);
    }
    Ok(())
}

fn unreadable_data(error: &serde_json::Error) -> Error {
    Error::malformed(format!("`data`: {}", readable(error)))
}

fn query_value(value: &RawValue) -> Result<Cow<'_, str>, Error> {
    match kind(value) {
        "a string" => serde_json::from_str(value.get()).map(Cow::Owned).map_err(|error| unreadable_data(&error)),
        "null" => Ok(Cow::Borrowed("")),
        _ => Ok(Cow::Borrowed(value.get())),
    }
}

/// A query that grows by the entries of a JSON object, in their order, until no URL has room for it.
struct Query {
    pairs: form_urlencoded::Serializer<'static, String>,
    /// The bytes of what was added, before it was encoded.
    bytes: usize,
    ended: Option<Error>,
}

impl Query {
    /// Adds a value, or ends the reading: the reader's own error says nothing then.
    fn add<E: de::Error>(&mut self, name: &str, value: &RawValue) -> Result<(), E> {
        let mut ended = |error| {
            self.ended = Some(error);
            E::custom("the query has ended")
        };
        // A value that JSON escapes is shorter than its text, but no shorter than this.
        self.bytes += name.len() + value.get().len() / LONGEST_ESCAPE;
        if self.bytes > MAX_URL {
            return Err(ended(Error::url_too_long(MAX_URL)));
        }
        let value = query_value(value).map_err(ended)?;
        self.pairs.append_pair(name, &value);
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Query {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if kind(value) == "an array" {
                let items = Items { query: self, name: &name };
                serde_json::Deserializer::from_str(value.get()).deserialize_seq(items).map_err(de::Error::custom)?;
            } else {
                self.add(&name, value)?;
            }
        }
        Ok(())
    }
}

/// The items of an array, which are all values of one name.
struct Items<'a> {
    query: &'a mut Query,
    name: &'a str,
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            self.query.add(self.name, item)?;
        }
        Ok(())
    }
}

/// Adds the headers that the packet may set.
fn add_headers(
    headers: &mut HeaderMap,
    sent: &[(Cow<'_, str>, Cow<'_, str>)],
    lasting: &HeaderMap,
    rules: &HeaderRules,
) -> Result<(), Error> {
    for (name, value) in sent {
        let parsed = HeaderName::try_from(&**name)
            .map_err(|_| Error::malformed(format!("{:?} is not the name of a header", shortened(name))))?;
        // White space around a value is no part of it, over HTTP either.
        let value = value.trim_matches([' ', '\t']);
        let value = HeaderValue::try_from(value).ok().filter(|value| value.to_str().is_ok()).ok_or_else(|| {
            Error::malformed(format!("the header `{parsed}` has a character that no header can carry"))
        })?;
        if rules.allow(&parsed, lasting) {
            headers.insert(parsed, value);
        }
    }
    Ok(())
}

/// The headers that the handshake lends to every request of its socket: all but those about the connection, its own
/// body, and what may be answered to it. The cookie changes, so it is kept elsewhere.
pub(crate) fn lasting_headers(handshake: &HeaderMap) -> HeaderMap {
    let lends = |name: &HeaderName| {
        let about_the_answer =
            matches!(name.as_str(), "accept" | "accept-encoding" | "range" | "cookie" | "content-type")
                || name.as_str().starts_with("if-");
        !about_the_answer && !is_of_connection(name.as_str())
    };
    let lent = handshake.iter().filter(|(name, _)| lends(name));
    lent.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socketio::{PacketHeaders, Reader};

    fn request(method: &Method, event: &str) -> Result<Request, Error> {
        let handshake = axum::http::Request::builder()
            .header("host", "example.com")
            .header("origin", "http://example.com")
            .header("user-agent", "test")
            .header("accept-encoding", "gzip")
            .header("sec-websocket-key", "abc")
            .header("upgrade", "websocket")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let lasting = lasting_headers(&handshake.headers);
        let cookie = |_: &str| Some(HeaderValue::from_static("sid=1"));
        let packet = Reader::default().read(&format!("42{event}")).expect("a request").split_off("42".len());
        let packet = Bytes::from(packet);
        let rules = PacketHeaders::from(["x-own"]).rules().unwrap();
        virtual_request(method, &packet, &handshake, &lasting, cookie, &rules).map(|(request, _)| request)
    }

    fn target(data: &str, url: &str) -> String {
        let event = format!(r#"["get",{{"url":{url:?},"data":{data}}}]"#);
        request(&Method::GET, &event).unwrap().uri().to_string()
    }

    #[test]
    fn the_data_of_a_get_joins_the_query() {
        assert_eq!(target("{}", "/a"), "/a");
        assert_eq!(target("null", "/a?x=1"), "/a?x=1");
        assert_eq!(target(r#"{"b":"c d&","n":1.50,"t":true,"z":null}"#, "/a?x=1"), "/a?x=1&b=c+d%26&n=1.50&t=true&z=");
        assert_eq!(target(r#"{"i":[1,"two",{"k":3}],"e":[]}"#, "/a?"), "/a?i=1&i=two&i=%7B%22k%22%3A3%7D");
        assert_eq!(target(r#"{"where":{"name":"x"}}"#, "/a"), "/a?where=%7B%22name%22%3A%22x%22%7D");
    }

    #[test]
    fn the_data_of_a_get_must_be_an_object() {
        for data in ["[1]", "5", "\"x\"", "true"] {
            let event = format!(r#"["get",{{"url":"/","data":{data}}}]"#);
            assert!(request(&Method::GET, &event).unwrap_err().message().contains("must be an object"), "{data}");
        }
    }

    #[test]
    fn lone_surrogate_in_the_data_of_a_get_is_named() {
        for data in [r#"{"a":"\ud800"}"#, r#"{"\ud800":1}"#, r#"{"a":["\udc00"]}"#] {
            let event = format!(r#"["get",{{"url":"/","data":{data}}}]"#);
            let error = request(&Method::GET, &event).unwrap_err();
            assert!(error.message().starts_with("`data`: half of a surrogate pair"), "{data}: {}", error.message());
        }
    }

    #[test]
    fn a_url_is_sent_as_a_browser_would_send_it() {
        assert_eq!(target("null", "/user/é x?q=<a>"), "/user/%C3%A9%20x?q=%3Ca%3E");
        assert_eq!(target("null", "/a%20b%2Fc"), "/a%20b%2Fc");
        assert_eq!(target("null", "/a#part"), "/a");
    }

    #[test]
    fn a_url_is_a_path() {
        for url in ["", "hello", "?x", "#", "//host/x", "/\\\\host", "http://host/x", "/a\\nb", "/a\\u0000"] {
            let event = format!(r#"["get",{{"url":"{url}"}}]"#);
            let error = request(&Method::GET, &event).unwrap_err();
            assert_eq!(error.status(), 400, "{url}");
        }
        let long = format!(r#"["get",{{"url":"/{}"}}]"#, "a".repeat(70_000));
        assert_eq!(request(&Method::GET, &long).unwrap_err().status(), 414);
        // Were it read to its end, its last character would be what is wrong.
        let long = format!(r#"["get",{{"url":"/{}\u0000"}}]"#, "a".repeat(70_000));
        assert_eq!(request(&Method::GET, &long).unwrap_err().status(), 414);
    }

    #[test]
    fn data_is_joined_no_further_than_a_url_goes() {
        // The last value is one that no query can carry, which nobody comes to see.
        let end = r#""\ud800""#;
        let pairs: Vec<_> = (0..20_000).map(|n| format!(r#""{n}":"x""#)).collect();
        for data in [
            format!(r#"{{"a":"{}","z":{end}}}"#, "x".repeat(500_000)),
            format!(r#"{{{},"z":{end}}}"#, pairs.join(",")),
            format!(r#"{{"a":[{}{end}]}}"#, r#""four","#.repeat(200_000)),
            format!(r#"{{"{}":{end}}}"#, "x".repeat(70_000)),
        ] {
            let event = format!(r#"["get",{{"url":"/","data":{data}}}]"#);
            assert_eq!(request(&Method::GET, &event).unwrap_err().status(), 414, "{data:.40}");
        }
        let short = format!(r#"["get",{{"url":"/","data":{{"a":{end}}}}}]"#);
        assert_eq!(request(&Method::GET, &short).unwrap_err().status(), 400);
    }

    #[test]
    fn the_handshake_keeps_what_it_owns() {
        let event = r#"["post",{"url":"/","headers":{"Cookie":"sid=2","ORIGIN":"http://evil","Host":"evil","X-Forwarded-For":"1.2.3.4",
            "forwarded":"for=1","referer":"x","sec-fetch-site":"none","accept-encoding":"gzip","content-length":"7","transfer-encoding":"chunked",
            "connection":"upgrade","x-own":"yes","x-other":"no","user-agent":"packet","authorization":"Bearer t"},"data":{"a":1}}]"#;
        let request = request(&Method::POST, event).unwrap();
        let mut seen: Vec<_> =
            request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "authorization: Bearer t",
                "content-length: 7",
                "content-type: application/json",
                "cookie: sid=1",
                "host: example.com",
                "origin: http://example.com",
                "user-agent: test",
                "x-own: yes",
            ]
        );
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused() {
        for header in [r#""a b":"1""#, r#""x":"a\r\nb: c""#, r#""x":"\u0000""#, r#""":"1""#, r#""x":"é""#] {
            let event = format!(r#"["get",{{"url":"/","headers":{{{header}}}}}]"#);
            assert_eq!(request(&Method::GET, &event).unwrap_err().status(), 400, "{header}");
        }
        let many: Vec<_> = (0..65).map(|n| format!(r#""x-{n}":"1""#)).collect();
        let event = format!(r#"["get",{{"url":"/","headers":{{{}}}}}]"#, many.join(","));
        assert!(request(&Method::GET, &event).unwrap_err().message().contains("at most 64 headers"));
    }
}
