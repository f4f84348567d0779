//! Workers on other machines, reached through the user's own `ssh`.
//!
//! `ssh` starts `granule worker --piped` there. Its standard input and output are the connection to the coordinator. So
//! neither side opens a port, and nothing is written to a disk. Login scripts may print text, so the worker first
//! prints a greeting. Only then does the coordinator send the secret, on the worker's standard input. The worker ends
//! when that closes, however this side ends.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use granule_system::exit;
use granule_system::shell::shell_word;
use granule_text::from_outside;
use granule_worker::PIPED_GREETING;
use granule_worker::access::Access;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::ending::{Ending, How, ProcessEnd};
use super::hosts::Host;
use super::process::{NotAWorker, Orders};

/// The program. The system searches `PATH` for it.
pub const PROGRAM: &str = "ssh";

/// Most bytes that login scripts may print before the worker's greeting.
const MOST_NOISE: u64 = 64 << 10;

/// Which hosts to use, and how to reach them.
#[derive(Clone, Debug)]
pub struct Ssh {
    pub hosts: Vec<Host>,
    /// The program on the hosts: a name, or a path from the home directory.
    pub granule: String,
    /// Options for `ssh`, word by word.
    pub options: Vec<String>,
    /// The model file on the hosts, if the trials are computed by the user's program.
    pub model: Option<String>,
}

