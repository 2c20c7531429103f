//! Outages of the broker: what is delivered meanwhile, and who hears of what afterwards.

use super::*;

#[tokio::test]
async fn a_client_that_was_further_than_a_server_in_an_outage_is_not_set_back() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let _keeps_it_attached = Client::of(&there, "bob", &Room(ROOM)).await;
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&here, &["a"]).await;
    ada.hears(1, "a").await;
    backend.down(1);
    let heard = top(&here);
    let mut back = Client::new("ada");
    assert_eq!(back.join(&there, &Room(ROOM), Some(&heard)).await, Some(Recovery::Gap));
    assert_eq!(back.hears_gap().await, heard);
    backend.up(1);
    // Its client drops what it has.
    back.hears(1, "a").await;
    publish(&here, &["b"]).await;
    backend.pile(1).into_iter().for_each(|copy| backend.flow(1).entry(copy));
    back.hears(2, "b").await;
}

#[tokio::test]
async fn a_client_that_was_further_than_a_server_whose_news_nobody_kept_is_not_set_back() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(1);
    publish(&here, &["a", "b", "c"]).await;
    for (offset, text) in [(1, "a"), (2, "b"), (3, "c")] {
        ada.hears(offset, text).await;
    }
    backend.trim(ROOM, 3);
    let heard = top(&here);
    let mut back = Client::new("ada");
    assert_eq!(back.join(&there, &Room(ROOM), Some(&heard)).await, Some(Recovery::Recovered));
    assert_eq!(back.next("$join").await[2], 3);
    assert_eq!(bob.hears_gap().await, heard);
    // What was on its way comes too late.
    backend.pile(1).into_iter().for_each(|copy| backend.flow(1).entry(copy));
    back.hears_nothing_more();
    bob.hears_nothing_more();
}

#[tokio::test]
async fn what_comes_after_an_outage_waits_until_it_is_known_what_was_missed() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.intercept(0);
    publish(&there, &["counted first"]).await;
    backend.down(0);
    assert_eq!(here.publish(&Room(ROOM), said("here alone")).await, PublishOutcome::LocalOnly);
    ada.next("said").await;
    let filter = Arc::new(Semaphore::new(0));
    backend.lock().filter = Some(filter.clone());
    backend.up(0);
    backend.flow(0).entry(backend.pile(0).remove(0));
    ada.hears_nothing_more();
    filter.add_permits(2);
    ada.hears_gap().await;
    ada.hears_nothing_more();
}

#[tokio::test]
async fn while_the_bus_is_down_delivery_goes_on_here_and_then_all_hear_of_it() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    let mut idle = Client::of(&here, "idle", &Room("idle")).await;
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    publish(&here, &["before"]).await;
    ada.hears(1, "before").await;
    bob.hears(1, "before").await;
    let before = top(&here);

    backend.down(0);
    let sent = here.publish(&Room(ROOM), said("meanwhile")).await;
    assert_eq!(sent, PublishOutcome::LocalOnly);
    assert_eq!(ada.next("said").await, ["meanwhile"]);
    backend.up(0);
    for subscriber in [&mut ada, &mut bob] {
        let told = subscriber.hears_gap().await;
        assert_ne!(told.epoch, before.epoch);
        assert_eq!(told.offset, 0);
    }
    publish(&there, &["after"]).await;
    ada.hears(1, "after").await;
    bob.hears(1, "after").await;
    idle.hears_nothing_more();

    // Nobody is recovered over it.
    let mut back = Client::new("back");
    assert_eq!(back.join(&here, &Room(ROOM), Some(&before)).await, Some(Recovery::Gap));
}

#[tokio::test]
async fn what_was_delivered_where_nobody_is_subscribed_is_a_gap_elsewhere() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    backend.down(0);
    assert_eq!(here.publish(&Room(ROOM), said("lost")).await, PublishOutcome::LocalOnly);
    backend.up(0);
    bob.hears_gap().await;
}

/// However long the broker is away, and however many channels are published to, memory is bounded, and nobody misses anything
/// in silence.
#[tokio::test]
async fn what_was_delivered_to_more_channels_than_are_remembered_is_a_gap_everywhere() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    backend.up(1);
    until(|| there.cluster().is_attached()).await;
    backend.down(0);
    for n in 0..MAX_UNSENT {
        here.publish(&Untyped::new(format!("n:{n}")), said("lost")).await;
    }
    assert_eq!(here.publish(&Room(ROOM), said("lost")).await, PublishOutcome::LocalOnly);
    assert!(here.registry().all().iter().all(|stream| stream.is_for_commands()));
    backend.up(0);
    bob.hears_gap().await;
}

#[tokio::test(start_paused = true)]
async fn server_that_is_away_hears_of_lost_channels_when_it_is_back() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    backend.down(0);
    for n in 0..MAX_UNSENT {
        here.publish(&Untyped::new(format!("n:{n}")), said("lost")).await;
    }
    assert_eq!(here.publish(&Room(ROOM), said("lost")).await, PublishOutcome::LocalOnly);
    backend.down(1);
    backend.up(0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // A broker keeps no commands but closings.
    backend.trim("catamaran:commands", u64::MAX);
    backend.up(1);
    bob.hears_gap().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    bob.hears_nothing_more();
}

