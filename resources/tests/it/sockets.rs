//! The same over a socket.

use serde_json::{Value as Json, json};

use crate::{socket::Socket, world::World};

on_each_database! {
    a_socket_gets_what_http_gets
    the_data_of_a_get_is_its_query
}

async fn a_socket_gets_what_http_gets(world: World) {
    let mut ann = Socket::connect(&world, 1).await;
    let body = json!({"name": "Ann", "email": "ann@example.org", "password": "s3cret"});
    let (status, made) = ann.ask("post", "/user", body).await;
    assert_eq!((status, &made), (200, world.get("/user/1").await.ok()));
    ann.ask("post", "/pet", json!({"name": "Secret", "private": true, "owner": 1})).await;
    for target in ["/user", "/pet", "/pet/1?populate=owner", "/user/1/pets", "/user/9", "/user/x", "/user?limit=1001"] {
        let answer = world.ask("GET", target, Some(1), None).await;
        assert_eq!(ann.ask("get", target, json!(null)).await, (answer.status.into(), answer.body), "{target}");
    }
    assert_eq!(ann.ask("get", "/pet/7", json!({})).await, (404, json!("Not Found")));
    assert_eq!(ann.ask("patch", "/pet/1", json!({"name": "Max"})).await.1["name"], "Max");
    assert_eq!(ann.ask("put", "/user/1/pets", json!([])).await, (403, json!("Forbidden")));
    let mut bob = Socket::connect(&world, 2).await;
    assert_eq!(bob.ask("get", "/pet", json!({})).await, (200, json!([])));
    assert_eq!(bob.ask("delete", "/pet/1", json!({})).await, (404, json!("Not Found")));
    assert_eq!(ann.ask("delete", "/pet/1", json!({})).await.0, 200);
    assert_eq!(ann.ask("delete", "/user", json!({"id": 1})).await, (200, made));
}

async fn the_data_of_a_get_is_its_query(world: World) {
    for name in ["Ann", "Bob", "Cy"] {
        world.user(name).await;
    }
    let mut socket = Socket::connect(&world, 1).await;
    let mut ids = async |data: Json| {
        let (status, list) = socket.ask("get", "/user", data).await;
        assert_eq!(status, 200, "{list}");
        list.as_array().expect("a list").iter().map(|user| user["id"].as_i64().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(ids(json!({"where": {"name": ["Ann", "Cy"]}})).await, [1, 3]);
    assert_eq!(ids(json!({"where": {"or": [{"name": "Bob"}]}, "limit": 5})).await, [2]);
    assert_eq!(ids(json!({"name": ["Ann", "Bob"]})).await, [1, 2]);
    assert_eq!(ids(json!({"age": null, "sort": "id DESC", "limit": 2})).await, [3, 2]);
    assert_eq!(ids(json!({"sort": [{"age": "ASC"}, {"id": "DESC"}]})).await, [3, 2, 1]);
    assert_eq!(ids(json!({"select": ["name"], "populate": ["pets"], "where": null})).await, [1, 2, 3]);
}
