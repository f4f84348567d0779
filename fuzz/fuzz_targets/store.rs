//! The file of a store.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    granule::fuzz::store(bytes);
});
