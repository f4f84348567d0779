//! The page: shapes and text, in points from the upper left corner.

use super::color::Color;

/// Points in a millimetre.
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

    /// What is left when something is taken from each side; never less than a point.
    pub fn inset(&self, left: f64, top: f64, right: f64, bottom: f64) -> Rect {
        Rect {
            x: self.x + left,
            y: self.y + top,
            width: (self.width - left - right).max(1.0),
            height: (self.height - top - bottom).max(1.0),
        }
    }
}

/// How a line is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    /// Not.
    Solid,
    /// Into dashes.
    Dashed,
    /// Into dots.
    Dotted,
}

impl Dash {
    /// Lengths of a dash and of the gap after it, in points.
    pub(super) fn lengths(self) -> Option<[f64; 2]> {
        match self {
            Dash::Solid => None,
            Dash::Dashed => Some([3.5, 1.5]),
            Dash::Dotted => Some([0.8, 1.6]),
        }
    }
}

/// A line's looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Its colour.
    pub color: Color,
    /// Its width in points.
    pub width: f64,
    /// How it is broken.
    pub dash: Dash,
}

impl Stroke {
    /// An unbroken line.
    pub fn solid(color: Color, width: f64) -> Stroke {
        Stroke { color, width, dash: Dash::Solid }
    }

    /// A dashed line.
    pub fn dashed(color: Color, width: f64) -> Stroke {
        Stroke { color, width, dash: Dash::Dashed }
    }
}

/// A shape's looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Paint {
    /// Colour inside, and how opaque it is.
    pub fill: Option<(Color, f64)>,
    /// The line around.
    pub stroke: Option<Stroke>,
}

impl Paint {
    /// Filled, without a line.
    pub fn fill(color: Color) -> Paint {
        Paint { fill: Some((color, 1.0)), stroke: None }
    }

    /// A line alone.
    pub fn stroke(stroke: Stroke) -> Paint {
        Paint { fill: None, stroke: Some(stroke) }
    }
}

/// Which end of a text lies where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A text's looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextStyle {
    /// Font size in points.
    pub size: f64,
    /// Whether it is bold.
    pub bold: bool,
    /// Which end lies where it is put.
    pub anchor: Anchor,
    /// Whether it is read from below.
    pub upright: bool,
    /// Its colour.
    pub color: Color,
}

impl TextStyle {
    /// Plain black text.
    pub fn new(size: f64, anchor: Anchor) -> TextStyle {
        TextStyle { size, bold: false, anchor, upright: false, color: Color::BLACK }
    }
}

/// A page that is drawn on.
#[derive(Clone, Debug)]
pub struct Canvas {
    pub(super) width_mm: f64,
    pub(super) height_mm: f64,
    /// Points above the drawing that a mark takes; none without one.
    pub(super) head: f64,
    body: Vec<Element>,
}

/// What is drawn, in hundredths of a point as the SVG says it.
#[derive(Clone, Debug)]
pub(super) enum Element {
    Shape(Outline, Paint),
    Text {
        at: (f64, f64),
        text: String,
        style: TextStyle,
    },
    /// What is drawn together.
    Group(Vec<Element>),
    /// What is drawn in a rectangle, and cut by it or not.
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
    /// An empty page of this size.
    pub fn new(width_mm: f64, height_mm: f64) -> Canvas {
        Canvas { width_mm, height_mm, head: 0.0, body: Vec::new() }
    }

    /// The whole page, in points.
    pub fn area(&self) -> Rect {
        Rect { x: 0.0, y: 0.0, width: self.width_mm * POINTS_PER_MM, height: self.height_mm * POINTS_PER_MM }
    }

    /// What is drawn, first to last.
    pub(super) fn elements(&self) -> &[Element] {
        &self.body
    }

    /// The page with what is above the drawing, from whose upper left corner points are counted.
    pub(super) fn page(&self) -> Rect {
        let area = self.area();
        Rect { y: 0.0 - self.head, height: area.height + self.head, ..area }
    }

    /// Writes a line above the drawing, which stays as it is.
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

    /// Draws lines through points, each list a line of its own.
    pub fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a [(f64, f64)]>, stroke: Stroke) {
        let lines = paths(lines);
        if !lines.is_empty() {
            self.body.push(Element::Shape(Outline::Lines(lines), Paint::stroke(stroke)));
        }
    }

    /// Draws the areas inside lines, as one: where two meet, nothing shines through.
    pub fn polygons<'a>(&mut self, polygons: impl IntoIterator<Item = &'a [(f64, f64)]>, paint: &Paint) {
        let polygons = paths(polygons);
        if !polygons.is_empty() {
            self.body.push(Element::Shape(Outline::Polygons(polygons), *paint));
        }
    }

    /// Writes one line of text; (x, y) is on its base line. `_{…}` and `^{…}` set parts lower and higher.
    pub fn text(&mut self, at: (f64, f64), text: &str, style: TextStyle) {
        self.body.push(Element::Text { at: point(at), text: text.to_owned(), style });
    }

    /// Draws something together.
    pub fn group(&mut self, draw: impl FnOnce(&mut Canvas)) {
        let inside = self.inside(draw);
        self.body.push(Element::Group(inside));
    }

    /// Draws something in a rectangle, whose upper left corner points are counted from. What lies outside is
    /// not seen if it is cut.
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

/// Lines through points, without empty ones.
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

/// A number of points as it stands in the SVG.
pub(super) fn rounded(value: f64) -> f64 {
    number(value).parse().expect("a number as it is written")
}

/// A number of points to a hundredth, as short as it can be written.
pub(super) fn number(value: f64) -> String {
    // What is not finite has no place; it is kept off the page.
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
