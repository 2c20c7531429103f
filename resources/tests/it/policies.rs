//! Who may read and write.

use serde_json::json;

use catamaran_resources::test::assert_policy_agrees;

use crate::{
    models::{Caller, pet},
    world::World,
};

on_each_database! {
    a_policy_is_held_against_itself
    what_is_private_is_not_there_for_others
    a_scope_holds_where_it_is_populated
    a_write_cannot_leave_what_the_writer_may_write
    who_may_not_write_is_refused
    what_is_not_seen_cannot_be_referred_to
    a_replacement_leaves_what_is_not_seen
    who_is_not_let_in_is_told_by_the_extractor
    a_login_is_asked_for_only_where_it_is_needed
}

/// Ann (1) with a private pet (1) and a public one (2); Bob is 2.
async fn two_owners(world: &World) {
    for name in ["Ann", "Bob"] {
        world.user(name).await;
    }
    for (name, private) in [("Secret", true), ("Rex", false)] {
        let body = json!({"name": name, "private": private, "owner": 1});
        world.ask("POST", "/pet", Some(1), Some(body)).await.ok();
    }
}

async fn what_is_private_is_not_there_for_others(world: World) {
    two_owners(&world).await;
    assert_eq!(world.ask("GET", "/pet", Some(1), None).await.ids(), [1, 2]);
    for other in [None, Some(2)] {
        assert_eq!(world.ask("GET", "/pet", other, None).await.ids(), [2]);
        let all = "/pet?where=%7B%22or%22:%5B%7B%22private%22:true%7D,%7B%22private%22:false%7D%5D%7D";
        assert_eq!(world.ask("GET", all, other, None).await.ids(), [2]);
        for (method, target) in [
            ("GET", "/pet/1"),
            ("GET", "/pet/1/toys"),
            ("GET", "/pet/1/owner"),
            ("PATCH", "/pet/1"),
            ("DELETE", "/pet/1"),
            ("PUT", "/user/2/pets/1"),
            ("DELETE", "/user/1/pets/1"),
        ] {
            let body = (method == "PATCH").then(|| json!({"name": "Mine"}));
            world.ask(method, target, other, body).await.is_missing();
        }
    }
    assert_eq!(world.ask("GET", "/pet/1", Some(1), None).await.ok()["owner"], 1);
}

async fn a_scope_holds_where_it_is_populated(world: World) {
    two_owners(&world).await;
    world.toy("ball").await;
    for pet in [1, 2] {
        world.ask("PUT", &format!("/pet/{pet}/toys/1"), Some(1), None).await.ok();
    }
    for (user, ids) in [(Some(1), vec![1, 2]), (Some(2), vec![2]), (None, vec![2])] {
        assert_eq!(world.ask("GET", "/user/1/pets", user, None).await.ids(), ids);
        assert_eq!(world.ask("GET", "/toy/1/pets", user, None).await.ids(), ids);
        for target in ["/user/1?populate=pets", "/toy/1?populate=pets"] {
            let answer = world.ask("GET", target, user, None).await;
            assert_eq!(answer.ok()["pets"].as_array().map(Vec::len), Some(ids.len()), "{target}");
        }
    }
}

async fn a_write_cannot_leave_what_the_writer_may_write(world: World) {
    two_owners(&world).await;
    let forbidden = |answer: crate::world::Answer| assert_eq!((answer.status, answer.body), (403, json!("Forbidden")));
    // A private pet of Ann's would be out of Bob's sight as soon as he wrote it.
    let body = json!({"name": "Gift", "private": true, "owner": 1});
    forbidden(world.ask("POST", "/pet", Some(2), Some(body)).await);
    forbidden(world.ask("PATCH", "/pet/2", Some(2), Some(json!({"private": true}))).await);
    forbidden(world.ask("PUT", "/user/2/pets/1", Some(1), None).await);
    let body = json!({"name": "Cy", "email": "cy@example.org", "password": "s3cret", "pets": [1]});
    forbidden(world.ask("POST", "/user", Some(1), Some(body)).await);
    assert_eq!(world.ask("GET", "/pet", Some(1), None).await.ids(), [1, 2]);
    assert_eq!(world.get("/user").await.ids(), [1, 2]);
    assert_eq!(world.get("/pet/2").await.ok()["private"], false);
}

