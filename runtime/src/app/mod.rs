//! The application: its controllers, what it adds to them, and the router that both transports share.

mod settings;

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    handler::Handler,
    middleware::from_fn_with_state,
    response::IntoResponse,
    routing::{Route as RouteService, any},
};
use settings::{MAX_PACKETS, MAX_PACKETS_UNCOUNTED, Settings};
use socketioxide::SocketIo;
use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Hub, Route, ServeError,
    http::client,
    http::lifecycle::LifecycleLayer,
    http::{self, COOKIE_PATH, ConnectionLimiter, CrossSite, Drain, Gate, Limits, Server, Sessions, health},
    metrics, routing,
    routing::controller::Table,
    routing::endpoint::Endpoints,
    socketio::{self, ConnectLimits, Hooks, SocketRouter},
};

/// An application: the controllers it mounts, and how they are served over both transports.
///
/// ```no_run
/// use catamaran::prelude::*;
///
/// #[action(get "/hello")]
/// async fn hello() -> &'static str {
///     "hello"
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), catamaran::ServeError> {
/// App::new(()).mount(routes![hello]).serve("127.0.0.1:1337").await
/// # }
/// ```
///
/// Everything an application adds goes through one door, [`map_router`](Self::map_router): what stands behind it, HTTP
/// and sockets see alike.
pub struct App<S: 'static> {
    state: S,
    tables: Vec<Table<S>>,
    changes: Vec<Change>,
    on_connect: Option<Router>,
    on_disconnect: Option<Router>,
    socketios: Vec<Setup>,
    settings: Settings,
    hub: Hub,
}

/// What is done to the router that both transports share, in the order of the calls.
enum Change {
    /// Adds the next table.
    Mount,
    /// Applies to the handlers of connecting and disconnecting sockets as well.
    Layer(Box<dyn Fn(Router) -> Router + Send>),
    Map(Box<dyn FnOnce(Router) -> Router + Send>),
}

/// Whether the first layer stands before all routes, although there are some.
fn wraps_nothing(changes: &[Change]) -> bool {
    matches!(changes.first(), Some(Change::Layer(_))) && changes.iter().any(|change| matches!(change, Change::Mount))
}

/// What somebody is told who took the namespace of the requests.
const NAMESPACE_TAKEN: &str = "`App::socketio` replaced the namespace `/`, so no request of a socket would be answered: give your \
                               handler a namespace of its own, such as `io.ns(\"/metrics\", ..)`; `App::on_connect` hears of \
                               sockets that connect to `/`";

