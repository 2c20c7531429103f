//! Another program in the way of a write.

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::world::World;

/// The write holds the user and waits for the pet; the other program holds the pet and wants the user.
#[tokio::test]
async fn a_write_in_a_deadlock_begins_anew() {
    let world = Arc::new(World::postgres().await);
    world.user("Ann").await;
    world.pet("Rex", None).await;
    let db = world.resources.db();
    let other = db.begin().await.expect("a transaction");
    let run = async |statement| other.execute_unprepared(statement).await.expect("a sound statement");
    // The write is the one that looks for a deadlock, and so the one that ends by it.
    run("SET deadlock_timeout = '1h'").await;
    run("UPDATE pet SET name = 'Max' WHERE id = 1").await;
    let write = tokio::spawn({
        let world = world.clone();
        async move { world.put("/user/1/pets/1").await }
    });
    let waiting = async {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        let count =
            || sea_orm::Statement::from_string(db.get_database_backend(), "SELECT 1 FROM pg_locks WHERE NOT granted");
        while db.query_one_raw(count()).await.expect("a sound statement").is_none() {
            pause.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the write waits for the pet");
    run(r#"UPDATE "user" SET age = 30 WHERE id = 1"#).await;
    other.commit().await.expect("it was not the one to end");
    let added = write.await.expect("no panic");
    assert_eq!((&added.ok()["age"], &added.ok()["pets"][0]["name"]), (&30.into(), &"Max".into()));
}
