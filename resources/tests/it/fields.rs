//! The rules of fields, of verbs and of associations hold whichever way a request comes.

use catamaran::{App, routes};
use sea_orm::{EntityTrait, QueryOrder};
use serde_json::{Value as Json, json};

use crate::{
    socket::Socket,
    world::{Answer, World},
};

on_each_database! {
    key_is_written_by_members_only_where_an_update_could
    hidden_key_is_shown_by_no_association
    association_is_read_only_unless_its_model_opens_it
    sails_opens_associations_that_say_nothing
    left_out_verbs_are_refused_in_bodies_and_queries
    database_errors_are_kept_from_viewers_who_may_not_write
    hidden_change_is_sent_only_to_those_whose_sight_it_moves
    custom_rules_hold_for_changes
}

/// A resource whose records lead to a holder by a key with these rules.
macro_rules! child {
    ($name:ident, $table:literal, $path:literal $(, $option:ident = $value:tt)*; $($rule:tt)*) => {
                #[allow(dead_code)]
        pub mod $name {
            use sea_orm::entity::prelude::*;

            #[catamaran_resources::resource(path = $path, policy = catamaran_resources::Public $(, $option = $value)*)]
            #[sea_orm::model]
            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                #[sea_orm(primary_key)]
                pub id: i64,
                pub name: String,
                $($rule)*
                pub holder_id: Option<i64>,
                #[sea_orm(belongs_to, from = "holder_id", to = "id")]
                pub holder: BelongsTo<Option<super::holder::Entity>>,
            }

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

child!(plain, "plain", "/plain";);
child!(fixed, "fixed", "/fixed"; #[field(read_only)]);
child!(once, "once", "/once"; #[field(create_only)]);
child!(secret, "secret", "/secret"; #[field(hidden)]);
child!(frozen, "frozen", "/frozen", except = [update];);

pub mod holder {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/holder", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "holder")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub plain: HasMany<super::plain::Entity>,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub fixed: HasMany<super::fixed::Entity>,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub once: HasMany<super::once::Entity>,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub secret: HasMany<super::secret::Entity>,
        #[sea_orm(has_many)]
        #[field(writable)]
        pub frozen: HasMany<super::frozen::Entity>,
        #[sea_orm(has_many, via = "holder_club")]
        pub clubs: HasMany<super::club::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A club says who its members are; to its circle it leads in secret, and to its fans for all to read.
pub mod club {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/club", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "club")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many, via = "holder_club")]
        #[field(writable)]
        pub holders: HasMany<super::holder::Entity>,
        #[sea_orm(self_ref, via = "club_club", from = "One", to = "Other")]
        #[field(hidden)]
        pub circle: HasMany<Entity>,
        #[sea_orm(self_ref, via = "club_club", reverse)]
        #[field(read_only)]
        pub fans: HasMany<Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table of clubs again, as a resource that does nothing with associations.
pub mod quiet {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/quiet", policy = catamaran_resources::Public, only = [find, find_one, create, update])]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "quiet")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
        #[sea_orm(has_many, via = "quiet_club")]
        #[field(writable)]
        pub clubs: HasMany<super::club::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Nobody changes these.
pub mod locked {
    use catamaran_resources::{Public, ReadOnly};
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/locked", policy = ReadOnly<Public>)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "locked")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What is withdrawn is seen by user 1 alone, and nobody is told that it is.
pub mod draft {
    use catamaran_resources::{Policy, Write};
    use sea_orm::{Condition, entity::prelude::*};

    use crate::models::Caller;

    #[catamaran_resources::resource(path = "/draft", policy = Drafts)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "draft")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[field(hidden, default = false)]
        pub withdrawn: bool,
    }

    impl ActiveModelBehavior for ActiveModel {}

    pub struct Drafts;

    impl Policy<Entity> for Drafts {
        type Viewer = Caller;

        fn scope(caller: &Caller) -> Condition {
            let all = (caller.user == Some(1)).then(|| Column::Id.gt(0));
            Condition::any().add(Column::Withdrawn.eq(false)).add_option(all)
        }

        fn can_read(caller: &Caller, draft: &Model) -> bool {
            caller.user == Some(1) || !draft.withdrawn
        }

        fn can_write(caller: &Caller, _: Write<'_, Model>) -> bool {
            caller.user == Some(1)
        }
    }
}

macro_rules! between {
    ($name:ident, $table:literal, $one:ident: $one_key:ident = $one_from:literal / $one_enum:literal, $other:ident: $other_key:ident = $other_from:literal / $other_enum:literal) => {
        #[allow(dead_code)]
        pub mod $name {
            use sea_orm::entity::prelude::*;

            #[sea_orm::model]
            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                #[sea_orm(primary_key, auto_increment = false)]
                pub $one_key: i64,
                #[sea_orm(primary_key, auto_increment = false)]
                pub $other_key: i64,
                #[sea_orm(belongs_to, relation_enum = $one_enum, from = $one_from, to = "id")]
                pub one: BelongsTo<super::$one::Entity>,
                #[sea_orm(belongs_to, relation_enum = $other_enum, from = $other_from, to = "id")]
                pub other: BelongsTo<super::$other::Entity>,
            }

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

between!(holder_club, "holder_club", holder: holder_id = "holder_id" / "Holder", club: club_id = "club_id" / "Club");
between!(quiet_club, "quiet_club", quiet: quiet_id = "quiet_id" / "Quiet", club: club_id = "club_id" / "Club");
between!(club_club, "club_club", club: one_id = "one_id" / "One", club: other_id = "other_id" / "Other");

/// Holders 1 and 2, a child 1 of each kind that leads to holder 1 and a child 2 that leads nowhere, clubs 1 and 2.
async fn holders(world: World) -> World {
    let tables = world.resources.sync(|schema| {
        let schema = schema.register(holder::Entity).register(plain::Entity).register(fixed::Entity);
        let schema = schema.register(once::Entity).register(secret::Entity).register(frozen::Entity);
        let schema = schema.register(club::Entity).register(quiet::Entity).register(locked::Entity);
        let schema = schema.register(draft::Entity);
        schema.register(holder_club::Entity).register(quiet_club::Entity).register(club_club::Entity)
    });
    tables.await.expect("the schema is sound");
    let world = serve(world);
    for name in ["a", "b"] {
        world.post("/holder", json!({"name": name})).await.ok();
        world.post("/club", json!({"name": name})).await.ok();
    }
    world.post("/quiet", json!({"name": "q"})).await.ok();
    for kind in KINDS {
        for holder in ["1", "null"] {
            world.run(&format!("insert into {kind} (name, holder_id) values ('c', {holder})")).await;
        }
    }
    world
}

fn serve(world: World) -> World {
    let app = App::new(world.resources.clone());
    let app = app.mount(routes![holder, plain, fixed, once, secret, frozen, club, quiet, locked, draft]);
    world.with(app)
}

const KINDS: [&str; 5] = ["plain", "fixed", "once", "secret", "frozen"];

/// The holders that the children of a kind lead to.
async fn keys(world: &World, kind: &str) -> Vec<Option<i64>> {
    let db = world.resources.db();
    macro_rules! of {
        ($($module:ident)*) => {
            match kind {
                $(stringify!($module) => {
                    let all = $module::Entity::find().order_by_asc($module::Column::Id).all(db).await.expect("children");
                    all.iter().map(|child| child.holder_id).collect()
                })*
                _ => unreachable!("{kind}"),
            }
        };
    }
    of!(plain fixed once secret frozen)
}

async fn key_is_written_by_members_only_where_an_update_could(world: World) {
    let world = holders(world).await;
    for kind in KINDS {
        let list = format!("/holder/1/{kind}");
        for (method, target, body) in [
            ("PUT", format!("/holder/2/{kind}/1"), None),
            ("PUT", format!("{list}/2"), None),
            ("DELETE", format!("{list}/1"), None),
            ("PUT", list.clone(), Some(json!([]))),
            ("PUT", list.clone(), Some(json!([2]))),
            ("PATCH", "/holder/1".into(), Some(json!({kind: []}))),
            ("PATCH", "/holder/2".into(), Some(json!({kind: [1], "name": "new"}))),
            ("POST", "/holder".into(), Some(json!({"name": "new", kind: [1]}))),
            ("POST", "/holder".into(), Some(json!({"name": "new", kind: []}))),
            ("DELETE", "/holder/1".into(), None),
        ] {
            if kind == "plain" {
                continue;
            }
            let before = world.get("/holder").await;
            let answer = world.ask(method, &target, None, body.clone()).await;
            assert!(matches!(answer.status, 400 | 403 | 404), "{method} {target} {body:?}: {answer:?}");
            assert_eq!(keys(&world, kind).await, [Some(1), None], "{method} {target} {body:?}");
            assert_eq!(world.get("/holder").await, before, "{method} {target} {body:?}");
        }
    }
    // The key of the plain ones is anybody's to write.
    world.put("/holder/2/plain/1").await.ok();
    assert_eq!(keys(&world, "plain").await, [Some(2), None]);
    world.ask("PUT", "/holder/1/plain", None, Some(json!([1, 2]))).await.ok();
    assert_eq!(keys(&world, "plain").await, [Some(1), Some(1)]);
    // A key is written by its own record where its rules let it.
    world.patch("/plain/1", json!({"holder": 2})).await.ok();
    world.patch("/secret/1", json!({"holder": 2})).await.ok();
    world.post("/once", json!({"name": "new", "holder": 1})).await.ok();
    for (target, body) in [("/once/1", json!({"holder": 2})), ("/fixed/1", json!({"holder": 2}))] {
        world.patch(target, body).await.refused("E_INVALID_VALUES_TO_SET");
    }
}

async fn hidden_key_is_shown_by_no_association(world: World) {
    let world = holders(world).await;
    let shows = |answer: &Answer| answer.body.to_string().contains("secret") && answer.status == 200;
    for target in ["/secret/1/holder", "/holder/1/secret", "/holder/1/secret?select=id"] {
        world.get(target).await.is_missing();
    }
    for target in ["/secret?populate=holder", "/secret/1?populate=holder", "/holder?populate=secret"] {
        world.get(target).await.refused("E_INVALID_POPULATES");
    }
    for target in [
        "/secret?holder=1",
        "/secret?sort=holder",
        "/secret?select=holder",
        "/secret?omit=holder",
        "/secret?where=%7B%22or%22:%5B%7B%22holder%22:1%7D%5D%7D",
        "/holder/1/plain?sort=secret",
    ] {
        world.get(target).await.refused("E_INVALID_CRITERIA");
    }
    let unknown = world.post("/holder", json!({"name": "new", "secret": [1]})).await;
    assert!(unknown.body["details"].as_str().unwrap_or_default().starts_with("unknown field `secret`"), "{unknown:?}");
    assert_eq!(world.get("/secret").await.ok()[0], json!({"id": 1, "name": "c"}));

    let mut page = Socket::connect(&world, 1).await;
    for list in ["/holder", "/secret"] {
        page.get(list).await;
    }
    world.patch("/secret/1", json!({"holder": 2})).await.ok();
    world.post("/secret", json!({"name": "new", "holder": 1})).await.ok();
    world.delete("/secret/1").await.ok();
    let heard = page.heard().await;
    let verbs: Vec<_> = heard.iter().map(|event| (&event[0], &event[1]["verb"])).collect();
    assert_eq!(verbs, [(&json!("secret"), &json!("created")), (&json!("secret"), &json!("destroyed"))]);
    assert!(!Json::from(heard).to_string().contains("holder"));

    // Sails populates everything that there is to see.
    let world = serve(world.like_sails());
    let holder = world.get("/holder/1").await;
    assert!(holder.ok().get("plain").is_some() && !shows(&holder), "{holder:?}");
    assert!(world.get("/secret/2").await.ok().get("holder").is_none());
}

async fn association_is_read_only_unless_its_model_opens_it(world: World) {
    let world = holders(world).await;
    world.put("/club/1/holders/1").await.ok();
    for (method, target, body, status) in [
        ("PUT", "/holder/2/clubs/1", None, 403),
        ("DELETE", "/holder/1/clubs/1", None, 403),
        ("PUT", "/holder/1/clubs", Some(json!([])), 403),
        ("PATCH", "/holder/1", Some(json!({"clubs": []})), 400),
        ("POST", "/holder", Some(json!({"name": "new", "clubs": [1]})), 400),
        // Said to be read-only: there is no route but to read.
        ("PUT", "/club/1/fans/2", None, 404),
        ("PUT", "/club/1/fans", Some(json!([2])), 405),
        ("PATCH", "/club/1", Some(json!({"fans": [2]})), 400),
        // Hidden: it is as if it were not there.
        ("GET", "/club/1/circle", None, 404),
        ("PUT", "/club/1/circle", Some(json!([2])), 404),
        ("PUT", "/club/1/circle/2", None, 404),
        ("PATCH", "/club/1", Some(json!({"circle": [2]})), 400),
        ("POST", "/club", Some(json!({"name": "new", "circle": [2]})), 400),
        ("GET", "/club?populate=circle", None, 400),
    ] {
        let answer = world.ask(method, target, None, body).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
    }
    let refused = world.put("/holder/2/clubs/1").await.body.to_string();
    assert!(
        refused.contains("`clubs` of `holder` is read-only") && refused.contains("#[field(writable)]"),
        "{refused}"
    );
    // Both ends are read, and the club's is written.
    assert_eq!(world.get("/holder/1/clubs").await.ids(), [1]);
    assert_eq!(world.get("/club/1/fans").await.ids(), [0; 0]);
    world.patch("/club/1", json!({"holders": [2]})).await.ok();
    assert_eq!(world.get("/holder/2/clubs").await.ids(), [1]);
}

async fn sails_opens_associations_that_say_nothing(world: World) {
    let world = serve(holders(world).await.like_sails());
    world.put("/holder/2/clubs/1").await.ok();
    assert_eq!(world.get("/holder/2/clubs").await.ids(), [1]);
    // What a model says holds for Sails' clients, too: such fields of a body are dropped.
    world.patch("/club/1", json!({"name": "new", "fans": [2], "circle": [2]})).await.ok();
    assert_eq!(world.get("/club/1/fans").await.ids(), [0; 0]);
    assert_eq!(world.get("/club/2/fans").await.ids(), [0; 0]);
    assert_eq!(world.put("/club/1/fans/2").await.status, 404);
}

async fn left_out_verbs_are_refused_in_bodies_and_queries(world: World) {
    let world = holders(world).await;
    for (method, target, body, status) in [
        ("PUT", "/quiet/1/clubs/1", None, 404),
        ("PUT", "/quiet/1/clubs", Some(json!([1])), 404),
        ("GET", "/quiet/1/clubs", None, 404),
        ("DELETE", "/quiet/1", None, 405),
        ("PATCH", "/quiet/1", Some(json!({"clubs": [1]})), 400),
        ("POST", "/quiet", Some(json!({"name": "new", "clubs": [1]})), 400),
        ("GET", "/quiet?populate=clubs", None, 400),
        ("GET", "/quiet/1?populate=clubs", None, 400),
    ] {
        let answer = world.ask(method, target, None, body).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
    }
    let world = serve(world.like_sails());
    assert!(world.get("/quiet/1").await.ok().get("clubs").is_none());
    world.patch("/quiet/1", json!({"name": "new", "clubs": [1]})).await.ok();
    assert_eq!(quiet_club::Entity::find().all(world.resources.db()).await.expect("links").len(), 0);
}

async fn database_errors_are_kept_from_viewers_who_may_not_write(world: World) {
    let world = holders(world).await;
    world.run("insert into locked (name) values ('a'), ('b')").await;
    assert_eq!(world.get("/locked").await.ids(), [1, 2]);
    for name in ["b", "c"] {
        assert_eq!(world.patch("/locked/1", json!({"name": name})).await.status, 403, "{name}");
    }
    assert_eq!(world.post("/locked", json!({"name": "c"})).await.status, 403);
    assert_eq!(world.delete("/locked/1").await.status, 403);
    assert_eq!(world.get("/locked").await.ok()[0]["name"], "a");
}

async fn hidden_change_is_sent_only_to_those_whose_sight_it_moves(world: World) {
    let world = holders(world).await;
    let as_one = async |method: &str, target: &str, body: Json| {
        world.ask(method, target, Some(1), Some(body)).await.ok();
    };
    as_one("POST", "/draft", json!({})).await;
    let (mut one, mut two) = (Socket::connect(&world, 1).await, Socket::connect(&world, 2).await);
    for page in [&mut one, &mut two] {
        page.get("/draft").await;
    }
    for withdrawn in [true, false] {
        as_one("PATCH", "/draft/1", json!({"withdrawn": withdrawn})).await;
    }
    assert_eq!(one.heard().await, [json!(null); 0]);
    let told = [json!({"verb": "destroyed", "id": 1}), json!({"verb": "created", "id": 1, "data": {"id": 1}})];
    assert_eq!(two.heard().await, told.map(|message| json!(["draft", message])));
}

#[allow(dead_code, unreachable_pub)]
mod booking {
    use sea_orm::entity::prelude::*;

    #[catamaran_resources::resource(path = "/booking", policy = catamaran_resources::Public)]
    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "booking")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[garde(custom(even), range(max = 10))]
        pub seats: i32,
        #[garde(required, length(min = 2))]
        pub name: Option<String>,
        #[garde(custom(short))]
        pub remark: Option<String>,
    }

    impl ActiveModelBehavior for ActiveModel {}

    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn even(seats: &i32, (): &()) -> garde::Result {
        if seats % 2 == 0 { Ok(()) } else { Err(garde::Error::new("seats are sold in pairs")) }
    }

    fn short(remark: &Option<String>, (): &()) -> garde::Result {
        let is_short = remark.as_ref().is_none_or(|remark| remark.len() < 5);
        if is_short { Ok(()) } else { Err(garde::Error::new("too long")) }
    }
}

async fn custom_rules_hold_for_changes(world: World) {
    world.resources.sync(|schema| schema.register(booking::Entity)).await.expect("the schema is sound");
    let app = App::new(world.resources.clone()).mount(routes![booking]);
    let world = world.with(app);
    let details = |answer: Answer| answer.body["details"].clone();
    let odd = world.post("/booking", json!({"seats": 3, "name": "Ann"})).await;
    assert_eq!(details(odd), "`seats`: seats are sold in pairs");
    world.post("/booking", json!({"seats": 4})).await.refused("E_INVALID_NEW_RECORD");
    world.post("/booking", json!({"seats": 4, "name": "Ann"})).await.ok();

    let odd = world.patch("/booking/1", json!({"seats": 3})).await;
    odd.refused("E_INVALID_VALUES_TO_SET");
    assert_eq!(details(odd), "`seats`: seats are sold in pairs");
    assert_eq!(details(world.patch("/booking/1", json!({"seats": 12})).await), "`seats`: greater than 10");
    assert_eq!(details(world.patch("/booking/1", json!({"name": null})).await), "`name`: not set");
    assert_eq!(details(world.patch("/booking/1", json!({"name": "A"})).await), "`name`: length is lower than 2");
    assert_eq!(details(world.patch("/booking/1", json!({"remark": "12345"})).await), "`remark`: too long");
    // What is absent breaks no rule.
    let changed = world.patch("/booking/1", json!({"remark": null, "seats": 6})).await;
    assert_eq!((&changed.ok()["seats"], &changed.ok()["name"]), (&json!(6), &json!("Ann")));
}
