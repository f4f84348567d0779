//! The limits that the system sets on this process: what they leave, and which of them causes an error.

use std::error::Error;
use std::io;

use nix::errno::Errno;
use nix::unistd::getuid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::os;

/// Raises the soft limit on open files to the hard limit. Every worker is a connection, every connection is a
/// file, and the soft limit is often 1024.
pub fn raise_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // If the limit cannot be raised, the soft limit must suffice.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Returns how many files this process may have open; `None` if that is unlimited.
fn files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns how many more files this process can open.
pub fn files_left() -> usize {
    // If the system does not list open files, assume the three standard streams.
    left(files(), os::open_files().unwrap_or(3) as u64)
}

fn left(most: Option<u64>, open: u64) -> usize {
    most.map_or(usize::MAX, |most| most.saturating_sub(open) as usize)
}

/// Returns the limit that causes an error, with its value and a remedy. Searches the error and its sources.
pub fn behind(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(limit) = error.downcast_ref().and_then(behind_io) {
            return Some(limit);
        }
        cause = error.source();
    }
    None
}

/// Like [`behind`], for an error of the system.
pub fn behind_io(error: &io::Error) -> Option<String> {
    // The error inside an `io::Error` is not among its sources.
    if let Some(inner) = error.get_ref() {
        return behind(inner);
    }
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE => Some(of_files()),
        Errno::ENFILE => {
            let most =
                os::most_open_files().map_or_else(String::new, |(file, most)| format!(" ({file}: {most})"));
            Some(format!(
                "this machine has reached its limit of open files{most}; ask its administrator to raise it, or use \
                 fewer workers"
            ))
        }
        Errno::EAGAIN => processes(),
        _ => None,
    }
}

/// Describes the limit on open files.
pub fn of_files() -> String {
    match files() {
        Some(most) => format!(
            "this process is limited to {most} open files (RLIMIT_NOFILE); raise the limit (`ulimit -Hn`), \
                or use fewer workers"
        ),
        None => "this process has reached its limit of open files; raise it, or use fewer workers".to_owned(),
    }
}

/// Describes the limits on processes and threads; `None` if there are none.
fn processes() -> Option<String> {
    let mut limits = Vec::new();
    let user = getuid();
    // The limit does not apply to root.
    if let Some(most) = getrlimit(Resource::Nproc).current
        && !user.is_root()
    {
        limits.push(format!(
            "user {user} is limited to {most} processes and threads (RLIMIT_NPROC, `ulimit -u`)"
        ));
    }
    for (file, most) in os::groups() {
        limits.push(format!(
            "this control group is limited to {most} processes and threads ({})",
            file.display()
        ));
    }
    if limits.is_empty() {
        return None;
    }
    Some(format!("{}; raise the limit, or use fewer workers and threads", limits.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno as i32)
    }

    #[test]
    fn a_limit_is_named_with_its_value_however_deep_the_error_is() {
        // Other tests change the value at the same time.
        let direct = behind_io(&of(Errno::EMFILE)).expect("a limit");
        assert!(
            direct.contains("RLIMIT_NOFILE") && direct.contains(|c: char| c.is_ascii_digit()),
            "{direct}"
        );
        let deep = io::Error::other(io::Error::other(of(Errno::EMFILE)));
        let is_named =
            |error: &(dyn Error + 'static)| behind(error).is_some_and(|text| text.contains("RLIMIT_NOFILE"));
        assert!(is_named(&deep));

        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert!(is_named(&Outer(deep)));
        assert_eq!(behind(&Outer(of(Errno::ENOENT))), None);
        assert!(behind_io(&of(Errno::ENFILE)).expect("a limit").contains("file-max"));
    }

    #[test]
    fn files_that_are_open_are_not_left() {
        assert_eq!([left(Some(10), 3), left(Some(3), 10), left(None, 3)], [7, 0, usize::MAX]);
    }
}
