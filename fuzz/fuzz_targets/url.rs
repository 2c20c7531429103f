//! A URL in a packet.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| catamaran::fuzz::url(data));
