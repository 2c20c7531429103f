//! The application: controllers, settings, and the router that both transports share.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    handler::Handler,
    middleware::from_fn_with_state,
    response::IntoResponse,
    routing::{Route as RouteService, any, any_service},
};
use socketioxide::{ParserConfig, SocketIo, SocketIoBuilder, TransportType};
use tokio::net::{TcpListener, ToSocketAddrs};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Origins, Route, ServeError, client,
    controller::Table,
    endpoint::Endpoints,
    finish::Finish,
    hub::Hub,
    metrics, route,
    server::{self, COOKIE_PATH, Drain, Gate, Limits, Proxies, Server, Sessions, Slots, health},
    socket::{self, Dispatcher, Hooks},
};

/// What a packet may have beside its body: method, URL, headers and the names of the envelope.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// The packets that may wait for one socket; tokio allocates room for them as it is needed. It bounds what is not counted
/// in bytes, such as what an application emits by itself.
const MAX_PACKETS: usize = 16 * 1024;
/// The same where bytes cannot be counted, because the connections are not ours.
const MAX_PACKETS_UNCOUNTED: usize = 1024;
/// How long a connection may take to ask for a namespace, beside the time of `on_connect`.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// The attachments that a packet may announce, as in the reference implementation.
const MAX_ATTACHMENTS: usize = 10;

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

/// What is done to the router that both transports share.
enum Change {
    /// Applies to the handlers of connecting and disconnecting sockets as well.
    Layer(Box<dyn Fn(Router) -> Router + Send>),
    Map(Box<dyn FnOnce(Router) -> Router + Send>),
}

type Setup = Box<dyn FnOnce(&SocketIo) + Send>;