impl Ssh {
    /// Returns the command that starts a worker on this host.
    pub(super) fn command(&self, host: &Host) -> Command {
        let threads = host.threads.map_or(String::new(), |threads| format!(" --threads {threads}"));
        let model =
            self.model.as_ref().map_or(String::new(), |model| format!(" --model {}", shell_word(model)));
        let mut command = Command::new(PROGRAM);
        command
            // `ssh` uses the first value given for an option.
            .args(&self.options)
            .args(["-T", "-x", "-a", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"])
            .args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"])
            // A configuration for interactive use would interfere. An existing shared connection is used, but ours must
            // not become one that others depend on. Messages of a server to all users are not reasons for a failure.
            .args(["-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-o", "ControlMaster=no"])
            .args(["-o", "LogLevel=ERROR", "--", &host.name])
            .arg(format!("exec {} worker --piped{threads}{model}", shell_word(&self.granule)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// Returns a command for people. It must work if a host is to be used.
    pub fn probe(&self, host: &str) -> String {
        let options = self.options.iter().map(String::as_str);
        // Two shells read it: one here and one there.
        let granule = shell_word(&self.granule);
        let words = [PROGRAM].into_iter().chain(options).chain([host, &granule, "--version"]);
        words.map(shell_word).collect::<Vec<_>>().join(" ")
    }
}

/// Connects a worker's standard streams to the coordinator until either ends, then closes them. Sets `was_there` once
/// the worker has sent its greeting.
///
/// # Errors
/// If the program is not a worker of this version. Other failures are seen from how `ssh` ends.
pub(super) async fn connect(
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    orders: Orders,
    access: &Access,
    was_there: &AtomicBool,
) -> Result<(), NotAWorker> {
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Ok(()) };
    let mut stdout = BufReader::new(stdout);
    if !greeting(&mut stdout).await? {
        return Ok(());
    }
    was_there.store(true, Ordering::Relaxed);
    // The coordinator's own port: an address, not a name.
    let address = access.addresses.first().and_then(|address| address.parse::<SocketAddr>().ok());
    let Some(address) = address else { return Ok(()) };
    let Ok(mut coordinator) = TcpStream::connect(address).await else { return Ok(()) };
    let _ = coordinator.set_nodelay(true);
    if stdin.write_all(orders.0.as_bytes()).await.is_err() {
        return Ok(());
    }
    let (mut from, mut to) = coordinator.split();
    tokio::select! {
        _ = tokio::io::copy_buf(&mut stdout, &mut to) => {}
        _ = tokio::io::copy(&mut from, &mut stdin) => {}
    }
    Ok(())
}

/// Reads the worker's greeting. Returns false if the output ends without one.
async fn greeting(stdout: &mut BufReader<ChildStdout>) -> Result<bool, NotAWorker> {
    let mut noise = stdout.take(MOST_NOISE);
    let mut line = Vec::new();
    loop {
        line.clear();
        match noise.read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            _ if noise.limit() == 0 => {
                return Err(NotAWorker(format!(
                    "printed {} KiB before the greeting of granule; make its login scripts print less",
                    MOST_NOISE >> 10
                )));
            }
            _ => return Ok(false),
        }
        let text = String::from_utf8_lossy(&line);
        let Some(version) = text.trim_end().strip_prefix(PIPED_GREETING) else { continue };
        let ours = env!("CARGO_PKG_VERSION");
        if version != ours {
            return Err(NotAWorker(format!(
                "has granule {}, this machine has {ours}",
                from_outside(version)
            )));
        }
        return Ok(true);
    }
}

/// Describes how a worker on another machine ended. `ssh` exits with the worker's exit code. It exits with 255 if `ssh`
/// or the connection failed, or if the worker was killed. A worker that lost its connection reports that itself.
pub(super) fn describe(ProcessEnd { how, said }: ProcessEnd, was_there: bool) -> (Ending, String) {
    let saying = |how: String| if said.is_empty() { how } else { format!("{how}; its last output: {said}") };
    match how {
        How::ByUs(ending, reason) => (ending, saying(reason)),
        How::ByItself(status) => match status.code() {
            Some(0) => (Ending::Left, "ended without an error".to_owned()),
            Some(code @ (126 | 127)) if !was_there => {
                (Ending::Failed, saying(format!("cannot run granule: its shell exited with code {code}")))
            }
            Some(255) | None if was_there => (Ending::Unknown, saying("has lost its connection".to_owned())),
            Some(255) | None if said.is_empty() => (Ending::Unknown, "cannot be reached".to_owned()),
            Some(255) | None => (Ending::Unknown, format!("cannot be reached: {said}")),
            Some(code) if code == i32::from(exit::UNFIT) => {
                (Ending::Unfit, saying("cannot compute".to_owned()))
            }
            Some(code) => (Ending::Failed, saying(format!("exited with code {code}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stubs::Stubs;

    #[test]
    fn how_ssh_has_ended_is_told_by_its_code_and_by_whether_a_worker_was_there() {
        use std::os::unix::process::ExitStatusExt as _;
        let told = |code: i32, said: &str, was_there| {
            let how = How::ByItself(std::process::ExitStatus::from_raw(code << 8));
            describe(ProcessEnd { how, said: said.to_owned() }, was_there)
        };
        let is = |ending, text: &str| (ending, text.to_owned());
        assert_eq!(told(0, "", true), is(Ending::Left, "ended without an error"));
        assert_eq!(
            told(69, "no numpy", true),
            is(Ending::Unfit, "cannot compute; its last output: no numpy")
        );
        assert_eq!(told(255, "", false), is(Ending::Unknown, "cannot be reached"));
        assert_eq!(told(255, "no route", false), is(Ending::Unknown, "cannot be reached: no route"));
        assert_eq!(told(255, "", true), is(Ending::Unknown, "has lost its connection"));
        assert_eq!(
            told(255, "oh", true),
            is(Ending::Unknown, "has lost its connection; its last output: oh")
        );
        assert_eq!(
            told(127, "?", false),
            is(Ending::Failed, "cannot run granule: its shell exited with code 127; its last output: ?")
        );
        assert_eq!(told(101, "", true), is(Ending::Failed, "exited with code 101"));
    }

    #[test]
    fn nothing_secret_is_in_the_command_and_what_was_given_comes_first() {
        let ssh = Ssh {
            hosts: Vec::new(),
            model: None,
            granule: "my programs/granule".into(),
            options: vec!["-p".into(), "2222".into()],
        };
        let command = ssh.command(&"8/ann@node".parse().expect("a host"));
        let words: Vec<_> = command.as_std().get_args().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words[..3], ["-p", "2222", "-T"]);
        let last = ["--", "ann@node", "exec 'my programs/granule' worker --piped --threads 8"];
        assert_eq!(words[words.len() - 3..], last);
    }

    #[test]
    fn what_is_given_reaches_the_shell_there_as_it_is() {
        for name in [
            "a$(touch X)",
            "`touch X`",
            "it's",
            "a\"b",
            "two  words",
            "*",
            "$HOME",
            "~",
            "!!",
            "=ls",
            "a;touch X",
            r"back\slash\\",
            "größe",
            "\u{202e}",
        ] {
            let place = Stubs::new();
            // Like the real program, it joins the words after the host, and a shell reads them.
            let ssh = "while [ \"$1\" != node ]; do shift; done; shift; exec sh -c \"$*\"";
            place.add(&place.programs().join("ssh"), ssh);
            std::fs::create_dir(place.directory.path().join(name)).expect("a directory");
            place.add(&place.directory.path().join(name).join("granule"), "");
            let ssh = Ssh {
                hosts: Vec::new(),
                model: None,
                granule: format!("{name}/granule"),
                options: vec!["-i".into(), name.into(), "-oUser=a b".into()],
            };
            let ended = place.run("bash", &ssh.probe("node"));
            assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
            assert_eq!(place.told("--version"), ["--version"]);
            assert_eq!(place.told("ssh")[..4], ["-i", name, "-oUser=a b", "node"]);
            let command = ssh.command(&"8/node".parse().expect("a host"));
            let words: Vec<String> = command.as_std().get_args().map(shell_word).collect();
            let ended = place.run("bash", &format!("ssh {}", words.join(" ")));
            assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
            assert_eq!(place.told("worker"), ["worker", "--piped", "--threads", "8"]);
            assert!(!place.directory.path().join("X").exists(), "the name was run: {name}");
        }
    }
}
