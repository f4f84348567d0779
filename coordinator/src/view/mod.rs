//! What a person sees of a run.

pub(crate) mod progress;
