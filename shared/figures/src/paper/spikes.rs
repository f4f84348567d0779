//! Figure of the change of the response to the stimulus: mean time courses and peaks.

use super::common::{CountedPoints, LINE, TWO_COLUMNS_MM, note_if_empty, table_of_cells, with_zero};
use crate::drawing::{Axis, Canvas, Color, Dash, Legend, Mark, Panel, Scale, Stroke, Swatch, grid};
use crate::{Analysis, Change, Column, Figure, PaperCondition, Table};

fn line(condition: PaperCondition) -> Stroke {
    Stroke { color: condition.color(), width: LINE, dash: condition.dash() }
}

fn stimulus() -> Stroke {
    Stroke { color: Color::rgb(130, 130, 130), width: 0.6, dash: Dash::Dotted }
}

/// Draws the spike probability relative to each cell's Control peak, averaged over cells that increase (A)
/// and decrease (B) under ACh. Panel C has the peak of each cell under ACh against its peak in Control.
pub fn spike_probability(analysis: &Analysis) -> Figure {
    let times = analysis.criteria().times_ms();
    let course = |change: Change, letter: char| {
        let courses =
            PaperCondition::ALL.map(|condition| (condition, analysis.time_course(condition, change)));
        let all = courses.iter().flat_map(|(_, course)| course);
        let tops = all.filter_map(|summary| Some(summary.mean? + summary.sem.unwrap_or(0.0)));
        let y = Scale::from_zero(tops, 0.05);
        let x = Scale::linear(times.first().copied().unwrap_or(0.0), times.last().copied().unwrap_or(1.0));
        let mut panel = Panel::new(Axis::new(x, "Time (ms)"), Axis::new(y, "Spike probability (norm.)"))
            .letter(letter)
            .title(format!("{} (n = {})", change.name(), analysis.of_class(change).count()));
        for at in stimulus_times(analysis) {
            panel.add(Mark::Down { at, stroke: stimulus() });
        }
        for (condition, course) in &courses {
            let band = times.iter().zip(course).filter_map(|(&time, summary)| {
                let (mean, sem) = (summary.mean?, summary.sem?);
                Some((time, mean - sem, mean + sem))
            });
            panel.add(Mark::Band { points: band.collect(), color: condition.color(), opacity: 0.2 });
        }
        for (condition, course) in courses {
            let points = times.iter().zip(&course).filter_map(|(&time, summary)| Some((time, summary.mean?)));
            panel.add(Mark::Line { points: points.collect(), stroke: line(condition) });
        }
        if analysis.of_class(change).next().is_none() {
            panel.note("no cells");
        }
        panel
    };

    let compared = || analysis.cells().iter().filter(|cell| cell.change != Change::Equal);
    let peaks = |cell: &crate::analysis::SelectedCell| {
        (cell.peak(PaperCondition::Control), cell.peak(PaperCondition::Ach), cell.change)
    };
    let counted = CountedPoints::new(compared().map(peaks));
    let all: Vec<f64> = compared().map(peaks).flat_map(|(x, y, _)| [x, y]).collect();
    let scale = with_zero(all.iter().copied());
    // Leave room for points at 0.
    let scale = match scale {
        Scale::Linear { high, .. } => Scale::linear(-0.04 * high, high),
        log @ Scale::Log { .. } => log,
    };
    let mut scatter = Panel::new(Axis::new(scale, "Peak in Control"), Axis::new(scale, "Peak under ACh"))
        .letter('C')
        .title("Peak spike probability");
    if let Scale::Linear { high, .. } = scale {
        let stroke = Stroke { dash: Dash::Dashed, ..stimulus() };
        scatter.add(Mark::Line { points: vec![(0.0, 0.0), (high, high)], stroke });
    }
    counted.marks(false).into_iter().for_each(|mark| scatter.add(mark));
    note_if_empty(&mut scatter, analysis, all.is_empty());

    let mut entries: Vec<_> = PaperCondition::ALL
        .map(|condition| (Swatch::Line(line(condition)), condition.name().to_owned()))
        .into();
    entries.push((Swatch::Line(stimulus()), "stimulus".to_owned()));
    for change in Change::COMPARED {
        let swatch = Swatch::Point(crate::drawing::Shape::Disc, 4.0, change.color());
        entries.push((swatch, change.name().to_owned()));
    }
    entries.extend(counted.legend());

    let mut canvas = Canvas::new(TWO_COLUMNS_MM, 64.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, 3, &[course(Change::Increase, 'A'), course(Change::Decrease, 'B'), scatter]);

    let counts = analysis.counts();
    let description = format!(
        "Of {} granule cells with input from active mossy fibres, {} were selected. Under ACh the peak of the spike \
         probability is larger in {} of them and smaller in {}; in {} it is the same. A and B: spike probability \
         over time in three conditions, relative to each cell's Control peak, mean and standard error over cells \
         that increase and that decrease. C: peak under ACh against peak in Control, one point for each pair of \
         values, its area counting cells; the dashed line is where both are equal.",
        counts.driven, counts.selected, counts.increase, counts.decrease, counts.equal
    );
    let tables = vec![table_of_counts(analysis), table_of_courses(analysis), table_of_cells(analysis, &[])];
    Figure::new(
        "spike-probability",
        "Spike probability under Control, GABAzine and ACh",
        description,
        canvas,
        tables,
    )
}

fn stimulus_times(analysis: &Analysis) -> Vec<f64> {
    let stimuli = &analysis.criteria().stimuli_ms;
    let first = stimuli.first().copied().unwrap_or(0) as f64;
    stimuli.iter().map(|&at| at as f64 - first).collect()
}

fn table_of_counts(analysis: &Analysis) -> Table {
    let counts = analysis.counts();
    let rows = [
        ("granule cells", counts.granule_cells),
        ("driven", counts.driven),
        ("responsive", counts.responsive),
        ("without a peak in the window", counts.without_peak),
        ("selected", counts.selected),
        ("increase", counts.increase),
        ("decrease", counts.decrease),
        ("equal", counts.equal),
        ("silenced", counts.silenced),
    ];
    let columns =
        vec![Column::text("which", rows.map(|row| row.0)), Column::whole("cells", rows.map(|row| row.1))];
    Table::new("counts", columns)
}

fn table_of_courses(analysis: &Analysis) -> Table {
    let mut columns = vec![Column::numbers("time_ms", analysis.criteria().times_ms())];
    for change in Change::COMPARED {
        for condition in PaperCondition::ALL {
            let course = analysis.time_course(condition, change);
            let name = format!("{}_{}", condition.prefix(), change.name());
            columns.push(Column::optional(format!("{name}_mean"), course.iter().map(|summary| summary.mean)));
            columns.push(Column::optional(format!("{name}_sem"), course.iter().map(|summary| summary.sem)));
        }
    }
    Table::new("time-courses", columns)
}
