//! What holds for any file at all.

use granule_sim::parameters::{FIELDS, Kind};
use granule_sweep::{Overrides, parse};
use proptest::prelude::*;

/// Whatever the file, the answer is a sweep that keeps its promises or problems that can be shown.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match parse("x.yaml", bytes, "x", &Overrides::default()) {
        Ok(sweep) => {
            prop_assert!(!sweep.seeds.is_empty() && !sweep.conditions.is_empty() && sweep.trials > 0);
            let mut prefixes: Vec<String> =
                sweep.conditions.iter().map(|condition| condition.prefix.to_ascii_lowercase()).collect();
            prefixes.sort();
            prefixes.dedup();
            prop_assert_eq!(prefixes.len(), sweep.conditions.len());
        }
        Err(errors) => {
            prop_assert!((1..=20).contains(&errors.listed().len()));
            let shown = errors.to_string();
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
            let places: Vec<_> = errors.listed().iter().filter_map(|error| error.line_and_column()).collect();
            prop_assert!(places.is_sorted(), "{places:?}");
        }
    }
    Ok(())
}

/// Pieces that sweep files are made of, and some that break them.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "conditions",
        "seeds",
        "trials",
        "name",
        "base",
        "set",
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

/// A sweep with any values in the right places.
fn sweep() -> impl Strategy<Value = String> {
    let path = proptest::sample::select(FIELDS.iter().map(|field| field.path).collect::<Vec<_>>());
    let value = prop_oneof![
        "-?[0-9]{1,4}(\\.[0-9]{1,3})? (ms|mV|nS|pF|s|V)",
        "-?[0-9]{1,4}(\\.[0-9]{1,3})?",
        "\\[[0-9]{1,4} ms(, [0-9]{1,4} ms)?\\]",
        "true|false|golgi|granule",
        "\\{ gamma: \\{ mean: [0-9], sd: [0-9], seed: [0-9]{1,3} \\} \\}",
    ];
    let set = proptest::collection::vec((path, value), 0..4);
    let condition = ("[abAB]{1,2}", "Control|ACh|[ab]", set).prop_map(|(name, base, set)| {
        let set: Vec<String> = set.iter().map(|(path, value)| format!("{path}: {value}")).collect();
        format!("- {{ name: {name}, base: {base}, set: {{ {} }} }}\n", set.join(", "))
    });
    proptest::collection::vec(condition, 1..5).prop_map(|list| format!("conditions:\n{}", list.concat()))
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

    /// A number set in the field's own unit is that number.
    #[test]
    fn quantities_arrive_unchanged(value in 1e-3..1e3f64, at in 0..FIELDS.len()) {
        let field = &FIELDS[at];
        let Kind::Quantity(unit) = field.kind else { return Ok(()) };
        let text = format!("conditions: [{{ name: c, set: {{ {}: {value:e} {} }} }}]", field.path, unit.symbol());
        if let Ok(sweep) = parse("x.yaml", text.as_bytes(), "x", &Overrides::default()) {
            let set = field.get(sweep.conditions[0].model.parameters());
            prop_assert_eq!(set, granule_sim::parameters::Value::Number(value));
        } else {
            // Time constants and the like cannot be any number; potentials can.
            prop_assert!(!matches!(field.range, granule_sim::parameters::Range::Finite), "{text}");
        }
    }
}
