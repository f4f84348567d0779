//! Figure of the change of the response to the stimulus: mean time courses and peaks.

use super::common::{CountedPoints, LINE, TWO_COLUMNS_MM, note_if_empty, table_of_cells, with_zero};
use crate::analysis::SelectedCell;
use crate::drawing::{Axis, Canvas, Color, Dash, Legend, Mark, Panel, Scale, Stroke, Swatch, grid};
use crate::{Analysis, Change, Column, Figure, PaperCondition, Table};

fn line(condition: PaperCondition) -> Stroke {
    Stroke { color: condition.color(), width: LINE, dash: condition.dash() }
}

fn stimulus() -> Stroke {
    Stroke { color: Color::rgb(130, 130, 130), width: 0.6, dash: Dash::Dotted }
}

/// Draws the spike probability relative to each cell's Control peak, and peaks against those in Control.
///
/// The probability is averaged over cells that increase (A, D) and decrease (B, E) under ACh. The peaks are
/// under ACh (C) and under GABAzine (F).
///
/// The upper row compares Control and ACh. Without inhibition the probability is many times larger, so GABAzine is in
/// the lower row, on axes of its own.
pub fn spike_probability(analysis: &Analysis) -> Figure {
    use PaperCondition::{Ach, Control, Gabazine};
    let counted = points(analysis, Ach);
    let of_gabazine = points(analysis, Gabazine).sized_like(&counted);
    let panels = [
        course(analysis, Change::Increase, &[Control, Ach], 'A'),
        course(analysis, Change::Decrease, &[Control, Ach], 'B'),
        peaks_against_control(analysis, Ach, &counted, 'C'),
        course(analysis, Change::Increase, &[Control, Gabazine, Ach], 'D'),
        course(analysis, Change::Decrease, &[Control, Gabazine, Ach], 'E'),
        peaks_against_control(analysis, Gabazine, &of_gabazine, 'F'),
    ];
    let mut entries: Vec<_> = PaperCondition::ALL
        .map(|condition| (Swatch::Line(line(condition)), condition.name().to_owned()))
        .into();
    entries.push((Swatch::Line(stimulus()), "stimulus".to_owned()));
    for change in Change::COMPARED {
        let swatch = Swatch::Point(crate::drawing::Shape::Disc, 4.0, change.color());
        entries.push((swatch, change.name().to_owned()));
    }
    entries.extend(counted.legend());

    let mut canvas = Canvas::new(TWO_COLUMNS_MM, 116.0);
    let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
    let rest = Legend::new(entries).draw(&mut canvas, area);
    grid(&mut canvas, rest, 3, &panels);

    let counts = analysis.counts();
    let description = format!(
        "Of {} granule cells with input from active mossy fibres, {} were selected. Under ACh the peak of the spike \
         probability is larger in {} of them and smaller in {}; in {} it is the same. A and B: spike probability \
         over time in Control and under ACh, relative to each cell's Control peak, mean and standard error over cells \
         that increase and that decrease. C: peak under ACh against peak in Control, one point for each pair of \
         values (its area shows the number of cells); the dashed line is where both are equal. D, E and F: \
         the same with GABAzine, on other scales.",
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

/// Draws the mean time courses of the cells of one class in these conditions.
fn course(analysis: &Analysis, change: Change, conditions: &[PaperCondition], letter: char) -> Panel {
    let times = analysis.criteria().times_ms();
    let courses: Vec<_> =
        conditions.iter().map(|&condition| (condition, analysis.time_course(condition, change))).collect();
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
}

/// Returns the cells whose response differs between Control and ACh.
fn compared(analysis: &Analysis) -> impl Iterator<Item = &SelectedCell> + Clone {
    analysis.cells().iter().filter(|cell| cell.change != Change::Equal)
}

/// Returns each compared cell's peak in Control and in this condition.
fn points(analysis: &Analysis, condition: PaperCondition) -> CountedPoints {
    let control = PaperCondition::Control;
    CountedPoints::new(compared(analysis).map(|cell| (cell.peak(control), cell.peak(condition), cell.change)))
}

/// Draws each cell's peak in this condition against its peak in Control.
fn peaks_against_control(
    analysis: &Analysis,
    condition: PaperCondition,
    points: &CountedPoints,
    letter: char,
) -> Panel {
    let peaks = |condition: PaperCondition| compared(analysis).map(move |cell| cell.peak(condition));
    // Leaves room for points at 0.
    let both = match with_zero(peaks(PaperCondition::Control).chain(peaks(condition))) {
        Scale::Linear { high, .. } => Scale::linear(-0.04 * high, high),
        log @ Scale::Log { .. } => log,
    };
    let label = format!("Peak under {}", condition.name());
    let mut panel = Panel::new(Axis::new(both, "Peak in Control"), Axis::new(both, &label))
        .letter(letter)
        .title("Peak spike probability");
    if let Scale::Linear { high, .. } = both {
        let stroke = Stroke { dash: Dash::Dashed, ..stimulus() };
        panel.add(Mark::Line { points: vec![(0.0, 0.0), (high, high)], stroke });
    }
    points.marks(false).into_iter().for_each(|mark| panel.add(mark));
    note_if_empty(&mut panel, analysis, compared(analysis).next().is_none());
    panel
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
