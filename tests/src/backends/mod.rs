//! Servers that join those of an application, each on a free loopback port and started by the test that needs it.

pub mod postgres;
pub mod redis;
