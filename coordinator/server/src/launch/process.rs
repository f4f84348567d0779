//! A worker process, from what it is told to its end.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use granule_text::from_outside;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::sync::oneshot;

use super::ending::{End, Ending, How};

/// What a worker is told on its standard input; nobody else is.
pub(super) struct Orders(pub(super) String);

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orders")
    }
}

/// What answered at the other end is not a worker of ours.
#[derive(Debug)]
pub(super) struct Unfit(pub(super) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Waits for the end of a worker process, while it is `connected`, or ends it.
pub(super) async fn supervise(
    child: &mut Child,
    connected: impl Future<Output = Result<(), Unfit>>,
    killed: oneshot::Receiver<(Ending, String)>,
) -> End {
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
            Err(error) => How::ByUs(Ending::Unknown, error.to_string()),
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
    // A grandchild could hold the pipe open for ever.
    let said = tokio::time::timeout(Duration::from_secs(1), last_words).await;
    let said: Vec<String> = said.ok().and_then(Result::ok).unwrap_or_default().into();
    End { how, said: said.join(" / ") }
}

/// The last lines that somebody says, as far as they are for people.
async fn last_words(stderr: Option<ChildStderr>) -> VecDeque<String> {
    const LINES: usize = 10;
    const LONGEST: u64 = 4 << 10;
    let mut last = VecDeque::with_capacity(LINES);
    let Some(stderr) = stderr else { return last };
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    // What is longer counts as several lines.
    while let Ok(1..) = (&mut stderr).take(LONGEST).read_until(b'\n', &mut line).await {
        if last.len() == LINES {
            last.pop_front();
        }
        last.push_back(from_outside(String::from_utf8_lossy(&line).trim_end()));
        line.clear();
    }
    last.retain(|line| !line.is_empty());
    last
}
