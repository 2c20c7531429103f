//! A response as an ack.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method, StatusCode, header, response::Parts},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use catamaran_pubsub::Settled;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::{Ack, AckBody, AckHeaders};
use crate::{Error, logged};

/// The longest line that a refusal is told in, in characters.
const MAX_REFUSAL: usize = 200;

/// The bytes of the answers that wait for one socket, and how many there may be.
#[derive(Clone, Debug)]
pub(crate) struct AnswerBudget {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

impl AnswerBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// Whether so much waits that no request should begin whose answer may find no room.
    pub(crate) fn is_filling(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.limit / 2
    }
}

/// The part of a budget that one answer takes, which is free again when this is dropped.
#[derive(Debug, Default)]
struct Share {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    /// Takes room for more bytes of an answer, or says why there is none.
    fn grow(&mut self, bytes: usize, limit: usize) -> Result<(), Error> {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if self.bytes > limit {
            Err(Error::answer_too_large(limit))
        } else if taken + bytes > limit {
            Err(Error::answers_waiting(limit))
        } else {
            Ok(())
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A response whose body has arrived.
pub(crate) struct Answer {
    head: Parts,
    body: Bytes,
    _share: Share,
}

impl Answer {
    /// Waits for the body of a response. What cannot become an ack becomes the answer that says so, and no more of it is
    /// read than there is room for.
    pub(crate) async fn collect(response: Response, method: &Method, budget: &AnswerBudget) -> Self {
        let (head, body) = response.into_parts();
        let mut share = Share { taken: budget.taken.clone(), bytes: 0 };
        if *method == Method::HEAD {
            return Self { head, body: Bytes::new(), _share: share };
        }
        if content_type(&head.headers).starts_with("text/event-stream") {
            return Self::whole(Error::endless()).await;
        }
        match read(body, &mut share, budget.limit).await {
            Ok(body) => Self { head, body, _share: share },
            Err(error) => {
                drop(share);
                Self::whole(error).await
            }
        }
    }

    /// An answer of the framework's own.
    pub(crate) async fn whole(error: Error) -> Self {
        let (head, body) = error.into_response().into_parts();
        // An error's body is in memory, so this neither waits nor fails.
        let body = Body::collect(body).await.map(|body| body.to_bytes()).unwrap_or_default();
        Self { head, body, _share: Share::default() }
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.head.status.as_u16() < 400
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The status and what the answer says, in one short line: for a client that cannot be told more.
    pub(crate) fn refusal(&self) -> String {
        let status = self.head.status;
        let message: String = self.message().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let reason = status.canonical_reason().unwrap_or_default();
        let said: Vec<_> = [reason, message.trim()].into_iter().filter(|part| !part.is_empty()).collect();
        let said = if reason == message.trim() { reason.to_owned() } else { said.join(": ") };
        format!("{} {said}", status.as_u16()).trim_end().chars().take(MAX_REFUSAL).collect()
    }

    /// The words of the answer, if it has any: the `message` of an object, a string, or plain text.
    fn message(&self) -> Cow<'_, str> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Error { message: String },
            Text(String),
        }
        let content_type = content_type(&self.head.headers);
        if is_json(content_type) {
            return match serde_json::from_slice(&self.body) {
                Ok(Said::Error { message } | Said::Text(message)) => message.into(),
                Err(_) => Cow::Borrowed(""),
            };
        }
        match essence(content_type) {
            "text/plain" => String::from_utf8_lossy(&self.body),
            _ => Cow::Borrowed(""),
        }
    }

    /// The ack; `takes_binary` says whether the client can receive a binary attachment.
    pub(crate) fn ack<'a>(&'a self, takes_binary: bool, settled: &'a Settled) -> Ack<'a> {
        let content_type = content_type(&self.head.headers);
        let (body, implied) = self.body(content_type);
        let base64 = matches!(body, AckBody::Binary(_)) && !takes_binary;
        let body = match body {
            AckBody::Binary(bytes) if base64 => AckBody::Text(BASE64_STANDARD.encode(bytes).into()),
            body => body,
        };
        let headers =
            AckHeaders { response: &self.head.headers, implied_type: says_only(content_type, implied), base64 };
        Ack { body, headers, status: self.head.status.as_u16(), settled }
    }

    /// The body by its content type, and the content type that goes without saying for it.
    fn body(&self, content_type: &str) -> (AckBody<'_>, &'static str) {
        if self.body.is_empty() {
            return (AckBody::None, "text/plain");
        }
        if is_encoded(&self.head.headers) {
            return (AckBody::Binary(&self.body), "application/octet-stream");
        }
        if is_json(content_type)
            // A body that only says it is JSON would break the packet, so it is read through once, without a copy.
            && let Ok(json) = serde_json::from_slice::<&RawValue>(&self.body)
        {
            return (AckBody::Json(json), "application/json");
        }
        match std::str::from_utf8(&self.body) {
            Ok(text) if is_text(content_type) => (AckBody::Text(Cow::Borrowed(text)), "text/plain"),
            _ => (AckBody::Binary(&self.body), "application/octet-stream"),
        }
    }
}

/// Reads a body as long as there is room for it; one that is in memory already is not copied.
async fn read(mut body: Body, share: &mut Share, limit: usize) -> Result<Bytes, Error> {
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::error!(error = %logged::error(&error), "the body of an answer broke off");
            Error::broken_answer()
        })?;
        let Ok(data) = frame.into_data() else { continue };
        share.grow(data.len(), limit)?;
        if whole.is_empty() && parts.is_empty() {
            whole = data;
        } else {
            parts.extend_from_slice(&std::mem::take(&mut whole));
            parts.extend_from_slice(&data);
        }
    }
    Ok(if parts.is_empty() { whole } else { parts.freeze() })
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether the action compressed the body itself. Nobody decodes it on its way, so it is bytes of whatever type.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a content type says no more than this one; UTF-8 goes without saying in an ack.
fn says_only(content_type: &str, implied: &str) -> bool {
    let parameters = content_type.split_once(';').map_or("", |(_, parameters)| parameters.trim());
    essence(content_type) == implied && (parameters.is_empty() || parameters.eq_ignore_ascii_case("charset=utf-8"))
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/json" || essence.ends_with("+json")
}

