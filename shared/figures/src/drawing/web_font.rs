//! Noto Sans as a font of a web page, regular and bold: WOFF 1.0 files with the characters that the page needs. Without
//! them, a browser on a machine without Noto Sans sets figures in a font of other widths.

use std::collections::{BTreeMap, BTreeSet};

use skrifa::raw::TableProvider as _;
use skrifa::{FontRef, GlyphId, Tag};
use subsetter::GlyphRemapper;

use super::font::{FONTS, Face};
use super::render::compressed;

/// Most pairs of a table of kerning, whose length has 16 bits.
const MOST_PAIRS: usize = 10_000;

/// Returns a font with the characters that it has of these, as a WOFF file. The same characters give the same bytes. None
/// if the font cannot be divided; a test makes one of all characters that figures have.
pub fn web_font(letters: &BTreeSet<char>, bold: bool) -> Option<Vec<u8>> {
    let face = Face::of(bold);
    let mut glyphs = GlyphRemapper::new();
    let mut numbers: BTreeMap<u16, u16> = BTreeMap::new();
    let mut originals: Vec<(u16, GlyphId)> = Vec::new();
    for &letter in letters {
        let (Ok(code), glyph) = (u16::try_from(u32::from(letter)), face.glyph(letter)) else { continue };
        let Some(old) = u16::try_from(glyph.to_u32()).ok().filter(|old| *old > 0) else { continue };
        let number = glyphs.remap(old);
        numbers.insert(code, number);
        originals.push((number, glyph));
    }
    let whole = FONTS[usize::from(bold)];
    let part = subsetter::subset(whole, 0, &glyphs).ok()?;
    let part = FontRef::new(&part).ok()?;
    let mut tables: BTreeMap<[u8; 4], Vec<u8>> = BTreeMap::new();
    for record in part.table_directory.table_records() {
        let tag = record.tag();
        tables.insert(tag.to_be_bytes(), part.table_data(tag)?.as_bytes().to_vec());
    }
    // Browsers need these two, which a PDF does not have.
    let metrics = FontRef::new(whole).ok()?.data_for_tag(Tag::new(b"OS/2"))?.as_bytes().to_vec();
    tables.insert(*b"OS/2", metrics);
    tables.insert(*b"cmap", cmap(&numbers));
    tables.insert(*b"kern", kern(face, &originals));
    woff(&tables)
}

/// Returns the table from characters to glyphs, of format 4: a segment for each run of successive characters and glyphs.
fn cmap(numbers: &BTreeMap<u16, u16>) -> Vec<u8> {
    let mut segments: Vec<(u16, u16, u16)> = Vec::new();
    for (&code, &glyph) in numbers {
        match segments.last_mut() {
            Some((start, end, first)) if *end + 1 == code && *first + (code - *start) == glyph => *end = code,
            _ => segments.push((code, code, glyph)),
        }
    }
    segments.push((0xffff, 0xffff, 0));
    let count = segments.len();
    let [range, selector, shift] = search(count, 2);
    let length = 16 + 8 * count;
    let mut table = Vec::new();
    // Version, number of subtables; platform, encoding and offset of the only one.
    [0, 1, 3, 1, 0, 12].into_iter().for_each(|x| put(&mut table, x));
    [4, length as u16, 0, 2 * count as u16, range, selector, shift]
        .into_iter()
        .for_each(|x| put(&mut table, x));
    segments.iter().for_each(|(_, end, _)| put(&mut table, *end));
    put(&mut table, 0);
    segments.iter().for_each(|(start, ..)| put(&mut table, *start));
    segments.iter().for_each(|(start, _, first)| put(&mut table, first.wrapping_sub(*start)));
    segments.iter().for_each(|_| put(&mut table, 0));
    table
}

/// Returns the table of kerned pairs, of format 0.
fn kern(face: &Face, glyphs: &[(u16, GlyphId)]) -> Vec<u8> {
    let mut pairs: BTreeMap<(u16, u16), i16> = BTreeMap::new();
    for &(left, of_left) in glyphs {
        for &(right, of_right) in glyphs {
            let units = face.kerning_units(of_left, of_right);
            if units != 0 && pairs.len() < MOST_PAIRS {
                pairs.insert((left, right), units);
            }
        }
    }
    let [range, selector, shift] = search(pairs.len(), 6);
    let mut table = Vec::new();
    // Version, number of subtables; version, length and coverage (horizontal) of the only one.
    let length = (14 + 6 * pairs.len()) as u16;
    [0, 1, 0, length, 1].into_iter().for_each(|x| put(&mut table, x));
    [pairs.len() as u16, range, selector, shift].into_iter().for_each(|x| put(&mut table, x));
    for ((left, right), units) in pairs {
        [left, right, units as u16].into_iter().for_each(|x| put(&mut table, x));
    }
    table
}

