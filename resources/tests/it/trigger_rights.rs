//! What a role with few rights can do with the function that the triggers run on PostgreSQL, which has more.

use catamaran_resources::{Meta, Resource, Resources};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TryGetable};

use crate::{
    models::{friendship, note, pet, pet_toy, toy, user},
    outbox::left,
    socket::Socket,
    world::World,
};

fn all() -> [&'static Meta; 4] {
    [user::Entity::meta(), pet::Entity::meta(), toy::Entity::meta(), note::Entity::meta()]
}

/// A database with triggers, and nobody who sends what they write.
async fn with_triggers() -> World {
    let world = World::postgres().await;
    drop(world.resources.clone().triggers(all()).await.expect("triggers"));
    world
}

/// A role that may write toys, and make what it likes in a schema of its own; it has the name of that schema.
async fn intruder(world: &World) -> World {
    world
        .run(
            "do $$ begin create role low login; exception when duplicate_object or unique_violation then null; end $$;
             create schema low authorization low;
             grant insert, update, delete, select on toy to low; grant usage on sequence toy_id_seq to low",
        )
        .await;
    World::of(&world.url.replace("//postgres@", "//low@")).await
}

async fn value<T: TryGetable>(world: &World, select: &str) -> T {
    let select = Statement::from_string(DbBackend::Postgres, format!("select ({select}) as value"));
    let row = world.resources.db().query_one_raw(select).await.expect("a sound statement").expect("a row");
    row.try_get("", "value").expect("a value")
}

/// The one row that stands in the outbox.
async fn message(world: &World) -> String {
    assert_eq!(left(world).await, 1);
    value(world, "select changed_table || ' ' || message from public.catamaran_outbox").await
}

