//! An application on a database of its own, and how tests ask it.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use catamaran::{App, Hub, routes};
use catamaran_resources::{Compat, Meta, Relay, Resources};
use sea_orm::{ConnectOptions, ConnectionTrait, DbBackend};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::models::{friendship, note, pet, pet_toy, toy, user};

/// Runs each test on each database.
macro_rules! on_each_database {
    ($($test:ident)*) => {
        on_each_database_with_triggers! { $($test)* }
        #[cfg(feature = "mysql")]
        mod mysql {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::mysql().await).await;
            })*
        }
    };
}

/// Runs each test on each database that the relay's triggers are for.
macro_rules! on_each_database_with_triggers {
    ($($test:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::memory().await).await;
            })*
        }
        mod file {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::file().await).await;
            })*
        }
        #[cfg(feature = "backends")]
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::postgres().await).await;
            })*
        }
    };
}

/// An application with an empty database.
pub(crate) struct World {
    pub(crate) resources: Resources,
    pub(crate) router: Router,
    /// Of its database, for those who open it too.
    pub(crate) url: String,
    _file: Option<File>,
    #[cfg(feature = "backends")]
    _database: Option<crate::postgres::Database>,
}

/// What came back.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Json,
}

/// A file that ends with the test.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

impl World {
    pub(crate) async fn memory() -> Self {
        Self::on("sqlite::memory:", None).await
    }