struct Settings {
    timeout: Duration,
    max_in_flight: usize,
    max_request_bytes: usize,
    max_backlog_bytes: usize,
    max_connections: usize,
    max_connections_per_address: Option<usize>,
    path: String,
    client_path: String,
    ping_interval: Duration,
    ping_timeout: Duration,
    websocket: bool,
    polling: bool,
    drain: Duration,
    health: bool,
    origins: Origins,
    trusted_proxies: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_in_flight: 64,
            max_request_bytes: 1024 * 1024,
            max_backlog_bytes: 4 * 1024 * 1024,
            max_connections: 100_000,
            max_connections_per_address: None,
            path: "/socket.io".into(),
            client_path: "/catamaran.io.js".into(),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            websocket: true,
            polling: false,
            drain: Duration::from_secs(10),
            health: false,
            origins: Origins::same(),
            trusted_proxies: Vec::new(),
        }
    }
}

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
    /// use catamaran::{Untyped, UntypedEvent, prelude::*};
    /// # #[action(get "/hello")]
    /// # async fn hello() -> &'static str { "hello" }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> catamaran::Result {
    /// let app = App::new(()).mount(routes![hello]);
    /// let (hub, clock) = (app.hub(), Untyped::new("clock"));
    /// tokio::spawn(async move {
    ///     let mut seconds = tokio::time::interval(Duration::from_secs(1));
    ///     while let Ok(tick) = UntypedEvent::new("tick", &()) {
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
    /// One table is checked while compiling. A route of a second one that clashes with a route of the first is refused
    /// at start, by name, so prefer a single table.
    #[must_use]
    pub fn mount(mut self, table: Table<S>) -> Self {
        self.tables.push(table);
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
    /// Changes apply in the order they are given, on top of all mounted controllers.
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
    /// [`on_connect`](Self::on_connect) and [`on_disconnect`](Self::on_disconnect) run inside it too.
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
        self.map_router(|router| router.merge(other))
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
    /// of the handshake, its path and query, [`RequestSocket`](crate::RequestSocket) and
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
    /// # use catamaran::{Error, RequestSocket, Untyped, prelude::*};
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
    ///     ctx.subscribe(&Untyped::new("news")).await?;
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

    /// Hands out the Socket.IO server, for an application's own namespaces. The namespace `/` is catamaran's.
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

    /// How long an action may take, 30 s by default; after that the answer is 503, over both transports.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How many requests of one socket may wait for their answers, 64 by default and 512 at most; the next one is
    /// answered with 429.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.settings.max_in_flight = requests;
        self
    }

    /// How many channels a socket may subscribe to, 256 by default; the next subscription is an error that answers 409.
    #[must_use]
    pub fn max_subscriptions(self, subscriptions: usize) -> Self {
        self.hub.streams().set_max_subscriptions(subscriptions);
        self
    }

    /// The largest body of a request in bytes, 1 MiB by default, over every way in; a larger one is answered with 413.
    ///
    /// A packet that is larger even without its envelope closes its connection.
    #[must_use]
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_request_bytes = bytes;
        self
    }

    /// About how many bytes of events may wait for a socket that reads more slowly than it is sent, 4 MiB by default.
    ///
    /// The next event then cuts it off, since it could not be told of one that was left out. A client that comes back is
    /// sent what it missed, or told of the gap. What the client asked for itself, answers and what it missed, is not held
    /// against it; that waits until there is room. With [`into_router`](Self::into_router) the bytes of a websocket cannot
    /// be counted; there the limit is 1,024 packets.
    #[must_use]
    pub fn max_backlog_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_backlog_bytes = bytes;
        self
    }

    /// How many connections there may be, 100,000 by default; one more is answered with a bare 503 and closed.
    ///
    /// An idle socket takes some 30 KiB of memory, and a file descriptor: the process must be allowed to have that many
    /// (`ulimit -n`). With [`into_router`](Self::into_router) connections are your server's.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// How many connections may come from one address, or one IPv6 network of 64 bits; as many as want to by default.
    ///
    /// Whole offices and mobile networks share an address, so choose it generously. Connections of
    /// [`trusted_proxies`](Self::trusted_proxies) are not counted: all their clients have the proxy's address.
    #[must_use]
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.settings.max_connections_per_address = Some(connections);
        self
    }

    /// Where Socket.IO is served, `/socket.io` by default, which is what clients expect.
    #[must_use]
    pub fn socket_path(mut self, path: impl Into<String>) -> Self {
        self.settings.path = path.into();
        self
    }

    /// Where our client for browsers is served, `/catamaran.io.js` by default.
    ///
    /// It takes the place of `sails.io.js`, so an application with Sails pages may serve it at
    /// `/js/dependencies/sails.io.js`.
    #[must_use]
    pub fn client_path(mut self, path: impl Into<String>) -> Self {
        self.settings.client_path = path.into();
        self
    }

    /// How often a connection is probed, 10 s by default, and how long the answer may take, 5 s by default.
    ///
    /// A dead connection is found after the sum of both.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration, timeout: Duration) -> Self {
        (self.settings.ping_interval, self.settings.ping_timeout) = (interval, timeout);
        self
    }

    /// The Engine.IO transports, websocket alone by default, as in Sails.
    ///
    /// Long-polling sends the requests of one socket over several connections, so behind a load balancer it needs
    /// sticky sessions.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportType>) -> Self {
        (self.settings.websocket, self.settings.polling) = (false, false);
        for transport in transports {
            match transport {
                TransportType::Websocket => self.settings.websocket = true,
                TransportType::Polling => self.settings.polling = true,
            }
        }
        self
    }

    /// Whose pages may open sockets: those of the server's own origin by default; see [`Origins`].
    ///
    /// ```
    /// # use catamaran::{Origins, prelude::*};
    /// let app = App::new(()).origins(Origins::same().and("https://app.example.com"));
    /// ```
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.settings.origins = origins;
        self
    }

    /// The proxies in front of the server, as addresses or networks; none by default.
    ///
    /// What they say counts, over both transports: `x-forwarded-for` or `forwarded` for
    /// [`ClientAddr`](crate::ClientAddr), read from the right up to the first address that is no proxy; the host and the
    /// scheme in them for [`origins`](Self::origins). From any other peer these headers are nothing but a claim.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).trusted_proxies(["127.0.0.1", "10.0.0.0/8"]);
    /// ```
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.trusted_proxies = proxies.into_iter().map(Into::into).collect();
        self
    }

    /// How long the server takes to stop at SIGTERM, 10 s by default.
    ///
    /// What is under way then is answered, if that takes no longer; what has not begun is refused with 503 and the header
    /// `x-catamaran-not-run: 1`, so that its client may ask another server, whatever the request does. Our own client does so by
    /// itself. A second SIGTERM, or Ctrl-C, stops the server at once.
    ///
    /// With [`health`](Self::health), up to 5 s and half of this time pass before anything is refused, while load balancers learn
    /// that the server is not ready.
    #[must_use]
    pub fn drain(mut self, deadline: Duration) -> Self {
        self.settings.drain = deadline;
        self
    }

    /// Serves `GET /health/live`, which is 200 as long as the process can answer, and `GET /health/ready`, which becomes 503
    /// as soon as the server is told to stop. No layer of the application stands before them.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).health();
    /// ```
    #[must_use]
    pub fn health(mut self) -> Self {
        self.settings.health = true;
        self
    }

    /// Serves the application until SIGTERM, at which it [drains](Self::drain), or Ctrl-C.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound, or for one of the mistakes that [`into_router`](Self::into_router) finds.
    pub async fn serve(self, address: impl ToSocketAddrs) -> Result<(), ServeError> {
        let listener = TcpListener::bind(address).await.map_err(ServeError::Bind)?;
        self.serve_on(listener).await
    }

    /// Serves the application on a listener that is there already: a test's own port, or one a supervisor handed over.
    ///
    /// # Errors
    ///
    /// For one of the mistakes that [`into_router`](Self::into_router) finds.
    pub async fn serve_on(self, listener: TcpListener) -> Result<(), ServeError> {
        let stall = self.settings.ping_interval + self.settings.ping_timeout;
        let proxies = Proxies::parse(&self.settings.trusted_proxies).map_err(ServeError::Setting)?;
        let slots = Slots::new(self.settings.max_connections, self.settings.max_connections_per_address, proxies);
        let limits = Limits::new(self.settings.drain, self.settings.health);
        let Built { router, io, dispatcher } = self.build(MAX_PACKETS)?;
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
    /// # Errors
    ///
    /// If two tables clash, a route lies under a configured path, or a setting makes no sense.
    pub fn into_router(self) -> Result<Router, ServeError> {
        self.build(MAX_PACKETS_UNCOUNTED).map(|built| built.router)
    }

    fn build(self, max_packets: usize) -> Result<Built, ServeError> {
        let routes: Vec<Route> = self.routes().copied().collect();
        let Self { state, tables, changes, on_connect, on_disconnect, socketios, settings, hub } = self;
        settings.check()?;
        let path = settings.path.trim_end_matches('/').to_owned();
        let sockets = format!("{path}/");
        let mut reserved = vec![&*sockets, &*settings.client_path, COOKIE_PATH];
        if settings.health {
            reserved.extend([health::LIVE, health::READY]);
        }
        route::check(&routes, &reserved).map_err(ServeError::Routes)?;
        let proxies = Proxies::parse(&settings.trusted_proxies).map_err(ServeError::Setting)?;
        let gate = Gate { origins: settings.origins.clone(), proxies: proxies.clone() };
        metrics::describe();

        let state = Arc::new(state);
        let endpoints = Endpoints { timeout: settings.timeout };
        let controllers = tables.iter().flat_map(|table| table.controllers);
        let ours =
            controllers.fold(Router::new(), |router, controller| router.merge(controller.mount(&state, endpoints)));
        let ours = server::serve_cookie(ours, gate.clone());
        let drain = Drain::default();
        // One layer of two, since each call of `layer` boxes every request once more.
        let outermost = |drain| {
            let finish = Finish { hub: hub.clone(), proxies: proxies.clone(), drain };
            (finish, DefaultBodyLimit::max(settings.max_request_bytes))
        };
        let [on_connect, on_disconnect] = [on_connect, on_disconnect].map(|hook| {
            let layers = changes.iter().filter_map(Change::layer);
            // Never refused: a socket that connects while the server drains goes on after the end of its connection, as one
            // that was told no would not, and whoever leaves is heard of.
            hook.map(|hook| layers.fold(hook, |hook, layer| layer(hook)).layer(outermost(Drain::default())))
        });
        let router = changes.into_iter().fold(ours, |router, change| change.apply(router));
        let router = router.layer(outermost(drain.clone()));

        let (engine, io) = settings.engine(&path, max_packets).build_svc();
        let dispatcher = Dispatcher {
            router: router.clone(),
            timeout: settings.timeout,
            max_in_flight: settings.max_in_flight,
            max_queued_bytes: 4 * settings.max_request_bytes,
            max_backlog_bytes: settings.max_backlog_bytes,
            hub,
            drain: drain.clone(),
            hooks: Hooks::new(on_connect, on_disconnect),
        };
        let dispatcher = Arc::new(dispatcher);
        socket::attach(&io, dispatcher.clone());
        for setup in socketios {
            setup(&io);
        }
        let router = client::serve_at(router, &settings.client_path);
        let router = if settings.health { health::add_to(router, drain.clone()) } else { router };
        let engine = if settings.polling {
            let sessions = Sessions::of(engine);
            any(move |request| sessions.clone().serve(request))
        } else {
            any_service(engine)
        };
        let engine = engine.layer(from_fn_with_state(drain, server::admit));
        let router = router.route(&sockets, engine.layer(from_fn_with_state(gate, server::guard)));
        Ok(Built { router, io, dispatcher })
    }
}

