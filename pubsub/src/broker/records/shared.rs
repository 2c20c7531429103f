//! What holds of records on every broker, and on servers of Redis and Postgres that tests start.

use std::sync::Arc;

use super::{
    model::{EXPIRED, GONE, HELD, LONG, SHORT, agrees_with_the_model, list_all, seen, until},
    *,
};
use crate::{
    Backend, Cluster, Postgres, Redis,
    broker::{mock, servers},
    testing::Hub,
};

/// A server of the application, when its broker can be reached.
struct Server {
    cluster: Arc<Cluster>,
    records: Records,
}

impl Server {
    async fn start(backend: impl Into<Backend>) -> Self {
        let cluster = Cluster::new();
        cluster.join(backend.into()).expect("its settings make sense");
        let server = Self { records: cluster.registry().records(), cluster };
        server.comes_up().await;
        server
    }

    async fn comes_up(&self) {
        until("the broker", async || self.records.list("", None, 1).await.is_ok()).await;
    }

    async fn goes_down(&self) {
        until("an error", async || match self.records.list("", None, 1).await {
            Err(error) => {
                assert!(matches!(error, RecordError::Down | RecordError::Unknown), "{error:?}");
                error == RecordError::Down
            }
            Ok(_) => false,
        })
        .await;
        let renewed = self.cluster.registry().records().renew("me", LONG).await;
        assert_eq!(renewed, Err(RecordError::Down));
    }
}

/// Of several that claim or take over a key at once, one is accepted, and the others are answered with its record.
async fn one_of_several_wins(servers: [&Records; 2]) {
    for round in 0..100 {
        let key = format!("race {round}");
        let holders = ["0", "1", "2", "3"];
        let claims = holders.iter().zip(servers.iter().cycle());
        let claims = claims.map(|(holder, records)| records.claim(&key, holder, holder.as_bytes(), EXPIRED));
        let first = winner(futures_util::future::join_all(claims).await);
        until("the end of its lease", async || {
            list_all(servers[0], &key, 1).await.0.iter().all(|(_, (.., is_over))| *is_over)
        })
        .await;
        let from = RecordTakeOver::Expired;
        let claims = holders.iter().zip(servers.iter().cycle());
        let claims = claims.map(|(holder, records)| records.take_over(&key, from, holder, holder.as_bytes(), HELD));
        assert!(winner(futures_util::future::join_all(claims).await) > first);
    }
}

/// The epoch of the one that was accepted.
fn winner(answers: Vec<Result<FromStore<RecordOutcome>, RecordError>>) -> u64 {
    let mut accepted = Vec::new();
    let mut held = Vec::new();
    for (holder, answer) in answers.into_iter().enumerate() {
        match answer.expect("the broker answers").answer {
            RecordOutcome::Accepted { epoch } => accepted.push((holder.to_string(), epoch)),
            RecordOutcome::Held(record) => held.push((record.holder, record.epoch)),
            RecordOutcome::Absent => panic!("it exists"),
        }
    }
    assert_eq!((accepted.len(), held.len()), (1, 3), "{accepted:?} {held:?}");
    assert!(held.iter().all(|of| *of == accepted[0]), "{accepted:?} {held:?}");
    accepted[0].1
}

/// A holder whose lease is over and that was taken over writes nothing any more.
async fn former_holder_is_fenced(former: &Records, present: &Records) {
    let claimed = former.claim("fenced", "former", b"", EXPIRED).await.unwrap();
    let RecordOutcome::Accepted { epoch } = claimed.answer else { panic!("nobody has it") };
    let fence = RecordFence { holder: "former", store: &claimed.store, epoch };
    let mut taken = None;
    until("the end of its lease", async || {
        let answer =
            present.take_over("fenced", RecordTakeOver::Expired, "present", b"mine", HELD).await.unwrap().answer;
        taken = Some(answer.clone());
        matches!(answer, RecordOutcome::Accepted { .. })
    })
    .await;
    let Some(RecordOutcome::Accepted { epoch: raised }) = taken else { panic!("it was accepted") };
    assert!(raised > epoch);
    assert_eq!(former.renew("former", LONG).await.unwrap().answer, 0);
    let expected = ("present".to_owned(), b"mine".to_vec(), raised, false);
    for refused in [former.replace("fenced", fence, b"late", HELD).await, former.remove("fenced", fence).await] {
        let RecordOutcome::Held(record) = refused.unwrap().answer else { panic!("it is refused") };
        assert_eq!(seen(&record), expected);
    }
}

