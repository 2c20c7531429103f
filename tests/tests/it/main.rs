//! Both transports of a running application, as clients see them.

mod app;
mod hostile;
mod parity;
mod support;
mod traps;
