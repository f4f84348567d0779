//! Machines that accept logins: a real sshd in each of several namespaces, with its own name, address, accounts and
//! processes.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::hosts::{Host, Hosts};
use super::{Ended, Place, copy_program, wait_for};

/// The accounts, with home directories of these names in the test's directory. They are not users of this system, whose
/// login scripts could do anything.
pub const ACCOUNTS: [(&str, u32); 2] = [("ann", 61_001), ("bob", 61_002)];

/// Machines that accept logins. They stop when this is dropped.
pub struct Logins {
    daemons: Vec<Child>,
    programs: PathBuf,
}

/// Checks that such machines can be started.
pub fn is_possible() -> Result<(), String> {
    for (program, package) in [("/usr/sbin/sshd", "openssh-server"), ("/usr/bin/ssh", "openssh-client")] {
        if !fs::exists(program).unwrap_or_default() {
            return Err(format!("there is no {program}: apt-get install {package}"));
        }
    }
    Ok(())
}

impl Logins {
    /// Starts a machine on each of these hosts under these names. Configures an `ssh` for the test's directory that
    /// knows the machines and logs in as the first account by default. All machines have `granule` in PATH; the last
    /// prints a welcome at login.
    pub fn start(place: &Place, hosts: &[(&str, &Host)]) -> Logins {
        // Users other than root must be able to read these files.
        let mode = |path: &PathBuf, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode")
        };
        mode(&place.path(""), 0o755);
        let programs = place.path("programs");
        fs::create_dir(&programs).expect("a directory");
        copy_program(&programs.join("granule"));
        for key in ["key", "host-key"] {
            let path = place.path(key).display().to_string();
            let made =
                place.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path]).output();
            Ended::from(made.expect("ssh-keygen")).succeeded();
        }
        fs::copy(place.path("key.pub"), place.path("authorized")).expect("a copy");
        mode(&place.path("authorized"), 0o644);
        let [mut passwd, mut group] = ["/etc/passwd", "/etc/group"]
            .map(|file| fs::read_to_string(file).expect("a file of the system").trim_end().to_owned());
        for (name, id) in ACCOUNTS {
            let home = place.path(name);
            fs::create_dir(&home).expect("a directory");
            std::os::unix::fs::chown(&home, Some(id), Some(id)).expect("it is theirs");
            passwd.push_str(&format!("\n{name}:x:{id}:{id}::{}:/bin/sh", home.display()));
            group.push_str(&format!("\n{name}:x:{id}:"));
        }
        place.write("passwd", passwd + "\n");
        place.write("group", group + "\n");
        let mut logins = Logins { daemons: Vec::new(), programs };
        let host_key = fs::read_to_string(place.path("host-key.pub")).expect("a key");
        let (mut known, mut config) = (String::new(), String::new());
        for (name, host) in hosts {
            let (address, user) = (host.address(), ACCOUNTS[0].0);
            known.push_str(&format!("{address} {host_key}"));
            config.push_str(&format!("Host {name}\n  HostName {address}\n  User {user}\n"));
            let is_last = *name == hosts[hosts.len() - 1].0;
            logins.boot(place, name, host, is_last);
        }
        config.push_str(&format!(
            "Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
            place.path("key").display(),
            place.path("known").display()
        ));
        place.write("known", known);
        let config = place.write("ssh_config", config);
        place.script("programs/ssh", &format!("exec /usr/bin/ssh -F {} \"$@\"", config.display()));
        for (name, host) in hosts {
            wait_for(&format!("one can log in to {name}"), || {
                host.inside(|| TcpStream::connect((host.address(), 22))).ok()
            });
        }
        logins
    }

    fn boot(&mut self, place: &Place, name: &str, host: &Host, is_chatty: bool) {
        let mut config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPidFile none\nSetEnv PATH={}:/usr/bin:/bin\n",
            place.path("host-key").display(),
            place.path("authorized").display(),
            self.programs.display()
        );
        if is_chatty {
            config.push_str("ForceCommand printf 'welcome!\\nand '; eval \"$SSH_ORIGINAL_COMMAND\"\n");
        }
        let config = place.write(&format!("sshd-{name}"), config);
        let script = format!(
            "mount -t tmpfs none /run && mkdir /run/sshd && mount --bind '{passwd}' /etc/passwd && \
             mount --bind '{group}' /etc/group && hostname {name} && exec /usr/sbin/sshd -D -e -f '{config}'",
            passwd = place.path("passwd").display(),
            group = place.path("group").display(),
            config = config.display()
        );
        let mut command = host.command("unshare");
        command
            .args([
                "--mount",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "/bin/sh",
                "-c",
                &script,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(place.path(&format!("log-{name}"))).expect("a log"));
        self.daemons.push(command.spawn().expect("unshare"));
    }

    /// Makes a command use the `ssh` that knows these machines.
    pub fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path)
    }
}

impl Drop for Logins {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // All processes that it started end with it.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Processes of a host, and their arguments.
pub fn processes(host: &Host) -> Vec<(u32, Vec<String>)> {
    let here = host.namespace().id();
    let entries = fs::read_dir("/proc").expect("/proc");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let of_host =
        ids.filter(|id| fs::read_link(format!("/proc/{id}/ns/net")).is_ok_and(|namespace| namespace == here));
    let arguments = |id: u32| {
        let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let words = words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let mut words: Vec<String> = words.collect();
        words.pop();
        (!words.is_empty()).then_some((id, words))
    };
    of_host.filter_map(arguments).collect()
}

/// Workers on a host.
pub fn workers(host: &Host) -> Vec<u32> {
    let is_worker = |words: &[String]| words.get(1).is_some_and(|word| word == "worker");
    processes(host).into_iter().filter(|(_, words)| is_worker(words)).map(|(id, _)| id).collect()
}

/// Expects that soon no worker is left on these hosts.
#[track_caller]
pub fn are_left_alone(hosts: &Hosts, indices: &[usize]) {
    wait_for("no worker is left", || {
        indices.iter().all(|at| workers(hosts.host(*at)).is_empty()).then_some(())
    });
}
