//! Both transports of a running application, as clients see them.

mod app;
mod channels;
mod connect;
#[cfg(unix)]
mod drain;
mod health;
mod hostile;
#[cfg(target_os = "linux")]
// It reads the memory of its process as Linux tells it.
#[cfg(target_os = "linux")]
mod leak;
mod metrics;
mod parity;
mod resume;
mod support;
mod traps;
