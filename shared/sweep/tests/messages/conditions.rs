//! Conditions, their bases and their parameters.

use granule_granular::{ENGINES, space};
use granule_sweep::{Overrides, from_variables, parse};

use super::{SMALLEST, check, check_set, check_with};

const FORM: &str = "write a preset's name, or `{ name: …, base: Control, set: { … } }`";
const GAMMA: &str = "write a number, or `{ gamma: { mean: 0.4, sd: 0.07, seed: 1 } }`";

/// As [`check`] for the list of conditions; positions are those in the list.
fn check_conditions(list: &str, expected: &[&str]) {
    check(&format!("conditions:\n{list}"), expected);
}

#[test]
fn lists_of_conditions() {
    check("conditions: []", &[&format!("1:13 `conditions` is empty | {SMALLEST}")]);
    check("conditions: Control", &[&format!("1:13 `conditions` must be a list, not `Control` | {SMALLEST}")]);
    check("conditions: {}", &[&format!("1:13 `conditions` must be a list, not a mapping | {SMALLEST}")]);
    check("conditions:", &[&format!("1:11 `conditions` must be a list, not an empty value | {SMALLEST}")]);
    check_conditions(
        "- Control\n- control\n- Control\n- Baseline\n- ~\n- []",
        &[
            "3:3 unknown condition `control` | did you mean `Control`?",
            "4:3 duplicate condition `Control` | it is already on line 2",
            "5:3 unknown condition `Baseline` | the presets are `Control`, `GABAzine` and `ACh`",
            &format!("6:3 a condition cannot be an empty value | {FORM}"),
            &format!("7:3 a condition cannot be a list | {FORM}"),
        ],
    );
    check_conditions(
        "- { base: ACh }\n- { nam: x }\n- { name: y, grid: {}, zip: {} }\n- { Control: 1 }\n\
         - { name: z, golgi.reset: -5 mV }\n- { name: q, x9: 5 }",
        &[
            "2:3 the condition has no `name` | add `name: …`",
            "3:5 unknown key `nam` in a condition | did you mean `name`?",
            "4:20 `grid` has no axes | write it like `grid: { granule.tonic_factor: [0.5, 1] }`",
            "4:29 `zip` has no axes | write it like `zip: { granule.tonic_factor: [0.5, 1] }`",
            &format!("5:5 unknown key `Control` in a condition | {FORM}"),
            "6:14 unknown key `golgi.reset` in a condition | parameters go into `set: { golgi.reset: … }`",
            "7:14 unknown key `x9` in a condition | the keys are `name`, `base`, `set`, `grid`, `zip`, \
             `latin_hypercube`, `sobol`, `table` and `record`",
        ],
    );
}

#[test]
fn names_of_conditions() {
    let check = |list: &str, expected: &str| check_conditions(list, &[expected]);
    check(
        "- name: a b",
        "2:9 a condition's name can have letters, digits, `.`, `_` and `-` only; `a b` has others \
         | write `a-b`",
    );
    check("- name: ''", "2:9 a condition's name must not be empty | write `half-tonic`");
    check("- name: .x", "2:9 a condition's name cannot start with a dot, as in `.x` | write `x`");
    check("- name: []", "2:9 `name` must be a word, not a list | write it like `name: half-tonic`");
    check(
        &format!("- name: {}", "x".repeat(81)),
        &format!(
            "2:9 a condition's name can have at most 80 characters, not 81 | write `{}`",
            "x".repeat(80)
        ),
    );
    check("- name: ACh", "2:9 `ACh` is the name of a preset | give this condition another name");
    for name in ["-NaN", "-nan", "NA", "'NULL'", "NaN", "None", "nan", "'null'"] {
        let bare = name.trim_matches('\'');
        let fitting = bare.trim_start_matches('-');
        check(
            &format!("- name: {name}"),
            &format!(
                "2:9 a condition's name cannot be `{bare}`: pandas reads it as a missing value \
                 | write `condition-{fitting}`"
            ),
        );
    }
    check(
        "- name: -x",
        "2:9 a condition's name must not start with `-` unless it is a number: \
         spreadsheets would read `-x` as a formula | write `condition-x`",
    );
    check(
        "- name: '=HYPERLINK(\"http://x\",\"y\")'",
        "2:9 a condition's name can have letters, digits, `.`, `_` and `-` only; \
         `=HYPERLINK(\"http://x\",\"y\")` has others | write `HYPERLINK--http---x---y--`",
    );
    check(
        "- name: '@x'",
        "2:9 a condition's name can have letters, digits, `.`, `_` and `-` only; `@x` has others | write `x`",
    );
    check(
        "- name: Randomized_a",
        "2:9 a condition's name cannot start with `randomized_` \
         | output files of random weights start with it; give this condition another name",
    );
    check("- name: a\n- name: a", "3:9 duplicate condition `a` | it is already on line 2");
    check(
        "- name: a\n- name: A",
        "3:9 conditions `a` and `A` would write to the same files, `A…` \
         | rename one of them; the other is on line 2",
    );
    check(
        "- name: gaba\n- GABAzine",
        "3:3 conditions `gaba` and `GABAzine` would write to the same files, `gaba…` \
         | rename one of them; the other is on line 2",
    );
}

