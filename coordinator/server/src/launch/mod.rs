//! Worker processes that the coordinator starts, on this machine and by `ssh` on others.
//!
//! Such a worker is this executable, run as `granule worker --supervised`. It reads the access to the coordinator and
//! its own name from its standard input, and exits when that closes. So workers do not outlive the coordinator, however
//! it ends. Workers are not in the terminal's foreground group. So Ctrl-C reaches only the coordinator, which then ends
//! them.
//!
//! The same holds for workers on other machines, with [`ssh`] in between.

mod ending;
pub mod hosts;
mod process;
pub mod roster;
pub mod ssh;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use granule_farm::scheduler::WorkerName;
use granule_system::exit;
use granule_system::hex;
use granule_worker::access::Access;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use self::ending::Ending;
use self::ending::{How, ProcessEnd};
use self::process::{NotAWorker, Orders, supervise};
use self::roster::{Roster, Verdict};
use self::ssh::Ssh;

/// How long a login to another machine may take. Its login scripts can be slow.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);

/// A worker process that has ended.
#[derive(Debug)]
pub struct Exited {
    pub worker: WorkerName,
    pub process_id: u32,
    /// Decides the consequence of the end.
    ending: Ending,
    /// How it ended, for people: `was killed by signal 9`.
    pub description: String,
}

/// The consequence of a worker's end.
#[derive(Debug)]
pub enum Gone {
    /// The worker ran on this machine.
    Here {
        ending: Ending,
        /// Whether no other worker of ours ran here in its time. If it was alone and is starved, no worker can run here.
        was_alone: bool,
    },
    /// The worker ran on another machine.
    There {
        /// Name of the machine in the user's list.
        host: String,
        /// Whether the worker itself died, and not only its connection.
        is_death: bool,
        verdict: Verdict,
    },
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Location {
    Here,
    /// On the host with this index in the roster.
    There(usize),
}

/// How to start workers.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// The model file, if the trials are computed by the user's program.
    pub model: Option<PathBuf>,
    /// Other machines, and how to reach them.
    pub ssh: Option<Ssh>,
    pub access: Access,
    /// How long a process may take to connect.
    pub connect_within: Duration,
}

/// The worker processes of a run.
#[derive(Debug)]
pub struct Workers {
    program: Program,
    exits: mpsc::UnboundedSender<Exited>,
    running: BTreeMap<WorkerName, RunningWorker>,
    roster: Roster,
}

#[derive(Debug)]
struct RunningWorker {
    place: Location,
    process_id: u32,
    started: Instant,
    /// Whether no other worker of ours ran on its machine since it was started.
    was_alone: bool,
    /// Whether it is connected.
    has_joined: bool,
    /// Whether it was ever connected.
    was_there: bool,
    /// Sending on this, or dropping it, ends the process.
    kill: oneshot::Sender<(Ending, String)>,
    task: JoinHandle<()>,
}

impl Workers {
    pub fn new(program: Program, exits: mpsc::UnboundedSender<Exited>) -> Workers {
        let hosts = program.ssh.as_ref().map_or(&[][..], |ssh| &ssh.hosts);
        let roster = Roster::new(hosts, Instant::now());
        Workers { program, exits, running: BTreeMap::new(), roster }
    }

