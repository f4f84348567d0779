//! From SVG to PDF and PNG, with the fonts that come along and no others.

use std::sync::{Arc, LazyLock};

use krilla::geom::Size;
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::tagging::{ContentTag, Tag, TagGroup, TagTree};
use krilla_svg::{SurfaceExt, SvgSettings};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Tree, fontdb};

use super::text::FONTS;

/// CSS pixels in an inch, the unit of a parsed SVG.
const PIXELS_PER_INCH: f32 = 96.0;
const POINTS_PER_INCH: f32 = 72.0;
const INCHES_PER_METRE: f32 = 1.0 / 0.0254;

static FONT_DATABASE: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut database = fontdb::Database::new();
    for font in FONTS {
        database.load_font_source(fontdb::Source::Binary(Arc::new(font)));
    }
    Arc::new(database)
});

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The SVG is none, or says something that cannot be drawn.
    #[error("the drawing is no valid SVG: {0}")]
    Svg(#[from] usvg::Error),
    /// The resolution is not a positive number, or would take more pixels than there is memory for.
    #[error("there cannot be a picture with {0} dots per inch")]
    Resolution(f32),
    /// The PNG could not be encoded.
    #[error("cannot encode a PNG: {0}")]
    Png(#[from] png::EncodingError),
    /// The PDF could not be written.
    #[error("cannot write a PDF: {0}")]
    Pdf(String),
}

/// Parses an SVG, with text as text.
pub(super) fn parse(svg: &str) -> Result<Tree, RenderError> {
    let options = usvg::Options { fontdb: Arc::clone(&FONT_DATABASE), ..usvg::Options::default() };
    Ok(Tree::from_str(svg, &options)?)
}

/// The SVG as a PDF of one page, of lines and text with embedded fonts. It says in which language it is, has a
/// title and a description for screen readers, and no date.
pub fn pdf(svg: &str, title: &str, description: &str) -> Result<Vec<u8>, RenderError> {
    let tree = parse(svg)?;
    let points = POINTS_PER_INCH / PIXELS_PER_INCH;
    let (width, height) = (tree.size().width() * points, tree.size().height() * points);
    let failed = |what: &str| RenderError::Pdf(what.to_owned());
    let size = Size::from_wh(width, height).ok_or_else(|| failed("the page has no size"))?;

    let mut document = krilla::Document::new();
    document.set_metadata(Metadata::new().title(title.to_owned()).language("en".to_owned()));
    let mut page = document.start_page_with(PageSettings::new(size));
    let mut surface = page.surface();
    let content = surface.start_tagged(ContentTag::Other);
    surface
        .draw_svg(&tree, size, SvgSettings::default())
        .ok_or_else(|| failed("the drawing was not taken"))?;
    surface.end_tagged();
    surface.finish();
    page.finish();
    let mut figure = TagGroup::new(Tag::Figure(Some(description.to_owned())));
    figure.push(content);
    let mut tags = TagTree::new();
    tags.push(figure);
    document.set_tag_tree(tags);
    document.finish().map_err(|error| RenderError::Pdf(format!("{error:?}")))
}

/// The SVG as a PNG with this many dots per inch of print, which it says.
pub fn png(svg: &str, dots_per_inch: f32) -> Result<Vec<u8>, RenderError> {
    /// Pixels of a side at most.
    const LARGEST: f32 = 30_000.0;
    let wrong = || RenderError::Resolution(dots_per_inch);
    if !(dots_per_inch.is_finite() && dots_per_inch > 0.0) {
        return Err(wrong());
    }
    let tree = parse(svg)?;
    let scale = dots_per_inch / PIXELS_PER_INCH;
    let [width, height] =
        [tree.size().width(), tree.size().height()].map(|side| (side * scale).round().max(1.0));
    if width > LARGEST || height > LARGEST {
        return Err(wrong());
    }
    let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(wrong)?;
    pixmap.fill(resvg::tiny_skia::Color::WHITE);
    let fit = Transform::from_scale(width / tree.size().width(), height / tree.size().height());
    resvg::render(&tree, fit, &mut pixmap.as_mut());

    let opaque: Vec<u8> =
        pixmap.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixmap.width(), pixmap.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let per_metre = (dots_per_inch * INCHES_PER_METRE).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_metre,
        yppu: per_metre,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&opaque)?;
    writer.finish()?;
    Ok(bytes)
}

