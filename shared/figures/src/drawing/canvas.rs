//! The page: shapes and text, in points from the upper left corner, written down as SVG.

use std::fmt::Write;

use super::color::Color;
use super::text::{FAMILIES, Level, SMALLER, runs};

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

    fn attributes(&self) -> String {
        let mut text = match self.fill {
            None => " fill=\"none\"".to_owned(),
            Some((color, opacity)) if opacity < 1.0 => {
                format!(" fill=\"{color}\" fill-opacity=\"{}\"", number(opacity))
            }
            Some((color, _)) => format!(" fill=\"{color}\""),
        };
        if let Some(Stroke { color, width, dash }) = self.stroke {
            let _ = write!(text, " stroke=\"{color}\" stroke-width=\"{}\"", number(width));
            text.push_str(match dash {
                Dash::Solid => "",
                Dash::Dashed => " stroke-dasharray=\"3.5 1.5\"",
                Dash::Dotted => " stroke-dasharray=\"0.8 1.6\"",
            });
        }
        text
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
    width_mm: f64,
    height_mm: f64,
    /// Points above the drawing that a mark takes; none without one.
    head: f64,
    body: String,
    depth: usize,
}

impl Canvas {
    /// An empty page of this size.
    pub fn new(width_mm: f64, height_mm: f64) -> Canvas {
        Canvas { width_mm, height_mm, head: 0.0, body: String::new(), depth: 1 }
    }

    /// The whole page, in points.
    pub fn area(&self) -> Rect {
        Rect { x: 0.0, y: 0.0, width: self.width_mm * POINTS_PER_MM, height: self.height_mm * POINTS_PER_MM }
    }

    /// The page as an SVG document, with its title and a description for those who cannot see it. It has no
    /// ids and no style sheet, so that it can stand in a page of HTML as often as one likes.
    pub fn svg(&self, title: &str, description: &str) -> String {
        let area = self.area();
        let (width, height) = (number(area.width), number(area.height + self.head));
        let top = number(0.0 - self.head);
        let y = if self.head > 0.0 { format!(" y=\"{top}\"") } else { String::new() };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}mm\" height=\"{}mm\" viewBox=\"0 {top} {width} {height}\" \
             role=\"img\" aria-label=\"{label}\" font-family=\"{FAMILIES}\">\n\
             <title>{}</title>\n<desc>{label}</desc>\n\
             <rect{y} width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            number(self.width_mm),
            number(self.height_mm + self.head / POINTS_PER_MM),
            escaped(title),
            self.body,
            label = escaped(description),
        )
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
        let Rect { x, y, width, height } = rect;
        let [x, y, width, height] = [x, y, width, height].map(number);
        self.element(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{}/>",
            paint.attributes()
        ));
    }

    /// Draws a disc or a ring.
    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, paint: &Paint) {
        let [x, y, radius] = [x, y, radius].map(number);
        self.element(&format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"{}/>", paint.attributes()));
    }

    /// Draws lines through points, each list a line of its own.
    pub fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a [(f64, f64)]>, stroke: Stroke) {
        let mut path = String::new();
        lines.into_iter().for_each(|line| append(&mut path, line));
        if !path.is_empty() {
            let paint = Paint::stroke(stroke).attributes();
            self.element(&format!("<path d=\"{path}\"{paint} stroke-linejoin=\"round\"/>"));
        }
    }

    /// Draws the areas inside lines, as one: where two meet, nothing shines through.
    pub fn polygons<'a>(&mut self, polygons: impl IntoIterator<Item = &'a [(f64, f64)]>, paint: &Paint) {
        let mut path = String::new();
        for polygon in polygons.into_iter().filter(|polygon| !polygon.is_empty()) {
            append(&mut path, polygon);
            path.push('Z');
        }
        if !path.is_empty() {
            self.element(&format!("<path d=\"{path}\"{}/>", paint.attributes()));
        }
    }

    /// Writes one line of text; (x, y) is on its base line. `_{…}` and `^{…}` set parts lower and higher.
    pub fn text(&mut self, (x, y): (f64, f64), text: &str, style: TextStyle) {
        let [x, y] = [x, y].map(number);
        let mut attributes = format!(" x=\"{x}\" y=\"{y}\" font-size=\"{}\"", number(style.size));
        attributes.push_str(match style.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        });
        if style.bold {
            attributes.push_str(" font-weight=\"bold\"");
        }
        if style.color != Color::BLACK {
            let _ = write!(attributes, " fill=\"{}\"", style.color);
        }
        if style.upright {
            let _ = write!(attributes, " transform=\"rotate(-90 {x} {y})\"");
        }
        let mut content = String::new();
        let mut risen = 0.0;
        for (level, run) in runs(text) {
            let rise = style.size
                * match level {
                    Level::Base => 0.0,
                    Level::Lower => -0.2,
                    Level::Upper => 0.35,
                };
            if level == Level::Base && risen == 0.0 {
                content.push_str(&escaped(run));
            } else {
                let size = if level == Level::Base { style.size } else { style.size * SMALLER };
                let (dy, size) = (number(risen - rise), number(size));
                let _ = write!(content, "<tspan dy=\"{dy}\" font-size=\"{size}\">{}</tspan>", escaped(run));
            }
            risen = rise;
        }
        self.element(&format!("<text{attributes}>{content}</text>"));
    }

    /// Draws something together.
    pub fn group(&mut self, draw: impl FnOnce(&mut Canvas)) {
        self.around("<g>", "</g>", draw);
    }

    /// Draws something in a rectangle, whose upper left corner points are counted from. What lies outside is
    /// not seen if it is cut.
    pub fn frame(&mut self, rect: Rect, is_cut: bool, draw: impl FnOnce(&mut Canvas)) {
        let Rect { x, y, width, height } = rect;
        let [x, y, width, height] = [x, y, width, height].map(number);
        let overflow = if is_cut { "hidden" } else { "visible" };
        let place = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        self.around(&format!("<svg {place} overflow=\"{overflow}\">"), "</svg>", draw);
    }

    fn around(&mut self, begin: &str, end: &str, draw: impl FnOnce(&mut Canvas)) {
        self.element(begin);
        self.depth += 1;
        draw(self);
        self.depth -= 1;
        self.element(end);
    }

    fn element(&mut self, element: &str) {
        let indent = "  ".repeat(self.depth - 1);
        let _ = writeln!(self.body, "{indent}{element}");
    }
}

