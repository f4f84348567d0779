//! Shared code of the program's tests: running the program in a directory of its own and inspecting the results.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses another part of this")]

#[cfg(target_os = "linux")]
pub mod hosts;
#[cfg(target_os = "linux")]
pub mod relay;
#[cfg(target_os = "linux")]
pub mod served;
#[cfg(target_os = "linux")]
pub mod slurm;
#[cfg(target_os = "linux")]
pub mod ssh;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

/// After this time, a test fails because it waits in vain. Far above any time seen on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Hashes of files, by name.
pub type Hashes = BTreeMap<String, String>;

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A temporary directory in which the program runs; removed at the end.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// Makes an empty directory.
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in the directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// A command that runs the program in the directory, without overrides from the environment.
    pub fn granule(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_granule"));
        command.args(arguments);
        command
    }

    /// A command that runs any program in the directory, without overrides from the environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CHAT_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.granule(arguments).output().expect("the program starts"))
    }

    /// Starts the program.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.start_this(self.granule(arguments))
    }

    /// Starts a coordinator of `sweep.yaml` for workers on this machine, with everything in `out`.
    pub fn serve(&self, arguments: &[&str]) -> Running {
        let always = ["serve", "sweep.yaml", "--out", "out", "--listen", "127.0.0.1:0"];
        self.start(&[&always, arguments].concat())
    }

    /// Starts a worker of that coordinator, which must already run.
    pub fn worker(&self, arguments: &[&str]) -> Running {
        wait_for("there is an access file", || self.path("out/access.json").exists().then_some(()));
        self.start(&[&["worker", "--access", "out/access.json"], arguments].concat())
    }

    /// The status of that coordinator. `None` if it cannot be asked, or does not answer for a while.
    pub fn status(&self) -> Option<serde_json::Value> {
        let mut asking = self.start(&["status", "out", "--json"]);
        let begun = Instant::now();
        while !asking.has_ended() {
            if begun.elapsed() > Duration::from_secs(10) {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let ended = asking.end();
        let report: serde_json::Value = serde_json::from_str(ended.stdout.lines().next()?).ok()?;
        // Otherwise the run has not begun yet, or is ending.
        (report["type"] == "snapshot").then_some(report)
    }

    /// Runs the program to its end, and measures its memory.
    pub fn watch(&self, arguments: &[&str]) -> Seen {
        let begun = Instant::now();
        let mut running = self.start(arguments);
        let mut peaks_kib = BTreeMap::new();
        let mut most_processes = 0;
        while !running.has_ended() {
            assert!(begun.elapsed() < Duration::from_secs(3600), "no end after an hour");
            let processes = self.processes();
            most_processes = most_processes.max(processes.len());
            peaks_kib.extend(processes.into_iter().filter_map(|process| Some((process, peak_kib(process)?))));
            thread::sleep(Duration::from_millis(20));
        }
        running.end().succeeded();
        Seen { most_processes, peak_kib: peaks_kib.values().sum() }
    }

    /// Starts a command with piped output.
    pub fn start_this(&self, mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Words::of(child.stdout.take().expect("a pipe"));
        let stderr = Words::of(child.stderr.take().expect("a pipe"));
        Running { child, stdout, stderr, directory: self.path("") }
    }

    /// Writes a sweep file.
    pub fn sweep(&self, name: &str, sweep: &Sweep<'_>) -> PathBuf {
        self.write(name, sweep.to_yaml())
    }

    /// Writes a shell script.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        self.executable(name, &format!("#!/bin/sh\n{body}\n"))
    }

    /// Writes an executable file.
    pub fn executable(&self, name: &str, content: &str) -> PathBuf {
        // A shell writes the file. If this process had it open for writing, a process that another test starts would
        // inherit it. The file could then not be executed for a moment.
        let path = self.path(name);
        let write = "printf %s \"$1\" > \"$0\" && chmod +x \"$0\"";
        let status = Command::new("/bin/sh").arg("-c").arg(write).arg(&path).arg(content).status();
        assert!(status.expect("a shell").success(), "{}", path.display());
        path
    }

    /// Live processes in this directory: the program and its workers, including those whose parent has ended.
    pub fn processes(&self) -> Vec<u32> {
        processes_in(&self.path(""))
    }

    /// Expects that soon no process runs here.
    #[track_caller]
    pub fn is_left_alone(&self) {
        wait_for("no process is left", || self.processes().is_empty().then_some(()));
    }

    /// Expects that soon only this process runs here.
    #[track_caller]
    pub fn is_left_alone_but_for(&self, process: u32) {
        wait_for("no other process is left", || (self.processes() == [process]).then_some(()));
    }

    /// Length of a file in bytes; 0 if it does not exist.
    pub fn length(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).map_or(0, |metadata| metadata.len())
    }

    /// The manifest in an output directory.
    pub fn manifest(&self, out: &str) -> serde_json::Value {
        let path = self.path(out).join("manifest.json");
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The index of the figures in an output directory.
    pub fn index_of_figures(&self, out: &str) -> serde_json::Value {
        let bytes = fs::read(self.path(out).join("figures/figures.json")).expect("an index");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// The numbers of trials that the run of the manifest computed and reused.
    pub fn trials(&self, out: &str) -> Trials {
        let manifest = self.manifest(out);
        let count = |name: &str| manifest["run"][name].as_u64().unwrap_or_else(|| panic!("no {name}"));
        Trials { computed: count("trials_computed"), reused: count("trials_reused") }
    }

    /// Hashes of all `.npy` files of all seeds in an output directory, by `seed-S/NAME`.
    pub fn outputs(&self, out: &str) -> Hashes {
        let mut all = Hashes::new();
        let Ok(entries) = fs::read_dir(self.path(out)) else { return all };
        for entry in entries {
            let name = entry.expect("a directory entry").file_name().into_string().expect("text");
            if name.starts_with("seed-") {
                let files = self.hashes(&format!("{out}/{name}"));
                all.extend(files.into_iter().map(|(file, hash)| (format!("{name}/{file}"), hash)));
            }
        }
        all
    }

    /// Hashes of all `.npy` files below a directory, by file name without the seed's directory. There must be only one
    /// seed.
    pub fn hashes(&self, directory: &str) -> Hashes {
        let directory = self.path(directory);
        let entries =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        entries
            .map(|entry| entry.expect("a directory entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "npy"))
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), sha256(&path)))
            .collect()
    }
}

