//! Network namespaces as hosts, joined by a switch. Each has its own address, and its cable can be pulled.
//!
//! The namespaces have no names. Each lives as long as this process has it open, or a process runs in it. So nothing
//! remains, however a test ends. They are connected only with each other, and several tests can have the same
//! addresses.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Hosts on a switch.
pub struct Hosts {
    switch: Arc<Namespace>,
    hosts: Vec<Host>,
}

/// A host on a switch.
pub struct Host {
    namespace: Arc<Namespace>,
    address: Ipv4Addr,
}

/// A network namespace.
pub struct Namespace {
    file: File,
}

/// Makes hosts. If that is impossible, prints the reason on standard error and returns `None`. In continuous
/// integration, this fails instead.
#[track_caller]
pub fn hosts_or_skip(count: u8) -> Option<Hosts> {
    match Hosts::new(count) {
        Ok(hosts) => Some(hosts),
        Err(why) => {
            let must = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!must, "no hosts: {why}");
            skipped(&why);
            None
        }
    }
}

/// Prints that a test is skipped, even if the test's output is captured.
pub fn skipped(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: {why}");
}

impl Hosts {
    /// Makes this number of hosts.
    ///
    /// # Errors
    /// The reason if hosts cannot be made here.
    pub fn new(count: u8) -> Result<Hosts, String> {
        assert!((1..=250).contains(&count), "{count} hosts");
        let switch = Arc::new(Namespace::new()?);
        switch.ip("link add name bridge type bridge")?;
        switch.ip("link set bridge up")?;
        let network = (std::process::id() % 250) as u8;
        let mut hosts = Vec::new();
        for i in 0..count {
            let host = Host {
                namespace: Arc::new(Namespace::new()?),
                address: Ipv4Addr::new(10, 213, network, i + 1),
            };
            let path = host.namespace.path();
            switch.ip(&format!("link add name port{i} type veth peer name eth0 netns {path}"))?;
            switch.ip(&format!("link set port{i} master bridge up"))?;
            host.namespace.ip("link set lo up")?;
            host.namespace.ip(&format!("address add {}/24 dev eth0", host.address))?;
            host.namespace.ip("link set eth0 up")?;
            hosts.push(host);
        }
        if let Err(error) = hosts[0].command("true").status() {
            return Err(format!("nsenter cannot be run: {error}"));
        }
        Ok(Hosts { switch, hosts })
    }

    /// Returns the host with this index.
    pub fn host(&self, i: usize) -> &Host {
        &self.hosts[i]
    }

    /// Pulls the cable of a host at the switch, or plugs it in again. The ends of a connection do not notice.
    pub fn link(&self, i: usize, up: bool) {
        assert!(i < self.hosts.len(), "host {i}");
        let done = self.switch.ip(&format!("link set port{i} {}", if up { "up" } else { "down" }));
        done.expect("a link can be set");
    }

    /// Delays all packets to and from a host, in each direction. Returns whether the kernel supports this.
    pub fn delay(&self, i: usize, milliseconds: u32) -> bool {
        let netem = |device: &str| format!("qdisc replace dev {device} root netem delay {milliseconds}ms");
        let from_host = self.hosts[i].namespace.run("tc", &netem("eth0"));
        from_host.and_then(|()| self.switch.run("tc", &netem(&format!("port{i}")))).is_ok()
    }
}

impl Host {
    /// The host's address on the switch.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(self.address)
    }

    /// Makes a command that runs a program on the host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.path())).args(["--", program]);
        command
    }

    /// The same program, directory and variables, run on the host.
    pub fn runs(&self, command: &Command) -> Command {
        let mut here = self.command(command.get_program().to_str().expect("a path is text"));
        here.args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            here.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => here.env(name, value),
                None => here.env_remove(name),
            };
        }
        here
    }

    /// Adds an IPv6 address on the switch that never answers, and returns it. Packets to it are lost.
    pub fn silent_address(&self) -> Ipv6Addr {
        let address = |last| Ipv6Addr::new(0xfd00, 0xa1, 0, 0, 0, 0, 0, last);
        let (own, silent) = (address(1), address(2));
        let done = self.namespace.ip(&format!("-6 address add {own}/64 dev eth0 nodad"));
        done.expect("an address can be added");
        // Otherwise the system would detect that no host has the address.
        let neighbour = format!("-6 neighbour add {silent} lladdr 02:00:00:00:00:02 dev eth0 nud permanent");
        self.namespace.ip(&neighbour).expect("a neighbour can be added");
        silent
    }

    /// As [`Host::runs`], with these host names only.
    pub fn runs_with_names(&self, command: &Command, names: &Path) -> Command {
        let mut here = Command::new("unshare");
        let then = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        here.args(["--mount", "sh", "-c", then])
            .arg(names)
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            here.current_dir(directory);
        }
        self.runs(&here)
    }

    /// Runs `work` on the host. Sockets that it makes stay the host's, wherever they are used later.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.inside(work)
    }

    /// The host's network namespace.
    pub fn namespace(&self) -> Arc<Namespace> {
        Arc::clone(&self.namespace)
    }
}

impl Namespace {
    fn new() -> Result<Namespace, String> {
        // A thread makes the namespace and ends, so that this process keeps its own.
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|error| format!("no network namespace can be made: {error}"))?;
            File::open("/proc/thread-self/ns/net").map_err(|error| format!("a network namespace: {error}"))
        });
        Ok(Namespace { file: made.join().expect("it does not panic")? })
    }

    /// Moves the calling thread and its future child processes into the namespace.
    pub fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("a namespace can be entered");
    }

    /// The target of the link `ns/net` of each process in the namespace.
    pub fn id(&self) -> PathBuf {
        self.inside(|| fs::read_link("/proc/thread-self/ns/net")).expect("a link of the system")
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The path under which other processes find the namespace while this one runs.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    fn ip(&self, arguments: &str) -> Result<(), String> {
        self.run("ip", arguments)
    }

    /// Runs a program in the namespace. Its arguments must not contain spaces.
    fn run(&self, program: &str, arguments: &str) -> Result<(), String> {
        let mut command = Command::new(program);
        command.args(arguments.split(' ')).stdin(Stdio::null());
        let output = self.inside(|| command.output()).map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("there is no `{program}` (Debian: iproute2)"),
            _ => format!("`{program}` cannot be run: {error}"),
        })?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("`{program} {arguments}`: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}
