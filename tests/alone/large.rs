//! Trials with many millions of spikes: workers deliver their results, and a result that is too large affects no other
//! trial.

use crate::support::relay::{Faults, Relay};
use crate::support::served::Served;
use crate::support::{Place, peak_kib, wait_for};

/// A cohort of three conditions, in one of which every granule cell fires at every step.
fn sweep(duration_ms: u32, trials: u32) -> String {
    format!(
        "engine: pcg\nname: large\nseeds: [451]\ntrials: {trials}\n\
         network: {{ mossy_fibers: 20, granule_cells: 1000, golgi_cells: 4 }}\n\
         time: {{ duration: {duration_ms} ms }}\nstimulus: {{ times: [10 ms] }}\nrecord: {{ probabilities: true, connections: false, weights: false, conductances: false }}\n\
         conditions:\n  - Control\n  - ACh\n  \
         - {{ name: Storm, set: {{ granule.refractory: 0 ms, granule.threshold: -90 mV }} }}\n"
    )
}

/// A lower bound of the bytes of the values in a store: the length of its file.
fn stored(place: &Place) -> u64 {
    place.length("out/store.granule")
}

#[test]
fn a_result_of_many_messages_is_delivered_over_a_slow_line_within_its_lease() {
    let _turn = crate::turn(module_path!());
    let place = Place::new();
    let path = place.write("sweep.yaml", sweep(1800, 1));
    let reference = Place::new();
    reference.write("sweep.yaml", sweep(1800, 1));
    reference.run(&["run", "sweep.yaml", "--out", "out", "--workers", "1"]).succeeded();
    assert!(stored(&reference) > 32 << 20, "{} bytes", stored(&reference));

    let mut served = Served::start(&place, None, &[path.to_str().unwrap(), "--lease-seconds", "2"]);
    // The transfer takes about five seconds, and all other messages pass the same line meanwhile.
    let faults = Faults { throttle: Some(8 << 20), ..Faults::default() };
    let relay = Relay::to(served.address(), "127.0.0.1:0".parse().unwrap(), 1, faults);
    let copy = served.copy(&place, "copy.json", Some(relay.address()));
    let worker = place.start(&["worker", "--access", copy.to_str().unwrap(), "--threads", "1"]);
    let mut peak = 0;
    wait_for("the sweep ends", || {
        peak = peak.max(peak_kib(served.running.id()).unwrap_or(0));
        served.running.has_ended().then_some(())
    });
    let ended = served.running.end().succeeded();
    worker.end().succeeded();
    assert!(!ended.stderr.contains("which other workers get"), "{}", ended.stderr);
    assert!(relay.counts().bytes < 3 * stored(&place) / 2, "{:?}", relay.counts());
    assert_eq!(place.outputs("out"), reference.outputs("out"));
    // Memory for the encoded result and for the copy that is written. Decoded, its spikes are three times as large.
    assert!(peak < 400 << 10, "{peak} KiB");
}

#[test]
fn a_trial_too_large_to_be_stored_is_set_aside_alone() {
    let _turn = crate::turn(module_path!());
    let place = Place::new();
    place.write("sweep.yaml", sweep(10_001, 1));
    let note = "condition Storm: if all cells fire as often as";
    let planned = place.run(&["plan", "sweep.yaml", "--out", "out"]).succeeded();
    assert!(planned.stderr.contains(note), "{planned:#?}");
    let ended = place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "1"]).failed_with(
        3,
        &[
            note,
            "trial 0 of condition Storm, seed 451 is set aside: it has more than 100000000 spikes",
            "error: 1 trial was set aside",
            "\n  trial 0 of condition Storm, seed 451: it has more than 100000000 spikes",
            "`granule.refractory` is 0 ms",
            "help: all other files are written; change these conditions in the sweep file, then: ",
        ],
    );
    assert!(!ended.stderr.contains("quarantined"), "{}", ended.stderr);
    assert!(ended.stdout.contains("NOT complete: 2 trials computed"), "{ended:#?}");
    let files = place.outputs("out");
    let of = |condition: &str| files.keys().filter(|file| file.contains(condition)).count();
    assert_eq!((of("control"), of("ach"), of("Storm")), (1, 1, 0), "{files:?}");
    let set_aside = place.manifest("out")["set_aside"].as_array().expect("a list").len();
    assert_eq!(set_aside, 1);
}
