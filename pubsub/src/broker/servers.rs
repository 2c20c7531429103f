//! Servers of Redis and Postgres that tests start.

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/src/backends/postgres.rs"]
pub(crate) mod postgres;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/src/backends/redis.rs"]
pub(crate) mod redis;
