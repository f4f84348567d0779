//! This process: its command and its CPU time.

use nix::sys::resource::{UsageWho, getrusage};

use crate::failure::shell_word;

/// Returns this command, quoted so that it can be typed into a shell.
pub(crate) fn command_line() -> String {
    std::env::args_os().map(shell_word).collect::<Vec<_>>().join(" ")
}

/// Returns the user and system time of this process and its children so far.
pub(crate) fn cpu_seconds() -> f64 {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .flat_map(|usage| [usage.user_time(), usage.system_time()])
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6)
        .sum()
}
