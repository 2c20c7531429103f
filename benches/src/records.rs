//! Server CPU of a request for records of a database, over HTTP and over a websocket, with and without somebody who listens.

use crate::{
    client::Socket,
    http,
    rounds::{Plan, Rounds, Side},
    server::Server,
    socket,
};

pub(crate) async fn run(plan: Plan) {
    let (ours, twin) = (Server::start("resources"), Server::start("records"));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n");
    let send = |method: &str, path: &str, body: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let one = |id: i64| format!(r#"{{"age":3,"id":{id},"name":"Rex"}}"#);
    let list = (1..=30).map(one).collect::<Vec<_>>().join(",");
    let cases = [
        ("find, 30 records", get("/pet"), format!("[{list}]"), Some("/pet")),
        ("findOne", get("/pet/7"), one(7), Some("/pet/7")),
        ("update", send("PATCH", "/pet/7", r#"{"age":3}"#), one(7), None),
        ("create", send("POST", "/pet", r#"{"age":3,"name":"Rex"}"#), r#""name":"Rex"}"#.to_owned(), None),
    ];
    for (name, request, body, url) in cases {
        let measure = async |what: &str| {
            let rounds = Rounds::measure(plan, async |side| {
                let server = match side {
                    Side::Catamaran => &ours,
                    Side::Twin => &twin,
                };
                http::load(plan, server, &request, &body).await
            });
            rounds.await.print_ratio(&format!("{name}, {what}"), "µs");
        };
        measure("HTTP").await;
        if let Some(url) = url {
            let event = format!(r#"["get",{{"method":"get","headers":{{}},"data":{{}},"url":"{url}"}}]"#);
            let ack = format!(r#"[{{"body":{body},"headers":{{}},"statusCode":200}}]"#);
            let rounds = Rounds::measure(plan, async |side| match side {
                Side::Catamaran => socket::load(plan, &ours, 1, &event, &ack).await,
                Side::Twin => http::load(plan, &twin, &request, &body).await,
            });
            rounds.await.print_ratio_to("HTTP by hand", &format!("{name}, socket"), "µs");
        } else {
            let mut listener = Socket::connect(ours.address).await;
            listener.request(r#"["get",{"method":"get","headers":{},"data":{},"url":"/pet"}]"#).await;
            let stream = tokio::spawn(async move {
                loop {
                    listener.next().await;
                }
            });
            measure("HTTP, with a listener").await;
            stream.abort();
        }
    }
}
