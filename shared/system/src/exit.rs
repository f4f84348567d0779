//! Exit codes of the program.

/// A failure outside the sweep: files, network or operating system.
pub const FAILED: u8 = 1;
/// The command line, the environment or the sweep file is wrong. clap uses the same code.
pub const USAGE: u8 = 2;
/// The sweep could not be completed, or something is missing or invalid.
pub const INCOMPLETE: u8 = 3;
/// A trial has different results: from several workers (all trials were computed), in several stores, or when
/// it was reproduced on this machine.
pub const DISAGREED: u8 = 4;
/// A worker that was started over `ssh` has lost its connection. `ssh` uses the same code for that.
pub const CUT_OFF: u8 = 255;
/// The system refused a thread or a file to one of the coordinator's own worker processes (`EX_TEMPFAIL`).
pub const STARVED: u8 = 75;
/// A worker cannot compute the user's model: the program does not start, or the files of the model are not the
/// coordinator's (`EX_UNAVAILABLE`).
pub const UNFIT: u8 = 69;
/// Ended by SIGHUP (128 + SIGHUP).
pub const HUNG_UP: u8 = 129;
/// Ended by Ctrl-C (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM (128 + SIGTERM).
pub const TERMINATED: u8 = 143;
