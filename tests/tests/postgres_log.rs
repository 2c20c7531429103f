//! What the bus over Postgres, and the library below it, write into the log at any level.

use std::sync::{Arc, Mutex};

use catamaran::{Postgres, PublishOutcome, RawChannel, RawEvent, prelude::*, test::TestSocket};
use catamaran_tests::backends::postgres::Server as Backend;
use support::{log, until, within};

// This test needs some of it.
#[allow(dead_code)]
#[path = "it/support.rs"]
mod support;

const SECRET: &str = "canary-event";
const PASSWORD: &str = "canary-password";

#[tokio::test]
async fn no_log_says_what_is_published_or_the_password() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    log::listen({
        let heard = heard.clone();
        move |target, text| heard.lock().unwrap().push(format!("{target}: {text}"))
    });
    let backend = Backend::start();
    let url = backend.url().replace("postgres@", &format!("postgres:{PASSWORD}@"));
    let app = App::new(()).broker(Postgres::connect(url));
    let (hub, channel) = (app.hub(), RawChannel::new("room:7"));
    let mut socket = TestSocket::new(&hub);
    within("the bus", async {
        let publish = async || hub.publish(&channel, RawEvent::new("said", SECRET).unwrap()).await.unwrap();
        while publish().await != PublishOutcome::Delivered {
            tokio::task::yield_now().await;
        }
        socket.socket().subscribe(&channel).await.unwrap();
        publish().await;
    })
    .await;
    until("the event", || !socket.received().is_empty()).await;
    let heard = heard.lock().unwrap();
    assert!(heard.iter().any(|line| line.contains("executing statement")), "the library is heard");
    let bytes = |text: &str| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    for line in &*heard {
        for secret in [SECRET, PASSWORD] {
            assert!(!line.contains(secret) && !line.contains(&bytes(secret)), "{line}");
        }
    }
}