/// Copies the program, in another process for the reason in [`Place::executable`].
#[track_caller]
pub fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg("-p").arg(env!("CARGO_BIN_EXE_granule")).arg(to).status();
    assert!(copied.expect("cp").success(), "{}", to.display());
}

/// Exit code and output of the program.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text on standard output"),
            stderr: String::from_utf8(output.stderr).expect("text on standard error"),
        }
    }
}

impl Ended {
    /// Expects success.
    #[track_caller]
    pub fn succeeded(self) -> Ended {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Expects this exit code, a message with all these parts, and no panic.
    #[track_caller]
    pub fn failed_with(self, code: i32, parts: &[&str]) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

/// Numbers of trials in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trials {
    pub computed: u64,
    pub reused: u64,
}

/// A running program. It is killed with all its workers when this is dropped.
pub struct Running {
    child: Child,
    stdout: Words,
    stderr: Words,
    directory: PathBuf,
}

impl Running {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Its live worker processes.
    pub fn workers(&self) -> Vec<u32> {
        let is_worker = |id: &u32| {
            // A forked process that has not yet executed its program has the arguments of its parent.
            let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            *id != self.id() && arguments.split(|byte| *byte == 0).any(|argument| argument == b"worker")
        };
        processes_in(&self.directory).into_iter().filter(is_worker).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits until `look` returns a value. The program must not end before.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Running) -> Option<T>) -> T {
        wait_for(what, || {
            // Looks once more after the end, at all that the program printed.
            let has_ended = self.has_ended();
            if has_ended {
                self.stdout.all();
                self.stderr.all();
            }
            let found = look(self);
            assert!(found.is_some() || !has_ended, "ended before {what}:\n{}", self.stderr());
            found
        })
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        wait_for("the program ends", || self.has_ended().then_some(()));
        let status = self.child.wait().expect("a child");
        Ended { code: status.code(), stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A failing test may have removed its directory already.
        if thread::panicking() && self.directory.exists() {
            processes_in(&self.directory).into_iter().for_each(|id| send(id, Signal::SIGKILL));
        }
    }
}

/// Output that is read from a pipe.
struct Words {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Words {
    fn of(mut pipe: impl Read + Send + 'static) -> Words {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..count]);
            }
        });
        Words { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader of a pipe");
        }
        self.so_far()
    }
}

/// Prints the actions of a test on standard error, even if the test's output is captured.
pub fn told(text: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{name}: {text}");
}

/// Prints that a test is skipped, even if the test's output is captured. In continuous integration, the test fails
/// instead.
#[track_caller]
pub fn skip(why: &str) {
    let must = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!must, "cannot be tested: {why}");
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {why}");
}

