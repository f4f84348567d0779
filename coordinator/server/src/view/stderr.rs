//! Standard error. One thread writes to it; all others only put text into a queue, which never waits.
//!
//! A terminal, a pipe or a log may take no output (Ctrl-S, a hung `ssh`, a stopped reader). Then only that thread
//! waits. The queue is bounded: new lines push out the oldest. Once output is taken again, a line reports how many were
//! dropped. The same thread draws the bars of a run, because lines have to be printed above them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use granule_text::plural;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::board::Board;
use super::events;
use super::status::Snapshot;

/// Most bytes that wait to be written.
const MOST_WAITING: usize = 256 << 10;

/// How long the end of the program waits for output that makes no progress.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long the end of the program waits at most for the remaining output, be it slow or stuck.
const LONGEST: Duration = Duration::from_secs(10);

/// How often a board is read.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Bytes that are written at once.
const CHUNK: usize = 4096;

/// The name of the thread that writes.
const THREAD: &str = "stderr";

static WRITER: OnceLock<Option<Arc<Shared>>> = OnceLock::new();

/// Draws a board, with printed lines above it.
pub trait Show {
    /// Draws this snapshot.
    fn show(&mut self, snapshot: &Snapshot);

    /// Prints text above the drawing. Returns false if nothing is drawn.
    fn print(&self, text: &str) -> bool;

    /// Removes the drawing.
    fn clear(self: Box<Self>);
}

/// A board, and how to draw it.
#[derive(Clone)]
pub struct Drawing {
    pub board: Board,
    /// Makes the object that draws. The thread that writes calls it.
    pub sink: fn() -> Box<dyn Show>,
}

/// State that the thread that writes shares with all others.
struct Shared {
    state: Mutex<WriterState>,
    /// Notified when there is something to do.
    wanted: Condvar,
    /// Notified when something was done.
    done: Condvar,
}

struct WriterState {
    waiting: VecDeque<String>,
    waiting_bytes: usize,
    /// Lines that were dropped since the last report of that.
    dropped: u64,
    /// The board to draw, and how often it was replaced.
    drawing: Option<Drawing>,
    drawings: u64,
    /// Whether all requests are done.
    is_idle: bool,
    /// When output last progressed, or began after an idle time.
    progress: Instant,
}

/// The next step of the thread.
struct WriterStep {
    text: Option<String>,
    dropped: u64,
    drawing: Option<Drawing>,
    drawings: u64,
}

/// Puts one or several lines into the queue. Never waits.
pub fn put(mut text: String) {
    text.push('\n');
    match writer() {
        Some(shared) => {
            shared.lock().push(text);
            shared.wanted.notify_one();
        }
        // The system allows no further thread, so there is no run that this could hold up.
        None => drop(write_all(io::stderr(), text.as_bytes(), || {})),
    }
}

/// Starts to draw this, or stops drawing. Never waits.
pub fn draw(drawing: Option<Drawing>) {
    if let Some(shared) = writer() {
        let mut state = shared.lock();
        state.drawing = drawing;
        state.drawings += 1;
        state.begin();
        drop(state);
        shared.wanted.notify_one();
    }
}

/// Waits until all is written and removed bars are gone. Returns false if output is stuck.
pub fn settle() -> bool {
    match WRITER.get() {
        Some(Some(shared)) => shared.settle(PATIENCE, LONGEST),
        _ => true,
    }
}

/// Whether this is the thread that writes.
pub fn is_writing_here() -> bool {
    thread::current().name() == Some(THREAD)
}

fn writer() -> Option<&'static Shared> {
    let start = || {
        let shared = Arc::new(Shared::new());
        let writing = Arc::clone(&shared);
        let write = move || writing.serve(&io::stderr(), tell_of_dropped);
        let thread = thread::Builder::new().name(THREAD.into()).spawn(write);
        thread.is_ok().then_some(shared)
    };
    WRITER.get_or_init(start).as_deref()
}

fn tell_of_dropped(lines: u64) {
    events::event("dropped", &format!("standard error was blocked: {} dropped", plural(lines, "line")));
}

