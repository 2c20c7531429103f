//! The wire format of a request and of its ack: the only place that knows their keys. docs/wire.md is normative.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use axum::{body::Bytes, http::HeaderMap};
use catamaran_pubsub::{Position, Received, Recovery, Resume, Settled};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
    ser::SerializeStruct,
};
use serde_json::value::RawValue;

use super::ConnectLimits;
use crate::Error;

/// What a client sends: one argument of an event that is named after the method, `["get", {url, data, headers}]`.
///
/// Everything in it borrows from the packet, so a body reaches the action without a copy.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) url: Cow<'a, str>,
    /// `data`, or its other name `params`.
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Where our own client was in the channels that it subscribes to again.
    pub(crate) resume: Resume,
}

impl<'a> Envelope<'a> {
    /// Reads the text of an event from behind the comma that follows its name: `{..}]`.
    pub(crate) fn parse(arguments: &'a str) -> Result<Self, Error> {
        let mut reader = serde_json::Deserializer::from_str(arguments).into_iter();
        let fields: Fields<'a> = match reader.next() {
            Some(fields) => fields.map_err(|error| Error::malformed(readable(&error)))?,
            None => return Err(Error::malformed(NO_REQUEST)),
        };
        let rest = arguments[reader.byte_offset()..].trim_ascii();
        if rest != "]" {
            return Err(Error::malformed(match rest.as_bytes().first() {
                Some(b',') => "the event carries more than the one object that is the request",
                _ => "the event does not end behind its request, with `]`",
            }));
        }
        let url = fields.url.ok_or_else(|| Error::malformed("the request has no `url`"))?;
        let url = serde_json::from_str::<Text<'a>>(url.get()).map_err(|error| match kind(url) {
            "a string" => Error::malformed(format!("`url`: {}", readable(&error))),
            kind => Error::malformed(format!("`url` must be a string, this is {kind}")),
        })?;
        if fields.data.is_some() && fields.params.is_some() {
            return Err(Error::malformed("`data` and `params` are two names of one thing: send one of them"));
        }
        let headers = match fields.headers {
            // The Sails server reads null and a string as no headers at all.
            Some(headers) if !matches!(kind(headers), "null" | "a string") => {
                serde_json::from_str::<Headers<'a>>(headers.get())
                    .map_err(|error| Error::malformed(format!("`headers`: {}", readable(&error))))?
                    .0
            }
            _ => Vec::new(),
        };
        let resume = match fields.resume {
            Some(resume) => Positions { count: MAX_RESUMED, name: usize::MAX }
                .read(resume)
                .map_err(|error| Error::malformed(format!("`resume`: {}", readable(&error))))?,
            None => Resume::new(),
        };
        Ok(Self { url: url.0, data: fields.data.or(fields.params), headers, resume })
    }
}

/// A parse error without its position, which a client of a library cannot use, and without most of what it quotes.
pub(crate) fn readable(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
    if matches!(text, "lone leading surrogate in hex escape" | "unexpected end of hex escape") {
        return "half of a surrogate pair, such as \"\\ud800\" alone, is no Unicode text: send both halves, or none"
            .into();
    }
    if text.len() <= MAX_QUOTED {
        return text.to_owned();
    }
    let quoted: String = text.chars().take(MAX_QUOTED / 2).collect();
    let end: Vec<_> = text.chars().rev().take(MAX_QUOTED / 2).collect();
    format!("{quoted}..{}", end.into_iter().rev().collect::<String>())
}

