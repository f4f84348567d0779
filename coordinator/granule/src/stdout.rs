//! Standard output: the results that a command prints.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use granule_server::view::log;
use granule_server::view::stderr::{PATIENCE, settle, write_all};
use granule_system::exit;
use granule_text as text;
use granule_text::words::escaped_json;
use serde::Serialize;

use crate::failure::Failure;

/// Whether anything reads what is printed.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdoutReader {
    Reads,
    /// The reader of the pipe has closed it, as `head` does. This is not an error.
    IsGone,
}

impl StdoutReader {
    /// Ignores whether the reader is gone, because nothing more is printed.
    pub(crate) fn done(self) {}
}

/// Prints a text, and waits for its reader without a limit.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn say(text: &str) -> Result<StdoutReader, Failure> {
    reader_of(write_all(io::stdout(), text::lines(text).as_bytes(), || {}))
}

/// The first fields of every report for programs.
#[derive(Debug, Serialize)]
pub(crate) struct ReportHead {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl ReportHead {
    /// Number of the schema of reports. It increases when a field is removed or changes its meaning.
    pub(crate) const SCHEMA: u32 = 1;

    /// Returns the head of a report of this type.
    pub(crate) fn of(kind: &'static str) -> ReportHead {
        ReportHead { schema: ReportHead::SCHEMA, kind }
    }
}

/// Prints an object, as a line of JSON.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn say_json(report: &impl Serialize) -> Result<StdoutReader, Failure> {
    reader_of(write_all(io::stdout(), json(report).as_bytes(), || {}))
}

/// Returns an object as a line of JSON.
pub(crate) fn json(report: &impl Serialize) -> String {
    let json = serde_json::to_string(report).expect("text and numbers can be written");
    format!("{}\n", escaped_json(&json))
}

/// Standard output, unbuffered, for output that is too large for memory.
pub(crate) struct StdoutStream;

impl Write for StdoutStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(io::stdout(), bytes, || {})?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the result of writing to standard output.
///
/// # Errors
/// When writing failed, unless the reader is gone.
pub(crate) fn reader_of(written: io::Result<()>) -> Result<StdoutReader, Failure> {
    match written {
        Ok(()) => Ok(StdoutReader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(StdoutReader::IsGone),
        Err(error) => {
            let message = format!(
                "error: cannot write to standard output\n  because: {error}\n  help: the output is incomplete; \
                    free some space, or redirect it"
            );
            Err(Failure::new(exit::FAILED, message))
        }
    }
}

/// Returns the result of a command that has done its work and printed it. If both failed, both are reported, and the
/// exit code is that of the work.
pub(crate) fn both(done: Result<(), Failure>, said: Result<(), Failure>) -> Result<(), Failure> {
    match (done, said) {
        (Err(failure), Err(unsaid)) => {
            log::error(&unsaid.message);
            Err(failure)
        }
        (done, said) => done.and(said),
    }
}

/// The last output of a command that handles signals itself. A signal would not end it while it waits for a stopped
/// reader, so it waits for a limited time.
pub(crate) struct LastWords {
    text: String,
    /// Whether the command fails if the text is not read.
    are_asked_for: bool,
}

impl LastWords {
    /// Returns a summary. The sweep has succeeded even if it is not read.
    pub(crate) fn summary(text: String) -> LastWords {
        LastWords { text: text::lines(&text), are_asked_for: false }
    }

    /// Returns an object that was asked for, as a line of JSON.
    pub(crate) fn json(report: &impl Serialize) -> LastWords {
        LastWords { text: json(report), are_asked_for: true }
    }

    /// Prints the text after the lines on standard error.
    ///
    /// # Errors
    /// When it cannot be written, or when it was asked for and is not read.
    pub(crate) fn say(self) -> Result<(), Failure> {
        // Bars would be drawn over it.
        settle();
        let LastWords { text, are_asked_for } = self;
        let written =
            within(PATIENCE, move |on_progress| write_all(io::stdout(), text.as_bytes(), on_progress));
        match written {
            Some(written) => reader_of(written).map(StdoutReader::done),
            None if are_asked_for => reader_of(Err(io::Error::other(format!(
                "nothing was read from it for {} s",
                PATIENCE.as_secs()
            ))))
            .map(StdoutReader::done),
            None => {
                let seconds = PATIENCE.as_secs();
                log::line(&format!(
                    "note: the summary was not printed: nothing was read from standard output for {seconds} s"
                ));
                Ok(())
            }
        }
    }
}

/// Writes in a thread of its own. Returns the result, or none after so long without progress.
fn within<W>(patience: Duration, write: W) -> Option<io::Result<()>>
where
    W: FnOnce(&mut dyn FnMut()) -> io::Result<()> + Send + 'static,
{
    let (progress, news) = mpsc::channel();
    let (give, given) = mpsc::channel::<W>();
    let writing = move || {
        // The sender may have been dropped.
        let Ok(write) = given.recv() else { return };
        let on_progress = progress.clone();
        let written = write(&mut || drop(on_progress.send(None)));
        // The receiver may have been dropped.
        let _ = progress.send(Some(written));
    };
    if thread::Builder::new().name("stdout".into()).spawn(writing).is_err() {
        // The system allows no further thread: this one waits.
        return Some(write(&mut || {}));
    }
    // The thread takes it, unless it has ended.
    let _ = give.send(write);
    loop {
        match news.recv_timeout(patience) {
            Ok(None) => {}
            Ok(Some(written)) => return Some(written),
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_not_waited_for() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut rest = writer.try_clone().expect("an end");
        let fill = move |on_progress: &mut dyn FnMut()| write_all(writer, &[b'x'; 1 << 20], on_progress);
        assert!(within(Duration::from_millis(300), fill).is_none());
        // Closing it then does not matter, either.
        drop(reader);
        let closed = within(Duration::from_secs(60), move |_| rest.write_all(b"x")).expect("it ends at once");
        assert_eq!(reader_of(closed).expect("that is no failure"), StdoutReader::IsGone);
    }

    #[test]
    fn what_is_not_written_is_a_failure() {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
        let failure = reader_of(write_all(full, b"x", || {})).expect_err("it is full");
        assert_eq!(failure.code, exit::FAILED);
        assert!(
            failure.message.starts_with("error: cannot write to standard output\n  because: "),
            "{failure:?}"
        );
    }
}
