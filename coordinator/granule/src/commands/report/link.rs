//! Links that have a file in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

/// Returns a link that has a text file in it, and shows its path.
pub(super) fn save(content: &[u8], path: &str) -> Markup {
    save_as(content, path, path)
}

/// Returns a link that has a text file in it, and shows these words. Browsers save it under the last part of the path.
pub(super) fn save_as(content: &[u8], path: &str, words: &str) -> Markup {
    let name = path.rsplit('/').next().unwrap_or(path);
    let kind = if name.ends_with(".csv") { "csv" } else { "plain" };
    html! {
        a download=(name) href={ "data:text/" (kind) ";charset=utf-8;base64," (STANDARD.encode(content)) } { (words) }
    }
}
