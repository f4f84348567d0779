//! One file a subcommand, and what several have in common.

pub(crate) mod entrance;
pub(crate) mod init;
pub(crate) mod job;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod worker;
