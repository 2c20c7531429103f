//! Sessions of two crates that know nothing of sockets: one list of cases, over both transports, for either.

#[path = "begin_session.rs"]
mod begin_session;

use std::collections::BTreeMap;

use axum::{
    extract::Request,
    http::{StatusCode, header},
    middleware::{Next, from_fn},
};
use axum_session::{Key, SessionConfig, SessionLayer, SessionNullPool, SessionStore};
use catamaran::{Origins, prelude::*};
use tower_sessions::{
    Expiry, MemoryStore, SessionManagerLayer,
    cookie::{
        Cookie,
        time::{Duration, OffsetDateTime},
    },
};

use crate::support::{Answer, Ask, Body, Client, Eio, Packet, Server, get, post, within};

/// How long a short session lasts.
const MOMENT: Duration = Duration::milliseconds(50);

fn unauthorized() -> catamaran::Error {
    catamaran::Error::new(StatusCode::UNAUTHORIZED, "log in")
}

/// What the actions below need of a session, in the words of one crate.
mod with_tower_sessions {
    use tower_sessions::Session;

    use super::{begin_session::begin_session, *};

    #[controller("/")]
    pub(crate) mod site {
        use super::*;

        #[action(get "/note")]
        pub(crate) async fn note(session: Session) -> catamaran::Result<String> {
            Ok(session.get("note").await?.unwrap_or_default())
        }

        #[action(post "/note/{note}")]
        pub(crate) async fn write(session: Session, note: String) -> catamaran::Result {
            Ok(session.insert("note", note).await?)
        }

        #[action(get "/me")]
        pub(crate) async fn me(session: Session) -> catamaran::Result<String> {
            session.get("user").await?.ok_or_else(unauthorized)
        }

        #[action(post "/login/{user}")]
        pub(crate) async fn login(session: Session, user: String) -> catamaran::Result {
            session.cycle_id().await?;
            Ok(session.insert("user", user).await?)
        }

        #[action(post "/logout")]
        pub(crate) async fn logout(session: Session) -> catamaran::Result {
            Ok(session.flush().await?)
        }
    }

    pub(crate) fn app(short: bool) -> App<()> {
        let expiry = if short { Expiry::AtDateTime(OffsetDateTime::now_utc() + MOMENT) } else { Expiry::OnSessionEnd };
        let layer = SessionManagerLayer::new(MemoryStore::default()).with_secure(false).with_expiry(expiry);
        App::new(()).mount(routes![site]).layer(from_fn(begin_session)).layer(layer)
    }

    pub(crate) async fn only_users(session: Session) -> catamaran::Result {
        session.get::<String>("user").await?.map(drop).ok_or_else(unauthorized)
    }

    pub(crate) async fn greeted(session: Session, socket: Socket) -> catamaran::Result {
        Ok(session.insert("note", socket.id()).await?)
    }
}

/// The same in the words of the other.
mod with_axum_session {
    use super::*;

    type Session = axum_session::Session<SessionNullPool>;

    #[controller("/")]
    pub(crate) mod site {
        use super::*;

        #[action(get "/note")]
        pub(crate) async fn note(session: Session) -> String {
            session.get("note").unwrap_or_default()
        }

        #[action(post "/note/{note}")]
        pub(crate) async fn write(session: Session, note: String) {
            session.set("note", note);
        }

        #[action(get "/me")]
        pub(crate) async fn me(session: Session) -> catamaran::Result<String> {
            session.get("user").ok_or_else(unauthorized)
        }

        #[action(post "/login/{user}")]
        pub(crate) async fn login(session: Session, user: String) {
            session.renew();
            session.set("user", user);
        }

        #[action(post "/logout")]
        pub(crate) async fn logout(session: Session) {
            session.destroy();
        }
    }

    pub(crate) async fn app(short: bool) -> App<()> {
        let config = SessionConfig::default().with_secure(false).with_key(Key::generate());
        // What is in memory is looked at again as soon as it is used.
        let config =
            if short { config.with_lifetime(MOMENT).with_memory_lifetime(Duration::NANOSECOND) } else { config };
        let store = SessionStore::<SessionNullPool>::new(None, config).await.expect("a store in memory");
        App::new(()).mount(routes![site]).layer(SessionLayer::new(store))
    }

    pub(crate) async fn only_users(session: Session) -> catamaran::Result {
        session.get::<String>("user").map(drop).ok_or_else(unauthorized)
    }

    pub(crate) async fn greeted(session: Session, socket: Socket) {
        session.set("note", socket.id());
    }
}

