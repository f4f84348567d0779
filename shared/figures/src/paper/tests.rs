use ndarray::{Array1, Array2};

use super::*;
use crate::analysis::Quantity;
use crate::{Change, Criteria, DrivenConductances, Recording, Responses};

/// Recordings, from usual to unusual ones.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Usual,
    Many,
    OneCell,
    NoCells,
    Silent,
    OnlyDecrease,
    NotRecorded,
    AllTheSame,
    Tiny,
    Huge,
    Negative,
    FarApart,
}

const KINDS: [Kind; 12] = [
    Kind::Usual,
    Kind::Many,
    Kind::OneCell,
    Kind::NoCells,
    Kind::Silent,
    Kind::OnlyDecrease,
    Kind::NotRecorded,
    Kind::AllTheSame,
    Kind::Tiny,
    Kind::Huge,
    Kind::Negative,
    Kind::FarApart,
];

/// Returns a pseudo-random number below 1.
fn chance(of: usize) -> f64 {
    ((of * 7919 + 101) % 1009) as f64 / 1009.0
}

fn analysis(kind: Kind) -> Analysis {
    let driven = match kind {
        Kind::Many => 3000,
        Kind::OneCell => 1,
        Kind::NoCells => 0,
        _ => 120,
    };
    let trials = if kind == Kind::Many { 5.0 } else { 50.0 };
    let probability = |condition: usize| {
        Array2::from_shape_fn((driven + 1, 1100), |(cell, ms)| {
            let strength = match (kind, condition) {
                (Kind::Silent, _) => 0.0,
                (Kind::OnlyDecrease, 2) => 0.1,
                (_, 1) => 1.0,
                (Kind::OneCell, 2) => 0.5,
                (_, 2) => 0.6 * chance(cell * 3 + 1),
                _ => 0.3,
            };
            match ms {
                1019 => ((strength * (0.5 + chance(cell) / 2.0)) * trials).round() / trials,
                1029 => ((strength * 0.2) * trials).floor() / trials,
                _ => 0.0,
            }
        })
    };
    let [control, gabazine, ach] = [0, 1, 2].map(probability);
    let connections = Array2::from_shape_fn((driven * 2, 2), |(row, column)| match column {
        0 => (row % 2) as i32,
        // Every cell occurs once, and some of them twice.
        _ => (if row < driven { row } else { (row - driven) / 3 }) as i32,
    });
    let conductance = |salt: usize| {
        Array2::from_shape_fn((driven, 1100), |(cell, _)| {
            let value = chance(cell * 2 + salt) * 2.0;
            match kind {
                Kind::AllTheSame => 1.5,
                Kind::Tiny => value * 1e-7,
                Kind::Huge => value * 1e9,
                Kind::Negative => -1000.0 * value - 3.0,
                Kind::FarApart => {
                    if cell == 5 {
                        4321.0
                    } else {
                        value * 1e-3
                    }
                }
                _ => value,
            }
        })
    };
    let (excitation, inhibition) = (conductance(0), conductance(1));
    let factors = Array1::from_shape_fn(driven, |cell| match kind {
        Kind::AllTheSame => 0.5,
        Kind::Negative | Kind::FarApart => -123.0 * chance(cell),
        _ => 0.2 + 0.4 * chance(cell + 3),
    });
    let responses =
        |probability| Responses { probability, connections: Some(connections.view()), weights: None };
    let is_recorded = kind != Kind::NotRecorded;
    let recording = Recording {
        control: responses(control.view()),
        gabazine: responses(gabazine.view()),
        ach: responses(ach.view()),
        conductances: is_recorded
            .then(|| DrivenConductances { excitation: excitation.view(), inhibition: inhibition.view() }),
        tonic_factors: is_recorded.then(|| factors.view()),
    };
    Analysis::new(&recording, &Criteria::default()).expect("it can be measured")
}

fn everything() -> impl Iterator<Item = (Kind, Figure)> {
    KINDS.into_iter().flat_map(|kind| all(&analysis(kind)).into_iter().map(move |figure| (kind, figure)))
}

#[test]
fn the_kinds_are_what_they_are_called() {
    let counts = KINDS.map(|kind| analysis(kind).counts());
    assert!(counts[0].increase > 10 && counts[0].decrease > 10, "{counts:?}");
    assert!(counts[1].selected > 2000);
    assert_eq!((counts[2].selected, counts[3].driven, counts[4].selected), (1, 0, 0));
    assert_eq!(counts[5].increase, 0);
    assert!(counts[5].decrease > 10);
}

