//! The body of a POST by long-polling: the packets of one client, as Engine.IO 3 and 4 frame them.

use std::{convert::Infallible, future::ready, iter};

use axum::{body::Body, http::HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

/// Between the packets of Engine.IO 4.
const SEPARATOR: u8 = 0x1e;
/// Begins a packet of text in a binary body of Engine.IO 3.
const TEXT: u8 = 0;
/// Ends the length of a packet in a binary body of Engine.IO 3.
const LENGTH_ENDS: u8 = 0xff;
/// How many digits a length and its colon may have.
const MAX_DIGITS: usize = 21;

/// How packets are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Engine.IO 4.
    Separated,
    /// Engine.IO 3, in text: each has its length in UTF-16 before it, `6:42["a"]`.
    Counted,
    /// Engine.IO 3, in bytes: the type of the packet, the digits of its length as bytes, and `0xff` stand before it.
    Binary,
}

impl Framing {
    /// How engineioxide reads a body.
    pub(super) fn of(version: Option<&str>, content_type: Option<&HeaderValue>) -> Self {
        match version.and_then(|version| version.split('=').next()) {
            Some("3") if content_type.is_some_and(|it| it == "application/octet-stream") => Self::Binary,
            Some("3") => Self::Counted,
            _ => Self::Separated,
        }
    }

    /// The same packets, of which those of text may be others. What is not framed so stays as it is, and so does what
    /// comes after the limit, for the library to refuse.
    pub(super) fn map(self, body: &[u8], limit: usize, mut other: impl FnMut(&str) -> Option<String>) -> Vec<u8> {
        let mut mapped = Vec::with_capacity(body.len());
        let mut rest = body;
        while !rest.is_empty() && mapped.len() <= limit {
            let Some((packet, behind)) = self.split(rest) else { break };
            let frame = &rest[..rest.len() - behind.len()];
            match packet.and_then(&mut other) {
                Some(packet) => self.push(&mut mapped, &packet, frame),
                None => mapped.extend_from_slice(frame),
            }
            rest = behind;
        }
        mapped.extend_from_slice(rest);
        mapped
    }

    /// A body of these packets.
    pub(super) fn body(self, packets: Vec<u8>) -> Body {
        let mut rest = Bytes::from(packets);
        if self != Self::Counted {
            return rest.into();
        }
        // The library copies a whole chunk for each packet in it, so each has a chunk of its own.
        let chunks = iter::from_fn(move || {
            let behind = self.split(&rest).map_or(0, |(_, behind)| behind.len());
            (!rest.is_empty()).then(|| Ok::<_, Infallible>(rest.split_to(rest.len() - behind)))
        });
        Body::from_stream(stream::iter(chunks))
    }

    /// The first packet, if it is text, and what follows its frame.
    fn split(self, body: &[u8]) -> Option<(Option<&str>, &[u8])> {
        match self {
            Self::Separated => {
                let end = body.iter().position(|byte| *byte == SEPARATOR).unwrap_or(body.len());
                let behind = body.get(end + 1..).unwrap_or_default();
                Some((std::str::from_utf8(&body[..end]).ok(), behind))
            }
            Self::Counted => {
                let colon = body.iter().take(MAX_DIGITS).position(|byte| *byte == b':')?;
                let (length, text) = (std::str::from_utf8(&body[..colon]).ok()?, &body[colon + 1..]);
                let mut left: usize = length.parse().ok()?;
                // Only the first byte of a character is looked at: the last two of four are one more unit.
                let end = text.iter().position(|byte| {
                    let units = usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0);
                    let ends = left == 0 && units > 0;
                    left = left.saturating_sub(units);
                    ends
                });
                let end = end.or((left == 0).then_some(text.len()))?;
                Some((std::str::from_utf8(&text[..end]).ok(), &text[end..]))
            }
            Self::Binary => {
                let header = body.iter().position(|byte| *byte == LENGTH_ENDS)?;
                let (kind, digits) = body[..header].split_first()?;
                let length = digits.iter().try_fold(0_usize, |length, digit| {
                    length.checked_mul(10)?.checked_add(usize::from(*digit)).filter(|_| *digit < 10)
                })?;
                let (packet, behind) = body[header + 1..].split_at_checked(length)?;
                let text = std::str::from_utf8(packet).ok().filter(|_| *kind == TEXT);
                Some((text, behind))
            }
        }
    }

    /// Adds a packet in place of one that was framed so.
    fn push(self, body: &mut Vec<u8>, packet: &str, frame: &[u8]) {
        match self {
            Self::Separated => {
                body.extend_from_slice(packet.as_bytes());
                body.extend(frame.last().filter(|byte| **byte == SEPARATOR));
            }
            Self::Counted => {
                let length = packet.encode_utf16().count();
                body.extend_from_slice(format!("{length}:{packet}").as_bytes());
            }
            Self::Binary => {
                body.push(TEXT);
                body.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
                body.push(LENGTH_ENDS);
                body.extend_from_slice(packet.as_bytes());
            }
        }
    }
}

