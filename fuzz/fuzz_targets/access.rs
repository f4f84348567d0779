//! An access file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    granule::fuzz::access(bytes);
});
