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

    /// Adds a mark above all earlier ones.
    pub fn add(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// Returns the margins that the panel needs around its frame in this area: left, top, right, bottom.
    fn margins(&self, area: Rect) -> [f64; 4] {
        let top = if self.letter.is_some() || !self.title.is_empty() { HEAD } else { NO_HEAD };
        let label = |axis: &Axis, gap: f64| if axis.label.is_empty() { 0.0 } else { gap + size::LABEL };
        let bottom = TICK + GAP + size::SMALL + label(&self.x, GAP);
        let numbers = self.y.ticks_down(area.height - top - bottom);
        let widest =
            numbers.iter().map(|tick| text_width(&tick.label, size::SMALL, false)).fold(0.0, f64::max);
        let left = TICK + GAP + widest + label(&self.y, TO_LABEL);
        // The last number of the x axis may extend beyond the frame.
        let width = area.width - left;
        let beyond = |tick: &Tick| {
            let half = text_width(&tick.label, size::SMALL, false) / 2.0;
            half - (1.0 - self.x.scale.fraction(tick.value)) * width
        };
        let right = self.x.ticks_across(width).iter().map(beyond).fold(0.0, f64::max) + 1.0;
        [left, top, right, bottom]
    }

    fn draw(&self, canvas: &mut Canvas, area: Rect, frame: Rect) {
        canvas.group(|canvas| {
            let plane = Plane { x: self.x.scale, y: self.y.scale, width: frame.width, height: frame.height };
            for marks in self.marks.chunk_by(|a, b| a.is_cut() == b.is_cut()) {
                let draw = |canvas: &mut Canvas| marks.iter().for_each(|mark| mark.draw(canvas, &plane));
                canvas.frame(frame, marks[0].is_cut(), draw);
            }
            self.draw_axes(canvas, frame, &plane);
            let title_y = frame.y - 5.0;
            if let Some(letter) = self.letter {
                let style = TextStyle { bold: true, ..TextStyle::new(size::LETTER, Anchor::Start) };
                canvas.text((area.x, title_y), &letter.to_string(), style);
            }
            if !self.title.is_empty() {
                let style = TextStyle::new(size::LABEL, Anchor::Middle);
                canvas.text((frame.x + frame.width / 2.0, title_y), &self.title, style);
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

    fn draw_axes(&self, canvas: &mut Canvas, frame: Rect, plane: &Plane) {
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
            let y = frame.y + plane.y(tick.value) + ASCENT * size::SMALL / 2.0;
            canvas.text((frame.x - TICK - GAP, y), &tick.label, TextStyle::new(size::SMALL, Anchor::End));
        }
        let style = TextStyle::new(size::LABEL, Anchor::Middle);
        if !self.x.label.is_empty() {
            let y = frame.bottom() + TICK + GAP + size::SMALL + GAP + ASCENT * size::LABEL;
            canvas.text((frame.x + frame.width / 2.0, y), &self.x.label, style);
        }
        if !self.y.label.is_empty() {
            let widest =
                down.iter().map(|tick| text_width(&tick.label, size::SMALL, false)).fold(0.0, f64::max);
            let at = (
                frame.x - TICK - GAP - widest - TO_LABEL - DESCENT * size::LABEL,
                frame.y + frame.height / 2.0,
            );
            canvas.text(at, &self.y.label, TextStyle { upright: true, ..style });
        }
    }
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
    let cell = |i: usize| Rect {
        x: area.x + (i % columns) as f64 * (width + BETWEEN_COLUMNS),
        y: area.y + (i / columns) as f64 * (height + BETWEEN_ROWS),
        width,
        height,
    };
    let margins = panels.iter().enumerate().map(|(i, panel)| panel.margins(cell(i)));
    let [left, top, right, bottom] =
        margins.fold([0.0; 4], |all: [f64; 4], one| std::array::from_fn(|side| all[side].max(one[side])));
    let frames: Vec<Rect> = (0..panels.len()).map(|i| cell(i).inset(left, top, right, bottom)).collect();
    for (i, (panel, frame)) in panels.iter().zip(&frames).enumerate() {
        panel.draw(canvas, cell(i), *frame);
    }
    frames
}
