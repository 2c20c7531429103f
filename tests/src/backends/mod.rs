//! Servers that join nodes, each of a test's own on a free loopback port.

pub mod postgres;