#[derive(Clone, Copy, Debug)]
enum Sessions {
    Tower,
    Axum,
}

const BOTH: [Sessions; 2] = [Sessions::Tower, Sessions::Axum];

impl Sessions {
    async fn app(self, short: bool) -> App<()> {
        match self {
            Self::Tower => with_tower_sessions::app(short),
            Self::Axum => with_axum_session::app(short).await,
        }
    }

    async fn server(self) -> Server {
        Server::start(self.app(false).await).await
    }
}

/// A browser: the cookies that its HTTP answers set go with its next requests, and with the handshakes of its sockets.
#[derive(Clone, Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn cookie(&self) -> String {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    async fn ask(&mut self, server: &Server, ask: Ask) -> Answer {
        let answer = server.http(&ask.header("cookie", &self.cookie())).await;
        for set in &answer.set_cookies {
            let cookie = Cookie::parse(set).expect("a cookie");
            if cookie.max_age() == Some(Duration::ZERO) {
                self.cookies.remove(cookie.name());
            } else {
                self.cookies.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
        answer
    }

    async fn socket(&self, server: &Server) -> Client {
        Client::with(server, Eio::V4, &[("cookie", &self.cookie())]).await
    }
}

fn text(text: &str) -> (u16, Body) {
    (200, Body::text(text))
}

fn said(answer: &Answer) -> (u16, Body) {
    (answer.status, answer.body.clone())
}

fn write(note: &str) -> Ask {
    post(format!("/note/{note}"), "null")
}

fn log_in(user: &str) -> Ask {
    post(format!("/login/{user}"), "null")
}

fn log_out() -> Ask {
    post("/logout", "null")
}

#[tokio::test]
async fn what_http_wrote_a_socket_reads_and_changes_and_back() {
    for sessions in BOTH {
        let server = sessions.server().await;
        let mut browser = Browser::default();
        assert_eq!(browser.ask(&server, write("one")).await.status, 200);
        let (mut first, mut second) = (browser.socket(&server).await, browser.socket(&server).await);
        assert_eq!(said(&first.ask(&get("/note")).await), text("one"), "{sessions:?}");

        let changed = first.ask(&write("two")).await;
        assert_eq!((changed.status, changed.headers.get("set-cookie")), (200, None));
        assert_eq!(said(&browser.ask(&server, get("/note")).await), text("two"));
        assert_eq!(said(&second.ask(&get("/note")).await), text("two"));

        browser.ask(&server, write("three")).await;
        assert_eq!(said(&first.ask(&get("/note")).await), text("three"));
        // Somebody else's is another.
        assert_eq!(said(&Client::connect(&server).await.ask(&get("/note")).await), (200, Body::None));
    }
}

#[tokio::test]
async fn a_socket_without_a_cookie_has_a_session_of_its_own() {
    for sessions in BOTH {
        for eio in [Eio::V3, Eio::V4] {
            let server = sessions.server().await;
            let mut socket = Client::with(&server, eio, &[]).await;
            let mut other = Client::with(&server, eio, &[]).await;
            assert_eq!(socket.ask(&write("mine")).await.status, 200);
            assert_eq!(said(&socket.ask(&get("/note")).await), text("mine"), "{sessions:?}");
            assert_eq!(said(&other.ask(&get("/note")).await), (200, Body::None));
        }
    }
}

#[tokio::test]
async fn a_stale_cookie_is_a_visitor_whose_next_session_lasts() {
    for sessions in BOTH {
        let (before, server) = (sessions.server().await, sessions.server().await);
        let mut browser = Browser::default();
        browser.ask(&before, log_in("ada")).await;
        assert_ne!(browser.cookie(), "");
        // The other server never gave this cookie.
        let mut socket = browser.socket(&server).await;
        assert_eq!(socket.ask(&get("/me")).await.status, 401, "{sessions:?}");
        assert_eq!(socket.ask(&write("new")).await.status, 200);
        assert_eq!(said(&socket.ask(&get("/note")).await), text("new"));
        // A cookie that is no such thing at all.
        let mut socket = Client::with(&server, Eio::V4, &[("cookie", "id=%00; session=\"; ;=")]).await;
        assert_eq!(socket.ask(&get("/me")).await.status, 401);
    }
}

