//! The frames of a websocket on their way from its client to Engine.IO (RFC 6455, 5.2).
//!
//! What the library can read passes where it lies. A request changes in one byte. Of other events the end has to be seen, so
//! those that have not arrived whole are kept until then.

use bytes::{BufMut, BytesMut};

use crate::socketio::{HEAD, Head, Reader, head};

/// The longest header of a frame.
const MAX_HEADER: usize = 14;
const MASK_SIZE: usize = 4;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// The longest payload of a ping, a pong and a close.
const MAX_CONTROL: u64 = 125;

/// The frames of one client.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    reader: Reader,
    /// How many bytes a message may have; the library refuses a larger one.
    limit: usize,
    /// The begin of a frame of which too little has come: its header, and at most [`HEAD`] bytes more.
    begun: Vec<u8>,
    /// How many bytes of the current frame's payload have not come.
    left: u64,
    /// By what the rest of the payload is masked, if it is kept; `None` if it passes.
    kept: Option<Mask>,
    message: Message,
    /// The client has broken the protocol, which the library has to see.
    is_broken: bool,
}

/// The message whose frames arrive.
#[derive(Debug, Default)]
enum Message {
    #[default]
    None,
    Passes,
    Kept {
        text: Vec<u8>,
        /// This frame is its last.
        ends: bool,
    },
}

/// What becomes of the begin of a frame.
enum Begin {
    /// Too little has come.
    More,
    /// So many bytes pass, and then the payload.
    Passes(usize),
    /// The payload behind so many bytes is kept.
    Kept(usize),
    /// A whole frame of so many bytes, which are another frame now.
    Rewritten(usize, String),
    Broken,
}

impl Frames {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes what has arrived. So many bytes of it pass, from the first one on; what is in `out` then comes behind them.
    pub(crate) fn pass(&mut self, arrived: &mut [u8], out: &mut BytesMut) -> usize {
        if self.begun.is_empty() {
            return self.run(arrived, out);
        }
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(arrived);
        let mut behind = BytesMut::new();
        let passed = self.run(&mut bytes, &mut behind);
        out.extend_from_slice(&bytes[..passed]);
        out.unsplit(behind);
        0
    }

    fn run(&mut self, bytes: &mut [u8], out: &mut BytesMut) -> usize {
        let mut at = 0;
        // Where the first byte is that does not pass in its place.
        let mut end = None;
        while at < bytes.len() {
            let passes = if self.is_broken {
                bytes.len() - at
            } else if self.left > 0 {
                let present = bytes.len() - at;
                let present = usize::try_from(self.left).map_or(present, |left| left.min(present));
                self.left -= present as u64;
                if self.kept.is_some() {
                    end.get_or_insert(at);
                    self.keep(&bytes[at..at + present], out);
                    at += present;
                    continue;
                }
                present
            } else {
                match self.begin(&mut bytes[at..]) {
                    Begin::Passes(header) => header,
                    Begin::More => {
                        end.get_or_insert(at);
                        self.begun = bytes[at..].to_vec();
                        break;
                    }
                    Begin::Kept(header) => {
                        end.get_or_insert(at);
                        at += header;
                        self.keep(&[], out);
                        continue;
                    }
                    Begin::Rewritten(frame, text) => {
                        end.get_or_insert(at);
                        write(out, true, text.as_bytes());
                        at += frame;
                        continue;
                    }
                    Begin::Broken => {
                        self.is_broken = true;
                        end.get_or_insert(at);
                        self.release(out);
                        continue;
                    }
                }
            };
            if end.is_some() {
                out.extend_from_slice(&bytes[at..at + passes]);
            }
            at += passes;
        }
        end.unwrap_or(bytes.len())
    }

    /// Looks at the begin of a frame.
    fn begin(&mut self, bytes: &mut [u8]) -> Begin {
        let Some(header) = Header::of(bytes) else { return Begin::More };
        let Header { first, length, mask, size } = header;
        let (ends, code) = (first & FIN != 0, first & 0x0f);
        // Nothing was negotiated that gives the other bits a meaning.
        let Some(mask) = mask.filter(|_| first & 0x70 == 0) else { return Begin::Broken };
        let passes = |frames: &mut Self| {
            (frames.left, frames.kept) = (length, None);
            Begin::Passes(size)
        };
        match (code, &mut self.message) {
            (CONTINUATION, Message::Passes) => {
                if ends {
                    self.message = Message::None;
                }
                passes(self)
            }
            (CONTINUATION, Message::Kept { text, ends: last }) => {
                if length > (self.limit - text.len()) as u64 {
                    return Begin::Broken;
                }
                *last = ends;
                (self.left, self.kept) = (length, Some(mask));
                Begin::Kept(size)
            }
            (TEXT | BINARY, Message::None) => {
                if code == TEXT
                    && length <= self.limit as u64
                    && let Some(begin) = self.text(bytes, length as usize, mask, size, ends)
                {
                    return begin;
                }
                self.message = if ends { Message::None } else { Message::Passes };
                passes(self)
            }
            (8..=10, _) if ends && length <= MAX_CONTROL => passes(self),
            _ => Begin::Broken,
        }
    }

