//! A panel of a figure: two axes and the marks between them.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, Paint, Rect, Stroke, TextStyle};
use super::color::Color;
use super::mark::{Mark, Plane};
use super::scale::Tick;
use super::size;
use super::text::text_width;

/// Width of the axes' lines, and length of ticks, in points.
const AXIS_WIDTH: f64 = 0.6;
const TICK: f64 = 2.5;
/// Gap between ticks and their numbers, and between numbers and the label below, in points.
const GAP: f64 = 2.0;
/// Gap between numbers and the label on their left, in points. A viewer's font may be wider than the measured
/// one.
const TO_LABEL: f64 = 3.5;
/// Depth of text below its baseline, as a fraction of its size.
const DESCENT: f64 = 0.22;
/// Height of text above its baseline, as a fraction of its size.
const ASCENT: f64 = 0.72;
/// Most lines of a label, and their distance in points. Letters of lines at this distance do not touch.
const MOST_LINES: usize = 2;
const LINE: f64 = 1.15 * size::LABEL;
/// Space for the letter of a panel, in points.
const LETTER: f64 = 10.0;
/// Space above a frame, in points: for letter and title, or for half a number.
const HEAD: f64 = 15.0;
const NO_HEAD: f64 = 5.0;
/// Gap between panels, in points.
const BETWEEN_COLUMNS: f64 = 12.0;
const BETWEEN_ROWS: f64 = 9.0;

/// A panel with two axes, marks, and optionally a letter, a title and a note.
#[derive(Clone, Debug)]
pub struct Panel {
    x: Axis,
    y: Axis,
    marks: Vec<Mark>,
    letter: Option<char>,
    title: String,
    note: String,
}

/// A side of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The lower side.
    X,
    /// The left side.
    Y,
}

impl Panel {
    /// Creates an empty panel.
    pub fn new(x: Axis, y: Axis) -> Panel {
        Panel { x, y, marks: Vec::new(), letter: None, title: String::new(), note: String::new() }
    }

    /// Sets the letter at the upper left.
    pub fn letter(mut self, letter: char) -> Panel {
        self.letter = Some(letter);
        self
    }

    /// Sets the title above the frame.
    pub fn title(mut self, title: impl Into<String>) -> Panel {
        self.title = title.into();
        self
    }

    /// Writes a note in the middle, for a panel that would be empty.
    pub fn note(&mut self, note: &str) {
        self.note = note.to_owned();
    }

    /// Writes a note in the middle of a panel whose measure has no values, and removes the numbers of their axis.
    pub fn without_values(&mut self, note: &str, along: Along) {
        self.note(note);
        let axis = match along {
            Along::X => &mut self.x,
            Along::Y => &mut self.y,
        };
        *axis = axis.clone().with_ticks(Vec::new());
    }

