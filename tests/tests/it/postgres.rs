//! Several servers of an application, joined by a Postgres server.

mod cleaner;
mod processes;
mod schema;

use std::time::Duration;

use crate::support::{Client, Packet, Server, get, until, within};
use catamaran::{Channel, Postgres, PublishOutcome, RawEvent, prelude::*, test::TestSocket};
use catamaran_tests::backends::postgres::Server as Backend;
use futures_util::{StreamExt, stream};

const BOB: &str = "bob-0123456789abcdef";

#[channel("log:{id}", event = RawEvent, history = 1000)]
struct Log {
    id: u64,
}

#[channel("tick:{id}", event = RawEvent)]
struct Tick {
    id: u64,
}

#[controller("/log/{id}")]
mod log {
    use super::*;

    #[action(get "/")]
    pub(crate) async fn watch(ctx: Ctx<Socket>, id: u64) -> catamaran::Result {
        ctx.subscribe(&Log { id }).await?;
        Ok(())
    }
}

/// One server of the application.
struct Node {
    hub: Hub,
    server: Server,
}

impl Node {
    async fn start(backend: &Backend) -> Self {
        let app = App::new(()).mount(routes![log]).broker(Postgres::connect(backend.url()));
        Self { hub: app.hub(), server: Server::start(app).await }
    }

    /// One that has reached the backend.
    async fn of(backend: &Backend) -> Self {
        let node = Self::start(backend).await;
        node.comes_up().await;
        node
    }