#[test]
fn names_of_points() {
    let check =
        |condition: &str, expected: &str| check_conditions(&format!("- {{ {condition} }}"), &[expected]);
    check(
        "name: '{golgi.leak_reversal}-{golgi.reset}', grid: { golgi.leak_reversal: [-53 mV], golgi.reset: [-54 mV] }",
        "2:11 a condition's name must not start with `-` unless it is a number: spreadsheets would read \
         `-53--54` as a formula | this is the name of point 0; start the name with a word, as in \
             `tonic-{index}`",
    );
    check(
        "name: 'a b{index}', grid: { golgi.leak_reversal: [-53 mV] }",
        "2:11 a condition's name can have letters, digits, `.`, `_` and `-` only; `a b0` has others \
         | this is the name of point 0; use only those characters around the placeholders",
    );
    // The value of one axis may be a negative number.
    let negative =
        "conditions: [{ name: '{golgi.leak_reversal}', grid: { golgi.leak_reversal: [-53.5 mV] } }]";
    let sweep =
        parse(ENGINES, "x.yaml", negative.as_bytes(), "x", &Overrides::default()).expect("it is right");
    assert_eq!(sweep.conditions[0].name, "-53.5");
}

#[test]
fn bases() {
    let check = |list: &str, expected: &str| check_conditions(list, &[expected]);
    check("- { name: a, base: Contrl }", "2:20 unknown base `Contrl` | did you mean `Control`?");
    check(
        "- { name: half-tonic }\n- { name: a, base: half_tonic }",
        "3:20 unknown base `half_tonic` | did you mean `half-tonic`?",
    );
    check(
        "- { name: a, base: Baseline }",
        "2:20 unknown base `Baseline` | a base is an earlier condition or one of the presets `Control`, `GABAzine` and `ACh`",
    );
    check("- { name: a, base: a }", "2:20 unknown base `a` | a condition cannot start from itself");
    check(
        "- { name: a, base: b }\n- { name: b }",
        "2:20 unknown base `b` | a base comes before the conditions that start from it; move it up",
    );
    check(
        "- { name: a, base: [b] }",
        "2:20 `base` must be a condition's name, not a list | write it like `base: Control`",
    );
    // A condition whose base is wrong causes no further message.
    check(
        "- { name: a, set: { golgi.reset: 1 } }\n- { name: b, base: a }\n- { name: c, base: b }",
        "2:34 `golgi.reset` needs a unit | write `1 mV`",
    );
    check(
        "- { name: a b }\n- { name: c, base: a b }",
        "2:11 a condition's name can have letters, digits, `.`, `_` and `-` only; `a b` has others \
         | write `a-b`",
    );
    // But its own mistakes are reported.
    check_conditions(
        "- { name: a, base: z }\n- { name: b, base: a, set: { golgi.reset: 1 } }",
        &[
            "2:20 unknown base `z` | a base is an earlier condition or one of the presets `Control`, `GABAzine` and `ACh`",
            "3:43 `golgi.reset` needs a unit | write `1 mV`",
        ],
    );
}

