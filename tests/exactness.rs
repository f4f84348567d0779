//! Byte for byte the original's files: the configuration whose hashes its authors publish.

mod support;

use support::{Place, expected, root};

#[test]
fn the_published_configuration() {
    let place = Place::new();
    let sweep = root().join("sweeps/ci-10trials.yaml");
    place.run(&["run", sweep.to_str().unwrap(), "--out", "out"]).succeeded();
    assert_eq!(place.hashes("out/seed-451"), expected(include_str!("expected/ci-10trials.sha256")));
}