impl Shared {
    fn new() -> Shared {
        let state = WriterState {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            dropped: 0,
            drawing: None,
            drawings: 0,
            is_idle: true,
            progress: Instant::now(),
        };
        Shared { state: Mutex::new(state), wanted: Condvar::new(), done: Condvar::new() }
    }

    /// Locks the state. The lock is never held while something is written or drawn.
    fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until the process ends; reports how many lines were dropped.
    fn serve(&self, to: &impl AsFd, on_dropped: impl Fn(u64)) {
        let mut sink: Option<Box<dyn Show>> = None;
        let mut drawn = 0;
        loop {
            let WriterStep { text, dropped, drawing, drawings } = self.next(drawn);
            if drawings != drawn {
                drawn = drawings;
                sink.take().into_iter().for_each(|sink| sink.clear());
                sink = drawing.as_ref().map(|drawing| (drawing.sink)());
            }
            if let Some(text) = text {
                // If the bars cannot be drawn, the line must still be written.
                let is_shown = sink.as_ref().is_some_and(|sink| sink.print(&text));
                if !is_shown {
                    // If standard error is closed or its disk is full, there is no other place to report it.
                    let _ = write_all(to, text.as_bytes(), || self.progressed());
                }
                self.progressed();
            }
            if dropped > 0 {
                on_dropped(dropped);
            }
            if let (Some(sink), Some(drawing)) = (&mut sink, drawing) {
                let snapshot = drawing.board.snapshots.borrow().clone();
                sink.show(&snapshot);
                self.progressed();
            }
        }
    }

    /// Waits for something to do. While there is a drawing, this ends regularly to update it.
    fn next(&self, drawn: u64) -> WriterStep {
        let mut state = self.lock();
        if state.waiting.is_empty() && state.drawings == drawn {
            state.is_idle = true;
            self.done.notify_all();
            let is_still = |state: &mut WriterState| state.waiting.is_empty() && state.drawings == drawn;
            state = if state.drawing.is_some() {
                let waited = self.wanted.wait_timeout_while(state, LOOK_EVERY, is_still);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.wanted.wait_while(state, is_still).unwrap_or_else(PoisonError::into_inner)
            };
        }
        state.begin();
        let text = state.waiting.pop_front();
        state.waiting_bytes -= text.as_ref().map_or(0, String::len);
        // Reported once the queue is empty: a report in a full queue would be dropped itself.
        let dropped = if state.waiting.is_empty() { std::mem::take(&mut state.dropped) } else { 0 };
        WriterStep { text, dropped, drawing: state.drawing.clone(), drawings: state.drawings }
    }

    fn progressed(&self) {
        self.lock().progress = Instant::now();
        self.done.notify_all();
    }

