//! What happens at a time, said through `tracing`.

use granule_text as text;

/// The target of all that granule says.
pub const TARGET: &str = "granule";

/// Says what happens now.
pub fn event(event: &'static str, text: &str) {
    let text = text::message(text);
    tracing::info!(target: TARGET, event, "{text}");
}
