//! Renders pages as SVG, PDF and PNG, with no fonts but those of the program.

mod pdf;
mod png;
mod svg;

use tiny_skia::{Path, PathBuilder};

use super::canvas::Outline;
#[cfg(test)]
use super::canvas::{Canvas, Element};
use super::canvas::{Stroke, TextStyle};
use super::font::Face;
use super::text::Letters;
pub(super) use pdf::compressed;
pub use pdf::pdf;
pub use png::png;

/// Limit of mitred corners in line widths, as in SVG.
const MITER_LIMIT: f32 = 4.0;

/// Why a picture cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The resolution is not a positive number, or the picture would have too many pixels.
    #[error("there cannot be a picture with {0} dots per inch")]
    Resolution(f32),
    /// The PNG cannot be encoded.
    #[error("cannot encode a PNG: {0}")]
    Png(#[from] ::png::EncodingError),
    /// The PDF cannot be written.
    #[error("cannot write a PDF: {0}")]
    Pdf(String),
}

/// Returns the lengths of dashes and gaps; `None` for a solid line.
fn dashes(stroke: &Stroke) -> Option<Vec<f32>> {
    stroke.dash.lengths().map(|lengths| lengths.map(|length| length as f32).to_vec())
}

/// Returns the path of a shape; `None` if nothing is visible.
fn path(outline: &Outline) -> Option<Path> {
    let mut path = PathBuilder::new();
    let mut lines = |lines: &[Vec<(f64, f64)>], is_closed: bool| {
        for line in lines {
            for (i, &(x, y)) in line.iter().enumerate() {
                let (x, y) = (x as f32, y as f32);
                if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
            }
            if is_closed {
                path.close();
            }
        }
    };
    match outline {
        Outline::Lines(given) => lines(given, false),
        Outline::Polygons(given) => lines(given, true),
        Outline::Rect(rect) if rect.width > 0.0 && rect.height > 0.0 => {
            let (x, y, right, bottom) = (rect.x, rect.y, rect.right(), rect.bottom());
            lines(&[vec![(x, y), (right, y), (right, bottom), (x, bottom)]], true);
        }
        Outline::Circle { center: (x, y), radius } if *radius > 0.0 => {
            let [x, y, r] = [*x, *y, *radius].map(|value| value as f32);
            // Distance of a quarter circle's control points from its ends, for radius 1.
            let c = r * 0.552_284_8;
            path.move_to(x + r, y);
            path.cubic_to(x + r, y + c, x + c, y + r, x, y + r);
            path.cubic_to(x - c, y + r, x - r, y + c, x - r, y);
            path.cubic_to(x - r, y - c, x - c, y - r, x, y - r);
            path.cubic_to(x + c, y - r, x + r, y - c, x + r, y);
            path.close();
        }
        Outline::Rect(_) | Outline::Circle { .. } => {}
    }
    path.finish()
}

/// Returns the outlines of letters at the position of their text, before it is turned.
fn outlines(letters: &Letters, style: &TextStyle, (x, y): (f64, f64)) -> Option<Path> {
    let face = Face::of(style.bold);
    let mut path = PathBuilder::new();
    let (mut x, y) = (x + letters.at.0, y + letters.at.1);
    for (glyph, advance, _) in &letters.glyphs {
        face.draw(*glyph, (x, y), letters.size, &mut path);
        x += advance * letters.size;
    }
    path.finish()
}

