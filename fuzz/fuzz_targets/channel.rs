//! The values in the name of a channel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| catamaran::fuzz::channel(data));
