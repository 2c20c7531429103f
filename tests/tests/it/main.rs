//! Both transports of a running application, as clients see them.

mod app;
mod bounds;
mod channel;
mod channels;
mod close;
mod conditional;
mod connect;
mod cross_site;
mod crowd;
mod csrf;
#[cfg(unix)]
mod drain;
mod dsl;
mod event_names;
mod expiry;
mod extractors;
mod gapless;
mod guarantees;
mod handshakes;
mod headers;
mod health;
mod hostile;
mod http;
mod late_tags;
mod layers;
#[cfg(target_os = "linux")]
// It reads the memory of its process as Linux tells it.
#[cfg(target_os = "linux")]
mod leak;
mod limits;
mod metrics;
mod names;
#[cfg(feature = "backends")]
mod nginx;
mod origin;
mod packet_headers;
mod packets;
mod parity;
mod polling;
#[cfg(feature = "backends")]
mod postgres;
mod process;
mod proxy;
mod rate_limit;
mod readers;
#[cfg(feature = "backends")]
mod redis;
mod resume;
mod room_path;
mod sails_sockets;
mod sessions;
mod slow;
mod socket_limits;
mod support;
mod targets;
mod traps;