/// Returns the three numbers for a binary search among entries of this size in bytes.
fn search(count: usize, size: usize) -> [u16; 3] {
    let selector = count.max(1).ilog2();
    let range = size << selector;
    [range as u16, selector as u16, (size * count).saturating_sub(range) as u16]
}

fn put(table: &mut Vec<u8>, number: u16) {
    table.extend(number.to_be_bytes());
}

/// Writes tables as a WOFF 1.0 file. Each is compressed if that makes it smaller.
fn woff(tables: &BTreeMap<[u8; 4], Vec<u8>>) -> Option<Vec<u8>> {
    let padded = |length: usize| length.next_multiple_of(4);
    let mut directory: Vec<u8> = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    let begin = 44 + 20 * tables.len();
    for (tag, table) in tables {
        let packed = compressed(table).ok()?;
        let stored = if packed.len() < table.len() { &packed } else { table };
        directory.extend(tag);
        for number in [begin + data.len(), stored.len(), table.len()] {
            directory.extend((number as u32).to_be_bytes());
        }
        directory.extend(checksum(table).to_be_bytes());
        data.extend(stored);
        data.resize(padded(data.len()), 0);
    }
    let whole = 12 + 16 * tables.len() + tables.values().map(|table| padded(table.len())).sum::<usize>();
    let mut file = b"wOFF".to_vec();
    file.extend([0, 1, 0, 0]);
    file.extend(((begin + data.len()) as u32).to_be_bytes());
    put(&mut file, tables.len() as u16);
    put(&mut file, 0);
    file.extend((whole as u32).to_be_bytes());
    put(&mut file, 1);
    put(&mut file, 0);
    // No metadata and no private data.
    file.resize(44, 0);
    file.extend(directory);
    file.extend(data);
    Some(file)
}

/// Returns the sum of a table's words of 32 bits.
fn checksum(table: &[u8]) -> u32 {
    table.chunks(4).fold(0, |sum: u32, bytes| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use skrifa::MetadataProvider as _;
    use skrifa::instance::{LocationRef, Size};

    use super::*;

    /// Unpacks a WOFF file to a font file.
    fn unpacked(file: &[u8]) -> Vec<u8> {
        let long = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four")) as usize;
        let count = usize::from(u16::from_be_bytes([file[12], file[13]]));
        assert_eq!((&file[..4], long(8)), (&b"wOFF"[..], file.len()));
        let mut head = vec![0, 1, 0, 0];
        [count as u16, 0, 0, 0].into_iter().for_each(|x| put(&mut head, x));
        let mut data: Vec<u8> = Vec::new();
        for at in (0..count).map(|table| 44 + 20 * table) {
            let [offset, stored, length] = [4, 8, 12].map(|field| long(at + field));
            let bytes = &file[offset..offset + stored];
            let mut table = bytes.to_vec();
            if stored < length {
                table = Vec::with_capacity(length);
                let unpacked =
                    Decompress::new(true).decompress_vec(bytes, &mut table, FlushDecompress::Finish);
                unpacked.expect("it unpacks");
            }
            assert_eq!((table.len(), checksum(&table) as usize), (length, long(at + 16)));
            head.extend(&file[at..at + 4]);
            for number in [checksum(&table), (12 + 16 * count + data.len()) as u32, length as u32] {
                head.extend(number.to_be_bytes());
            }
            data.extend(&table);
            data.resize(data.len().next_multiple_of(4), 0);
        }
        assert_eq!(long(16), head.len() + data.len());
        head.extend(data);
        head
    }

    #[test]
    fn a_part_of_the_font_has_the_same_widths_and_kerning() {
        // Also letters that the font lacks, and one beyond 16 bits.
        let letters: BTreeSet<char> = (' '..='~').chain("−–…×µΔ†′°±漢😀".chars()).collect();
        for bold in [false, true] {
            let file = web_font(&letters, bold).expect("a font");
            assert!(file.len() < 24_000, "{}", file.len());
            assert_eq!(web_font(&letters, bold), Some(file.clone()));
            let font = unpacked(&file);
            let font = FontRef::new(&font).expect("a font");
            let widths = font.glyph_metrics(Size::new(1.0), LocationRef::default());
            let face = Face::of(bold);
            let mut found = 0;
            for &letter in &letters {
                let Some(glyph) = font.charmap().map(letter).filter(|glyph| glyph.to_u32() > 0) else {
                    continue;
                };
                let width = f64::from(widths.advance_width(glyph).expect("a width"));
                assert!((width - face.advance(face.glyph(letter))).abs() < 1e-3, "{letter}");
                found += 1;
            }
            assert!(found >= 95 + 8, "{found}");
            let kerning = font.table_data(Tag::new(b"kern")).expect("a table");
            let pairs = u16::from_be_bytes([kerning.as_bytes()[10], kerning.as_bytes()[11]]);
            assert!(pairs > 50, "{pairs}");
        }
    }
}
