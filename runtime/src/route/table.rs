//! Joining routes while compiling.
