//! This machine: its cores and its name.

/// Returns the number of cores of this machine, at most 1024.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(1024) as u32)
}

/// Returns the name of this machine, or `unknown`.
pub(crate) fn host() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}
