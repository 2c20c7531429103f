//! Packets that no client of good will sends. None ends the process or harms another socket, and what can be answered
//! is answered.

use std::time::Duration;

use axum::{Json, body::Bytes};
use catamaran::{App, action, controller, routes};
use serde_json::{Value, json};
use socketioxide::TransportType;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::support::{Answer, Ask, Body, Client, Eio, Packet, Server, get, post, until, within};

#[controller("/")]
mod actions {
    use super::*;

    #[action(get "/hello")]
    pub(crate) async fn hello() -> &'static str {
        "hello"
    }

    #[action(post "/value")]
    pub(crate) async fn value(Json(value): Json<Value>) -> Json<Value> {
        Json(value)
    }

    #[action(post "/length")]
    pub(crate) async fn length(body: Bytes) -> String {
        body.len().to_string()
    }
}

/// A server, and a socket of good will that must never notice what the others do.
struct Scene {
    server: Server,
    witness: Client,
}

impl Scene {
    async fn new() -> Self {
        Self::of(App::new(()).mount(routes![actions])).await
    }

    async fn of(app: App<()>) -> Self {
        let server = Server::start(app).await;
        let witness = Client::connect(&server).await;
        Self { server, witness }
    }

    async fn is_unharmed(&mut self) {
        assert_eq!(self.witness.ask(&get("/hello")).await.body, Body::text("hello"));
        assert_eq!(self.server.http(&get("/hello")).await.body, Body::text("hello"));
    }
}

/// What becomes of the socket that sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// An ack with this status.
    Acked(u16),
    /// An event `sails:parseError`.
    Told,
    /// Nothing at all, and the socket goes on.
    Ignored,
    /// A packet that says no, such as one for an unknown namespace, and the socket goes on.
    Refused,
    Closed,
}

