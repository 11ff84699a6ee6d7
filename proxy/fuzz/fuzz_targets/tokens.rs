#![no_main]

#[path = "../../tests/fuzzed/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::tokens::law(data));
