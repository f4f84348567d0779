//! The processes of a user's program.
//!
//! ```text
//! worker ─ guard (leader of a process group) ─ sh: descriptors 3 and 4 ─ program ─ its own children
//! ```
//!
//! The guard is this executable, run as `granule guard`. It ends the group if the worker dies, so that no program
//! outlives its worker. The worker ends the group when a trial takes too long, when the program breaks the protocol, and
//! when the program exits. `sh` connects the descriptors of the protocol, and sends what the program prints to the log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use granule_engine::{Model, NoResult, Shard, Take, TrialKey, TrialSpikes, Unable, Value};
use granule_program::protocol::{self, Answer, LONGEST_LINE};
use granule_program::{Program, Runner};
use granule_system::shell::shell_word;
use granule_text::from_outside;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::model::LocalModel;

/// How long a program may take to start and to answer the greeting. Imports on a busy file system can be slow.
pub const START_WITHIN: Duration = Duration::from_secs(300);

/// How long a program may take to exit after its requests have ended.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How long all programs of a worker that ends may take to exit.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Bytes of a program's output that are kept, and that a message shows.
const LOG: usize = 64 << 10;
const LOG_SHOWN: usize = 4 << 10;

/// Exit code of a guard that has ended its program because it used too much memory.
pub const TOO_MUCH_MEMORY: i32 = 125;

/// Variables that limit the threads of common libraries.
const THREADS: [&str; 5] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
];

/// Trials of which a worker remembers the process that computed them. Audits follow soon.
const REMEMBERED: usize = 1 << 16;

/// Runs a program in as many processes as trials are computed at a time, and one more if trials are audited.
pub struct Processes {
    program: &'static Program,
    model: LocalModel,
    /// The executable with the command `guard`.
    granule: PathBuf,
    /// Most processes that wait for a trial.
    most_idle: usize,
    idle: Mutex<Vec<Process>>,
    computed: Mutex<Computed>,
    /// Number of the next process.
    next: AtomicU64,
    /// Called once if a file of the model changes.
    on_change: OnceLock<Box<dyn Fn(String) + Send + Sync>>,
    /// When the files of the model were last looked at.
    checked: Mutex<Option<Instant>>,
}

/// A trial that was computed in a process of its own.
#[derive(Debug)]
pub struct SingleTrial {
    /// The result.
    pub result: Result<TrialSpikes, NoResult>,
    /// Versions that the program reports, by package.
    pub versions: BTreeMap<String, String>,
    /// The end of what the program printed since the trial began.
    pub printed: String,
    /// Time until the program had answered the greeting.
    pub starting: Duration,
    /// Time of the trial.
    pub taken: Duration,
}

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("cannot start the program `{command}` of model {}", model.display())]
    Start {
        /// The program and its arguments.
        command: String,
        /// Path of the model file.
        model: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It did not answer the greeting.
    #[error("the program `{command}` of model {} {what}", model.display())]
    Greeting {
        /// The program and its arguments.
        command: String,
        /// Path of the model file.
        model: PathBuf,
        /// Its behaviour instead, with the end of its output.
        what: String,
    },
    /// A file has changed since its content was hashed.
    #[error(
        "{} has changed since this worker read model {}; its trials would be those of another model",
        file.display(), model.display()
    )]
    Changed {
        /// The file.
        file: PathBuf,
        /// Path of the model file.
        model: PathBuf,
    },
}

impl Processes {
    /// Returns the runner of a program that computes so many trials at a time. `granule` is the executable with the
    /// command `guard`.
    pub fn new(model: LocalModel, program: &'static Program, granule: PathBuf, at_a_time: u32) -> Processes {
        Processes {
            program,
            model,
            granule,
            most_idle: at_a_time as usize + 1,
            idle: Mutex::new(Vec::new()),
            computed: Mutex::default(),
            next: AtomicU64::new(0),
            on_change: OnceLock::new(),
            checked: Mutex::new(None),
        }
    }