/// What is wrong with an event that is a name alone.
pub(super) const NO_REQUEST: &str = "the event carries no request: send one object such as {\"url\": \"/hello\"}";
/// How many characters of what a client sent may stand in an error.
const MAX_QUOTED: usize = 200;
/// How many headers a packet may have, and the bytes of all names and values.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// What kind of JSON value this is, in words.
pub(crate) fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[derive(Default)]
struct Fields<'a> {
    url: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    resume: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object such as {\"url\": \"/hello\"} as the request")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(Text(key)) = map.next_key()? {
                    // The `method` that clients also send is not read: the event's name decides.
                    let field = match &*key {
                        "url" => &mut fields.url,
                        "data" => &mut fields.data,
                        "params" => &mut fields.params,
                        "headers" => &mut fields.headers,
                        "resume" => &mut fields.resume,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = Some(map.next_value()?);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A string that borrows from the packet where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Headers<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de> Deserialize<'de> for Headers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Headers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut headers, mut bytes, mut count) = (Vec::new(), 0, 0);
                while let Some(Text(name)) = map.next_key()? {
                    count += 1;
                    bytes += name.len();
                    if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
                        return Err(too_many_headers());
                    }
                    let value: &RawValue = map.next_value()?;
                    // A value that JSON escapes is shorter than its text, and one without escapes as long.
                    if bytes + value.get().len() / LONGEST_ESCAPE > MAX_HEADER_BYTES {
                        return Err(too_many_headers());
                    }
                    match kind(value) {
                        "a string" => {
                            let Text(text) = serde_json::from_str(value.get())
                                .map_err(|error| de::Error::custom(format!("`{name}`: {}", readable(&error))))?;
                            bytes += text.len();
                            headers.push((name, text));
                        }
                        // A page sets a header to null to send none.
                        "null" => {}
                        "a number" | "a boolean" => {
                            bytes += value.get().len();
                            headers.push((name, Cow::Borrowed(value.get())));
                        }
                        kind => return Err(de::Error::custom(format!("`{name}` must be a string, this is {kind}"))),
                    }
                    if bytes > MAX_HEADER_BYTES {
                        return Err(too_many_headers());
                    }
                }
                Ok(Headers(headers))
            }
        }

        deserializer.deserialize_map(Map)
    }
}

/// How many bytes of JSON text one byte of a string may take: `\u0000`.
pub(crate) const LONGEST_ESCAPE: usize = 6;

fn too_many_headers<E: de::Error>() -> E {
    E::custom(format!("a request brings at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all"))
}

/// What a client sends when it connects.
#[derive(Debug, Default)]
pub(crate) struct ConnectPayload {
    /// What our own client says of itself, under the key `catamaran`.
    pub(crate) client: Option<Client>,
    /// The rest, as JSON text: the application's.
    pub(crate) auth: Option<Bytes>,
}

/// Our own client.
#[derive(Debug)]
pub(crate) struct Client {
    /// A secret, by which it is known again after a reconnect.
    pub(crate) name: Arc<str>,
    /// Which connection of its this is, counted from 1; 0 if it does not count.
    pub(crate) connection: u64,
    /// Where it was in the channels that it was subscribed to.
    pub(crate) resume: Resume,
}

#[derive(Deserialize)]
struct SentClient<'a> {
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(default)]
    connection: u64,
    #[serde(borrow, default)]
    resume: Option<&'a RawValue>,
}

/// `["k3x9ab2c", 1234, 1201, 7]`: where a client stands in a channel, from where on it received what leads there, and for which
/// viewer, if the channel is filtered.
#[derive(Deserialize)]
struct Standing<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
    #[serde(default)]
    since: Option<u64>,
    #[serde(default)]
    viewer: Option<u64>,
}

/// Reads the positions of a client: so many, and of channels whose names are no longer than this. The others are not read;
/// in those channels the client starts anew.
#[derive(Clone, Copy)]
struct Positions {
    count: usize,
    name: usize,
}

impl Positions {
    fn read(self, text: &RawValue) -> Result<Resume, serde_json::Error> {
        self.deserialize(&mut serde_json::Deserializer::from_str(text.get()))
    }
}

impl<'de> DeserializeSeed<'de> for Positions {
    type Value = Resume;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Resume, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Positions {
    type Value = Resume;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of positions such as {\"room:7\": [\"k3x9ab2c\", 1234]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Resume, A::Error> {
        let mut resume = Resume::new();
        while let Some(Text(channel)) = map.next_key()? {
            if resume.len() >= self.count || channel.len() > self.name {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let Standing { epoch, offset, since, viewer } = map.next_value()?;
            if epoch.len() <= MAX_EPOCH {
                let upto = Position { epoch: epoch.into(), offset };
                resume.insert(channel.into(), Received { since: since.unwrap_or(offset), upto, viewer });
            }
        }
        Ok(resume)
    }
}

/// In how many channels a request may say where its client stands; in the others it begins anew.
const MAX_RESUMED: usize = 4096;
/// The longest name of an epoch that a client may know, in bytes; the server's have 8.
const MAX_EPOCH: usize = 64;
/// The shortest and longest secret that a client may call itself by.
const CLIENT_LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

impl ConnectPayload {
    /// Reads the text of a payload, unless it is larger than what may be kept of it.
    pub(crate) fn read(text: &str, limits: &ConnectLimits) -> Result<Self, Error> {
        if text.len() > limits.bytes {
            return Err(Error::connect_too_large(limits.auth));
        }
        let payload = Self::parse(text, Positions { count: limits.positions, name: limits.name });
        match &payload.auth {
            Some(auth) if auth.len() > limits.auth => Err(Error::connect_too_large(limits.auth)),
            _ => Ok(payload),
        }
    }

    /// Reads the text of a payload. One that is no object is the application's as it is.
    fn parse(text: &str, positions: Positions) -> Self {
        let Ok(mut entries) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
            return Self { client: None, auth: Some(Bytes::copy_from_slice(text.as_bytes())) };
        };
        let client = entries.remove("catamaran").and_then(|sent| Client::parse(sent.get(), positions));
        // A client that says nothing but who it is has said nothing to the application.
        let auth = if entries.is_empty() { None } else { serde_json::to_vec(&entries).ok() };
        Self { client, auth: auth.map(Bytes::from) }
    }
}

impl Client {
    fn parse(text: &str, positions: Positions) -> Option<Self> {
        let SentClient { client, connection, resume } = serde_json::from_str(text).ok()?;
        if !CLIENT_LENGTH.contains(&client.len()) {
            return None;
        }
        let resume = resume.map_or_else(|| Ok(Resume::new()), |resume| positions.read(resume)).ok()?;
        Some(Self { name: client.into(), connection, resume })
    }
}

/// What a client gets back: `{body, headers, statusCode}`, in this order; our own client also the channels it is
/// subscribed to now, and those it left.
#[derive(Debug)]
pub(crate) struct Ack<'a> {
    pub(crate) body: AckBody<'a>,
    pub(crate) headers: AckHeaders<'a>,
    pub(crate) status: u16,
    pub(crate) settled: &'a Settled,
}

