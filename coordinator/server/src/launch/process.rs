//! A worker process, from its orders to its end.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use granule_system::exit;
use granule_text::from_outside;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::sync::oneshot;

use super::ending::{Ending, How, ProcessEnd};

/// Text for a worker's standard input only. It has the secret, so `Debug` hides it.
pub(super) struct Orders(pub(super) String);

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orders")
    }
}

/// Last lines of a worker's output that describe its end.
const LINES: usize = 10;

/// The program at the other end is not a worker that can be used.
#[derive(Debug)]
pub(super) struct NotAWorker(pub(super) String);

impl fmt::Display for NotAWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Waits for a worker process to end, while `connected` runs, or kills it.
pub(super) async fn supervise(
    child: &mut Child,
    connected: impl Future<Output = Result<(), NotAWorker>>,
    killed: oneshot::Receiver<(Ending, String)>,
) -> ProcessEnd {
    let last_words = tokio::spawn(last_words(child.stderr.take()));
    let unfit = async {
        match connected.await {
            Err(unfit) => unfit,
            Ok(()) => std::future::pending().await,
        }
    };
    let how = tokio::select! {
        status = child.wait() => match status {
            Ok(status) => How::ByItself(status),
            Err(error) => {
                How::ByUs(Ending::Unknown, format!("has an exit status that granule cannot read: {error}"))
            }
        },
        reason = killed => {
            let _ = child.kill().await;
            let (ending, reason) = reason.unwrap_or_else(|_| (Ending::Left, "was ended".to_owned()));
            How::ByUs(ending, reason)
        }
        unfit = unfit => {
            let _ = child.kill().await;
            How::ByUs(Ending::Unfit, unfit.to_string())
        }
    };
    // A grandchild could keep the pipe open forever.
    let said = tokio::time::timeout(Duration::from_secs(1), last_words).await;
    let mut said: Vec<String> = said.ok().and_then(Result::ok).unwrap_or_default().into();
    // An error about a model has the output of its program, and is shown whole.
    let is_unfit = matches!(&how, How::ByItself(status) if status.code() == Some(exit::UNFIT.into()));
    if !is_unfit {
        said.drain(..said.len().saturating_sub(LINES));
    }
    ProcessEnd { how, said: said.join(" / ") }
}

/// Returns the last lines of standard error, made safe for people.
async fn last_words(stderr: Option<ChildStderr>) -> VecDeque<String> {
    const MOST: usize = 100;
    const LONGEST: u64 = 4 << 10;
    let mut last = VecDeque::with_capacity(LINES);
    let Some(stderr) = stderr else { return last };
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    // A longer line counts as several lines.
    while let Ok(1..) = (&mut stderr).take(LONGEST).read_until(b'\n', &mut line).await {
        if last.len() == MOST {
            last.pop_front();
        }
        last.push_back(from_outside(String::from_utf8_lossy(&line).trim_end()));
        line.clear();
    }
    last.retain(|line| !line.is_empty());
    last
}