/// Several pages of records are listed and renewed, and no others.
async fn more_than_a_page_is_listed_and_renewed(records: &Records) {
    let count = RENEWED_AT_ONCE + MAX_RECORD_PAGE / 2;
    let keys: Vec<_> = (0..count).map(|number| format!("tenant:1:{number:04}")).collect();
    let claims = keys.iter().map(|key| records.claim(key, "server", b"there", EXPIRED));
    for claimed in futures_util::future::join_all(claims).await {
        assert!(matches!(claimed.unwrap().answer, RecordOutcome::Accepted { .. }));
    }
    for (key, holder) in [("tenant:10:0", "server"), ("tenant:1", "server"), ("tenant:1:0000", "other")] {
        // The last of these exists.
        records.claim(key, holder, b"", HELD).await.unwrap();
    }
    let (listed, _) = list_all(records, "tenant:1:", MAX_RECORD_PAGE).await;
    assert_eq!(listed.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
    assert_eq!(records.renew("server", LONG).await.unwrap().answer, count as u64 + 2);
    let (listed, _) = list_all(records, "tenant:1:", 7).await;
    assert!(listed.len() == count && listed.iter().all(|(_, (.., is_over))| !is_over));
}

/// The broker forgets: the store is another one, and the claim of the former is not accepted.
async fn forgetting_is_visible(records: &Records, forget: impl AsyncFnOnce()) {
    let before = records.claim("forgotten", "me", b"", HELD).await.unwrap();
    let RecordOutcome::Accepted { epoch } = before.answer else { panic!("nobody has it") };
    forget().await;
    let fence = RecordFence { holder: "me", store: &before.store, epoch };
    let mut after = None;
    until("the broker", async || {
        after = records.replace("forgotten", fence, b"done", HELD).await.ok();
        after.is_some()
    })
    .await;
    let after = after.expect("it was answered");
    assert_eq!(after.answer, RecordOutcome::Absent);
    assert_ne!(after.store, before.store);
    assert!(list_all(records, "", 100).await.0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn memory_agrees_with_the_model() {
    let records = Hub::default().registry().records();
    agrees_with_the_model(&records, 0..300).await;
    one_of_several_wins([&records, &records]).await;
    former_holder_is_fenced(&records, &records).await;
    more_than_a_page_is_listed_and_renewed(&records).await;
}

#[tokio::test(start_paused = true)]
async fn mock_agrees_with_the_model() {
    let backend = mock::Backend::default();
    let [here, there] = [(); 2].map(|()| Records::new(Arc::new(backend.connect(Hub::default().registry().flow()))));
    agrees_with_the_model(&here, 0..100).await;
    one_of_several_wins([&here, &there]).await;
    former_holder_is_fenced(&here, &there).await;
    more_than_a_page_is_listed_and_renewed(&here).await;
    forgetting_is_visible(&here, async || backend.forget_records()).await;
}

#[tokio::test]
async fn redis_agrees_with_the_model() {
    let redis = servers::redis::RedisServer::start();
    let here = Server::start(Redis::connect(redis.url()).prefix("records")).await;
    agrees_with_the_model(&here.records, 0..25).await;
}

#[tokio::test]
async fn postgres_agrees_with_the_model() {
    let postgres = servers::postgres::Server::start();
    let here = Server::start(Postgres::connect(postgres.url())).await;
    agrees_with_the_model(&here.records, 0..25).await;
}

#[tokio::test]
async fn redis_has_one_holder_for_each_record() {
    let redis = servers::redis::RedisServer::start();
    let start = || Server::start(Redis::connect(redis.url()).prefix("records"));
    let (here, there) = (start().await, start().await);
    one_of_several_wins([&here.records, &there.records]).await;
    former_holder_is_fenced(&here.records, &there.records).await;
    more_than_a_page_is_listed_and_renewed(&here.records).await;
    let other = Server::start(Redis::connect(redis.url()).prefix("other")).await;
    assert!(list_all(&other.records, "", 100).await.0.is_empty());
    assert_eq!(other.records.renew("server", SHORT).await.unwrap().answer, 0);
}

#[tokio::test]
async fn postgres_has_one_holder_for_each_record() {
    let postgres = servers::postgres::Server::start();
    let start = || Server::start(Postgres::connect(postgres.url()));
    let (here, there) = (start().await, start().await);
    one_of_several_wins([&here.records, &there.records]).await;
    former_holder_is_fenced(&here.records, &there.records).await;
    more_than_a_page_is_listed_and_renewed(&here.records).await;
    postgres.client().await.batch_execute("create database other").await.unwrap();
    let other = Server::start(Postgres::connect(postgres.url_of("other"))).await;
    assert!(list_all(&other.records, "", 100).await.0.is_empty());
    assert_eq!(other.records.renew("server", SHORT).await.unwrap().answer, 0);
}

#[tokio::test]
async fn redis_that_forgot_is_another_store() {
    let mut redis = servers::redis::RedisServer::start();
    let here = Server::start(Redis::connect(redis.url()).prefix("records")).await;
    forgetting_is_visible(&here.records, async || drop(redis.ask(&["FLUSHALL"]))).await;
    // As an eviction does.
    for key in ["{records}:records", "{records}:records:names", "{records}:records:held", "{records}:records:ends"] {
        forgetting_is_visible(&here.records, async || assert_eq!(redis.ask(&["DEL", key]), "1")).await;
    }
    // It has its records still when it comes back, but perhaps not the last.
    forgetting_is_visible(&here.records, async || {
        assert_eq!(redis.ask(&["SAVE"]), "OK");
        redis.kill();
        here.goes_down().await;
        redis.run();
        assert_ne!(redis.ask(&["HLEN", "{records}:records"]), "0");
    })
    .await;
}

#[tokio::test]
async fn postgres_that_forgot_is_another_store() {
    let mut postgres = servers::postgres::Server::start();
    let here = Server::start(Postgres::connect(postgres.url())).await;
    let admin = postgres.client().await;
    let truncate = "truncate catamaran.records";
    forgetting_is_visible(&here.records, async || admin.batch_execute(truncate).await.unwrap()).await;
    forgetting_is_visible(&here.records, async || {
        postgres.stop();
        here.goes_down().await;
        postgres.run();
    })
    .await;
    forgetting_is_visible(&here.records, async || {
        postgres.crash();
        here.goes_down().await;
        postgres.run();
    })
    .await;
}

#[tokio::test]
async fn redis_without_room_changes_no_record() {
    let redis = servers::redis::RedisServer::start();
    let here = Server::start(Redis::connect(redis.url()).prefix("records")).await;
    let claimed = here.records.claim("key", "me", b"begun", HELD).await.unwrap();
    let RecordOutcome::Accepted { epoch } = claimed.answer else { panic!("nobody has it") };
    let fence = RecordFence { holder: "me", store: &claimed.store, epoch };
    redis.fill_up();
    assert_eq!(here.records.replace("key", fence, b"done", HELD).await, Err(RecordError::Down));
    redis.make_room();
    let mut page = None;
    until("the broker", async || {
        page = here.records.list("", None, 1).await.ok();
        page.is_some()
    })
    .await;
    let page = page.expect("it was answered");
    assert_eq!(page.store, claimed.store);
    let [(key, record)] = &page.answer.records[..] else { panic!("{page:?}") };
    assert_eq!((&**key, seen(record)), ("key", ("me".to_owned(), b"begun".to_vec(), epoch, false)));
}

#[tokio::test]
async fn old_postgres_tables_gain_records() {
    const FORMER: [&str; 2] = [
        include_str!("../../../../tests/fixtures/postgres-schema-1.sql"),
        include_str!("../../../../tests/fixtures/postgres-schema-2.sql"),
    ];
    let postgres = servers::postgres::Server::start();
    for (version, schema) in FORMER.iter().enumerate() {
        let database = format!("of_version_{}", version + 1);
        postgres.client().await.batch_execute(&format!("create database {database}")).await.unwrap();
        let admin = postgres.client_of(&database).await;
        admin.batch_execute(schema).await.unwrap();
        let here = Server::start(Postgres::connect(postgres.url_of(&database))).await;
        let claimed = here.records.claim("key", "me", b"", HELD).await.unwrap();
        assert!(matches!(claimed.answer, RecordOutcome::Accepted { .. }));
        // As whoever administers a database may do at any time.
        admin.batch_execute(Postgres::SCHEMA).await.unwrap();
        let (listed, store) = list_all(&here.records, "", 1).await;
        assert_eq!((listed.len(), store), (1, claimed.store));
    }
}

#[tokio::test]
async fn redis_keeps_nothing_of_records_that_are_gone() {
    let redis = servers::redis::RedisServer::start();
    let here = Server::start(Redis::connect(redis.url()).prefix("records")).await;
    for number in 0..200 {
        here.records.claim(&number.to_string(), "me", b"", GONE).await.unwrap();
    }
    until("the end of the records", async || {
        here.records.list("", None, 1).await.unwrap();
        redis.ask(&["HLEN", "{records}:records"]) == "3"
    })
    .await;
    for key in ["{records}:records:names", "{records}:records:held", "{records}:records:ends"] {
        assert_eq!(redis.ask(&["EXISTS", key]), "0");
    }
}

#[tokio::test]
async fn postgres_keeps_nothing_of_records_that_are_gone() {
    let postgres = servers::postgres::Server::start();
    let here = Server::start(Postgres::connect(postgres.url())).await;
    for number in 0..200 {
        here.records.claim(&number.to_string(), "me", b"", GONE).await.unwrap();
    }
    here.records.claim("kept", "me", b"", HELD).await.unwrap();
    let admin = postgres.client().await;
    until("the cleaner", async || {
        // The record that names the store is the other one.
        admin.query_one("select count(*) from catamaran.records", &[]).await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
    assert_eq!(list_all(&here.records, "", 100).await.0.len(), 1);
}