impl Change {
    fn layer(&self) -> Option<&dyn Fn(Router) -> Router> {
        match self {
            Self::Layer(layer) => Some(layer),
            Self::Map(_) => None,
        }
    }

    fn apply(self, router: Router) -> Router {
        match self {
            Self::Layer(layer) => layer(router),
            Self::Map(map) => map(router),
        }
    }
}

/// An application that can be served.
struct Built {
    router: Router,
    io: SocketIo,
    dispatcher: Arc<Dispatcher>,
}

impl Settings {
    fn check(&self) -> Result<(), ServeError> {
        let mistake = if !self.path.starts_with('/') || self.path.trim_matches('/').is_empty() {
            "`socket_path` must be a path below the root, such as \"/socket.io\""
        } else if self.path.contains(['{', '}', '?', '#']) {
            "`socket_path` must be a plain path, without parameters or a query"
        } else if !self.client_path.starts_with('/') || self.client_path.contains(['{', '}', '?', '#']) {
            "`client_path` must be a plain path, such as \"/catamaran.io.js\""
        } else if self.max_in_flight == 0 || self.max_in_flight > MAX_PACKETS_UNCOUNTED / 2 {
            "`max_in_flight` must be from 1 to 512"
        } else if self.max_backlog_bytes == 0 {
            "`max_backlog_bytes` must be more than nothing"
        } else if self.max_connections == 0 || self.max_connections_per_address == Some(0) {
            "`max_connections` and `max_connections_per_address` must be at least 1"
        } else if self.timeout.is_zero() || self.ping_interval.is_zero() || self.ping_timeout.is_zero() {
            "`timeout` and both times of `heartbeat` must be longer than nothing"
        } else if !self.websocket && !self.polling {
            "`transports` must name at least one"
        } else {
            return self.origins.check().map_err(ServeError::Setting);
        };
        Err(ServeError::Setting(mistake.into()))
    }

