//! The fonts that are part of the program: outlines of glyphs, widths and kerning.

use std::sync::LazyLock;

use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::outline::{DrawSettings, OutlineGlyphCollection, OutlinePen};
use skrifa::raw::TableProvider;
use skrifa::raw::tables::gpos::{PairPos, PairPosFormat1, PositionSubtables};
use skrifa::{FontRef, GlyphId, MetadataProvider};

/// Noto Sans, regular and bold.
pub(super) const FONTS: [&[u8]; 2] = [notosans::REGULAR_TTF, notosans::BOLD_TTF];

static FACES: LazyLock<[Face; 2]> = LazyLock::new(|| FONTS.map(|font| Face::new(font).expect("a font")));

/// Font metrics for a PDF, in thousandths of the font size.
pub(super) struct About {
    /// Left, lower, right and upper edge of the box around all glyphs.
    pub(super) bounds: [f32; 4],
    pub(super) ascent: f32,
    pub(super) descent: f32,
    pub(super) cap_height: f32,
}

/// A parsed font.
pub(super) struct Face {
    font: FontRef<'static>,
    glyphs: Charmap<'static>,
    widths: GlyphMetrics<'static>,
    outlines: OutlineGlyphCollection<'static>,
    kerning: Vec<PairPosFormat1<'static>>,
    units_per_em: f64,
}

impl Face {
    /// Returns the regular or the bold face.
    pub(super) fn of(bold: bool) -> &'static Face {
        &FACES[usize::from(bold)]
    }

    fn new(font: &'static [u8]) -> Option<Face> {
        let font = FontRef::new(font).ok()?;
        let whole = (Size::unscaled(), LocationRef::default());
        Some(Face {
            font: font.clone(),
            glyphs: font.charmap(),
            widths: font.glyph_metrics(whole.0, whole.1),
            outlines: font.outline_glyphs(),
            kerning: kerning(&font),
            units_per_em: f64::from(font.metrics(whole.0, whole.1).units_per_em),
        })
    }

    /// Returns the glyph of a character. If the font lacks it, returns the glyph for missing characters.
    pub(super) fn glyph(&self, letter: char) -> GlyphId {
        self.glyphs.map(letter).unwrap_or_default()
    }

    /// Returns the width of a glyph, in font sizes.
    pub(super) fn advance(&self, glyph: GlyphId) -> f64 {
        self.widths.advance_width(glyph).map_or(1.0, |units| f64::from(units) / self.units_per_em)
    }

    /// Returns the metrics for a PDF.
    pub(super) fn about(&self) -> About {
        let metrics = self.font.metrics(Size::new(1000.0), LocationRef::default());
        let bounds = metrics.bounds.unwrap_or_default();
        About {
            bounds: [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max],
            ascent: metrics.ascent,
            descent: metrics.descent,
            cap_height: metrics.cap_height.unwrap_or(metrics.ascent),
        }
    }

    /// Returns how much the pair's kerning changes the left glyph's width, in font sizes.
    pub(super) fn kerning(&self, left: GlyphId, right: GlyphId) -> f64 {
        f64::from(self.kerning_units(left, right)) / self.units_per_em
    }

    /// The same, in units of the font.
    pub(super) fn kerning_units(&self, left: GlyphId, right: GlyphId) -> i16 {
        let of = |pairs: &PairPosFormat1<'_>| {
            let index = pairs.coverage().ok()?.get(left)?;
            let set = pairs.pair_sets().get(index.into()).ok()?;
            let mut records = set.pair_value_records().iter().flatten();
            let record = records.find(|record| GlyphId::from(record.second_glyph()) == right)?;
            record.value_record1().x_advance()
        };
        self.kerning.iter().find_map(of).unwrap_or(0)
    }

    /// Adds a glyph to a path. Its baseline begins at (x, y); y increases downwards, as on the page.
    pub(super) fn draw(
        &self,
        glyph: GlyphId,
        (x, y): (f64, f64),
        size: f64,
        path: &mut tiny_skia::PathBuilder,
    ) {
        let scale = (size / self.units_per_em) as f32;
        let mut pen = Pen { path, x: x as f32, y: y as f32, scale };
        if let Some(outline) = self.outlines.get(glyph) {
            let whole = DrawSettings::unhinted(Size::unscaled(), LocationRef::default());
            // A glyph without a valid outline is left out. A test draws all letters that figures need.
            let _ = outline.draw(whole, &mut pen);
        }
    }
}

/// Returns the tables of kerned glyph pairs. The fonts have no other such tables that Latin or Greek text
/// needs.
fn kerning(font: &FontRef<'static>) -> Vec<PairPosFormat1<'static>> {
    let mut tables = Vec::new();
    let lookups = font.gpos().and_then(|gpos| gpos.lookup_list());
    for lookup in lookups.iter().flat_map(|list| list.lookups().iter().flatten()) {
        if let Ok(PositionSubtables::Pair(pairs)) = lookup.subtables() {
            tables.extend(pairs.iter().filter_map(|table| match table {
                Ok(PairPos::Format1(table)) => Some(table),
                _ => None,
            }));
        }
    }
    tables
}

/// Scales a glyph's outline and moves it to its place.
struct Pen<'a> {
    path: &'a mut tiny_skia::PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Pen<'_> {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlinePen for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_can_be_read_and_have_what_is_needed() {
        for face in FACES.iter() {
            for letter in "−±×·²≤≥–µΔ/()%0123456789abcXYZ".chars() {
                assert!(face.glyphs.map(letter).is_some(), "{letter}");
                let mut path = tiny_skia::PathBuilder::new();
                face.draw(face.glyph(letter), (0.0, 0.0), 10.0, &mut path);
                let ink = path.finish().expect("an outline").bounds();
                assert!(ink.width() < 12.0 && ink.top() > -12.0 && ink.bottom() < 4.0, "{letter}");
            }
        }
    }

    #[test]
    fn pairs_of_letters_stand_closer() {
        let face = Face::of(false);
        let [a, v, t, o] = ['A', 'V', 'T', 'o'].map(|letter| face.glyph(letter));
        // Values that FontTools reads from the table GPOS.
        assert_eq!(face.kerning(a, v) * 2048.0, -40.0);
        assert_eq!(face.kerning(t, o) * 2048.0, -70.0);
        assert_eq!(face.kerning(o, o), 0.0);
    }
}
