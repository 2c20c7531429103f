//! Names of events that JSON writes with escapes: the application's reach every client, and a client's close no connection.

use catamaran::{App, Ctx, Hub, RawChannel, RawEvent, Socket, TransportType, action, routes};
use serde_json::Value;

use crate::support::{Answer, Ask, Client, Eio, Packet, Server, get, within};

/// Names that need an escape in JSON, and their neighbours that need none.
const NAMES: [&str; 14] = [
    "say \"hi\"",
    "größe",
    "back\\slash",
    "line\nbreak",
    "tab\t",
    "nul\0",
    "\u{1f}",
    "\u{7f}",
    "\u{2028}",
    "😀",
    "a/b",
    "</script>",
    "\\u0061",
    " ",
];

fn room() -> RawChannel {
    RawChannel::new("room")
}

#[action(get "/join")]
async fn join(ctx: Ctx<Socket>) -> catamaran::Result {
    ctx.subscribe(&room()).await?;
    Ok(())
}

/// Sends each name in all the ways there are.
#[action(post "/publish")]
async fn publish(hub: Hub) -> catamaran::Result {
    for (n, name) in NAMES.into_iter().enumerate() {
        let event = RawEvent::new(name, &n).expect("a name that may be used");
        hub.blast(&event).await?;
        hub.publish(&room(), event).await?;
    }
    Ok(())
}

async fn server() -> Server {
    let app = App::new(()).mount(routes![join, publish]);
    Server::start(app.transports([TransportType::Websocket, TransportType::Polling])).await
}

/// The name and the argument of an event, as a client reads them.
fn read(event: &str) -> (String, Value) {
    let mut event: Vec<Value> = serde_json::from_str(event).expect("an event is a JSON array");
    if event[0] == "$" {
        event.drain(..3);
    }
    (event[0].as_str().expect("a name").to_owned(), event[1].clone())
}

fn expected() -> Vec<(String, Value)> {
    let named = NAMES.into_iter().enumerate();
    named.flat_map(|(n, name)| [(name.to_owned(), n.into()), (name.to_owned(), n.into())]).collect()
}

/// A session of long-polling.
struct Poller<'a> {
    server: &'a Server,
    url: String,
}

impl<'a> Poller<'a> {
    async fn new(server: &'a Server) -> Self {
        let url = "/socket.io/?EIO=4&transport=polling";
        let open = server.http(&get(url)).await.json();
        let open: Value = serde_json::from_str(&open.as_str().expect("text")[1..]).expect("JSON");
        let poller = Self { server, url: format!("{url}&sid={}", open["sid"].as_str().expect("an id")) };
        assert_eq!(poller.send("40").await.status, 200);
        poller
    }

    async fn send(&self, packet: &str) -> Answer {
        let ask = Ask::new("post", &self.url).header("content-type", "text/plain").data(packet);
        self.server.http(&ask).await
    }

    /// The packets of the next poll.
    async fn poll(&self) -> Vec<String> {
        let answer = self.server.http(&get(&self.url)).await;
        if answer.status != 200 {
            return vec![format!("status {}", answer.status)];
        }
        let body = answer.json();
        body.as_str().expect("text").split('\u{1e}').map(str::to_owned).collect()
    }

    /// Polls until a packet begins so.
    async fn until(&self, start: &str) -> Vec<String> {
        let mut packets = Vec::new();
        within(start, async {
            while !packets.iter().any(|packet: &String| packet.starts_with(start)) {
                packets.append(&mut self.poll().await);
            }
        })
        .await;
        packets
    }
}

#[tokio::test]
async fn published_names_with_escapes_reach_every_client() {
    let server = server().await;
    let mut clients = Vec::new();
    for eio in [Eio::V3, Eio::V4] {
        clients.push(Client::with(&server, eio, &[]).await);
    }
    clients.push(Client::resuming(&server, "one").await);
    for client in &mut clients {
        assert_eq!(client.ask(&get("/join")).await.status, 200);
    }
    let poller = Poller::new(&server).await;
    poller.send(r#"421["get",{"url":"/join"}]"#).await;
    poller.until("431").await;
    assert_eq!(server.http(&Ask::new("post", "/publish")).await.status, 200);
    for client in &mut clients {
        let mut heard = Vec::new();
        while heard.len() < expected().len() {
            match client.next().await {
                Packet::Event(event) => heard.push(read(&event)),
                other => panic!("{heard:?}: {other:?}"),
            }
        }
        assert_eq!(heard, expected());
        assert_eq!(client.ask(&get("/join")).await.status, 200);
    }
    let mut heard = Vec::new();
    within("all events", async {
        while heard.len() < expected().len() {
            let packets = poller.poll().await;
            heard.extend(packets.iter().filter_map(|packet| packet.strip_prefix("42")).map(read));
        }
    })
    .await;
    assert_eq!(heard, expected());
}

#[tokio::test]
async fn escaped_names_cost_no_connection() {
    let server = server().await;
    let mut clients = [Client::with(&server, Eio::V3, &[]).await, Client::with(&server, Eio::V4, &[]).await];
    let poller = Poller::new(&server).await;
    for name in NAMES {
        let packet = format!("427[{},1]", Value::from(name));
        for client in &mut clients {
            client.send(&packet).await;
            assert_eq!(client.ask(&get("/join")).await.status, 200, "{packet}");
        }
        poller.send(&packet).await;
        poller.send(r#"428["get",{"url":"/join"}]"#).await;
        let packets = poller.until("438").await;
        assert!(!packets.iter().any(|packet| packet.starts_with("437")), "{packets:?}");
    }
}
