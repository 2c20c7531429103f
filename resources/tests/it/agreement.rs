//! The helper that compares what a policy says to a database with what it says of a record.

use catamaran_resources::test::assert_policy_agrees;
use futures_util::FutureExt;
use serde_json::json;

use crate::{
    models::{Caller, note, pet, user},
    world::World,
};

on_each_database! {
    the_policies_of_the_tests_agree
    each_difference_is_named
    nothing_is_left_behind
}

fn callers() -> [Caller; 4] {
    [None, Some(0), Some(1), Some(2)].map(|user| Caller { user })
}

/// Public and private pets of nobody, Ann and Bob.
async fn pets(world: &World) -> Vec<pet::Model> {
    let owners = [None, Some(world.user("Ann").await), Some(world.user("Bob").await)];
    let mut pets = Vec::new();
    for private in [true, false] {
        for owner_id in owners {
            let id = 10 + i64::try_from(pets.len()).expect("few");
            pets.push(pet::Model { id, name: "Rex".into(), private, owner_id, vet_id: None });
        }
    }
    pets
}

async fn the_policies_of_the_tests_agree(world: World) {
    let pets = pets(&world).await;
    assert_policy_agrees::<pet::Entity>(&world.resources, callers(), pets).await;
    let note =
        |id: &str, user_id| note::Model { id: id.into(), text: String::new(), mood: Some(note::Mood::Bad), user_id };
    let logins = [1, 2].map(|user| crate::models::Login { user });
    assert_policy_agrees::<note::Entity>(&world.resources, logins, [note("a", 1), note("b", 2)]).await;
}

/// Two mistakes: who has no login is the owner of what nobody owns, and user 0 is told of everything.
#[allow(unreachable_pub)]
mod wrong {
    use catamaran_resources::Policy;
    use sea_orm::{Condition, entity::prelude::*};

    use crate::models::Caller;

    #[catamaran_resources::resource(path = "/wrong", policy = Wrong)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "pet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        pub private: bool,
        pub owner_id: Option<i64>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    pub struct Wrong;

    impl Policy<Entity> for Wrong {
        type Viewer = Caller;

        fn scope(caller: &Caller) -> Condition {
            let everything = (caller.user == Some(0)).then(|| Column::Id.gt(0));
            let own = caller.user.map(|user| Column::OwnerId.eq(user));
            Condition::any().add(Column::Private.eq(false)).add_option(own).add_option(everything)
        }

        fn can_read(caller: &Caller, pet: &Model) -> bool {
            !pet.private || pet.owner_id == caller.user
        }
    }
}

async fn each_difference_is_named(world: World) {
    let pets = pets(&world).await;
    let pets = pets.iter().map(|pet| wrong::Model {
        id: pet.id,
        name: pet.name.clone(),
        private: pet.private,
        owner_id: pet.owner_id,
    });
    let asked = assert_policy_agrees::<wrong::Entity>(&world.resources, callers(), pets.take(2));
    let panic = std::panic::AssertUnwindSafe(asked).catch_unwind().await.expect_err("the policy disagrees");
    let pet = |id: i64, owner: &str| format!(r#"Model {{ id: {id}, name: "Rex", private: true, owner_id: {owner} }}"#);
    let said = [
        "the policy of `pet` disagrees with itself:".to_owned(),
        format!("  `can_read` shows Caller {{ user: None }} what `scope` does not: {}", pet(10, "None")),
        format!("  `scope` shows Caller {{ user: Some(0) }} what `can_read` does not: {}", pet(10, "None")),
        format!("  `scope` shows Caller {{ user: Some(0) }} what `can_read` does not: {}", pet(11, "Some(1)")),
    ];
    assert_eq!(panic.downcast_ref::<String>(), Some(&said.join("\n")));
}

async fn nothing_is_left_behind(world: World) {
    let pets = pets(&world).await;
    assert_policy_agrees::<pet::Entity>(&world.resources, callers(), pets).await;
    assert_eq!(world.get("/pet").await.ids(), [0; 0]);
    let ann = user::Model {
        id: 1,
        name: "Ann".into(),
        email: "a@example.org".into(),
        password: "s3cret".into(),
        is_admin: false,
        age: None,
        motto: None,
        boss_id: None,
    };
    let clash = assert_policy_agrees::<user::Entity>(&world.resources, [()], [ann]);
    std::panic::AssertUnwindSafe(clash).catch_unwind().await.expect_err("there is a user 1");
    world.post("/pet", json!({"name": "Rex"})).await.ok();
}
