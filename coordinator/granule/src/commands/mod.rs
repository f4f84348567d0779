//! One file a subcommand, and what several have in common.

pub(crate) mod beacon;
pub(crate) mod entrance;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod figures;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod job;
pub(crate) mod manual;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod rest;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod slurm;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod sweep_file;
pub(crate) mod target;
pub(crate) mod verify;
pub(crate) mod worker;