    /// Sets a function that is called with the reason if a file of the model changes. The worker must then compute no
    /// further trial.
    pub fn on_change(&self, told: Box<dyn Fn(String) + Send + Sync>) {
        let _ = self.on_change.set(told);
    }

    /// Starts a process, and keeps it for the first trial. Returns the versions that the program reports, by package.
    ///
    /// # Errors
    /// If the program cannot be started, or does not answer.
    pub fn versions(&self) -> Result<BTreeMap<String, String>, ProgramError> {
        let process = Process::start(self)?;
        let versions = process.versions.clone();
        self.put_back(process);
        Ok(versions)
    }

    /// Computes a trial so many times, one after the other, in a process of its own. Returns the last result.
    ///
    /// # Errors
    /// If the program cannot be started, or does not answer the greeting.
    pub fn once(
        &self,
        model: &Model,
        seed: u32,
        trial: u32,
        times: u32,
    ) -> Result<SingleTrial, ProgramError> {
        let begun = Instant::now();
        let mut process = Process::start(self)?;
        let started = Instant::now();
        let mut result = process.trial(self, model, seed, trial);
        for _ in 1..times {
            if result.is_ok() {
                result = process.trial(self, model, seed, trial);
            }
        }
        let result = result.map_err(|failed| failed.why);
        let taken = started.elapsed();
        let versions = process.versions.clone();
        Ok(SingleTrial { result, versions, printed: process.end(), starting: started - begun, taken })
    }

    /// Ends all processes, each by itself if it can.
    pub fn end(&self) {
        let mut idle = std::mem::take(&mut *lock(&self.idle));
        idle.iter_mut().for_each(|process| process.requests = None);
        let due = Instant::now() + LEAVE_WITHIN;
        for process in idle {
            process.status(due.saturating_duration_since(Instant::now()));
        }
    }

    fn command(&self) -> String {
        self.program.file().program.join(" ")
    }

    /// Returns an idle process with another number than this.
    fn idle_other_than(&self, number: Option<u64>) -> Option<Process> {
        let mut idle = lock(&self.idle);
        let at = idle.iter().rposition(|process| Some(process.number) != number)?;
        Some(idle.remove(at))
    }

    /// Computes a trial in any process. If this worker has computed the trial before, the result is for a check. Then
    /// another process computes it twice in a row, and the second result counts. So what came before the trial is different, and
    /// the check finds a result that depends on that.
    fn one(&self, model: &Model, seed: u32, trial: u32) -> Result<Result<TrialSpikes, Failed>, ProgramError> {
        let key = model.fingerprint().trial(seed, trial);
        let before = lock(&self.computed).by.get(&key).copied();
        let mut process = match self.idle_other_than(before) {
            Some(process) => process,
            None => Process::start(self)?,
        };
        let mut result = process.trial(self, model, seed, trial);
        if before.is_some() && result.is_ok() {
            result = process.trial(self, model, seed, trial);
        }
        self.check_files()?;
        if result.is_ok() && before.is_none() {
            lock(&self.computed).remember(key, process.number);
        }
        if result.as_ref().err().is_none_or(|failed| failed.is_usable) {
            self.put_back(process);
        }
        Ok(result)
    }

    /// Keeps a process for further trials. If too many wait, ends the one that has waited longest.
    fn put_back(&self, process: Process) {
        let mut idle = lock(&self.idle);
        idle.push(process);
        let surplus = (idle.len() > self.most_idle).then(|| idle.remove(0));
        drop(idle);
        drop(surplus);
    }

    /// Checks that the files of the model are unchanged. Many files are looked at ten times a second at most, because
    /// that takes time on a shared file system.
    fn check_files(&self) -> Result<(), ProgramError> {
        const MANY: usize = 64;
        const EVERY: Duration = Duration::from_millis(100);
        let mut checked = lock(&self.checked);
        if self.model.files() > MANY && checked.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        *checked = Some(Instant::now());
        drop(checked);
        match self.model.changed() {
            Some(file) => {
                let changed = ProgramError::Changed { file: file.to_owned(), model: self.model.path.clone() };
                self.on_change.get().iter().for_each(|tell| tell(changed.to_string()));
                Err(changed)
            }
            None => Ok(()),
        }
    }

