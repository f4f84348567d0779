//! Worker processes of our own, on this machine and over `ssh` on others.
//!
//! A worker of ours is this executable run as `granule worker --supervised`. It gets the access to
//! the coordinator and its name on its standard input and ends when that closes: however the
//! coordinator ends, its workers do not outlive it. Workers are not in the terminal's foreground
//! group, so that Ctrl-C reaches the coordinator alone, which then ends them.
//!
//! The same holds for those on other machines, with [`ssh`] in between.

mod ending;
pub mod hosts;
mod process;
pub mod roster;
pub mod ssh;

use std::collections::BTreeMap;
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

use self::ending::{End, Ending, How};
use self::process::{Orders, Unfit, supervise};
use self::roster::{Roster, Verdict};
use self::ssh::Ssh;

/// How long it may take to log in to another machine: scripts that run then can be slow.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);

/// A worker process ended.
#[derive(Debug)]
pub struct Exited {
    pub worker: WorkerName,
    pub process_id: u32,
    /// Only those on other machines are told apart by it.
    ending: Ending,
    /// How, for people: `was killed by signal 9`.
    pub description: String,
}

/// What is known of a worker that has ended.
#[derive(Debug)]
pub enum Gone {
    /// It was one of this machine.
    Here {
        /// Whether it ended because the system refused it a thread or a file.
        is_starved: bool,
    },
    /// It was one of another machine.
    There {
        /// As it was named.
        host: String,
        /// Whether it was itself that died, and not the connection.
        is_death: bool,
        verdict: Verdict,
    },
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug)]
enum Location {
    Here,
    /// On the machine of this place in the roster.
    There(usize),
}

/// How to start workers.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// Other machines.
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
    running: BTreeMap<WorkerName, Running>,
    roster: Roster,
}

#[derive(Debug)]
struct Running {
    place: Location,
    process_id: u32,
    started: Instant,
    /// Whether it is connected.
    has_joined: bool,
    /// Whether it ever was.
    was_there: bool,
    /// Sent, or dropped, it ends the process.
    kill: oneshot::Sender<(Ending, String)>,
    task: JoinHandle<()>,
}

impl Workers {
    pub fn new(program: Program, exits: mpsc::UnboundedSender<Exited>) -> Workers {
        let hosts = program.ssh.as_ref().map_or(&[][..], |ssh| &ssh.hosts);
        let roster = Roster::new(hosts, Instant::now());
        Workers { program, exits, running: BTreeMap::new(), roster }
    }

    /// Starts one more on this machine.
    pub fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.program.path);
        command
            // The path may be one that says nothing, `/proc/self/exe`.
            .arg0("granule")
            .args(["worker", "--supervised"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        self.launch(command, Location::Here)
    }

    /// Starts one on each of the other machines where it is time to.
    ///
    /// # Errors
    /// When there is no `ssh`.
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
            // What the system lacks it may have another time: this one has ended before it began.
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
                Err(error) => (Ending::Unknown, format!("cannot be asked: {error}")),
                Ok(child) => see_through(child, place, orders, &access, killed).await,
            };
            let _ = exits.send(Exited { worker, process_id, ending, description });
        });
        let running = Running {
            place,
            process_id,
            started: Instant::now(),
            has_joined: false,
            was_there: false,
            kill,
            task,
        };
        self.running.insert(worker, running);
        Ok(())
    }

    /// Whether there are any on this machine.
    pub fn are_any_here(&self) -> bool {
        self.running.values().any(|running| matches!(running.place, Location::Here))
    }

    /// The process of a worker of ours on this machine.
    pub fn process_id(&self, worker: WorkerName) -> Option<u32> {
        let running = self.running.get(&worker)?;
        matches!(running.place, Location::Here).then_some(running.process_id)
    }

    /// The other machine on which a worker of ours is, as it was named.
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

    /// Notes that a worker has lost its connection: it is to end, or to connect again, in time.
    pub fn left(&mut self, worker: WorkerName) {
        if let Some(running) = self.running.get_mut(&worker) {
            running.has_joined = false;
            running.started = Instant::now();
        }
    }

    /// Notes that a process has ended, and says what comes of it; nothing of one that is not ours.
    pub fn exited(&mut self, exited: &Exited) -> Option<Gone> {
        let running = self.running.remove(&exited.worker)?;
        Some(match running.place {
            Location::Here => Gone::Here { is_starved: exited.ending == Ending::Starved },
            Location::There(at) => Gone::There {
                host: self.roster.host(at).name.clone(),
                is_death: exited.ending == Ending::Failed && running.was_there,
                verdict: self.roster.ended(at, exited.ending, &exited.description, Instant::now()),
            },
        })
    }

    /// What is wrong with the other machines, if nothing can be expected of them any more and there are no
    /// workers here.
    pub fn is_hopeless(&self) -> Option<Vec<String>> {
        let is_hopeless = self.program.ssh.is_some() && !self.are_any_here() && self.roster.is_hopeless();
        is_hopeless.then(|| self.roster.complaints())
    }

    /// Ends a process for this reason. Its exit will be reported.
    pub fn kill(&mut self, worker: WorkerName, reason: &str) {
        self.end_one(worker, Ending::Unknown, reason);
    }

    /// The same, of one that cannot work for us, nor can another on its machine.
    pub fn dismiss(&mut self, worker: WorkerName, reason: &str) {
        self.end_one(worker, Ending::Unfit, reason);
    }

    fn end_one(&mut self, worker: WorkerName, ending: Ending, reason: &str) {
        if let Some(running) = self.running.get_mut(&worker) {
            let (spent, _) = oneshot::channel();
            let _ = std::mem::replace(&mut running.kill, spent).send((ending, reason.to_owned()));
        }
    }

    /// Ends the processes that should have connected by now.
    pub fn kill_unconnected(&mut self) {
        let here = self.program.connect_within;
        let limit = |running: &Running| match running.place {
            Location::Here => here,
            Location::There(_) => here.max(LOGIN_WITHIN),
        };
        let is_late = |running: &Running| !running.has_joined && running.started.elapsed() > limit(running);
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

    /// Waits a little for all processes to end by themselves, then ends them.
    pub async fn end(self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        let mut left = Vec::new();
        for (_, Running { kill, mut task, .. }) in self.running {
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

/// Sees a worker process through to its end; returns how it ended.
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

/// Tells a worker on this machine what it is to know, and keeps its standard input open.
async fn instruct(stdin: Option<ChildStdin>, orders: Orders) -> Result<(), Unfit> {
    if let Some(mut stdin) = stdin {
        // If this fails the process is already gone, and its exit says so.
        let _ = stdin.write_all(orders.0.as_bytes()).await;
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// How a worker on this machine has ended.
fn describe(End { how, said }: End) -> (Ending, String) {
    let (ending, how) = match how {
        How::ByUs(ending, reason) => (ending, reason),
        How::ByItself(status) => match (status.code(), status.signal()) {
            (Some(code), _) if code == i32::from(exit::STARVED) => {
                (Ending::Starved, "had no thread to compute with".to_owned())
            }
            (Some(code), _) => (Ending::Failed, format!("exited with code {code}")),
            (None, Some(signal)) => (Ending::Failed, format!("was killed by signal {signal}")),
            (None, None) => (Ending::Failed, "ended".to_owned()),
        },
    };
    (ending, if said.is_empty() { how } else { format!("{how}, saying: {said}") })
}
