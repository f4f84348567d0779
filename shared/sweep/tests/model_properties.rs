//! Properties of the reader of model files that hold for every file.

use granule_engine::Space;
use granule_sweep::{model_of, parse_model};
use proptest::prelude::*;

/// For every file, the reader returns a consistent model, or problems that can be printed.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let _ = model_of(bytes);
    match parse_model("x.yaml", bytes) {
        Ok(model) => {
            prop_assert!(!model.program.is_empty() && !model.files.is_empty());
            prop_assert!(!model.populations.is_empty() || !model.returns.is_empty());
            prop_assert!(model.populations.is_empty() || model.duration.is_some());
            prop_assert!(parse_model("x.yaml", bytes) == Ok(model.clone()));
            let space: &'static Space = Box::leak(Box::new(Space::new(model.parameters.clone())));
            prop_assert!(space.parameters().iter().all(|of| of.check(&of.default).is_ok()));
            let sizes = model.sizes(&space.defaults());
            prop_assert!(sizes.is_ok(), "{sizes:?}");
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

/// Pieces of model files, and some that break them.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "granule-model: 1\n",
        "name: ei\n",
        "program: [python]\n",
        "files: [ei.py]\n",
        "parameters",
        "populations",
        "duration",
        "returns",
        "limits",
        "resolution",
        "default",
        "range",
        "choices",
        "kind",
        "about",
        "shape",
        "unit",
        "time",
        "memory",
        "a.b",
        "a.c",
        "number",
        "count",
        "flag",
        "list",
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
        "\t",
        "'",
        "\"",
        "# ",
        "~",
        "&a ",
        "*a",
        "1",
        "0.5",
        "-1",
        "500 ms",
        "1.6 nS",
        "4 GiB",
        "true",
        "a.b * 2",
        "/ 0",
        "(",
        ")",
        "+",
        "\u{feff}",
        "µ",
        "脳",
        "\u{1b}",
        "\u{2028}",
    ];
    prop_oneof![
        9 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

/// Any value.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,4}(\\.[0-9]{1,3})? (ms|mV|nS|pF|s|V|uA|Hz|MOhm|um|mM|kg)",
        "-?[0-9]{1,10}(\\.[0-9]{1,3})?",
        "true|false|lif|yes|~|''",
        "\\[[0-9]{1,4} ms(, [0-9]{1,4} m?s)?\\]",
    ]
}

/// Any parameter.
fn parameter() -> impl Strategy<Value = String> {
    let path = "[ab]\\.[ab]";
    let entries = (
        value(),
        proptest::option::of((value(), value())),
        proptest::option::of("number|count|flag|choice|list"),
        proptest::option::of("\\[lif, adex\\]|\\[1, 2\\]"),
    );
    (path, entries).prop_map(|(path, (default, range, kind, choices))| {
        let mut entries = vec![format!("default: {default}")];
        entries.extend(range.map(|(low, high)| format!("range: [{low}, {high}]")));
        entries.extend(kind.map(|kind| format!("kind: {kind}")));
        entries.extend(choices.map(|choices| format!("choices: {choices}")));
        format!("  {path}: {{ {} }}\n", entries.join(", "))
    })
}

/// A model with any values in the right places.
fn model() -> impl Strategy<Value = String> {
    let expression = prop_oneof![
        value(),
        ("[ab]\\.[ab]", "[-+*/]", value())
            .prop_map(|(path, operator, value)| format!("{path} {operator} {value}")),
    ];
    let expression = expression.prop_filter("a flow mapping", |text| !text.contains('[')).boxed();
    let population = ("[a-cA]", expression.clone()).prop_map(|(name, size)| format!("  {name}: {size}\n"));
    let returned =
        ("[c-eC]", expression.clone()).prop_map(|(name, len)| format!("  {name}: {{ shape: [{len}] }}\n"));
    (
        proptest::collection::vec(parameter(), 0..3),
        proptest::collection::vec(population, 1..3),
        proptest::collection::vec(returned, 1..3),
        proptest::option::of(expression),
        proptest::option::of(value()),
    )
        .prop_map(|(parameters, populations, returns, duration, resolution)| {
            let parameters = match parameters.is_empty() {
                true => String::new(),
                false => format!("parameters:\n{}", parameters.concat()),
            };
            let duration = duration.map_or(String::new(), |duration| format!("duration: {duration}\n"));
            let resolution = resolution.map_or(String::new(), |of| format!("resolution: {of}\n"));
            format!(
                "granule-model: 1\nname: ei\nprogram: [python, ei.py]\nfiles: [ei.py]\n{parameters}populations:\n{}\
                 returns:\n{}{duration}{resolution}",
                populations.concat(),
                returns.concat()
            )
        })
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
    fn any_model(text in model()) {
        check(text.as_bytes())?;
    }
}
