//! A packet of a client before socketioxide reads it: what the library cannot read is rewritten into what it can.
//!
//! The library closes the connection, with all its namespaces, for an event whose JSON is broken and for one whose name has
//! an escape. Of an ack id above 63 bits it makes none. So it is handed none of these:
//!
//! - Of a request, `421["get",{..}]`, it reads the name alone: the comma behind that becomes a bracket, `421["get"]{..}]`.
//!   The envelope reads the rest, and answers 400 where it is broken.
//! - Of any other event the name is written without escapes where JSON allows that, and the rest must be JSON.
//! - What it cannot deliver is refused, as a request that only says why: `421["get"]!why`.

use std::{borrow::Cow, sync::LazyLock};

use serde::de::IgnoredAny;

use super::{
    VERBS,
    envelope::{NO_REQUEST, readable},
    secret,
};
use crate::{Error, logged};

/// How many bytes of a message [`head`] may need.
pub(crate) const HEAD: usize = 128;
/// So many digits of an ack id always fit into 63 bits.
const SAFE_DIGITS: usize = 18;
/// What follows is why a packet is refused, and no request.
const REFUSED: char = '!';

/// The namespace of events that nobody receives. The library ignores what comes for one that it does not know, with its
/// attachments, and no client can enter this one.
static NOWHERE: LazyLock<String> = LazyLock::new(|| format!("/{}", secret()));

/// What the first bytes of a message tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// No event: the library reads it.
    Other,
    /// A request: the comma at this place becomes a bracket.
    Request(usize),
    /// An event that [`Reader::read`] has to see as a whole.
    Event,
    /// More bytes are needed.
    More,
}

/// Looks at the first bytes of a message of Engine.IO. A request is written as [`Reader::read`] would write it.
pub(crate) fn head(bytes: &[u8]) -> Head {
    let digits = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let spaces = |at: usize| bytes[at..].iter().take_while(|byte| is_space(**byte)).count();
    let mut at = match bytes {
        [] | [b'4'] => return Head::More,
        [b'4', b'2', ..] => 2,
        [b'4', b'5', ..] => match 2 + digits(2) {
            end if end > 2 && bytes.get(end) == Some(&b'-') => end + 1,
            end if end == bytes.len() => return Head::More,
            _ => return Head::Event,
        },
        _ => return Head::Other,
    };
    match bytes[at..] {
        [b'/', b',', ..] => at += 2,
        [b'/'] => return Head::More,
        _ => {}
    }
    let id = digits(at);
    if id > SAFE_DIGITS {
        return Head::Event;
    }
    at += id;
    for expected in [b'[', b'"'] {
        match bytes.get(at) {
            Some(byte) if *byte == expected => at += 1,
            Some(_) => return Head::Event,
            None => return Head::More,
        }
        if expected == b'[' {
            at += spaces(at);
        }
    }
    let name = &bytes[at..];
    let Some(length) = name.iter().position(|byte| *byte == b'"') else {
        let begins = VERBS.iter().any(|(verb, _)| verb.as_bytes().starts_with(name));
        return if begins { Head::More } else { Head::Event };
    };
    if !is_verb(&name[..length]) {
        return Head::Event;
    }
    at += length + 1;
    at += spaces(at);
    match bytes.get(at) {
        Some(b',') => Head::Request(at),
        Some(_) => Head::Event,
        None => Head::More,
    }
}

/// Reads the text behind the name of a request, as [`Reader::read`] has left it.
pub(crate) fn arguments(request: &str) -> Result<&str, Error> {
    let arguments = request.split_once(']').map_or("", |(_, arguments)| arguments);
    arguments.strip_prefix(REFUSED).map_or(Ok(arguments), |why| Err(Error::malformed(why)))
}

/// Reads the messages of one client.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The log says once a client that events are dropped.
    warned: bool,
}

impl Reader {
    /// Returns what the library is handed in place of a message; `None` if that is the message itself.
    pub(crate) fn read(&mut self, message: &str) -> Option<String> {
        let event = Event::of(message)?;
        match event.verdict() {
            Verdict::Same => None,
            Verdict::Written(text) => Some(text),
            Verdict::Refused(why, id) if event.is_root() => Some(event.refused(&why, id)),
            Verdict::Refused(why, _) | Verdict::Dropped(why) => {
                if !std::mem::replace(&mut self.warned, true) {
                    let namespace = logged::value(event.namespace);
                    tracing::warn!(%namespace, reason = %logged::value(why), "event dropped");
                }
                Some(format!("{}{},[]", event.kind, *NOWHERE))
            }
        }
    }
}

