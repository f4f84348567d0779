//! Memory does not depend on how much has been computed.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "the figures are of interest where the test passes, too")]

mod support;

use support::Place;

/// Four times the trials take no more memory: what a trial leaves behind is in the store.
#[test]
fn memory_does_not_grow_with_the_number_of_trials() {
    let peak_kib = |trials: u32| {
        let place = Place::new();
        let text = format!(
            "network: {{ mossy_fibers: 78, granule_cells: 512, golgi_cells: 7 }}\ntrials: {trials}\n\
             conditions: [Control, GABAzine, ACh]\n"
        );
        place.write("many.yaml", &text);
        place.watch(&["run", "many.yaml", "--out", "out", "--workers", "2"]).peak_kib
    };
    let (few, many) = (peak_kib(100), peak_kib(400));
    eprintln!("100 trials: at most {} MiB; 400 trials: {} MiB", few / 1024, many / 1024);
    assert!(many < few + (8 << 10), "{few} KiB with 100 trials, {many} KiB with 400");
}
