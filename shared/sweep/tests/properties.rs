//! Properties of the parser that hold for every file.

use granule_engine::Value;
use granule_engine::space::{Kind, Unit};
use granule_granular::{ENGINES, space};
use granule_sweep::{Condition, Overrides, Record, check_condition_name, check_sweep_name, parse, to_yaml};
use proptest::prelude::*;

/// Larger sweeps take too long to write and read again, and some files would be too large.
const MOST_WRITTEN: usize = 2000;

/// For every file, the parser returns a consistent sweep, or problems that can be printed.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match parse(ENGINES, "x.yaml", bytes, "x", &Overrides::default()) {
        Ok(sweep) => {
            prop_assert!(!sweep.seeds.is_empty() && !sweep.conditions.is_empty() && sweep.trials > 0);
            let mut prefixes: Vec<String> =
                sweep.conditions.iter().map(|condition| condition.prefix().to_ascii_lowercase()).collect();
            prefixes.sort();
            prefixes.dedup();
            prop_assert_eq!(prefixes.len(), sweep.conditions.len());
            prop_assert!(sweep.conditions.len() <= 1_000_000);
            prop_assert!(sweep.seeds.len() * sweep.conditions.len() <= 1_000_000);
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            prop_assert!(sweep.conditions.iter().all(|condition| condition.name.chars().all(fits)));
            prop_assert!(check_sweep_name(&sweep.name).is_ok());
            for condition in sweep.conditions.iter() {
                let Condition { name, preset, record, explicit, .. } = condition;
                prop_assert!(preset.is_some() || check_condition_name(space(), name).is_ok(), "{}", name);
                prop_assert_eq!(
                    *record,
                    explicit.or(Record::by_default(sweep.engine.kinds(), preset.is_some()))
                );
            }
            // The sweep is the same if the file is read again, and if the written sweep is read.
            prop_assert!(parse(ENGINES, "x.yaml", bytes, "x", &Overrides::default()) == Ok(sweep.clone()));
            if sweep.conditions.len() * 20 + sweep.seeds.len() <= MOST_WRITTEN {
                let written = to_yaml(&sweep);
                let again = parse(ENGINES, "y.yaml", written.as_bytes(), "y", &Overrides::default());
                prop_assert!(again == Ok(sweep), "{}", written);
            }
        }
        Err(errors) => {
            prop_assert!((1..=20).contains(&errors.listed().len()));
            let shown = errors.to_string();
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
            let places: Vec<_> = errors.listed().iter().filter_map(|error| error.line_and_column()).collect();
            prop_assert!(places.is_sorted(), "{places:?}");
            prop_assert!(errors.listed().iter().all(|error| !error.help().is_empty()));
        }
    }
    Ok(())
}

/// Pieces of sweep files, and some that break them.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "conditions",
        "seeds",
        "trials",
        "name",
        "base",
        "set",
        "grid",
        "zip",
        "latin_hypercube",
        "axes",
        "linspace",
        "logspace",
        "arange",
        "random",
        "uniform",
        "normal",
        "count",
        "seed",
        "record",
        "conductances",
        "all",
        "NA",
        "noise",
        "independent",
        "granule",
        "{index}",
        "1..20",
        "network",
        "weights",
        "golgi_cells",
        "Control",
        "ACh",
        "GABAzine",
        "granule.tonic_factor",
        "golgi.reset",
        "stimulus.times",
        "gamma",
        "mean",
        "time.step",
        ": ",
        ":",
        "- ",
        ", ",
        "[",
        "]",
        "{",
        "}",
        "\n",
        "\n  ",
        "\r\n",
        "\r",
        "\t",
        "'",
        "\"",
        "# ",
        "|\n",
        "&a ",
        "*a",
        "!t ",
        "---\n",
        "~",
        "? ",
        "-55 mV",
        "1",
        "0.5",
        "1e3",
        "-",
        "\u{feff}",
        "µ",
        "脳",
        "\u{1b}",
        "\u{85}",
        "\u{2028}",
        "e\u{301}",
        "\u{202e}",
    ];
    prop_oneof![
        9 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

/// Any parameter.
fn path() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(space().parameters().iter().map(|parameter| parameter.path).collect::<Vec<_>>())
}

/// A number, with or without a unit.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,4}(\\.[0-9]{1,3})? (ms|mV|nS|pF|s|V)",
        "-?[0-9]{1,4}(\\.[0-9]{1,3})?",
        "-?[0-9]e-?[0-9]{1,3}",
    ]
}

