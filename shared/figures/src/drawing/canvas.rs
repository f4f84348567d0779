//! The page: shapes and text, in points from the upper left corner.

use super::color::Color;

/// Points per millimetre.
pub(super) const POINTS_PER_MM: f64 = 72.0 / 25.4;

/// A rectangle, in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Rect {
    /// Right edge.
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// Lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// Returns the rectangle reduced by these margins. Its width and height are at least one point.
    pub fn inset(&self, left: f64, top: f64, right: f64, bottom: f64) -> Rect {
        Rect {
            x: self.x + left,
            y: self.y + top,
            width: (self.width - left - right).max(1.0),
            height: (self.height - top - bottom).max(1.0),
        }
    }
}

/// Dash pattern of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    /// Unbroken.
    Solid,
    /// Dashes.
    Dashed,
    /// Dots.
    Dotted,
}

impl Dash {
    /// Returns the lengths of a dash and of the gap after it, in points; `None` for a solid line.
    pub(super) fn lengths(self) -> Option<[f64; 2]> {
        match self {
            Dash::Solid => None,
            Dash::Dashed => Some([3.5, 1.5]),
            Dash::Dotted => Some([0.8, 1.6]),
        }
    }
}

/// Style of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Colour of the line.
    pub color: Color,
    /// Width in points.
    pub width: f64,
    /// Dash pattern.
    pub dash: Dash,
}

impl Stroke {
    /// Returns the style of an unbroken line.
    pub fn solid(color: Color, width: f64) -> Stroke {
        Stroke { color, width, dash: Dash::Solid }
    }

    /// Returns the style of a dashed line.
    pub fn dashed(color: Color, width: f64) -> Stroke {
        Stroke { color, width, dash: Dash::Dashed }
    }
}

/// Style of a shape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Paint {
    /// Colour and opacity (0 to 1) of the inside; `None` leaves it empty.
    pub fill: Option<(Color, f64)>,
    /// Style of the outline; `None` for no outline.
    pub stroke: Option<Stroke>,
}

impl Paint {
    /// Returns the style of an opaque shape without an outline.
    pub fn fill(color: Color) -> Paint {
        Paint { fill: Some((color, 1.0)), stroke: None }
    }

    /// Returns the style of an outline without a fill.
    pub fn stroke(stroke: Stroke) -> Paint {
        Paint { fill: None, stroke: Some(stroke) }
    }
}

/// The part of a text that lies at the text's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The start of the text.
    Start,
    /// The middle of the text.
    Middle,
    /// The end of the text.
    End,
}

/// Style of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextStyle {
    /// Font size in points.
    pub size: f64,
    /// Whether the font is bold.
    pub bold: bool,
    /// The part of the text that lies at its position.
    pub anchor: Anchor,
    /// Whether the text is turned, to be read from bottom to top.
    pub upright: bool,
    /// Colour of the text.
    pub color: Color,
}

impl TextStyle {
    /// Returns the style of plain black text.
    pub fn new(size: f64, anchor: Anchor) -> TextStyle {
        TextStyle { size, bold: false, anchor, upright: false, color: Color::BLACK }
    }
}

/// A page and its drawing.
#[derive(Clone, Debug)]
pub struct Canvas {
    pub(super) width_mm: f64,
    pub(super) height_mm: f64,
    /// Height of the space for a mark above the drawing, in points; 0 without a mark.
    pub(super) head: f64,
    body: Vec<Element>,
}

