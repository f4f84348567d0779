//! The memory of processes.

use nix::unistd::{SysconfVar, sysconf};

use crate::os::{children, resident_pages};

/// Returns the resident memory of a process and of all processes that descend from it, in bytes. Returns `None` if the
/// system does not tell, or if the process has ended.
pub fn of_tree(process: u32) -> Option<u64> {
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    let mut bytes = resident_pages(process)? * page;
    let mut left = children(process);
    while let Some(process) = left.pop() {
        bytes += resident_pages(process).unwrap_or(0) * page;
        left.extend(children(process));
    }
    Some(bytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_memory_of_a_process_includes_its_children() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 60 & sleep 60 & wait"])
            .stdout(Stdio::null())
            .spawn()
            .expect("a shell");
        let started = std::time::Instant::now();
        while children(child.id()).len() < 2 && started.elapsed().as_secs() < 20 {
            std::thread::yield_now();
        }
        let (all, one) = (of_tree(child.id()).expect("memory"), resident_pages(child.id()).expect("memory"));
        assert!(all > one, "{all} {one}");
        assert!(of_tree(std::process::id()).expect("memory") >= all);
        for process in children(child.id()) {
            let id = nix::unistd::Pid::from_raw(process as i32);
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).expect("our own process");
        }
        child.wait().expect("it ends");
        assert_eq!(of_tree(u32::MAX), None);
    }
}