/// An axis with any numbers in the right places.
fn axis() -> impl Strategy<Value = String> {
    let distribution = ("uniform|loguniform|normal", number(), number())
        .prop_map(|(name, a, b)| format!("{name}: [{a}, {b}]"));
    prop_oneof![
        proptest::collection::vec(number(), 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
        ("linspace|logspace", number(), number(), "[0-9]{1,6}")
            .prop_map(|(rule, a, b, n)| format!("{{ {rule}: [{a}, {b}, {n}] }}")),
        (number(), number(), number()).prop_map(|(a, b, c)| format!("{{ arange: [{a}, {b}, {c}] }}")),
        (distribution, "[0-9]{1,5}")
            .prop_map(|(from, n)| format!("{{ random: {{ {from}, count: {n}, seed: 1 }} }}")),
    ]
}

/// Entries of a mapping in flow style.
fn entries(list: Vec<(&'static str, String)>) -> String {
    let list: Vec<String> = list.iter().map(|(path, value)| format!("{path}: {value}")).collect();
    format!("{{ {} }}", list.join(", "))
}

/// A value of `record`.
fn record() -> impl Strategy<Value = String> {
    let key = "probabilities|connections|weights|conductances|tonic_factors";
    let keys = proptest::collection::btree_map(key, any::<bool>(), 0..4).prop_map(|keys| {
        let keys: Vec<String> = keys.iter().map(|(key, is_on)| format!("{key}: {is_on}")).collect();
        format!("{{ {} }}", keys.join(", "))
    });
    prop_oneof![1 => Just("all".to_owned()), 3 => keys]
}

/// A sweep of presets and other conditions, each with any record.
fn recorded() -> impl Strategy<Value = String> {
    let own = proptest::option::of(record());
    let names = ["Control", "GABAzine", "ACh"];
    let presets = proptest::sample::subsequence(names.to_vec(), 0..3);
    (proptest::option::of(record()), presets, proptest::collection::vec(own, 1..4)).prop_map(
        |(top, presets, own)| {
            let top = top.map_or(String::new(), |record| format!("record: {record}\n"));
            let presets: String = presets.iter().map(|name| format!("- {name}\n")).collect();
            let own = own.iter().enumerate().map(|(at, record)| match record {
                Some(record) => format!("- {{ name: c{at}, record: {record} }}\n"),
                None => format!("- {{ name: c{at} }}\n"),
            });
            format!("{top}conditions:\n{presets}{}", own.collect::<String>())
        },
    )
}

/// A sweep with any values in the right places.
fn sweep() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        number(),
        "\\[[0-9]{1,4} ms(, [0-9]{1,4} ms)?\\]",
        "true|false|golgi|granule",
        "\\{ gamma: \\{ mean: [0-9], sd: [0-9], seed: [0-9]{1,3} \\} \\}",
    ];
    let set = proptest::collection::vec((path(), value), 0..4).prop_map(entries);
    let axes = || proptest::collection::vec((path(), axis()), 0..3).prop_map(entries);
    let points = prop_oneof![
        3 => Just(String::new()),
        2 => axes().prop_map(|axes| format!(", grid: {axes}")),
        1 => (axes(), axes()).prop_map(|(grid, zip)| format!(", grid: {grid}, zip: {zip}")),
    ];
    let name = "[abAB]{1,2}|'[ab]\\{index\\}'|-?[0-9]|-?nan|NUL|'-\\{index\\}'";
    let own = (name, "Control|ACh|[ab]|a-1", set, points, proptest::option::of(record())).prop_map(
        |(name, base, set, points, record)| {
            let record = record.map_or(String::new(), |record| format!(", record: {record}"));
            format!("- {{ name: {name}, base: {base}, set: {set}{points}{record} }}\n")
        },
    );
    let condition = prop_oneof![
        4 => own,
        1 => "Control|GABAzine|ACh".prop_map(|preset| format!("- {preset}\n")),
    ];
    let seeds = prop_oneof![
        Just(String::new()),
        "seeds: [0-9]{1,5}\\.\\.[0-9]{1,6}\n",
        "seeds: \\{ count: [0-9]{1,6}, seed: [0-9] \\}\n",
    ];
    (seeds, proptest::option::of(record()), proptest::collection::vec(condition, 1..5)).prop_map(
        |(seeds, record, list)| {
            let record = record.map_or(String::new(), |record| format!("record: {record}\n"));
            format!("{seeds}{record}conditions:\n{}", list.concat())
        },
    )
}