#[tokio::test]
async fn a_login_over_a_socket_renews_the_session_and_the_old_cookie_is_nobody() {
    for sessions in BOTH {
        let server = sessions.server().await;
        let mut browser = Browser::default();
        browser.ask(&server, write("before")).await;
        let (mut socket, mut tab) = (browser.socket(&server).await, browser.socket(&server).await);
        assert_eq!(socket.ask(&log_in("ada")).await.status, 200);
        assert_eq!(said(&socket.ask(&get("/me")).await), text("ada"), "{sessions:?}");
        // The session went with it.
        assert_eq!(said(&socket.ask(&get("/note")).await), text("before"));

        // Who planted the cookie has nothing of the login: not over HTTP, nor over a socket of before or after it.
        assert_eq!(browser.clone().ask(&server, get("/me")).await.status, 401);
        assert_eq!(tab.ask(&get("/me")).await.status, 401);
        assert_eq!(browser.socket(&server).await.ask(&get("/me")).await.status, 401);
        // Other tabs go on, as visitors, and log in for themselves.
        assert_eq!(tab.ask(&write("tab")).await.status, 200);
        assert_eq!(tab.ask(&log_in("bob")).await.status, 200);
        assert_eq!(said(&tab.ask(&get("/me")).await), text("bob"));
        assert_eq!(said(&socket.ask(&get("/me")).await), text("ada"));
    }
}

#[tokio::test]
async fn a_login_over_http_renews_the_session_and_sockets_of_before_are_nobody() {
    for sessions in BOTH {
        let server = sessions.server().await;
        let mut browser = Browser::default();
        browser.ask(&server, write("before")).await;
        let (planted, mut socket) = (browser.clone(), browser.socket(&server).await);
        assert_eq!(browser.ask(&server, log_in("ada")).await.status, 200);
        assert_ne!(planted.cookie(), browser.cookie());
        assert_eq!(said(&browser.ask(&server, get("/me")).await), text("ada"), "{sessions:?}");

        assert_eq!(socket.ask(&get("/me")).await.status, 401);
        assert_eq!(planted.clone().ask(&server, get("/me")).await.status, 401);
        assert_eq!(planted.socket(&server).await.ask(&get("/me")).await.status, 401);
        // A page connects anew after it has logged in.
        assert_eq!(said(&browser.socket(&server).await.ask(&get("/me")).await), text("ada"));
    }
}

#[tokio::test]
async fn a_logout_on_either_transport_holds_on_both() {
    for sessions in BOTH {
        let server = sessions.server().await;
        let mut browser = Browser::default();
        browser.ask(&server, log_in("ada")).await;
        let (mut first, mut second) = (browser.socket(&server).await, browser.socket(&server).await);
        assert_eq!(said(&second.ask(&get("/me")).await), text("ada"), "{sessions:?}");
        assert_eq!(first.ask(&log_out()).await.status, 200);
        for socket in [&mut first, &mut second] {
            assert_eq!(socket.ask(&get("/me")).await.status, 401, "{sessions:?}");
        }
        assert_eq!(browser.ask(&server, get("/me")).await.status, 401);

        browser.ask(&server, log_in("ada")).await;
        let mut socket = browser.socket(&server).await;
        assert_eq!(said(&socket.ask(&get("/me")).await), text("ada"));
        browser.ask(&server, log_out()).await;
        assert_eq!(socket.ask(&get("/me")).await.status, 401);
    }
}

#[tokio::test]
async fn a_session_that_expires_stops_the_requests_of_sockets_that_stay() {
    for sessions in BOTH {
        let server = Server::start(sessions.app(true).await).await;
        let mut socket = Client::connect(&server).await;
        // On a machine that is slower than the session is long, the first answer is 401 already.
        socket.ask(&log_in("ada")).await;
        within("the end of the session", async { while socket.ask(&get("/me")).await.status != 401 {} }).await;
    }
}