#[tokio::test]
async fn temporary_table_does_not_shadow_the_outbox() {
    let world = with_triggers().await;
    intruder(&world)
        .await
        .run(
            "begin;
             create temp table catamaran_outbox (seq int, changed_table text, message text, leaves_out text);
             insert into public.toy (label) values ('ball');
             do $$ begin assert not exists (select from pg_temp.catamaran_outbox); end $$;
             commit",
        )
        .await;
    assert_eq!(message(&world).await, r#"toy [null, {"id":1,"label":"ball"}]"#);
}

/// Each function and operator that the trigger's function uses, once more: with the same types, and before `pg_catalog`.
#[tokio::test]
async fn schema_of_a_caller_does_not_shadow_functions() {
    let world = with_triggers().await;
    let intruder = intruder(&world).await;
    intruder
        .run(
            "create table low.catamaran_outbox (seq int, changed_table text, message text, leaves_out text);
             create table low.ran (what text, by_role text);
             grant all on all tables in schema low to public; grant usage on schema low to public;
             create function low.spy(what text) returns void language sql as $$
                insert into low.ran values (what, current_user) $$;
             create function low.row_to_json(public.toy) returns json language plpgsql as $$
                begin perform low.spy('row_to_json'); return null; end $$;
             create function low.row_to_json(record) returns json language plpgsql as $$
                begin perform low.spy('row_to_json'); return null; end $$;
             create function low.json_build_array(json, json) returns json language plpgsql as $$
                begin perform low.spy('json_build_array'); return null; end $$;
             create function low.current_setting(text, boolean) returns text language plpgsql as $$
                begin perform low.spy('current_setting'); return null; end $$;
             create function low.same(public.toy, public.toy) returns boolean language plpgsql as $$
                begin perform low.spy('*='); return true; end $$;
             create operator low.*= (leftarg = public.toy, rightarg = public.toy, function = low.same);
             create function low.equal(text, text) returns boolean language plpgsql as $$
                begin perform low.spy('='); return false; end $$;
             create operator low.= (leftarg = text, rightarg = text, function = low.equal);
             set search_path = low, pg_catalog, public;
             insert into public.toy (label) values ('ball');
             update public.toy set label = 'bone';
             set search_path = low, pg_temp, pg_catalog, public;
             delete from public.toy",
        )
        .await;
    let ran: i64 = value(&world, "select count(*) from low.ran").await;
    let stolen: i64 = value(&world, "select count(*) from low.catamaran_outbox").await;
    assert_eq!((ran, stolen, left(&world).await), (0, 0, 3));
}

#[tokio::test]
async fn function_is_called_by_triggers_of_its_owner_alone() {
    let world = with_triggers().await;
    let intruder = intruder(&world).await;
    for statement in [
        "select public.catamaran_outbox()",
        "create table low.mine (id int);
         create trigger forge after insert on low.mine for each row execute function public.catamaran_outbox('user');
         insert into low.mine values (1)",
        "create temp table mine (id int);
         create trigger forge after insert on mine for each row execute function public.catamaran_outbox('user');
         insert into mine values (1)",
        "insert into public.catamaran_outbox (changed_table, message) values ('user', '[null, {}]')",
        "select * from public.catamaran_outbox",
        "create or replace function public.catamaran_outbox() returns trigger language plpgsql as 'begin return null; end'",
    ] {
        let refused = intruder.resources.db().execute_unprepared(statement).await.expect_err(statement);
        assert!(
            refused.to_string().contains("permission denied") || refused.to_string().contains("must be owner"),
            "{statement}: {refused}"
        );
    }
    assert_eq!(left(&world).await, 0);
    let open: bool =
        value(&world, "select has_function_privilege('public', 'public.catamaran_outbox()', 'execute')").await;
    assert!(!open);
}

/// As versions up to 0.1 have made it.
const FORMER: &str = "
    create function catamaran_outbox() returns trigger
    language plpgsql security definer set search_path from current as $$
    begin
        insert into catamaran_outbox (changed_table, message) values (
            tg_argv[0], json_build_array(row_to_json(old), row_to_json(new))
        );
        return null;
    end $$;
    create trigger catamaran_outbox after insert or update or delete on toy
    for each row execute function catamaran_outbox('toy')";

#[tokio::test]
async fn former_function_is_replaced() {
    let world = World::postgres().await;
    // The table is the same.
    drop(world.resources.clone().outbox().await.expect("an outbox"));
    world.run(FORMER).await;
    let intruder = intruder(&world).await;
    let attack = "begin; create temp table catamaran_outbox (changed_table text, message text) on commit drop;
                  insert into public.toy (label) values ('ball'); commit";
    intruder.run(attack).await;
    assert_eq!(left(&world).await, 0, "the former function writes where its caller says");
    drop(world.resources.clone().triggers(all()).await.expect("triggers"));
    let config: String =
        value(&world, "select proconfig::text || proacl::text from pg_proc where proname = 'catamaran_outbox'").await;
    assert_eq!(config, r#"{"search_path=pg_catalog, pg_temp"}{postgres=X/postgres}"#);
    let triggers: i64 =
        value(&world, "select count(*) from pg_trigger where tgrelid = 'toy'::regclass and not tgisinternal").await;
    assert_eq!(triggers, 1);
    intruder.run(attack).await;
    assert_eq!(message(&world).await, r#"toy [null, {"id":2,"label":"ball"}]"#);
}

#[tokio::test]
async fn changed_rights_of_the_function_are_mended() {
    for change in [
        "grant execute on function catamaran_outbox() to public",
        "alter function catamaran_outbox() security invoker",
        "alter function catamaran_outbox() reset all",
        "alter function catamaran_outbox() set search_path = public",
    ] {
        let world = with_triggers().await;
        world.run(change).await;
        drop(world.resources.clone().triggers(all()).await.expect("triggers"));
        let state =
            "select prosecdef::text || proconfig::text || proacl::text from pg_proc where proname = 'catamaran_outbox'";
        let state: String = value(&world, state).await;
        assert_eq!(state, r#"true{"search_path=pg_catalog, pg_temp"}{postgres=X/postgres}"#, "{change}");
    }
}

/// Who makes the outbox before the application does would read all records, and run code with the rights of others.
#[tokio::test]
async fn outbox_of_another_role_is_refused() {
    let refusal = async |world: &World| {
        let refused = world.resources.clone().triggers(all()).await.expect_err("it is somebody else's");
        refused.to_string()
    };
    let world = World::postgres().await;
    let intruder_of = intruder(&world).await;
    world.run("grant create on schema public to low").await;
    intruder_of.run("create table public.catamaran_outbox (seq bigserial, changed_table text, message text)").await;
    let said = refusal(&world).await;
    assert!(said.contains("belongs to the role `low`") && said.contains("Resources::triggers"), "{said}");

    let world = World::postgres().await;
    let intruder_of = intruder(&world).await;
    world.run("grant create on schema public to low").await;
    intruder_of
        .run("create function public.catamaran_outbox() returns trigger language plpgsql as 'begin return null; end'")
        .await;
    let said = refusal(&world).await;
    assert!(said.contains("belongs to the role `low`") && said.contains("drop the function"), "{said}");
    world.run("drop function catamaran_outbox").await;
    drop(world.resources.clone().triggers(all()).await.expect("triggers"));
}

#[tokio::test]
async fn schema_with_quotes_has_triggers_of_its_own() {
    let world = with_triggers().await;
    world
        .run(
            r#"do $$ begin create role odd login; exception when duplicate_object or unique_violation then null; end $$;
               create schema "we""ird $$'s" authorization odd;
               alter role odd set search_path = "we""ird $$'s""#,
        )
        .await;
    let odd = World::of(&world.url.replace("//postgres@", "//odd@")).await;
    let synced = odd.resources.sync(|schema| {
        let schema = schema.register(user::Entity).register(friendship::Entity).register(pet::Entity);
        schema.register(toy::Entity).register(pet_toy::Entity).register(note::Entity)
    });
    synced.await.expect("the schema is sound");
    let odd = odd.with_triggers(all()).await;
    let mut page = Socket::connect(&odd, 1).await;
    page.get("/toy").await;
    odd.run("insert into toy (label) values ('ball')").await;
    assert_eq!(page.next().await[1]["data"]["label"], "ball");
    assert_eq!(left(&world).await, 0, "the outbox of another schema has nothing of it");
    // The next server finds them.
    drop(odd.resources.clone().triggers(all()).await.expect("triggers"));
}

/// The rights that the README names are enough for the next server, which makes nothing.
#[tokio::test]
async fn role_without_ownership_is_told_what_is_missing() {
    let world = with_triggers().await;
    world
        .run(
            "do $$ begin create role lesser login; exception when duplicate_object or unique_violation then null; end $$;
             grant select, insert, update, delete on all tables in schema public to lesser;
             grant usage on all sequences in schema public to lesser",
        )
        .await;
    let lesser = World::of(&world.url.replace("//postgres@", "//lesser@")).await;
    let again = |resources: Resources| async move { resources.triggers(all()).await.map(drop) };
    again(lesser.resources.clone()).await.expect("all is there");
    world.run("drop trigger catamaran_outbox on toy").await;
    let said = again(lesser.resources.clone()).await.expect_err("a trigger is missing").to_string();
    assert!(said.contains("the trigger of the table `toy`") && said.contains("`postgres`"), "{said}");
    world.run("drop function catamaran_outbox cascade").await;
    let said = again(lesser.resources.clone()).await.expect_err("the function is missing").to_string();
    assert!(said.contains("the function `catamaran_outbox()`"), "{said}");
}