    /// Looks at the begin of a message of text; `None` if that passes.
    fn text(&mut self, bytes: &mut [u8], length: usize, mask: Mask, header: usize, ends: bool) -> Option<Begin> {
        let (payload, present) = (header..header + length, bytes.len() - header);
        let seen = present.min(length).min(HEAD);
        let mut start = [0; HEAD];
        start[..seen].copy_from_slice(&bytes[header..header + seen]);
        mask.apply(&mut start[..seen]);
        match head(&start[..seen]) {
            Head::Other => return None,
            Head::Request(comma) => {
                bytes[header + comma] ^= b',' ^ b']';
                return None;
            }
            Head::More if present < length && seen < HEAD => return Some(Begin::More),
            Head::More | Head::Event => {}
        }
        if ends && let Some(payload) = bytes.get_mut(payload) {
            mask.apply(payload);
            let rewritten = std::str::from_utf8(payload).ok().and_then(|text| self.reader.read(text));
            if let Some(text) = rewritten {
                return Some(Begin::Rewritten(header + length, text));
            }
            // It passes without a mask, which saves applying that again.
            bytes[header - MASK_SIZE..header].fill(0);
            return None;
        }
        self.message = Message::Kept { text: Vec::new(), ends };
        (self.left, self.kept) = (length as u64, Some(mask));
        Some(Begin::Kept(header))
    }

    /// Keeps some bytes of a payload, and lets the message go if it is whole.
    fn keep(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let (Message::Kept { text, ends }, Some(mask)) = (&mut self.message, &mut self.kept) else { return };
        let from = text.len();
        text.extend_from_slice(bytes);
        mask.apply(&mut text[from..]);
        *mask = mask.after(bytes.len());
        if *ends && self.left == 0 {
            let rewritten = std::str::from_utf8(text).ok().and_then(|text| self.reader.read(text));
            write(out, true, rewritten.as_ref().map_or(text, |text| text.as_bytes()));
            self.message = Message::None;
        }
    }

    /// Lets go what is kept of a message, for the library to see what is wrong with the next frame.
    fn release(&mut self, out: &mut BytesMut) {
        if let Message::Kept { text, .. } = std::mem::take(&mut self.message) {
            write(out, false, &text);
        }
    }
}

/// The header of a frame.
struct Header {
    first: u8,
    length: u64,
    mask: Option<Mask>,
    /// How many bytes it has.
    size: usize,
}

impl Header {
    /// `None` if it is not whole.
    fn of(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (length, rest) = match second & !MASKED {
            126 => rest.split_first_chunk().map(|(length, rest)| (u16::from_be_bytes(*length).into(), rest))?,
            127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
            length => (length.into(), rest),
        };
        let (mask, rest) = match second & MASKED {
            0 => (None, rest),
            _ => rest.split_first_chunk().map(|(mask, rest)| (Some(Mask(*mask)), rest))?,
        };
        Some(Self { first: *first, length, mask, size: bytes.len() - rest.len() })
    }
}

/// By what the next bytes of a payload are masked.
#[derive(Clone, Copy, Debug)]
struct Mask([u8; MASK_SIZE]);

impl Mask {
    fn apply(self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(MASK_SIZE) {
            chunk.iter_mut().zip(self.0).for_each(|(byte, mask)| *byte ^= mask);
        }
    }

    /// The mask of what follows so many bytes.
    fn after(mut self, bytes: usize) -> Self {
        self.0.rotate_left(bytes % MASK_SIZE);
        self
    }
}

/// Writes a frame of text as a client does, with a mask that changes nothing.
fn write(out: &mut BytesMut, ends: bool, text: &[u8]) {
    out.reserve(MAX_HEADER + text.len());
    out.put_u8(TEXT | if ends { FIN } else { 0 });
    match text.len() {
        length @ ..126 => out.put_u8(MASKED | length as u8),
        length if length <= u16::MAX.into() => {
            out.put_u8(MASKED | 126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(MASKED | 127);
            out.put_u64(length as u64);
        }
    }
    out.put_bytes(0, MASK_SIZE);
    out.put_slice(text);
}
