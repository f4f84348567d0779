//! Tests of the repository itself: its rules and its documentation.

#[path = "../support/mod.rs"]
mod support;

mod docs;
mod tidy;