#[test]
fn entries_of_set() {
    let check = |entry: &str, expected: &str| check_set(entry, &[expected]);
    check(
        "granule.tonic_facto: 1",
        "3:1 unknown parameter `granule.tonic_facto` | did you mean `granule.tonic_factor`?",
    );
    check("tonic_factor: 1", "3:1 unknown parameter `tonic_factor` | did you mean `granule.tonic_factor`?");
    check(
        "golgi: { reset: -5 mV }",
        "3:1 unknown parameter `golgi` | write dotted paths, such as `golgi.capacitance: …`",
    );
    check(
        "zzz.y: 1",
        "3:1 unknown parameter `zzz.y` | parameters are in the groups `network`, `time`, `stimulus`, `weights`, \
         `excitatory`, `inhibitory`, `noise`, `granule`, `golgi`, `mossy_to_granule`, `mossy_to_golgi` and \
         `golgi_to_granule`",
    );
    check(
        "golgi.reset: -5 mV, golgi.reset: -6 mV",
        "3:21 duplicate key `golgi.reset` | it is already on line 3; keep one of them",
    );
    check("golgi.leak_reversal: -53", "3:22 `golgi.leak_reversal` needs a unit | write `-53 mV`");
    check("golgi.reset: 2 ms", "3:14 `golgi.reset` is a voltage (mV), but `2 ms` is a time | write it in mV");
    check(
        "golgi.refractory: 2 mS",
        "3:19 `golgi.refractory` is a time (ms), but `2 mS` is a conductance | did you mean `2 ms`?",
    );
    check("golgi.reset: -5 mv", "3:14 unknown unit `mv` | did you mean `-5 mV`?");
    check("golgi.reset: -5 meters", "3:14 unknown unit `meters` | write it in mV");
    check(
        "golgi.reset: low",
        "3:14 `golgi.reset` must be a number with a unit, not `low` | write it like `-55 mV`",
    );
    check(
        "golgi.reset: [1 mV]",
        "3:14 `golgi.reset` must be a number with a unit, not a list | write it like `-55 mV`",
    );
    check(
        "golgi.reset:",
        "3:12 `golgi.reset` must be a number with a unit, not an empty value | write it like `-55 mV`",
    );
    check(
        "golgi.reset: 1e999 mV",
        "3:14 `1e999 mV` is too large or too small a number | write it like `-55 mV`",
    );
    check(
        "mossy_to_granule.scale: 0.4 mV",
        "3:25 `mossy_to_granule.scale` is a bare number, but `0.4 mV` has a unit | write `0.4`",
    );
    check(
        "mossy_to_granule.scale: .nan",
        "3:25 `mossy_to_granule.scale` must be a number, not `.nan` | write it like `1`",
    );
    check(
        "mossy_to_granule.scale: {}",
        "3:25 `mossy_to_granule.scale` must be a number, not a mapping | write it like `1`",
    );
    check(
        "golgi.capacitance: 0 pF",
        "3:20 `golgi.capacitance` must be above 0 pF, not 0 | write it like `60 pF`",
    );
    check(
        "stimulus.active_fraction: 1.5",
        "3:27 `stimulus.active_fraction` must be between 0 and 1, not 1.5 | write `1` or less",
    );
    check(
        "stimulus.times: 5 ms",
        "3:17 `stimulus.times` must be a list, not `5 ms` | write it like `[1010 ms]`",
    );
    check("stimulus.times: [5 ms, 6]", "3:24 `stimulus.times` needs a unit | write `6 ms`");
    check(
        "stimulus.times: [5 ms, -6 ms]",
        "3:24 `stimulus.times` must be 0 ms or above, not -6 | write `0 ms` or more",
    );
    check("noise.first: golg", "3:14 `noise.first` cannot be `golg` | did you mean `golgi`?");
    check("noise.first: mossy", "3:14 `noise.first` cannot be `mossy` | known values: `granule` and `golgi`");
    check("weights.random: 1", "3:17 `weights.random` must be `true` or `false`, not `1` | write `true`");
    check(
        "weights.random: 'true'",
        "3:17 `weights.random` must be `true` or `false`, not a text | remove the quotes around `true`",
    );
    check(
        "weights.random: maybe",
        "3:17 `weights.random` must be `true` or `false`, not `maybe` | write one of the two",
    );
    check(
        "network.golgi_cells: 2.5",
        "3:22 `network.golgi_cells` must be a whole number, not `2.5` | write `2` or `3`",
    );
    check(
        "golgi.reset: -55 V",
        "3:14 `golgi.reset` must be between -1000 and 1000 mV, not -55000 | did you mean `-55 mV`?",
    );
    check(
        "golgi.reset: -1.5 V",
        "3:14 `golgi.reset` must be between -1000 and 1000 mV, not -1500 | did you mean `-1.5 mV`?",
    );
    check(
        "golgi.reset: 1e30 MV",
        "3:14 `golgi.reset` must be between -1000 and 1000 mV, not 1e39 | write `1000 mV` or less",
    );
    check(
        "time.duration: 2000 s",
        "3:16 `time.duration` must be between 1 and 1000000 ms, not 2000000 | did you mean `2000 ms`?",
    );
    check_conditions(
        "- { name: c, set: 5 }",
        &["2:19 `set` must be a mapping, not `5` | write it like `set: { granule.tonic_factor: 0.5 }`"],
    );
}

