//! Worker processes on this machine.
//!
//! A worker of ours is this executable run as `granule worker --supervised`. It gets the access to
//! the coordinator and its name on its standard input and ends when that closes: however the
//! coordinator ends, its workers do not outlive it. Workers are not in the terminal's foreground
//! group, so that Ctrl-C reaches the coordinator alone, which then ends them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use granule_worker::access::Access;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::outputs::hex;
use crate::scheduler::WorkerName;

/// A worker process ended.
#[derive(Debug)]
pub(crate) struct Exited {
    pub(crate) worker: WorkerName,
    pub(crate) process_id: u32,
    /// How, for people: `was killed by signal 9`.
    pub(crate) description: String,
}

/// How to start workers.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
    /// How long a process may take to connect.
    pub(crate) connect_within: Duration,
}

/// The worker processes of a run.
#[derive(Debug)]
pub(crate) struct Workers {
    program: Program,
    exits: mpsc::UnboundedSender<Exited>,
    running: BTreeMap<WorkerName, Running>,
}

#[derive(Debug)]
struct Running {
    process_id: u32,
    started: Instant,
    has_joined: bool,
    /// Sent, or dropped, it ends the process.
    kill: oneshot::Sender<String>,
    task: JoinHandle<()>,
}

impl Workers {
    pub(crate) fn new(program: Program, exits: mpsc::UnboundedSender<Exited>) -> Workers {
        Workers { program, exits, running: BTreeMap::new() }
    }

    /// Starts one more.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let mut child = Command::new(&self.program.path)
            // The path may be one that says nothing, `/proc/self/exe`.
            .arg0("granule")
            .args(["worker", "--supervised"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let process_id = child.id().ok_or(io::ErrorKind::NotFound)?;
        let worker = WorkerName(rand::random());
        let (kill, killed) = oneshot::channel();
        let orders = Orders(format!("{}\n{}\n", self.program.access.to_json(), hex(&worker.0)));
        let exits = self.exits.clone();
        let task = tokio::spawn(async move {
            let description = supervise(&mut child, orders, killed).await;
            let _ = exits.send(Exited { worker, process_id, description });
        });
        let running = Running { process_id, started: Instant::now(), has_joined: false, kill, task };
        self.running.insert(worker, running);
        Ok(())
    }

    /// The process of a worker of ours.
    pub(crate) fn process_id(&self, worker: WorkerName) -> Option<u32> {
        self.running.get(&worker).map(|running| running.process_id)
    }

    /// Notes that a worker has connected.
    pub(crate) fn joined(&mut self, worker: WorkerName) {
        if let Some(running) = self.running.get_mut(&worker) {
            running.has_joined = true;
        }
    }

    /// Notes that a worker has lost its connection: it is to end, or to connect again, in time.
    pub(crate) fn left(&mut self, worker: WorkerName) {
        if let Some(running) = self.running.get_mut(&worker) {
            running.has_joined = false;
            running.started = Instant::now();
        }
    }

    /// Notes that a process has ended; false for one that is not ours.
    pub(crate) fn exited(&mut self, worker: WorkerName) -> bool {
        self.running.remove(&worker).is_some()
    }

    /// Ends a process for this reason. Its exit will be reported.
    pub(crate) fn kill(&mut self, worker: WorkerName, reason: &str) {
        if let Some(running) = self.running.get_mut(&worker) {
            let (spent, _) = oneshot::channel();
            let _ = std::mem::replace(&mut running.kill, spent).send(reason.to_owned());
        }
    }

    /// Ends the processes that should have connected by now.
    pub(crate) fn kill_unconnected(&mut self) {
        let limit = self.program.connect_within;
        let late = |running: &Running| !running.has_joined && running.started.elapsed() > limit;
        let late: Vec<WorkerName> =
            self.running.iter().filter(|(_, running)| late(running)).map(|(worker, _)| *worker).collect();
        for worker in late {
            self.kill(worker, &format!("did not connect within {} s", limit.as_secs()));
        }
    }

    /// Waits a little for all processes to end by themselves, then ends them.
    pub(crate) async fn end(self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        for (_, Running { kill, mut task, .. }) in self.running {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                drop(kill);
                let _ = task.await;
            }
        }
    }
}

/// What a worker is told on its standard input; nobody else is.
struct Orders(String);

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orders")
    }
}

/// Sees a worker process through to its end; returns how it ended.
async fn supervise(child: &mut Child, orders: Orders, killed: oneshot::Receiver<String>) -> String {
    let mut stdin = child.stdin.take();
    if let Some(stdin) = &mut stdin {
        // If this fails the process is already gone, and its exit says so.
        let _ = stdin.write_all(orders.0.as_bytes()).await;
    }
    let stderr = child.stderr.take();
    let last_words = tokio::spawn(async move {
        const LINES: usize = 10;
        let mut last = VecDeque::with_capacity(LINES);
        let Some(stderr) = stderr else { return last };
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if last.len() == LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
        last
    });
    let how = tokio::select! {
        status = child.wait() => status.map_or_else(|error| error.to_string(), describe),
        reason = killed => {
            let _ = child.kill().await;
            reason.unwrap_or_else(|_| "was ended".to_owned())
        }
    };
    drop(stdin);
    // A grandchild could hold the pipe open for ever.
    let said = tokio::time::timeout(Duration::from_secs(1), last_words).await;
    let said: Vec<String> = said.ok().and_then(Result::ok).unwrap_or_default().into();
    if said.is_empty() { how } else { format!("{how}, saying: {}", said.join(" / ")) }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