async fn who_may_not_write_is_refused(world: World) {
    two_owners(&world).await;
    for (method, target, body) in [
        ("POST", "/pet", Some(json!({"name": "New"}))),
        ("PATCH", "/pet/2", Some(json!({"name": "Other"}))),
        ("DELETE", "/pet/2", None),
        ("PUT", "/user/2/pets/2", None),
        ("DELETE", "/user/1/pets/2", None),
        ("PUT", "/user/1/pets", Some(json!([]))),
    ] {
        assert_eq!(world.ask(method, target, Some(0), body).await.status, 403, "{method} {target}");
    }
    assert_eq!(
        world.get("/pet").await.ok(),
        &json!([
            {"id": 2, "name": "Rex", "private": false, "owner": 1, "vet": null}
        ])
    );
}

async fn what_is_not_seen_cannot_be_referred_to(world: World) {
    two_owners(&world).await;
    let toy = json!({"label": "ball", "pets": [1]});
    world.ask("POST", "/toy", Some(2), Some(toy.clone())).await.refused("E_INVALID_NEW_RECORD");
    world.ask("POST", "/toy", Some(1), Some(toy)).await.ok();
    world.ask("PUT", "/toy/1/pets/1", Some(2), None).await.is_missing();
}

async fn a_replacement_leaves_what_is_not_seen(world: World) {
    two_owners(&world).await;
    world.ask("PUT", "/user/1/pets", Some(2), Some(json!([]))).await.ok();
    assert_eq!(world.ask("GET", "/user/1/pets", Some(1), None).await.ids(), [1]);
}

async fn who_is_not_let_in_is_told_by_the_extractor(world: World) {
    world.user("Ann").await;
    for (method, target, body) in [
        ("GET", "/note", None),
        ("GET", "/note?nobody=knows", None),
        ("GET", "/note/a", None),
        ("POST", "/note", Some(json!({"nobody": 1}))),
        ("PATCH", "/note/a", Some(json!({}))),
        ("DELETE", "/note/a", None),
        ("GET", "/note/a/user", None),
    ] {
        let answer = world.ask(method, target, None, body).await;
        assert_eq!((answer.status, answer.body), (401, json!("log in first")), "{method} {target}");
    }
}

async fn a_login_is_asked_for_only_where_it_is_needed(world: World) {
    world.user("Ann").await;
    let note = json!({"id": "a", "text": "hello", "user": 1});
    world.ask("POST", "/note", Some(1), Some(note)).await.ok();
    world.get("/user?populate=pets").await.ok();
    assert_eq!(world.get("/user?populate=notes").await.status, 401);
    assert_eq!(world.get("/user/1/notes").await.status, 401);
    assert_eq!(world.ask("GET", "/user/1?populate=notes", Some(1), None).await.ok()["notes"][0]["id"], "a");
    assert_eq!(world.ask("GET", "/user/1?populate=notes", Some(2), None).await.ok()["notes"], json!([]));
}

/// Pets of a policy whose halves differ about those without an owner.
mod stray {
    use catamaran_resources::{Policy, Write};
    use sea_orm::{Condition, entity::prelude::*};

    use crate::models::Caller;

    #[catamaran_resources::resource(path = "/stray", policy = Strays)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub owner_id: Option<i64>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    pub(crate) struct Strays;

    impl Policy<Entity> for Strays {
        type Viewer = Caller;

        fn scope(caller: &Caller) -> Condition {
            // In SQL nothing is equal to null, nor different from it.
            Condition::all().add(Column::OwnerId.ne(caller.user))
        }

        fn can_read(caller: &Caller, pet: &Model) -> bool {
            pet.owner_id != caller.user
        }

        fn can_write(_: &Caller, _: Write<'_, Model>) -> bool {
            false
        }
    }
}

async fn a_policy_is_held_against_itself(world: World) {
    let ann = world.user("Ann").await;
    let callers = move || [None, Some(ann), Some(9)].map(|user| Caller { user });
    for (private, owner) in [(false, None), (true, Some(ann)), (true, None)] {
        let body = json!({"name": "Rex", "private": private, "owner": owner});
        let made = world.ask("POST", "/pet", Some(ann), Some(body)).await;
        assert_eq!(made.status == 200, !private || owner.is_some(), "{made:?}");
    }
    assert_policy_agrees::<pet::Entity>(&world.resources, callers()).await;

    let resources = world.resources.clone();
    let held = tokio::spawn(async move { assert_policy_agrees::<stray::Entity>(&resources, callers()).await });
    let panic = held.await.expect_err("they differ").into_panic();
    assert_eq!(
        panic.downcast_ref::<String>().map(String::as_str),
        Some(
            "the policy of `pet` says two things of record 1 to Caller { user: Some(1) }: by `scope` it is out of sight, \
             by `can_read` seen"
        )
    );
}