#[test]
fn factors_with_a_distribution() {
    let check =
        |value: &str, expected: &[&str]| check_set(&format!("granule.tonic_factor: {value}"), expected);
    check("-1", &["3:23 `granule.tonic_factor` must be 0 or above, not -1 | write `0` or more"]);
    check(
        "[1]",
        &[&format!("3:23 `granule.tonic_factor` must be a number or a distribution, not a list | {GAMMA}")],
    );
    check(
        "{ gama: {} }",
        &[&format!(
            "3:23 `granule.tonic_factor` accepts the distribution `gamma` only, not `gama` | {GAMMA}"
        )],
    );
    check(
        "{ gamma: 1 }",
        &[&format!(
            "3:32 `gamma` must be a mapping with `mean`, `sd` and `seed`, not a single value | {GAMMA}"
        )],
    );
    check("{ gamma: { mean: 0.4 } }", &[&format!("3:32 `gamma` needs `mean`, `sd` and `seed` | {GAMMA}")]);
    check(
        "{ gamma: { mean: 0, sd: -1, seed: -1 } }",
        &[
            "3:40 `granule.tonic_factor.gamma.mean` must be above 0, not 0 | write it like `0.4`",
            "3:47 `granule.tonic_factor.gamma.sd` must be above 0, not -1 | write it like `0.07`",
            "3:57 `granule.tonic_factor.gamma.seed` must be between 0 and 4294967295, not `-1` | write `0` or more",
        ],
    );
    check(
        "{ gamma: { mena: 0.4, sd: 1 mV, seed: 1 } }",
        &[
            "3:34 unknown key `mena` in `gamma` | did you mean `mean`?",
            "3:49 `granule.tonic_factor.gamma.sd` is a bare number, but `1 mV` has a unit | write `1`",
        ],
    );
}

#[test]
fn parameters_that_do_not_fit_together() {
    // The position is that of the entry that does not fit, else that of the name.
    check_set(
        "time.step: 0.3 ms",
        &["3:12 `time.step` is 0.3 ms, but a whole number of steps must make 1 ms \
             | use `0.25 ms` or `0.5 ms`"],
    );
    check_set(
        "golgi.reset: -5 mV, noise.tau: 0.05 ms",
        &[
            "3:32 `time.step` of 0.1 ms is too long for `noise.tau` of 0.05 ms: forward Euler needs a step below it \
             | use a longer time constant, or a shorter step",
        ],
    );
    check_conditions(
        "- { name: c, set: { time.duration: 1 s } }",
        &["2:11 `stimulus.times` has 1030 ms, but the trial ends at 1000 ms \
           | make the trial longer, or use different `stimulus.times`"],
    );
    let large = "conditions: [{ name: c, set: { time.step: 1 us, time.duration: 100 s } }]";
    let overrides =
        from_variables(space(), |name| (name == "CHAT_NUM_GRC").then(|| "1000000".into())).unwrap().0;
    check_with(
        large,
        &overrides,
        &["1:64 1000027 cells × 100000000 steps of `time.duration` are more than one trial can have \
             | make the trial shorter, its step longer or the network smaller; \
             these environment variables override parameters: CHAT_NUM_GRC"],
    );
    // The same file is valid without the environment.
    assert!(parse(ENGINES, "x.yaml", large.as_bytes(), "x", &Overrides::default()).is_ok());
}