fn is_text(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence.is_empty()
        || essence.starts_with("text/")
        || essence.ends_with("+xml")
        || is_json(essence)
        || matches!(essence, "application/xml" | "application/javascript" | "application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    fn budget(limit: usize) -> AnswerBudget {
        AnswerBudget::new(limit)
    }

    async fn collected(response: impl IntoResponse, budget: &AnswerBudget) -> Answer {
        Answer::collect(response.into_response(), &Method::GET, budget).await
    }

    async fn acked(response: impl IntoResponse, takes_binary: bool) -> String {
        let answer = collected(response, &budget(1024 * 1024)).await;
        match answer.ack(takes_binary, &Settled::default()) {
            Ack { body: AckBody::Binary(bytes), headers, status, .. } => {
                format!("{bytes:?} {} {status}", serde_json::to_string(&headers).unwrap())
            }
            ack => serde_json::to_string(&ack).unwrap(),
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[tokio::test]
    async fn json_passes_as_it_was_written() {
        let spaced = "{ \"b\": 1e400,\n \"a\": 12345678901234567890 }";
        assert_eq!(
            acked(([JSON], spaced), true).await,
            format!(r#"{{"body":{spaced},"headers":{{}},"statusCode":200}}"#)
        );
        assert_eq!(acked(([JSON], "null"), true).await, r#"{"body":null,"headers":{},"statusCode":200}"#);
        assert_eq!(acked(([JSON], "0"), true).await, r#"{"body":0,"headers":{},"statusCode":200}"#);
    }

    #[tokio::test]
    async fn json_that_is_none_is_text() {
        let lie = r#"1},"x"]"#;
        let ack: serde_json::Value = serde_json::from_str(&acked(([JSON], lie), true).await).unwrap();
        assert_eq!(ack["body"], lie);
        assert_eq!(ack["headers"]["content-type"], "application/json");
    }

    #[tokio::test]
    async fn no_body_is_no_key() {
        assert_eq!(acked(StatusCode::NO_CONTENT, true).await, r#"{"headers":{},"statusCode":204}"#);
    }

    #[tokio::test]
    async fn a_type_that_goes_without_saying_is_not_said() {
        assert_eq!(acked("hi", true).await, r#"{"body":"hi","headers":{},"statusCode":200}"#);
        let html = axum::response::Html("<p>");
        assert_eq!(
            acked(html, true).await,
            r#"{"body":"<p>","headers":{"content-type":"text/html; charset=utf-8"},"statusCode":200}"#
        );
        assert_eq!(acked(Bytes::from_static(b"abc"), true).await, r#"b"abc" {} 200"#);
        let other = ([("content-type", "text/plain; charset=us-ascii")], "hi");
        assert!(acked(other, true).await.contains("us-ascii"));
    }

    #[tokio::test]
    async fn a_client_that_takes_no_attachment_gets_base64() {
        let bytes = Bytes::from_static(&[0xff, 0xfe]);
        assert_eq!(
            acked(bytes, false).await,
            r#"{"body":"//4=","headers":{"content-transfer-encoding":"base64"},"statusCode":200}"#
        );
    }

    #[tokio::test]
    async fn cookies_and_the_connection_stay_on_the_server() {
        let headers = [("set-cookie", "sid=1"), ("connection", "close"), ("x-a", "1"), ("content-length", "2")];
        assert_eq!(acked((headers, "hi"), true).await, r#"{"body":"hi","headers":{"x-a":"1"},"statusCode":200}"#);
    }

    #[tokio::test]
    async fn a_refusal_is_one_line_that_begins_with_the_status() {
        let refusal = async |response: Response| collected(response, &budget(1024 * 1024)).await.refusal();
        let unauthorized = StatusCode::UNAUTHORIZED;
        for (response, line) in [
            (
                Error::new(unauthorized, "the token has expired").into_response(),
                "401 Unauthorized: the token has expired",
            ),
            ((unauthorized, "log in\r\nfirst\u{1b}").into_response(), "401 Unauthorized: log in  first"),
            ((unauthorized, [JSON], "\"log in\"").into_response(), "401 Unauthorized: log in"),
            ((unauthorized, "Unauthorized").into_response(), "401 Unauthorized"),
            (unauthorized.into_response(), "401 Unauthorized"),
            ((unauthorized, [JSON], "{\"message\":5}").into_response(), "401 Unauthorized"),
            ((unauthorized, axum::response::Html("<p>")).into_response(), "401 Unauthorized"),
            ((unauthorized, Bytes::from_static(&[0xff])).into_response(), "401 Unauthorized"),
            ((StatusCode::from_u16(499).unwrap(), "own").into_response(), "499 own"),
            (StatusCode::from_u16(499).unwrap().into_response(), "499"),
        ] {
            assert_eq!(refusal(response).await, line);
        }
        let long = refusal((unauthorized, "é".repeat(1000)).into_response()).await;
        assert_eq!(long.chars().count(), 200);
    }

    /// A body without an end, and how many parts of 1,000 bytes were read of it.
    fn endless() -> (Body, Arc<AtomicUsize>) {
        let read = Arc::<AtomicUsize>::default();
        let counter = read.clone();
        let parts = futures_util::stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>("x".repeat(1000))
        });
        (Body::from_stream(parts), read)
    }

    #[tokio::test]
    async fn an_answer_is_read_no_further_than_its_limit() {
        let (body, read) = endless();
        let answer = collected(body, &budget(10_000)).await;
        assert_eq!((answer.status(), read.load(Ordering::Relaxed)), (StatusCode::INTERNAL_SERVER_ERROR, 11));
        assert!(answer.message().contains("more than the 10000 bytes"), "{}", answer.message());
    }

    #[tokio::test]
    async fn waiting_answers_of_a_socket_share_one_budget() {
        let budget = budget(10_000);
        let (large, empty) = ("x".repeat(6000), StatusCode::NO_CONTENT);
        let first = collected(large.clone(), &budget).await;
        assert!(first.succeeded() && budget.is_filling());
        let second = collected(large.clone(), &budget).await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(second.message().contains("answer has no room"), "{}", second.message());
        let (body, read) = endless();
        assert_eq!(collected(body, &budget).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(read.load(Ordering::Relaxed), 5);
        assert!(collected(empty, &budget).await.succeeded());
        assert_eq!(budget.taken.load(Ordering::Relaxed), 6000);
        drop(first);
        assert!(!budget.is_filling() && collected(large, &budget).await.succeeded());
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_an_error() {
        assert!(acked(endless().0, true).await.contains("answer_too_large"));
        let events = (
            [("content-type", "text/event-stream")],
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()),
        );
        assert!(acked(events, true).await.contains("http_only"));
    }
}
