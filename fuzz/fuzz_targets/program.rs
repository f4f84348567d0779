//! An answer of a user's program.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    granule::fuzz::program(bytes);
});
