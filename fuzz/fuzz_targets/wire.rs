//! A message between coordinator and worker.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    granule::fuzz::wire(bytes);
});
