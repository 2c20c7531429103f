//! What requests may make the server do and keep: each limit is filled, and one more is refused before it does anything.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, body::Body, http::Request};
use catamaran::{App, Result, action, routes};
use catamaran_resources::{Limits, Records, Resources};
use futures_util::{FutureExt, future::join_all};
use serde_json::{Value as Json, json};
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, timeout},
};

use crate::{
    models::{note, pet, toy, user},
    socket::Socket,
    world::{Answer, World, query},
};

on_each_database! {
    each_limit_of_a_query_is_exact
    populated_records_are_limited_in_all
    socket_beyond_followed_records_follows_all
    socket_beyond_followed_bytes_follows_all
    full_queue_refuses_the_next_write
    queue_is_limited_in_bytes
    write_that_has_not_started_ends_with_its_request
    write_that_has_not_started_ends_with_its_timeout
}

impl World {
    /// The same with other limits, and an action that keeps everybody from writing.
    fn limited(
        self,
        set: impl FnOnce(&mut Limits),
        set_up: impl FnOnce(App<Resources>) -> App<Resources>,
    ) -> (Self, Arc<Hold>) {
        let mut limits = Limits::default();
        set(&mut limits);
        let hold = Arc::new(Hold::default());
        let resources = self.resources.clone().limits(limits);
        let app =
            App::new(resources.clone()).mount(routes![user, pet, toy, note, hold_all]).layer(Extension(hold.clone()));
        let mut world = self.with(set_up(app));
        world.resources = resources;
        (world, hold)
    }
}

/// A transaction that lasts as long as a test wants.
#[derive(Default)]
struct Hold {
    begun: Notify,
    end: Notify,
}

#[action(post "/hold")]
async fn hold_all(toys: Records<toy::Entity>, Extension(hold): Extension<Arc<Hold>>) -> Result {
    toys.transaction(async |_| {
        hold.begun.notify_one();
        hold.end.notified().await;
        Ok(())
    })
    .await
}

/// A transaction that writes nothing.
#[cfg(feature = "backends")]
#[action(post "/nothing")]
async fn nothing(toys: Records<toy::Entity>) -> Result {
    toys.transaction(async |_| Ok(())).await
}

type Asked<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// Asks for a new toy. The request has reached the queue when this returns, and waits there or was refused.
async fn queued<'a>(world: &'a World, label: &str) -> Asked<'a> {
    let body = json!({"label": label}).to_string();
    let request = Request::post("/toy").header("content-type", "application/json").body(Body::from(body));
    let mut asked: Asked<'a> = Box::pin(world.send(request.expect("a request")));
    for _ in 0..10 {
        if let Some(answer) = (&mut asked).now_or_never() {
            return Box::pin(async { answer });
        }
        yield_now().await;
    }
    asked
}

fn is_refused(asked: Asked<'_>) -> bool {
    match asked.now_or_never() {
        Some(answer) => {
            assert_eq!((answer.status, &answer.body["code"]), (503, &json!("too_many_writes")), "{answer:?}");
            true
        }
        None => false,
    }
}

async fn labels(world: &World) -> Vec<Json> {
    let answer = world.get("/toy").await;
    answer.ok().as_array().expect("a list").iter().map(|toy| toy["label"].clone()).collect()
}

/// Waits for an answer, for as long as a test may take.
async fn soon<T>(asked: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), asked).await.expect("an answer")
}

/// The parameters of a query that fills a limit, and of one that goes beyond it.
type Queries = (&'static str, fn(&mut Limits), [(&'static str, String); 2], &'static str);

