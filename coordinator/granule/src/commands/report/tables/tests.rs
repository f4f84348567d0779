use granule_figures::Column;

use super::*;

/// A table of two conditions with two measures.
fn estimates(seeds: [usize; 4]) -> Table {
    let numbers = |values: [f64; 4]| values.map(Some);
    Table::new(
        "estimates",
        vec![
            Column::text("condition", ["a", "a", "b", "b"]),
            Column::numbers("golgi_leak_reversal_mV", [-53.0, -53.0, -0.1 - 0.2, 0.0]),
            Column::text("stimulus_times_ms", ["[1, 2]", "[1, 2]", "[3]", "[3]"]),
            Column::text("measure", ["golgi_before_hz", "fano_factor", "golgi_before_hz", "fano_factor"]),
            Column::text("unit", ["Hz", "", "Hz", ""]),
            Column::whole("seeds", seeds),
            Column::optional("mean", [Some(1.5), Some(2.0), Some(2.5), None]),
            Column::optional("low_95", numbers([1.0, 1.0, -2.0, f64::NAN])),
            Column::optional("high_95", numbers([2.0, 3.0, 7.0, f64::NAN])),
        ],
    )
}

/// Returns the text of each cell of a page, in order.
fn cells(page: &Markup) -> Vec<String> {
    let rows = page.0.split("<t").filter(|part| ["d ", "d>", "h "].iter().any(|tag| part.starts_with(tag)));
    rows.map(|cell| cell.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text)).collect())
        .collect()
}

#[test]
fn a_value_of_fewer_seeds_states_their_number() {
    let table = estimates([3, 1, 3, 0]);
    let page = across(&table, &Comparison::default());
    let expected = [
        "Condition",
        "golgi_leak_reversal_mV",
        "stimulus_times_ms",
        "golgi before (Hz)",
        "fano factor",
        "a",
        "\u{2212}53",
        "[1, 2]",
        "1.50 [1.00, 2.00]",
        "2.0 [1.0, 3.0]n = 1",
        "b",
        "\u{2212}0.3",
        "[3]",
        "2.5 [\u{2212}2.0, 7.0]",
        "–",
    ];
    assert_eq!(cells(&page), expected);
    assert!(has_fewer_seeds(&table) && most_seeds(&table) == 3);
    // No value has no seeds, which is no smaller number of them.
    assert!(!has_fewer_seeds(&estimates([3, 3, 3, 0])));
}

#[test]
fn a_parameter_has_its_path_and_unit_as_heading() {
    let text =
        "conditions: [{ name: 'n{golgi.leak_reversal}', grid: { golgi.leak_reversal: [-53 mV, -51 mV] } }]";
    let sweep =
        granule_sweep::parse(granule_granular::ENGINES, "a.yaml", text.as_bytes(), "a", &Default::default());
    let sweep = sweep.expect("a sweep");
    let varied = granule_figures::sweep::varied(sweep.conditions.iter().map(|condition| &condition.model));
    let comparison = Comparison { varied: &varied, ..Comparison::default() };
    let page = comparison.heading("golgi_leak_reversal_mV").0.replace("<wbr>", "");
    assert_eq!(page, "golgi.leak_reversal (mV)");
    assert_eq!([1e-5, 0.1 + 0.2, 4096.0, -53.25].map(brief), ["1e\u{2212}5", "0.3", "4096", "\u{2212}53.25"]);
}

#[test]
fn measures_are_divided_to_fit_a_page() {
    assert_eq!([0, 2, 3, 8].map(measures_beside), [5, 4, 4, 1]);
    assert_eq!(parts(11, 4), [0..3, 3..7, 7..11]);
    assert_eq!((parts(2, 5).first(), parts(0, 3).first()), (Some(&(0..2)), Some(&(0..0))));
    let table = estimates([3, 3, 3, 3]);
    let page = across(&table, &Comparison::default());
    assert_eq!(page.0.matches("<table").count(), 1);
}