    /// Adds a mark above all earlier ones.
    pub fn add(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// Returns the margins that the panel needs around its frame in this area: left, top, right, bottom. `axes` are
    /// the lengths of the axes for which labels are divided into lines.
    fn margins(&self, area: Rect, axes: (f64, f64)) -> [f64; 4] {
        let top = if self.letter.is_some() || !self.title.is_empty() { HEAD } else { NO_HEAD };
        let label = |lines: usize, gap: f64| match lines {
            0 => 0.0,
            lines => gap + (lines - 1) as f64 * LINE + size::LABEL,
        };
        let bottom = TICK + GAP + size::SMALL + label(wrapped(&self.x.label, axes.0).len(), GAP);
        let numbers = self.y.ticks_down(area.height - top - bottom);
        let left = TICK + GAP + widest(&numbers) + label(wrapped(&self.y.label, axes.1).len(), TO_LABEL);
        // The last number of the x axis may extend beyond the frame.
        let width = area.width - left;
        let beyond = |tick: &Tick| {
            let half = text_width(&tick.label, size::SMALL, false) / 2.0;
            half - (1.0 - self.x.scale.fraction(tick.value)) * width
        };
        let right = self.x.ticks_across(width).iter().map(beyond).fold(0.0, f64::max) + 1.0;
        [left, top, right, bottom]
    }

    fn draw(&self, canvas: &mut Canvas, cell: Rect, frame: Rect, axes: (f64, f64)) {
        canvas.group(|canvas| {
            let plane = Plane { x: self.x.scale, y: self.y.scale, width: frame.width, height: frame.height };
            for marks in self.marks.chunk_by(|a, b| a.is_cut() == b.is_cut()) {
                let draw = |canvas: &mut Canvas| marks.iter().for_each(|mark| mark.draw(canvas, &plane));
                canvas.frame(frame, marks[0].is_cut(), draw);
            }
            self.draw_axes(canvas, frame, &plane, axes);
            let title_y = frame.y - 5.0;
            if let Some(letter) = self.letter {
                let style = TextStyle { bold: true, ..TextStyle::new(size::LETTER, Anchor::Start) };
                canvas.text((cell.x, title_y), &letter.to_string(), style);
            }
            if !self.title.is_empty() {
                let style = TextStyle::new(size::LABEL, Anchor::Middle);
                let middle = frame.x + frame.width / 2.0;
                let letter = if self.letter.is_some() { LETTER } else { 0.0 };
                let half = (middle - cell.x - letter).min(cell.right() - middle);
                canvas.text((middle, title_y), &shortened(&self.title, 2.0 * half), style);
            }
            if !self.note.is_empty() {
                let style = TextStyle {
                    color: Color::rgb(85, 85, 85),
                    ..TextStyle::new(size::SMALL, Anchor::Middle)
                };
                canvas.text((frame.x + frame.width / 2.0, frame.y + frame.height / 2.0), &self.note, style);
            }
        });
    }

    fn draw_axes(&self, canvas: &mut Canvas, frame: Rect, plane: &Plane, axes: (f64, f64)) {
        let stroke = Stroke::solid(Color::BLACK, AXIS_WIDTH);
        let across = self.x.ticks_across(frame.width);
        let down = self.y.ticks_down(frame.height);
        let corner = (frame.x, frame.bottom());
        let mut lines = vec![vec![(frame.x, frame.y), corner, (frame.right(), frame.bottom())]];
        lines.extend(across.iter().map(|tick| {
            let x = frame.x + plane.x(tick.value);
            vec![(x, frame.bottom()), (x, frame.bottom() + TICK)]
        }));
        lines.extend(down.iter().map(|tick| {
            let y = frame.y + plane.y(tick.value);
            vec![(frame.x - TICK, y), (frame.x, y)]
        }));
        canvas.lines(lines.iter().map(Vec::as_slice), stroke);
        if let Some(at) = self.y.scale.break_at() {
            draw_break(canvas, (frame.x, frame.y + (1.0 - at) * frame.height));
        }

        let baseline = frame.bottom() + TICK + GAP + ASCENT * size::SMALL;
        for tick in &across {
            let at = (frame.x + plane.x(tick.value), baseline);
            canvas.text(at, &tick.label, TextStyle::new(size::SMALL, Anchor::Middle));
        }
        for tick in &down {
            let lines: Vec<&str> = tick.label.split('\n').collect();
            let first = plane.y(tick.value) - (lines.len() - 1) as f64 * size::SMALL / 2.0;
            for (line, text) in lines.into_iter().enumerate() {
                let y = frame.y + first + line as f64 * size::SMALL + ASCENT * size::SMALL / 2.0;
                canvas.text((frame.x - TICK - GAP, y), text, TextStyle::new(size::SMALL, Anchor::End));
            }
        }
        let style = TextStyle::new(size::LABEL, Anchor::Middle);
        let below = frame.bottom() + TICK + GAP + size::SMALL + GAP + ASCENT * size::LABEL;
        for (line, text) in wrapped(&self.x.label, axes.0).iter().enumerate() {
            let at = (frame.x + frame.width / 2.0, below + line as f64 * LINE);
            canvas.text(at, text, style);
        }
        let beside = frame.x - TICK - GAP - widest(&down) - TO_LABEL - DESCENT * size::LABEL;
        // The last line is next to the numbers.
        for (line, text) in wrapped(&self.y.label, axes.1).iter().rev().enumerate() {
            let at = (beside - line as f64 * LINE, frame.y + frame.height / 2.0);
            canvas.text(at, text, TextStyle { upright: true, ..style });
        }
    }
}

/// Returns the width of the widest line of these ticks' labels.
fn widest(ticks: &[Tick]) -> f64 {
    let lines = ticks.iter().flat_map(|tick| tick.label.split('\n'));
    lines.map(|line| text_width(line, size::SMALL, false)).fold(0.0, f64::max)
}

/// Divides a label into lines of at most this width, in points. Longer lines are shortened.
fn wrapped(label: &str, room: f64) -> Vec<String> {
    let width = |text: &str| text_width(text, size::LABEL, false);
    let mut lines: Vec<String> = Vec::new();
    for word in label.split_whitespace() {
        let fits = |line: &String| width(line) + width(" ") + width(word) <= room;
        let is_full = lines.len() == MOST_LINES;
        match lines.last_mut().filter(|line| is_full || fits(line)) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| shortened(line, room)).collect()
}

/// Shortens a label to this width, in points.
fn shortened(label: &str, room: f64) -> String {
    let width = |text: &str| text_width(text, size::LABEL, false);
    let mut text = label.to_owned();
    if width(&text) > room {
        while text.pop().is_some() && width(&text) + width("…") > room {}
        text.truncate(text.trim_end().len());
        text.push('…');
    }
    text
}

/// Draws two strokes across an axis at its break.
fn draw_break(canvas: &mut Canvas, (x, y): (f64, f64)) {
    let gap = Rect { x: x - 1.0, y: y - 1.2, width: 2.0, height: 2.4 };
    canvas.rect(gap, &Paint::fill(Color::WHITE));
    let stroke = |y: f64| [(x - 2.0, y + 0.8), (x + 2.0, y - 0.8)];
    let lines = [stroke(y - 1.2), stroke(y + 1.2)];
    canvas.lines(lines.iter().map(|line| &line[..]), Stroke::solid(Color::BLACK, AXIS_WIDTH));
}

/// Draws panels in rows of `columns`, with frames of one size. Returns the frames.
pub fn grid(canvas: &mut Canvas, area: Rect, columns: usize, panels: &[Panel]) -> Vec<Rect> {
    let columns = columns.max(1);
    let rows = panels.len().div_ceil(columns).max(1);
    let width = (area.width - BETWEEN_COLUMNS * (columns - 1) as f64) / columns as f64;
    let height = (area.height - BETWEEN_ROWS * (rows - 1) as f64) / rows as f64;
    let cell = Rect { x: area.x, y: area.y, width, height };
    // The lengths of the axes depend on the margins, and these on the lines of labels.
    let margins_for = |axes: (f64, f64)| -> Vec<[f64; 4]> {
        panels.iter().map(|panel| panel.margins(cell, axes)).collect()
    };
    let mut margins = margins_for((width, height));
    let largest = |margins: &[[f64; 4]], side: usize| margins.iter().map(|of| of[side]).fold(0.0, f64::max);
    // Space for names and numbers on the left, in each column as much as it needs.
    let lefts = |margins: &[[f64; 4]]| -> Vec<f64> {
        let of_column =
            |column: usize| margins.iter().skip(column).step_by(columns).map(|of| of[0]).fold(0.0, f64::max);
        (0..columns).map(of_column).collect()
    };
    let frame_width = |margins: &[[f64; 4]]| {
        width - lefts(margins).iter().sum::<f64>() / columns as f64 - largest(margins, 2)
    };
    let axes = (frame_width(&margins), height - largest(&margins, 1) - largest(&margins, 3));
    margins = margins_for(axes);
    let (left, frame_width) = (lefts(&margins), frame_width(&margins));
    let (top, right, bottom) = (largest(&margins, 1), largest(&margins, 2), largest(&margins, 3));
    let start = |column: usize| {
        let before: f64 = left[..column].iter().sum();
        area.x + before + column as f64 * (frame_width + right + BETWEEN_COLUMNS)
    };
    let cell = |i: usize| Rect {
        x: start(i % columns),
        y: area.y + (i / columns) as f64 * (height + BETWEEN_ROWS),
        width: left[i % columns] + frame_width + right,
        height,
    };
    let frames: Vec<Rect> =
        (0..panels.len()).map(|i| cell(i).inset(left[i % columns], top, right, bottom)).collect();
    for (i, (panel, frame)) in panels.iter().zip(&frames).enumerate() {
        panel.draw(canvas, cell(i), *frame, axes);
    }
    frames
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drawing::{Scale, check_layout, text_boxes};

    const LONG: &str =
        "Mean number of synapses of mossy fibres onto a granule cell, at most one from each fibre (1/cell)";

    fn axis(label: &str) -> Axis {
        Axis::new(Scale::linear(0.0, 1.0), label)
    }

    /// Draws panels with these axes, and returns the page and the frames.
    fn drawn(axes: Vec<(Axis, Axis)>, columns: usize, (width, height): (f64, f64)) -> (Canvas, Vec<Rect>) {
        let panels: Vec<Panel> = axes.into_iter().map(|(x, y)| Panel::new(x, y).letter('A')).collect();
        let mut canvas = Canvas::new(width, height);
        let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
        let frames = grid(&mut canvas, area, columns, &panels);
        (canvas, frames)
    }

    fn assert_one_size(frames: &[Rect]) {
        for frame in frames {
            let differences = [frame.width - frames[0].width, frame.height - frames[0].height];
            assert!(differences.iter().all(|of| of.abs() < 1e-9), "{frames:?}");
        }
    }

    #[test]
    fn an_axis_without_values_has_no_numbers() {
        let texts = |along: Along| -> Vec<String> {
            let mut panel = Panel::new(axis("Time (ms)"), axis("Rate (Hz)"));
            panel.without_values("cannot be measured", along);
            let mut canvas = Canvas::new(60.0, 60.0);
            let area = canvas.area();
            grid(&mut canvas, area, 1, &[panel]);
            text_boxes(&canvas).into_iter().map(|(text, _)| text).collect()
        };
        for along in [Along::X, Along::Y] {
            let found = texts(along);
            assert_eq!(found.iter().filter(|text| *text == "1.0").count(), 1, "{found:?}");
            assert!(found.iter().any(|text| text == "cannot be measured"), "{found:?}");
        }
    }

    #[test]
    fn long_labels_have_two_lines() {
        let width = |text: &str| text_width(text, size::LABEL, false);
        assert_eq!(wrapped("Time (ms)", 200.0), ["Time (ms)"]);
        assert_eq!(wrapped("", 200.0), [""; 0]);
        let label = "Golgi cell leak reversal potential (mV)";
        assert_eq!(wrapped(label, width(label) + 1.0), [label]);
        assert_eq!(wrapped(label, width(label) - 1.0), ["Golgi cell leak reversal potential", "(mV)"]);
        assert_eq!(wrapped(label, 0.65 * width(label)), ["Golgi cell leak reversal", "potential (mV)"]);
        // Too long for two lines.
        let room = 0.3 * width(LONG);
        let lines = wrapped(LONG, room);
        assert!(lines.len() == 2 && lines[1].ends_with('…') && !lines[0].ends_with('…'), "{lines:?}");
        assert!(LONG.starts_with(&format!("{} {}", lines[0], lines[1].trim_end_matches('…'))), "{lines:?}");
        assert!(lines.iter().all(|line| width(line) <= room), "{lines:?}");
        // A word alone is too long, whichever line it is in.
        for label in [
            "granule_to_golgi.convergence (1)",
            "of granule_to_golgi.convergence",
            "granule_to_golgi.convergence",
        ] {
            let lines = wrapped(label, 60.0);
            assert!(lines.iter().all(|line| width(line) <= 60.0), "{lines:?}");
            assert!(lines.iter().any(|line| line.ends_with('…')), "{lines:?}");
        }
        assert_eq!(wrapped("abc", 0.0), ["…"]);
    }

    #[test]
    fn long_labels_stay_on_the_page_and_apart() {
        let word = "granule_to_golgi.convergence_of_synapses_in_the_whole_network";
        for label in [LONG, &LONG[..60], word, &format!("{word} {word}"), "Time (ms)"] {
            for columns in [1, 2, 3, 4] {
                let axes = || (0..columns + 1).map(|_| (axis(label), axis(label))).collect();
                let (canvas, frames) = drawn(axes(), columns, (174.0, 100.0));
                check_layout(&canvas, &format!("{label} in {columns} columns"));
                assert_one_size(&frames);
                let found = text_boxes(&canvas).into_iter().filter(|(text, _)| text.ends_with('…')).count();
                assert!(found == 0 || label != "Time (ms)", "{label} in {columns} columns");
                assert!(found > 0 || label == "Time (ms)" || columns < 4, "{label} in {columns} columns");
            }
        }
    }

    #[test]
    fn frames_have_one_size_whatever_the_width_of_names() {
        let names = |name: &str| Axis::names(&[&format!("{name} 1"), &format!("{name} 2")], "");
        let wide = "a-condition-with-a-wide-name-W";
        let of = |first: &str| {
            let axes = (0..6).map(|i| (axis("Δ rate (Hz)"), names(if i % 3 == 0 { first } else { "" })));
            drawn(axes.collect(), 3, (174.0, 100.0))
        };
        let (canvas, frames) = of(wide);
        check_layout(&canvas, "wide names");
        assert_one_size(&frames);
        let (_, narrow) = of("b");
        assert_one_size(&narrow);
        assert!(frames[0].width < narrow[0].width - 20.0 && frames[0].x > narrow[0].x + 60.0, "{frames:?}");
        // Frames of a column are below each other, and all are on the page.
        let right = canvas.area().right();
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!((frame.x, frame.y), (frames[i % 3].x, frames[i / 3 * 3].y));
            assert!(frame.width > 20.0 && frame.right() < right, "{frame:?}");
        }
    }