/// Returns each text of a page, with the bounds of its ink: left, top, right and bottom, in points.
#[cfg(test)]
pub(crate) fn text_boxes(canvas: &Canvas) -> Vec<(String, [f32; 4])> {
    fn collect(elements: &[Element], (left, top): (f64, f64), found: &mut Vec<(String, [f32; 4])>) {
        for element in elements {
            match element {
                Element::Shape(..) => {}
                Element::Text { at, text, style } => {
                    let placed = super::text::place(text, style);
                    let says = placed.iter().map(|letters| letters.text.as_str()).collect();
                    let at = (at.0 + left, at.1 + top);
                    let outlines = placed.iter().filter_map(|letters| outlines(letters, style, at));
                    let turned = outlines.filter_map(|path| path.transform(png::turn(at, style)));
                    let boxes = turned.map(|path| path.bounds());
                    let ink = boxes.map(|ink| [ink.left(), ink.top(), ink.right(), ink.bottom()]);
                    let both = |[l, t, r, b]: [f32; 4], other: [f32; 4]| {
                        [l.min(other[0]), t.min(other[1]), r.max(other[2]), b.max(other[3])]
                    };
                    found.extend(ink.reduce(both).map(|ink| (says, ink)));
                }
                Element::Group(inside) => collect(inside, (left, top), found),
                Element::Frame { rect, inside, .. } => {
                    collect(inside, (left + rect.x, top + rect.y), found);
                }
            }
        }
    }
    let mut found = Vec::new();
    collect(canvas.elements(), (0.0, 0.0), &mut found);
    found
}

