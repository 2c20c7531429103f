//! What our own client is promised: positions, replay after a reconnect, and a gap where that is impossible.

use std::sync::Arc;

use axum::extract::State;
use catamaran::prelude::*;
use serde::Serialize;
use tokio::sync::Notify;

use crate::support::{Answer, Client, Packet, Server, get, post};

/// Keeps a few events for whoever comes back.
#[channel("log:{id}", event = LogEvent, history = 5)]
struct Log {
    id: u64,
}

/// Keeps nothing.
#[channel("tick:{id}", event = LogEvent)]
struct Tick {
    id: u64,
}

/// Is for each client only what it was there for.
#[channel("own:{id}", event = LogEvent, history = 100, history_since = subscribe)]
struct Own {
    id: u64,
}

#[derive(Event, Serialize)]
enum LogEvent {
    Line(u64),
}

#[derive(Clone, Default)]
struct Lab {
    /// Lets the slow action go on.
    go: Arc<Notify>,
    entered: Arc<Notify>,
}

#[controller("/log/{id}")]
mod log {
    use axum::http::StatusCode;

    use super::*;

    #[action(get "/")]
    pub(crate) async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result<String> {
        Ok(format!("{:?}", ctx.subscribe(&Log { id }).await?))
    }

    /// Publishes to its own channel before it answers.
    #[action(get "/greeted")]
    pub(crate) async fn greeted(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Log { id }).await?;
        ctx.publish(&Log { id }, LogEvent::Line(0)).await?;
        Ok(())
    }

    /// Subscribes, and fails.
    #[action(get "/refused")]
    pub(crate) async fn refused(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Log { id }).await?;
        Err(catamaran::Error::new(StatusCode::FORBIDDEN, "no"))
    }

    /// Subscribes, and answers when it is told to.
    #[action(get "/slow")]
    pub(crate) async fn slow(ctx: Ctx<Socket>, id: u64, State(lab): State<Lab>) -> catamaran::Result {
        ctx.subscribe(&Tick { id }).await?;
        lab.entered.notify_one();
        lab.go.notified().await;
        Ok(())
    }

    #[action(get "/own")]
    pub(crate) async fn own(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Own { id }).await?;
        Ok(())
    }

    #[action(delete "/own")]
    pub(crate) async fn disown(ctx: Ctx<Socket>, id: u64) {
        ctx.socket().unsubscribe(&Own { id }).await;
    }

    /// One event for all channels.
    #[action(post "/{line}/everywhere")]
    pub(crate) async fn everywhere(ctx: Ctx, id: u64, line: u64) -> catamaran::Result {
        ctx.publish(&Log { id }, LogEvent::Line(line)).and(&Tick { id }).and(&Own { id }).await?;
        Ok(())
    }

    /// More than is kept for a subscription that is not live yet.
    #[action(post "/flood")]
    pub(crate) async fn flood(ctx: Ctx, id: u64) -> catamaran::Result {
        for line in 0..5000 {
            ctx.publish(&Tick { id }, LogEvent::Line(line)).await?;
        }
        Ok(())
    }

    #[action(get "/ticks")]
    pub(crate) async fn ticks(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Tick { id }).await?;
        Ok(())
    }

    #[action(post "/{line}")]
    pub(crate) async fn write(ctx: Ctx, id: u64, line: u64) -> catamaran::Result {
        ctx.publish(&Log { id }, LogEvent::Line(line)).await?;
        ctx.publish(&Tick { id }, LogEvent::Line(line)).await?;
        Ok(())
    }

    /// Everybody hears it but the one who says it.
    #[action(post "/{line}/others")]
    pub(crate) async fn others(ctx: Ctx<Socket>, hub: Hub, id: u64, line: u64) -> catamaran::Result {
        hub.publish(&Log { id }, LogEvent::Line(line)).except(ctx.socket()).await?;
        Ok(())
    }
}

const ADA: &str = "ada-0123456789abcdef";

