//! What becomes of clients when Redis does not answer, forgets, or remembers too little.

use catamaran::{PublishOutcome, Redis};
use catamaran_tests::backends::redis::RedisServer;

use super::node::{Line, Node, Reader, Room, Tick, beats};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_heals_and_nothing_is_lost_in_a_channel_with_history() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let mut ada = one.client("ada", 7).await;
    let mut number = 0;
    for _ in 0..5 {
        redis.cut_subscribers();
        two.up().await;
        for _ in 0..10 {
            number += 1;
            two.publish(7, number).await;
        }
        one.up().await;
    }
    for number in 1..=number {
        ada.hears(7, number, number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_is_a_gap_in_every_channel() {
    let mut redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let mut ada = one.client("ada", 7).await;
    let mut bob = two.client("bob", 7).await;
    let mut carl = Reader::connect(&two, "carl").await;
    carl.join("/7/tick").await;
    one.publish(7, 1).await;
    ada.hears(7, 1, 1).await;
    bob.hears(7, 1, 1).await;

    redis.kill();
    one.down().await;
    two.down().await;
    assert_eq!(one.try_publish(7, 2).await, PublishOutcome::LocalOnly);
    ada.hears_uncounted(2).await;
    redis.run();
    one.up().await;
    two.up().await;
    let gaps = [ada.hears_gap("room:7").await, bob.hears_gap("room:7").await];
    assert_eq!(gaps[0], gaps[1]);
    assert_eq!(gaps[0].1, 0);
    carl.hears_gap("tick:7").await;
    two.publish(7, 3).await;
    ada.hears(7, 1, 3).await;
    bob.hears(7, 1, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_with_older_data_recovers_nobody() {
    let mut redis = RedisServer::start();
    let one = Node::start(redis.url()).await;
    let mut ada = Reader::connect(&one, "ada").await;
    let epoch = ada.join("/7/room").await.channels["room:7"][0].clone();
    for number in 1..=5 {
        one.publish(7, number).await;
    }
    redis.ask(&["SET", "saved", "older"]);
    redis.save();
    redis.ask(&["SET", "saved", "newer"]);
    for number in 6..=10 {
        one.publish(7, number).await;
    }
    for number in 1..=10 {
        ada.hears(7, number, number).await;
    }
    redis.kill();
    one.down().await;
    redis.run();
    assert_eq!(redis.ask(&["GET", "saved"]), "older");

    // A server that never knew the old epoch is the first to publish.
    let two = Node::start(redis.url()).await;
    for number in 11..=20 {
        two.publish(7, number).await;
    }
    one.up().await;
    let (turned, _) = ada.hears_gap("room:7").await;
    assert_ne!(turned, epoch);
    for offset in [3, 5, 10] {
        let (outcome, _) = two.resume("bob", 7, &epoch, offset).await;
        assert_eq!(outcome, "gap", "{offset}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failback_to_a_master_that_lost_events_is_a_gap() {
    let [first, second] = [RedisServer::start(), RedisServer::start()];
    second.replicate(&first);
    let one = Node::start(first.url()).await;
    let epoch = Reader::connect(&one, "ada").await.join("/7/room").await.channels["room:7"][0].clone();
    for number in 1..=10 {
        one.publish(7, number).await;
    }
    // The second becomes a master without the last two events of the first.
    assert_eq!(first.ask(&["WAIT", "1", "20000"]), "1");
    second.promote();
    for number in 11..=12 {
        one.publish(7, number).await;
    }
    drop(one);
    first.replicate(&second);
    first.promote();

    let two = Node::start(first.url()).await;
    for number in 13..=15 {
        two.publish(7, number).await;
    }
    // Both servers counted an event 11 and an event 12.
    for offset in [12, 13] {
        let (outcome, _) = two.resume("ada", 7, &epoch, offset).await;
        assert_eq!(outcome, "gap", "{offset}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_is_given_up_and_what_it_took_comes_after_all() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let [mut ada, mut bob] = [one.client("ada", 7).await, two.client("bob", 7).await];
    let [mut carl, mut dora] = [one.client("carl", 8).await, two.client("dora", 8).await];

    redis.freeze();
    assert_eq!(one.try_publish(7, 1).await, PublishOutcome::Unknown);
    one.down().await;
    two.down().await;
    assert_eq!(one.try_publish(8, 2).await, PublishOutcome::LocalOnly);
    carl.hears_uncounted(2).await;
    redis.thaw();
    one.up().await;
    two.up().await;

    ada.hears(7, 1, 1).await;
    bob.hears(7, 1, 1).await;
    carl.hears_gap("room:8").await;
    dora.hears_gap("room:8").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_ends_during_an_outage_causes_one_gap() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let [mut ada, mut bob] = [one.client("ada", 7).await, two.client("bob", 7).await];
    let lost = Node::start(redis.url()).await;
    beats(&redis).await;
    redis.freeze();
    for node in [&one, &two, &lost] {
        node.down().await;
    }
    assert_eq!(lost.try_publish(7, 1).await, PublishOutcome::LocalOnly);
    drop(lost);
    redis.thaw();
    one.up().await;
    two.up().await;

    let gaps = [ada.hears_gap("room:7").await, bob.hears_gap("room:7").await];
    assert_eq!(gaps[0], gaps[1]);
    assert_eq!(redis.ask(&["GET", "{catamaran}:generation"]), "1");
    one.up().await;
    two.up().await;
    two.publish(7, 2).await;
    ada.hears(7, 1, 2).await;
    bob.hears(7, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_takes_no_more_counts_as_one_that_is_not_there() {
    type Change = fn(&RedisServer);
    let ways: [(Change, Change); 2] =
        [(RedisServer::fill_up, RedisServer::make_room), (RedisServer::break_disk, RedisServer::ignore_disk)];
    for (refuse, accept) in ways {
        let redis = RedisServer::start();
        let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
        let [mut ada, mut bob] = [one.client("ada", 7).await, two.client("bob", 7).await];
        refuse(&redis);
        assert_eq!(one.try_publish(7, 1).await, PublishOutcome::LocalOnly);
        ada.hears_uncounted(1).await;
        two.down().await;
        accept(&redis);
        one.up().await;
        two.up().await;
        ada.hears_gap("room:7").await;
        bob.hears_gap("room:7").await;
        two.publish(7, 2).await;
        ada.hears(7, 1, 2).await;
        bob.hears(7, 1, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_evicted_is_a_gap_and_nothing_else_is() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(redis.url()).await, Node::start(redis.url()).await];
    let mut ada = Reader::connect(&one, "ada").await;
    let epoch = ada.join("/7/room").await.channels["room:7"][0].clone();
    for number in 1..=3 {
        one.publish(7, number).await;
        ada.hears(7, number, number).await;
    }

    // The history: whoever is live or missed nothing goes on.
    assert_eq!(redis.ask(&["DEL", "{catamaran}:history:room:7"]), "1");
    assert_eq!(two.resume("bob", 7, &epoch, 2).await.0, "gap");
    one.publish(7, 4).await;
    ada.hears(7, 4, 4).await;
    let kept = redis.ask(&["LINDEX", "{catamaran}:history:room:7", "0"]);
    assert_eq!(redis.ask(&["HGET", "{catamaran}:meta:room:7", "bytes"]), kept.len().to_string());
    let three = Node::start(redis.url()).await;
    assert_eq!(three.resume("carl", 7, &epoch, 2).await.0, "gap");
    assert_eq!(three.resume("dora", 7, &epoch, 3).await.0, "recovered");

    // The meta: nobody knows what was counted.
    assert_eq!(redis.ask(&["DEL", "{catamaran}:meta:room:7"]), "1");
    one.publish(7, 5).await;
    let (turned, _) = ada.hears_gap("room:7").await;
    assert_ne!(turned, epoch);
    assert_eq!(redis.ask(&["LLEN", "{catamaran}:history:room:7"]), "1");
    for offset in [1, 4] {
        assert_eq!(three.resume("emma", 7, &epoch, offset).await.0, "gap", "{offset}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgot_the_scripts_is_told_them_again() {
    let redis = RedisServer::start();
    let one = Node::start(redis.url()).await;
    let mut ada = one.client("ada", 7).await;
    redis.ask(&["SCRIPT", "FLUSH"]);
    one.publish(7, 1).await;
    ada.hears(7, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_without_its_redis_and_joins_the_others_when_it_is_there() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    redis.kill();
    let one = Node::alone(Redis::connect(&url)).await;
    one.down().await;
    let mut ada = one.client("ada", 7).await;
    assert_eq!(
        one.hub.publish(&Room { id: 7 }, Line(1)).and(&Tick { id: 7 }).await.unwrap(),
        PublishOutcome::LocalOnly
    );
    ada.hears_uncounted(1).await;
    redis.run();
    one.up().await;
    ada.hears_gap("room:7").await;
    Node::start(url).await.publish(7, 2).await;
    ada.hears(7, 1, 2).await;
}
