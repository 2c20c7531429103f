//! What the runtime counts, by the [`metrics`](https://docs.rs/metrics) facade.
//!
//! An application that installs a recorder, such as `metrics-exporter-prometheus`, before it serves gets all of them; without
//! one they cost next to nothing. The example `metrics` shows it whole.

use std::sync::OnceLock;

use ::metrics::{Key, Label, Level, Metadata, Unit, counter, describe_counter, describe_gauge, gauge, with_recorder};
use axum::http::StatusCode;
pub use catamaran_pubsub::{GAPS, RESUMED};

/// Gauge: the sockets that are connected.
pub const SOCKETS: &str = "catamaran_sockets";

/// Counter: the sockets that connected and were let in.
pub const ACCEPTED: &str = "catamaran_sockets_accepted_total";

/// Counter: the sockets that wanted to connect and were refused, by `status`: by
/// [`App::on_connect`](crate::App::on_connect) for the most part.
pub const REFUSED: &str = "catamaran_sockets_refused_total";

/// Counter: the requests that were answered, by `transport` (`http` or `socket`) and `status`.
///
/// Over HTTP these are the application's own routes, without Socket.IO's, our client's and those of health.
pub const REQUESTS: &str = "catamaran_requests_total";

/// Gauge: the requests that are not answered yet, by `transport`.
pub const IN_FLIGHT: &str = "catamaran_requests_in_flight";

/// Counter: the requests that were neither run nor answered, because they asked for no ack and too many of their socket
/// waited already.
pub const DROPPED: &str = "catamaran_requests_dropped_total";

/// Counter: the connections, most of them sockets, that were closed because their peers read too slowly.
pub const SLOW: &str = "catamaran_slow_connections_closed_total";

/// Counter: the connections that were refused because there were too many, in all or from one address.
pub const REFUSED_CONNECTIONS: &str = "catamaran_refused_connections_total";

/// Counter: the requests to Socket.IO that were refused because of the page they came from.
pub const REFUSED_ORIGINS: &str = "catamaran_refused_origins_total";

/// How a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http,
    Socket,
}

impl Transport {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socket => "socket",
        }
    }
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Says what each metric means to the recorder that is installed.
pub(crate) fn describe() {
    describe_gauge!(SOCKETS, Unit::Count, "Sockets that are connected");
    describe_counter!(ACCEPTED, Unit::Count, "Sockets that connected and were let in");
    describe_counter!(REFUSED, Unit::Count, "Sockets that wanted to connect and were refused");
    describe_counter!(REQUESTS, Unit::Count, "Requests that were answered");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Requests that are not answered yet");
    describe_counter!(DROPPED, Unit::Count, "Requests without an ack that were dropped");
    catamaran_pubsub::describe_metrics();
    describe_counter!(SLOW, Unit::Count, "Connections that were closed because their peers read too slowly");
    describe_counter!(REFUSED_CONNECTIONS, Unit::Count, "Connections that were refused because there were too many");
    describe_counter!(REFUSED_ORIGINS, Unit::Count, "Requests that were refused because of the origin of their page");
}

pub(crate) fn request_began(transport: Transport) {
    with_recorder(|recorder| recorder.register_gauge(in_flight(transport), &METADATA)).increment(1);
}

pub(crate) fn request_ended(transport: Transport) {
    with_recorder(|recorder| recorder.register_gauge(in_flight(transport), &METADATA)).decrement(1);
}

fn in_flight(transport: Transport) -> &'static Key {
    const fn key(label: &'static [Label; 1]) -> Key {
        Key::from_static_parts(IN_FLIGHT, label)
    }
    static LABELS: [[Label; 1]; 2] = [
        [Label::from_static_parts("transport", Transport::Http.as_str())],
        [Label::from_static_parts("transport", Transport::Socket.as_str())],
    ];
    static KEYS: [Key; 2] = [key(&LABELS[0]), key(&LABELS[1])];
    &KEYS[transport as usize]
}

pub(crate) fn request_answered(transport: Transport, status: StatusCode) {
    // The macro would allocate the labels for each request, also where nobody counts.
    const STATUSES: usize = 900;
    static KEYS: [[OnceLock<Key>; STATUSES]; 2] = [const { [const { OnceLock::new() }; STATUSES] }; 2];
    let key = KEYS[transport as usize][usize::from(status.as_u16()) - 100].get_or_init(|| {
        let labels =
            vec![Label::new("transport", transport.as_str()), Label::new("status", status.as_str().to_owned())];
        Key::from_parts(REQUESTS, labels)
    });
    with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(1);
}

pub(crate) fn socket_accepted() {
    counter!(ACCEPTED).increment(1);
}

pub(crate) fn socket_refused(status: StatusCode) {
    counter!(REFUSED, "status" => status.as_str().to_owned()).increment(1);
}

pub(crate) fn request_dropped() {
    counter!(DROPPED).increment(1);
}

pub(crate) fn slow_connection_closed() {
    counter!(SLOW).increment(1);
}

pub(crate) fn connection_refused() {
    counter!(REFUSED_CONNECTIONS).increment(1);
}

pub(crate) fn origin_refused() {
    counter!(REFUSED_ORIGINS).increment(1);
}

/// A socket, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenSocket(());

impl OpenSocket {
    pub(crate) fn count() -> Self {
        gauge!(SOCKETS).increment(1);
        Self(())
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        gauge!(SOCKETS).decrement(1);
    }
}
