//! Servers that share a Redis: what they promise their clients, whatever becomes of it.

mod node;

// These tests need some of it.
#[allow(dead_code)]
#[path = "../it/support.rs"]
mod support;

use catamaran_tests::backends::redis::RedisServer;

use self::node::Node;

#[tokio::test]
async fn what_is_published_on_one_server_reaches_the_sockets_of_all_in_order() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(&redis).await, Node::start(&redis).await];
    let [mut ada, mut bob] = [one.subscriber("ada", 7).await, two.subscriber("bob", 7).await];
    for number in 1..=20 {
        let node = if number % 3 == 0 { &one } else { &two };
        node.publish(7, number).await;
    }
    for number in 1..=20 {
        ada.hears(number, number).await;
        bob.hears(number, number).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_heals_and_nothing_is_lost_in_a_channel_with_history() {
    let redis = RedisServer::start();
    let [one, two] = [Node::start(&redis).await, Node::start(&redis).await];
    let mut ada = one.subscriber("ada", 7).await;
    let mut number = 0;
    for _ in 0..5 {
        redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        // The old connection was closed before this came back.
        two.up().await;
        for _ in 0..10 {
            number += 1;
            two.publish(7, number).await;
        }
        one.up().await;
    }
    for number in 1..=number {
        ada.hears(number, number).await;
    }
}
