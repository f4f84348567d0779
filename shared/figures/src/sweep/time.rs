//! Figure of rates over time.

use granule_engine::Population;
use granule_statistics::estimate::Estimate;

use super::observed::{Courses, Observed};
use super::show::{
    Drive, WIDTH_MM, add_stimulus, color, counted, has_intervals, interval, layout, populations_of, range,
    sample, short,
};
use super::{ObservedCondition, OfCondition};
use crate::drawing::{Axis, Canvas, Color, Legend, Mark, Panel, Scale, Stroke, Swatch, grid};
use crate::{Column, Figure, Table};

/// Draws the rates of driven cells and of the other populations in each ms: mean and 95 % interval over
/// seeds. Each condition has a panel.
pub fn psth(conditions: &[(&ObservedCondition, &[Observed])], drive: Drive) -> Figure {
    let populations = populations_of(conditions.iter().map(|(condition, _)| &condition.model));
    let rates = |(_, observed): &(&ObservedCondition, &[Observed])| Rates::new(observed, populations.len());
    let of: Vec<Rates> = conditions.iter().map(rates).collect();
    let tops = of.iter().flat_map(|rates| rates.by_population.iter().flatten());
    let tops = tops.filter_map(|summary| summary.high.or(summary.mean));
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
            for (place, course) in rates.by_population.iter().enumerate() {
                add(&mut panel, &rates.ms, course, color(place));
            }
            if rates.ms.is_empty() {
                panel.note("no trials");
            }
            panel
        })
        .collect();
    let (columns, height) = layout(panels.len(), 3, 46.0);
    let legend = Legend::new(entries(conditions, populations, drive));
    let mut canvas = Canvas::new(WIDTH_MM, height + legend.height_mm(WIDTH_MM));
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = legend.draw(&mut canvas, area);
    grid(&mut canvas, rest, columns, &panels);
    let description = format!(
        "Mean rate of {}, in each ms, over {}, in {}; {}. n is the number of cells. All panels have one scale.{}",
        drive.and_others(populations),
        sample(conditions),
        counted(conditions.len(), "condition"),
        if has_intervals(conditions) {
            "the bands are 95 % intervals over seeds"
        } else {
            "one seed gives no interval over seeds"
        },
        drive.of_lines()
    );
    let table = table(conditions, &of, populations);
    Figure::new("psth", "Rates over time", description, canvas, vec![table])
}

/// Returns the entries of the legend, with the number of cells of each population.
fn entries(
    conditions: &[OfCondition<'_>],
    populations: &[Population],
    drive: Drive,
) -> Vec<(Swatch, String)> {
    let driven = conditions.iter().flat_map(|(_, of)| *of).map(|of| of.driven as usize);
    let sizes = |place: usize| conditions.iter().map(move |(of, _)| of.model.sizes()[place] as usize);
    let entry = |place, cells: &str, n: String| {
        (Swatch::Line(Stroke::solid(color(place), 1.0)), format!("{cells} (n = {n})"))
    };
    let mut entries = vec![entry(0, &drive.cells(populations), range(driven))];
    for (place, population) in populations.iter().enumerate().skip(1) {
        entries.push(entry(place, population.cells, range(sizes(place))));
    }
    entries.extend(drive.entry());
    let swatch =
        if has_intervals(conditions) { Swatch::Area(Color::rgb(200, 200, 200)) } else { Swatch::None };
    entries.push((swatch, interval(conditions)));
    entries
}

fn add(panel: &mut Panel, ms: &[usize], course: &[Estimate], color: Color) {
    // Points are in the middle of each ms.
    let at = |ms: &usize| *ms as f64 + 0.5;
    let band = ms
        .iter()
        .zip(course)
        .filter_map(|(ms, summary)| Some((at(ms), summary.low?.max(0.0), summary.high?)));
    panel.add(Mark::Band { points: band.collect(), color, opacity: 0.25 });
    let line = ms.iter().zip(course).filter_map(|(ms, summary)| Some((at(ms), summary.mean?)));
    panel.add(Mark::Line { points: line.collect(), stroke: Stroke::solid(color, 1.0) });
}

/// Rates of one condition over its seeds.
struct Rates {
    ms: Vec<usize>,
    /// Rates by population; for the first population those of its driven cells.
    by_population: Vec<Vec<Estimate>>,
}

impl Rates {
    fn new(observed: &[Observed], populations: usize) -> Rates {
        let courses: Vec<&Courses> = observed.iter().filter_map(|of| of.courses.as_ref()).collect();
        let ms: Vec<usize> = courses.first().map_or(Vec::new(), |first| first.ms.clone().collect());
        let over_seeds = |place: usize| {
            let at = |i: usize| courses.iter().map(|of| of.rates_hz[place][i]).collect::<Vec<f64>>();
            (0..ms.len()).map(|i| Estimate::of(&at(i))).collect()
        };
        Rates { by_population: (0..populations).map(over_seeds).collect(), ms }
    }
}

fn table(
    conditions: &[(&ObservedCondition, &[Observed])],
    of: &[Rates],
    populations: &[Population],
) -> Table {
    let rows = || {
        conditions
            .iter()
            .zip(of)
            .flat_map(|((condition, _), rates)| (0..rates.ms.len()).map(move |i| (&condition.name, rates, i)))
    };
    let mut columns = vec![
        Column::text("condition", rows().map(|(name, ..)| name.clone())),
        Column::whole("time_ms", rows().map(|(_, rates, i)| rates.ms[i])),
    ];
    for (place, Population { name, .. }) in populations.iter().enumerate() {
        let of = || rows().map(|(_, rates, i)| &rates.by_population[place][i]);
        columns.push(Column::optional(format!("{name}_hz_mean"), of().map(|of| of.mean)));
        columns.push(Column::optional(format!("{name}_hz_low_95"), of().map(|of| of.low)));
        columns.push(Column::optional(format!("{name}_hz_high_95"), of().map(|of| of.high)));
    }
    Table::new("rates", columns)
}
