//! One socket whose user changes between two requests: each subscription is judged by the viewer of its own request.

use std::time::{Duration, SystemTime};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    middleware::{Next, from_fn},
    response::Response,
};
use catamaran::{App, AuthExpiry, action, routes};
use serde_json::{Value as Json, json};

use crate::{
    models::{pet, toy, user},
    resume::{outcome, position},
    socket::Socket,
    world::World,
};

/// Long enough for a request on a busy machine.
const MOMENT: Duration = Duration::from_millis(500);

/// From now on the socket is this user's, 0 for nobody's, and each request of its is authorized for a moment if it says so.
#[action(post "/become/{user}/{expires}")]
async fn become_user(user: i64, expires: bool) -> [(header::HeaderName, String); 1] {
    [(header::SET_COOKIE, format!("as={user}.{expires}; Path=/"))]
}

/// What a session layer does: finds the user of a request, and until when the login lasts.
async fn log_in_by_cookie(expiry: AuthExpiry, mut request: Request, next: Next) -> Response {
    if let Some((user, expires)) = who(request.headers()) {
        request.headers_mut().remove("user");
        if user != "0" {
            request.headers_mut().insert("user", HeaderValue::from_str(&user).expect("a number"));
        }
        if expires {
            expiry.at(SystemTime::now() + MOMENT);
        }
    }
    next.run(request).await
}

fn who(headers: &HeaderMap) -> Option<(String, bool)> {
    let cookie = headers.get(header::COOKIE)?.to_str().ok()?;
    let (_, said) = cookie.split_once("as=")?;
    let (user, expires) = said.split(';').next()?.split_once('.')?;
    Some((user.to_owned(), expires == "true"))
}

async fn world() -> World {
    let world = World::memory().await;
    for name in ["Ann", "Bob"] {
        world.user(name).await;
    }
    let app =
        App::new(world.resources.clone()).mount(routes![user, pet, toy, become_user]).layer(from_fn(log_in_by_cookie));
    world.with(app)
}

async fn becomes(socket: &mut Socket, user: i64, expires: bool) {
    let (status, body) = socket.ask("post", &format!("/become/{user}/{expires}"), json!(null)).await;
    assert_eq!(status, 200, "{body}");
}

/// Makes a private pet of this user, by the user's own socket.
async fn private_pet(world: &World, owner: i64) -> Socket {
    let mut socket = Socket::connect(world, owner).await;
    let (status, pet) = socket.ask("post", "/pet", json!({"name": "Secret", "private": true, "owner": owner})).await;
    assert_eq!(status, 200, "{pet}");
    socket
}

/// Changes the name of the private pet, by the socket of its owner.
async fn rename(owner: &mut Socket, name: &str) {
    let (status, pet) = owner.ask("patch", "/pet/1", json!({"name": name})).await;
    assert_eq!(status, 200, "{pet}");
}

/// The names that a socket has heard of a pet.
async fn names(socket: &mut Socket) -> Vec<String> {
    let heard = socket.heard().await;
    let data = heard.iter().filter(|event| event[0] == "pet").map(|event| &event[1]["data"]["name"]);
    data.filter_map(Json::as_str).map(str::to_owned).collect()
}

#[tokio::test]
async fn visitor_who_logs_in_hears_of_the_own_records() {
    let world = world().await;
    let mut owner = private_pet(&world, 1).await;
    let mut socket = Socket::connect(&world, 0).await;
    becomes(&mut socket, 0, false).await;
    assert_eq!(socket.get("/pet").await, json!([]));
    becomes(&mut socket, 1, false).await;
    assert_eq!(socket.get("/pet").await[0]["name"], "Secret");
    rename(&mut owner, "for the owner").await;
    assert_eq!(names(&mut socket).await, ["for the owner"]);
}

#[tokio::test]
async fn user_who_logs_out_hears_as_a_visitor() {
    let world = world().await;
    let mut owner = private_pet(&world, 1).await;
    let mut socket = Socket::connect(&world, 1).await;
    assert_eq!(socket.get("/pet").await[0]["name"], "Secret");
    becomes(&mut socket, 0, false).await;
    assert_eq!(socket.get("/pet").await, json!([]));
    rename(&mut owner, "not for visitors").await;
    assert_eq!(names(&mut socket).await, [""; 0]);
}

#[tokio::test]
async fn second_user_of_a_socket_hears_of_the_own_records() {
    let world = world().await;
    let mut owner = private_pet(&world, 2).await;
    let mut socket = Socket::connect(&world, 1).await;
    assert_eq!(socket.get("/pet").await, json!([]));
    becomes(&mut socket, 2, false).await;
    assert_eq!(socket.get("/pet").await[0]["name"], "Secret");
    rename(&mut owner, "for the second").await;
    assert_eq!(names(&mut socket).await, ["for the second"]);
}

