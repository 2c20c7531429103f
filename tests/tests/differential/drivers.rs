//! The two ways of asking: the router itself, as HTTP does, and a socket on a pipe in memory.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::{Body as HttpBody, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
};
use catamaran_tests::pipe;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::io::DuplexStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};
use tower::ServiceExt;

use crate::{
    bugs::PACKET_COOKIE,
    requests::{Ask, Data},
};

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    None,
    /// JSON, byte for byte; text is a JSON string.
    Json(String),
    Bytes(Vec<u8>),
}

/// What the handshake of every client says, and so each of its requests over HTTP.
pub(crate) const HANDSHAKE: [(&str, &str); 3] =
    [("host", "app.example"), ("origin", "http://app.example"), ("user-agent", "test/1")];

/// The headers that only the handshake sets, in a packet and in a page's script alike; a packet's `user-agent` yields to
/// the handshake's.
fn is_not_a_pages(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(&*name, "cookie" | "origin" | "host" | "referer" | "forwarded" | "via" | "x-real-ip" | "user-agent")
        || matches!(
            &*name,
            "connection" | "upgrade" | "content-length" | "transfer-encoding" | "te" | "trailer" | "expect"
        )
        || ["x-forwarded-", "sec-", "proxy-"].iter().any(|prefix| name.starts_with(prefix))
}

/// A client over HTTP: its cookie, as a browser keeps it.
pub(crate) struct Http {
    pub(crate) router: Router,
    pub(crate) cookie: Option<String>,
}

impl Http {
    /// Asks. What HTTP cannot carry is answered as a socket must answer it, with this status alone.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Answer, u16> {
        let uri = uri(ask)?;
        let mut request = Request::new(HttpBody::empty());
        *request.method_mut() = Method::from_bytes(ask.method.to_uppercase().as_bytes()).expect("a method");
        *request.uri_mut() = uri;
        for (name, value) in HANDSHAKE {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if let Some(Data::Json(json)) = &ask.data {
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CONTENT_LENGTH, json.len().into());
            *request.body_mut() = json.clone().into();
        }
        for (name, value) in &ask.headers {
            let name = HeaderName::try_from(*name).map_err(|_| 400_u16)?;
            // White space around a value is no part of it.
            let value = HeaderValue::try_from(value.trim_matches(' ')).map_err(|_| 400_u16)?;
            value.to_str().map_err(|_| 400_u16)?;
            if !is_not_a_pages(name.as_str()) {
                request.headers_mut().insert(name, value);
            }
        }
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert(header::COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).expect("a cookie"));
        }
        let (head, body) = self.router.clone().oneshot(request).await.expect("a router never fails").into_parts();
        self.keep(&head.headers);
        let mut bytes = to_bytes(body, usize::MAX).await.expect("a whole body");
        if ask.method == "head" {
            // Here the server does not send the body; below it is only the router that is asked.
            bytes.clear();
        }
        let headers = joined(&head.headers);
        Ok(Answer { status: head.status.as_u16(), body: Body::of_http(&headers, &bytes), headers })
    }

    /// Sets a cookie in place of those of its name, or takes them away; the others stay. All are for every path.
    fn keep(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = std::str::from_utf8(line.as_bytes()).expect("text");
            let (set, attributes) = line.split_once("; ").expect("attributes");
            let (name, _) = set.split_once('=').expect("a name");
            let before = self.cookie.take().unwrap_or_default();
            let mut cookies: Vec<_> = before.split("; ").filter(|cookie| !cookie.is_empty()).collect();
            let of_name = |cookie: &&str| cookie.split('=').next() == Some(name);
            let place = cookies.iter().position(of_name).unwrap_or(cookies.len());
            cookies.retain(|cookie| !of_name(cookie));
            if !attributes.contains("Max-Age=0") {
                cookies.insert(place, set);
            }
            self.cookie = (!cookies.is_empty()).then(|| cookies.join("; "));
        }
    }
}

/// The target that a browser sends, or the status of what it would not send.
fn uri(ask: &Ask) -> Result<Uri, u16> {
    let target = ask.url.split('#').next().expect("a first part");
    let second = target.chars().nth(1);
    if !target.starts_with('/') || matches!(second, Some('/' | '\\')) || target.chars().any(char::is_control) {
        return Err(400);
    }
    let mut target: String = target.bytes().map(as_sent).collect();
    if let Some(Data::Pairs(pairs)) = &ask.data {
        let values = pairs.iter().map(|(name, value)| match serde_json::from_str(value).expect("JSON") {
            Value::Null => (*name, String::new()),
            Value::String(text) => (*name, text),
            _ => (*name, (*value).to_owned()),
        });
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(values).finish();
        if !query.is_empty() {
            let mark = if target.ends_with('?') && target.matches('?').count() == 1 { "" } else { "&" };
            target = format!("{target}{}{query}", if target.contains('?') { mark } else { "?" });
        }
    }
    if target.len() >= usize::from(u16::MAX) {
        return Err(414);
    }
    target.parse().map_err(|_| 400)
}

