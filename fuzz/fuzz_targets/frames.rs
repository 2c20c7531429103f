//! What the client of a websocket sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| catamaran::fuzz::frames(data));