    /// Starts one more worker on this machine.
    pub fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.program.path);
        command
            // The path may be `/proc/self/exe`, which does not show the program's name.
            .arg0("granule")
            .args(["worker", "--supervised"])
            .args(self.program.model.iter().flat_map(|model| [OsStr::new("--model"), model.as_os_str()]))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        self.launch(command, Location::Here)
    }

    /// Starts a worker on each of the other machines on which one is due.
    ///
    /// # Errors
    /// If there is no `ssh`.
    pub fn start_others(&mut self) -> io::Result<()> {
        for at in self.roster.due(Instant::now()) {
            let command = self.program.ssh.as_ref().map(|ssh| ssh.command(self.roster.host(at)));
            if let Some(command) = command {
                self.launch(command, Location::There(at))?;
            }
        }
        Ok(())
    }

    fn launch(&mut self, mut command: Command, place: Location) -> io::Result<()> {
        let child = match command.stderr(Stdio::piped()).process_group(0).kill_on_drop(true).spawn() {
            // A lack in the system may pass. So treat this worker as one that ended at once.
            Err(error) if matches!(place, Location::There(_)) && error.kind() != io::ErrorKind::NotFound => {
                Err(error)
            }
            spawned => Ok(spawned?),
        };
        let process_id = child.as_ref().ok().and_then(Child::id).unwrap_or_default();
        let worker = WorkerName(rand::random());
        let (kill, killed) = oneshot::channel();
        let access = self.program.access.clone();
        let orders = Orders(format!("{}\n{}\n", access.to_json(), hex(&worker.0)));
        let exits = self.exits.clone();
        let task = tokio::spawn(async move {
            let (ending, description) = match child {
                Err(error) => {
                    (Ending::Unknown, format!("cannot be reached, because `ssh` cannot be started: {error}"))
                }
                Ok(child) => see_through(child, place, orders, &access, killed).await,
            };
            let _ = exits.send(Exited { worker, process_id, ending, description });
        });
        let was_alone = self.running.values().all(|running| running.place != place);
        for running in self.running.values_mut() {
            running.was_alone &= running.place != place;
        }
        let running = RunningWorker {
            place,
            process_id,
            started: Instant::now(),
            was_alone,
            has_joined: false,
            was_there: false,
            kill,
            task,
        };
        self.running.insert(worker, running);
        Ok(())
    }

    /// Whether any worker of ours runs on this machine.
    pub fn are_any_here(&self) -> bool {
        self.running.values().any(|running| matches!(running.place, Location::Here))
    }

    /// Returns the process id of a worker of ours on this machine.
    pub fn process_id(&self, worker: WorkerName) -> Option<u32> {
        let running = self.running.get(&worker)?;
        matches!(running.place, Location::Here).then_some(running.process_id)
    }

    /// Returns the host of a worker of ours on another machine, as the user named it.
    pub fn host(&self, worker: WorkerName) -> Option<&str> {
        match self.running.get(&worker)?.place {
            Location::Here => None,
            Location::There(at) => Some(&self.roster.host(at).name),
        }
    }

    /// Notes that a worker has connected.
    pub fn joined(&mut self, worker: WorkerName) {
        if let Some(running) = self.running.get_mut(&worker) {
            (running.has_joined, running.was_there) = (true, true);
            if let Location::There(at) = running.place {
                self.roster.joined(at, Instant::now());
            }
        }
    }

    /// Notes that a worker has lost its connection. It has to exit or to reconnect in time.
    pub fn left(&mut self, worker: WorkerName) {
        if let Some(running) = self.running.get_mut(&worker) {
            running.has_joined = false;
            running.started = Instant::now();
        }
    }

    /// Notes that a process has ended. Returns the consequence, or none if the process is not ours.
    pub fn exited(&mut self, exited: &Exited) -> Option<Gone> {
        let running = self.running.remove(&exited.worker)?;
        Some(match running.place {
            Location::Here => Gone::Here { ending: exited.ending, was_alone: running.was_alone },
            Location::There(at) => Gone::There {
                host: self.roster.host(at).name.clone(),
                is_death: exited.ending == Ending::Failed && running.was_there,
                verdict: self.roster.ended(at, exited.ending, &exited.description, Instant::now()),
            },
        })
    }

    /// Returns the failures of the other machines, if no worker can be expected from them and none runs here.
    pub fn is_hopeless(&self) -> Option<Vec<String>> {
        let is_hopeless = self.program.ssh.is_some() && !self.are_any_here() && self.roster.is_hopeless();
        is_hopeless.then(|| self.roster.complaints())
    }

    /// Ends a process for this reason. Its exit is reported.
    pub fn kill(&mut self, worker: WorkerName, reason: &str) {
        self.end_one(worker, Ending::Unknown, reason);
    }

    /// The same, for a worker that cannot work for this run. No other worker on its machine can, either.
    pub fn dismiss(&mut self, worker: WorkerName, reason: &str) {
        self.end_one(worker, Ending::Unfit, reason);
    }

    fn end_one(&mut self, worker: WorkerName, ending: Ending, reason: &str) {
        if let Some(running) = self.running.get_mut(&worker) {
            let (spent, _) = oneshot::channel();
            let _ = std::mem::replace(&mut running.kill, spent).send((ending, reason.to_owned()));
        }
    }

    /// Ends the processes that have not connected in time.
    pub fn kill_unconnected(&mut self) {
        let here = self.program.connect_within;
        let limit = |running: &RunningWorker| match running.place {
            Location::Here => here,
            Location::There(_) => here.max(LOGIN_WITHIN),
        };
        let is_late =
            |running: &RunningWorker| !running.has_joined && running.started.elapsed() > limit(running);
        let late: Vec<(WorkerName, Duration)> = self
            .running
            .iter()
            .filter(|(_, running)| is_late(running))
            .map(|(worker, running)| (*worker, limit(running)))
            .collect();
        for (worker, limit) in late {
            self.kill(worker, &format!("did not connect within {} s", limit.as_secs()));
        }
    }

    /// Waits for all processes to exit by themselves, at most for `patience`, then kills the rest.
    pub async fn end(self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        let mut left = Vec::new();
        for (_, RunningWorker { kill, mut task, .. }) in self.running {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                drop(kill);
                left.push(task);
            }
        }
        for task in left {
            let _ = task.await;
        }
    }
}

/// Supervises a worker process to its end. Returns how it ended.
async fn see_through(
    mut child: Child,
    place: Location,
    orders: Orders,
    access: &Access,
    killed: oneshot::Receiver<(Ending, String)>,
) -> (Ending, String) {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    match place {
        Location::Here => describe(supervise(&mut child, instruct(stdin, orders), killed).await),
        Location::There(_) => {
            let was_there = AtomicBool::new(false);
            let connected = ssh::connect(stdin, stdout, orders, access, &was_there);
            let end = supervise(&mut child, connected, killed).await;
            ssh::describe(end, was_there.into_inner())
        }
    }
}

/// Sends a worker on this machine its orders, and keeps its standard input open.
async fn instruct(stdin: Option<ChildStdin>, orders: Orders) -> Result<(), NotAWorker> {
    if let Some(mut stdin) = stdin {
        // If this fails, the process has ended, and its exit is reported.
        let _ = stdin.write_all(orders.0.as_bytes()).await;
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Describes how a worker on this machine ended.
fn describe(ProcessEnd { how, said }: ProcessEnd) -> (Ending, String) {
    let (ending, how) = match how {
        How::ByUs(ending, reason) => (ending, reason),
        How::ByItself(status) => match (status.code(), status.signal()) {
            (Some(code), _) if code == i32::from(exit::STARVED) => {
                (Ending::Starved, "was refused a thread or a file by the system".to_owned())
            }
            (Some(code), _) if code == i32::from(exit::UNFIT) => (Ending::Unfit, "cannot compute".to_owned()),
            (Some(code), _) => (Ending::Failed, format!("exited with code {code}")),
            (None, Some(signal)) => (Ending::Failed, format!("was killed by signal {signal}")),
            (None, None) => (Ending::Failed, "ended".to_owned()),
        },
    };
    (ending, if said.is_empty() { how } else { format!("{how}; its last output: {said}") })
}