/// The authorization of the first request ends, and the second request is a visitor's.
async fn hears_after_the_login_has_ended(second: i64) -> Vec<String> {
    let world = world().await;
    let mut owner = private_pet(&world, 1).await;
    let (mut socket, mut control) = (Socket::connect(&world, 1).await, Socket::ours(&world, 1, json!({})).await);
    becomes(&mut socket, 1, true).await;
    assert_eq!(socket.get("/pet").await[0]["name"], "Secret");
    becomes(&mut socket, second, false).await;
    socket.get("/pet").await;
    // Its authorization began later than that of the other, and a client of ours is told of the end.
    becomes(&mut control, 1, true).await;
    control.get("/pet").await;
    while control.next().await[0] != "$left" {}
    rename(&mut owner, "after the end").await;
    names(&mut socket).await
}

#[tokio::test]
async fn visitor_does_not_extend_the_login_of_a_user() {
    assert_eq!(hears_after_the_login_has_ended(0).await, [""; 0]);
}

#[tokio::test]
async fn another_user_does_not_extend_the_login_of_a_user() {
    assert_eq!(hears_after_the_login_has_ended(2).await, [""; 0]);
}

/// What stands here does hold today: the same user extends the own login.
#[tokio::test]
async fn user_extends_the_own_login() {
    assert_eq!(hears_after_the_login_has_ended(1).await, ["after the end"]);
}

/// A page lists pets as one user, and comes back as another: the ack of its request then, and the names that it hears.
async fn comes_back(first: i64, second: i64) -> (Json, Vec<String>) {
    const PAGE: &str = "the client of one page";
    let world = world().await;
    let mut owner = private_pet(&world, 1).await;
    let mut socket = Socket::page(&world, PAGE, first, json!({})).await;
    let before = socket.ack("get", "/pet", json!({})).await;
    drop(socket);
    rename(&mut owner, "meanwhile").await;
    let mut back = Socket::page(&world, PAGE, second, json!({"pet": position(&before, "pet")})).await;
    let ack = back.ack("get", "/pet", json!({})).await;
    let heard = back.heard().await;
    let entries = heard.iter().filter(|event| event[0] == "$replay").flat_map(|event| event[2].as_array());
    let names = entries.flatten().filter_map(|entry| entry[2]["data"]["name"].as_str());
    (ack, names.map(str::to_owned).collect())
}

#[tokio::test]
async fn page_recovers_as_the_same_viewer() {
    for (user, heard) in [(1, vec!["meanwhile"]), (2, vec![])] {
        let (ack, names) = comes_back(user, user).await;
        assert_eq!(
            (outcome(&ack, "pet").as_str(), names),
            ("recovered", heard.into_iter().map(str::to_owned).collect())
        );
    }
}

#[tokio::test]
async fn page_does_not_recover_as_another_viewer() {
    for (first, second, pets) in [(1, 2, 0), (2, 1, 1), (1, 0, 0), (0, 1, 1)] {
        let (ack, names) = comes_back(first, second).await;
        assert_eq!(outcome(&ack, "pet"), "gap", "{first}, then {second}");
        assert_eq!((ack["body"].as_array().map(Vec::len), names), (Some(pets), vec![]), "{first}, then {second}");
    }
}

/// The login of a page ends, and it asks again with its position: how it is resumed.
async fn asks_again_after_its_login(second: i64) -> String {
    let world = world().await;
    let mut owner = private_pet(&world, 1).await;
    let mut socket = Socket::ours(&world, 1, json!({})).await;
    becomes(&mut socket, 1, true).await;
    let before = socket.ack("get", "/pet", json!({})).await;
    assert_eq!(before["body"][0]["name"], "Secret");
    while socket.next().await[0] != "$left" {}
    rename(&mut owner, "meanwhile").await;
    becomes(&mut socket, second, false).await;
    socket.resume = json!({"pet": position(&before, "pet")});
    outcome(&socket.ack("get", "/pet", json!({})).await, "pet")
}

#[tokio::test]
async fn same_viewer_recovers_after_the_login_has_ended() {
    assert_eq!(asks_again_after_its_login(1).await, "recovered");
}

#[tokio::test]
async fn another_viewer_does_not_recover_after_the_login_has_ended() {
    for second in [0, 2] {
        assert_eq!(asks_again_after_its_login(second).await, "gap", "{second}");
    }
}
