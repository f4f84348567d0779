//! Tests of the repository itself: its rules, its modules and its documentation.

#[path = "../support/mod.rs"]
mod support;

mod arrows;
mod docs;
mod tidy;
