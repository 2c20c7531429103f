//! The settings of an application, and what they must be.

use std::time::Duration;

use socketioxide::{ParserConfig, SocketIo, SocketIoBuilder, TransportType};

use super::App;
use catamaran_pubsub::{MAX_CHANNEL_BYTES, MAX_SUBSCRIPTIONS};

use crate::{
    Backend, Origins, PacketHeaders, ServeError,
    http::Proxies,
    routing::encoded,
    socketio::{Lifetimes, SURE_PACKETS},
};

/// What a packet may have beside its body: method, URL, headers and the names of the envelope.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// The bytes of a CONNECT payload beside `auth` and the positions: the name of the client, and the keys.
const CLIENT_BYTES: usize = 512;
/// The bytes of one position in a CONNECT payload, beside the name of its channel.
const POSITION_BYTES: usize = 128;
/// The packets that may wait for one socket; tokio allocates room for them as it is needed. It bounds what is not counted
/// in bytes, such as what an application emits by itself.
pub(super) const MAX_PACKETS: usize = 16 * 1024;
const _: () = assert!(MAX_PACKETS as u64 >= 2 * SURE_PACKETS);
/// The same where bytes cannot be counted, because the connections are not ours.
pub(super) const MAX_PACKETS_UNCOUNTED: usize = 1024;
/// How long a connection may take to ask for a namespace, beside the time of `on_connect`.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// The attachments that a packet may announce, as in the reference implementation.
const MAX_ATTACHMENTS: usize = 10;

/// How an application is served.
pub(super) struct Settings {
    pub(super) timeout: Duration,
    pub(super) max_in_flight: usize,
    pub(super) max_messages_per_second: u32,
    pub(super) lifetimes: Lifetimes,
    pub(super) max_in_flight_bytes: Option<usize>,
    pub(super) max_request_bytes: usize,
    pub(super) max_answer_bytes: usize,
    pub(super) max_auth_bytes: usize,
    pub(super) max_subscriptions: usize,
    pub(super) max_channel_bytes: usize,
    pub(super) max_backlog_bytes: usize,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_address: Option<usize>,
    pub(super) path: String,
    pub(super) client_path: String,
    pub(super) ping_interval: Duration,
    pub(super) ping_timeout: Duration,
    pub(super) websocket: bool,
    pub(super) polling: bool,
    pub(super) drain: Duration,
    pub(super) health: bool,
    pub(super) origins: Origins,
    pub(super) allow_cross_site: Vec<String>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) packet_headers: PacketHeaders,
    pub(super) client_addr_header: String,
    pub(super) max_handshake_bytes: usize,
    /// What is wrong with the broker.
    pub(super) broker: Result<(), String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_in_flight: 64,
            max_messages_per_second: 2000,
            lifetimes: Lifetimes::default(),
            max_in_flight_bytes: None,
            max_request_bytes: 1024 * 1024,
            max_answer_bytes: 16 * 1024 * 1024,
            max_auth_bytes: 16 * 1024,
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_channel_bytes: MAX_CHANNEL_BYTES,
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
            allow_cross_site: Vec::new(),
            trusted_proxies: Vec::new(),
            packet_headers: PacketHeaders::default(),
            client_addr_header: "x-forwarded-for".into(),
            max_handshake_bytes: 16 * 1024,
            broker: Ok(()),
        }
    }
}