async fn each_limit_of_a_query_is_exact(world: World) {
    let nested = |levels: usize| {
        let inner = r#"{"name": "x"}"#.to_owned();
        (0..levels).fold(inner, |inner, _| format!(r#"{{"and": [{inner}]}}"#))
    };
    let conditions = |count: usize| json!({"or": vec![json!({"name": "x"}); count]}).to_string();
    let list = |count: usize| json!({"id": (0..count).collect::<Vec<_>>()}).to_string();
    let pattern = |operator: &str, text: String| json!({"name": {operator: text}}).to_string();
    let cases: [Queries; 12] = [
        ("limit", |_| {}, [("limit", "1000".into()), ("limit", "1001".into())], "1000"),
        ("limit", |limits| limits.records = 5, [("limit", "5".into()), ("limit", "6".into())], "5"),
        ("depth", |_| {}, [("where", nested(8)), ("where", nested(9))], "8 levels"),
        ("depth", |limits| limits.depth = 2, [("where", nested(2)), ("where", nested(3))], "2 levels"),
        ("conditions", |_| {}, [("where", conditions(199)), ("where", conditions(200))], "200 conditions"),
        ("values", |_| {}, [("where", list(1000)), ("where", list(1001))], "1000 values"),
        ("values", |limits| limits.values = 3, [("where", list(3)), ("where", list(4))], "3 values"),
        (
            "pattern",
            |_| {},
            [("where", pattern("contains", "a".repeat(1024))), ("where", pattern("contains", "a".repeat(1025)))],
            "1024 bytes",
        ),
        (
            "wildcards",
            |_| {},
            [("where", pattern("like", "%".repeat(32))), ("where", pattern("like", "%_".repeat(17)))],
            "32 wildcards",
        ),
        (
            "patterns together",
            |limits| limits.wildcards = 3,
            [
                ("where", json!({"or": [{"name": {"contains": "a"}}, {"name": {"endsWith": "a"}}]}).to_string()),
                ("where", json!({"or": [{"name": {"contains": "a"}}, {"name": {"contains": "a"}}]}).to_string()),
            ],
            "3 wildcards",
        ),
        (
            "bytes",
            |limits| limits.query_bytes = 105,
            // With `name=` these are as many, and one more.
            [("name", "a".repeat(100)), ("name", "a".repeat(101))],
            "105 bytes",
        ),
        ("bytes", |_| {}, [("name", "a".repeat(32 * 1024 - 5)), ("name", "a".repeat(32 * 1024 - 4))], "32768 bytes"),
    ];
    let mut world = world;
    for (name, set, [most, more], said) in cases {
        world = world.limited(set, |app| app).0;
        let ask = async |(name, value): &(&str, String)| world.get(&query("/user", [(*name, value.as_str())])).await;
        ask(&most).await.ok();
        let refused = ask(&more).await;
        refused.refused("E_INVALID_CRITERIA");
        let details = refused.body["details"].as_str().unwrap_or_default();
        assert!(details.contains(said), "{name}: {details}");
    }
}

async fn populated_records_are_limited_in_all(world: World) {
    let owners = [world.user("Ann").await, world.user("Bob").await];
    for owner in owners {
        for name in ["Rex", "Max"] {
            world.pet(name, Some(owner)).await;
        }
    }
    let world = world.limited(|limits| limits.populated = 4, |app| app).0;
    let most = world.get("/user?populate=pets").await;
    assert_eq!(most.ok()[1]["pets"].as_array().map(Vec::len), Some(2));
    world.get("/user?populate=pets,patients").await.ok();
    assert_eq!(world.get("/pet?populate=owner").await.ids().len(), 4);
    let third = world.pet("Pip", Some(owners[0])).await;
    for target in ["/user?populate=pets", "/pet?populate=owner"] {
        let refused = world.get(target).await;
        refused.refused("E_INVALID_POPULATES");
        assert!(refused.body["details"].as_str().unwrap_or_default().contains("4 records"), "{refused:?}");
    }
    world.get("/user?populate=pets&limit=1").await.ok();
    world.get(&format!("/pet/{third}?populate=owner")).await.ok();
    // A write is answered with one record, and is not undone by what it shows.
    world.like_sails().patch(&format!("/user/{}", owners[0]), json!({"name": "Anna"})).await.ok();
}

async fn follows_all(world: &World, beyond: &[&str], last: i64) {
    let mut page = Socket::connect(world, 1).await;
    for target in beyond {
        page.get(target).await;
    }
    // Never asked for, and with another label each time, since an update that changes nothing is not sent.
    world.patch(&format!("/toy/{last}"), json!({"label": format!("stick {}", beyond.len())})).await.ok();
    assert_eq!(page.next().await[1]["id"], last);
}

async fn socket_beyond_followed_records_follows_all(world: World) {
    let mut last = 0;
    for label in ["ball", "bone", "rope", "disc"] {
        last = world.toy(label).await;
    }
    let world = world.limited(|limits| limits.followed = 2, |app| app).0;
    // Each request by itself, and both together.
    follows_all(&world, &["/toy/1", "/toy/2", "/toy/3"], last).await;
    follows_all(&world, &["/toy?limit=3"], last).await;
    let mut page = Socket::connect(&world, 1).await;
    page.get("/toy?limit=2").await;
    world.patch(&format!("/toy/{last}"), json!({"label": "ring"})).await.ok();
    world.patch("/toy/1", json!({"label": "hoop"})).await.ok();
    assert_eq!(page.next().await[1]["id"], 1, "two are followed by themselves");
}

async fn socket_beyond_followed_bytes_follows_all(world: World) {
    let mut last = 0;
    for label in ["ball", "bone", "rope"] {
        last = world.toy(label).await;
    }
    let world = world.limited(|limits| limits.followed_bytes = 100, |app| app).0;
    follows_all(&world, &["/toy?limit=2"], last).await;
}

async fn full_queue_refuses_the_next_write(world: World) {
    let (world, hold) = world.limited(|limits| limits.writes = 3, |app| app);
    let mut held: Asked<'_> = Box::pin(world.post("/hold", json!(null)));
    tokio::select! {
        answer = &mut held => panic!("{answer:?}"),
        () = soon(hold.begun.notified()) => {}
    }
    let waiting = [queued(&world, "a").await, queued(&world, "b").await];
    let refused = queued(&world, "c").await.now_or_never().expect("an answer at once");
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("too_many_writes")));
    let hand_written = world.post("/hold", json!(null)).await;
    assert_eq!((hand_written.status, &hand_written.body["code"]), (503, &json!("too_many_writes")));
    hold.end.notify_one();
    soon(held).await.ok();
    for answer in soon(join_all(waiting)).await {
        answer.ok();
    }
    // What is done makes room.
    world.toy("d").await;
    assert_eq!(labels(&world).await.len(), 3);
}

