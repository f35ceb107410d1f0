//! See `fuzz::records::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::records::records(bytes));
