//! Messages for wrong sweep files.

mod conditions;
mod tables;

use granule_granular::ENGINES;
use granule_sweep::{Diagnostics, Overrides, parse};

fn errors(bytes: &[u8], overrides: &Overrides) -> Diagnostics {
    match parse(ENGINES, "sweeps/x.yaml", bytes, "x", overrides) {
        Err(errors) => errors,
        Ok(sweep) => panic!("{} is no error: {sweep:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Compares every problem, written as `line:column message | help`.
fn check(text: &str, expected: &[&str]) {
    check_with(text, &Overrides::default(), expected);
}

fn check_with(text: &str, overrides: &Overrides, expected: &[&str]) {
    let errors = errors(text.as_bytes(), overrides);
    let found: Vec<String> = errors
        .listed()
        .iter()
        .map(|problem| {
            let place =
                problem.line_and_column().map_or(String::new(), |(line, column)| format!("{line}:{column} "));
            format!("{place}{} | {}", problem.message(), problem.help())
        })
        .collect();
    assert_eq!(found, expected, "{text}");
}

/// As [`check`] for one entry of `set`, on line 2.
fn check_set(entry: &str, expected: &[&str]) {
    check(&format!("conditions:\n- {{ name: c, set: {{\n{entry} }} }}"), expected);
}

const SEEDS: &str = "write `[451, 452]`, `1..20` (both included) or `{ count: 20, seed: 7 }`";
const SMALLEST: &str = "the smallest sweep is `conditions: [Control, GABAzine, ACh]`";

#[test]
fn problems_are_drawn_below_their_line() {
    let text =
        "conditions:\n  - Control\n  - name: half\n    set: { granule.tonic_facto: 0.5 }\n  - Contrl\n";
    assert_eq!(
        errors(text.as_bytes(), &Overrides::default()).to_string(),
        "\
error: unknown parameter `granule.tonic_facto`
 --> sweeps/x.yaml:4:12
  |
4 |     set: { granule.tonic_facto: 0.5 }
  |            ^^^^^^^^^^^^^^^^^^^
  |
  = help: did you mean `granule.tonic_factor`?

error: unknown condition `Contrl`
 --> sweeps/x.yaml:5:5
  |
5 |   - Contrl
  |     ^^^^^^
  |
  = help: did you mean `Control`?"
    );
}

#[test]
fn a_file_without_a_sweep() {
    for empty in ["", "# only a comment\n", "---\n", "null", "\n\n"] {
        check(empty, &[&format!("the sweep is empty | {SMALLEST}")]);
    }
    let what = |what: &str| format!("1:1 a sweep is a mapping of keys to values, not {what} | {SMALLEST}");
    check("[Control]", &[&what("a list")]);
    check("- Control", &[&what("a list")]);
    check("Control", &[&what("a single value")]);
    check("trials: 5", &[&format!("1:1 the sweep has no `conditions` | {SMALLEST}")]);
    assert_eq!(
        errors(b"", &Overrides::default()).to_string(),
        format!("error: the sweep is empty\n--> sweeps/x.yaml\n = help: {SMALLEST}")
    );
}

#[test]
fn a_file_that_is_no_text() {
    check("a: \0", &["1:4 the file contains the control character U+0000 | remove it"]);
    check("a: \"\u{1b}[31m\"", &["1:5 the file contains the control character U+001B | remove it"]);
    check("# \u{9b}", &["1:3 the file contains the control character U+009B | remove it"]);
    let found = errors(b"a: 1\nb: \xff\xfe", &Overrides::default());
    let found = &found.listed()[0];
    assert_eq!(found.message(), "the file is not UTF-8 text: byte 0xff found");
    assert_eq!((found.help(), found.line_and_column()), ("save it as UTF-8", Some((2, 4))));
    check(
        &"#".repeat((1 << 20) + 1),
        &["the file is larger than 1 MiB | a sweep file lists seeds and conditions; is this the right file?"],
    );
}

#[test]
fn a_text_that_is_no_yaml() {
    const LOOK: &str = "look for a missing quote, bracket, comma or space after a colon near here";
    let check = |text: &str, message: &str| check(text, &[&format!("{message} | {LOOK}")]);
    check("é: [}", "1:4 not valid YAML: mismatched bracket '[' closed by '}'");
    check("\u{feff}a: [}", "1:4 not valid YAML: mismatched bracket '[' closed by '}'");
    check("seeds: 1\nconditions: [Control", "2:13 not valid YAML: unclosed bracket '['");
    check("a: 'x\nb: 1\n", "1:4 not valid YAML: unclosed quote");
    check("a: b: c", "1:5 not valid YAML: mapping values are not allowed in this context");
}

#[test]
fn yaml_beyond_the_sweep_language() {
    const ALIAS: &str = "YAML anchors and aliases are not part of the sweep language \
                         | `base: …` lets a condition start from an earlier one";
    check("seeds: &x [1]", &[&format!("1:11 {ALIAS}")]);
    check("seeds: *x", &[&format!("1:8 {ALIAS}")]);
    check(
        "seeds: !x 1",
        &["1:11 YAML tags are not part of the sweep language; found the tag `!x` | remove it"],
    );
    check(
        "a: 1\n---\nb: 1",
        &["2:1 the file has more than one YAML document | write each sweep to a file of its own"],
    );
    check(
        "seeds: 1\nseeds: 2\n[a]: 1\n~: 2\n<<: {}\nconditions: [Control]",
        &[
            "1:8 `seeds` must be a list, not `1` | write `[1]`",
            "2:1 duplicate key `seeds` | it is already on line 1; keep one of them",
            "3:1 a key must be a word, not a list | write `key: value`",
            "4:1 a key must be a word, not an empty value | write `key: value`",
            "5:1 unknown key `<<` | the keys are `granule`, `name`, `engine`, `model`, `seeds`, `trials`, `record`, `set`, \
             `conditions` and `platform`, and the groups of parameters `network`, `time`, `stimulus`, `weights`, `excitatory`, \
             `inhibitory`, `noise`, `golgi`, `mossy_to_granule`, `mossy_to_golgi` and `golgi_to_granule`",
        ],
    );
}

#[test]
fn what_would_take_too_much_is_refused() {
    const DEEP: &str = "lists and mappings are nested more than 16 deep | a sweep never needs that; \
                        look for a bracket too many";
    check(&"[".repeat(100_000), &[&format!("1:17 {DEEP}")]);
    check(&"- ".repeat(100_000), &[&format!("1:33 {DEEP}")]);
    check(&"? ".repeat(100_000), &[&format!("1:33 {DEEP}")]);
    check(&"{a: ".repeat(100_000), &[&format!("1:65 {DEEP}")]);
    const ALIAS: &str = "YAML anchors and aliases are not part of the sweep language \
                         | `base: …` lets a condition start from an earlier one";
    check(&format!("a: [{}]", "*x,".repeat(300_000)), &[&format!("1:5 {ALIAS}")]);
    check(&format!("a: &x [1]\nb: [{}]", "*x,".repeat(300_000)), &[&format!("1:7 {ALIAS}")]);
    // A file with a million aliases exceeds the largest size.
    check(
        &format!("a: &x [1]\nb: [{}]", "*x,".repeat(1_000_000)),
        &["the file is larger than 1 MiB | a sweep file lists seeds and conditions; is this the right file?"],
    );
    check(
        &"a: 1\n".repeat(200_100),
        &["200000:4 the file has more than 400000 values | split the sweep into several files"],
    );
    let numbers = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    check(
        &format!("seeds: [{}]\nconditions: [Control]", numbers(100_001)),
        &["1:8 100001 seeds are listed; at most 100000 are possible | use fewer seeds, or several sweeps"],
    );
    check_set(
        &format!("stimulus.times: [{}]", numbers(10_001)),
        &["3:17 `stimulus.times` has 10001 entries; at most 10000 are possible | use fewer"],
    );
    check_set(
        &format!("golgi.reset: -{} mV", "5".repeat(500_000)),
        &[&format!(
            "3:14 `golgi.reset` must be a number with a unit, not `-{}…` | write it like `-55 mV`",
            "5".repeat(59)
        )],
    );
}

#[test]
fn the_head_of_the_file() {
    check(
        "\
granule: 2
name: my sweep
engine: brian2-2.2.2
network: { granule_cell: 5, golgi_cells: 0, mossy_fibers: 1000001 }
weights: { random: yes, seed: -1, sd: 0.1, mean: 0 nS, x9: 1 }
conditons: [Control]
granule.tonic_factor: 1
grid: 1
",
        &[
            "1:10 this version reads format 1 of sweep files, not `2` \
             | write `granule: 1`, or use another version of granule",
            "2:7 a sweep's name can have letters, digits, `.`, `_` and `-` only; `my sweep` has others \
             | write `my-sweep`",
            "3:9 `engine` cannot be `brian2-2.2.2` | did you mean `brian2-2.2.1`?",
            "4:12 unknown key `granule_cell` in `network` | did you mean `granule_cells`?",
            "4:42 `network.golgi_cells` must be between 1 and 1000000, not `0` | write `1` or more",
            "4:59 `network.mossy_fibers` must be between 1 and 1000000, not `1000001` | write `1000000` or less",
            "5:20 `weights.random` must be `true` or `false`, not `yes` | write `true`",
            "5:31 `weights.seed` must be between 0 and 4294967295, not `-1` | write `0` or more",
            "5:39 `weights.sd` needs a unit | write `0.1 nS`",
            "5:50 `weights.mean` must be above 0 nS, not 0 | write it like `0.1 nS`",
            "5:56 unknown key `x9` in `weights` | the keys are `random`, `seed`, `trial_seed`, `mean` and `sd`",
            "6:1 unknown key `conditons` | did you mean `conditions`?",
            "7:1 unknown key `granule.tonic_factor` \
             | write `granule: { tonic_factor: … }`, or `set: { granule.tonic_factor: … }`",
            "8:1 unknown key `grid` | it goes into a condition: `{ name: …, grid: … }`",
        ],
    );
    check(
        "granule: []\nname: ~\nengine: []\nnetwork: 5\nweights: []\nconditions: [Control]",
        &[
            "1:10 this version reads format 1 of sweep files, not a list \
             | write `granule: 1`, or use another version of granule",
            "2:7 `name` must be a word, not an empty value | write it like `name: my-sweep`, or leave it out",
            "3:9 `engine` cannot be a list | known values: `pcg` and `brian2-2.2.1`",
            "4:10 `network` must be a mapping, not `5` | write it like `network: { mossy_fibers: 315 }`",
            "5:10 `weights` must be a mapping, not a list | write it like `weights: { random: true }`",
        ],
    );
    check("engine: pgc\nconditions: [Control]", &["1:9 `engine` cannot be `pgc` | did you mean `pcg`?"]);
}

#[test]
fn names_of_sweeps() {
    let check =
        |name: &str, expected: &str| check(&format!("name: {name}\nconditions: [Control]"), &[expected]);
    check("''", "1:7 a sweep's name must not be empty | write `my-sweep`");
    check("..", "1:7 a sweep's name cannot start with a dot, as in `..` | write `my-sweep`");
    check(
        "a/b",
        "1:7 a sweep's name can have letters, digits, `.`, `_` and `-` only; `a/b` has others | write `a-b`",
    );
    check(
        "脳",
        "1:7 a sweep's name can have letters, digits, `.`, `_` and `-` only; `脳` has others \
         | write `my-sweep`",
    );
    check(
        &"x".repeat(101),
        &format!("1:7 a sweep's name can have at most 100 characters, not 101 | write `{}`", "x".repeat(100)),
    );
    // The file's name is the sweep's name only if it is a valid name.
    let error = parse(ENGINES, "my sweep.yaml", b"conditions: [Control]", "my sweep", &Overrides::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: the sweep has no `name`, and the file's name cannot be used as one: \
         a name can have letters, digits, `.`, `_` and `-` only; `my sweep` has others\n\
         --> my sweep.yaml\n = help: add `name: my-sweep`"
    );
}

#[test]
fn counts_and_seeds() {
    let trials = |value: &str, expected: &str| {
        check(
            &format!("trials: {value}\nconditions: [Control]"),
            &[&format!("1:9 `trials` must be {expected}")],
        );
    };
    trials("0", "between 1 and 1000000, not `0` | write `1` or more");
    trials("-5", "between 1 and 1000000, not `-5` | write `1` or more");
    trials("1000001", "between 1 and 1000000, not `1000001` | write `1000000` or less");
    let nines = "9".repeat(50);
    trials(&nines, &format!("between 1 and 1000000, not `{nines}` | write `1000000` or less"));
    trials("2.5", "a whole number, not `2.5` | write `2` or `3`");
    trials("0.5", "a whole number, not `0.5` | write it like `10`");
    trials("2.0", "a whole number, not `2.0` | write `2`");
    trials("1e3", "a whole number, not `1e3` | write `1000`");
    trials("007", "a whole number, not `007` | write `7`");
    trials("0x1f", "a whole number, not `0x1f` | write `31`");
    trials("1_000", "a whole number, not `1_000` | write `1000`");
    trials(".inf", "a whole number, not `.inf` | write it like `10`");
    trials("many", "a whole number, not `many` | write it like `10`");
    trials("'5'", "a whole number, not a text | remove the quotes around `5`");
    trials("~", "a whole number, not an empty value | write it like `10`");
    trials("[5]", "a whole number, not a list | write it like `10`");

    let seeds =
        |value: &str, expected: &[&str]| check(&format!("seeds: {value}\nconditions: [Control]"), expected);
    seeds("[]", &["1:8 `seeds` is empty | write `[451]`"]);
    seeds("451", &["1:8 `seeds` must be a list, not `451` | write `[451]`"]);
    seeds("all", &[&format!("1:8 `seeds` must be a list, not `all` | {SEEDS}")]);
    seeds("{}", &[&format!("1:8 random `seeds` need `count` and `seed` | {SEEDS}")]);
    seeds(
        "[1, 2, 1, a, -1, 4294967296, [3]]",
        &[
            "1:15 duplicate seed `1` | it is already on line 1; the same seed gives the same trials",
            "1:18 an entry of `seeds` must be a whole number, not `a` | write it like `10`",
            "1:21 an entry of `seeds` must be between 0 and 4294967295, not `-1` | write `0` or more",
            "1:25 an entry of `seeds` must be between 0 and 4294967295, not `4294967296` | write \
                `4294967295` or less",
            "1:37 an entry of `seeds` must be a whole number, not a list | write it like `10`",
        ],
    );
}

#[test]
fn problems_past_the_twentieth_are_counted() {
    let many = format!("conditions:\n{}", "- Contrl\n".repeat(1000));
    let errors = errors(many.as_bytes(), &Overrides::default());
    assert_eq!((errors.listed().len(), errors.unlisted()), (20, 980));
    assert!(errors.to_string().ends_with("\n\n… and 980 more errors"));
}
