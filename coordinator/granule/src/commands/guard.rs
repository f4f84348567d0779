//! `granule guard`: runs a program of the user's for a worker, and ends it if the worker dies.
//!
//! A worker starts this command as the leader of a process group. The group has all processes that the program starts,
//! unless they leave it. The command ends the group when its parent is no longer the worker, and when the processes
//! use more memory than the limit. If the program exits, the command ends in the same way, and the worker ends what is
//! left of the group.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use granule_server::view::{log, stderr};
use granule_system::memory::of_tree;
use granule_worker::program::TOO_MUCH_MEMORY;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, getpgrp, getppid};

use crate::cli::{self, exit};
use crate::failure::Failure;

/// How often the parent and the memory are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the exit of the program is looked for, right after its start, and the longest interval.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// Connects the descriptors of the protocol: requests come in by 3, and answers go out by 4. The output of the program
/// goes to the log.
const PLUMBING: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

pub(crate) fn run(arguments: &cli::Guard) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::caused_by(exit::FAILED, &error, None);
    let child = Command::new("/bin/sh")
        .args(["-c", PLUMBING, "sh"])
        .args(&arguments.program)
        .stdin(Stdio::inherit())
        .spawn();
    let mut child = child.map_err(failed)?;
    // The program alone must hold the descriptors, so that the worker sees when it closes them.
    let nothing = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    dup2_stdin(&nothing).and_then(|()| dup2_stdout(&nothing)).map_err(|error| failed(error.into()))?;
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            // As in shells, the code states the signal that ended the program.
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            log::exit(u8::try_from(code).unwrap_or(1));
        }
        if getppid() != Pid::from_raw(arguments.parent) {
            end();
        }
        if let Some(limit) = arguments.memory
            && let Some(used) = of_tree(child.id()).filter(|used| *used > limit)
        {
            log::error(&format!(
                "granule: ended the program: its processes use {} of memory; the limit of the model file is {}",
                indicatif::BinaryBytes(used),
                indicatif::BinaryBytes(limit)
            ));
            stderr::settle();
            // The worker ends the group once this process has exited.
            let _ = child.kill();
            log::exit(TOO_MUCH_MEMORY as u8);
        }
        thread::sleep(pause);
        pause = LOOK_EVERY.min(pause * 2);
    }
}

/// Ends the process group, and this process with it.
fn end() -> ! {
    let _ = killpg(getpgrp(), Signal::SIGKILL);
    log::exit(1)
}
