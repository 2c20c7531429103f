//! The payload of a CONNECT packet.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| catamaran::fuzz::connect(data));
