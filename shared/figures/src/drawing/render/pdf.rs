//! Pages as PDF.

use std::sync::LazyLock;

use krilla::color::{luma, rgb};
use krilla::geom::{PathBuilder, Point, Size, Transform};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule, LineJoin, StrokeDash};
use krilla::surface::Surface;
use krilla::tagging::{ContentTag, Tag, TagGroup, TagTree};
use krilla::text::{Font, GlyphId, KrillaGlyph};
use tiny_skia::PathSegment;

use super::{MITER_LIMIT, RenderError, dashes};
use crate::drawing::canvas::{Canvas, Element, Outline, Paint, Stroke, TextStyle, rounded};
use crate::drawing::color::Color;
use crate::drawing::font::FONTS;
use crate::drawing::text::place;

static EMBEDDED: LazyLock<[Font; 2]> =
    LazyLock::new(|| FONTS.map(|font| Font::new(font.into(), 0).expect("a font")));

/// The page as a PDF of lines and text with embedded fonts. It says in which language it is, has a title and a
/// description for screen readers, and no date.
pub fn pdf(canvas: &Canvas, title: &str, description: &str) -> Result<Vec<u8>, RenderError> {
    let area = canvas.page();
    let size = Size::from_wh(area.width as f32, area.height as f32);
    let size = size.ok_or_else(|| RenderError::Pdf("the page has no size".to_owned()))?;

    let mut document = krilla::Document::new();
    document.set_metadata(Metadata::new().title(title.to_owned()).language("en".to_owned()));
    let mut page = document.start_page_with(PageSettings::new(size));
    let mut surface = page.surface();
    let content = surface.start_tagged(ContentTag::Other);
    surface.push_transform(&Transform::from_translate(0.0, -area.y as f32));
    shape(&mut surface, &Outline::Rect(area), &Paint::fill(Color::WHITE));
    draw(&mut surface, canvas.elements());
    surface.pop();
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

fn draw(surface: &mut Surface<'_>, elements: &[Element]) {
    for element in elements {
        match element {
            Element::Shape(outline, paint) => shape(surface, outline, paint),
            Element::Text { at, text, style } => write(surface, *at, text, style),
            Element::Group(inside) => draw(surface, inside),
            Element::Frame { rect, is_cut, inside } => {
                let edge = is_cut.then(|| path(&Outline::Rect(*rect))).flatten();
                if let Some(edge) = &edge {
                    surface.push_clip_path(edge, &FillRule::NonZero);
                }
                surface.push_transform(&Transform::from_translate(rect.x as f32, rect.y as f32));
                draw(surface, inside);
                surface.pop();
                if edge.is_some() {
                    surface.pop();
                }
            }
        }
    }
}

fn shape(surface: &mut Surface<'_>, outline: &Outline, paint: &Paint) {
    let fill = paint.fill.map(|(color, opacity)| Fill {
        opacity: NormalizedF32::new(rounded(opacity) as f32).unwrap_or(NormalizedF32::ONE),
        ..filled(color)
    });
    let stroke = paint.stroke.as_ref().map(|stroke| line(stroke, outline));
    // Without either, krilla would fill it.
    if (fill.is_some() || stroke.is_some())
        && let Some(path) = path(outline)
    {
        surface.set_fill(fill);
        surface.set_stroke(stroke);
        surface.draw_path(&path);
    }
}

/// Writes text as text, a part after the other.
fn write(surface: &mut Surface<'_>, (x, y): (f64, f64), text: &str, style: &TextStyle) {
    surface.push_transform(&Transform::from_translate(x as f32, y as f32));
    if style.upright {
        surface.push_transform(&Transform::from_row(0.0, -1.0, 1.0, 0.0, 0.0, 0.0));
    }
    surface.set_fill(Some(filled(style.color)));
    surface.set_stroke(None);
    for letters in place(text, style) {
        let glyphs: Vec<KrillaGlyph> = letters
            .glyphs
            .into_iter()
            .map(|(glyph, advance, range)| {
                KrillaGlyph::new(GlyphId::new(glyph.to_u32()), advance as f32, 0.0, 0.0, 0.0, range, None)
            })
            .collect();
        let start = Point::from_xy(letters.at.0 as f32, letters.at.1 as f32);
        let font = EMBEDDED[usize::from(style.bold)].clone();
        surface.draw_glyphs(start, &glyphs, font, &letters.text, letters.size as f32, false);
    }
    if style.upright {
        surface.pop();
    }
    surface.pop();
}

fn ink(color: Color) -> krilla::paint::Paint {
    let Color { red, green, blue } = color;
    if red == green && green == blue {
        luma::Color::new(red).into()
    } else {
        rgb::Color::new(red, green, blue).into()
    }
}

fn filled(color: Color) -> Fill {
    Fill { paint: ink(color), opacity: NormalizedF32::ONE, rule: FillRule::NonZero }
}

fn line(stroke: &Stroke, outline: &Outline) -> krilla::paint::Stroke {
    krilla::paint::Stroke {
        paint: ink(stroke.color),
        width: rounded(stroke.width) as f32,
        miter_limit: MITER_LIMIT,
        line_join: if matches!(outline, Outline::Lines(_)) { LineJoin::Round } else { LineJoin::Miter },
        dash: dashes(stroke).map(|array| StrokeDash { array, offset: 0.0 }),
        ..krilla::paint::Stroke::default()
    }
}

fn path(outline: &Outline) -> Option<krilla::geom::Path> {
    let mut path = PathBuilder::new();
    for segment in super::path(outline)?.segments() {
        match segment {
            PathSegment::MoveTo(to) => path.move_to(to.x, to.y),
            PathSegment::LineTo(to) => path.line_to(to.x, to.y),
            PathSegment::QuadTo(by, to) => path.quad_to(by.x, by.y, to.x, to.y),
            PathSegment::CubicTo(by, and, to) => path.cubic_to(by.x, by.y, and.x, and.y, to.x, to.y),
            PathSegment::Close => path.close(),
        }
    }
    path.finish()
}
