//! Rates over time.

use super::Condition;
use super::observed::{Courses, Observed};
use super::show::{GOLGI, GRANULE, WIDTH_MM, add_stimulus, counted, layout, short, stimulus};
use crate::analysis::Summary;
use crate::drawing::{Axis, Canvas, Color, Legend, Mark, Panel, Scale, Stroke, Swatch, grid};
use crate::{Column, Figure, Table};

/// Rates of driven granule cells and of Golgi cells in each ms, mean and standard error over seeds: one
/// panel for each condition, with what was observed of its seeds.
pub fn psth(conditions: &[(&Condition, &[Observed])]) -> Figure {
    let of: Vec<Rates> = conditions.iter().map(|(_, observed)| Rates::new(observed)).collect();
    let tops = of.iter().flat_map(|rates| rates.granule.iter().chain(&rates.golgi));
    let tops = tops.filter_map(|summary| Some(summary.mean? + summary.sem.unwrap_or(0.0)));
    let y = Scale::from_zero(tops, 0.05);
    let panels: Vec<Panel> = conditions
        .iter()
        .zip(&of)
        .map(|((condition, _), rates)| {
            let (first, last) = (rates.ms.first(), rates.ms.last());
            let x =
                Scale::linear(first.map_or(0.0, |ms| *ms as f64), last.map_or(1.0, |ms| (*ms + 1) as f64));
            let mut panel = Panel::new(Axis::new(x, "Time (ms)"), Axis::new(y, "Rate (Hz)"))
                .title(short(&condition.name, 34));
            add_stimulus(&mut panel, &condition.model);
            for (course, color) in [(&rates.granule, GRANULE), (&rates.golgi, GOLGI)] {
                add(&mut panel, &rates.ms, course, color);
            }
            if rates.ms.is_empty() {
                panel.note("no trials");
            }
            panel
        })
        .collect();
    let (columns, height) = layout(panels.len(), 3, 46.0);
    let mut canvas = Canvas::new(WIDTH_MM, height + 8.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let entry = |color, text: &str| (Swatch::Line(Stroke::solid(color, 1.0)), text.to_owned());
    let mut entries = vec![
        entry(GRANULE, "driven granule cells"),
        entry(GOLGI, "Golgi cells"),
        (Swatch::Line(stimulus()), "stimulus".to_owned()),
    ];
    if of.iter().any(|rates| rates.seeds > 1) {
        entries.push((Swatch::Area(Color::rgb(200, 200, 200)), "± standard error over seeds".to_owned()));
    }
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let seeds = of.iter().map(|rates| rates.seeds).max().unwrap_or(0);
    let description = format!(
        "Mean rate in each ms of granule cells with input from active mossy fibres and of Golgi cells, over all trials \
         and {}, in {}. All panels have one scale. Dotted lines are spikes of the mossy fibres.",
        counted(seeds, "seed"),
        counted(conditions.len(), "condition")
    );
    let table = table(conditions, &of);
    Figure::new("psth", "Rates over time", description, canvas, vec![table])
}

fn add(panel: &mut Panel, ms: &[usize], course: &[Summary], color: Color) {
    // In the middle of each ms.
    let at = |ms: &usize| *ms as f64 + 0.5;
    let band = ms.iter().zip(course).filter_map(|(ms, summary)| {
        let (mean, sem) = (summary.mean?, summary.sem?);
        Some((at(ms), mean - sem, mean + sem))
    });
    panel.add(Mark::Band { points: band.collect(), color, opacity: 0.25 });
    let line = ms.iter().zip(course).filter_map(|(ms, summary)| Some((at(ms), summary.mean?)));
    panel.add(Mark::Line { points: line.collect(), stroke: Stroke::solid(color, 1.0) });
}

/// Of one condition, over its seeds.
struct Rates {
    seeds: usize,
    ms: Vec<usize>,
    granule: Vec<Summary>,
    golgi: Vec<Summary>,
}

impl Rates {
    fn new(observed: &[Observed]) -> Rates {
        let courses: Vec<&Courses> = observed.iter().filter_map(|of| of.courses.as_ref()).collect();
        let ms: Vec<usize> = courses.first().map_or(Vec::new(), |first| first.ms.clone().collect());
        let over_seeds = |rates: fn(&Courses) -> &[f64]| {
            let at = |i: usize| courses.iter().map(|of| rates(of)[i]).collect::<Vec<f64>>();
            (0..ms.len()).map(|i| Summary::of(&at(i))).collect()
        };
        Rates {
            seeds: courses.len(),
            granule: over_seeds(|of| &of.granule_hz),
            golgi: over_seeds(|of| &of.golgi_hz),
            ms,
        }
    }
}

fn table(conditions: &[(&Condition, &[Observed])], of: &[Rates]) -> Table {
    let rows = || {
        conditions
            .iter()
            .zip(of)
            .flat_map(|((condition, _), rates)| (0..rates.ms.len()).map(move |i| (&condition.name, rates, i)))
    };
    Table::new(
        "rates",
        vec![
            Column::text("condition", rows().map(|(name, ..)| name.clone())),
            Column::whole("time_ms", rows().map(|(_, rates, i)| rates.ms[i])),
            Column::optional("granule_hz_mean", rows().map(|(_, rates, i)| rates.granule[i].mean)),
            Column::optional("granule_hz_sem", rows().map(|(_, rates, i)| rates.granule[i].sem)),
            Column::optional("golgi_hz_mean", rows().map(|(_, rates, i)| rates.golgi[i].mean)),
            Column::optional("golgi_hz_sem", rows().map(|(_, rates, i)| rates.golgi[i].sem)),
        ],
    )
}
