//! Renders pages as SVG.

use std::fmt::Write;

use crate::drawing::canvas::{
    Anchor, Canvas, Element, Outline, POINTS_PER_MM, Paint, Rect, Stroke, TextStyle, number,
};
use crate::drawing::color::Color;
use crate::drawing::text::{FAMILIES, printable, set};

impl Canvas {
    /// Renders the page as an SVG document, with its title and a description for readers who cannot see it.
    /// It has no ids and no style sheet, so it may occur several times in one HTML page.
    pub fn svg(&self, title: &str, description: &str) -> String {
        let area = self.area();
        let (width, height) = (number(area.width), number(area.height + self.head));
        let top = number(0.0 - self.head);
        let y = if self.head > 0.0 { format!(" y=\"{top}\"") } else { String::new() };
        let mut body = String::new();
        self.elements().iter().for_each(|element| element.write(&mut body, 0));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}mm\" height=\"{}mm\" viewBox=\"0 {top} {width} {height}\" \
             role=\"img\" aria-label=\"{label}\" font-family=\"{FAMILIES}\">\n\
             <title>{}</title>\n<desc>{label}</desc>\n\
             <rect{y} width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            number(self.width_mm),
            number(self.height_mm + self.head / POINTS_PER_MM),
            escaped(title),
            body,
            label = escaped(description),
        )
    }
}

impl Element {
    /// Writes the element as SVG, indented for its depth in others.
    fn write(&self, svg: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        // Writing to a string cannot fail.
        let _ = match self {
            Element::Shape(outline, paint) => {
                let (shape, paint) = (outline.svg(), paint.attributes());
                let join =
                    if matches!(outline, Outline::Lines(_)) { " stroke-linejoin=\"round\"" } else { "" };
                writeln!(svg, "{indent}<{shape}{paint}{join}/>")
            }
            Element::Text { at, text, style } => {
                let (attributes, content) = (style.attributes(*at), content(text, style.size));
                writeln!(svg, "{indent}<text{attributes}>{content}</text>")
            }
            Element::Group(inside) => {
                let _ = writeln!(svg, "{indent}<g>");
                inside.iter().for_each(|element| element.write(svg, depth + 1));
                writeln!(svg, "{indent}</g>")
            }
            Element::Frame { rect, is_cut, inside } => {
                let overflow = if *is_cut { "hidden" } else { "visible" };
                let _ = writeln!(svg, "{indent}<svg {} overflow=\"{overflow}\">", rect.attributes());
                inside.iter().for_each(|element| element.write(svg, depth + 1));
                writeln!(svg, "{indent}</svg>")
            }
        };
    }
}

impl Paint {
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
            if let Some([dash, gap]) = dash.lengths() {
                let _ = write!(text, " stroke-dasharray=\"{dash} {gap}\"");
            }
        }
        text
    }
}

impl Outline {
    /// Returns the element's name in SVG, with the attributes of its place and size.
    fn svg(&self) -> String {
        let path = |lines: &[Vec<(f64, f64)>], end: &str| {
            let mut path = "path d=\"".to_owned();
            for line in lines {
                append(&mut path, line);
                path.push_str(end);
            }
            path.push('"');
            path
        };
        match self {
            Outline::Rect(rect) => format!("rect {}", rect.attributes()),
            Outline::Circle { center: (x, y), radius } => {
                let [x, y, radius] = [*x, *y, *radius].map(number);
                format!("circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"")
            }
            Outline::Lines(lines) => path(lines, ""),
            Outline::Polygons(polygons) => path(polygons, "Z"),
        }
    }
}

impl Rect {
    fn attributes(&self) -> String {
        let [x, y, width, height] = [self.x, self.y, self.width, self.height].map(number);
        format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"")
    }
}

impl TextStyle {
    fn attributes(&self, (x, y): (f64, f64)) -> String {
        let [x, y] = [x, y].map(number);
        let mut attributes = format!(" x=\"{x}\" y=\"{y}\" font-size=\"{}\"", number(self.size));
        attributes.push_str(match self.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        });
        if self.bold {
            attributes.push_str(" font-weight=\"bold\"");
        }
        if self.color != Color::BLACK {
            let _ = write!(attributes, " fill=\"{}\"", self.color);
        }
        if self.upright {
            let _ = write!(attributes, " transform=\"rotate(-90 {x} {y})\"");
        }
        attributes
    }
}

/// Returns a text with markup as SVG.
fn content(text: &str, size: f64) -> String {
    let mut content = String::new();
    for run in set(text, size) {
        let escaped = escaped(run.text);
        if run.is_base && run.down == 0.0 {
            content.push_str(&escaped);
        } else {
            let (dy, size) = (number(run.down), number(run.size));
            let _ = write!(content, "<tspan dy=\"{dy}\" font-size=\"{size}\">{escaped}</tspan>");
        }
    }
    content
}

/// Appends a line through points to the data of a path.
fn append(path: &mut String, points: &[(f64, f64)]) {
    for (i, &(x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, number(x), number(y));
    }
}

/// Escapes text for XML. Characters that XML does not allow are replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(printable(c)),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

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