#[tokio::test]
async fn what_was_missed_while_the_bus_was_down_is_read() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.down(0);
    publish(&there, &["a", "b"]).await;
    ada.hears_nothing_more();
    backend.up(0);
    ada.hears(1, "a").await;
    ada.hears(2, "b").await;
    publish(&there, &["c"]).await;
    ada.hears(3, "c").await;
}

#[tokio::test]
async fn what_was_missed_and_is_not_kept_is_a_gap_on_an_idle_channel_too() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    backend.down(0);
    publish(&there, &["a", "b"]).await;
    backend.trim(ROOM, 1);
    backend.up(0);
    let told = ada.hears_gap().await;
    assert_eq!(told.offset, 2);
    ada.hears_nothing_more();
}

#[tokio::test]
async fn a_bus_that_comes_back_with_older_data_recovers_nobody() {
    let backend = Backend::default();
    let here = node(&backend);
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    publish(&here, &["a", "b", "c"]).await;
    let before = top(&here);
    backend.down(0);
    backend.rewind(ROOM, 1);
    backend.up(0);
    for (offset, text) in [(1, "a"), (2, "b"), (3, "c")] {
        ada.hears(offset, text).await;
    }
    assert_ne!(ada.hears_gap().await.epoch, before.epoch);
    publish(&here, &["d", "e", "f"]).await;
    for offset in [0, 1, 3] {
        let mut back = Client::new("back");
        let had = Position { offset, ..before.clone() };
        assert_eq!(back.join(&here, &Room(ROOM), Some(&had)).await, Some(Recovery::Gap), "{offset}");
    }
}

#[tokio::test]
async fn a_subscription_while_the_bus_is_down_is_live_here_and_hears_a_gap_when_it_is_up() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    publish(&there, &["before"]).await;
    backend.down(0);
    let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
    here.publish(&Room(ROOM), said("meanwhile")).await;
    assert_eq!(ada.next("said").await, ["meanwhile"]);
    backend.up(0);
    ada.hears_gap().await;
    publish(&there, &["after"]).await;
    ada.hears(1, "after").await;
}

#[tokio::test]
async fn a_stream_that_owes_others_a_gap_is_kept_until_they_are_told() {
    let backend = Backend::default();
    backend.lock().linger = Some(Duration::from_millis(1));
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    backend.down(0);
    here.publish(&Room("other"), said("lost")).await;
    here.publish(&Room(ROOM), said("lost")).await;
    // Long enough for both to be looked at, and one that owes nothing to be detached.
    let ada = Client::of(&here, "ada", &Room("idle")).await;
    here.registry().leave_all(&ada.subscriber);
    until(|| backend.lock().detached.iter().any(|name| &**name == "idle")).await;
    backend.up(0);
    bob.hears_gap().await;
}

#[tokio::test(start_paused = true)]
async fn outage_ends_although_the_task_that_ends_it_panics() {
    for panics in 1..=5 {
        let backend = Backend::default();
        let (there, here) = (node(&backend), node(&backend));
        let mut ada = Client::of(&here, "ada", &Room(ROOM)).await;
        backend.down(1);
        publish(&there, &["a"]).await;
        backend.lock().panics = panics;
        backend.up(1);
        ada.hears(1, "a").await;
        assert!(!here.is_alone());
        assert_eq!(backend.lock().panics, 0);
    }
}

#[tokio::test]
async fn others_hear_the_gap_of_a_cancelled_subscription() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let mut bob = Client::of(&there, "bob", &Room(ROOM)).await;
    backend.down(0);
    assert_eq!(here.publish(&Room(ROOM), said("alone")).await, PublishOutcome::LocalOnly);
    backend.lock().black_hole = true;
    backend.up(0);
    {
        let mut ada = Client::new("ada");
        let mut subscribing = pin!(ada.join(&here, &Room(ROOM), None));
        assert!(poll_fn(|context| Poll::Ready(subscribing.as_mut().poll(context))).await.is_pending());
    }
    backend.lock().black_hole = false;
    bob.hears_gap().await;
}

#[tokio::test]
async fn others_hear_the_gap_of_a_cancelled_renewal() {
    let backend = Backend::default();
    let (here, there) = (node(&backend), node(&backend));
    let (mut bob, mut ada) =
        (Client::of(&there, "bob", &Room(ROOM)).await, Client::of(&here, "ada", &Room(ROOM)).await);
    here.registry().find(ROOM).unwrap().lock().link.delivered_locally = true;
    backend.lock().black_hole = true;
    let stream = here.registry().find(ROOM).unwrap();
    {
        let mut renewing = pin!(async {
            stream.renew_now(&**here.registry().broker()).await;
            true
        });
        until_waiting(&backend, renewing.as_mut()).await;
    }
    backend.lock().black_hole = false;
    here.registry().renew(stream);
    for client in [&mut ada, &mut bob] {
        client.hears_gap().await;
    }
}

/// Polls until the broker has been asked to attach, and not answered.
async fn until_waiting(backend: &Backend, mut asking: std::pin::Pin<&mut impl Future<Output = bool>>) {
    let attaches = backend.lock().attaches;
    while backend.lock().attaches == attaches {
        let polled = timeout(Duration::from_millis(1), asking.as_mut()).await;
        assert!(polled.is_err(), "it waits for the broker");
    }
}