    fn settle(&self, patience: Duration, longest: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.lock();
        while !state.is_idle {
            let stuck = patience.saturating_sub(state.progress.elapsed());
            let left = stuck.min(longest.saturating_sub(begun.elapsed()));
            if left.is_zero() {
                return false;
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl WriterState {
    /// Notes that the thread has something to do.
    fn begin(&mut self) {
        if std::mem::take(&mut self.is_idle) {
            self.progress = Instant::now();
        }
    }

    fn push(&mut self, text: String) {
        self.begin();
        self.waiting_bytes += text.len();
        self.waiting.push_back(text);
        // The newest line stays: it may have the reason that the program ends.
        while self.waiting_bytes > MOST_WAITING && self.waiting.len() > 1 {
            let Some(oldest) = self.waiting.pop_front() else { return };
            self.waiting_bytes -= oldest.len();
            self.dropped += oldest.lines().count() as u64;
        }
    }
}

/// Writes everything and calls `on_progress` after each part. Another program that shares the file may have made it
/// non-blocking; then this waits until it is writable.
pub fn write_all(to: impl AsFd, mut bytes: &[u8], mut on_progress: impl FnMut()) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(&to, &bytes[..bytes.len().min(CHUNK)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                on_progress();
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut ready = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut ready, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_the_newest_stays() {
        let mut state = Shared::new().state.into_inner().expect("a lock");
        for number in 0..100_000 {
            state.push(format!("line {number}\nand more\n"));
            assert!(state.waiting_bytes <= MOST_WAITING);
        }
        assert_eq!(state.waiting_bytes, state.waiting.iter().map(String::len).sum::<usize>());
        assert_eq!(state.waiting.back().map(String::as_str), Some("line 99999\nand more\n"));
        assert_eq!(state.dropped, 2 * (100_000 - state.waiting.len() as u64));
        // A line that is longer than the limit is kept.
        state.push("x".repeat(2 * MOST_WAITING));
        assert_eq!(state.waiting.len(), 1);
    }

    #[test]
    fn the_end_waits_for_what_is_slow_and_not_for_what_is_stuck() {
        let shared = Arc::new(Shared::new());
        let (patience, longest) = (Duration::from_millis(1500), Duration::from_secs(60));
        assert!(shared.settle(patience, longest), "there is nothing to do");
        let begun = Instant::now();
        shared.lock().push("never written\n".into());
        assert!(!shared.settle(patience, longest));
        assert!(begun.elapsed() >= patience && begun.elapsed() < longest);
        // It has been stuck for long.
        let begun = Instant::now();
        assert!(!shared.settle(patience, longest));
        assert!(begun.elapsed() < patience);
        // Slow, but not stuck.
        let slow = Arc::clone(&shared);
        slow.progressed();
        let thread = thread::spawn(move || {
            for _ in 0..10 {
                thread::sleep(Duration::from_millis(200));
                slow.progressed();
            }
            slow.lock().is_idle = true;
            slow.done.notify_all();
        });
        assert!(shared.settle(patience, longest));
        thread.join().expect("it ends");
        // Slow for too long.
        shared.lock().push("x".into());
        assert!(!shared.settle(longest, patience));
    }

    #[test]
    fn what_was_dropped_is_counted_once_output_is_taken_again() {
        use std::io::{BufRead as _, BufReader};
        const LINES: u64 = 50_000;
        let (reader, to) = io::pipe().expect("a pipe");
        let shared = Arc::new(Shared::new());
        for number in 0..LINES {
            shared.lock().push(format!("line {number}\n"));
        }
        let writing = Arc::clone(&shared);
        thread::spawn(move || {
            let on_dropped = |lines| writing.lock().push(format!("dropped {lines}\n"));
            writing.serve(&to, on_dropped);
        });
        // The thread fills the pipe, and is stuck.
        assert!(!shared.settle(Duration::from_millis(500), Duration::from_secs(60)));
        for number in LINES..2 * LINES {
            shared.lock().push(format!("line {number}\n"));
        }
        shared.lock().push("the end\n".into());
        let (mut written, mut dropped, mut has_end) = (0, 0, false);
        for line in BufReader::new(reader).lines().map(|line| line.expect("text")) {
            match line.split_once(' ') {
                Some(("line", _)) => written += 1,
                Some(("dropped", lines)) => dropped += lines.parse::<u64>().expect("a number"),
                _ => has_end = line == "the end",
            }
            if has_end && written + dropped == 2 * LINES {
                break;
            }
        }
        assert!(shared.settle(PATIENCE, LONGEST));
        assert!(dropped > 0 && written > 0, "{written} {dropped}");
    }

    #[test]
    fn everything_is_written_where_writing_must_not_block() {
        use std::io::Read as _;
        use std::os::unix::net::UnixStream;
        let (mut reader, writer) = UnixStream::pair().expect("sockets");
        writer.set_nonblocking(true).expect("it can be set");
        let bytes: Vec<u8> = (0..4_000_000_u32).map(|i| i as u8).collect();
        let expected = bytes.clone();
        let thread = thread::spawn(move || write_all(writer, &bytes, || {}));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("it can be read");
        thread.join().expect("it ends").expect("it is written");
        assert!(read == expected);
    }
}