    fn engine(&self, path: &str, max_packets: usize) -> SocketIoBuilder {
        let packet = self.max_request_bytes + ENVELOPE_BYTES;
        let parser = ParserConfig::common().max_incoming_binaries(MAX_ATTACHMENTS).max_incoming_binary_buf_size(packet);
        let builder = SocketIo::builder()
            .req_path(path.to_owned())
            .ping_interval(self.ping_interval)
            .ping_timeout(self.ping_timeout)
            .max_payload(packet as u64)
            .ws_max_message_size(packet)
            .ws_max_frame_size(packet)
            .max_buffer_size(max_packets)
            .connect_timeout(self.timeout + CONNECT_PATIENCE)
            .with_parser(parser);
        match (self.websocket, self.polling) {
            (true, true) => builder.transports([TransportType::Websocket, TransportType::Polling]),
            (false, true) => builder.transports([TransportType::Polling]),
            _ => builder.transports([TransportType::Websocket]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Controller, Method, Reach, controller::Mount};

    fn mistake(app: App<()>) -> String {
        app.into_router().unwrap_err().to_string()
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_refused_at_start() {
        for app in [
            App::new(()).socket_path("socket.io"),
            App::new(()).socket_path("/"),
            App::new(()).socket_path("/{tenant}/socket.io"),
            App::new(()).client_path("catamaran.io.js"),
            App::new(()).max_in_flight(0),
            App::new(()).max_in_flight(1000),
            App::new(()).max_backlog_bytes(0),
            App::new(()).max_connections(0),
            App::new(()).max_connections_per_address(0),
            App::new(()).timeout(Duration::ZERO),
            App::new(()).transports([]),
            App::new(()).origins(Origins::same().and("app.example.com")),
            App::new(()).trusted_proxies(["localhost"]),
        ] {
            assert!(mistake(app).contains("must"));
        }
    }

    const fn route(path: &'static str, action: &'static str) -> Route {
        let (module, file) = ("app", "src/app.rs");
        Route { method: Method::Get, path, reach: Reach::Both, action, module, file, line: 7, doc: "", params: &[] }
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
}