#[test]
fn every_figure_is_well_formed_and_says_what_it_is() {
    for (kind, figure) in everything() {
        let svg = figure.svg();
        let document = roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "svg");
        assert_eq!(root.attribute("role"), Some("img"));
        assert!(root.attribute("aria-label").is_some_and(|label| label.len() > 60));
        assert_eq!(root.first_element_child().and_then(|title| title.text()), Some(figure.title.as_str()));
        for node in document.descendants() {
            // One HTML page may contain the figure several times.
            assert!(node.attribute("id").is_none() && node.attribute("style").is_none());
            assert!(!["style", "script", "image", "use"].contains(&node.tag_name().name()));
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{kind:?}, {}", figure.name);
    }
}

#[test]
fn no_text_meets_another_or_the_edge_of_the_page() {
    for (kind, figure) in everything() {
        figure.check_layout(&format!("{kind:?}, {}", figure.name));
    }
}

#[test]
fn names_of_classes_are_below_every_panel_of_the_summary() {
    for kind in KINDS {
        let texts = summary(&analysis(kind)).texts();
        for class in Change::COMPARED {
            let found = texts.iter().filter(|text| *text == class.name()).count();
            assert_eq!(found, Quantity::ALL.len(), "{kind:?}: {texts:?}");
        }
    }
}

#[test]
fn text_is_of_readable_size_in_the_fonts_that_come_along() {
    for (_, figure) in everything() {
        let svg = figure.svg();
        let document = roxmltree::Document::parse(&svg).expect("XML");
        assert!(
            document
                .root_element()
                .attribute("font-family")
                .is_some_and(|names| names.starts_with("Noto Sans, "))
        );
        for text in document.descendants().filter(|node| node.has_tag_name("text")) {
            let size: f64 = text.attribute("font-size").and_then(|size| size.parse().ok()).expect("a size");
            assert!((7.0..=9.0).contains(&size));
        }
    }
}

#[test]
fn every_figure_can_be_written_and_always_alike() {
    for (kind, figure) in everything().filter(|(kind, _)| *kind != Kind::Many) {
        let again =
            all(&analysis(kind)).into_iter().find(|other| other.name == figure.name).expect("the same");
        assert_eq!(figure.svg(), again.svg());
        assert!(figure.pdf().expect("a PDF") == again.pdf().expect("a PDF"), "{kind:?}, {}", figure.name);
        assert!(
            figure.png(72.0).expect("a PNG") == again.png(72.0).expect("a PNG"),
            "{kind:?}, {}",
            figure.name
        );
        assert_eq!(figure.tables, again.tables);
    }
}

#[test]
fn tables_have_the_numbers() {
    let analysis = analysis(Kind::Usual);
    let figures = all(&analysis);
    let table = |name: &str| {
        figures.iter().flat_map(|figure| &figure.tables).find(|table| table.name == name).expect("a table")
    };
    let selected = analysis.counts().selected;
    assert_eq!(table("cells").rows(), selected);
    assert_eq!(table("time-courses").rows(), 60);
    assert_eq!((table("time-courses").columns.len(), table("summary").rows()), (13, 8));
    assert!(table("counts").csv().contains(&format!("\nselected,{selected}\n")));
    for (kind, figure) in everything() {
        for table in &figure.tables {
            assert!(
                table.columns.iter().all(|column| column.len() == table.rows()),
                "{kind:?}, {}",
                table.name
            );
            assert_eq!(table.csv().lines().count(), table.rows() + 1, "{kind:?}, {}", table.name);
        }
    }
}

#[test]
fn panels_say_why_they_are_empty() {
    let texts = |kind, figure: fn(&Analysis) -> Figure| figure(&analysis(kind)).texts();
    let count = |texts: Vec<String>, what: &str| texts.iter().filter(|text| *text == what).count();
    assert_eq!(count(texts(Kind::NoCells, spike_probability), "no cells"), 6);
    assert_eq!(count(texts(Kind::NoCells, distributions), "no cells"), 4);
    assert_eq!(count(texts(Kind::NotRecorded, summary), "not recorded"), 4);
    assert_eq!(count(texts(Kind::NotRecorded, connections), "not recorded"), 2);
    assert_eq!(count(texts(Kind::NotRecorded, conductances), "not recorded"), 1);
    for figure in [spike_probability, connections, conductances, distributions, densities, summary] {
        let usual = texts(Kind::Usual, figure);
        assert!(!usual.iter().any(|text| text == "no cells" || text == "not recorded"));
    }
}

#[test]
fn changes_in_both_directions_can_be_read_off() {
    // This also holds if no cell increases, or if few cells change.
    for kind in [Kind::Usual, Kind::OneCell, Kind::OnlyDecrease] {
        let texts = connections(&analysis(kind)).texts();
        let has = |what: &str| texts.iter().any(|text| text.trim_end_matches(".0") == what);
        assert!(has("0.5") && has("1") && has("2"), "{kind:?}: {texts:?}");
    }
    let figure = connections(&analysis(Kind::OnlyDecrease));
    assert!(figure.svg().contains(">of these, no spike under ACh (n = "));
}
