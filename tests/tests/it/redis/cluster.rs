//! Servers that share a Redis cluster.

use catamaran_tests::backends::redis::RedisCluster;

use super::node::{Line, Node, Room, Tick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_counted_in_all_its_channels_whichever_server_of_the_cluster_is_named() {
    let cluster = RedisCluster::start("{catamaran}");
    let other = (cluster.owner + 1) % cluster.masters.len();
    let one = Node::start(cluster.masters[other].url()).await;
    let two = Node::start(cluster.replica.url()).await;
    let [mut ada, mut bob] = [two.client("ada", 7).await, two.client("bob", 8).await];
    one.hub.publish(&Room { id: 7 }, Line(1)).and(&Room { id: 8 }).and(&Tick { id: 9 }).await.unwrap();
    ada.hears(7, 1, 1).await;
    bob.hears(8, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_is_replaced_and_its_clients_hear_a_gap() {
    let mut cluster = RedisCluster::start("{catamaran}");
    // The one that is named dies.
    let owner = cluster.owner;
    let [one, two] = [Node::start(cluster.masters[owner].url()).await, Node::start(cluster.masters[owner].url()).await];
    let [mut ada, mut bob] = [one.client("ada", 7).await, two.client("bob", 7).await];
    one.publish(7, 1).await;
    ada.hears(7, 1, 1).await;
    bob.hears(7, 1, 1).await;
    cluster.masters[owner].kill();
    one.down().await;
    one.up().await;
    two.up().await;
    ada.hears_gap("room:7").await;
    bob.hears_gap("room:7").await;
    one.publish(7, 2).await;
    ada.hears(7, 1, 2).await;
    bob.hears(7, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hands_over_is_left_for_the_new_one() {
    let cluster = RedisCluster::start("{catamaran}");
    let [one, two] =
        [Node::start(cluster.masters[cluster.owner].url()).await, Node::start(cluster.replica.url()).await];
    let [mut ada, mut bob] = [one.client("ada", 7).await, two.client("bob", 7).await];
    assert_eq!(cluster.replica.ask(&["CLUSTER", "FAILOVER"]), "OK");
    ada.hears_gap("room:7").await;
    bob.hears_gap("room:7").await;
    one.up().await;
    two.publish(7, 1).await;
    ada.hears(7, 1, 1).await;
    bob.hears(7, 1, 1).await;
}