/// Adds a line through points to the data of a path.
fn append(path: &mut String, points: &[(f64, f64)]) {
    for (i, &(x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, number(x), number(y));
    }
}

/// A number of points to a hundredth, as short as it can be written.
fn number(value: f64) -> String {
    // What is not finite has no place; it is kept off the page.
    let value = if value.is_nan() { -1e4 } else { value.clamp(-1e4, 1e5) };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text as it stands in XML. Characters that XML does not have are replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, -0.001, 1.0, 1.5, 2.345, 100.0, -3.999, f64::NAN, f64::INFINITY].map(number);
        assert_eq!(texts, ["0", "0", "1", "1.5", "2.35", "100", "-4", "-10000", "100000"]);
    }

    #[test]
    fn any_text_is_well_formed() {
        let mut canvas = Canvas::new(50.0, 20.0);
        let nasty = "a < b & \"c\" > 'd' \u{0}\u{1b}\n_{x}^{y} µ";
        canvas.text((3.0, 4.0), nasty, TextStyle::new(7.0, Anchor::End));
        canvas.frame(canvas.area(), true, |canvas| canvas.circle((1.0, 2.0), f64::NAN, &Paint::default()));
        let svg = canvas.svg(nasty, nasty);
        let document = roxmltree::Document::parse(&svg).expect("XML");
        assert_eq!(document.root_element().attribute("width"), Some("50mm"));
        let text: String = document
            .descendants()
            .find(|node| node.has_tag_name("text"))
            .map(|node| {
                node.descendants()
                    .filter_map(|node| if node.is_text() { node.text() } else { None })
                    .collect()
            })
            .expect("text");
        assert_eq!(text, "a < b & \"c\" > 'd' \u{fffd}\u{fffd} xy µ");
    }

    #[test]
    fn lowered_text_comes_back_to_the_line() {
        let mut canvas = Canvas::new(50.0, 20.0);
        canvas.text((0.0, 0.0), "g_{E} (nS)", TextStyle::new(10.0, Anchor::Start));
        let expected =
            "g<tspan dy=\"2\" font-size=\"7.2\">E</tspan><tspan dy=\"-2\" font-size=\"10\"> (nS)</tspan>";
        assert!(canvas.svg("", "").contains(expected), "{}", canvas.svg("", ""));
    }
}