type Setup = Box<dyn FnOnce(&SocketIo) + Send>;

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> App<S> {
    /// An application with this state, which its actions take with axum's `State`.
    pub fn new(state: S) -> Self {
        let settings = Settings::default();
        let (tables, changes, socketios, hub) = Default::default();
        Self { state, tables, changes, on_connect: None, on_disconnect: None, socketios, settings, hub }
    }

    /// The channels of the application, for tasks that publish without a request.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use catamaran::{RawChannel, RawEvent, prelude::*};
    /// # #[action(get "/hello")]
    /// # async fn hello() -> &'static str { "hello" }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> catamaran::Result {
    /// let app = App::new(()).mount(routes![hello]);
    /// let (hub, clock) = (app.hub(), RawChannel::new("clock"));
    /// tokio::spawn(async move {
    ///     let mut seconds = tokio::time::interval(Duration::from_secs(1));
    ///     while let Ok(tick) = RawEvent::new("tick", &()) {
    ///         seconds.tick().await;
    ///         let _ = hub.publish(&clock, tick).await;
    ///     }
    /// });
    /// app.serve("127.0.0.1:1337").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// Adds controllers: `mount(routes![hello, chat])`.
    ///
    /// [`layer`](Self::layer) and [`map_router`](Self::map_router) apply to tables that were mounted before them.
    ///
    /// One table is checked while compiling. A route of a second one that clashes with a route of the first is refused
    /// at start, by name, so prefer a single table.
    #[must_use]
    pub fn mount(mut self, table: Table<S>) -> Self {
        self.tables.push(table);
        self.changes.push(Change::Mount);
        self
    }

    /// The route table, in the order of mounting.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// # #[action(get "/hello")]
    /// # async fn hello() -> &'static str { "hello" }
    /// let app = App::new(()).mount(routes![hello]);
    /// for route in app.routes() {
    ///     println!("{route}");
    /// }
    /// ```
    pub fn routes(&self) -> impl Iterator<Item = &'static Route> {
        self.tables.iter().flat_map(|table| table.routes)
    }

    /// Changes the router that both transports share: nest it, merge into it, wrap it.
    ///
    /// [`mount`](Self::mount), [`merge`](Self::merge), [`layer`](Self::layer), [`fallback`](Self::fallback) and this one
    /// apply in the order of the calls, each to what is there so far.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// use axum::Router;
    /// # #[action(get "/hello")]
    /// # async fn hello() -> &'static str { "hello" }
    ///
    /// // `GET /api/hello`, over HTTP and over a socket
    /// let app = App::new(()).mount(routes![hello]).map_router(|ours| Router::new().nest("/api", ours));
    /// ```
    #[must_use]
    pub fn map_router(mut self, map: impl FnOnce(Router) -> Router + Send + 'static) -> Self {
        self.changes.push(Change::Map(Box::new(map)));
        self
    }

    /// Wraps all routes so far in a tower layer; see [`axum::Router::layer`].
    ///
    /// Routes that are added later are not wrapped, so a layer that guards an application is the last call. A later layer is
    /// around an earlier one. [`on_connect`](Self::on_connect) and [`on_disconnect`](Self::on_disconnect) run inside every
    /// layer, wherever they are called.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// use axum::middleware::from_fn;
    /// use axum::{extract::Request, http::StatusCode, middleware::Next, response::{IntoResponse, Response}};
    /// # #[action(get "/private")]
    /// # async fn private() -> &'static str { "private" }
    /// # #[action(get "/public")]
    /// # async fn public() -> &'static str { "public" }
    ///
    /// async fn with_key(request: Request, next: Next) -> Response {
    ///     let key = request.headers().get("authorization");
    ///     if key.is_some_and(|key| key == "Bearer open sesame") {
    ///         return next.run(request).await;
    ///     }
    ///     StatusCode::UNAUTHORIZED.into_response()
    /// }
    ///
    /// // `/private` needs the key, `/public` does not.
    /// let app = App::new(()).mount(routes![private]).layer(from_fn(with_key)).mount(routes![public]);
    /// ```
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<RouteService> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<std::convert::Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.changes.push(Change::Layer(Box::new(move |router| router.layer(layer.clone()))));
        self
    }

    /// Adds the routes of an axum router, which then answer sockets too; see [`axum::Router::merge`].
    #[must_use]
    pub fn merge(self, other: Router) -> Self {
        // In this order, since of two default fallbacks axum keeps that of the argument, with its layers.
        self.map_router(|router| other.merge(router))
    }

    /// Answers what no route does; see [`axum::Router::fallback`]. Without one the answer is 404 `Not Found`.
    #[must_use]
    pub fn fallback<H, T>(self, handler: H) -> Self
    where
        H: Handler<T, ()> + Send,
        T: 'static,
    {
        self.map_router(|router| router.fallback(handler))
    }

    /// Decides who may connect: an axum handler for each socket that wants to.
    ///
    /// It sees the handshake as a request of its own, like those that the socket would send later: headers and cookies
    /// of the handshake, its path and query, [`Socket`](crate::Socket) and
    /// [`Ctx<Socket>`](crate::Ctx). The JSON body is what the client said when connecting (Socket.IO's `auth`); there is
    /// none if it said nothing, and a client of Engine.IO 3, as `sails.io.js`, has no way to.
    ///
    /// An answer below 400 lets the socket in; cookies that it sets are the socket's from then on. Any other refuses it,
    /// also an extractor's rejection, a panic (500) and a delay beyond [`timeout`](Self::timeout) (503): the client is
    /// told the status and the message.
    ///
    /// Subscriptions made here begin once the client has been told that it is connected, and resume where our client
    /// left off. An event that is emitted to the socket itself is lost until then.
    ///
    /// It runs inside every tower layer that [`layer`](Self::layer) was given, in their order, and outside of what
    /// [`map_router`](Self::map_router) does. A second call replaces the first.
    ///
    /// ```
    /// # use catamaran::{Error, RawChannel, prelude::*};
    /// use axum::{Json, http::StatusCode};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Auth {
    ///     token: String,
    /// }
    ///
    /// async fn connected(ctx: Ctx<Socket>, Json(auth): Json<Auth>) -> catamaran::Result {
    ///     if auth.token != "open sesame" {
    ///         return Err(Error::new(StatusCode::UNAUTHORIZED, "this token is not valid"));
    ///     }
    ///     ctx.subscribe(&RawChannel::new("news")).await?;
    ///     Ok(())
    /// }
    ///
    /// let app = App::new(()).on_connect(connected);
    /// ```
    #[must_use]
    pub fn on_connect<H, T>(mut self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone,
    {
        self.on_connect = Some(Router::new().fallback(handler).with_state(self.state.clone()));
        self
    }

    /// Hears that a socket is gone: an axum handler, called once for each socket that was let in.
    ///
    /// Its request is that of [`on_connect`](Self::on_connect), with the cookies that the socket had in the end, and
    /// inside the same layers. The socket has left its channels, and receives nothing. What the handler answers goes
    /// nowhere; a status of 400 or more is logged as an error. It has as long as [`timeout`](Self::timeout), also when
    /// the server stops.
    ///
    /// A socket that leaves while `on_connect` runs is heard of as well, if that would have let it in. A second call
    /// replaces the first.
    #[must_use]
    pub fn on_disconnect<H, T>(mut self, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone,
    {
        self.on_disconnect = Some(Router::new().fallback(handler).with_state(self.state.clone()));
        self
    }

    /// Hands out the Socket.IO server, for an application's own namespaces.
    ///
    /// The namespace `/` is catamaran's: a setup that replaces it is an error at start. It must not be replaced later either,
    /// through a clone of the `SocketIo`, and neither must the handlers that its sockets have for requests, `get` to `options`. Nothing
    /// notices that. Its sockets are in rooms of catamaran's, so do not call `leave_all` on them: they would miss events.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).socketio(|io| {
    ///     let io = io.clone();
    ///     io.ns("/metrics", async || {});
    /// });
    /// ```
    #[must_use]
    pub fn socketio(mut self, setup: impl FnOnce(&SocketIo) + Send + 'static) -> Self {
        self.socketios.push(Box::new(setup));
        self
    }

    /// Serves the application until SIGTERM, at which it [drains](Self::drain), or Ctrl-C.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound, which the error says with the address and the remedy; or for one of the mistakes that
    /// [`into_router`](Self::into_router) finds.
    pub async fn serve(self, address: impl ToSocketAddrs) -> Result<(), ServeError> {
        let addresses: Vec<SocketAddr> =
            lookup_host(address).await.map_err(|error| ServeError::unresolved(&error))?.collect();
        let listener = TcpListener::bind(&*addresses).await.map_err(|error| ServeError::bind(&addresses, &error))?;
        self.serve_on(listener).await
    }

    /// Serves the application on a listener that is there already: a test's own port, or one a supervisor handed over.
    ///
    /// # Errors
    ///
    /// For one of the mistakes that [`into_router`](Self::into_router) finds.
    pub async fn serve_on(self, listener: TcpListener) -> Result<(), ServeError> {
        let stall = self.settings.ping_interval + self.settings.ping_timeout;
        let limits = Limits::new(self.settings.drain, self.settings.health);
        let Built { router, io, dispatcher, slots } = self.build(MAX_PACKETS)?;
        Server { router, io, dispatcher, stall, slots, limits }.serve(listener).await;
        Ok(())
    }

    /// The application as a plain axum router, for a server of your own.
    ///
    /// Four things are yours then. **Protections**: a peer that stops reading is only ever removed by its connection
    /// (`TCP_USER_TIMEOUT`, or a write timeout), slow headers by a header timeout; and what waits for a websocket is bounded
    /// in packets, not in bytes. **Addresses**:
    /// [`trusted_proxies`](Self::trusted_proxies) and [`ClientAddr`](crate::ClientAddr) need to know the peer, so serve
    /// it with `into_make_service_with_connect_info::<SocketAddr>()`. **Layers**: what is put *around* this
    /// router guards HTTP and the Socket.IO handshake, not the requests of sockets; use
    /// [`map_router`](Self::map_router) for those. **The end**: nothing [drains](Self::drain).
    ///
    /// A request over HTTP/1.1 without a `Host` is refused only if it has the address of its peer, so a test can call the router
    /// without a `Host`. One of a page is refused without it in any case: no origin is the server's own then.
    ///
    /// # Errors
    ///
    /// If two tables clash, a route lies under a configured path, a setting makes no sense, or [`socketio`](Self::socketio)
    /// replaced the namespace `/`.
    pub fn into_router(self) -> Result<Router, ServeError> {
        self.build(MAX_PACKETS_UNCOUNTED).map(|built| built.router)
    }

    fn build(self, max_packets: usize) -> Result<Built, ServeError> {
        let routes: Vec<Route> = self.routes().copied().collect();
        let Self { state, tables, changes, on_connect, on_disconnect, socketios, settings, hub } = self;
        settings.check()?;
        let path = settings.path.trim_end_matches('/').to_owned();
        let sockets = format!("{path}/");
        let client_map = client::map_path(&settings.client_path);
        let mut reserved = vec![&*sockets, &*settings.client_path, &*client_map, COOKIE_PATH];
        if settings.health {
            reserved.extend([health::LIVE, health::READY]);
        }
        routing::check(&routes, &reserved).map_err(ServeError::Routes)?;
        let proxies = settings.proxies()?;
        let slots =
            ConnectionLimiter::new(settings.max_connections, settings.max_connections_per_address, proxies.clone());
        let gate = Gate { origins: settings.origins.clone(), proxies: proxies.clone() };
        metrics::describe();

        let state = Arc::new(state);
        let endpoints = Endpoints { timeout: settings.timeout };
        let ours = http::serve_cookie(Router::new(), gate.clone());
        let drain = Drain::default();
        let cross_site = CrossSite::new(gate.clone(), settings.allow_cross_site.clone());
        // One layer of two, since each call of `layer` boxes every request once more.
        let outermost = |drain| {
            let finish =
                LifecycleLayer { hub: hub.clone(), proxies: proxies.clone(), cross_site: cross_site.clone(), drain };
            (finish, DefaultBodyLimit::max(settings.max_request_bytes))
        };
        if wraps_nothing(&changes) {
            tracing::warn!(
                "a layer was added before every route, so it wraps none of them: call `layer` after `mount`"
            );
        }
        let [on_connect, on_disconnect] = [on_connect, on_disconnect].map(|hook| {
            let layers = changes.iter().filter_map(Change::layer);
            // Never refused: a socket that connects while the server drains goes on after the end of its connection, as one
            // that was told no would not, and whoever leaves is heard of.
            hook.map(|hook| layers.fold(hook, |hook, layer| layer(hook)).layer(outermost(Drain::default())))
        });
        let mut tables = tables.iter();
        let router = changes.into_iter().fold(ours, |router, change| match change {
            Change::Mount => {
                let controllers = tables.next().into_iter().flat_map(|table| table.controllers);
                let table = controllers
                    .fold(Router::new(), |table, controller| table.merge(controller.mount(&state, endpoints)));
                // In this order, since of two default fallbacks axum keeps that of the argument, with its layers.
                table.merge(router)
            }
            Change::Layer(layer) => layer(router),
            Change::Map(map) => map(router),
        });
        let router = router.layer(outermost(drain.clone()));

        let (engine, io) = settings.engine(&path, max_packets).build_svc();
        let dispatcher = SocketRouter {
            router: router.clone(),
            timeout: settings.timeout,
            max_in_flight: settings.max_in_flight,
            max_in_flight_bytes: settings.in_flight_bytes(),
            max_answer_bytes: settings.max_answer_bytes,
            max_backlog_bytes: settings.max_backlog_bytes,
            max_messages_per_second: settings.max_messages_per_second,
            lifetimes: settings.lifetimes,
            heartbeat: settings.ping_interval + settings.ping_timeout,
            header_rules: settings.packet_headers.rules().map_err(ServeError::Setting)?,
            connect: ConnectLimits {
                bytes: settings.max_connect_bytes(),
                auth: settings.max_auth_bytes,
                positions: settings.max_subscriptions,
                name: settings.max_channel_bytes,
            },
            hub: hub.clone(),
            drain: drain.clone(),
            hooks: Hooks::new(on_connect, on_disconnect),
        };
        let dispatcher = Arc::new(dispatcher);
        let attached = socketio::attach(&io, dispatcher.clone());
        for setup in socketios {
            setup(&io);
        }
        if !attached.is_attached() {
            return Err(ServeError::Setting(NAMESPACE_TAKEN.to_owned()));
        }
        let router = client::serve_at(router, &settings.client_path);
        let router = if settings.health { health::add_to(router, drain.clone(), hub) } else { router };
        let sessions = Sessions::of(engine, slots.clone(), settings.max_handshake_bytes, settings.max_packet_bytes());
        let engine = any(move |request| sessions.clone().serve(request));
        let engine = engine.layer(from_fn_with_state(drain, http::admit));
        let router = router.route(&sockets, engine.layer(from_fn_with_state(gate, http::guard)));
        Ok(Built { router, io, dispatcher, slots })
    }
}

impl Change {
    fn layer(&self) -> Option<&dyn Fn(Router) -> Router> {
        match self {
            Self::Layer(layer) => Some(layer),
            Self::Mount | Self::Map(_) => None,
        }
    }
}

/// An application that can be served.
struct Built {
    router: Router,
    io: SocketIo,
    dispatcher: Arc<SocketRouter>,
    slots: ConnectionLimiter,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Controller, Method, Transports, routing::controller::Mount};

    fn mistake(app: App<()>) -> String {
        app.into_router().unwrap_err().to_string()
    }

    const fn route(path: &'static str, action: &'static str) -> Route {
        let (module, file) = ("app", "src/app.rs");
        Route {
            method: Method::Get,
            path,
            transports: Transports::Both,
            action,
            module,
            file,
            line: 7,
            doc: "",
            params: &[],
        }
    }

    fn table(routes: &'static [Route]) -> Table<()> {
        static NOTHING: Controller<()> = Controller { routes: &[], actions: &[] };
        static PARTS: [&'static dyn Mount<()>; 1] = [&NOTHING];
        Table { routes, controllers: &PARTS }
    }

    #[test]
    fn a_second_table_that_clashes_is_refused_by_name() {
        static FIRST: [Route; 1] = [route("/hello", "hello")];
        static SECOND: [Route; 1] = [route("/hello", "shadow")];
        let text = mistake(App::new(()).mount(table(&FIRST)).mount(table(&SECOND)));
        assert!(text.contains("app::hello") && text.contains("app::shadow") && text.contains("src/app.rs:7"), "{text}");
    }

    #[test]
    fn a_route_under_the_configured_path_is_refused_by_name() {
        static ROUTES: [Route; 1] = [route("/live/feed", "feed")];
        assert!(App::new(()).mount(table(&ROUTES)).into_router().is_ok());
        let text = mistake(App::new(()).mount(table(&ROUTES)).socket_path("/live"));
        assert!(text.contains("app::feed") && text.contains("/live"), "{text}");
    }

    #[tokio::test]
    async fn taken_port_is_said_as_the_result_of_main() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let refused = || async { App::new(()).serve(address).await };
        // What `fn main() -> Result<(), ServeError>` prints after `Error: `, and what `-> catamaran::Result` does.
        let by_serve_error = format!("{:?}", refused().await.unwrap_err());
        let by_error = format!("{:?}", crate::Error::from(refused().await.unwrap_err()));
        assert_eq!(by_error, by_serve_error);
        for words in ["cannot listen", &address.to_string(), "in use", "another port"] {
            assert!(by_error.contains(words), "{by_error}");
        }
        assert!(!by_error.contains("500") && by_error.lines().count() == 1, "{by_error}");
        let ServeError::Bind(error) = refused().await.unwrap_err() else { panic!("it cannot be bound") };
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn address_that_cannot_be_bound_is_named() {
        for (address, words) in [
            ("192.0.2.1:1337", ["192.0.2.1:1337", "no address of this machine"]),
            ("localhost", ["cannot listen", "host:port"]),
        ] {
            let error = format!("{:?}", App::new(()).serve(address).await.unwrap_err());
            assert!(words.iter().all(|words| error.contains(words)), "{error}");
        }
    }

    #[tokio::test]
    async fn namespace_of_the_requests_cannot_be_replaced() {
        type Setup = fn(&SocketIo);
        let taking: [Setup; 3] = [
            |io| {
                io.ns("/", async || {});
            },
            |io| {
                io.ns(String::from("/"), async || {});
            },
            |io| {
                io.ns("/chat", async || {});
                io.ns("/", async || {});
                io.ns("/", async || {});
            },
        ];
        for setup in taking {
            let text = mistake(App::new(()).socketio(|_| {}).socketio(setup));
            assert!(text.contains("namespace `/`") && text.contains("io.ns("), "{text}");
        }
        // These leave it where it is.
        let sparing: [Setup; 3] = [
            |io| {
                io.ns("/chat", async || {});
                io.delete_ns("/chat");
            },
            |io| io.dyn_ns("/{*rest}", async || {}).unwrap(),
            |io| io.dyn_ns("/", async || {}).unwrap(),
        ];
        for setup in sparing {
            assert!(App::new(()).socketio(setup).into_router().is_ok());
        }
    }
}
