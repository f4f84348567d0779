//! Renders pages as PNG.

use tiny_skia::{FillRule, LineJoin, Mask, Path, Pixmap, StrokeDash, Transform};

use super::{MITER_LIMIT, RenderError, dashes, outlines, path};
use crate::drawing::canvas::{Canvas, Element, Outline, Paint, Stroke, TextStyle, rounded};
use crate::drawing::color::Color;
use crate::drawing::text::place;

const POINTS_PER_INCH: f64 = 72.0;
const INCHES_PER_METRE: f32 = 1.0 / 0.0254;

/// Renders the page as a PNG with this many dots per inch of print. The PNG states its resolution.
pub fn png(canvas: &Canvas, dots_per_inch: f32) -> Result<Vec<u8>, RenderError> {
    /// Most pixels along a side.
    const LARGEST: f64 = 30_000.0;
    let wrong = || RenderError::Resolution(dots_per_inch);
    if !(dots_per_inch.is_finite() && dots_per_inch > 0.0) {
        return Err(wrong());
    }
    let page = canvas.page();
    let scale = f64::from(dots_per_inch) / POINTS_PER_INCH;
    let [width, height] = [page.width, page.height].map(|side| (side * scale).round().max(1.0));
    if width > LARGEST || height > LARGEST {
        return Err(wrong());
    }
    let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(wrong)?;
    pixmap.fill(tiny_skia::Color::WHITE);
    let fit = Transform::from_scale((width / page.width) as f32, (height / page.height) as f32);
    let to_pixels = fit.pre_translate(0.0, -page.y as f32);
    PixelCanvas { pixmap: &mut pixmap, mask: None, to_pixels }.draw(canvas.elements());

    let opaque: Vec<u8> =
        pixmap.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, pixmap.width(), pixmap.height());
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    let per_metre = (dots_per_inch * INCHES_PER_METRE).round() as u32;
    encoder.set_pixel_dims(Some(::png::PixelDimensions {
        xppu: per_metre,
        yppu: per_metre,
        unit: ::png::Unit::Meter,
    }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&opaque)?;
    writer.finish()?;
    Ok(bytes)
}

/// Returns the rotation of a text at this position.
pub(super) fn turn((x, y): (f64, f64), style: &TextStyle) -> Transform {
    if !style.upright {
        return Transform::identity();
    }
    // A quarter turn counterclockwise around (x, y), without the rounding errors of a sine.
    let (x, y) = (x as f32, y as f32);
    Transform::from_row(0.0, -1.0, 1.0, 0.0, x - y, y + x)
}

/// The picture, and where to draw in it.
struct PixelCanvas<'a> {
    pixmap: &'a mut Pixmap,
    /// The visible part; `None` if everything is visible.
    mask: Option<Mask>,
    to_pixels: Transform,
}

impl PixelCanvas<'_> {
    fn draw(&mut self, elements: &[Element]) {
        for element in elements {
            match element {
                Element::Shape(outline, paint) => self.shape(outline, paint),
                Element::Text { at, text, style } => {
                    let turned = self.to_pixels.pre_concat(turn(*at, style));
                    for letters in place(text, style) {
                        if let Some(path) = outlines(&letters, style, *at) {
                            self.fill(&path, style.color, 1.0, turned);
                        }
                    }
                }
                Element::Group(inside) => self.draw(inside),
                Element::Frame { rect, is_cut, inside } => {
                    let edge = is_cut.then(|| path(&Outline::Rect(*rect))).flatten();
                    let mask = match edge {
                        Some(edge) => self.cut(&edge),
                        None => self.mask.clone(),
                    };
                    let to_pixels = self.to_pixels.pre_translate(rect.x as f32, rect.y as f32);
                    PixelCanvas { pixmap: &mut *self.pixmap, mask, to_pixels }.draw(inside);
                }
            }
        }
    }

    /// Returns the visible part inside an edge.
    fn cut(&self, edge: &Path) -> Option<Mask> {
        if let Some(mask) = &self.mask {
            let mut mask = mask.clone();
            mask.intersect_path(edge, FillRule::Winding, true, self.to_pixels);
            return Some(mask);
        }
        let mut mask = Mask::new(self.pixmap.width(), self.pixmap.height())?;
        mask.fill_path(edge, FillRule::Winding, true, self.to_pixels);
        Some(mask)
    }

    fn shape(&mut self, outline: &Outline, paint: &Paint) {
        let Some(path) = path(outline) else { return };
        if let Some((color, opacity)) = paint.fill {
            self.fill(&path, color, rounded(opacity), self.to_pixels);
        }
        if let Some(stroke) = &paint.stroke {
            let join = if matches!(outline, Outline::Lines(_)) { LineJoin::Round } else { LineJoin::Miter };
            let line = line(stroke, join);
            let mask = self.mask.as_ref();
            self.pixmap.stroke_path(&path, &ink(stroke.color, 1.0), &line, self.to_pixels, mask);
        }
    }

    fn fill(&mut self, path: &Path, color: Color, opacity: f64, to_pixels: Transform) {
        let paint = ink(color, opacity);
        self.pixmap.fill_path(path, &paint, FillRule::Winding, to_pixels, self.mask.as_ref());
    }
}

fn ink(color: Color, opacity: f64) -> tiny_skia::Paint<'static> {
    let mut paint = tiny_skia::Paint::default();
    paint.set_color_rgba8(color.red, color.green, color.blue, (opacity * 255.0).round() as u8);
    paint
}

fn line(stroke: &Stroke, line_join: LineJoin) -> tiny_skia::Stroke {
    tiny_skia::Stroke {
        width: rounded(stroke.width) as f32,
        miter_limit: MITER_LIMIT,
        line_join,
        dash: dashes(stroke).and_then(|lengths| StrokeDash::new(lengths, 0.0)),
        ..tiny_skia::Stroke::default()
    }
}
