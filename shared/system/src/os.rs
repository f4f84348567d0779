//! Where operating systems differ. Everything else in the workspace calls what Linux and macOS share.
//!
//! If the system does not tell, a function returns `None` or nothing, and its caller does without the answer. On
//! systems other than Linux this holds for all answers from `/proc` and `/sys`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::{FileStat, SFlag};
use rustix::fs::statvfs;

/// Returns the executable of this process. On Linux, the path stays valid even if the file is replaced meanwhile.
///
/// # Errors
/// When the system does not tell.
pub fn this_program() -> io::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { Ok(own) } else { std::env::current_exe() }
}

/// Whether a path is a name of a file that this process has open, such as `/dev/stdin`.
pub fn is_name_of_open(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|name| path.starts_with(name))
}

/// Whether this process ignores SIGHUP.
pub fn is_hangup_ignored() -> Option<bool> {
    ignores_hangup(&fs::read_to_string("/proc/self/status").ok()?)
}

/// The same, from the text of `/proc/self/status`.
fn ignores_hangup(status: &str) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    // One bit for each signal. That of SIGHUP is the lowest.
    u64::from_str_radix(ignored.trim(), 16).ok().map(|mask| mask & 1 == 1)
}

/// Returns a path of an open file or directory. It may be wrong if the file was renamed or removed.
pub fn path_of(file: &File) -> Option<PathBuf> {
    #[cfg(target_vendor = "apple")]
    let path = {
        use std::os::unix::ffi::OsStringExt as _;
        PathBuf::from(std::ffi::OsString::from_vec(rustix::fs::getpath(file).ok()?.into_bytes()))
    };
    #[cfg(not(target_vendor = "apple"))]
    let path = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file))).ok()?;
    Some(path)
}

/// Returns the file type and permissions of a status, as `std` does. The type of the field is that of the system.
#[allow(clippy::useless_conversion, reason = "not all systems have 32 bits here")]
pub fn mode(stat: &FileStat) -> u32 {
    stat.st_mode.into()
}

/// Returns the part of a mode that states the file type, as [`SFlag`].
#[allow(clippy::unnecessary_cast, reason = "not all systems have 32 bits here")]
pub fn file_type(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode as nix::libc::mode_t & SFlag::S_IFMT.bits())
}

/// Returns the device of a status, as `std` does. The type of the field is that of the system.
#[allow(clippy::unnecessary_cast, reason = "not all systems have 64 bits here")]
pub fn device(stat: &FileStat) -> u64 {
    stat.st_dev as u64
}

/// Returns the bytes that are free for this user in the file system of a path.
pub fn free_space(path: &Path) -> Option<u64> {
    let said = statvfs(path).ok().filter(|said| said.f_blocks > 0)?;
    Some(said.f_bavail.saturating_mul(said.f_frsize))
}

/// Whether files in the file system of a path can take less space than their length.
pub fn compresses(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    let compresses = {
        use nix::sys::statfs::{BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, statfs};
        // The numbers are those of OpenZFS, bcachefs and NTFS, which not every version of the system's headers names.
        const COMPRESSING: [i64; 5] =
            [BTRFS_SUPER_MAGIC.0, F2FS_SUPER_MAGIC.0, 0x2fc1_2fc1, 0xca45_1a4e, 0x5346_544e];
        statfs(path).is_ok_and(|said| COMPRESSING.contains(&said.filesystem_type().0))
    };
    // APFS has compressed files, but writes none unless asked.
    #[cfg(not(target_os = "linux"))]
    let compresses = {
        _ = path;
        false
    };
    compresses
}

/// Returns the number of files that this process has open.
pub fn open_files() -> Option<usize> {
    Some(fs::read_dir("/dev/fd").or_else(|_| fs::read_dir("/proc/self/fd")).ok()?.count())
}

/// Returns where this machine's limit on open files is set, and its value.
pub fn most_open_files() -> Option<(&'static str, String)> {
    let file = "/proc/sys/fs/file-max";
    Some((file, fs::read_to_string(file).ok()?.trim().to_owned()))
}

/// Returns the limits on processes and threads of this process's control groups: file and value of each.
pub fn groups() -> Vec<(PathBuf, u64)> {
    fs::read_to_string("/proc/self/cgroup").map_or_else(|_| Vec::new(), |list| groups_of(&list))
}

/// The same, from the text of `/proc/self/cgroup`.
fn groups_of(list: &str) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for line in list.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let mount = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            _ if controllers.split(',').any(|controller| controller == "pids") => {
                Path::new("/sys/fs/cgroup/pids")
            }
            _ => continue,
        };
        // The limits of enclosing groups apply, too.
        for group in Path::new(group.trim_start_matches('/')).ancestors() {
            let file = mount.join(group).join("pids.max");
            if let Some(most) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
                found.push((file, most));
            }
        }
    }
    found
}

/// Returns the number of resident pages of a process; `None` also if it has ended.
pub fn resident_pages(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the processes that a process has started and that have not ended.
pub fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_with_a_limit_count() {
        assert_eq!(groups_of("0::/nowhere\n3:cpu,cpuacct:/\nnonsense\n").len(), groups_of("0::/\n").len());
    }

    #[test]
    fn nohup_is_seen_in_the_mask_of_ignored_signals() {
        let status = |mask: &str| format!("Name:\tgranule\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert_eq!(ignores_hangup(&status("0000000000001001")), Some(true));
        assert_eq!(ignores_hangup(&status("0000000000001000")), Some(false));
        assert_eq!(ignores_hangup("Name:\tgranule\n"), None);
    }
}