async fn queue_is_limited_in_bytes(world: World) {
    let (world, hold) = world.limited(|limits| limits.write_bytes = 200, |app| app);
    let mut held: Asked<'_> = Box::pin(world.post("/hold", json!(null)));
    tokio::select! {
        answer = &mut held => panic!("{answer:?}"),
        () = soon(hold.begun.notified()) => {}
    }
    let waiting = queued(&world, &"a".repeat(100)).await;
    assert!(is_refused(queued(&world, &"b".repeat(100)).await));
    let small = queued(&world, "c").await;
    hold.end.notify_one();
    soon(held).await.ok();
    for answer in [soon(waiting).await, soon(small).await] {
        answer.ok();
    }
    assert_eq!(labels(&world).await.len(), 2);
}

async fn write_that_has_not_started_ends_with_its_request(world: World) {
    let (world, hold) = world.limited(|limits| limits.writes = 4, |app| app);
    let mut held: Asked<'_> = Box::pin(world.post("/hold", json!(null)));
    tokio::select! {
        answer = &mut held => panic!("{answer:?}"),
        () = soon(hold.begun.notified()) => {}
    }
    let gone = [queued(&world, "a").await, queued(&world, "b").await, queued(&world, "c").await];
    assert!(is_refused(queued(&world, "d").await), "these three wait");
    drop(gone);
    // A transaction of theirs may be under way, and is ended: all three places are free when none is.
    let next = [in_queue(&world, "e").await, in_queue(&world, "f").await, in_queue(&world, "g").await];
    hold.end.notify_one();
    soon(held).await.ok();
    for answer in join_all(next.map(soon)).await {
        answer.ok();
    }
    let mut labels = labels(&world).await;
    labels.sort_by_key(Json::to_string);
    assert_eq!(labels, [json!("e"), json!("f"), json!("g")]);
}

