//! Threads, as many as the system allows.
//!
//! Libraries panic if the system refuses what they need. rayon needs threads for its global pool; tokio needs
//! a thread for blocking work, and files for a runtime. Therefore runtimes have one thread and no blocking
//! work, and parallel iterators run inside [`side_by_side`]. All other threads are started with
//! [`std::thread::Builder`], which fails with an error.

use std::io;
use std::os::unix::net::UnixStream;
use std::thread;

use rayon::ThreadPoolBuilder;
use tokio::runtime::{Builder, Runtime};

/// Pairs of files that are opened as a test; these are more files than a runtime opens.
const PAIRS: usize = 5;

/// Returns a runtime that runs in the calling thread.
///
/// # Errors
/// If the system refuses the files that it needs.
pub fn runtime() -> io::Result<Runtime> {
    let files = (0..PAIRS).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>();
    // The pairs are closed before the runtime opens its own files.
    let built = files.map(drop).and_then(|()| Builder::new_current_thread().enable_all().build());
    built.map_err(|source| io::Error::new(source.kind(), NoRuntime(source)))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot start the event loop")]
struct NoRuntime(#[source] io::Error);

/// Runs work whose parallel iterators use the machine's cores. If the system refuses threads, it runs with
/// fewer, down to the calling thread alone. The threads end with the work.
pub fn side_by_side<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_some() {
        return work();
    }
    let mut work = Some(work);
    let mut count = thread::available_parallelism().map_or(1, usize::from);
    while count > 0 {
        let pool = ThreadPoolBuilder::new().num_threads(count);
        let done =
            pool.build_scoped(|thread| thread.run(), |pool| pool.install(|| work.take().map(|work| work())));
        if let Ok(Some(done)) = done {
            return done;
        }
        count /= 2;
    }
    let work = work.take().expect("no pool could be started, so nothing took the work");
    // The calling thread is the pool, so no thread is started. It stays the pool until it ends.
    if let Ok(pool) = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        std::mem::forget(pool);
    }
    work()
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_done_by_the_threads_of_one_pool() {
        let sum = side_by_side(|| {
            let inner = || side_by_side(|| (0..100_u64).into_par_iter().sum::<u64>());
            (0..10).into_par_iter().map(|_| inner()).sum::<u64>()
        });
        assert_eq!(sum, 10 * 4950);
        assert!(rayon::current_thread_index().is_none());
    }
}
