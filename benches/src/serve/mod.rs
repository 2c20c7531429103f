//! The servers under test. Each answers alike, byte for byte.

pub(crate) mod by_hand;
pub(crate) mod catamaran;
pub(crate) mod records;

use std::net::Ipv4Addr;

use ::catamaran::{Postgres, Redis};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, runtime::Builder};

/// What `GET /hello` answers.
#[derive(Serialize)]
pub(crate) struct Greeting {
    pub(crate) message: &'static str,
}

/// What is echoed and published.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Note {
    pub(crate) id: u64,
    pub(crate) text: String,
    pub(crate) tags: Vec<String>,
}

impl Note {
    /// A note that is this many bytes of JSON.
    pub(crate) fn of(bytes: usize) -> Self {
        let mut note = Self { id: 0, text: String::new(), tags: vec!["river".into(), "sea".into()] };
        note.text = "n".repeat(bytes - note.json().len());
        note
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("a note is JSON")
    }
}

/// Serves until killed. One thread, so that figures are CPU time of the work and not of workers looking for some.
///
/// The URL is that of what it shares with other servers, or of its database.
pub(crate) fn run(role: &str, url: &str) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime for the server");
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        println!("{}", listener.local_addr().expect("the address"));
        match role {
            "catamaran" => catamaran::app().serve_on(listener).await.expect("an application without mistakes"),
            "catamaran-redis" => catamaran::serve_joined(listener, Redis::connect(url)).await,
            "catamaran-postgres" => catamaran::serve_joined(listener, Postgres::connect(url)).await,
            "crowd" => catamaran::crowd().serve_on(listener).await.expect("an application without mistakes"),
            "socketioxide" => by_hand::serve(listener, by_hand::sockets().0).await,
            "socketioxide-redis" => by_hand::serve(listener, by_hand::sockets_over_redis(url).await).await,
            "silent" => by_hand::serve(listener, by_hand::silent_sockets()).await,
            "resources" => records::app(url).await.serve_on(listener).await.expect("an application without mistakes"),
            "records" => by_hand::serve(listener, records::by_hand(url).await).await,
            "axum" => by_hand::serve(listener, by_hand::routes()).await,
            _ => panic!("there is no server `{role}`"),
        }
    });
}