/// What comes back before the answer of a request that is sent behind the packet.
async fn fate(client: &mut Client, packet: &str) -> (Fate, String) {
    client.try_send(Message::text(packet)).await;
    client.try_send(Message::text(r#"4277777["get",{"url":"/hello"}]"#)).await;
    let mut fate = (Fate::Ignored, String::new());
    loop {
        match client.receive().await {
            Packet::Ack(77777, answer) => {
                assert_eq!(answer.status, 200, "{packet}");
                return fate;
            }
            Packet::Ack(_, answer) => {
                let message = if answer.status == 200 { String::new() } else { answer.message() };
                fate = (Fate::Acked(answer.status), message);
            }
            Packet::Event(event) if event.starts_with(r#"["sails:parseError""#) => fate = (Fate::Told, event),
            Packet::Event(event) => panic!("{packet}: {event}"),
            Packet::Other(text) => fate = (Fate::Refused, text),
            Packet::Closed => return (Fate::Closed, String::new()),
        }
    }
}

#[tokio::test]
async fn malformed_packets_harm_nobody_else() {
    use Fate::{Acked, Closed, Ignored, Refused, Told};
    let mut scene = Scene::new().await;
    let packets = [
        // What is no request, and can be answered.
        (r#"421["get"]"#, Acked(400), "carries no request"),
        (r#"421["get",null]"#, Acked(400), "expected an object"),
        (r#"421["get",5]"#, Acked(400), "expected an object"),
        (r#"421["get",false]"#, Acked(400), "expected an object"),
        (r#"421["get","/hello"]"#, Acked(400), "expected an object"),
        (r#"421["get",["/hello"]]"#, Acked(400), "expected an object"),
        (r#"421["get",{}]"#, Acked(400), "has no `url`"),
        (r#"421["get",{"url":""}]"#, Acked(400), "must be a path"),
        (r#"421["get",{"url":5}]"#, Acked(400), "this is a number"),
        (r#"421["get",{"url":{}}]"#, Acked(400), "this is an object"),
        (r#"421["get",{"url":["/hello"]}]"#, Acked(400), "this is an array"),
        (r#"421["get",{"url":null}]"#, Acked(400), "this is null"),
        (r#"421["get",{"url":"/hello","url":7}]"#, Acked(400), "this is a number"),
        (r#"421["get",{"url":"/hello"},"callback"]"#, Acked(400), "more than the one object"),
        (r#"421["get",{"url":"/hello"},{"url":"/hello"}]"#, Acked(400), "more than the one object"),
        (r#"421["get",{"url":"/hello","headers":[]}]"#, Acked(400), "`headers`"),
        (r#"421["get",{"url":"/hello","headers":{"x":{}}}]"#, Acked(400), "`x` must be a string"),
        (r#"421["get",{"url":"/hello","data":[1]}]"#, Acked(400), "must be an object"),
        (r#"421["get",{"url":"/hello","data":{},"params":{}}]"#, Acked(400), "two names"),
        (r#"421["get",{"url":"/hello","headers":null}]"#, Acked(200), ""),
        (r#"421["get",{"url":"/hello","headers":"x: y"}]"#, Acked(200), ""),
        (r#"421["get",{"url":"/hello","method":"delete"}]"#, Acked(200), ""),
        (r#"421["get",{"url":"/hello","__proto__":{"a":1},"constructor":null}]"#, Acked(200), ""),
        // The same without an ack.
        (r#"42["get"]"#, Told, "carries no request"),
        (r#"42["get",null]"#, Told, "expected an object"),
        (r#"42["get",{"url":"?x"}]"#, Told, "must be a path"),
        // Events that are not requests.
        (r#"421["trace",{"url":"/hello"}]"#, Ignored, ""),
        (r#"421["GET",{"url":"/hello"}]"#, Ignored, ""),
        (r#"421["__proto__",{"url":"/hello"}]"#, Ignored, ""),
        (r#"421["",{"url":"/hello"}]"#, Ignored, ""),
        (r#"421["constructor"]"#, Ignored, ""),
        (r#"421["error",{"url":"/hello"}]"#, Ignored, ""),
        (r#"421["connect",{"url":"/hello"}]"#, Ignored, ""),
        (r#"421["disconnect",{"url":"/hello"}]"#, Ignored, ""),
        // Acks that nobody asked for.
        ("431[1]", Ignored, ""),
        ("430[]", Ignored, ""),
        ("439223372036854775807[1]", Ignored, ""),
        // Odd ack ids: what fits is echoed, and what does not is refused.
        (r#"4299999999999999999999["get",{"url":"/hello"}]"#, Told, "at most 63 bits"),
        (r#"429223372036854775808["get",{"url":"/hello"}]"#, Told, "at most 63 bits"),
        (r#"4218446744073709551615["get",{"url":"/hello"}]"#, Told, "at most 63 bits"),
        (r#"420["get",{"url":"/hello"}]"#, Acked(200), ""),
        (r#"42007["get",{"url":"/hello"}]"#, Acked(200), ""),
        (r#"429223372036854775807["get",{"url":"/hello"}]"#, Acked(200), ""),
        // Namespaces.
        ("40/admin,", Refused, "Invalid namespace"),
        (r#"42/admin,1["get",{"url":"/hello"}]"#, Ignored, ""),
        ("41/admin,", Ignored, ""),
        // Bytes that are no packet.
        ("", Closed, ""),
        ("4", Closed, ""),
        ("9", Closed, ""),
        ("49", Closed, ""),
        ("4é", Closed, ""),
        ("😀", Closed, ""),
        // Events that are none.
        ("42", Told, "begins with a name"),
        ("421", Acked(400), "begins with a name"),
        ("42[", Told, "begins with a name"),
        ("42{}", Told, "begins with a name"),
        ("42[]", Told, "begins with a name"),
        ("42[1]", Told, "begins with a name"),
        ("42[null]", Told, "begins with a name"),
        (r#"42["get""#, Told, "neither"),
        (r#"42-1["get",{"url":"/hello"}]"#, Told, "begins with a name"),
        // Names with escapes.
        (r#"421["g\u0065t",{"url":"/hello"}]"#, Acked(200), ""),
        (r#"421["gr\u00f6\u00dfe",1]"#, Ignored, ""),
        (r#"421["say \"hi\"",1]"#, Ignored, ""),
        (r#"421["a\nb",1]"#, Ignored, ""),
        (r#"421["a\/b",1]"#, Ignored, ""),
        (r#"421["größe",1]"#, Ignored, ""),
        (r#"421["say 'hi'",1]"#, Ignored, ""),
        // JSON that is broken behind the name, in a frame that is whole; what `data` has is the action's to read.
        (r#"421["get",{"url":"/hello",}]"#, Acked(400), "trailing comma"),
        (r#"421["get",{"url":}]"#, Acked(400), "expected value"),
        (r#"421["get",{"url":"/hello"}"#, Acked(400), "does not end"),
        (r#"421["get",{"url":"/hello","data":NaN}]"#, Acked(400), "expected value"),
        (r#"421["get",{'url':'/hello'}]"#, Acked(400), "key must be a string"),
        (r#"421["other",{1}]"#, Acked(400), "key must be a string"),
        // Counts of attachments that are none.
        ("451", Closed, ""),
        (r#"45["get",{"url":"/hello"}]"#, Closed, ""),
        (r#"45-["get",{"url":"/hello"}]"#, Closed, ""),
        (r#"45x-["get",{"url":"/hello"}]"#, Closed, ""),
        (r#"4511-["get",{"url":"/hello"}]"#, Closed, ""),
        (r#"4510000-1["get",{"url":"/hello"}]"#, Closed, ""),
        (r#"4599999999999999999999-1["get",{"url":"/hello"}]"#, Closed, ""),
    ];
    let mut surprises = Vec::new();
    for (packet, expected, words) in packets {
        for eio in [Eio::V3, Eio::V4] {
            let mut client = Client::with(&scene.server, eio, &[]).await;
            let (fate, said) = fate(&mut client, packet).await;
            if fate != expected || !said.contains(words) {
                surprises.push(format!("{eio:?} {packet}: {fate:?} {said}"));
            }
            scene.is_unharmed().await;
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[tokio::test]
async fn a_socket_that_has_left_is_not_answered() {
    let mut scene = Scene::new().await;
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&scene.server, eio, &[]).await;
        client.send("41").await;
        until("the socket to be gone", || scene.server.io.sockets().len() == 1).await;
        assert_eq!(fate(&mut client, r#"421["get",{"url":"/hello"}]"#).await.0, Fate::Closed);
        scene.is_unharmed().await;
    }
}

#[tokio::test]
async fn a_nested_body_is_refused_by_the_action_alone() {
    let mut scene = Scene::new().await;
    for (depth, status) in [(100, 200), (127, 200), (128, 400), (1_000, 400), (100_000, 400)] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let inner = if open == "[" { "" } else { "1" };
            let body = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            let ask = post("/value", &body);
            let answer = scene.witness.ask(&ask).await;
            assert_eq!(answer.status, status, "{depth}");
            assert_eq!(scene.server.http(&ask).await.status, status, "{depth}");
            // An action that does not look into it takes it.
            assert_eq!(scene.witness.ask(&post("/length", &body)).await.body, Body::text(&body.len().to_string()));
        }
    }
    let headers = format!(r#"421["get",{{"url":"/hello","headers":{}}}]"#, "[".repeat(1000) + &"]".repeat(1000));
    let url = format!(r#"421["get",{{"url":{}}}]"#, "[".repeat(1000) + &"]".repeat(1000));
    let unknown = format!(r#"421["get",{{"url":"/hello","x":{}}}]"#, "[".repeat(100_000) + &"]".repeat(100_000));
    for (packet, status) in [(headers, 400), (url, 400), (unknown, 200)] {
        assert_eq!(fate(&mut scene.witness, &packet).await.0, Fate::Acked(status), "{packet:.60}");
    }
    scene.is_unharmed().await;
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_and_a_packet_above_it_closes() {
    const LIMIT: usize = 100_000;
    let app = App::new(()).mount(routes![actions]).max_request_bytes(LIMIT);
    let app = app.transports([TransportType::Websocket, TransportType::Polling]);
    let mut scene = Scene::of(app).await;
    let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    for (length, status) in [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413)] {
        let ask = post("/length", body(length));
        assert_eq!(scene.witness.ask(&ask).await.status, status, "{length}");
        assert_eq!(scene.server.http(&ask).await.status, status, "{length}");
        assert_eq!(fragmented(&scene.server, &ask, 1000).await.status, status, "{length}");
    }
    for length in [2 * LIMIT, 100 * LIMIT] {
        let mut client = Client::connect(&scene.server).await;
        client.try_send(Message::text(format!("421{}", post("/length", body(length)).event()))).await;
        assert_eq!(client.receive().await, Packet::Closed, "{length}");
        scene.is_unharmed().await;
    }
    let open = scene.server.http(&get("/socket.io/?EIO=4&transport=polling")).await;
    let Body::Json(open) = open.body else { panic!("{open:?}") };
    let sid = open.split("\\\"").nth(3).expect("an id").to_owned();
    let poll = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let large = Ask::new("post", poll).data(body(2 * LIMIT)).header("content-type", "text/plain");
    assert_eq!(scene.server.http(&large).await.status, 413);
    scene.is_unharmed().await;
}

#[tokio::test]
async fn a_body_that_says_it_is_compressed_is_taken_as_it_came() {
    let scene = Scene::new().await;
    let gzip = post("/length", "\"1234\"").header("content-encoding", "gzip");
    assert_eq!(scene.server.http(&gzip).await.body, Body::text("6"));
}

/// Sends a request as a message of many fragments.
async fn fragmented(server: &Server, ask: &Ask, size: usize) -> Answer {
    let mut client = Client::connect(server).await;
    let packet = format!("421{}", ask.event()).into_bytes();
    let chunks: Vec<&[u8]> = packet.chunks(size).collect();
    for (nth, chunk) in chunks.iter().enumerate() {
        let code = if nth == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(chunk.to_vec(), OpCode::Data(code), nth + 1 == chunks.len());
        client.try_send(Message::Frame(frame)).await;
    }
    client.ack(1).await
}

#[tokio::test]
async fn fragments_without_an_end_are_cut_off() {
    let mut scene = Scene::of(App::new(()).mount(routes![actions]).max_request_bytes(100_000)).await;
    let mut client = Client::connect(&scene.server).await;
    for nth in 0..100 {
        let code = if nth == 0 { Data::Text } else { Data::Continue };
        client.try_send(Message::Frame(Frame::message(vec![b'x'; 10_000], OpCode::Data(code), false))).await;
    }
    assert_eq!(client.receive().await, Packet::Closed);
    scene.is_unharmed().await;
}

#[tokio::test]
async fn attachments_are_refused_and_never_waited_for_by_others() {
    let mut scene = Scene::new().await;
    let announced = r#"451-1["post",{"url":"/value","data":{"_placeholder":true,"num":0}}]"#;

    // Sent as announced: the request is refused in words.
    for eio in [Eio::V3, Eio::V4] {
        let mut client = Client::with(&scene.server, eio, &[]).await;
        client.send(announced).await;
        let bytes = if eio == Eio::V3 { vec![4, 1, 2, 3] } else { vec![1, 2, 3] };
        client.try_send(Message::binary(bytes)).await;
        let answer = client.ack(1).await;
        assert_eq!(answer.status, 400);
        assert!(answer.message().contains("JSON only"));
        assert_eq!(client.ask(&get("/hello")).await.status, 200);
    }

    // A placeholder with nothing announced is plain data.
    let forged = post("/value", r#"{"_placeholder":true,"num":0}"#);
    assert_eq!(scene.witness.ask(&forged).await.json(), json!({"_placeholder": true, "num": 0}));

    // Announced and never sent: nobody else waits.
    let mut silent = Client::connect(&scene.server).await;
    silent.send(announced).await;
    scene.is_unharmed().await;

    // Announced, and then text.
    let mut confused = Client::connect(&scene.server).await;
    confused.send(announced).await;
    confused.try_send(Message::text(r#"422["get",{"url":"/hello"}]"#)).await;
    match confused.receive().await {
        Packet::Closed => {}
        Packet::Ack(_, answer) => assert!([200, 400].contains(&answer.status)),
        packet => panic!("{packet:?}"),
    }

    // Sent without being announced.
    let mut eager = Client::connect(&scene.server).await;
    eager.try_send(Message::binary(vec![1, 2, 3])).await;
    eager.try_send(Message::text(r#"421["get",{"url":"/hello"}]"#)).await;
    assert!(matches!(eager.receive().await, Packet::Closed | Packet::Ack(1, _)));

    // Larger than any packet may be.
    let mut large = Client::connect(&scene.server).await;
    large.send(announced.replace("451-", "453-")).await;
    for _ in 0..3 {
        large.try_send(Message::binary(vec![0; 1024 * 1024])).await;
    }
    assert_eq!(large.receive().await, Packet::Closed);
    scene.is_unharmed().await;
}

#[tokio::test]
async fn what_arrives_before_its_time_harms_nobody() {
    let mut scene = Scene::new().await;
    let sockets = scene.server.io.sockets().len();
    for packets in [
        &[r#"421["get",{"url":"/hello"}]"#][..],
        &["40", "40", "40"],
        &["40{", "40"],
        &[r#"40{"token":[[[[]]]]}"#, "41", r#"421["get",{"url":"/hello"}]"#],
        &["40/,", r#"421["get",{"url":"/hello"}]"#, "41", "40"],
        &["5", "6", "1"],
        &["2probe", "3probe", "0"],
    ] {
        let mut client = Client::open(scene.server.address, "/socket.io", Eio::V4, &[]).await;
        for packet in packets {
            client.try_send(Message::text(*packet)).await;
        }
        scene.is_unharmed().await;
        client.drop_connection();
    }
    until("their sockets to be gone", || scene.server.io.sockets().len() == sockets).await;
    scene.is_unharmed().await;
}

#[tokio::test]
async fn handshakes_that_are_none_are_refused() {
    let mut scene = Scene::new().await;
    for query in [
        "",
        "EIO=4",
        "EIO=4&transport=polling",
        "EIO=4&transport=webtransport",
        "EIO=2&transport=websocket",
        "EIO=x&transport=websocket",
        "EIO=4&transport=websocket",
        "EIO=4&transport=websocket&sid=unknown",
        "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA",
        "EIO=4&transport=websocket&sid=%00%ff",
        "transport=websocket&EIO=4&EIO=3",
    ] {
        for method in ["get", "post", "options", "delete"] {
            let answer = scene.server.http(&Ask::new(method, format!("/socket.io/?{query}"))).await;
            assert!((400..500).contains(&answer.status), "{method} {query}: {answer:?}");
        }
    }
    // A request whose head never ends.
    let mut slow = TcpStream::connect(scene.server.address).await.unwrap();
    slow.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\nx: ").await.unwrap();
    scene.is_unharmed().await;
    // No HTTP at all.
    let mut noise = TcpStream::connect(scene.server.address).await.unwrap();
    noise.write_all(&[0, 255, 13, 10, 13, 10]).await.unwrap();
    let mut answer = Vec::new();
    within("the end", noise.read_to_end(&mut answer)).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 400"));
    scene.is_unharmed().await;
}

/// The Sails server refuses all requests of an old client, and dies of a version that is none.
#[tokio::test]
async fn a_client_may_be_of_any_version() {
    let mut scene = Scene::new().await;
    for version in ["1.2.1", "0.9.0", "bogus", ""] {
        for eio in [Eio::V3, Eio::V4] {
            let mut client = Client::with(&scene.server, eio, &[("__sails_io_sdk_version", version)]).await;
            assert_eq!(client.ask(&get("/hello")).await.status, 200, "{version}");
            scene.is_unharmed().await;
        }
    }
}

#[tokio::test]
async fn malformed_polls_harm_nobody_else() {
    let app = App::new(()).mount(routes![actions]);
    let mut scene = Scene::of(app.transports([TransportType::Websocket, TransportType::Polling])).await;
    for eio in [3, 4] {
        for payload in [
            "",
            ":",
            "0:",
            "1:",
            "99999999999999999999:4",
            "-1:4",
            "5:42[1]",
            "3:42[1]9",
            "6:😀",
            "40\u{1e}\u{1e}40",
            "b!!!",
            "bAAAA",
            "451-[{\"_placeholder\":true,\"num\":0}]\u{1e}bAAAA",
            "\u{1e}",
            "2probe",
            "{}",
        ] {
            let base = format!("/socket.io/?EIO={eio}&transport=polling&b64=1");
            let Body::Json(open) = scene.server.http(&get(&base)).await.body else { panic!("no open packet") };
            let sid = open.split("\\\"").nth(3).expect("an id").to_owned();
            let send = Ask::new("post", format!("{base}&sid={sid}")).header("content-type", "text/plain");
            let answer = scene.server.http(&send.data(payload)).await;
            assert!(answer.status < 500, "{payload}: {answer:?}");
            scene.is_unharmed().await;
        }
    }
}

#[tokio::test]
async fn a_socket_that_sends_without_end_and_reads_nothing_is_cut_off() {
    let beat = Duration::from_millis(500);
    let mut scene = Scene::of(App::new(()).mount(routes![actions]).heartbeat(beat, beat)).await;
    let mut flooder = Client::connect(&scene.server).await;
    let body = format!("\"{}\"", "x".repeat(500_000));
    let packet = format!("421{}", post("/value", body).event());
    within("the flooder to be cut off", async {
        while flooder.try_send(Message::text(packet.clone())).await {
            scene.is_unharmed().await;
        }
    })
    .await;
}