    /// Returns the command that repeats a trial in the foreground.
    fn repeat(&self, model: &Model, seed: u32, trial: u32) -> String {
        let set: String = (model.values().iter())
            .filter(|(parameter, value)| **value != parameter.default)
            .map(|(parameter, value)| {
                let value = match value {
                    Value::Numbers(list) => {
                        let with_unit = |x: &f64| format!("{x} {}", parameter.unit()).trim_end().to_owned();
                        format!("[{}]", list.iter().map(with_unit).collect::<Vec<_>>().join(", "))
                    }
                    value => format!("{value} {}", parameter.unit()).trim_end().to_owned(),
                };
                format!(" --set {}", shell_word(format!("{}={value}", parameter.path)))
            })
            .collect();
        let path = shell_word(&self.model.path);
        format!("granule try {path}{set} --seed {seed} --trial {trial}")
    }
}

impl Runner for Processes {
    fn compute(&self, shard: &Shard<'_>, take: &mut Take<'_>) -> Result<(), Unable> {
        let unable = |error: ProgramError| Unable(full(&error));
        for trial in shard.trials.clone() {
            let mut results = Vec::with_capacity(shard.models.len());
            for model in shard.models {
                let result = self.one(model, shard.seed, trial).map_err(unable)?;
                results.push(match result {
                    Ok(result) if result.len() > shard.most_spikes => Err(NoResult::TooLarge),
                    Ok(result) => Ok(result),
                    Err(Failed { why: NoResult::Failed(how), .. }) => Err(NoResult::Failed(format!(
                        "{}\nto repeat it: {}",
                        protocol::shortened(&how),
                        self.repeat(model, shard.seed, trial)
                    ))),
                    Err(Failed { why, .. }) => Err(why),
                });
            }
            if take(trial, results).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Returns an error with its sources, on one line.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The last trials of which a result was computed.
#[derive(Default)]
struct Computed {
    /// Numbers of the processes that computed them.
    by: HashMap<TrialKey, u64>,
    order: VecDeque<TrialKey>,
}

impl Computed {
    fn remember(&mut self, key: TrialKey, process: u64) {
        if self.by.insert(key, process).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by.remove(&oldest);
        }
    }
}

/// A trial without a result.
struct Failed {
    why: NoResult,
    /// Whether the process can compute further trials.
    is_usable: bool,
}

/// The behaviour of a process that gave no answer.
enum Broken {
    /// It closed its descriptor for answers, or exited.
    Closed,
    /// It did not answer in time.
    Late(Duration),
    /// The answer breaks the protocol.
    Invalid(String),
    System(io::Error),
}

/// A running program.
struct Process {
    guard: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
    /// Received bytes that are not used yet. The first ones have been searched for the end of a line.
    received: Vec<u8>,
    searched: usize,
    versions: BTreeMap<String, String>,
    log: Arc<Mutex<VecDeque<u8>>>,
    reader: Option<JoinHandle<()>>,
    next: u64,
    /// Its number among the processes of the worker.
    number: u64,
    /// Whether it and its group have been ended.
    is_ended: bool,
}

impl Process {
    fn start(of: &Processes) -> Result<Process, ProgramError> {
        of.check_files()?;
        let file = of.program.file();
        let failed =
            |source| ProgramError::Start { command: of.command(), model: of.model.path.clone(), source };
        let mut command = Command::new(&of.granule);
        command.arg0("granule").arg("guard").args(["--parent", &std::process::id().to_string()]);
        if let Some(limit) = file.memory_limit {
            command.args(["--memory", &limit.to_string()]);
        }
        command.arg("--").args(program_words(&of.model.directory, &file.program));
        for variable in THREADS.iter().filter(|name| std::env::var_os(name).is_none()) {
            command.env(variable, file.threads.to_string());
        }
        if std::env::var_os("PYTHONHASHSEED").is_none() {
            command.env("PYTHONHASHSEED", "0");
        }
        command
            .env("GRANULE_REQUESTS", protocol::REQUESTS.to_string())
            .env("GRANULE_ANSWERS", protocol::ANSWERS.to_string())
            .current_dir(&of.model.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut guard = command.spawn().map_err(failed)?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (requests, answers, output) = (guard.stdin.take(), guard.stdout.take(), guard.stderr.take());
        let (Some(requests), Some(answers), Some(output)) = (requests, answers, output) else {
            return Err(failed(io::Error::other("a pipe is missing")));
        };
        let kept = Arc::clone(&log);
        let reader = thread::Builder::new().name("log".to_owned()).spawn(move || keep(output, &kept));
        let requests = Some(requests);
        let mut process = Process {
            guard,
            requests,
            answers,
            received: Vec::new(),
            searched: 0,
            versions: BTreeMap::new(),
            log,
            reader: Some(reader.map_err(failed)?),
            next: 1,
            number: of.next.fetch_add(1, Ordering::Relaxed),
            is_ended: false,
        };
        let greeting = protocol::greeting(&of.program.file().name);
        let answered = process
            .ask(&greeting, Some(START_WITHIN))
            .and_then(|(answer, _)| answer.versions().map_err(Broken::Invalid));
        match answered {
            Ok(versions) => process.versions = versions,
            Err(broken) => {
                let what = process.describe(broken, true).replace('\n', "\n  ");
                return Err(ProgramError::Greeting {
                    command: of.command(),
                    model: of.model.path.clone(),
                    what,
                });
            }
        }
        Ok(process)
    }

    /// Computes a trial.
    fn trial(&mut self, of: &Processes, model: &Model, seed: u32, trial: u32) -> Result<TrialSpikes, Failed> {
        lock(&self.log).clear();
        let id = self.next;
        self.next += 1;
        let request = protocol::request(id, model, seed, trial);
        let answered = self.ask(&request, of.program.file().time_limit).and_then(|(answer, block)| {
            answer.check_id(id).map_err(Broken::Invalid)?;
            Ok((answer, block))
        });
        let (answer, block) = answered.map_err(|broken| {
            let why = NoResult::Failed(format!("the program {}", self.describe(broken, false)));
            Failed { why, is_usable: false }
        })?;
        let is_error = answer.is_error();
        answer.result(model, &block).map_err(|why| match why {
            // The program's own error has a traceback. It is ready for the next trial.
            NoResult::Failed(how) if is_error => {
                Failed { why: NoResult::Failed(format!("{how}{}", self.printed())), is_usable: true }
            }
            NoResult::Failed(how) => {
                let how = format!("the program gave a wrong answer: {how}{}", self.printed());
                Failed { why: NoResult::Failed(how), is_usable: true }
            }
            NoResult::TooLarge => Failed { why, is_usable: true },
        })
    }

    /// Sends a request; returns the answer and its block.
    fn ask(&mut self, request: &str, within: Option<Duration>) -> Result<(Answer, Vec<u8>), Broken> {
        let due = Due { at: within.and_then(|within| Instant::now().checked_add(within)), within };
        if !self.received.is_empty() {
            return Err(Broken::Invalid("it answered more than it was asked".to_owned()));
        }
        self.send(request.as_bytes(), &due)?;
        let line = loop {
            if let Some(end) = self.received[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                self.searched = 0;
                let rest = self.received.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                line.pop();
                break line;
            }
            self.searched = self.received.len();
            if self.received.len() > LONGEST_LINE {
                return Err(Broken::Invalid(format!(
                    "the answer has a line of more than {LONGEST_LINE} bytes"
                )));
            }
            self.receive(&due)?;
        };
        let answer = Answer::parse(&line).map_err(Broken::Invalid)?;
        drop(line);
        let length =
            usize::try_from(answer.bytes()).map_err(|_| Broken::Invalid("too large a block".to_owned()))?;
        while self.received.len() < length {
            self.receive(&due)?;
        }
        let rest = self.received.split_off(length);
        Ok((answer, std::mem::replace(&mut self.received, rest)))
    }

    /// Sends bytes. A program that answers before it reads would wait for ever, so that answers are received meanwhile.
    fn send(&mut self, mut bytes: &[u8], due: &Due) -> Result<(), Broken> {
        // A pipe takes this many bytes at once, or is not ready (POSIX, PIPE_BUF).
        const AT_ONCE: usize = 512;
        while !bytes.is_empty() {
            let Some(mut requests) = self.requests.as_ref() else { return Err(Broken::Closed) };
            let ready = self.wait(Some(requests.as_fd()), due)?;
            if ready.writable {
                match requests.write(&bytes[..bytes.len().min(AT_ONCE)]) {
                    Ok(count) => bytes = &bytes[count..],
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(Broken::Closed),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Broken::System(error)),
                }
            } else if ready.readable {
                self.take()?;
            }
        }
        Ok(())
    }

    /// Waits for further bytes of an answer.
    fn receive(&mut self, due: &Due) -> Result<(), Broken> {
        self.wait(None, due)?;
        self.take()
    }

    /// Waits until an answer can be read or, if there is one, this can be written.
    fn wait(&self, write: Option<BorrowedFd<'_>>, due: &Due) -> Result<Ready, Broken> {
        let mut has_exited = false;
        loop {
            match wait(self.answers.as_fd(), write, due)? {
                Some(ready) => return Ok(ready),
                // A child of the program may hold the descriptor open.
                None if has_exited => return Err(Broken::Closed),
                None => has_exited = self.status(Duration::ZERO).is_some(),
            }
        }
    }

    fn take(&mut self) -> Result<(), Broken> {
        const AT_ONCE: usize = 64 << 10;
        let before = self.received.len();
        self.received.resize(before + AT_ONCE, 0);
        let count = self.answers.read(&mut self.received[before..]);
        self.received.truncate(before + *count.as_ref().unwrap_or(&0));
        match count {
            Ok(0) => Err(Broken::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Broken::System(error)),
        }
    }

    /// Ends the process. Returns what it did instead of answering a request or the greeting, to be read after "the
    /// program", with the end of its output.
    fn describe(&mut self, broken: Broken, is_greeting: bool) -> String {
        const MUST: &str = "a program must read requests from descriptor 3, and write each answer to descriptor 4 and \
            flush it; in Python, `granule.model.serve` does this";
        let what = match broken {
            Broken::Late(within) if is_greeting => {
                format!("did not answer the greeting within {} s; {MUST}", within.as_secs())
            }
            Broken::Late(within) => {
                format!(
                    "gave no answer within {} s (`limits: {{ time: … }}` in the model file)",
                    within.as_secs_f64()
                )
            }
            Broken::Invalid(what) => format!("broke the protocol: {what}"),
            Broken::System(error) => format!("cannot be reached: {error}"),
            Broken::Closed => match self.status(END_WITHIN) {
                Some(status) if is_greeting && status.exit_status() == Some(0) => {
                    format!("exited before it answered the greeting; {MUST}")
                }
                Some(status) => ended(status),
                None => format!("closed descriptor {} and did not exit", protocol::ANSWERS),
            },
        };
        self.kill();
        format!("{what}{}", self.printed())
    }

    /// Returns the end of what the program printed since the trial began, to be added to a message.
    fn printed(&self) -> String {
        let log: Vec<u8> = lock(&self.log).iter().copied().collect();
        let text = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned();
        let lines: Vec<String> = text.trim_end().lines().map(from_outside).collect();
        if lines.iter().all(|line| line.trim().is_empty()) {
            return String::new();
        }
        format!("\nit printed:\n  {}", lines.join("\n  "))
    }

    /// Waits for the exit of the process, at most this long. The process stays a zombie, so that its group keeps its
    /// number.
    fn status(&self, within: Duration) -> Option<WaitIdStatus> {
        let due = Instant::now() + within;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let guard = rustix::process::Pid::from_child(&self.guard);
        loop {
            match waitid(WaitId::Pid(guard), look) {
                Ok(Some(status)) => return Some(status),
                Ok(None) | Err(rustix::io::Errno::INTR) if Instant::now() < due => {
                    thread::sleep(Duration::from_millis(2));
                }
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The process id of the guard, and number of its group.
    fn id(&self) -> Pid {
        Pid::from_raw(self.guard.id().cast_signed())
    }

    /// Ends the process, and all others of its group.
    fn kill(&mut self) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        self.requests = None;
        // The guard has not been waited for, so no other group can have its number.
        let _ = killpg(self.id(), Signal::SIGKILL);
        let _ = self.guard.wait();
        if let Some(reader) = self.reader.take() {
            // All that could write to the log has ended, unless a child has left the group.
            let due = Instant::now() + Duration::from_secs(1);
            while !reader.is_finished() && Instant::now() < due {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Ends the requests and waits for the exit. Returns the output of the program.
    fn end(mut self) -> String {
        self.requests = None;
        self.status(END_WITHIN);
        self.kill();
        let log: Vec<u8> = lock(&self.log).iter().copied().collect();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns how a program ended, to be read after "the program". Its guard exits with its code, or with 128 and the
/// number of the signal that ended it, as shells do.
fn ended(status: WaitIdStatus) -> String {
    let by_signal = |signal: i32| {
        let name = Signal::try_from(signal).map_or(String::new(), |signal| format!(" ({signal})"));
        format!("was killed by signal {signal}{name}")
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(126 | 127), _) => {
            "cannot be run: the first word of `program` must be an executable file or a command in PATH"
                .to_owned()
        }
        (Some(TOO_MUCH_MEMORY), _) => "used more memory than `limits: { memory: … }`".to_owned(),
        (Some(0), _) => "exited before it answered".to_owned(),
        (Some(code), _) if Signal::try_from(code - 128).is_ok() => by_signal(code - 128),
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => by_signal(signal),
        (None, None) => "ended".to_owned(),
    }
}

/// Until when something must happen, and how long that was at the start.
struct Due {
    at: Option<Instant>,
    within: Option<Duration>,
}

struct Ready {
    readable: bool,
    writable: bool,
}

/// How long a wait lasts until the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits until one of these can be read or written; returns `None` after a while.
fn wait(read: BorrowedFd<'_>, write: Option<BorrowedFd<'_>>, due: &Due) -> Result<Option<Ready>, Broken> {
    let left = due.at.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
    if left.is_zero() {
        return Err(Broken::Late(due.within.unwrap_or_default()));
    }
    // Rounded up, so that the caller does not spin in the last millisecond.
    let timeout = PollTimeout::from(left.as_millis() as u16 + 1);
    let mut all = vec![PollFd::new(read, PollFlags::POLLIN)];
    all.extend(write.map(|write| PollFd::new(write, PollFlags::POLLOUT)));
    match poll(&mut all, timeout) {
        Ok(0) | Err(Errno::EINTR) => Ok(None),
        Ok(_) => {
            let any = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            Ok(Some(Ready { readable: any(&all[0]), writable: all.get(1).is_some_and(any) }))
        }
        Err(error) => Err(Broken::System(error.into())),
    }
}

/// Keeps the end of what a program prints.
fn keep(mut output: impl Read, log: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 8 << 10];
    while let Ok(count) = output.read(&mut buffer) {
        if count == 0 {
            return;
        }
        let mut log = lock(log);
        log.extend(&buffer[..count]);
        let surplus = log.len().saturating_sub(LOG);
        log.drain(..surplus);
    }
}

/// Returns the words of a command. A relative path of the program is one from the model file's directory.
fn program_words(directory: &Path, program: &[String]) -> Vec<std::ffi::OsString> {
    let mut words: Vec<std::ffi::OsString> = program.iter().map(Into::into).collect();
    if let Some(first) = words.first_mut()
        && first.to_string_lossy().contains('/')
    {
        *first = directory.join(&*first).into();
    }
    words
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