/// A part of the drawing. Coordinates are rounded to hundredths of a point, as in the SVG.
#[derive(Clone, Debug)]
pub(super) enum Element {
    Shape(Outline, Paint),
    Text {
        at: (f64, f64),
        text: String,
        style: TextStyle,
    },
    /// Elements that belong together.
    Group(Vec<Element>),
    /// Elements inside a rectangle, relative to its upper left corner. If `is_cut`, the rectangle clips them.
    Frame {
        rect: Rect,
        is_cut: bool,
        inside: Vec<Element>,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Outline {
    Rect(Rect),
    Circle { center: (f64, f64), radius: f64 },
    Lines(Vec<Vec<(f64, f64)>>),
    Polygons(Vec<Vec<(f64, f64)>>),
}

impl Canvas {
    /// Creates an empty page of this size.
    pub fn new(width_mm: f64, height_mm: f64) -> Canvas {
        Canvas { width_mm, height_mm, head: 0.0, body: Vec::new() }
    }

    /// Returns the whole page without a mark, in points.
    pub fn area(&self) -> Rect {
        Rect { x: 0.0, y: 0.0, width: self.width_mm * POINTS_PER_MM, height: self.height_mm * POINTS_PER_MM }
    }

    /// Returns the elements in drawing order.
    pub(super) fn elements(&self) -> &[Element] {
        &self.body
    }

    /// Returns the page with the mark above the drawing. The origin is the drawing's upper left corner.
    pub(super) fn page(&self) -> Rect {
        let area = self.area();
        Rect { y: 0.0 - self.head, height: area.height + self.head, ..area }
    }

    /// Writes a line of text above the drawing. The drawing does not move.
    pub fn mark(&mut self, text: &str) {
        const SIZE: f64 = 9.0;
        // No letter of the font is wider than its size, and most are half as wide.
        let room = self.area().width - 8.0;
        let size = SIZE.min(room / (0.62 * text.chars().count().max(1) as f64));
        self.head = 16.0;
        let color = Color::rgb(178, 24, 43);
        self.text((4.0, -4.0), text, TextStyle { bold: true, color, ..TextStyle::new(size, Anchor::Start) });
    }

    /// Draws a rectangle.
    pub fn rect(&mut self, rect: Rect, paint: &Paint) {
        self.body.push(Element::Shape(Outline::Rect(placed(rect)), *paint));
    }

    /// Draws a disc or a ring.
    pub fn circle(&mut self, center: (f64, f64), radius: f64, paint: &Paint) {
        let outline = Outline::Circle { center: point(center), radius: rounded(radius) };
        self.body.push(Element::Shape(outline, *paint));
    }

    /// Draws lines through points. Each list of points is a separate line.
    pub fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a [(f64, f64)]>, stroke: Stroke) {
        let lines = paths(lines);
        if !lines.is_empty() {
            self.body.push(Element::Shape(Outline::Lines(lines), Paint::stroke(stroke)));
        }
    }

    /// Draws the areas inside lines as one shape, so that no gap is visible where two of them meet.
    pub fn polygons<'a>(&mut self, polygons: impl IntoIterator<Item = &'a [(f64, f64)]>, paint: &Paint) {
        let polygons = paths(polygons);
        if !polygons.is_empty() {
            self.body.push(Element::Shape(Outline::Polygons(polygons), *paint));
        }
    }

    /// Writes one line of text, with its baseline at `at`. `_{…}` lowers and `^{…}` raises a part of it.
    pub fn text(&mut self, at: (f64, f64), text: &str, style: TextStyle) {
        self.body.push(Element::Text { at: point(at), text: text.to_owned(), style });
    }

    /// Draws a group of elements.
    pub fn group(&mut self, draw: impl FnOnce(&mut Canvas)) {
        let inside = self.inside(draw);
        self.body.push(Element::Group(inside));
    }

    /// Draws inside a rectangle, relative to its upper left corner. If `is_cut`, parts outside the rectangle
    /// are invisible.
    pub fn frame(&mut self, rect: Rect, is_cut: bool, draw: impl FnOnce(&mut Canvas)) {
        let inside = self.inside(draw);
        self.body.push(Element::Frame { rect: placed(rect), is_cut, inside });
    }

    fn inside(&mut self, draw: impl FnOnce(&mut Canvas)) -> Vec<Element> {
        let outside = std::mem::take(&mut self.body);
        draw(self);
        std::mem::replace(&mut self.body, outside)
    }
}

/// Rounds the points of lines, and removes empty lines.
fn paths<'a>(lines: impl IntoIterator<Item = &'a [(f64, f64)]>) -> Vec<Vec<(f64, f64)>> {
    let lines = lines.into_iter().filter(|line| !line.is_empty());
    lines.map(|line| line.iter().copied().map(point).collect()).collect()
}

fn point((x, y): (f64, f64)) -> (f64, f64) {
    (rounded(x), rounded(y))
}

fn placed(Rect { x, y, width, height }: Rect) -> Rect {
    let [x, y, width, height] = [x, y, width, height].map(rounded);
    Rect { x, y, width, height }
}

/// Rounds a number of points to its value in the SVG.
pub(super) fn rounded(value: f64) -> f64 {
    number(value).parse().expect("a number as it is written")
}

/// Formats a number of points to a hundredth, with as few characters as possible.
pub(super) fn number(value: f64) -> String {
    // Numbers that are not finite have no place on the page, so they are placed off it.
    let value = if value.is_nan() { -1e4 } else { value.clamp(-1e4, 1e5) };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, -0.001, 1.0, 1.5, 2.345, 100.0, -3.999, f64::NAN, f64::INFINITY].map(number);
        assert_eq!(texts, ["0", "0", "1", "1.5", "2.35", "100", "-4", "-10000", "100000"]);
    }
}
