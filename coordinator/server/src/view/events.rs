//! Dated events, reported through `tracing`.

use granule_text as text;

/// The target of all messages of granule.
pub const TARGET: &str = "granule";

/// Reports an event that happens now.
pub fn event(event: &'static str, text: &str) {
    let text = text::message(text);
    tracing::info!(target: TARGET, event, "{text}");
}
