//! Servers that share a Redis: what they promise their clients, whatever becomes of it.
//!
//! What a test asks of Redis itself blocks its thread, so the servers have threads of their own.

mod cluster;
mod node;
mod outage;
mod servers;

use std::collections::BTreeMap;

use catamaran::{PublishOutcome, Redis};
use catamaran_tests::backends::redis::RedisServer;
use futures_util::future::join_all;
use serde_json::Value;

use self::node::{Line, Node, Note, Reader, Room, Tick};

/// How many events two servers publish together, as fast as they can.
const STORM: u64 = 10_000;
/// How many at a time, on each.
const AT_ONCE: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_on_one_server_reaches_the_sockets_of_all_in_order() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let [mut ada, mut bob] = [one.client("ada", 7).await, two.client("bob", 7).await];
    for number in 1..=20 {
        let node = if number % 3 == 0 { &one } else { &two };
        node.publish(7, number).await;
    }
    for number in 1..=20 {
        ada.hears(7, number, number).await;
        bob.hears(7, number, number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_several_channels_comes_once_and_counts_in_each() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let mut ada = two.client("ada", 7).await;
    for url in ["/8/room", "/7/tick"] {
        ada.join(url).await;
    }
    let mut bob = two.client("bob", 8).await;
    let both = one.hub.publish(&Room { id: 7 }, Line(1)).and(&Room { id: 8 }).and(&Tick { id: 7 });
    assert_eq!(both.await.unwrap(), PublishOutcome::Delivered);
    one.publish(7, 2).await;
    one.publish(8, 3).await;
    // In each of its three channels she is told the offset, but the event once.
    let mut heard = Vec::new();
    for _ in 0..5 {
        let frame = ada.next().await;
        heard.push((frame[1].to_string(), frame[2].as_u64().unwrap(), frame[4].as_u64()));
    }
    let mut lines: Vec<_> = heard.iter().filter_map(|(.., line)| *line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [1, 2, 3], "{heard:?}");
    bob.hears(8, 1, 1).await;
    bob.hears(8, 2, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_publish_at_once_hear_all_in_one_order() {
    let redis = RedisServer::start();
    let nodes = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let listeners = [nodes[0].client("ada", 7).await, nodes[1].client("bob", 7).await];
    let publishers = (0..2 * AT_ONCE).map(|publisher| {
        let hub = nodes[publisher as usize % 2].hub.clone();
        tokio::spawn(async move {
            for number in 0..STORM / AT_ONCE / 2 {
                let line = Line(publisher * STORM + number);
                assert_eq!(hub.publish(&Room { id: 7 }, line).await.unwrap(), PublishOutcome::Delivered);
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let listeners = listeners.map(|mut listener| {
        tokio::spawn(async move {
            let mut heard = Vec::new();
            for offset in 1..=STORM {
                let event = listener.next().await;
                assert_eq!(event[2], offset);
                heard.push(event[4].as_u64().unwrap());
            }
            heard
        })
    });
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let [ada, bob] = listeners;
    let (ada, bob) = (ada.await.unwrap(), bob.await.unwrap());
    assert!(ada == bob, "both hear one order");
    let mut last = BTreeMap::new();
    for number in ada {
        let before = last.insert(number / STORM, number % STORM);
        assert_eq!(before.map_or(0, |before| before + 1), number % STORM, "each publisher's own order holds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_publishes_share_calls_and_keep_their_order() {
    const EVENTS: u64 = 256;
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let mut readers = [two.client("ada", 7).await, two.client("bob", 8).await];
    let calls = || {
        let stats = redis.ask(&["INFO", "commandstats"]);
        let (_, calls) = stats.split_once("cmdstat_spublish:calls=").unwrap();
        calls.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = calls();
    let published = join_all((1..=EVENTS).map(|number| one.publish(7 + number % 2, number)));
    published.await;
    // Each call sends one message to each of the two streams.
    assert!(calls() - before < EVENTS / 2, "{} messages for {EVENTS} events", calls() - before);
    for number in 1..=EVENTS {
        let room = 7 + number % 2;
        readers[usize::from(room == 8)].hears(room, number.div_ceil(2), number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_version_are_a_gap() {
    let redis = RedisServer::start();
    let one = Node::start(redis.url()).await;
    let mut ada = one.client("ada", 7).await;
    one.publish(7, 1).await;
    ada.hears(7, 1, 1).await;
    // What a server of a later version counted, kept and sent.
    let epoch = redis.ask(&["HGET", "{catamaran}:meta:room:7", "epoch"]);
    let text = format!("1700000000000 {epoch} 2\n3:later");
    redis.ask(&["HSET", "{catamaran}:meta:room:7", "top", "2"]);
    redis.ask(&["RPUSH", "{catamaran}:history:room:7", &text]);
    assert_eq!(redis.ask(&["SPUBLISH", "{catamaran}:stream:room:7", &text]), "1");
    assert_eq!(ada.hears_gap("room:7").await, (epoch.into(), 2));
    one.publish(7, 3).await;
    ada.hears(7, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_comes_back_to_another_server_and_misses_nothing() {
    let redis = RedisServer::start();
    let one = Node::start(redis.url()).await;
    let mut ada = Reader::connect(&one, "ada").await;
    let epoch = ada.join("/7/room").await.channels["room:7"][0].clone();
    for number in 1..=9 {
        one.publish(7, number).await;
    }
    ada.hears(7, 1, 1).await;
    drop(ada);
    let two = Node::start(redis.url()).await;
    let (outcome, mut ada) = two.resume("ada", 7, &epoch, 1).await;
    assert_eq!(outcome, "recovered");
    let replay = ada.next().await;
    assert_eq!(replay[0], "$replay");
    let missed: Vec<_> = replay[2].as_array().unwrap().iter().map(|event| event[2].clone()).collect();
    assert_eq!(missed, (2..=9).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_much_is_kept_as_a_channel_asks_for() {
    let redis = RedisServer::start();
    let one = Node::start(redis.url()).await;
    for number in 1..=250 {
        one.publish(7, number).await;
        assert_eq!(one.hub.publish(&Tick { id: 7 }, Line(number)).await.unwrap(), PublishOutcome::Delivered);
    }
    assert_eq!(redis.ask(&["LLEN", "{catamaran}:history:room:7"]), "100");
    assert_eq!(redis.ask(&["EXISTS", "{catamaran}:history:tick:7"]), "0");
    let seconds = |key| redis.ask(&["TTL", key]).parse::<u32>().unwrap();
    assert!((86_000..=86_400).contains(&seconds("{catamaran}:history:room:7")));
    assert!((172_000..=172_800).contains(&seconds("{catamaran}:meta:room:7")));
    let bytes: usize = redis.ask(&["HGET", "{catamaran}:meta:room:7", "bytes"]).parse().unwrap();
    let kept = redis.ask(&["LRANGE", "{catamaran}:history:room:7", "0", "-1"]);
    // An element takes two lines, which redis-cli ends.
    assert_eq!(bytes, kept.len() + 1 - 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_or_too_old_is_not_kept() {
    const HISTORY: &str = "{catamaran}:history:note:7";
    let redis = RedisServer::start();
    let one = Node::start(redis.url()).await;
    let write = async |number| {
        assert_eq!(one.hub.publish(&Note { id: 7 }, Line(number)).await.unwrap(), PublishOutcome::Delivered);
    };
    let length = || redis.ask(&["LLEN", HISTORY]).parse::<usize>().unwrap();
    write(1).await;
    let each = redis.ask(&["LINDEX", HISTORY, "0"]).len();
    let most = 2000 / (each + 5);
    for number in 2..=30 {
        write(number).await;
    }
    assert!((most..=2000 / each).contains(&length()), "{} of {each} bytes", length());
    assert!((3000..=3600).contains(&redis.ask(&["TTL", HISTORY]).parse().unwrap()));

    // The two oldest are from another time.
    for place in ["0", "1"] {
        let text = redis.ask(&["LINDEX", HISTORY, place]);
        let (_, rest) = text.split_once(' ').unwrap();
        redis.ask(&["LSET", HISTORY, place, &format!("1000000000000 {rest}")]);
    }
    let before = length();
    write(31).await;
    assert_eq!(length(), before - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_applications_on_one_redis_do_not_hear_each_other() {
    let redis = RedisServer::start();
    let one = Node::of(Redis::connect(redis.url() + "/1").prefix("one")).await;
    let two = Node::of(Redis::connect(redis.url() + "/2").prefix("two")).await;
    let [mut ada, mut bob] = [one.client("ada", 7).await, two.client("bob", 7).await];
    one.publish(7, 1).await;
    two.publish(7, 2).await;
    ada.hears(7, 1, 1).await;
    bob.hears(7, 1, 2).await;
}
