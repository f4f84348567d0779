//! The memory of processes.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// Returns the resident memory of a process and of all processes that descend from it, in bytes. Returns `None` if the
/// system does not tell, as on systems without `/proc`, or if the process has ended.
pub fn of_tree(process: u32) -> Option<u64> {
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    let mut bytes = resident(process)? * page;
    let mut left = children(process);
    while let Some(process) = left.pop() {
        bytes += resident(process).unwrap_or(0) * page;
        left.extend(children(process));
    }
    Some(bytes)
}

/// Returns the number of resident pages of a process.
fn resident(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
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
        let (all, one) = (of_tree(child.id()).expect("memory"), resident(child.id()).expect("memory"));
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
