//! A PostgreSQL server for the tests of this process, with a database for each.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectionTrait, Database};

/// A server that ends with this process: its shell waits for the end of a pipe.
struct Server {
    port: u16,
    _shell: Child,
}

const SCRIPT: &str = r#"
set -e
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"$0/initdb" -D "$home/data" -A trust -U postgres -E UTF8 --locale=C --no-sync >/dev/null
"$0/postgres" -D "$home/data" -k "$home" -p "$1" -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=400 \
  >/dev/null 2>&1 &
cat >/dev/null
kill -INT $!
wait
"#;

/// The URL of a new database.
pub(crate) async fn database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static DATABASES: AtomicUsize = AtomicUsize::new(0);
    let Server { port, .. } = SERVER.get_or_init(start);
    let url = |name: &str| format!("postgres://postgres@127.0.0.1:{port}/{name}");
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let ready = async {
        loop {
            pause.tick().await;
            if let Ok(db) = Database::connect(url("postgres")).await {
                return db;
            }
        }
    };
    let db = tokio::time::timeout(Duration::from_secs(60), ready).await.expect("the server starts");
    db.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a new database");
    url(&name)
}

fn start() -> Server {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let folder = binaries().expect("PostgreSQL is installed, e.g. by `apt-get install postgresql`");
    // The server refuses to be root.
    let id = Command::new("id").arg("-u").output().expect("who runs this");
    let mut command = match id.stdout.as_slice() {
        b"0\n" => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "sh"]);
            command
        }
        _ => Command::new("sh"),
    };
    command.arg("-c").arg(SCRIPT).arg(folder).arg(port.to_string()).current_dir("/");
    let shell = command.stdin(Stdio::piped()).spawn().expect("a shell");
    Server { port, _shell: shell }
}

/// Where Debian has them, and then where others do.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let others = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].into_iter().map(PathBuf::from);
    debian.chain(others).find(|folder| folder.join("initdb").is_file())
}
