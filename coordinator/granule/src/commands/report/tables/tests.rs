use granule_figures::Column;

use super::*;

/// A table of two conditions with two measures.
fn estimates(seeds: [usize; 4]) -> Table {
    let numbers = |values: [f64; 4]| values.map(Some);
    Table::new(
        "estimates",
        vec![
            Column::text("condition", ["a", "a", "b", "b"]),
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
    let rows = page.0.split("<t").filter(|part| part.starts_with("d ") || part.starts_with("h "));
    rows.map(|cell| cell.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text)).collect())
        .collect()
}

#[test]
fn a_value_of_fewer_seeds_states_their_number() {
    let table = estimates([3, 1, 3, 0]);
    let page = across(&table, &Comparison::default());
    let expected = [
        "Condition",
        "golgi before (Hz)",
        "fano factor",
        "a",
        "1.50 [1.00, 2.00]",
        "2.0 [1.0, 3.0]n = 1",
        "b",
        "2.5 [\u{2212}2.0, 7.0]",
        "–",
    ];
    assert_eq!(cells(&page), expected);
    assert!(has_fewer_seeds(&table) && most_seeds(&table) == 3);
    // No value has no seeds, which is no smaller number of them.
    assert!(!has_fewer_seeds(&estimates([3, 3, 3, 0])));
}