    pub(crate) async fn file() -> Self {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let name = format!("catamaran-{}-{}.db", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let url = format!("sqlite://{}", path.display());
        Self::on(&url, Some(File(path))).await
    }

    #[cfg(feature = "backends")]
    pub(crate) async fn postgres() -> Self {
        let database = crate::postgres::Database::new().await;
        let world = Self::on(&database.url, None).await;
        Self { _database: Some(database), ..world }
    }

    /// On a MySQL or MariaDB server that somebody has started, at the URL in `CATAMARAN_MYSQL`, without a database:
    /// `mysql://root@127.0.0.1:3306`.
    #[cfg(feature = "mysql")]
    pub(crate) async fn mysql() -> Self {
        static DATABASES: AtomicUsize = AtomicUsize::new(0);
        let server = std::env::var("CATAMARAN_MYSQL").expect("`CATAMARAN_MYSQL` says where a server is");
        let name = format!("test_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
        let any = Self::of(format!("{server}/information_schema")).await;
        any.run(&format!("create database {name} character set utf8mb4 collate utf8mb4_bin")).await;
        Self::on(&format!("{server}/{name}"), None).await
    }

    async fn on(url: &str, file: Option<File>) -> Self {
        let world = Self { _file: file, ..Self::of(url).await };
        let all = world.resources.sync(|schema| {
            let schema = schema.register(user::Entity).register(friendship::Entity).register(pet::Entity);
            schema.register(toy::Entity).register(pet_toy::Entity).register(note::Entity)
        });
        all.await.expect("the schema is sound");
        world
    }

    /// On a database of somebody else.
    pub(crate) async fn of(database: impl Into<ConnectOptions>) -> Self {
        let options = database.into();
        let url = options.get_url().to_owned();
        let resources = Resources::open(options).await.expect("the database is there");
        Self {
            router: router(resources.clone()),
            resources,
            url,
            _file: None,
            #[cfg(feature = "backends")]
            _database: None,
        }
    }

    /// The same with an outbox, and the relay of it.
    pub(crate) async fn with_outbox(self, set_up: impl FnOnce(App<Resources>) -> App<Resources>) -> (Self, Relay, Hub) {
        let (resources, relay) = self.resources.clone().outbox().await.expect("a table");
        let app = set_up(application(resources.clone()));
        let hub = app.hub();
        let router = app.into_router().expect("the application is well formed");
        (Self { router, resources, ..self }, relay, hub)
    }

    /// The same with triggers for these resources, and a relay that runs.
    pub(crate) async fn with_triggers(self, watched: impl IntoIterator<Item = &'static Meta>) -> Self {
        let (resources, relay) = self.resources.clone().triggers(watched).await.expect("triggers");
        let app = application(resources.clone());
        tokio::spawn(relay.run(app.hub()));
        let router = app.into_router().expect("the application is well formed");
        Self { router, resources, ..self }
    }

    /// From now on no row of the outbox can be removed.
    pub(crate) async fn forbid_removing(&self) {
        let forbid = match self.resources.db().get_database_backend() {
            DbBackend::Postgres => {
                "create function forbid() returns trigger language plpgsql as $$ begin raise 'it stays'; end $$;
                 create trigger forbid before delete on catamaran_outbox for each row execute function forbid()"
            }
            DbBackend::MySql => {
                "create trigger forbid before delete on catamaran_outbox for each row signal sqlstate '45000'"
            }
            _ => "create trigger forbid before delete on catamaran_outbox begin select raise(abort, 'it stays'); end",
        };
        self.run(forbid).await;
    }

    pub(crate) async fn allow_removing(&self) {
        self.run(match self.resources.db().get_database_backend() {
            DbBackend::Postgres => "drop function forbid() cascade",
            _ => "drop trigger forbid",
        })
        .await;
    }

    /// Writes past the application, as another program would.
    pub(crate) async fn run(&self, statement: &str) {
        self.resources.db().execute_unprepared(statement).await.expect("a sound statement");
    }

    /// The same as Sails would have it.
    pub(crate) fn like_sails(self) -> Self {
        let resources = self.resources.clone().compat(Compat::Sails);
        Self { router: router(resources.clone()), resources, ..self }
    }

    /// The same with another application.
    pub(crate) fn with(self, app: App<Resources>) -> Self {
        Self { router: app.into_router().expect("the application is well formed"), ..self }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, None, None).await
    }

    pub(crate) async fn post(&self, target: &str, body: Json) -> Answer {
        self.ask("POST", target, None, Some(body)).await
    }

    pub(crate) async fn patch(&self, target: &str, body: Json) -> Answer {
        self.ask("PATCH", target, None, Some(body)).await
    }

    pub(crate) async fn put(&self, target: &str) -> Answer {
        self.ask("PUT", target, None, None).await
    }

    pub(crate) async fn delete(&self, target: &str) -> Answer {
        self.ask("DELETE", target, None, None).await
    }

    /// Asks, as a user if one is given.
    pub(crate) async fn ask(&self, method: &str, target: &str, user: Option<i64>, body: Option<Json>) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(user) = user {
            request = request.header("user", user);
        }
        let body = body.map(|body| body.to_string());
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(body.map_or_else(Body::empty, Body::from)).expect("a request")).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("a router answers");
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 10_000_000).await.expect("a whole body");
        let text = String::from_utf8(bytes.into()).expect("text");
        assert!(!text.contains("s3cret"), "no answer tells a password: {text}");
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Json::String(text)) }
    }

    /// Makes a user of this name, and tells its identity.
    pub(crate) async fn user(&self, name: &str) -> i64 {
        let email = format!("{}@example.org", name.to_lowercase());
        self.made("/user", json!({"name": name, "email": email, "password": "s3cret"})).await
    }

    pub(crate) async fn pet(&self, name: &str, owner: Option<i64>) -> i64 {
        self.made("/pet", json!({"name": name, "owner": owner})).await
    }

    pub(crate) async fn toy(&self, label: &str) -> i64 {
        self.made("/toy", json!({"label": label})).await
    }

    async fn made(&self, target: &str, body: Json) -> i64 {
        let answer = self.post(target, body).await;
        answer.ok()["id"].as_i64().unwrap_or_else(|| panic!("an identity in {answer:?}"))
    }
}

fn application(resources: Resources) -> App<Resources> {
    App::new(resources).mount(routes![user, pet, toy, note])
}

fn router(resources: Resources) -> Router {
    application(resources).into_router().expect("the application is well formed")
}

impl Answer {
    /// The body of an answer that succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Json {
        assert_eq!(self.status, 200, "{self:?}");
        &self.body
    }

    /// The identities in a list.
    #[track_caller]
    pub(crate) fn ids(&self) -> Vec<i64> {
        let list = self.ok().as_array().unwrap_or_else(|| panic!("expected a list, got {self:?}"));
        list.iter().filter_map(|record| record["id"].as_i64()).collect()
    }

    /// Asserts a refusal with a code.
    #[track_caller]
    pub(crate) fn refused(&self, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (400, Some(code)), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn is_missing(&self) {
        assert_eq!((self.status, &self.body), (404, &json!("Not Found")));
    }
}

/// A query with these parameters.
pub(crate) fn query<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    query.extend_pairs(parameters);
    query.finish()
}
