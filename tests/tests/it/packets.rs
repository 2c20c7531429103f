//! Packets that the Socket.IO library cannot read, in every way that a client can send them: each request behind one is
//! answered on the same connection.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use catamaran::{App, TransportType, action, routes};
use futures_util::StreamExt;
use socketioxide::{
    SocketIo,
    extract::{AckSender, SocketRef},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::support::{Eio, Server, within};

/// What the ack of a request has.
const HELLO: &str = r#"[{"body":"hello","headers":{},"statusCode":200}]"#;
/// The most bytes of a packet that are cut from the rest.
const HEAD: usize = 32;
/// What an attachment has.
const ATTACHMENT: &[u8] = &[1, 2, 3];

static HELLOS: AtomicUsize = AtomicUsize::new(0);

#[action(get "/hello")]
async fn hello() -> &'static str {
    HELLOS.fetch_add(1, Ordering::SeqCst);
    "hello"
}

/// What comes back for a packet.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The answer of the action.
    Hello,
    /// The ack of the event's handler, which has the event's name.
    Event(&'static str),
    /// An ack with a 400.
    Malformed,
    /// An event `sails:parseError`.
    Told,
    /// Nothing: the packet is no event that anybody receives.
    Nothing,
}

/// A packet, `ID` being an ack id that no other has; how many attachments follow it; and what comes back.
type Case = (&'static str, usize, Expected);

/// The events of the application.
const EVENTS: [&str; 3] = ["größe", "a/b", "😀"];

fn cases() -> Vec<Case> {
    use Expected::{Event, Hello, Malformed, Nothing, Told};
    vec![
        (r#"42ID["get",{"url":"/hello"}]"#, 0, Hello),
        (r#"42ID[ "get" , {"url":"/hello"} ]"#, 0, Hello),
        (r#"42ID ["get",{"url":"/hello"}]"#, 0, Hello),
        (r#"42/,ID["get",{"url":"/hello"}]"#, 0, Hello),
        (r#"42ID["g\u0065t",{"url":"/hello"}]"#, 0, Hello),
        (r#"42ID["\u0067\u0065\u0074" ,{"url":"\/hello"}]"#, 0, Hello),
        (r#"450-ID["get",{"url":"/hello"}]"#, 0, Hello),
        // Events of the application.
        (r#"42ID["größe",1]"#, 0, Event("größe")),
        (r#"42ID["gr\u00f6\u00dfe",{"a":"\""}]"#, 0, Event("größe")),
        (r#"42/,ID["gr\u00F6ße"]"#, 0, Event("größe")),
        (r#"42ID["a\/b"]"#, 0, Event("a/b")),
        (r#"42ID["\ud83d\ude00",null]"#, 0, Event("😀")),
        // Names that no handler can have, with the library's parser.
        (r#"42ID["say \"hi\"",1]"#, 0, Nothing),
        (r#"42ID["back\\slash",1]"#, 0, Nothing),
        (r#"42ID["line\nbreak",1]"#, 0, Nothing),
        (r#"42ID["nul\u0000",1]"#, 0, Nothing),
        // Names that nobody handles are ignored, with an escape and without.
        (r#"42ID["other",1]"#, 0, Nothing),
        (r#"42ID["\u006fther",1]"#, 0, Nothing),
        (r#"42ID["",1]"#, 0, Nothing),
        // Half of a surrogate pair.
        (r#"42ID["\ud800",1]"#, 0, Malformed),
        (r#"42ID["\udc00get",{"url":"/hello"}]"#, 0, Malformed),
        // Ack ids.
        (r#"420["get",{"url":"/hello"}]"#, 0, Hello),
        (r#"429223372036854775807["get",{"url":"/hello"}]"#, 0, Hello),
        (r#"429223372036854775808["get",{"url":"/hello"}]"#, 0, Told),
        (r#"4218446744073709551615["get",{"url":"/hello"}]"#, 0, Told),
        (r#"4218446744073709551616["get",{"url":"/hello"}]"#, 0, Told),
        (r#"421234567890123456789012345678901234567890["get",{"url":"/hello"}]"#, 0, Told),
        (r#"429223372036854775808["größe"]"#, 0, Told),
        // Broken JSON.
        (r#"42ID["get",{bad]"#, 0, Malformed),
        (r#"42ID["get",{"url":"/hello"}"#, 0, Malformed),
        (r#"42ID["get",{"url":"/hello",}]"#, 0, Malformed),
        (r#"42ID["get",{"url":"/hello"}]x"#, 0, Malformed),
        (r#"42ID["get"]{"url":"/hello"}]"#, 0, Malformed),
        (r#"42ID["get"]!{"url":"/hello"}]"#, 0, Malformed),
        (r#"42ID["get"{"url":"/hello"}]"#, 0, Malformed),
        (r#"42ID["get""#, 0, Malformed),
        (r#"42ID["g\u0065t",{bad]"#, 0, Malformed),
        (r#"42ID["g\u00"#, 0, Malformed),
        (r#"42ID["größe",{bad]"#, 0, Malformed),
        (r#"42ID["größe",1"#, 0, Malformed),
        (r#"42ID["größe"]x"#, 0, Malformed),
        (r#"42ID["say","#, 0, Malformed),
        (r#"42ID["#, 0, Malformed),
        (r#"42ID[]"#, 0, Malformed),
        (r#"42ID{}"#, 0, Malformed),
        (r#"42ID[1]"#, 0, Malformed),
        ("42ID", 0, Malformed),
        (r#"42["get",{bad]"#, 0, Told),
        (r#"42["größe",{bad]"#, 0, Told),
        (r#"42-1["get",{"url":"/hello"}]"#, 0, Told),
        ("42", 0, Told),
        ("42[", 0, Told),
        ("42/", 0, Told),
        // Attachments belong to their event, whatever becomes of it.
        (r#"451-ID["get",{"_placeholder":true,"num":0}]"#, 1, Malformed),
        (r#"451-ID["g\u0065t",{"_placeholder":true,"num":0}]"#, 1, Malformed),
        (r#"451-ID["gr\u00f6ße",{"_placeholder":true,"num":0}]"#, 1, Event("größe")),
        (r#"452-ID["say \"hi\"",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, 2, Nothing),
        (r#"451-ID["größe",{"_placeholder":true]"#, 1, Malformed),
        (r#"451-9223372036854775808["größe",{"_placeholder":true,"num":0}]"#, 1, Told),
    ]
}

/// Whether this is what comes back for a packet with such an ack id.
fn is(expected: Expected, id: &str, packet: &str) -> bool {
    let ack = packet.strip_prefix("43").and_then(|packet| packet.strip_prefix(id));
    match expected {
        Expected::Hello => ack == Some(HELLO),
        Expected::Event(name) => ack.is_some_and(|ack| ack == format!("[\"{name}\"]")),
        Expected::Malformed => ack.is_some_and(|ack| {
            ack.starts_with(r#"[{"body":{"code":"malformed","message":"#) && ack.ends_with(r#""statusCode":400}]"#)
        }),
        Expected::Told => packet.starts_with(r#"42["sails:parseError",{"body":{"code":"malformed","#),
        Expected::Nothing => false,
    }
}

/// How packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A frame each, and each in a write of its own.
    Frames,
    /// In two frames, cut behind so many bytes, with a ping between them.
    Fragments(usize),
    /// Each byte in a write of its own.
    Bytes,
    /// All in one write.
    Together,
}

/// What is sent: a text, or an attachment.
enum Part<'a> {
    Text(&'a str),
    Attachment,
}

/// A client of one transport.
enum Client {
    Websocket(Eio, Box<WebSocketStream<TcpStream>>),
    Polling(Polling),
}

struct Polling {
    address: SocketAddr,
    url: String,
    eio: Eio,
    /// Whether its bodies are bytes, which Engine.IO 3 allows.
    binary: bool,
}

/// Writes a frame as a client does.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x1d, 0xa7, 0x00, 0x7e];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("a short packet").to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

impl Client {
    async fn websocket(server: &Server, eio: Eio) -> Self {
        let version = if eio == Eio::V3 { 3 } else { 4 };
        let stream = TcpStream::connect(server.address).await.expect("the server accepts");
        stream.set_nodelay(true).expect("an open connection");
        let url = format!("ws://{}/socket.io/?EIO={version}&transport=websocket", server.address);
        let (stream, _) = client_async(url, stream).await.expect("a handshake");
        Self::Websocket(eio, Box::new(stream))
    }

    async fn polling(server: &Server, eio: Eio, binary: bool) -> Self {
        let version = if eio == Eio::V3 { 3 } else { 4 };
        let url = format!("/socket.io/?EIO={version}&transport=polling&b64=1");
        let mut polling = Polling { address: server.address, url, eio, binary };
        let open = polling.poll().await.remove(0);
        let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("an open packet");
        polling.url += &format!("&sid={}", open["sid"].as_str().expect("an id"));
        Self::Polling(polling)
    }

    /// Connects to `/`, which Engine.IO 4 asks for and 3 is given.
    async fn enter(&mut self) {
        if matches!(self, Self::Websocket(Eio::V4, _) | Self::Polling(Polling { eio: Eio::V4, .. })) {
            self.send(Way::Frames, &[Part::Text("40")]).await;
        }
        while !self.receive().await.iter().any(|packet| packet.starts_with("40")) {}
    }

    async fn send(&mut self, way: Way, parts: &[Part<'_>]) {
        match self {
            Self::Websocket(eio, stream) => {
                let mut writes: Vec<Vec<u8>> = Vec::new();
                for part in parts {
                    match (part, way) {
                        (Part::Text(text), Way::Fragments(cut)) => {
                            let (start, end) = text.as_bytes().split_at(cut.min(text.len()));
                            writes.extend([frame(0x01, start), frame(0x89, b"ping"), frame(0x80, end)]);
                        }
                        (Part::Text(text), _) => writes.push(frame(0x81, text.as_bytes())),
                        (Part::Attachment, _) if *eio == Eio::V3 => {
                            writes.push(frame(0x82, &[&[4], ATTACHMENT].concat()));
                        }
                        (Part::Attachment, _) => writes.push(frame(0x82, ATTACHMENT)),
                    }
                }
                match way {
                    Way::Together => writes = vec![writes.concat()],
                    Way::Bytes => writes = writes.concat().into_iter().map(|byte| vec![byte]).collect(),
                    Way::Frames | Way::Fragments(_) => {}
                }
                for write in writes {
                    within("room to send", stream.get_mut().write_all(&write)).await.expect("an open connection");
                    tokio::task::yield_now().await;
                }
            }
            Self::Polling(polling) if way == Way::Together => polling.post(parts).await,
            Self::Polling(polling) => {
                for part in parts {
                    polling.post(std::slice::from_ref(part)).await;
                }
            }
        }
    }

    /// The next packets.
    async fn receive(&mut self) -> Vec<String> {
        match self {
            Self::Websocket(_, stream) => loop {
                match within("a packet", stream.next()).await {
                    Some(Ok(Message::Text(text))) => return vec![text.to_string()],
                    Some(Ok(Message::Pong(_))) => {}
                    other => panic!("the connection has ended: {other:?}"),
                }
            },
            Self::Polling(polling) => polling.poll().await,
        }
    }
}

impl Polling {
    async fn http(&self, request: &str, body: &[u8]) -> Vec<u8> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let length = body.len();
            let head =
                format!("{request}host: {}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n", self.address);
            stream.write_all(&[head.as_bytes(), body].concat()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = within("an answer", exchange).await.expect("an open connection");
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{request}: {}", String::from_utf8_lossy(&answer));
        answer[head + 4..].to_vec()
    }

    async fn poll(&self) -> Vec<String> {
        let body = self.http(&format!("GET {} HTTP/1.1\r\n", self.url), b"").await;
        let body = String::from_utf8(body).expect("text");
        if self.eio == Eio::V4 {
            return body.split('\u{1e}').map(str::to_owned).collect();
        }
        let (mut packets, mut rest) = (Vec::new(), &*body);
        while let Some((length, text)) = rest.split_once(':') {
            let length: usize = length.parse().expect("a length");
            let mut units = 0;
            let begins_behind = |c: char| {
                let is_behind = units >= length;
                units += c.len_utf16();
                is_behind
            };
            let end = text.find(begins_behind).unwrap_or(text.len());
            packets.push(text[..end].to_owned());
            rest = &text[end..];
        }
        packets
    }

    async fn post(&self, parts: &[Part<'_>]) {
        let packets = parts.iter().map(|part| match (part, self.eio) {
            (Part::Text(text), _) => (*text).to_owned(),
            (Part::Attachment, Eio::V4) => "bAQID".to_owned(),
            (Part::Attachment, Eio::V3) => "b4AQID".to_owned(),
        });
        let (body, kind) = match (self.eio, self.binary) {
            (Eio::V4, _) => (packets.collect::<Vec<_>>().join("\u{1e}").into_bytes(), "text/plain"),
            (Eio::V3, false) => {
                let counted = packets.map(|packet| format!("{}:{packet}", packet.encode_utf16().count()));
                (counted.collect::<String>().into_bytes(), "text/plain")
            }
            (Eio::V3, true) => {
                let counted = parts.iter().flat_map(|part| {
                    let (kind, packet) = match part {
                        Part::Text(text) => (0, text.as_bytes().to_vec()),
                        Part::Attachment => (1, [&[4], ATTACHMENT].concat()),
                    };
                    let digits = packet.len().to_string().into_bytes();
                    [vec![kind], digits.iter().map(|digit| digit - b'0').collect(), vec![255], packet].concat()
                });
                (counted.collect(), "application/octet-stream")
            }
        };
        self.http(&format!("POST {} HTTP/1.1\r\ncontent-type: {kind}\r\n", self.url), &body).await;
    }
}

/// Sends packets, and then a request; all that comes back is what is expected.
async fn run(client: &mut Client, way: Way, cases: &[Case], last_id: &mut u64) {
    let cases: Vec<_> = cases
        .iter()
        .map(|(packet, attachments, expected)| {
            *last_id += 1;
            let number = last_id.to_string();
            let (has_own, packet) = (packet.contains("ID"), packet.replace("ID", &number));
            let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
            let id = if has_own { number } else { digits(&packet[2..]) };
            (packet, *attachments, *expected, id)
        })
        .collect();
    *last_id += 1;
    let behind = format!(r#"42{last_id}["get",{{"url":"/hello"}}]"#);
    let mut parts = Vec::new();
    for (packet, attachments, ..) in &cases {
        parts.push(Part::Text(packet));
        parts.extend((0..*attachments).map(|_| Part::Attachment));
    }
    parts.push(Part::Text(&behind));
    client.send(way, &parts).await;
    let mut due: Vec<_> = cases.iter().filter(|case| !matches!(case.2, Expected::Nothing)).collect();
    let mut is_answered = false;
    while !is_answered || !due.is_empty() {
        for packet in client.receive().await {
            if packet == format!("43{last_id}{HELLO}") {
                is_answered = true;
            } else if let Some(found) = due.iter().position(|(_, _, expected, id)| is(*expected, id, &packet)) {
                due.remove(found);
            } else {
                panic!("{way:?}: {packet} came, and {due:?} was due");
            }
        }
    }
}

fn app() -> App<()> {
    let minute = Duration::from_secs(60);
    let app = App::new(()).mount(routes![hello]).heartbeat(minute, minute);
    app.transports([TransportType::Websocket, TransportType::Polling])
}

/// Lets the sockets of `/` have events of the application.
fn listen(io: &SocketIo, handled: &Arc<AtomicUsize>) {
    for socket in io.sockets() {
        on_events(&socket, handled);
    }
}

fn on_events(socket: &SocketRef, handled: &Arc<AtomicUsize>) {
    for name in EVENTS {
        let handled = handled.clone();
        socket.on(name, async move |ack: AckSender| {
            handled.fetch_add(1, Ordering::SeqCst);
            let _ = ack.send(name);
        });
    }
}

#[tokio::test]
async fn unreadable_packets_close_no_connection() {
    let server = Server::start(app()).await;
    let handled = Arc::new(AtomicUsize::new(0));
    let cases = cases();
    let mut last_id = 1000;
    let mut expected = [HELLOS.load(Ordering::SeqCst), 0];
    let mut count = |cases: &[Case]| {
        expected[0] += 1 + cases.iter().filter(|case| matches!(case.2, Expected::Hello)).count();
        expected[1] += cases.iter().filter(|case| matches!(case.2, Expected::Event(_))).count();
    };
    let mut clients = Vec::new();
    for eio in [Eio::V3, Eio::V4] {
        clients.push(Client::websocket(&server, eio).await);
        clients.push(Client::polling(&server, eio, false).await);
    }
    clients.push(Client::polling(&server, Eio::V3, true).await);
    for client in &mut clients {
        client.enter().await;
        listen(&server.io, &handled);
        for case in &cases {
            let mut ways = vec![Way::Frames];
            if matches!(client, Client::Websocket(..)) {
                ways.push(Way::Bytes);
                ways.extend((0..=case.0.len().min(HEAD)).map(Way::Fragments));
            }
            for way in ways {
                run(client, way, std::slice::from_ref(case), &mut last_id).await;
                count(std::slice::from_ref(case));
            }
        }
        // The acks of those that are told apart by their ids alone.
        run(client, Way::Together, &cases, &mut last_id).await;
        count(&cases);
    }
    // What was refused did not run.
    assert_eq!([HELLOS.load(Ordering::SeqCst), handled.load(Ordering::SeqCst)], expected);
}

#[tokio::test]
async fn unreadable_packets_of_other_namespaces_are_dropped() {
    let handled = Arc::new(AtomicUsize::new(0));
    let handlers = handled.clone();
    let app = app().socketio(move |io| {
        io.ns("/own", async move |socket: SocketRef| on_events(&socket, &handlers));
    });
    let server = Server::start(app).await;
    for eio in [Eio::V3, Eio::V4] {
        for mut client in [Client::websocket(&server, eio).await, Client::polling(&server, eio, false).await] {
            client.enter().await;
            client.send(Way::Frames, &[Part::Text("40/own,")]).await;
            while !client.receive().await.iter().any(|packet| packet.starts_with("40/own,")) {}
            for packet in [
                r#"42/own,1["größe",{bad]"#,
                r#"42/own,1["say \"hi\""]"#,
                r#"42/own,9223372036854775808["größe"]"#,
                r#"42/own,1["get",{"url":"/hello"}]"#,
                "42/own",
                "42/own,",
            ] {
                client.send(Way::Frames, &[Part::Text(packet)]).await;
            }
            client.send(Way::Frames, &[Part::Text(r#"42/own,7["gr\u00f6\u00dfe",1]"#)]).await;
            assert_eq!(client.receive().await, [r#"43/own,7["größe"]"#]);
        }
    }
    assert_eq!(handled.load(Ordering::SeqCst), 4);
}