/// Asserts that texts neither overlap nor extend beyond the page.
#[cfg(test)]
pub(crate) fn check_layout(canvas: &Canvas, name: &str) {
    let page = canvas.page();
    let [x, y, end, bottom] = [page.x, page.y, page.right(), page.bottom()].map(|side| side as f32);
    let boxes = text_boxes(canvas);
    assert!(boxes.len() > 5, "{name}");
    for (i, (text, [left, top, right, below])) in boxes.iter().enumerate() {
        let place = format!("{name}: {text:?}");
        assert!(*left >= x && *top >= y && *right <= end && *below <= bottom, "{place} is cut");
        for (other, [l, t, r, b]) in &boxes[..i] {
            // 0.375 points are an eighth of a millimetre.
            let apart = (left - r).max(l - right).max(top - b).max(t - below);
            assert!(apart > 0.375, "{place} meets {other:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::{Anchor, Canvas, Color, Dash, Paint, Rect, TextStyle, text_width};

    fn page() -> Canvas {
        let mut canvas = Canvas::new(85.0, 20.0);
        canvas.text((10.0, 20.0), "Width −1 µ", TextStyle::new(10.0, Anchor::Start));
        canvas
    }

    #[test]
    fn text_is_as_wide_as_it_is_taken_to_be() {
        let [(says, [left, _, right, _])] = &text_boxes(&page())[..] else { panic!() };
        assert_eq!(says, "Width −1 µ");
        let points = f64::from(right - left);
        // The ink ends before the last letter's advance does.
        let expected = text_width(says, 10.0, false);
        assert!(points <= expected && points > expected - 2.0, "{points}, {expected}");
    }

    #[test]
    fn a_png_is_as_large_as_its_page_at_this_resolution() {
        let bytes = png(&page(), 300.0).expect("a picture");
        let reader = ::png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().expect("a PNG");
        let info = reader.info();
        assert_eq!((info.width, info.height), (1004, 236));
        assert_eq!(info.pixel_dims.expect("a size").xppu, 11811);
        for wrong in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e7] {
            assert!(matches!(png(&page(), wrong), Err(RenderError::Resolution(_))), "{wrong}");
        }
    }

    #[test]
    fn a_pdf_has_text_fonts_and_no_date() {
        let bytes = pdf(&page(), "a title", "a description").expect("a PDF");
        assert!(bytes.starts_with(b"%PDF-"));
        let has = |what: &str| bytes.windows(what.len()).any(|window| window == what.as_bytes());
        assert!(has("NotoSans") && has("/FontFile") && has("a description"));
        assert!(!has("CreationDate") && !has("ModDate"));
    }

    /// Returns a function from (x, y) to the colour of a picture with one pixel per point.
    fn pixels(canvas: &Canvas) -> impl Fn(usize, usize) -> [u8; 3] {
        let bytes = png(canvas, 72.0).expect("a picture");
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let width = reader.next_frame(&mut pixels).expect("pixels").width as usize;
        move |x, y| pixels[3 * (y * width + x)..][..3].try_into().expect("three")
    }

    #[test]
    fn shapes_are_where_they_are_put() {
        let square = |at| Rect { x: at, y: at, width: 20.0, height: 20.0 };
        let (red, blue, white) = (Color::rgb(200, 0, 0), Color::rgb(0, 0, 200), [255, 255, 255]);
        // The page measures two inches, so points are whole pixels.
        let mut canvas = Canvas::new(50.8, 50.8);
        canvas.rect(square(10.0), &Paint::fill(red));
        let half = Paint { fill: Some((blue, 0.5)), stroke: None };
        canvas.circle((60.0, 20.0), 10.0, &half);
        for (cut, y) in [(true, 40.0), (false, 70.0)] {
            let frame = Rect { x: 10.0, y, width: 10.0, height: 10.0 };
            canvas.frame(frame, cut, |canvas| canvas.rect(square(5.0), &Paint::fill(blue)));
        }
        let line = [(40.0, 50.5), (100.0, 50.5)];
        canvas.lines([&line[..]], Stroke { color: red, width: 3.0, dash: Dash::Dashed });
        canvas.polygons([&[(50.0, 60.0), (70.0, 60.0), (60.0, 80.0)][..]], &Paint::fill(red));
        let nothing = Rect { x: 90.0, y: 90.0, width: 0.0, height: 10.0 };
        canvas.rect(nothing, &Paint::stroke(Stroke::solid(red, 2.0)));
        let at = pixels(&canvas);
        let (red, blue) = ([200, 0, 0], [0, 0, 200]);
        assert_eq!([at(9, 15), at(10, 10), at(29, 29), at(30, 15)], [white, red, red, white]);
        assert_eq!([at(60, 20), at(51, 11), at(60, 31)], [[127, 127, 227], white, white]);
        assert_eq!([at(14, 46), at(16, 46), at(16, 51), at(21, 46)], [white, blue, white, white]);
        assert_eq!([at(14, 76), at(16, 76), at(16, 81), at(31, 76)], [white, blue, blue, blue]);
        assert_eq!([at(41, 50), at(44, 50), at(46, 50), at(50, 50)], [red, white, red, red]);
        assert_eq!([at(60, 70), at(51, 70), at(60, 81), at(90, 95)], [red, white, white, white]);
    }

    #[test]
    fn text_stands_on_its_line_and_is_turned() {
        let mut canvas = Canvas::new(50.8, 50.8);
        canvas.mark("a mark");
        canvas.text((50.0, 50.0), "−", TextStyle::new(40.0, Anchor::Middle));
        let upright = TextStyle { upright: true, ..TextStyle::new(40.0, Anchor::Middle) };
        canvas.text((100.0, 50.0), "−", upright);
        let [(_, mark), (_, flat), (_, turned)] = &text_boxes(&canvas)[..] else { panic!() };
        assert!(mark[1] > -16.0 && mark[3] < 0.0, "{mark:?}");
        let [left, top, right, bottom] = flat;
        assert!(left + right - 100.0 < 0.1 && *top > 30.0 && *bottom < 50.0, "{flat:?}");
        // After a quarter turn counterclockwise, the top is at the left.
        assert!((turned[0] - (100.0 - (50.0 - top))).abs() < 0.01, "{turned:?}");
        assert!((turned[1] + turned[3] - 100.0).abs() < 0.1 && turned[3] - turned[1] == right - left);
        let at = pixels(&canvas);
        let middle = |box_: &[f32; 4]| {
            at(((box_[0] + box_[2]) / 2.0) as usize, ((box_[1] + box_[3]) / 2.0 + 16.0) as usize)
        };
        assert_eq!([middle(flat), middle(turned)], [[0; 3]; 2]);
    }
}