/// Whether processes can be traced here. If not, the test is skipped with the reason.
pub fn can_trace() -> bool {
    let probe = Command::new("strace").args(["-f", "-e", "trace=none", "true"]).output();
    match probe {
        Ok(output) if output.status.success() => return true,
        Ok(output) => skip(&format!("`strace`: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => skip(&format!("`strace` cannot be run (Debian: strace): {error}")),
    }
    false
}

/// Sends a signal to a process that may be gone.
pub fn send(id: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(id.try_into().expect("a process id")), signal);
}

/// Whether a stopped process will get a signal when it resumes.
pub fn is_pending(id: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let masks = ["ShdPnd:", "SigPnd:"].iter().filter_map(|name| status.split_once(name));
    let masks = masks.filter_map(|(_, rest)| u64::from_str_radix(rest.split_whitespace().next()?, 16).ok());
    masks.fold(0, |all, mask| all | mask) & (1 << (signal as i32 - 1)) != 0
}

/// Whether all threads of a process are stopped.
pub fn is_stopped(id: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return false };
    let state = |thread: PathBuf| fs::read_to_string(thread.join("stat")).unwrap_or_default();
    let mut threads = threads.map(|thread| state(thread.expect("a directory entry").path()));
    // The state follows the name, which is in parentheses.
    threads.all(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T ")))
}

fn processes_in(directory: &Path) -> Vec<u32> {
    let directory = directory.canonicalize().expect("the directory of a test");
    let entries = fs::read_dir("/proc").expect("/proc");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // This link of a zombie cannot be read.
    ids.filter(|id| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|path| path == directory)).collect()
}

/// Waits until `look` returns a value, at most for [`PATIENCE`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process has a TCP connection, even one that the other side has not accepted yet.
#[cfg(target_os = "linux")]
pub fn is_connected(id: u32) -> bool {
    const ESTABLISHED: &str = "01";
    let table = |name: &str| fs::read_to_string(format!("/proc/{id}/net/{name}")).unwrap_or_default();
    let connected: Vec<String> = [table("tcp"), table("tcp6")]
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(3) == Some(&ESTABLISHED))
        .filter_map(|fields| Some(format!("socket:[{}]", fields.get(9)?)))
        .collect();
    let Ok(files) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    targets.into_iter().any(|target| connected.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

/// The fields of a sweep file.
#[derive(Clone, Debug)]
pub struct Sweep<'a> {
    pub engine: &'a str,
    /// Mossy fibres, granule cells, Golgi cells.
    pub network: [u32; 3],
    pub weights: &'a str,
    pub seeds: Vec<u32>,
    pub trials: u32,
    pub conditions: Vec<&'a str>,
    /// The value of `record` at the top.
    pub record: &'a str,
}

impl Sweep<'_> {
    /// A sweep that takes a fraction of a second.
    pub fn small() -> Self {
        Sweep {
            engine: "brian2-2.2.1",
            network: [60, 48, 7],
            weights: "{ random: true, seed: 35 }",
            seeds: vec![451],
            trials: 3,
            conditions: vec!["Control", "GABAzine", "ACh"],
            record: "all",
        }
    }

    /// A sweep that takes seconds, in many short trials, so that it can be disturbed.
    pub fn slow() -> Self {
        Sweep { network: [78, 512, 7], trials: 60, ..Sweep::small() }
    }

    pub fn to_yaml(&self) -> String {
        let Sweep { engine, network: [mossy, granule, golgi], weights, seeds, trials, conditions, record } =
            self;
        let conditions = conditions.join(", ");
        format!(
            "name: test\nengine: {engine}\nnetwork: {{ mossy_fibers: {mossy}, granule_cells: {granule}, golgi_cells: {golgi} }}\n\
             weights: {weights}\nseeds: {seeds:?}\ntrials: {trials}\nrecord: {record}\n\
             conditions: [{conditions}]\n"
        )
    }

    /// Runs the sweep undisturbed. Returns the hashes of its outputs.
    pub fn undisturbed(&self) -> Hashes {
        let place = Place::new();
        place.sweep("sweep.yaml", self);
        place.run(&["run", "sweep.yaml", "--out", "out", "--workers", "2"]).succeeded();
        place.outputs("out")
    }
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The dated lines on standard error, without their dates.
pub fn happened(stderr: &str) -> impl Iterator<Item = &str> {
    let is_date = |word: &str| word.parse::<jiff::Timestamp>().is_ok();
    stderr
        .lines()
        .filter_map(move |line| line.split_once(' ').filter(|(word, _)| is_date(word)))
        .map(|(_, said)| said)
}

/// Reads `hash  name` lines.
pub fn expected(list: &str) -> Hashes {
    list.lines()
        .map(|line| line.split_once("  ").expect("a hash and a name"))
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect()
}

/// Measurements of a run's processes.
pub struct Seen {
    /// The largest number of processes at a time, including the program.
    pub most_processes: usize,
    /// The sum of the peaks of all processes: an upper bound of their peak together.
    pub peak_kib: u64,
}

/// The peak memory of a process, including shared memory. `None` once it has ended.
pub fn peak_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}