async fn start() -> (Lab, Server) {
    let lab = Lab::default();
    let server = Server::start(App::new(lab.clone()).mount(routes![log])).await;
    (lab, server)
}

async fn write(server: &Server, lines: std::ops::RangeInclusive<u64>) {
    for line in lines {
        assert_eq!(server.http(&post(format!("/log/7/{line}"), "null")).await.status, 200);
    }
}

fn event(text: &str) -> Packet {
    Packet::Event(text.to_owned())
}

/// Epoch, offset and outcome of a channel in an ack.
#[track_caller]
fn position(answer: &Answer, channel: &str) -> (String, u64, String) {
    serde_json::from_value(answer.channels[channel].clone()).unwrap_or_else(|_| panic!("{channel} in {answer:?}"))
}

#[tokio::test]
async fn a_client_that_comes_back_is_sent_what_it_missed() {
    let (_, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let (epoch, offset, outcome) = position(&ada.ask(&get("/log/7")).await, "log:7");
    assert_eq!((offset, &*outcome), (0, "fresh"));
    write(&server, 1..=1).await;
    assert_eq!(ada.next().await, event(r#"["$","log:7",1,"line",1]"#));
    write(&server, 2..=2).await;
    assert_eq!(ada.next().await, event(r#"["$","log:7",2,"line",2]"#));
    ada.drop_connection();
    write(&server, 3..=5).await;

    let mut ada = Client::resuming(&server, ADA).await;
    let answer = ada.resume("/log/7", &format!(r#"{{"log:7":["{epoch}",2]}}"#)).await;
    assert_eq!(position(&answer, "log:7"), (epoch, 2, "recovered".into()));
    assert_eq!(ada.next().await, event(r#"["$replay","log:7",[[3,"line",3],[4,"line",4],[5,"line",5]],false]"#));
    write(&server, 6..=6).await;
    assert_eq!(ada.next().await, event(r#"["$","log:7",6,"line",6]"#));
}

#[tokio::test]
async fn what_is_no_longer_kept_is_a_gap() {
    let (_, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let (epoch, _, _) = position(&ada.ask(&get("/log/7")).await, "log:7");
    drop(ada);
    write(&server, 1..=6).await;
    for (positions, offset, outcome) in [
        (format!(r#"{{"log:7":["{epoch}",0]}}"#), 6, "gap"),
        (format!(r#"{{"log:7":["{epoch}",7]}}"#), 6, "gap"),
        (r#"{"log:7":["elsewhen",6]}"#.to_owned(), 6, "gap"),
        (format!(r#"{{"log:7":["{epoch}",6]}}"#), 6, "recovered"),
        (format!(r#"{{"log:7":["{epoch}",1]}}"#), 1, "recovered"),
    ] {
        let mut ada = Client::resuming(&server, ADA).await;
        let answer = ada.resume("/log/7", &positions).await;
        assert_eq!(position(&answer, "log:7"), (epoch.clone(), offset, outcome.into()), "{positions}");
    }
}

#[tokio::test]
async fn without_history_a_client_recovers_only_silence() {
    let (_, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let (epoch, offset, _) = position(&ada.ask(&get("/log/7/ticks")).await, "tick:7");
    drop(ada);
    let positions = format!(r#"{{"tick:7":["{epoch}",{offset}]}}"#);
    let mut ada = Client::resuming(&server, ADA).await;
    assert_eq!(position(&ada.resume("/log/7/ticks", &positions).await, "tick:7").2, "recovered");
    drop(ada);
    write(&server, 1..=1).await;
    let mut ada = Client::resuming(&server, ADA).await;
    assert_eq!(position(&ada.resume("/log/7/ticks", &positions).await, "tick:7").2, "gap");
}

#[tokio::test]
async fn nothing_falls_between_subscribe_and_answer_and_all_of_it_follows_the_ack() {
    for client in [Some(ADA), None] {
        let (lab, server) = start().await;
        let mut ada = match client {
            Some(client) => Client::resuming(&server, client).await,
            None => Client::connect(&server).await,
        };
        let id = ada.start(&get("/log/7/slow")).await;
        lab.entered.notified().await;
        write(&server, 1..=2).await;
        lab.go.notify_one();
        // The ack comes first, whatever was published meanwhile.
        let Packet::Ack(acked, answer) = ada.receive().await else { panic!("an ack") };
        assert_eq!((acked, answer.status), (id, 200));
        if client.is_some() {
            assert_eq!(position(&answer, "tick:7").1, 0);
            assert_eq!(ada.next().await, event(r#"["$replay","tick:7",[[1,"line",1],[2,"line",2]],false]"#));
        } else {
            assert_eq!(answer.channels, serde_json::Value::Null);
            assert_eq!(ada.next().await, event(r#"["line",1]"#));
            assert_eq!(ada.next().await, event(r#"["line",2]"#));
        }
        write(&server, 3..=3).await;
        let live = if client.is_some() { r#"["$","tick:7",3,"line",3]"# } else { r#"["line",3]"# };
        assert_eq!(ada.next().await, event(live));
    }
}

#[tokio::test]
async fn what_an_action_publishes_to_the_channel_it_subscribed_to_follows_its_ack() {
    let (_, server) = start().await;
    let mut ada = Client::connect(&server).await;
    let id = ada.start(&get("/log/7/greeted")).await;
    assert!(matches!(ada.receive().await, Packet::Ack(acked, _) if acked == id));
    assert_eq!(ada.next().await, event(r#"["line",0]"#));
}

#[tokio::test]
async fn an_action_that_fails_has_not_subscribed() {
    let (_, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let answer = ada.ask(&get("/log/7/refused")).await;
    assert_eq!((answer.status, &answer.channels), (403, &serde_json::Value::Null));
    write(&server, 1..=1).await;
    ada.ask(&get("/log/8")).await;
    assert_eq!(server.http(&post("/log/8/1", "null")).await.status, 200);
    assert_eq!(ada.next().await, event(r#"["$","log:8",1,"line",1]"#));
}

#[tokio::test]
async fn a_channel_that_the_socket_has_is_not_replayed_again() {
    let (_, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    assert_eq!(ada.ask(&get("/log/7")).await.json(), "Fresh");
    write(&server, 1..=1).await;
    assert_eq!(ada.next().await, event(r#"["$","log:7",1,"line",1]"#));
    let again = ada.ask(&get("/log/7")).await;
    assert_eq!((again.json(), position(&again, "log:7").2), ("Fresh".into(), "fresh".into()));
    write(&server, 2..=2).await;
    assert_eq!(ada.next().await, event(r#"["$","log:7",2,"line",2]"#));
}

#[tokio::test]
async fn a_client_that_comes_back_takes_the_place_of_its_old_socket() {
    let (_, server) = start().await;
    let mut old = Client::resuming(&server, ADA).await;
    old.ask(&get("/log/7")).await;
    let mut new = Client::resuming(&server, ADA).await;
    new.ask(&get("/log/7")).await;
    write(&server, 1..=1).await;
    assert_eq!(new.next().await, event(r#"["$","log:7",1,"line",1]"#));
    loop {
        match old.receive().await {
            Packet::Closed => break,
            Packet::Event(event) => panic!("the old socket got {event}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_one_left_out_is_left_out_of_the_replay_too() {
    let (_, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let mut bob = Client::connect(&server).await;
    bob.ask(&get("/log/7")).await;
    let (epoch, _, _) = position(&ada.ask(&get("/log/7")).await, "log:7");
    ada.ask(&post("/log/7/1/others", "null")).await;
    write(&server, 2..=2).await;
    assert_eq!(bob.next().await, event(r#"["line",1]"#));
    assert_eq!(ada.next().await, event(r#"["$","log:7",2,"line",2]"#));
    drop(ada);
    let mut ada = Client::resuming(&server, ADA).await;
    ada.resume("/log/7", &format!(r#"{{"log:7":["{epoch}",0]}}"#)).await;
    assert_eq!(ada.next().await, event(r#"["$replay","log:7",[[2,"line",2]],false]"#));
}

#[tokio::test]
async fn a_long_replay_comes_in_packets_of_a_bounded_size() {
    #[channel("bulk", event = Bulk, history = 50)]
    struct Bulky;

    #[derive(Event, Serialize)]
    struct Bulk(String);

    #[action(get "/bulk")]
    async fn watch(ctx: Ctx<Socket>) -> catamaran::Result {
        ctx.subscribe(&Bulky).await?;
        Ok(())
    }

    #[action(post "/bulk")]
    async fn publish(ctx: Ctx) -> catamaran::Result {
        ctx.publish(&Bulky, Bulk("x".repeat(10_000))).await?;
        Ok(())
    }

    let server = Server::start(App::new(()).mount(routes![watch, publish])).await;
    let mut ada = Client::resuming(&server, ADA).await;
    let (epoch, _, _) = position(&ada.ask(&get("/bulk")).await, "bulk");
    drop(ada);
    for _ in 0..20 {
        server.http(&post("/bulk", "null")).await;
    }
    let mut ada = Client::resuming(&server, ADA).await;
    ada.resume("/bulk", &format!(r#"{{"bulk":["{epoch}",0]}}"#)).await;
    let (mut entries, mut packets) = (0, 0);
    loop {
        let Packet::Event(text) = ada.next().await else { panic!("a replay") };
        assert!(text.len() < 70_000);
        let (name, channel, part, more): (String, String, Vec<serde_json::Value>, bool) =
            serde_json::from_str(&text).expect("a replay");
        assert_eq!((&*name, &*channel), ("$replay", "bulk"));
        entries += part.len();
        packets += 1;
        if !more {
            break;
        }
    }
    assert_eq!((entries, packets), (20, 4));
}

#[tokio::test]
async fn what_an_action_publishes_to_a_channel_its_socket_has_comes_before_its_ack() {
    let (_, server) = start().await;
    let mut ada = Client::connect(&server).await;
    ada.ask(&get("/log/7")).await;
    let id = ada.start(&post("/log/7/1", "null")).await;
    assert_eq!(ada.receive().await, event(r#"["line",1]"#));
    assert!(matches!(ada.receive().await, Packet::Ack(acked, _) if acked == id));
}

#[tokio::test]
async fn what_overflows_the_hold_of_a_subscription_is_a_gap_for_every_request_that_waits() {
    let (lab, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let (epoch, offset, _) = position(&ada.ask(&get("/log/7/ticks")).await, "tick:7");
    let mut ada = Client::resuming(&server, ADA).await;
    let resume = format!(r#"42{{}}["get",{{"url":"/log/7/slow","resume":{{"tick:7":["{epoch}",{offset}]}}}}]"#);
    for id in [1, 2] {
        ada.send(resume.replacen("{}", &id.to_string(), 1)).await;
        lab.entered.notified().await;
    }
    assert_eq!(server.http(&post("/log/7/flood", "null")).await.status, 200);
    for _ in 0..2 {
        lab.go.notify_one();
        let (Packet::Ack(1, answer) | Packet::Ack(2, answer)) = ada.receive().await else { panic!("an ack") };
        assert_eq!(position(&answer, "tick:7"), (epoch.clone(), 5000, "gap".into()));
    }
    // Neither does a third request hear that it missed nothing.
    assert_eq!(position(&ada.ask(&get("/log/7/ticks")).await, "tick:7").2, "gap");
    write(&server, 1..=1).await;
    assert_eq!(ada.next().await, event(r#"["$","tick:7",5001,"line",1]"#));
}

#[tokio::test]
async fn two_requests_at_once_for_one_channel_are_told_the_same() {
    let (lab, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let (epoch, ..) = position(&ada.ask(&get("/log/7/ticks")).await, "tick:7");
    drop(ada);
    let mut ada = Client::resuming(&server, ADA).await;
    // The first says nothing that is known, the second what would do.
    ada.send(r#"421["get",{"url":"/log/7/slow","resume":{"tick:7":["elsewhen",0]}}]"#).await;
    lab.entered.notified().await;
    let answer = ada.resume("/log/7/ticks", &format!(r#"{{"tick:7":["{epoch}",0]}}"#)).await;
    assert_eq!(position(&answer, "tick:7").2, "gap");
    lab.go.notify_one();
    assert_eq!(position(&ada.ack(1).await, "tick:7").2, "gap");
}

#[tokio::test]
async fn a_history_since_subscribe_is_replayed_only_to_who_was_there() {
    let (_, server) = start().await;
    let mut first = Client::resuming(&server, "somebody-who-was-first").await;
    let (epoch, ..) = position(&first.ask(&get("/log/7/own")).await, "own:7");
    let publish = async |line: u64| {
        assert_eq!(server.http(&post(format!("/log/7/{line}/everywhere"), "null")).await.status, 200);
    };
    let outcome = async |client: &str, offset: u64| {
        let mut socket = Client::resuming(&server, client).await;
        let answer = socket.resume("/log/7/own", &format!(r#"{{"own:7":["{epoch}",{offset}]}}"#)).await;
        (position(&answer, "own:7").2, socket)
    };
    publish(1).await;
    let mut ada = Client::resuming(&server, ADA).await;
    assert_eq!(position(&ada.ask(&get("/log/7/own")).await, "own:7").1, 1);
    publish(2).await;
    ada.drop_connection();
    publish(3).await;

    let (told, mut back) = outcome(ADA, 1).await;
    assert_eq!(told, "recovered");
    assert_eq!(back.next().await, event(r#"["$replay","own:7",[[2,"line",2],[3,"line",3]],false]"#));
    drop(back);
    assert_eq!(outcome("somebody-unheard-of-yet", 2).await.0, "gap");
    assert_eq!(outcome("somebody-who-was-first", 0).await.0, "recovered");
    // A position older than her subscription is none of hers. With the gap she begins anew.
    assert_eq!(outcome(ADA, 0).await.0, "gap");
    publish(4).await;
    assert_eq!(outcome(ADA, 2).await.0, "gap");
    // Who unsubscribes, was not there.
    let (told, mut ada) = outcome(ADA, 4).await;
    assert_eq!(told, "recovered");
    ada.ask(&crate::support::Ask::new("delete", "/log/7/own")).await;
    drop(ada);
    assert_eq!(outcome(ADA, 4).await.0, "gap");
}

#[tokio::test]
async fn an_event_of_several_channels_is_not_sent_again_to_who_has_it_from_one() {
    let (_, server) = start().await;
    let mut ada = Client::resuming(&server, ADA).await;
    let (log, ..) = position(&ada.ask(&get("/log/7")).await, "log:7");
    let (own, ..) = position(&ada.ask(&get("/log/7/own")).await, "own:7");
    assert_eq!(server.http(&post("/log/7/1/everywhere", "null")).await.status, 200);
    assert_eq!(ada.next().await, event(r#"["$","log:7",1,"line",1]"#));
    assert_eq!(ada.next().await, event(r#"["$","own:7",1]"#));
    drop(ada);
    // It was cut between these two.
    let stated = format!(r#"{{"log:7":["{log}",1,0],"own:7":["{own}",0,0]}}"#);
    let mut ada = Client::returning(&server, ADA, &stated).await;
    ada.resume("/log/7/own", &stated).await;
    assert_eq!(ada.next().await, event(r#"["$replay","own:7",[[1]],false]"#));
    drop(ada);
    // One that subscribed to the log after the event has it from nowhere.
    let stated = format!(r#"{{"log:7":["{log}",1,1],"own:7":["{own}",0,0]}}"#);
    let mut ada = Client::returning(&server, ADA, &stated).await;
    ada.resume("/log/7/own", &stated).await;
    assert_eq!(ada.next().await, event(r#"["$replay","own:7",[[1,"line",1]],false]"#));
}
