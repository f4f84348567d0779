//! Renders pages as PDF.

use std::collections::BTreeMap;

use flate2::{Compress, Compression, FlushCompress, Status};
use pdf_writer::types::{CidFontType, FontFlags, LineJoinStyle, StructRole, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Ref, Str, TextStr};
use subsetter::GlyphRemapper;
use tiny_skia::PathSegment;

use super::{MITER_LIMIT, RenderError, dashes};
use crate::drawing::canvas::{Canvas, Element, Outline, Paint, Stroke, TextStyle, rounded};
use crate::drawing::color::Color;
use crate::drawing::font::{FONTS, Face};
use crate::drawing::text::place;

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
const INFORMATION: Ref = Ref::new(5);
const STRUCTURE: Ref = Ref::new(6);
const FIGURE: Ref = Ref::new(7);
const TAGGED: Ref = Ref::new(8);
/// The first of the five objects of each font.
const FONTS_AT: [Ref; 2] = [Ref::new(10), Ref::new(20)];

/// Names of the fonts: in the resources of the page, and of the embedded fonts.
const NAMES: [(Name<'static>, &str); 2] = [(Name(b"Regular"), "NotoSans"), (Name(b"Bold"), "NotoSans-Bold")];

const ADOBE_IDENTITY: SystemInfo<'static> =
    SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

/// Renders the page as a PDF of lines and text with embedded fonts. It states its language, has a title and a
/// description for screen readers, and has no date.
pub fn pdf(canvas: &Canvas, title: &str, description: &str) -> Result<Vec<u8>, RenderError> {
    let area = canvas.page();
    let (width, height) = (area.width as f32, area.height as f32);
    let mut page = PageContent { content: Content::new(), opacities: Vec::new(), fonts: Default::default() };
    page.content.begin_marked_content_with_properties(Name(b"Figure")).properties().identify(0);
    // Coordinates increase downwards from the upper left corner.
    page.content.transform([1.0, 0.0, 0.0, -1.0, 0.0, (area.height + area.y) as f32]);
    page.content.set_miter_limit(MITER_LIMIT);
    page.shape(&Outline::Rect(area), &Paint::fill(Color::WHITE));
    page.draw(canvas.elements());
    page.content.end_marked_content();
    let PageContent { content, opacities, fonts } = page;

    let mut pdf = Pdf::new();
    let mut catalog = pdf.catalog(CATALOG);
    catalog.pages(PAGES).lang(TextStr("en"));
    catalog.viewer_preferences().display_doc_title(true);
    catalog.mark_info().marked(true);
    let mut structure = catalog.struct_tree_root();
    structure.child(FIGURE);
    structure.parent_tree().nums().insert(0, TAGGED);
    structure.parent_tree_next_key(1);
    structure.finish();
    catalog.finish();
    pdf.document_info(INFORMATION).title(TextStr(title));
    let mut figure = pdf.struct_element(FIGURE);
    figure.kind(StructRole::Figure).parent(STRUCTURE).page(PAGE).alt(TextStr(description));
    figure.marked_content_child().marked_content_id(0);
    figure.finish();
    pdf.indirect(TAGGED).array().item(FIGURE);

    pdf.pages(PAGES).kids([PAGE]).count(1);
    let mut written = pdf.page(PAGE);
    written.parent(PAGES).contents(CONTENT).struct_parents(0);
    written.media_box(pdf_writer::Rect::new(0.0, 0.0, width, height));
    let mut resources = written.resources();
    let mut states = resources.ext_g_states();
    for opacity in &opacities {
        let state = states.insert(Name(opacity_name(*opacity).as_bytes()));
        state.start::<pdf_writer::writers::ExtGraphicsState<'_>>().non_stroking_alpha(*opacity as f32);
    }
    states.finish();
    let mut named = resources.fonts();
    for (i, _) in fonts.iter().enumerate().filter(|(_, font)| !font.letters.is_empty()) {
        named.pair(NAMES[i].0, FONTS_AT[i]);
    }
    named.finish();
    resources.finish();
    written.finish();

    pdf.stream(CONTENT, &compressed(&content.finish())?).filter(Filter::FlateDecode);
    for (i, font) in fonts.iter().enumerate().filter(|(_, font)| !font.letters.is_empty()) {
        embed(&mut pdf, i, font)?;
    }
    Ok(pdf.finish())
}

/// Content of the page, and the resources that it uses.
struct PageContent {
    content: Content,
    /// Opacities of the areas that are not opaque.
    opacities: Vec<f64>,
    fonts: [Used; 2],
}

/// The used part of a font.
#[derive(Default)]
struct Used {
    /// Numbers of the used glyphs in the embedded subset.
    glyphs: GlyphRemapper,
    /// Character and width (in font sizes) of each used glyph, by its number.
    letters: BTreeMap<u16, (char, f64)>,
}

impl PageContent {
    fn draw(&mut self, elements: &[Element]) {
        for element in elements {
            match element {
                Element::Shape(outline, paint) => self.shape(outline, paint),
                Element::Text { at, text, style } => self.write(*at, text, style),
                Element::Group(inside) => self.draw(inside),
                Element::Frame { rect, is_cut, inside } => {
                    self.content.save_state();
                    if *is_cut && self.path(&Outline::Rect(*rect)) {
                        self.content.clip_nonzero().end_path();
                    }
                    self.content.transform([1.0, 0.0, 0.0, 1.0, rect.x as f32, rect.y as f32]);
                    self.draw(inside);
                    self.content.restore_state();
                }
            }
        }
    }

    fn shape(&mut self, outline: &Outline, paint: &Paint) {
        let Paint { fill, stroke } = paint;
        if let Some((color, opacity)) = fill {
            let opacity = rounded(*opacity);
            self.fill_in(*color);
            if opacity < 1.0 {
                // If area and line were drawn in one operation, the area would be visible through the line.
                self.content.save_state();
                let name = self.opacity(opacity);
                self.content.set_parameters(Name(name.as_bytes()));
                if self.path(outline) {
                    self.content.fill_nonzero();
                }
                self.content.restore_state();
            } else if stroke.is_none() && self.path(outline) {
                self.content.fill_nonzero();
            }
        }
        let Some(stroke) = stroke else { return };
        self.line_in(stroke, outline);
        if self.path(outline) {
            if fill.is_some_and(|(_, opacity)| rounded(opacity) >= 1.0) {
                self.content.fill_nonzero_and_stroke();
            } else {
                self.content.stroke();
            }
        }
    }

    /// Returns the name of the graphics state with this opacity.
    fn opacity(&mut self, opacity: f64) -> String {
        if !self.opacities.contains(&opacity) {
            self.opacities.push(opacity);
        }
        opacity_name(opacity)
    }

    /// Writes the path of a shape. Returns whether it has one.
    fn path(&mut self, outline: &Outline) -> bool {
        let Some(path) = super::path(outline) else { return false };
        let content = &mut self.content;
        for segment in path.segments() {
            match segment {
                PathSegment::MoveTo(to) => content.move_to(to.x, to.y),
                PathSegment::LineTo(to) => content.line_to(to.x, to.y),
                PathSegment::CubicTo(by, and, to) => content.cubic_to(by.x, by.y, and.x, and.y, to.x, to.y),
                PathSegment::Close => content.close_path(),
                PathSegment::QuadTo(..) => unreachable!("letters alone have such curves"),
            };
        }
        true
    }

    /// Writes text as text, part by part.
    fn write(&mut self, (x, y): (f64, f64), text: &str, style: &TextStyle) {
        self.fill_in(style.color);
        let (face, font) = (Face::of(style.bold), usize::from(style.bold));
        self.content.begin_text();
        for letters in place(text, style) {
            let (along, down) = letters.at;
            // The page's y axis is flipped, so letters are flipped back.
            let matrix = if style.upright {
                [0.0, -1.0, -1.0, 0.0, (x + down) as f32, (y - along) as f32]
            } else {
                [1.0, 0.0, 0.0, -1.0, (x + along) as f32, (y + down) as f32]
            };
            self.content.set_font(NAMES[font].0, letters.size as f32).set_text_matrix(matrix);
            let mut shown = self.content.show_positioned();
            let mut shown = shown.items();
            let mut together = Vec::new();
            for (glyph, advance, range) in &letters.glyphs {
                let width = face.advance(*glyph);
                let letter = letters.text[range.clone()].chars().next().unwrap_or_default();
                let used = &mut self.fonts[font];
                let number = used.glyphs.remap(glyph.to_u32() as u16);
                used.letters.entry(number).or_insert((letter, width));
                together.extend(number.to_be_bytes());
                if *advance != width {
                    shown.show(Str(&together)).adjust(((width - advance) * 1000.0) as f32);
                    together.clear();
                }
            }
            if !together.is_empty() {
                shown.show(Str(&together));
            }
        }
        self.content.end_text();
    }

    fn fill_in(&mut self, color: Color) {
        match parts(color) {
            [red, green, blue] if red == green && green == blue => self.content.set_fill_gray(red),
            [red, green, blue] => self.content.set_fill_rgb(red, green, blue),
        };
    }

    fn line_in(&mut self, stroke: &Stroke, outline: &Outline) {
        match parts(stroke.color) {
            [red, green, blue] if red == green && green == blue => self.content.set_stroke_gray(red),
            [red, green, blue] => self.content.set_stroke_rgb(red, green, blue),
        };
        let is_round = matches!(outline, Outline::Lines(_));
        let join = if is_round { LineJoinStyle::RoundJoin } else { LineJoinStyle::MiterJoin };
        self.content.set_line_width(rounded(stroke.width) as f32).set_line_join(join);
        self.content.set_dash_pattern(dashes(stroke).unwrap_or_default(), 0.0);
    }
}

fn opacity_name(opacity: f64) -> String {
    format!("Opacity{:.0}", opacity * 100.0)
}

fn parts(color: Color) -> [f32; 3] {
    [color.red, color.green, color.blue].map(|part| (f64::from(part) / 255.0 * 1e4).round() as f32 / 1e4)
}

/// Writes the used part of a font.
fn embed(pdf: &mut Pdf, font: usize, used: &Used) -> Result<(), RenderError> {
    let first = FONTS_AT[font].get();
    let [font_at, letters_at, about_at, file_at, says_at] = [0, 1, 2, 3, 4].map(|i| Ref::new(first + i));
    let face = Face::of(font == 1);
    let file = subsetter::subset(FONTS[font], 0, &used.glyphs)
        .map_err(|error| RenderError::Pdf(format!("a font could not be embedded: {error}")))?;
    // Six letters, by which viewers distinguish subsets of a font in different files.
    let hash = file.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let tag: String = (0..6).map(|i| char::from(b'A' + (hash >> (8 * i)) as u8 % 26)).collect();
    let name = format!("{tag}+{}", NAMES[font].1);
    let name = Name(name.as_bytes());

    let mut whole = pdf.type0_font(font_at);
    whole
        .base_font(name)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(letters_at)
        .to_unicode(says_at);
    whole.finish();
    let mut letters = pdf.cid_font(letters_at);
    letters.subtype(CidFontType::Type2).base_font(name).system_info(ADOBE_IDENTITY).font_descriptor(about_at);
    letters.default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
    let mut widths = letters.widths();
    for (&number, (_, width)) in &used.letters {
        widths.consecutive(number, [(width * 1000.0) as f32]);
    }
    widths.finish();
    letters.finish();
    let about = face.about();
    let mut descriptor = pdf.font_descriptor(about_at);
    let [left, bottom, right, top] = about.bounds;
    descriptor
        .name(name)
        .flags(FontFlags::NON_SYMBOLIC)
        .bbox(pdf_writer::Rect::new(left, bottom, right, top));
    descriptor.italic_angle(0.0).ascent(about.ascent).descent(about.descent).cap_height(about.cap_height);
    // No table of the font has the stem width. Viewers do not need it for an embedded font.
    descriptor.stem_v(if font == 1 { 140.0 } else { 90.0 }).font_file2(file_at);
    descriptor.finish();
    let mut stream_says = UnicodeCmap::new(Name(b"Letters"), ADOBE_IDENTITY);
    for (&number, (letter, _)) in &used.letters {
        stream_says.pair(number, *letter);
    }
    pdf.cmap(says_at, &compressed(&stream_says.finish())?).filter(Filter::FlateDecode);
    let length = i32::try_from(file.len()).unwrap_or(i32::MAX);
    let bytes = compressed(&file)?;
    let mut stream = pdf.stream(file_at, &bytes);
    stream.filter(Filter::FlateDecode);
    stream.pair(Name(b"Length1"), length);
    Ok(())
}

/// Compresses bytes in the format of zlib.
pub(in crate::drawing) fn compressed(bytes: &[u8]) -> Result<Vec<u8>, RenderError> {
    let mut compress = Compress::new(Compression::default(), true);
    let mut to = Vec::with_capacity(bytes.len() / 2 + 64);
    loop {
        let rest = &bytes[compress.total_in() as usize..];
        match compress.compress_vec(rest, &mut to, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return Ok(to),
            Ok(_) => to.reserve(bytes.len() / 4 + 64),
            Err(error) => return Err(RenderError::Pdf(error.to_string())),
        }
    }
}