impl<S: Send + Sync + 'static> App<S> {
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

    /// How many requests a second one socket may send, 2,000 by default; the next one is answered with 429, the code
    /// `rate_limited` and `retry-after`, before anything of it is read. One without an ack is dropped.
    ///
    /// A socket that sent less may send ten seconds' worth at once. `u32::MAX` is no limit.
    #[must_use]
    pub fn max_messages_per_second(mut self, messages: u32) -> Self {
        self.settings.max_messages_per_second = messages;
        self
    }

    /// How long a socket may go without sending a request; any time by default.
    ///
    /// Heartbeats, and events that it receives, are no requests, so this is not for pages that only listen. The catamaran
    /// client raises `lost` with the reason `idle`, then `disconnect`; other clients are disconnected. None comes back by
    /// itself.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.lifetimes.idle = Some(timeout);
        self
    }

    /// How long a socket may live; any time by default. Its client then connects again, so
    /// [`on_connect`](Self::on_connect) decides about it again.
    ///
    /// The catamaran client connects first and leaves then, without a loss. The connections of others are cut 5 s later,
    /// so their unanswered requests fail.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetimes.whole = Some(lifetime);
        self
    }

    /// Sets how many bytes the packets of one socket's unanswered requests may have, queued or running: four times
    /// [`max_request_bytes`](Self::max_request_bytes) by default, and at least that. The next request is answered with 429
    /// before it is read.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).max_in_flight_bytes(8 * 1024 * 1024);
    /// ```
    #[must_use]
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_in_flight_bytes = Some(bytes);
        self
    }

    /// Sets how many bytes of answers one socket may have waiting, 16 MiB by default. It also bounds a single answer.
    ///
    /// A larger answer becomes a 500 that says so, with the code `answer_too_large`. An answer that has no room beside those
    /// that the client has not read yet becomes a 503 with the code `answers_waiting`. While more than half of the bytes are
    /// taken, the next request is answered with 429 and does not run.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).max_answer_bytes(1024 * 1024);
    /// ```
    #[must_use]
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_answer_bytes = bytes;
        self
    }

    /// Sets how many bytes a client may send as Socket.IO's `auth`, 16 KiB by default; a longer one is refused with 413 before
    /// [`on_connect`](Self::on_connect) runs.
    ///
    /// The positions of the catamaran client do not count: they have room for
    /// [`max_subscriptions`](Self::max_subscriptions) channels with names of [`max_channel_bytes`](Self::max_channel_bytes).
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).max_auth_bytes(64 * 1024);
    /// ```
    #[must_use]
    pub fn max_auth_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_auth_bytes = bytes;
        self
    }

    /// How many channels a socket may subscribe to, 256 by default; the next subscription is an error that answers 409.
    #[must_use]
    pub fn max_subscriptions(mut self, subscriptions: usize) -> Self {
        self.settings.max_subscriptions = subscriptions;
        self.hub.registry().set_max_subscriptions(subscriptions);
        self
    }

    /// Sets how many bytes the name of a channel may have, 256 by default. Subscribing to a longer one is an error that
    /// answers 400, and an event that is published there reaches nobody.
    ///
    /// Values in the names of typed channels are percent-encoded, so a letter outside ASCII takes 6 bytes or more.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).max_channel_bytes(1024);
    /// ```
    #[must_use]
    pub fn max_channel_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_channel_bytes = bytes;
        self.hub.registry().set_max_channel_bytes(bytes);
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

    /// Limits the connections, 100,000 by default; one more is answered with a bare 503 and closed.
    ///
    /// A long-polling session counts as one more, also between its polls, until it goes on over a websocket. Where it is
    /// one too many, its handshake is answered with 503 `too_many_connections`. Sessions never keep a connection out that
    /// carries requests, only one that is to become a websocket.
    ///
    /// An idle socket takes some 30 KiB of memory, and a file descriptor: the process must be allowed to have that many
    /// (`ulimit -n`). With [`into_router`](Self::into_router) connections are your server's, and only sessions count.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// Limits the connections from one address, or one IPv6 network of 64 bits; unlimited by default.
    ///
    /// Whole offices and mobile networks share an address, so choose it generously. Connections of
    /// [`trusted_proxies`](Self::trusted_proxies) are not counted: all their clients have the proxy's address. Long-polling
    /// sessions are counted by their clients' addresses, behind proxies too.
    #[must_use]
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.settings.max_connections_per_address = Some(connections);
        self
    }

    /// Limits the head of a Socket.IO handshake, 16 KiB by default: its URL and headers, which are kept as long as the socket.
    ///
    /// A larger one is answered with 431 `handshake_too_large`. The head of any HTTP request has at most 64 KiB and 100
    /// headers. Both limits count bytes as they are sent.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).max_handshake_bytes(32 * 1024);
    /// ```
    #[must_use]
    pub fn max_handshake_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_handshake_bytes = bytes;
        self
    }

    /// Joins the servers of the application by a backend they share, so that what is published on one reaches the sockets of
    /// all; see [`Backend`]. By default a server is alone.
    ///
    /// As long as the backend cannot be reached, also at the start, events go to this server's own sockets, and
    /// [`health`](Self::health) says that the server is not ready.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or if something was published or subscribed to before.
    #[must_use]
    pub fn broker(mut self, backend: impl Into<Backend>) -> Self {
        self.settings.broker = self.hub.join(backend.into());
        self
    }

    /// Where Socket.IO is served, `/socket.io` by default, which is what clients expect.
    #[must_use]
    pub fn socket_path(mut self, path: impl Into<String>) -> Self {
        self.settings.path = encoded(&path.into());
        self
    }

    /// Sets where the catamaran client for browsers is served: `/catamaran.io.js` by default.
    ///
    /// Its source map is served beside it, at the same path with `.map` at the end.
    ///
    /// It takes the place of `sails.io.js`, so an application with Sails pages may serve it at
    /// `/js/dependencies/sails.io.js`.
    #[must_use]
    pub fn client_path(mut self, path: impl Into<String>) -> Self {
        self.settings.client_path = encoded(&path.into());
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

    /// Names the pages that may open sockets and send requests that change something: those of the server's own origin by
    /// default; see [`Origins`].
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

    /// Exempts routes from the check of cross-site requests, so that a page of any site may send to them: a login that comes
    /// back as a form of the identity provider, a payment that does, a form for other sites' pages.
    ///
    /// A route is named by its path as it is declared, with the prefixes of controllers, of
    /// [`map_router`](Self::map_router), and of a router around that of [`into_router`](Self::into_router). Such a request carries the user's cookies although another site's page made it. So its
    /// action must check something else: a `state` or a signature that the other site sends along.
    ///
    /// Requests of servers, such as webhooks, say no origin and need no exemption.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).allow_cross_site(["/login/{provider}/callback"]);
    /// ```
    #[must_use]
    pub fn allow_cross_site(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.allow_cross_site.extend(paths.into_iter().map(|path| encoded(&path.into())));
        self
    }

    /// Trusts the proxies in front of the server, as addresses or networks; none by default.
    ///
    /// What they say counts, over both transports: `x-forwarded-for`, or the header that
    /// [`client_addr_header`](Self::client_addr_header) names, for [`ClientAddr`](crate::ClientAddr); `x-forwarded-host` and
    /// `x-forwarded-proto` for [`origins`](Self::origins). Lists are read from the right, up to the first address that is no
    /// proxy. From any other peer these headers are nothing but a claim.
    ///
    /// A request is refused with 400 `forwarded_refused` where a proxy's header cannot be read, or where `x-forwarded-*` and
    /// `forwarded` contradict each other. So a proxy clears the one that it does not write.
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

    /// Lets packets of sockets set these headers, or [`Any`](crate::Any). Calls add up.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).packet_headers(["x-tenant", "x-trace-id"]);
    /// ```
    ///
    /// The requests of a socket carry the headers of its handshake. By default a packet sets `accept`, `accept-language`,
    /// `content-type`, `x-csrf-token`, `x-requested-with`, `if-match`, `if-none-match`, `idempotency-key` and
    /// `last-event-id`, and `authorization` if the handshake had none. A header named here counts only if the handshake
    /// had none of its name, so a header that a proxy sets on every handshake cannot be replaced. Any other header of a
    /// packet is dropped. The request goes on, and the first time of each name is logged at `WARN`, 64 names at most.
    ///
    /// `Any` lets packets set all other names in the same way, as Sails does:
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).packet_headers(catamaran::Any);
    /// ```
    ///
    /// Then an application must not believe any header of its own proxy that is not on every handshake. Cookies, hosts,
    /// origins, headers of the connection, and headers by which well-known proxies say who the client is are never set by
    /// a packet.
    ///
    /// # Errors
    ///
    /// [`serve`](Self::serve) and [`into_router`](Self::into_router) fail if an entry is no name of a header, or one that
    /// no packet may set, such as `cookie`, `host`, `x-forwarded-for` or `transfer-encoding`.
    #[must_use]
    pub fn packet_headers(mut self, headers: impl Into<PacketHeaders>) -> Self {
        self.settings.packet_headers.extend(headers.into());
        self
    }

    /// Names the one header in which the [`trusted_proxies`](Self::trusted_proxies) say who the client is, `x-forwarded-for`
    /// by default.
    ///
    /// `forwarded` is read by RFC 7239, for the host and the scheme as well. Any other header, such as `x-real-ip` or
    /// `cf-connecting-ip`, has one address and stands once; the proxy must overwrite what a client sends in it.
    ///
    /// ```
    /// # use catamaran::prelude::*;
    /// let app = App::new(()).trusted_proxies(["127.0.0.1"]).client_addr_header("x-real-ip");
    /// ```
    #[must_use]
    pub fn client_addr_header(mut self, name: impl Into<String>) -> Self {
        self.settings.client_addr_header = name.into();
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
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), ServeError> {
        let mistake = if !self.path.starts_with('/') || self.path.trim_matches('/').is_empty() {
            "`socket_path` must be a path below the root, such as \"/socket.io\""
        } else if self.path.contains(['{', '}', '?', '#']) {
            "`socket_path` must be a plain path, without parameters or a query"
        } else if !self.client_path.starts_with('/') || self.client_path.contains(['{', '}', '?', '#']) {
            "`client_path` must be a plain path, such as \"/catamaran.io.js\""
        } else if self.allow_cross_site.iter().any(|path| !path.starts_with('/') || path.contains(['?', '#', '*'])) {
            "`allow_cross_site` must name paths as their routes declare them, such as \"/login/{provider}/callback\""
        } else if self.max_in_flight == 0 || self.max_in_flight > MAX_PACKETS_UNCOUNTED / 2 {
            "`max_in_flight` must be from 1 to 512"
        } else if self.max_messages_per_second == 0 {
            "`max_messages_per_second` must be at least 1"
        } else if [self.lifetimes.idle, self.lifetimes.whole].contains(&Some(Duration::ZERO)) {
            "`idle_timeout` and `max_lifetime` must be longer than nothing"
        } else if self.max_request_bytes == 0 || self.max_answer_bytes == 0 || self.max_backlog_bytes == 0 {
            "`max_request_bytes`, `max_answer_bytes` and `max_backlog_bytes` must be at least 1"
        } else if self.max_in_flight_bytes.is_some_and(|bytes| bytes < self.max_request_bytes) {
            "`max_in_flight_bytes` must be at least `max_request_bytes`, or no socket can send a request of that size"
        } else if self.max_subscriptions == 0 || self.max_channel_bytes == 0 {
            "`max_subscriptions` and `max_channel_bytes` must be at least 1"
        } else if self.max_auth_bytes > self.max_packet_bytes() {
            "`max_auth_bytes` must be at most `max_request_bytes` plus 64 KiB: a larger packet closes its connection"
        } else if self.max_handshake_bytes == 0 {
            "`max_handshake_bytes` must be at least 1"
        } else if self.max_connections == 0 || self.max_connections_per_address == Some(0) {
            "`max_connections` and `max_connections_per_address` must be at least 1"
        } else if self.timeout.is_zero() || self.ping_interval.is_zero() || self.ping_timeout.is_zero() {
            "`timeout` and both times of `heartbeat` must be longer than nothing"
        } else if !self.websocket && !self.polling {
            "`transports` must name at least one"
        } else {
            self.broker.clone().map_err(ServeError::Setting)?;
            return self.origins.check().map_err(ServeError::Setting);
        };
        Err(ServeError::Setting(mistake.into()))
    }

    /// How many bytes the packets of one socket's unanswered requests may have.
    pub(super) fn in_flight_bytes(&self) -> usize {
        self.max_in_flight_bytes.unwrap_or_else(|| self.max_request_bytes.saturating_mul(4))
    }

    /// The largest CONNECT payload that an honest client sends.
    pub(super) fn max_connect_bytes(&self) -> usize {
        let positions = self.max_channel_bytes.saturating_add(POSITION_BYTES).saturating_mul(self.max_subscriptions);
        self.max_auth_bytes.saturating_add(positions).saturating_add(CLIENT_BYTES).min(self.max_packet_bytes())
    }

    pub(super) fn max_packet_bytes(&self) -> usize {
        self.max_request_bytes.saturating_add(ENVELOPE_BYTES)
    }

    pub(super) fn proxies(&self) -> Result<Proxies, ServeError> {
        Proxies::parse(&self.trusted_proxies, &self.client_addr_header).map_err(ServeError::Setting)
    }

    pub(super) fn engine(&self, path: &str, max_packets: usize) -> SocketIoBuilder {
        let packet = self.max_packet_bytes();
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
            App::new(()).max_messages_per_second(0),
            App::new(()).idle_timeout(Duration::ZERO),
            App::new(()).max_lifetime(Duration::ZERO),
            App::new(()).max_request_bytes(0),
            App::new(()).max_answer_bytes(0),
            App::new(()).max_in_flight_bytes(1024),
            App::new(()).max_subscriptions(0),
            App::new(()).max_channel_bytes(0),
            App::new(()).max_auth_bytes(10 * 1024 * 1024),
            App::new(()).max_connections(0),
            App::new(()).max_connections_per_address(0),
            App::new(()).timeout(Duration::ZERO),
            App::new(()).transports([]),
            App::new(()).origins(Origins::same().and("app.example.com")),
            App::new(()).trusted_proxies(["localhost"]),
            App::new(()).packet_headers(["x-tenant", "cookie"]),
            App::new(()).allow_cross_site(["callback"]),
            App::new(()).allow_cross_site(["/{*rest}"]),
            App::new(()).client_addr_header("x real ip"),
            App::new(()).max_handshake_bytes(0),
        ] {
            let mistake = app.into_router().unwrap_err().to_string();
            assert!(mistake.contains("must"), "{mistake}");
        }
    }
}