/// What becomes of an event.
enum Verdict<'a> {
    Same,
    Written(String),
    /// Why, and the ack that says so.
    Refused(Cow<'static, str>, Option<&'a str>),
    Dropped(Cow<'static, str>),
}

/// An event as socketioxide divides it.
struct Event<'a> {
    /// `42`, or with the number of its attachments `451-`.
    kind: &'a str,
    namespace: &'a str,
    id: Option<&'a str>,
    /// All of these.
    head: &'a str,
    /// The library takes an id only if nothing stands between it and the array.
    is_spaced: bool,
    /// The array: the name and the arguments.
    body: &'a str,
}

impl<'a> Event<'a> {
    /// `None` if the message is no event.
    fn of(message: &'a str) -> Option<Self> {
        let kind = match message.as_bytes() {
            [b'4', b'2', ..] => 2,
            [b'4', b'5', rest @ ..] => match rest.iter().position(|byte| !byte.is_ascii_digit())? {
                // The library knows how many attachments follow, or closes the connection.
                digits if digits > 0 && rest[digits] == b'-' => digits + 3,
                _ => return None,
            },
            _ => return None,
        };
        let (kind, rest) = message.split_at(kind);
        let (namespace, rest) = match rest.starts_with('/') {
            true => rest.split_once(',').unwrap_or((rest, "")),
            false => ("/", rest),
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, rest) = rest.split_at(digits);
        let body = rest.trim_start_matches(SPACES);
        let head = &message[..message.len() - rest.len()];
        let id = (!id.is_empty()).then_some(id);
        Some(Self { kind, namespace, id, head, is_spaced: id.is_some() && body.len() < rest.len(), body })
    }

    fn is_root(&self) -> bool {
        self.namespace == "/"
    }

    fn verdict(&self) -> Verdict<'a> {
        let id = self.id;
        if id.is_some_and(|id| id.parse::<i64>().is_err()) {
            return Verdict::Refused("an ack id has at most 63 bits".into(), None);
        }
        let Some(written) = self.name() else {
            return Verdict::Refused("an event is a JSON array that begins with a name".into(), id);
        };
        let name: String = match serde_json::from_str(written) {
            Ok(name) => name,
            Err(error) => return Verdict::Refused(format!("the event's name: {}", readable(&error)).into(), id),
        };
        let (before, behind) = self.body.split_once(written).unwrap_or_default();
        if self.is_root() && is_verb(name.as_bytes()) {
            let arguments = behind.trim_start_matches(SPACES);
            let spaces = &behind[..behind.len() - arguments.len()];
            return match arguments.strip_prefix(',') {
                Some(arguments) => Verdict::Written(format!("{}{before}\"{name}\"{spaces}]{arguments}", self.head)),
                None if arguments.starts_with(']') => Verdict::Refused(NO_REQUEST.into(), id),
                None => Verdict::Refused("the event's name is followed by neither `,` nor `]`".into(), id),
            };
        }
        if let Err(error) = serde_json::from_str::<Vec<IgnoredAny>>(self.body) {
            return Verdict::Refused(readable(&error).into(), id);
        }
        if name.contains(|c: char| c < ' ' || matches!(c, '"' | '\\')) {
            return Verdict::Dropped(format!("its name has an escape in JSON: {written}").into());
        }
        if written.contains('\\') || self.is_spaced {
            return Verdict::Written(format!("{}{before}\"{name}\"{behind}", self.head));
        }
        Verdict::Same
    }

    /// The name as it is written, with its quotes.
    fn name(&self) -> Option<&'a str> {
        let text = self.body.strip_prefix('[')?.trim_start_matches(SPACES);
        let mut escaped = true;
        let end = text.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        text.starts_with('"').then(|| &text[..=end])
    }

    /// A request in place of this event, which is answered with a refusal.
    fn refused(&self, why: &str, id: Option<&str>) -> String {
        format!("{}{}[\"get\"]{REFUSED}{why}", self.kind, id.unwrap_or_default())
    }
}

/// White space between the tokens of JSON.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_space(byte: u8) -> bool {
    SPACES.contains(&char::from(byte))
}

