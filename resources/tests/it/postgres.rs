//! A PostgreSQL server for the tests of this process, with a database for each.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use catamaran_tests::backends::postgres::Server;

/// A database of its own, on a server that lives as long as a test has one.
pub(crate) struct Database {
    pub(crate) url: String,
    _server: Arc<Server>,
}

impl Database {
    pub(crate) async fn new() -> Self {
        static DATABASES: AtomicUsize = AtomicUsize::new(0);
        let server = server();
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.client().await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a new database");
        Self { url: server.url_of(&name), _server: server }
    }
}

fn server() -> Arc<Server> {
    static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut known = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    known.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::with(&["max_connections=400"]));
        *known = Arc::downgrade(&server);
        server
    })
}