    async fn comes_up(&self) {
        within("the bus", async {
            while self.hub.publish(&Tick { id: 0 }, said("up?")).await.unwrap() != PublishOutcome::Delivered {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    async fn publish(&self, channel: &impl Channel<Event = RawEvent>, text: &str) {
        assert_eq!(self.hub.publish(channel, said(text)).await.unwrap(), PublishOutcome::Delivered);
    }

    async fn subscribe(&self, id: u64) -> TestSocket {
        let socket = TestSocket::new(&self.hub);
        socket.socket().subscribe(&Log { id }).await.unwrap();
        socket
    }
}

/// The event of this offset, as our own client receives it in `log:7`.
fn event(offset: u64, text: &str) -> Packet {
    Packet::Event(format!(r#"["$","log:7",{offset},"said","{text}"]"#))
}

fn said(text: &str) -> RawEvent {
    RawEvent::new("said", text).unwrap()
}

/// Waits until a socket has received so many events, and gives their texts.
async fn texts(socket: &mut TestSocket, count: usize) -> Vec<String> {
    let mut received = Vec::new();
    until(&format!("{count} events"), || {
        received.extend(socket.received());
        received.len() >= count
    })
    .await;
    received.iter().map(|event| event.trim_start_matches(r#"["said",""#).trim_end_matches(r#""]"#).to_owned()).collect()
}

/// Who may make functions in a schema on the search path of the bus would have them run by its role.
#[tokio::test]
async fn functions_on_the_search_path_are_not_called() {
    let backend = Backend::start();
    let client = backend.client().await;
    let evil = "
        create schema evil;
        create table evil.ran (what text);
        create function evil.cardinality(bytea[]) returns int language plpgsql as $$
            begin insert into evil.ran values ('cardinality'); return 1; end $$;
        create function evil.octet_length(bytea) returns int language plpgsql as $$
            begin insert into evil.ran values ('octet_length'); return 1; end $$;
        create function evil.now() returns timestamptz language plpgsql as $$
            begin insert into evil.ran values ('now'); return clock_timestamp(); end $$;
        create function evil.more(bigint, bigint) returns boolean language plpgsql as $$
            begin insert into evil.ran values ('>'); return $1 operator(pg_catalog.>) $2; end $$;
        create operator evil.> (leftarg = bigint, rightarg = bigint, function = evil.more);
        alter role all set search_path = evil, pg_catalog";
    client.batch_execute(evil).await.unwrap();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let mut bob = there.subscribe(7).await;
    for n in 0..3 {
        here.publish(&Log { id: 7 }, &n.to_string()).await;
    }
    assert_eq!(texts(&mut bob, 3).await, ["0", "1", "2"]);
    let ran: i64 = client.query_one("select pg_catalog.count(*) from evil.ran", &[]).await.unwrap().get(0);
    assert_eq!(ran, 0);
}

#[tokio::test]
async fn two_servers_exchange_events_in_order() {
    let backend = Backend::start();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let (mut ada, mut bob) = (here.subscribe(7).await, there.subscribe(7).await);
    for n in 0..50 {
        here.publish(&Log { id: 7 }, &format!("{n} from here")).await;
        there.publish(&Log { id: 7 }, &format!("{n} from there")).await;
    }
    let heard = texts(&mut ada, 100).await;
    assert_eq!(heard, texts(&mut bob, 100).await);
    for n in 0..50 {
        assert_eq!(heard[2 * n..2 * n + 2], [format!("{n} from here"), format!("{n} from there")]);
    }
}

#[tokio::test]
async fn an_event_of_two_channels_comes_once_to_who_is_in_both() {
    let backend = Backend::start();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let mut client = Client::resuming(&there.server, BOB).await;
    client.ask(&get("/log/1")).await;
    client.ask(&get("/log/2")).await;
    let (one, two) = (Log { id: 1 }, Log { id: 2 });
    here.hub.publish(&two, said("both")).and(&one).await.unwrap();
    here.publish(&one, "last").await;
    assert_eq!(client.next().await, Packet::Event(r#"["$","log:1",1,"said","both"]"#.into()));
    // The position in the other channel is told without the event.
    let mut rest = vec![client.next().await];
    while rest.last() != Some(&Packet::Event(r#"["$","log:1",2,"said","last"]"#.into())) {
        rest.push(client.next().await);
    }
    assert!(rest.iter().all(|packet| !matches!(packet, Packet::Event(text) if text.contains("both"))), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_apply_ten_thousand_events_in_one_order_beside_a_long_transaction() {
    let backend = Backend::start();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    // It has written, so that no snapshot forgets it, and does not end.
    let open = backend.client().await;
    open.batch_execute("create table other (n int); begin; insert into other values (1)").await.unwrap();
    let mut sockets = Vec::new();
    for id in 0..5 {
        sockets.push((here.subscribe(id).await, there.subscribe(id).await));
    }
    let publish = async |node: &Node, name: &str| {
        let all = (0..5000_u64).map(|n| async move {
            let (event, id) = (RawEvent::new("said", &(n, n % 5, name)).unwrap(), n % 5);
            // Each tenth goes to a second channel too, in whatever order they are named.
            let publish = node.hub.publish(&Log { id }, event);
            let publish = if n % 10 == 0 { publish.and(&Log { id: (id + 3) % 5 }) } else { publish };
            assert_eq!(publish.await.unwrap(), PublishOutcome::Delivered);
        });
        stream::iter(all).buffer_unordered(64).collect::<()>().await;
    };
    tokio::join!(publish(&here, "here"), publish(&there, "there"));
    for ((ada, bob), count) in sockets.iter_mut().zip([2000, 2000, 2000, 3000, 2000]) {
        let (ada, bob) = (texts(ada, count).await, texts(bob, count).await);
        assert_eq!((ada.len(), bob.len()), (count, count));
        assert!(ada == bob);
    }
    open.batch_execute("rollback").await.unwrap();
}

/// What happens to the backend while a client and the other server are connected.
async fn after(outage: impl AsyncFnOnce(&mut Backend)) -> (Node, Node, Client, Backend, String) {
    let mut backend = Backend::start();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let mut client = Client::resuming(&there.server, BOB).await;
    let answer = client.ask(&get("/log/7")).await;
    let epoch = answer.channels["log:7"][0].as_str().unwrap().to_owned();
    here.publish(&Log { id: 7 }, "before").await;
    assert_eq!(client.next().await, event(1, "before"));
    outage(&mut backend).await;
    (here, there, client, backend, epoch)
}

/// The client hears that it may have missed something, then what follows, and is not recovered over it.
async fn hears_a_gap(outage: impl AsyncFnOnce(&mut Backend)) {
    let (here, there, mut client, _backend, epoch) = after(outage).await;
    let told = loop {
        match client.next().await {
            Packet::Event(text) if text.starts_with(r#"["$gap","log:7""#) => break text,
            Packet::Event(text) => panic!("{text}"),
            _ => {}
        }
    };
    assert!(!told.contains(&epoch), "{told}");
    here.comes_up().await;
    there.comes_up().await;
    here.publish(&Log { id: 7 }, "after").await;
    assert_eq!(client.next().await, event(1, "after"));
    for offset in [0, 1] {
        let mut back = Client::resuming(&there.server, "back-0123456789abcdef").await;
        let answer = back.resume("/log/7", &format!(r#"{{"log:7":["{epoch}",{offset}]}}"#)).await;
        assert_eq!(answer.channels["log:7"][2], "gap");
    }
}

#[tokio::test]
async fn a_server_that_stops_and_starts_has_lost_nothing_in_silence() {
    hears_a_gap(async |backend| {
        backend.stop();
        backend.run();
    })
    .await;
}

#[tokio::test]
async fn a_server_that_crashes_has_lost_nothing_in_silence() {
    hears_a_gap(async |backend| {
        backend.crash();
        backend.run();
    })
    .await;
}

/// The client misses nothing of the outage: neither what was published during it by a server that still could, nor after.
async fn misses_nothing(outage: impl AsyncFnOnce(&mut Backend)) {
    let (here, there, mut client, _backend, _) = after(outage).await;
    here.comes_up().await;
    there.comes_up().await;
    here.publish(&Log { id: 7 }, "after").await;
    assert_eq!(client.next().await, event(2, "after"));
}

#[tokio::test]
async fn connections_that_are_terminated_lose_nothing() {
    misses_nothing(async |backend| {
        let others = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'catamaran'";
        let client = backend.client().await;
        assert_eq!(client.query(others, &[]).await.unwrap().len(), 4);
        // A server that has connected again knows that it was cut.
        let connected = "select pid from pg_stat_activity where application_name = 'catamaran'";
        within("the servers connect again", async {
            while client.query(connected, &[]).await.unwrap().len() < 4 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_another_server_publishes_while_one_is_away_is_read() {
    let (here, _there, mut client, backend, _) = after(async |_| {}).await;
    let admin = backend.client_of("template1").await;
    // Only the node whose connections are the younger, and it cannot come back yet.
    admin.batch_execute("alter database postgres allow_connections false").await.unwrap();
    let younger = "select pg_terminate_backend(pid) from (select pid from pg_stat_activity
        where application_name = 'catamaran' order by backend_start desc limit 2) theirs";
    assert_eq!(admin.query(younger, &[]).await.unwrap().len(), 2);
    for n in 2..=20 {
        here.publish(&Log { id: 7 }, &n.to_string()).await;
    }
    admin.batch_execute("alter database postgres allow_connections true").await.unwrap();
    for n in 2..=20 {
        assert_eq!(client.next().await, event(n, &n.to_string()));
    }
}

#[tokio::test]
async fn what_one_server_delivered_alone_is_a_gap_on_the_other() {
    let (here, there, mut client, backend, epoch) = after(async |_| {}).await;
    let admin = backend.client_of("template1").await;
    admin.batch_execute("alter database postgres allow_connections false").await.unwrap();
    let elder = "select pg_terminate_backend(pid) from (select pid from pg_stat_activity
        where application_name = 'catamaran' order by backend_start limit 2) theirs";
    assert_eq!(admin.query(elder, &[]).await.unwrap().len(), 2);
    within("the loss", async {
        while here.hub.publish(&Log { id: 7 }, said("alone")).await.unwrap() != PublishOutcome::LocalOnly {
            tokio::task::yield_now().await;
        }
    })
    .await;
    admin.batch_execute("alter database postgres allow_connections true").await.unwrap();
    loop {
        match client.next().await {
            Packet::Event(text) if text.starts_with(r#"["$gap","log:7""#) => {
                assert!(!text.contains(&epoch), "{text}");
                break;
            }
            // One that arrived although its answer did not.
            Packet::Event(text) => assert!(text.contains("alone"), "{text}"),
            _ => {}
        }
    }
    there.publish(&Log { id: 7 }, "together").await;
    assert_eq!(client.next().await, event(1, "together"));
}

#[tokio::test]
async fn a_publish_that_gets_no_answer_ends_and_comes_if_it_was_counted() {
    let (here, _there, mut client, backend, _) = after(async |_| {}).await;
    backend.freeze();
    let sent = within("an end", here.hub.publish(&Log { id: 7 }, said("late")).into_future()).await.unwrap();
    assert_eq!(sent, PublishOutcome::Unknown);
    backend.thaw();
    assert_eq!(client.next().await, event(2, "late"));
}

#[tokio::test]
async fn all_servers_answer_who_is_subscribed() {
    let backend = Backend::start();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let (_ada, _bob) = (here.subscribe(7).await, there.subscribe(7).await);
    assert_eq!(here.hub.count(&Log { id: 7 }).await.unwrap(), 2);
}

#[tokio::test]
async fn a_role_that_may_not_make_the_tables_waits_for_them() {
    let backend = Backend::start();
    let admin = backend.client().await;
    admin.batch_execute("create role app login").await.unwrap();
    let app = App::new(()).mount(routes![log]).broker(Postgres::connect(backend.url().replace("postgres@", "app@")));
    let node = Node { hub: app.hub(), server: Server::start(app).await };
    assert_eq!(node.hub.publish(&Log { id: 7 }, said("alone")).await.unwrap(), PublishOutcome::LocalOnly);
    admin.batch_execute(Postgres::SCHEMA).await.unwrap();
    let rights = "grant usage on schema catamaran to app;
        grant select, insert, update, delete on all tables in schema catamaran to app";
    admin.batch_execute(rights).await.unwrap();
    node.comes_up().await;
    node.publish(&Log { id: 7 }, "counted").await;
}

#[tokio::test]
async fn a_server_that_hangs_for_four_seconds_loses_nothing() {
    misses_nothing(async |backend| {
        backend.freeze();
        tokio::time::sleep(Duration::from_secs(4)).await;
        backend.thaw();
    })
    .await;
}

#[tokio::test]
async fn a_server_without_room_for_connections_is_waited_for() {
    let backend = Backend::with(&["max_connections=6", "superuser_reserved_connections=0"]);
    let mut full = Vec::new();
    while let Ok((client, connection)) = tokio_postgres::connect(&backend.url(), tokio_postgres::NoTls).await {
        tokio::spawn(connection);
        full.push(client);
    }
    let node = Node::start(&backend).await;
    assert_eq!(node.hub.publish(&Log { id: 7 }, said("alone")).await.unwrap(), PublishOutcome::LocalOnly);
    drop(full);
    node.comes_up().await;
}

/// Counts something for a stream that is attached, as no server would: without a notification.
async fn count_unheard(client: &tokio_postgres::Client, stream: &str, event: &str, data: &str) {
    let at = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let body = format!(
        r#"{{"node":1,"number":{at},"event":"{event}","data":[{data}],
        "to":[{{"channel":"{stream}","stream":"{stream}","entries":10,"bytes":1000,"age":null}}],"at":{at}}}"#
    );
    let sql = r#"
        with place as (
            insert into catamaran.places (stream, epoch, "offset", entry, total)
            select s.name, s.epoch, coalesce(max(p."offset"), s.floor) + 1, pg_current_xact_id()::text::bigint, 2
            from catamaran.streams s left join catamaran.places p on p.stream = s.name and p.epoch = s.epoch
            where s.name = $1 group by s.name returning *
        )
        insert into catamaran.entries (id, node, streams, epochs, offsets, body)
        select entry, 1, array[stream], array[epoch], array["offset"], $2 from place"#;
    assert_eq!(client.execute(sql, &[&stream.as_bytes(), &body.as_bytes()]).await.unwrap(), 1);
}

async fn publish_unheard(client: &tokio_postgres::Client) {
    count_unheard(client, "log:7", "said", r#""unheard""#).await;
}

#[tokio::test]
async fn closing_comes_before_what_was_published_after_it() {
    let backend = Backend::start();
    let here = Node::of(&backend).await;
    let mut ada = here.subscribe(7).await;
    ada.socket().tag("login").unwrap();
    let client = backend.client().await;
    // The server looks for news every half a second, and most often finds all of this at once. The closing has a higher offset
    // in its stream than the event in its own.
    for (number, tag) in [(1, "nobody"), (2, "login")] {
        let command = format!(r#"[{number},{{"CloseTagged":{{"tag":"{tag}","reason":"logged out"}}}}]"#);
        count_unheard(&client, "catamaran:closings", "", &command).await;
    }
    publish_unheard(&client).await;
    within("the closing", async {
        while here.hub.count(&Log { id: 7 }).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let received = ada.received();
    assert!(!received.iter().any(|event| event.contains("unheard")), "{received:?}");
}

#[tokio::test]
async fn an_event_without_a_notification_is_found() {
    let backend = Backend::start();
    let here = Node::of(&backend).await;
    let mut ada = here.subscribe(7).await;
    publish_unheard(&backend.client().await).await;
    assert_eq!(texts(&mut ada, 1).await, ["unheard"]);
}

#[tokio::test]
async fn an_event_whose_transaction_ends_after_a_later_one_is_found() {
    let backend = Backend::start();
    let (here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let (mut ada, mut bob) = (there.subscribe(7).await, there.subscribe(8).await);
    let slow = backend.client().await;
    slow.batch_execute("begin").await.unwrap();
    publish_unheard(&slow).await;
    here.publish(&Log { id: 8 }, "later").await;
    assert_eq!(texts(&mut bob, 1).await, ["later"]);
    slow.batch_execute("commit").await.unwrap();
    assert_eq!(texts(&mut ada, 1).await, ["unheard"]);
}

#[tokio::test]
async fn what_need_not_be_kept_is_deleted() {
    let backend = Backend::start();
    let here = Node::of(&backend).await;
    let admin = backend.client().await;
    // Nobody else cleans.
    admin.execute("update catamaran.server set cleaner = 1, until = 'infinity'", &[]).await.unwrap();
    for n in 0..1500 {
        here.publish(&Log { id: 7 }, &n.to_string()).await;
        here.publish(&Tick { id: 7 }, "tick").await;
    }
    here.hub.publish(&Log { id: 7 }, said("both")).and(&Tick { id: 7 }).await.unwrap();
    // What was counted before the stream took a new epoch.
    here.publish(&Log { id: 8 }, "old").await;
    // Beside those that say that a stream has taken a new epoch.
    let count = async |table: &str| {
        let sql = format!("select count(*) from catamaran.{table}");
        admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let trim = async |grace: &str, unused: &str| {
        let all = "(select array_agg(name) from catamaran.streams)";
        let sql = format!("select catamaran.trim({all}, interval '{grace}', interval '{unused}')");
        // As long as there is more.
        while admin.query_one(&sql, &[]).await.unwrap().get(0) {}
    };
    let turn = "select catamaran.attach(1, 'log:8'::bytea, null, null, true, 'fresh')";
    admin.query(turn, &[]).await.unwrap();
    // Nothing that a node may not have read.
    trim("1 hour", "1 day").await;
    assert!(count("entries where body is not null").await > 3000);
    trim("0", "1 day").await;
    // One that no history keeps is kept by the other channel that it went to.
    assert_eq!((count("entries where body is not null").await, count("places").await), (1000, 1000));
    admin.query("update catamaran.streams set used = now() - interval '1 hour'", &[]).await.unwrap();
    trim("0", "1 hour").await;
    assert_eq!(
        (count("entries where body is not null").await, count("places").await, count("streams").await),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn one_server_deletes_what_need_not_be_kept() {
    let backend = Backend::start();
    let (_here, there) = (Node::of(&backend).await, Node::of(&backend).await);
    let admin = backend.client().await;
    for n in 0..20 {
        there.publish(&Tick { id: n }, "tick").await;
    }
    // As if it had been published long ago.
    admin.execute("update catamaran.entries set at = at - interval '1 minute'", &[]).await.unwrap();
    within("an empty table", async {
        while admin.query_one("select count(*) from catamaran.entries", &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // The count goes on.
    there.publish(&Tick { id: 7 }, "next").await;
    let top = "select \"offset\" from catamaran.places where stream = 'tick:7'";
    assert_eq!(admin.query_one(top, &[]).await.unwrap().get::<_, i64>(0), 2);
}
