//! What `sails.sockets` does, row by row, by our means; also the forms of it that do not work in Sails.

use catamaran::{Hub, RawChannel, RawEvent, test::TestSocket};

fn room(name: &str) -> RawChannel {
    RawChannel::new(name)
}

/// The default event of Sails.
fn message(text: &str) -> RawEvent {
    RawEvent::new("message", text).expect("text is JSON")
}

/// A hub, and three sockets on it.
fn sockets() -> (Hub, [TestSocket; 3]) {
    let hub = Hub::default();
    let sockets = [(); 3].map(|()| TestSocket::new(&hub));
    (hub, sockets)
}

async fn tell(hub: &Hub, name: &str) {
    hub.publish(&room(name), message(name)).await.expect("JSON");
}

/// What each of the sockets received since the last call, without the name of the event.
fn heard(sockets: &mut [TestSocket; 3]) -> [Vec<String>; 3] {
    sockets.each_mut().map(|socket| {
        let texts = socket.received().into_iter().map(|frame| {
            let [name, text]: [String; 2] = serde_json::from_str(&frame).expect("a message");
            assert_eq!(name, "message");
            text
        });
        texts.collect()
    })
}

#[tokio::test]
async fn join_and_leave_of_a_socket() {
    let (hub, mut sockets) = sockets();
    sockets[0].socket().subscribe(&room("a")).await.expect("a socket");
    tell(&hub, "a").await;
    sockets[0].socket().unsubscribe(&room("a")).await;
    sockets[1].socket().unsubscribe(&room("a")).await;
    tell(&hub, "a").await;
    assert_eq!(heard(&mut sockets), [vec!["a"], vec![], vec![]]);
}

#[tokio::test]
async fn join_and_leave_of_an_id_and_of_an_array_of_ids() {
    let (hub, mut sockets) = sockets();
    let ids = [0, 1].map(|n: usize| sockets[n].socket().id().to_owned());
    for id in &ids {
        assert!(hub.subscribe(id, &room("a")).await.expect("one server"));
    }
    tell(&hub, "a").await;
    assert!(hub.unsubscribe(&ids[0], &room("a")).await.expect("one server"));
    tell(&hub, "a").await;
    assert!(!hub.subscribe("nobody", &room("a")).await.expect("one server"));
    assert!(!hub.unsubscribe("nobody", &room("a")).await.expect("one server"));
    assert_eq!(heard(&mut sockets), [vec!["a"], vec!["a", "a"], vec![]]);
}

#[tokio::test]
async fn rooms_of_a_socket_are_listed() {
    let (hub, sockets) = sockets();
    for name in ["b", "a", "c"] {
        sockets[0].socket().subscribe(&room(name)).await.expect("a socket");
    }
    sockets[0].socket().unsubscribe(&room("c")).await;
    let id = sockets[0].socket().id();
    assert_eq!(sockets[0].socket().channels(), ["a", "b"]);
    assert_eq!(hub.channels(id).await.expect("one server").expect("connected"), ["a", "b"]);
    assert_eq!(hub.channels(sockets[1].socket().id()).await.expect("one server"), Some(vec![]));
    assert_eq!(hub.channels("nobody").await.expect("one server"), None);
}

#[tokio::test]
async fn leave_all_takes_the_members_of_a_room_out_of_all_their_rooms() {
    let (hub, mut sockets) = sockets();
    for (n, name) in [(0, "a"), (0, "b"), (1, "b"), (1, "c")] {
        sockets[n].socket().subscribe(&room(name)).await.expect("a socket");
    }
    hub.leave_all(&room("a")).await.expect("one server");
    for name in ["a", "b", "c"] {
        tell(&hub, name).await;
    }
    assert_eq!(heard(&mut sockets), [vec![], vec!["b", "c"], vec![]]);
    hub.empty(&room("b")).await.expect("one server");
    for name in ["b", "c"] {
        tell(&hub, name).await;
    }
    assert_eq!(heard(&mut sockets), [vec![], vec!["c"], vec![]]);
}

#[tokio::test]
async fn broadcast_to_a_room_to_an_array_of_rooms_and_to_an_id() {
    let (hub, mut sockets) = sockets();
    for (n, name) in [(0, "a"), (0, "b"), (1, "b")] {
        sockets[n].socket().subscribe(&room(name)).await.expect("a socket");
    }
    tell(&hub, "a").await;
    // Sails sends two copies to a socket in two of the rooms.
    let rooms = ["a", "b", "c"].map(room);
    let publish = hub.publish(&rooms[0], message("rooms"));
    rooms[1..].iter().fold(publish, |publish, room| publish.and(room)).await.expect("JSON");
    assert!(hub.emit_to(sockets[2].socket().id(), &message("id")).await.expect("JSON"));
    assert_eq!(heard(&mut sockets), [vec!["a", "rooms"], vec!["rooms"], vec!["id"]]);
}

#[tokio::test]
async fn broadcast_and_blast_omit_the_requester() {
    let (hub, mut sockets) = sockets();
    for socket in &sockets {
        socket.socket().subscribe(&room("a")).await.expect("a socket");
    }
    // In Sails both forget whom to leave out where the name of the event is left out, and takes the default.
    hub.publish(&room("a"), message("broadcast")).except(sockets[0].socket()).await.expect("JSON");
    hub.blast(&message("blast")).except(sockets[1].socket()).await.expect("JSON");
    hub.blast(&message("to all")).await.expect("JSON");
    assert_eq!(
        heard(&mut sockets),
        [vec!["blast", "to all"], vec!["broadcast", "to all"], vec!["broadcast", "blast", "to all"]]
    );
}

#[tokio::test]
async fn add_and_remove_room_members_of_and_to_several_rooms() {
    let (hub, mut sockets) = sockets();
    for (n, name) in [(0, "a"), (1, "b")] {
        sockets[n].socket().subscribe(&room(name)).await.expect("a socket");
    }
    for from in ["a", "b"] {
        for to in ["x", "y"] {
            hub.add_members(&room(from), &room(to)).await.expect("one server");
        }
    }
    // It has ended when it returns.
    assert_eq!((hub.count(&room("x")).await.unwrap(), hub.count(&room("y")).await.unwrap()), (2, 2));
    hub.remove_members(&room("a"), &room("x")).await.expect("one server");
    tell(&hub, "x").await;
    tell(&hub, "y").await;
    assert_eq!(heard(&mut sockets), [vec!["y"], vec!["x", "y"], vec![]]);
}

#[tokio::test]
async fn get_and_get_id() {
    let (hub, mut sockets) = sockets();
    let id = sockets[0].socket().id().to_owned();
    let socket = hub.socket(&id).expect("connected");
    assert_eq!((socket.id(), socket.handshake().uri.path()), (&*id, "/"));
    socket.emit(&message("got")).expect("JSON");
    assert_eq!(heard(&mut sockets), [vec!["got"], vec![], vec![]]);
    drop(sockets);
    assert!(hub.socket(&id).is_none());
}

#[tokio::test]
async fn subscribers_are_listed_which_sails_gave_up() {
    let (hub, sockets) = sockets();
    sockets[0].socket().subscribe(&room("a")).await.expect("a socket");
    assert_eq!(hub.members(&room("a")).await.unwrap(), [sockets[0].socket().id()]);
    assert_eq!(hub.count(&room("b")).await.unwrap(), 0);
}
