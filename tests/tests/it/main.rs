//! Both transports of a running application, as clients see them.

mod parity;
mod support;