fn is_verb(name: &[u8]) -> bool {
    VERBS.iter().any(|(verb, _)| verb.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> Option<String> {
        Reader::default().read(message)
    }

    #[test]
    fn requests_are_divided_behind_their_names() {
        for (message, written) in [
            (r#"421["get",{"url":"/"}]"#, r#"421["get"]{"url":"/"}]"#),
            (r#"42["get",5]"#, r#"42["get"]5]"#),
            (r#"42/,7[ "options" , {]"#, r#"42/,7[ "options" ] {]"#),
            (r#"451-0["put",{"_placeholder":true,"num":0}]"#, r#"451-0["put"]{"_placeholder":true,"num":0}]"#),
            (r#"421["g\u0065t",1]"#, r#"421["get"]1]"#),
            (r#"421 ["get",1]"#, r#"421["get"]1]"#),
        ] {
            assert_eq!(read(message).as_deref(), Some(written), "{message}");
        }
    }

    #[test]
    fn heads_agree_with_whole_messages() {
        let starts = ["", "4", "40", "41", "42", "42/,", "42/x,", "451-", "4512-/,", "45-", "431", "2", "b4", "é"];
        let ids = ["", "0", "999999999999999999", "9223372036854775807", "0000000000000000000000001"];
        let names = ["[", "[\"", "[\"get\"", "[ \"post\" ", "[\"gets\"", "[\"other\"", "[\"g\\u0065t\"", "[1", "{"];
        let ends = ["", "]", ",", ",1]", " ,{}]", "x", ",{]"];
        let mut requests = 0;
        for (start, id) in starts.iter().flat_map(|start| ids.map(|id| (start, id))) {
            for (name, end) in names.iter().flat_map(|name| ends.map(|end| (name, end))) {
                let message = format!("{start}{id}{name}{end}");
                let whole = head(message.as_bytes());
                for cut in 0..message.len() {
                    let part = head(&message.as_bytes()[..cut]);
                    assert!(part == Head::More || part == whole, "{message} at {cut}: {part:?}, {whole:?}");
                }
                match whole {
                    Head::Other => assert_eq!(read(&message), None, "{message}"),
                    Head::Request(at) => {
                        requests += 1;
                        assert_eq!(read(&message), Some(format!("{}]{}", &message[..at], &message[at + 1..])));
                    }
                    Head::Event | Head::More => {}
                }
            }
        }
        assert!(requests > 50, "{requests}");
    }

    #[test]
    fn events_that_the_library_reads_stay() {
        for message in [
            r#"42["größe",1]"#,
            r#"421["say 'hi'",{"a":"\""}]"#,
            r#"42/own,["get",{"url":"/"}]"#,
            r#"450-["other"]"#,
            r#"42["\u007f"]"#.replace(r"\u007f", "\u{7f}").as_str(),
            "431[1]",
            "40{}",
            "45x",
            "4",
            "",
        ] {
            assert_eq!(read(message), None, "{message}");
        }
    }

    #[test]
    fn names_are_written_without_escapes() {
        for (message, written) in [
            (r#"421["gr\u00f6\u00dfe",1]"#, "421[\"größe\",1]"),
            (r#"42["\ud83d\ude00"]"#, "42[\"😀\"]"),
            (r#"42/own,3[ "a\/b" ,"\n"]"#, r#"42/own,3[ "a/b" ,"\n"]"#),
            (r#"421 ["other"]"#, r#"421["other"]"#),
        ] {
            assert_eq!(read(message).as_deref(), Some(written), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_delivered_is_refused_or_dropped() {
        for (message, written) in [
            ("429223372036854775808[\"get\",{}]", "42[\"get\"]!an ack id has at most 63 bits"),
            (
                "421[\"get\"]",
                "421[\"get\"]!the event carries no request: send one object such as {\"url\": \"/hello\"}",
            ),
            (
                "421[\"get\"]{\"url\":\"/\"}]",
                "421[\"get\"]!the event carries no request: send one object such as {\"url\": \"/hello\"}",
            ),
            ("421[\"get\"", "421[\"get\"]!the event's name is followed by neither `,` nor `]`"),
            ("421[\"other\",", "421[\"get\"]!EOF while parsing a value"),
            ("421[\"other\"]x", "421[\"get\"]!trailing characters"),
            ("42", "42[\"get\"]!an event is a JSON array that begins with a name"),
            ("451-7[null]", "451-7[\"get\"]!an event is a JSON array that begins with a name"),
            (
                "421[\"\\ud800\",1]",
                "421[\"get\"]!the event's name: half of a surrogate pair, such as \"\\ud800\" alone, is no Unicode text: send both halves, or none",
            ),
        ] {
            assert_eq!(read(message).as_deref(), Some(written), "{message}");
            let text = &written[written.find('[').unwrap()..];
            assert_eq!(arguments(text).unwrap_err().status(), 400);
        }
        for (message, written) in [
            (r#"421["say \"hi\"",1]"#, "42/"),
            (r#"452-1["a\\b",1]"#, "452-/"),
            (r#"42/own,1["other",{]"#, "42/"),
            (r#"42/own,9223372036854775808["other"]"#, "42/"),
        ] {
            let dropped = read(message).unwrap();
            assert!(dropped.starts_with(written) && dropped.ends_with(",[]") && dropped.len() < 100, "{dropped}");
        }
    }
}