/// A byte as the URL parser of a browser writes it.
fn as_sent(byte: u8) -> String {
    let kept = byte.is_ascii_graphic() && !b"\"<>`\\^|".contains(&byte);
    if kept { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        // What the browser keeps may have any bytes; a script sees none of it.
        if name == header::SET_COOKIE {
            continue;
        }
        let value = value.to_str().expect("a header of text");
        all.entry(name.as_str().into())
            .and_modify(|known| *known = format!("{known}, {value}"))
            .or_insert(value.into());
    }
    all
}

impl Body {
    fn of_http(headers: &BTreeMap<String, String>, bytes: &[u8]) -> Self {
        let content_type = headers.get("content-type").map_or("", |value| value);
        match std::str::from_utf8(bytes) {
            _ if bytes.is_empty() => Self::None,
            Ok(text) if content_type.starts_with("application/json") => Self::Json(text.into()),
            Ok(text) if content_type.is_empty() || content_type.starts_with("text/") => {
                Self::Json(Value::from(text).to_string())
            }
            _ => Self::Bytes(bytes.into()),
        }
    }
}

/// A client over a socket, Engine.IO 4.
pub(crate) struct Socket {
    stream: WebSocketStream<DuplexStream>,
    asked: u64,
    /// Events since they were last taken.
    pub(crate) events: Vec<String>,
}

impl Socket {
    pub(crate) async fn connect(router: &Router, cookie: Option<&str>) -> Self {
        let headers: Vec<_> = HANDSHAKE.into_iter().chain(cookie.map(|cookie| ("cookie", cookie))).collect();
        let stream = pipe::connect(router, &headers).await;
        let mut socket = Self { stream, asked: 0, events: Vec::new() };
        socket.send("40".into()).await;
        while !socket.text().await.starts_with("40") {}
        socket
    }

    /// Asks, and waits for the ack.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Answer {
        self.send_event(&event(ask)).await
    }

    /// Sends an event, and waits for its ack.
    pub(crate) async fn send_event(&mut self, event: &str) -> Answer {
        self.asked += 1;
        self.send(format!("42{}{event}", self.asked)).await;
        let ack = format!("43{}[", self.asked);
        let with_bytes = format!("461-{}[", self.asked);
        loop {
            let text = self.text().await;
            if let Some(event) = text.strip_prefix("42") {
                self.events.push(event.to_owned());
            } else if text.starts_with(&ack) {
                return answer(&text[ack.len() - 1..], None);
            } else if text.starts_with(&with_bytes) {
                let Some(Ok(Message::Binary(bytes))) = self.stream.next().await else { panic!("no attachment") };
                return answer(&text[with_bytes.len() - 1..], Some(bytes.to_vec()));
            } else if text != "2" && !text.starts_with("0{") {
                panic!("an unexpected packet: {text}");
            }
        }
    }

    async fn send(&mut self, packet: String) {
        self.stream.send(Message::text(packet)).await.expect("an open socket");
    }

    /// The next packet; a ping is answered.
    async fn text(&mut self) -> String {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) if text == "2" => self.send("3".into()).await,
                Some(Ok(Message::Text(text))) => return text.to_string(),
                other => panic!("the socket ended: {other:?}"),
            }
        }
    }
}

/// The event, as `sails.io.js` writes it.
fn event(ask: &Ask) -> String {
    let mut headers: serde_json::Map<_, _> =
        ask.headers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(&**value))).collect();
    let cookie = ask.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    // What a sound application never sees must be there for the bug that lets it through.
    headers.extend(cookie.map(|(_, value)| (PACKET_COOKIE.to_owned(), Value::from(&**value))));
    let data = match &ask.data {
        None => String::new(),
        Some(Data::Json(json)) => format!(r#""data":{json},"#),
        Some(Data::Pairs(pairs)) => {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name))).collect();
            format!(r#""data":{{{}}},"#, pairs.join(","))
        }
    };
    let (url, headers) = (Value::from(&*ask.url), Value::from(headers));
    format!(r#"["{0}",{{"method":"{0}","headers":{headers},{data}"url":{url}}}]"#, ask.method)
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    body: Option<&'a RawValue>,
    headers: BTreeMap<String, String>,
    #[serde(rename = "statusCode")]
    status: u16,
}

/// A `null` is a body, an absent key is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn answer(json: &str, attachment: Option<Vec<u8>>) -> Answer {
    let [Reply { body, headers, status }]: [Reply<'_>; 1] = serde_json::from_str(json).expect("one reply");
    let body = match (attachment, body) {
        (Some(bytes), _) => Body::Bytes(bytes),
        (None, Some(json)) => Body::Json(json.get().to_owned()),
        (None, None) => Body::None,
    };
    assert!(StatusCode::from_u16(status).is_ok());
    Answer { status, headers, body }
}
