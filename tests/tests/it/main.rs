//! Both transports of a running application, as clients see them.

mod app;
mod channels;
mod close;
mod connect;
mod crowd;
mod csrf;
#[cfg(unix)]
mod drain;
mod expiry;
mod extractors;
mod gapless;
mod guarantees;
mod headers;
mod health;
mod hostile;
mod late_tags;
#[cfg(target_os = "linux")]
// It reads the memory of its process as Linux tells it.
#[cfg(target_os = "linux")]
mod leak;
mod limits;
mod metrics;
mod names;
mod origin;
mod parity;
mod process;
mod proxy;
mod rate_limit;
mod readers;
mod resume;
mod sails_sockets;
mod sessions;
mod slow;
mod support;
mod traps;