/// The body of an ack.
#[derive(Debug)]
pub(crate) enum AckBody<'a> {
    /// No body, so no key.
    None,
    /// JSON as the action wrote it.
    Json(&'a RawValue),
    /// A JSON string.
    Text(Cow<'a, str>),
    /// A binary attachment.
    Binary(&'a Bytes),
}

/// The headers of an ack.
#[derive(Debug)]
pub(crate) struct AckHeaders<'a> {
    pub(crate) response: &'a HeaderMap,
    /// Whether the kind of the body already says what `content-type` says.
    pub(crate) implied_type: bool,
    /// Whether the body is base64, for a client that can take no attachment.
    pub(crate) base64: bool,
}

impl Ack<'_> {
    /// How many bytes its packet has at least.
    pub(crate) fn bytes(&self) -> usize {
        let body = match &self.body {
            AckBody::None => 0,
            AckBody::Json(json) => json.get().len(),
            AckBody::Text(text) => text.len(),
            AckBody::Binary(bytes) => bytes.len(),
        };
        body + r#"430[{"headers":{},"statusCode":200}]"#.len()
    }
}

impl Serialize for Ack<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ack = serializer.serialize_struct("Ack", 3)?;
        match &self.body {
            AckBody::None => ack.skip_field("body")?,
            AckBody::Json(json) => ack.serialize_field("body", json)?,
            AckBody::Text(text) => ack.serialize_field("body", text)?,
            AckBody::Binary(bytes) => ack.serialize_field("body", bytes)?,
        }
        ack.serialize_field("headers", &self.headers)?;
        ack.serialize_field("statusCode", &self.status)?;
        if !self.settled.channels.is_empty() {
            ack.serialize_field("channels", &Channels(self.settled))?;
        }
        if !self.settled.left.is_empty() {
            ack.serialize_field("left", &self.settled.left)?;
        }
        ack.end()
    }
}

/// `{"room:7": ["k3x9ab2c", 1240, "recovered"], "pet": ["p0q8zz1d", 7, "fresh", "filtered", 5]}`
struct Channels<'a>(&'a Settled);

impl Serialize for Channels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let channels = self.0.channels.iter().map(|(channel, Position { epoch, offset }, outcome)| {
            let outcome = match outcome {
                Recovery::Fresh => "fresh",
                Recovery::Recovered => "recovered",
                Recovery::Gap => "gap",
            };
            let filtered = self.0.is_filtered(channel).then(|| ("filtered", self.0.viewer(channel)));
            (&**channel, Placed(epoch, *offset, outcome, filtered))
        });
        serializer.collect_map(channels)
    }
}

/// Where a subscription stands, how it came about, and whether it is filtered, for which viewer.
struct Placed<'a>(&'a str, u64, &'static str, Option<(&'static str, Option<u64>)>);

impl Serialize for Placed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(epoch, offset, outcome, filtered) = self;
        match filtered {
            Some((filtered, viewer)) => (epoch, offset, outcome, filtered, viewer).serialize(serializer),
            None => (epoch, offset, outcome).serialize(serializer),
        }
    }
}

