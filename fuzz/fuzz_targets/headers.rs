//! The headers of a packet.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| catamaran::fuzz::headers(data));