fn reversal(condition: &Condition) -> f64 {
    match condition.model.values().get("excitatory.reversal") {
        Some(Value::Number(x)) => *x,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes)?;
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        check(text.as_bytes())?;
    }

    #[test]
    fn any_pieces(pieces in proptest::collection::vec(piece(), 0..40)) {
        check(pieces.concat().as_bytes())?;
    }

    #[test]
    fn any_sweep(text in sweep()) {
        check(text.as_bytes())?;
    }

    /// Every combination of records is valid, and survives writing and reading.
    #[test]
    fn any_record(text in recorded()) {
        prop_assert!(parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).is_ok(), "{text}");
        check(text.as_bytes())?;
    }

    /// A number in the field's own unit arrives unchanged.
    #[test]
    fn quantities_arrive_unchanged(value in 1e-3..1e3f64, at in 0..space().parameters().len()) {
        let parameter = &space().parameters()[at];
        let Kind::Quantity(unit) = parameter.kind else { return Ok(()) };
        let text = format!("conditions: [{{ name: c, set: {{ {}: {value:e} {} }} }}]", parameter.path, unit.symbol());
        if let Ok(sweep) = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()) {
            let set = sweep.conditions[0].model.values().of(parameter);
            prop_assert_eq!(set, &Value::Number(value));
        } else {
            // Some quantities, such as time constants, have a range. Potentials accept any value up to a volt.
            prop_assert!(unit != Unit::Millivolt, "{text}");
        }
    }

    /// A grid has the points of nested loops, in the same order.
    #[test]
    fn grids_are_nested_loops(lengths in proptest::collection::vec(1usize..5, 1..5)) {
        let paths = [
            "granule.tonic_factor",
            "mossy_to_granule.scale",
            "mossy_to_golgi.scale",
            "golgi_to_granule.convergence",
        ];
        let axes: Vec<String> = lengths
            .iter()
            .zip(paths)
            .map(|(&len, path)| format!("{path}: {:?}", (0..len).collect::<Vec<_>>()))
            .collect();
        let text = format!("conditions: [{{ name: a, grid: {{ {} }} }}]", axes.join(", "));
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        let mut names = vec!["a".to_owned()];
        for len in lengths {
            names = names.iter().flat_map(|name| (0..len).map(move |at| format!("{name}-{at}"))).collect();
        }
        let found: Vec<&str> = sweep.conditions.iter().map(|condition| condition.name.as_str()).collect();
        prop_assert_eq!(found, names);
    }

    /// The values include both ends, ascend, and have equal distances.
    #[test]
    fn linspace_is_even(first in -5e2..5e2f64, width in 1e-3..5e2f64, count in 2usize..200) {
        let last = first + width;
        let text = format!(
            "conditions: [{{ name: '{{index}}', grid: {{ excitatory.reversal: {{ linspace: [{first:e} mV, {last:e} mV, {count}] }} }} }}]"
        );
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        let values: Vec<f64> = sweep.conditions.iter().map(reversal).collect();
        prop_assert_eq!((values.len(), values[0], values[count - 1]), (count, first, last));
        for (at, value) in values.iter().enumerate() {
            let expected = first + (last - first) * at as f64 / (count - 1) as f64;
            prop_assert!((value - expected).abs() < 1e-11, "{value} {expected}");
        }
    }

    /// There are as many values as steps before the end, and the end is excluded.
    #[test]
    fn arange_does_not_reach_its_end(first in -500i32..500, steps in 1u32..200, step in 1u32..400) {
        // In thousandths, so that no end is a sum of doubles.
        let last = first + (steps * step) as i32;
        let text = format!(
            "conditions: [{{ name: '{{index}}', grid: {{ excitatory.reversal: {{ arange: [{first}e-3 mV, {last}e-3 mV, {step}e-3 mV] }} }} }}]"
        );
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap();
        prop_assert_eq!(sweep.conditions.len(), steps as usize);
        for (at, condition) in sweep.conditions.iter().enumerate() {
            let exact: f64 = format!("{}e-3", first + at as i32 * step as i32).parse().unwrap();
            prop_assert_eq!(reversal(condition), exact);
        }
    }
}
