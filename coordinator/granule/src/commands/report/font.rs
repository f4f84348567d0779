//! The font of the figures, as a part of the page.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granule_figures::drawing::web_font;

/// The licence, which goes wherever the font goes.
const LICENCE: &str = "/* Noto Sans Regular and Bold, version 1.04: only the characters of this page. Copyright 2012 Google Inc. All \
                       Rights Reserved. Noto is a trademark of Google Inc. Licence: SIL Open Font License 1.1, \
                       openfontlicense.org */\n";

/// Returns the style sheet that gives the page Noto Sans with the characters of this text. If it is installed, browsers use
/// the installed font.
pub(super) fn faces(text: &str) -> String {
    let letters: BTreeSet<char> =
        (' '..='~').chain(text.chars().filter(|letter| !letter.is_ascii())).collect();
    let face = |(weight, locals, is_bold): (u32, [&str; 2], bool)| {
        let font = STANDARD.encode(web_font(&letters, is_bold)?);
        let [first, second] = locals;
        Some(format!(
            "@font-face {{ font-family: \"Noto Sans\"; font-weight: {weight}; src: local(\"{first}\"), local(\"{second}\"), \
             url(data:font/woff;base64,{font}) format(\"woff\"); }}\n"
        ))
    };
    let all =
        [(400, ["Noto Sans", "NotoSans-Regular"], false), (700, ["Noto Sans Bold", "NotoSans-Bold"], true)];
    let faces: String = all.into_iter().filter_map(face).collect();
    format!("{LICENCE}{faces}")
}