    #[test]
    fn long_titles_stay_within_their_panel() {
        let panels: Vec<Panel> =
            (0..8).map(|_| Panel::new(axis("x"), axis("y")).letter('A').title(LONG)).collect();
        for columns in [1, 2, 3, 4] {
            let mut canvas = Canvas::new(174.0, 200.0);
            let area = canvas.area().inset(1.0, 1.0, 1.0, 2.0);
            grid(&mut canvas, area, columns, &panels);
            check_layout(&canvas, &format!("{columns} columns"));
        }
    }

    #[test]
    fn names_that_do_not_fit_beside_each_other_are_left_out() {
        let names: Vec<String> = (0..30).map(|i| format!("name {i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (canvas, _) = drawn(vec![(Axis::names(&names, "x"), axis("y"))], 1, (85.0, 60.0));
        check_layout(&canvas, "names");
        let found = text_boxes(&canvas).into_iter().filter(|(text, _)| text.starts_with("name")).count();
        assert!((4..=9).contains(&found), "{found}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Checks that no label overlaps another or leaves the page, whatever the words and the layout.
        #[test]
        fn labels_of_any_words_stay_apart(
            words in proptest::collection::vec("[a-zA-Z_.]{1,24}", 1..12),
            columns in 1..5_usize,
            count in 1..9_usize,
            names in 0..24_usize,
        ) {
            let label = words.join(" ");
            let name = "n".repeat(names);
            let axes = (0..count).map(|i| match i % columns {
                0 if names > 0 => (axis(&label), Axis::names(&[&name, "b"], "")),
                _ => (axis(&label), axis(&label)),
            });
            let (canvas, frames) = drawn(axes.collect(), columns, (174.0, 45.0 * count.div_ceil(columns) as f64));
            check_layout(&canvas, &label);
            assert_one_size(&frames);
        }
    }
}
