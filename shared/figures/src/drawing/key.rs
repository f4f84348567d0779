//! Legends and colour bars.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, POINTS_PER_MM, Paint, Rect, Stroke, TextStyle};
use super::color::{Color, Ramp};
use super::mark::Shape;
use super::scale::Scale;
use super::size;
use super::text::text_width;

/// Height of a legend's line, and width of a swatch, in points.
const LINE: f64 = 11.0;
const SWATCH: f64 = 13.0;
/// Gap between a swatch and its text, and between entries, in points.
const GAP: f64 = 3.5;
const BETWEEN: f64 = 12.0;
/// Gap below a legend, in points.
const BELOW: f64 = 3.0;

/// A sample of a mark, as legends show it.
#[derive(Clone, Copy, Debug)]
pub enum Swatch {
    /// A line.
    Line(Stroke),
    /// A point with its shape, diameter in points, and colour.
    Point(Shape, f64, Color),
    /// A filled area.
    Area(Color),
    /// Nothing: the entry is only a text.
    None,
}

impl Swatch {
    /// Returns the distance from the entry's start to its text, in points.
    fn width(self) -> f64 {
        if matches!(self, Swatch::None) { 0.0 } else { SWATCH + GAP }
    }
}

/// Swatches with their texts, in one row or, if the width is too small, in several. A legend has its own
/// space outside panels, so that it covers nothing.
#[derive(Clone, Debug, Default)]
pub struct Legend(Vec<(Swatch, String)>);

impl Legend {
    /// Creates a legend of these entries.
    pub fn new(entries: Vec<(Swatch, String)>) -> Legend {
        Legend(entries)
    }

    /// Returns the place (x, row) of each entry on this width, and the number of rows.
    fn places(&self, width: f64) -> (Vec<(f64, usize)>, usize) {
        let (mut x, mut row) = (0.0, 0);
        let mut places = Vec::new();
        for (swatch, text) in &self.0 {
            let needed = swatch.width() + text_width(text, size::SMALL, false);
            if x > 0.0 && x + needed > width {
                (x, row) = (0.0, row + 1);
            }
            places.push((x, row));
            x += needed + BETWEEN;
        }
        let rows = if places.is_empty() { 0 } else { row + 1 };
        (places, rows)
    }

    /// Draws the legend at the top of an area. Returns the rest of the area below it.
    pub fn draw(&self, canvas: &mut Canvas, area: Rect) -> Rect {
        let (places, rows) = self.places(area.width);
        for ((swatch, text), (x, row)) in self.0.iter().zip(places) {
            let (x, y) = (area.x + x, area.y + row as f64 * LINE + LINE / 2.0);
            match *swatch {
                Swatch::Line(stroke) => canvas.lines([&[(x, y), (x + SWATCH, y)][..]], stroke),
                Swatch::Point(shape, diameter, color) => {
                    shape.draw(canvas, (x + SWATCH / 2.0, y), diameter, color)
                }
                Swatch::Area(color) => {
                    let rect = Rect { x, y: y - 2.5, width: SWATCH, height: 5.0 };
                    canvas.rect(rect, &Paint::fill(color));
                }
                Swatch::None => {}
            }
            let at = (x + swatch.width(), y + 0.36 * size::SMALL);
            canvas.text(at, text, TextStyle::new(size::SMALL, Anchor::Start));
        }
        area.inset(0.0, Self::height(rows), 0.0, 0.0)
    }

    /// Returns the height of the legend on a page of this width.
    pub fn height_mm(&self, width_mm: f64) -> f64 {
        Self::height(self.places(width_mm * POINTS_PER_MM).1) / POINTS_PER_MM
    }

    fn height(rows: usize) -> f64 {
        if rows > 0 { rows as f64 * LINE + BELOW } else { 0.0 }
    }
}

/// A bar that shows which number each colour means.
#[derive(Clone, Debug)]
pub struct ColorBar {
    /// Colours of the bar.
    pub ramp: Ramp,
    /// Numbers along the bar.
    pub scale: Scale,
    /// The quantity of the numbers.
    pub label: String,
}

impl ColorBar {
    const WIDTH: f64 = 7.0;
    const TICK: f64 = 2.0;
    /// Number of rectangles, each of one colour, that form the bar.
    const PIECES: usize = 64;

    /// Returns the width that the bar needs beside a panel of this height, in points.
    pub fn width(&self, height: f64) -> f64 {
        let axis = Axis::new(self.scale, "");
        let widths =
            axis.ticks_down(height).into_iter().map(|tick| text_width(&tick.label, size::SMALL, false));
        Self::WIDTH + Self::TICK + 2.0 + widths.fold(0.0, f64::max) + 3.0 + size::LABEL
    }

    /// Draws the bar with its upper left corner at (x, y).
    pub fn draw(&self, canvas: &mut Canvas, (x, y): (f64, f64), height: f64) {
        let piece = height / Self::PIECES as f64;
        canvas.group(|canvas| {
            for i in 0..Self::PIECES {
                let top = y + i as f64 * piece;
                // Each rectangle extends under the next, so that no gap is visible.
                let rect =
                    Rect { x, y: top, width: Self::WIDTH, height: (y + height - top).min(2.0 * piece) };
                let fraction = 1.0 - (i as f64 + 0.5) / Self::PIECES as f64;
                canvas.rect(rect, &Paint::fill(self.ramp.at(fraction)));
            }
            let stroke = Stroke::solid(Color::BLACK, 0.5);
            canvas.rect(Rect { x, y, width: Self::WIDTH, height }, &Paint::stroke(stroke));
            let mut widest: f64 = 0.0;
            let right = x + Self::WIDTH;
            for tick in Axis::new(self.scale, "").ticks_down(height) {
                let at = y + (1.0 - self.scale.fraction(tick.value)) * height;
                canvas.lines([&[(right, at), (right + Self::TICK, at)][..]], stroke);
                let place = (right + Self::TICK + 2.0, at + 0.36 * size::SMALL);
                canvas.text(place, &tick.label, TextStyle::new(size::SMALL, Anchor::Start));
                widest = widest.max(text_width(&tick.label, size::SMALL, false));
            }
            let place = (right + Self::TICK + 2.0 + widest + 3.0 + 0.8 * size::LABEL, y + height / 2.0);
            let style = TextStyle { upright: true, ..TextStyle::new(size::LABEL, Anchor::Middle) };
            canvas.text(place, &self.label, style);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legend_takes_more_rows_where_there_is_less_room() {
        let entry = |text: &str| (Swatch::Area(Color::GREY), text.to_owned());
        let legend = Legend::new(vec![entry("one"), entry("two"), entry("three")]);
        assert_eq!(legend.places(1000.0).1, 1);
        assert_eq!(legend.places(80.0).1, 2);
        assert_eq!(legend.places(1.0), (vec![(0.0, 0), (0.0, 1), (0.0, 2)], 3));
        assert!((legend.height_mm(1.0) * POINTS_PER_MM - 36.0).abs() < 1e-9);
        // Without a swatch, the text begins where the swatch would.
        let alone = Legend::new(vec![(Swatch::None, "one".to_owned()), entry("two")]);
        assert_eq!(alone.places(1000.0).0[1].0 + SWATCH + GAP, legend.places(1000.0).0[1].0);
        let mut canvas = Canvas::new(30.0, 30.0);
        let area = canvas.area();
        assert_eq!(Legend::default().draw(&mut canvas, area), area);
        assert!(legend.draw(&mut canvas, area).y > area.y);
    }
}
