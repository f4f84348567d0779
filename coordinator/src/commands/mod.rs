//! One file a subcommand.

pub(crate) mod run;
pub(crate) mod worker;
