//! The exit codes of the program: what it tells the system in the end.

/// Something outside the sweep went wrong: files, network, the system.
pub const FAILED: u8 = 1;
/// The command line, the environment or the sweep file is wrong. clap uses the same.
pub const USAGE: u8 = 2;
/// The sweep could not be computed to its end, or something is not there or not as it should be.
pub const INCOMPLETE: u8 = 3;
/// A trial has different results: of workers (all was computed), of stores, or here and there.
pub const DISAGREED: u8 = 4;
/// A worker that was started over `ssh` has lost its connection; `ssh` says it with the same.
pub const CUT_OFF: u8 = 255;
/// A worker process of the coordinator's own that the system refused a thread or a file (`EX_TEMPFAIL`).
pub const STARVED: u8 = 75;
/// Ended by SIGHUP (128 + SIGHUP).
pub const HUNG_UP: u8 = 129;
/// Ended by Ctrl-C (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM (128 + SIGTERM).
pub const TERMINATED: u8 = 143;