/// Headers of a response that say nothing to a socket, or must not reach its script.
const NOT_ACKED: [&str; 8] =
    ["set-cookie", "content-length", "transfer-encoding", "connection", "keep-alive", "trailer", "upgrade", "date"];

impl Serialize for AckHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = self
            .response
            .keys()
            .filter(|name| !NOT_ACKED.contains(&name.as_str()) && (!self.implied_type || **name != "content-type"));
        let pairs = shown.map(|name| {
            let values: Vec<_> =
                self.response.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            (name.as_str(), values.join(", "))
        });
        let base64 = self.base64.then(|| ("content-transfer-encoding", "base64".to_owned()));
        serializer.collect_map(pairs.chain(base64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectLimits = ConnectLimits { bytes: 4000, auth: 1000, positions: 3, name: 20 };

    /// Reads the text of an event, the event's name included.
    fn parse(event: &str) -> Result<Envelope<'_>, Error> {
        Envelope::parse(event.split_once(',').unwrap_or_default().1)
    }

    fn refused(event: &str) -> String {
        parse(event).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_request_borrows_from_its_packet() {
        let event = r#"["post",{"method":"get","headers":{"x-a":"1","x-n":5,"x-gone":null},"data":{"n": 1e400},"url":"/a?b=c"}]"#;
        let envelope = parse(event).unwrap();
        assert!(matches!(envelope.url, Cow::Borrowed("/a?b=c")));
        assert_eq!(envelope.data.unwrap().get(), r#"{"n": 1e400}"#);
        assert_eq!(envelope.headers, [("x-a".into(), "1".into()), ("x-n".into(), "5".into())]);
    }

    #[test]
    fn params_is_another_name_of_data() {
        assert_eq!(parse(r#"["get",{"url":"/","params":[1]}]"#).unwrap().data.unwrap().get(), "[1]");
        assert!(refused(r#"["get",{"url":"/","params":1,"data":1}]"#).contains("two names"));
    }

    #[test]
    fn null_is_data_and_absent_is_none() {
        assert_eq!(parse(r#"["get",{"url":"/","data":null}]"#).unwrap().data.unwrap().get(), "null");
        assert!(parse(r#"["get",{"url":"/"}]"#).unwrap().data.is_none());
    }

    #[test]
    fn headers_that_are_null_or_a_string_are_none() {
        for headers in ["null", "\"x\""] {
            let event = format!(r#"["get",{{"url":"/","headers":{headers}}}]"#);
            assert!(parse(&event).unwrap().headers.is_empty());
        }
    }

    #[test]
    fn a_payload_is_ours_and_the_applications() {
        let parse = |text: &str| {
            let ConnectPayload { client, auth } = ConnectPayload::read(text, &LIMITS).unwrap();
            let auth = auth.map(|auth| String::from_utf8(auth.to_vec()).unwrap());
            (client.map(|client| (client.name.to_string(), client.connection, client.resume)), auth)
        };
        let received =
            |since, viewer| Received { since, upto: Position { epoch: "k3x9ab2c".into(), offset: 7 }, viewer };
        assert_eq!(
            parse(
                r#"{"n": 1e400, "catamaran": {"client":"0123456789abcdef","connection":3,"resume":{"a":["k3x9ab2c",7],"b":["k3x9ab2c",7,5],"c":["k3x9ab2c",7,5,8]}}}"#
            ),
            (
                Some((
                    "0123456789abcdef".into(),
                    3,
                    Resume::from([
                        ("a".into(), received(7, None)),
                        ("b".into(), received(5, None)),
                        ("c".into(), received(5, Some(8)))
                    ])
                )),
                Some(r#"{"n":1e400}"#.into())
            )
        );
        let old = (Some(("0123456789abcdef".into(), 0, Resume::new())), None);
        assert_eq!(parse(r#"{"catamaran":{"client":"0123456789abcdef"}}"#), old);
        assert_eq!(parse("{}"), (None, None));
        for theirs in ["[1]", "\"token\"", "{broken"] {
            assert_eq!(parse(theirs), (None, Some(theirs.into())));
        }
        for no_client in ["5", r#"{"client":"short"}"#, r#"{"client":"0123456789abcdef","connection":-1}"#] {
            assert_eq!(parse(&format!(r#"{{"catamaran":{no_client},"a":1}}"#)), (None, Some(r#"{"a":1}"#.into())));
        }
    }

    #[test]
    fn connect_payload_over_its_limit_is_not_read() {
        let refused = |text: &str| ConnectPayload::read(text, &LIMITS).unwrap_err();
        let auth = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert_eq!(ConnectPayload::read(&auth(1000), &LIMITS).unwrap().auth.unwrap().len(), 1000);
        // Were it read, the last would be an `auth` of no object.
        for text in [auth(1001), auth(100_000), format!("{{{}", auth(100_000))] {
            let error = refused(&text);
            assert_eq!((error.status().as_u16(), error.message().contains("at most 1000 bytes")), (413, true));
        }
    }

    #[test]
    fn positions_past_their_limits_are_not_kept() {
        let kept = |resume: &str| {
            let text = format!(r#"{{"catamaran":{{"client":"0123456789abcdef","resume":{{{resume}}}}}}}"#);
            let mut kept: Vec<_> =
                ConnectPayload::read(&text, &LIMITS).unwrap().client.unwrap().resume.into_keys().collect();
            kept.sort();
            kept
        };
        // What is past the limit is no position, and nobody notices.
        assert_eq!(kept(r#""a":["e",1],"b":["e",1],"c":["e",1],"d":5,"e":{"x":[]}"#), ["a", "b", "c"]);
        let (long, name) = ("x".repeat(21), "x".repeat(20));
        assert_eq!(kept(&format!(r#""{long}":5,"{name}":["e",1]"#)), [name]);
        let epoch = |bytes: usize| "e".repeat(bytes);
        assert_eq!(kept(&format!(r#""a":["{}",1],"b":["{}",1]"#, epoch(65), epoch(64))), ["b"]);
    }

    #[test]
    fn headers_past_the_limit_are_not_read() {
        let with = |headers: &str| format!(r#"["get",{{"url":"/","headers":{{{headers}}}}}]"#);
        let many = |count: usize| (0..count).map(|n| format!(r#""x-{n}":"1""#)).collect::<Vec<_>>().join(",");
        assert_eq!(parse(&with(&many(64))).unwrap().headers.len(), 64);
        let (fits, long) = ("x".repeat(8 * 1024 - 1), "x".repeat(8 * 1024));
        assert_eq!(parse(&with(&format!(r#""a":"{fits}""#))).unwrap().headers.len(), 1);
        // What follows is no header, which nobody comes to see.
        for headers in [
            format!(r#"{},"no":{{}}"#, many(65)),
            format!(r#""a":"{long}","no":{{}}"#),
            format!(r#""{long}a":"","no":{{}}"#),
            format!(r#""a":"{}\ud800""#, "x".repeat(100_000)),
        ] {
            let words = refused(&with(&headers));
            assert!(words.contains("at most 64 headers of 8192 bytes"), "{words:.200}");
        }
    }

    #[test]
    fn an_error_quotes_little_of_what_was_sent() {
        let words = refused(&format!(r#"["get","{}"]"#, "é".repeat(100_000)));
        assert!(words.len() < 1000 && words.contains("expected an object such as"), "{words}");
    }

    #[test]
    fn a_refusal_says_what_was_wrong() {
        for (event, words) in [
            (r#"["get"]"#, "no request"),
            (r#"["get",null]"#, "invalid type: null, expected an object such as"),
            (r#"["get","/hello"]"#, "expected an object such as"),
            (r#"["get",["/hello"]]"#, "expected an object such as"),
            (r#"["get",{}]"#, "has no `url`"),
            (r#"["get",{"url":5}]"#, "`url` must be a string, this is a number"),
            (r#"["get",{"url":null}]"#, "`url` must be a string, this is null"),
            (r#"["get",{"url":"/"},"x"]"#, "more than the one object"),
            (r#"["get",{"url":"/","headers":[]}]"#, "`headers`: invalid type: sequence"),
            (r#"["get",{"url":"/","headers":{"x":{}}}]"#, "`x` must be a string, this is an object"),
            (r#"["get",{"url":"/\ud800"}]"#, "`url`: half of a surrogate pair"),
            (r#"["get",{"url":"/\udc00"}]"#, "`url`: half of a surrogate pair"),
            (r#"["get",{"url":"/\ud800\u0041"}]"#, "`url`: half of a surrogate pair"),
            (r#"["get",{"url":"/","headers":{"x":"\ud83d"}}]"#, "`headers`: `x`: half of a surrogate pair"),
            (r#"["get",{"url":"/","headers":{"\ud83d":"x"}}]"#, "`headers`: half of a surrogate pair"),
            (r#"["get",{"url":"/","resume":{"\ud83d":["e",1]}}]"#, "`resume`: half of a surrogate pair"),
            (r#"["get",{"url":"/","\ud83d":1}]"#, "half of a surrogate pair"),
        ] {
            assert!(refused(event).contains(words), "{event}: {}", refused(event));
        }
    }
}