/// What each text of an SVG says, and where its ink is: left, top, right and bottom, in pixels.
#[cfg(test)]
pub(crate) fn text_boxes(svg: &str) -> Vec<(String, [f32; 4])> {
    fn collect(group: &usvg::Group, found: &mut Vec<(String, [f32; 4])>) {
        for node in group.children() {
            match node {
                usvg::Node::Group(group) => collect(group, found),
                usvg::Node::Text(text) => {
                    let ink = text.flattened().bounding_box().transform(text.abs_transform()).expect("a box");
                    let says = text.chunks().iter().map(usvg::TextChunk::text).collect();
                    found.push((says, [ink.left(), ink.top(), ink.right(), ink.bottom()]));
                }
                usvg::Node::Path(_) | usvg::Node::Image(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    collect(parse(svg).expect("an SVG").root(), &mut found);
    found
}

/// Expects that no text meets another, or is cut by the edge of the page.
#[cfg(test)]
pub(crate) fn check_layout(svg: &str, name: &str) {
    let document = roxmltree::Document::parse(svg).expect("XML");
    let mm = |name: &str| {
        let value = document.root_element().attribute(name).and_then(|value| value.strip_suffix("mm"));
        value.and_then(|value| value.parse::<f32>().ok()).expect("a size") / 25.4 * 96.0
    };
    let (width, height) = (mm("width"), mm("height"));
    let boxes = text_boxes(svg);
    assert!(boxes.len() > 5, "{name}");
    for (i, (text, [left, top, right, bottom])) in boxes.iter().enumerate() {
        let place = format!("{name}: {text:?}");
        assert!(*left >= 0.0 && *top >= 0.0 && *right <= width && *bottom <= height, "{place} is cut");
        for (other, [l, t, r, b]) in &boxes[..i] {
            // Two pixels are half a millimetre.
            let apart = (left - r).max(l - right).max(top - b).max(t - bottom);
            assert!(apart > 0.5, "{place} meets {other:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::{Anchor, Canvas, TextStyle, text_width};

    fn svg() -> String {
        let mut canvas = Canvas::new(85.0, 20.0);
        canvas.text((10.0, 20.0), "Width −1 µ", TextStyle::new(10.0, Anchor::Start));
        canvas.svg("a title", "a description")
    }

    #[test]
    fn text_is_as_wide_as_it_is_taken_to_be() {
        let [(says, [left, _, right, _])] = &text_boxes(&svg())[..] else { panic!() };
        assert_eq!(says, "Width −1 µ");
        let points = f64::from(right - left) * 0.75;
        // Ink ends before the last letter's advance.
        let expected = text_width(says, 10.0, false);
        assert!(points <= expected && points > expected - 2.0, "{points}, {expected}");
    }

    #[test]
    fn a_png_is_as_large_as_its_page_at_this_resolution() {
        let bytes = png(&svg(), 300.0).expect("a picture");
        let reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().expect("a PNG");
        let info = reader.info();
        assert_eq!((info.width, info.height), (1004, 236));
        assert_eq!(info.pixel_dims.expect("a size").xppu, 11811);
        for wrong in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e7] {
            assert!(matches!(png(&svg(), wrong), Err(RenderError::Resolution(_))), "{wrong}");
        }
        assert!(matches!(png("<svg", 96.0), Err(RenderError::Svg(_))));
    }

    #[test]
    fn a_pdf_has_text_fonts_and_no_date() {
        let bytes = pdf(&svg(), "a title", "a description").expect("a PDF");
        assert!(bytes.starts_with(b"%PDF-"));
        let has = |what: &str| bytes.windows(what.len()).any(|window| window == what.as_bytes());
        assert!(has("NotoSans") && has("/FontFile") && has("a description"));
        assert!(!has("CreationDate") && !has("ModDate"));
    }
}