/// Asks for a new toy until the queue takes it.
async fn in_queue<'a>(world: &'a World, label: &str) -> Asked<'a> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut asked = queued(world, label).await;
        match (&mut asked).now_or_never() {
            Some(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            None => return asked,
        }
        assert!(Instant::now() < deadline, "those that left still have their places");
        yield_now().await;
    }
}

async fn write_that_has_not_started_ends_with_its_timeout(world: World) {
    let (world, hold) = world.limited(|_| {}, |app| app.timeout(Duration::from_secs(1)));
    // Not by a request, which has a timeout as well.
    let mut held = pin!(hold_by_hand(&world, &hold));
    tokio::select! {
        () = &mut held => panic!("it is held"),
        () = soon(hold.begun.notified()) => {}
    }
    let late = soon(world.post("/toy", json!({"label": "late"}))).await;
    assert_eq!((late.status, &late.body["code"]), (503, &json!("timed_out")));
    hold.end.notify_one();
    held.await;
    world.toy("next").await;
    assert_eq!(labels(&world).await, [json!("next")]);
}

/// The same as the action does, from another application with the same resources.
async fn hold_by_hand(world: &World, hold: &Arc<Hold>) {
    let app = App::new(world.resources.clone()).mount(routes![hold_all]).layer(Extension(hold.clone()));
    let router = app.into_router().expect("the application is well formed");
    let request = Request::post("/hold").body(Body::empty()).expect("a request");
    let Ok(response) = tower::ServiceExt::oneshot(router, request).await;
    assert_eq!(response.status(), 200);
}

/// What has started holds its records, so that nobody else could finish it.
#[cfg(feature = "backends")]
#[tokio::test]
async fn started_write_finishes_without_its_client() {
    use sea_orm::{ConnectionTrait, Statement, TransactionTrait};

    let world = World::postgres().await;
    let toy = world.toy("ball").await;
    let other = World::of(&world.url).await;
    let lock = other.resources.db().begin().await.expect("a transaction");
    lock.execute_unprepared("select * from toy for update").await.expect("a lock");
    let target = format!("/toy/{toy}");
    let mut request: Asked<'_> = Box::pin(world.patch(&target, json!({"label": "bone"})));
    let waits = async {
        let waiting = "select 1 where exists (select from pg_locks where not granted)";
        let waiting = Statement::from_string(sea_orm::DbBackend::Postgres, waiting);
        while other.resources.db().query_one_raw(waiting.clone()).await.expect("a sound statement").is_none() {
            yield_now().await;
        }
    };
    tokio::select! {
        answer = &mut request => panic!("{answer:?}"),
        () = soon(waits) => {}
    }
    drop(request);
    lock.rollback().await.expect("the end of the lock");
    let stored = async {
        while labels(&world).await != [json!("bone")] {
            yield_now().await;
        }
    };
    soon(stored).await;
}

/// PostgreSQL's driver forgets a transaction that is dropped while it begins.
#[cfg(feature = "backends")]
#[tokio::test]
async fn no_connection_is_left_inside_a_transaction() {
    use sea_orm::{ConnectionTrait, Statement};

    let world = World::postgres().await;
    let watcher = World::of(&world.url).await;
    let app = App::new(world.resources.clone()).mount(routes![user, pet, toy, note, nothing]);
    let world = world.with(app);
    for (target, body) in [("/nothing", Json::Null), ("/toy", json!({"label": "ball"}))] {
        for steps in 0..60 {
            let mut request: Asked<'_> = Box::pin(world.post(target, body.clone()));
            for _ in 0..steps {
                if (&mut request).now_or_never().is_some() {
                    break;
                }
                yield_now().await;
            }
        }
    }
    let inside = "select 1 where exists (
        select from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'
    )";
    let inside = Statement::from_string(sea_orm::DbBackend::Postgres, inside);
    let whole = async {
        while watcher.resources.db().query_one_raw(inside.clone()).await.expect("a sound statement").is_some() {
            yield_now().await;
        }
    };
    soon(whole).await;
}