#[tokio::test]
async fn a_hook_has_the_session_of_its_socket() {
    for sessions in BOTH {
        let app = sessions.app(false).await;
        let app = match sessions {
            Sessions::Tower => app.on_connect(with_tower_sessions::only_users),
            Sessions::Axum => app.on_connect(with_axum_session::only_users),
        };
        let server = Server::start(app).await;
        let mut browser = Browser::default();
        for (user, packet) in [("", "44{\"message\":\"401 Unauthorized: log in\"}"), ("ada", "40{\"sid\":")] {
            if !user.is_empty() {
                browser.ask(&server, log_in(user)).await;
            }
            let mut client =
                Client::open(server.address, "/socket.io", Eio::V4, &[("cookie", &browser.cookie())]).await;
            client.send("40").await;
            let answer = client.receive().await;
            assert!(matches!(&answer, Packet::Other(text) if text.starts_with(packet)), "{sessions:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_a_hook_writes_is_in_the_session_of_its_socket() {
    for sessions in BOTH {
        let app = sessions.app(false).await;
        let app = match sessions {
            Sessions::Tower => app.on_connect(with_tower_sessions::greeted),
            Sessions::Axum => app.on_connect(with_axum_session::greeted),
        };
        let server = Server::start(app).await;
        // Without a cookie the hook's is the first, and later requests have the session of it.
        let mut socket = Client::connect(&server).await;
        let greeted = socket.ask(&get("/note")).await;
        assert_eq!(greeted.status, 200);
        assert_ne!(greeted.body, Body::None, "{sessions:?}");
        assert_eq!(socket.ask(&log_in("ada")).await.status, 200);
        assert_eq!(said(&socket.ask(&get("/note")).await), said(&greeted));
    }
}

/// `nosession` of Sails: a layer around the session's decides, for both transports, which requests have one.
#[tokio::test]
async fn a_request_that_wants_no_session_has_none() {
    let sessions_for_some = async |mut request: Request, next: Next| {
        let without = request.headers().contains_key("nosession");
        if without {
            request.headers_mut().remove(header::COOKIE);
        }
        let mut response = next.run(request).await;
        if without {
            response.headers_mut().remove(header::SET_COOKIE);
        }
        response
    };
    for sessions in BOTH {
        let server =
            Server::start(sessions.app(false).await.packet_headers(["nosession"]).layer(from_fn(sessions_for_some)))
                .await;
        let mut browser = Browser::default();
        browser.ask(&server, write("kept")).await;
        let mut socket = browser.socket(&server).await;
        let without = |ask: Ask| ask.header("nosession", "true");
        assert_eq!(said(&browser.ask(&server, without(get("/note"))).await), (200, Body::None), "{sessions:?}");
        assert_eq!(said(&socket.ask(&without(get("/note"))).await), (200, Body::None));
        assert_eq!(socket.ask(&without(write("lost"))).await.status, 200);
        assert_eq!(said(&socket.ask(&get("/note")).await), text("kept"));
    }
}

/// What the clients do in a page of another origin: they load `/__getcookie`, and connect with the cookie that it sets.
#[tokio::test]
async fn getcookie_begins_the_session_of_the_socket() {
    const PAGE: &str = "https://app.example.com";
    for sessions in BOTH {
        let server = Server::start(sessions.app(false).await.origins(Origins::same().and(PAGE))).await;
        let script = || get("/__getcookie").header("sec-fetch-site", "cross-site");
        let ours = || script().header("referer", &format!("{PAGE}/page"));
        let mut browser = Browser::default();
        assert_eq!(browser.ask(&server, ours()).await.status, 200);
        assert_ne!(browser.cookie(), "", "{sessions:?}");
        let headers = [("cookie", &*browser.cookie()), ("origin", PAGE)];
        let mut socket = Client::with(&server, Eio::V3, &headers).await;
        assert_eq!(socket.ask(&write("by socket")).await.status, 200);
        // The socket's session is that of the page's cookie, which stays what it is.
        let cookie = browser.cookie();
        assert_eq!(browser.ask(&server, ours()).await.status, 200);
        assert_eq!(browser.cookie(), cookie);
        assert_eq!(said(&browser.ask(&server, get("/note")).await), text("by socket"), "{sessions:?}");

        let refused = server.http(&script().header("referer", "https://evil.example/page")).await;
        assert_eq!(refused.status, 403);
    }
    // A cookie of a session that is over is replaced, and a refusal sets none.
    let server = Server::start(with_tower_sessions::app(false).origins(Origins::same().and(PAGE))).await;
    let stale = get("/__getcookie").header("cookie", "id=AAAAAAAAAAAAAAAAAAAAAA");
    let answer = server.http(&stale).await;
    assert!(answer.set_cookies.iter().any(|set| set.starts_with("id=") && !set.contains("Max-Age=0")), "{answer:?}");
    let refused = server.http(&get("/__getcookie").header("origin", "https://evil.example")).await;
    assert_eq!((refused.status, refused.set_cookies.len()), (403, 0));
}

#[test]
fn layer_of_the_documentation_is_the_tested_one() {
    let tested = include_str!("begin_session.rs");
    let (_, tested) = tested.split_once("/// Begins").expect("the layer");
    let documented = include_str!("../../../docs/securing.md");
    assert!(documented.contains(tested.replace("pub(crate) ", "").trim()));
    assert!(documented.contains(".layer(from_fn(begin_session))\n        .layer(sessions)"));
}