/// Waits for a whole body. One that is too large or breaks off is returned as a body of which the library sees that.
pub(super) async fn collect(body: Body, limit: usize) -> Result<BytesMut, Body> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => whole.extend_from_slice(&chunk),
            Err(error) => return Err(Body::from_stream(stream::once(ready(Err::<BytesMut, _>(error))))),
        }
        if whole.len() > limit {
            return Err(whole.freeze().into());
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a body when `4a` is `4é😀` instead.
    fn mapped(framing: Framing, body: &[u8]) -> Vec<u8> {
        framing.map(body, 1000, |packet| (packet == "4a").then(|| "4é😀".to_owned()))
    }

    #[test]
    fn packets_are_found_in_each_framing() {
        let separated = "4a\u{1e}4b\u{1e}bAQID\u{1e}4a";
        assert_eq!(mapped(Framing::Separated, separated.as_bytes()), "4é😀\u{1e}4b\u{1e}bAQID\u{1e}4é😀".as_bytes());
        assert_eq!(mapped(Framing::Separated, "4a\u{1e}".as_bytes()), "4é😀\u{1e}".as_bytes());
        assert_eq!(mapped(Framing::Counted, "4:4é😀2:4a1:26:b4AQID".as_bytes()), "4:4é😀4:4é😀1:26:b4AQID".as_bytes());
        let binary = [&[0, 2, 255][..], b"4a", &[1, 1, 0, 255], b"4aaaaaaaaa", &[0, 2, 255], b"4a"].concat();
        let longer = [&[0, 7, 255][..], "4é😀".as_bytes()].concat();
        let expected = [&longer[..], &[1, 1, 0, 255], b"4aaaaaaaaa", &longer].concat();
        assert_eq!(mapped(Framing::Binary, &binary), expected);
    }

    #[test]
    fn framing_is_what_the_library_takes_it_for() {
        let (text, bytes) =
            (HeaderValue::from_static("text/plain"), HeaderValue::from_static("application/octet-stream"));
        for (version, content_type, framing) in [
            (Some("4"), &bytes, Framing::Separated),
            (Some("3"), &text, Framing::Counted),
            (Some("3=4"), &text, Framing::Counted),
            (Some("3"), &bytes, Framing::Binary),
        ] {
            assert_eq!(Framing::of(version, Some(content_type)), framing, "{version:?}");
        }
    }

    #[test]
    fn what_is_framed_otherwise_stays() {
        let bodies: [&[u8]; 9] =
            [b"", b":", b"2:", b"3:4a", b"-1:4a", b"x:4a", b"0:0:", b"\xff", b"99999999999999999999999:4a"];
        for body in bodies {
            for framing in [Framing::Separated, Framing::Counted, Framing::Binary] {
                assert_eq!(mapped(framing, body), body, "{framing:?} {body:?}");
            }
        }
        for body in
            [&[0][..], &[0, 255], &[0, 9, 255, b'4'], &[0, 10, 255], &[2, 1, 255, b'4'], &[1, 2, 255, b'4', b'a']]
        {
            assert_eq!(mapped(Framing::Binary, body), body);
        }
    }
}
