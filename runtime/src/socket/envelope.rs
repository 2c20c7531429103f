//! The wire format of a request and of its ack: the only place that knows their keys. docs/wire.md is normative.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use axum::{body::Bytes, http::HeaderMap};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::SerializeStruct,
};
use serde_json::value::RawValue;

use crate::{
    Error,
    hub::{Outcome, Position, Received, Resume, Settled},
};

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
    /// Reads the text of an event, the event's name included.
    pub(crate) fn parse(event: &'a str) -> Result<Self, Error> {
        let Event(fields) = serde_json::from_str(event).map_err(|error| Error::malformed(readable(&error)))?;
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
            Some(resume) => serde_json::from_str(resume.get())
                .map_err(|error| Error::malformed(format!("`resume`: {}", readable(&error))))?,
            None => HashMap::new(),
        };
        Ok(Self { url: url.0, data: fields.data.or(fields.params), headers, resume: positions(resume) })
    }
}

fn positions(sent: HashMap<String, Standing>) -> Resume {
    let received = sent.into_iter().take(MAX_RESUMED).map(|(channel, Standing { epoch, offset, since })| {
        let upto = Position { epoch: epoch.into(), offset };
        (channel, Received { since: since.unwrap_or(offset), upto })
    });
    received.collect()
}

/// A parse error without its position, which a client of a library cannot use.
pub(crate) fn readable(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text {
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "half of a surrogate pair, such as \"\\ud800\" alone, is no Unicode text: send both halves, or none".into()
        }
        _ => text.into(),
    }
}

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

struct Event<'a>(Fields<'a>);

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Arguments;

        impl<'de> Visitor<'de> for Arguments {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut arguments: A) -> Result<Self::Value, A::Error> {
                let _name = arguments.next_element::<IgnoredAny>()?;
                let fields = arguments.next_element()?.ok_or_else(|| {
                    de::Error::custom("the event carries no request: send one object such as {\"url\": \"/hello\"}")
                })?;
                match arguments.next_element::<IgnoredAny>()? {
                    None => Ok(Event(fields)),
                    Some(_) => Err(de::Error::custom("the event carries more than the one object that is the request")),
                }
            }
        }

        deserializer.deserialize_seq(Arguments)
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
                let mut headers = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    match kind(value) {
                        "a string" => {
                            let Text(text) = serde_json::from_str(value.get())
                                .map_err(|error| de::Error::custom(format!("`{name}`: {}", readable(&error))))?;
                            headers.push((name, text));
                        }
                        // A page sets a header to null to send none.
                        "null" => {}
                        "a number" | "a boolean" => headers.push((name, Cow::Borrowed(value.get()))),
                        kind => return Err(de::Error::custom(format!("`{name}` must be a string, this is {kind}"))),
                    }
                }
                Ok(Headers(headers))
            }
        }

        deserializer.deserialize_map(Map)
    }
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
struct SentClient {
    client: String,
    #[serde(default)]
    connection: u64,
    #[serde(default)]
    resume: HashMap<String, Standing>,
}

/// `["k3x9ab2c", 1234, 1201]`: where a client stands in a channel, and from where on it received what leads there.
#[derive(Deserialize)]
struct Standing {
    epoch: String,
    offset: u64,
    #[serde(default)]
    since: Option<u64>,
}

/// In how many channels a client may say where it stands; in the others it begins anew.
const MAX_RESUMED: usize = 4096;
/// The shortest and longest secret that a client may call itself by.
const CLIENT_LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

impl ConnectPayload {
    /// Reads the text of a payload. One that is no object is the application's as it is.
    pub(crate) fn parse(text: &str) -> Self {
        let Ok(mut entries) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
            return Self { client: None, auth: Some(Bytes::copy_from_slice(text.as_bytes())) };
        };
        let client = entries.remove("catamaran").and_then(|sent| Client::parse(sent.get()));
        // A client that says nothing but who it is has said nothing to the application.
        let auth = if entries.is_empty() { None } else { serde_json::to_vec(&entries).ok() };
        Self { client, auth: auth.map(Bytes::from) }
    }
}

impl Client {
    fn parse(text: &str) -> Option<Self> {
        let SentClient { client, connection, resume } = serde_json::from_str(text).ok()?;
        CLIENT_LENGTH.contains(&client.len()).then(|| Self {
            name: client.into(),
            connection,
            resume: positions(resume),
        })
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
            ack.serialize_field("channels", &Channels(&self.settled.channels))?;
        }
        if !self.settled.left.is_empty() {
            ack.serialize_field("left", &self.settled.left)?;
        }
        ack.end()
    }
}

/// `{"room:7": ["k3x9ab2c", 1240, "recovered"]}`
struct Channels<'a>(&'a [(Arc<str>, Position, Outcome)]);

impl Serialize for Channels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let channels = self.0.iter().map(|(channel, Position { epoch, offset }, outcome)| {
            let outcome = match outcome {
                Outcome::Fresh => "fresh",
                Outcome::Recovered => "recovered",
                Outcome::Gap => "gap",
            };
            (&**channel, (&**epoch, offset, outcome))
        });
        serializer.collect_map(channels)
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

    fn refused(event: &str) -> String {
        Envelope::parse(event).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_request_borrows_from_its_packet() {
        let event = r#"["post",{"method":"get","headers":{"x-a":"1","x-n":5,"x-gone":null},"data":{"n": 1e400},"url":"/a?b=c"}]"#;
        let envelope = Envelope::parse(event).unwrap();
        assert!(matches!(envelope.url, Cow::Borrowed("/a?b=c")));
        assert_eq!(envelope.data.unwrap().get(), r#"{"n": 1e400}"#);
        assert_eq!(envelope.headers, [("x-a".into(), "1".into()), ("x-n".into(), "5".into())]);
    }

    #[test]
    fn params_is_another_name_of_data() {
        assert_eq!(Envelope::parse(r#"["get",{"url":"/","params":[1]}]"#).unwrap().data.unwrap().get(), "[1]");
        assert!(refused(r#"["get",{"url":"/","params":1,"data":1}]"#).contains("two names"));
    }

    #[test]
    fn null_is_data_and_absent_is_none() {
        assert_eq!(Envelope::parse(r#"["get",{"url":"/","data":null}]"#).unwrap().data.unwrap().get(), "null");
        assert!(Envelope::parse(r#"["get",{"url":"/"}]"#).unwrap().data.is_none());
    }

    #[test]
    fn headers_that_are_null_or_a_string_are_none() {
        for headers in ["null", "\"x\""] {
            let event = format!(r#"["get",{{"url":"/","headers":{headers}}}]"#);
            assert!(Envelope::parse(&event).unwrap().headers.is_empty());
        }
    }

    #[test]
    fn a_payload_is_ours_and_the_applications() {
        let parse = |text: &str| {
            let ConnectPayload { client, auth } = ConnectPayload::parse(text);
            let auth = auth.map(|auth| String::from_utf8(auth.to_vec()).unwrap());
            (client.map(|client| (client.name.to_string(), client.connection, client.resume)), auth)
        };
        let received = |since| Received { since, upto: Position { epoch: "k3x9ab2c".into(), offset: 7 } };
        assert_eq!(
            parse(
                r#"{"n": 1e400, "catamaran": {"client":"0123456789abcdef","connection":3,"resume":{"a":["k3x9ab2c",7],"b":["k3x9ab2c",7,5]}}}"#
            ),
            (
                Some((
                    "0123456789abcdef".into(),
                    3,
                    Resume::from([("a".into(), received(7)), ("b".into(), received(5))])
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
