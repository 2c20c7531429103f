//! Servers that join those of an application, each started by the test that needs it.

pub mod postgres;
pub mod redis;
