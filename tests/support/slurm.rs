//! A Slurm cluster on this machine: munge, a controller, and several nodes that are daemons. Or two such clusters, with
//! accounts in a database.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Ended, Place, Running, copy_program, send, wait_for};

/// A cluster, or several that know each other. Commands that name none use the first. All its daemons end when this is
/// dropped.
pub struct Cluster {
    directory: tempfile::TempDir,
    /// Names of the clusters.
    names: &'static [&'static str],
    /// Running daemons, by name.
    daemons: BTreeMap<String, Child>,
}

/// The names of clusters, and the prefixes of the names of their nodes.
const NAMES: [&str; 2] = ["one", "two"];
const NODES: [&str; 2] = ["n", "m"];

/// The properties of clusters with accounts.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The number of nodes of each cluster.
    pub nodes: usize,
    /// Slurm's `MaxArraySize`, if it is not the default: task numbers of an array are smaller.
    pub max_array: Option<u32>,
    /// Whether there are two clusters.
    pub is_double: bool,
}

/// An ordinary user of this machine, and the group of its processes.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub name: &'static str,
    pub group: &'static str,
}

/// Two users of one group, in the account `lab` of every cluster. Every Debian system has these users, so the tests
/// create and remove none.
pub const OWNER: User = User { name: "games", group: "users" };
pub const COLLEAGUE: User = User { name: "news", group: "users" };

/// A user without an account on the clusters.
pub const STRANGER: User = User { name: "nobody", group: "nogroup" };

/// Whether Slurm is installed here and this process may start it.
pub fn is_possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("daemons of Slurm that start jobs of others run as root".into());
    }
    let programs = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel"];
    are_there(&programs, "slurm-wlm munge")
}

/// Whether the programs for accounts are installed, too.
pub fn is_accounting_possible() -> Result<(), String> {
    is_possible()?;
    let programs =
        ["mariadbd", "mariadb-install-db", "my_print_defaults", "slurmdbd", "sacctmgr", "sacct", "setpriv"];
    are_there(&programs, "mariadb-server-core mariadb-client-core slurmdbd")
}

fn are_there(programs: &[&str], packages: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&&str| std::env::split_paths(&path).any(|of| of.join(program).exists());
    match programs.iter().find(|program| !is_there(program)) {
        None => Ok(()),
        Some(program) => Err(format!("there is no {program}: apt-get install {packages}")),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn give(path: &Path, user: User) {
    let whose = nix::unistd::User::from_name(user.name).expect("users").expect(user.name).uid.as_raw();
    let group = nix::unistd::Group::from_name(user.group).expect("groups").expect(user.group).gid.as_raw();
    chown(path, Some(whose), Some(group)).expect("it is theirs");
}

/// Returns this number of free, contiguous ports. The system does not assign them to connections by itself. Otherwise a
/// port could be taken when a daemon wants to listen.
fn free_ports(count: usize) -> Vec<u16> {
    wait_for("there are free ports", || {
        let first = 20_000 + rand::random::<u16>() % 10_000;
        let ports: Vec<u16> = (first..).take(count).collect();
        let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
        ports.iter().all(is_free).then_some(ports)
    })
}

/// The names of a cluster's nodes.
fn nodes_of(cluster: usize, count: usize) -> Vec<String> {
    (1..=count).map(|node| format!("{}{node}", NODES[cluster])).collect()
}

/// The output of a command; empty if it fails.
fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output().expect("a command of Slurm's");
    String::from_utf8(output.stdout).expect("text")
}

impl Cluster {
    /// Starts a cluster with this number of nodes, each with one processor, and waits until all nodes are idle.
    pub fn start(nodes: usize) -> Cluster {
        let mut cluster = Cluster::with_munge(&NAMES[..1]);
        cluster.configure(0, &free_ports(nodes + 1), "AccountingStorageType=accounting_storage/none\n");
        cluster.start_clusters(nodes);
        cluster
    }

    /// Starts one or two clusters with accounts, and waits until all nodes are idle. Limits of users are enforced.
    pub fn accounted(site: Site) -> Cluster {
        let names = if site.is_double { &NAMES[..] } else { &NAMES[..1] };
        let mut cluster = Cluster::with_munge(names);
        for user in [OWNER, COLLEAGUE, STRANGER] {
            let home = cluster.home_of(user);
            fs::create_dir_all(&home).expect("a directory");
            give(&home, user);
        }
        // The directory in which the program was built may be closed to other users.
        copy_program(&cluster.path("granule"));
        let ports = free_ports(1 + names.len() * (site.nodes + 1));
        let (port, ports) = ports.split_first().expect("a port");
        let munge = cluster.path("munge/socket").display().to_string();
        let mut accounting = format!(
            "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n\
             AccountingStoragePort={port}\nAccountingStoragePass={munge}\n\
             AccountingStorageEnforce=associations,limits,qos\n"
        );
        if let Some(size) = site.max_array {
            accounting.push_str(&format!("MaxArraySize={size}\n"));
        }
        for (at, ports) in ports.chunks(site.nodes + 1).enumerate() {
            cluster.configure(at, ports, &accounting);
        }
        cluster.start_database();
        let root = cluster.directory.path().display();
        let conf = format!(
            "AuthType=auth/munge\nAuthInfo=socket={munge}\nDbdHost=localhost\nDbdAddr=127.0.0.1\nDbdPort={port}\n\
             SlurmUser=root\nStorageType=accounting_storage/mysql\nStorageHost=localhost\nStorageUser=root\n\
             PidFile={root}/slurmdbd.pid\nLogFile={root}/log/slurmdbd.log\n"
        );
        // slurmdbd looks for its configuration beside those of the clusters.
        fs::write(cluster.path("slurmdbd.conf"), conf).expect("a configuration");
        set_mode(&cluster.path("slurmdbd.conf"), 0o600);
        cluster.start_accounting();
        let all = format!("cluster={}", names.join(","));
        cluster.sacctmgr(&[&["add", "cluster"], names].concat());
        cluster.sacctmgr(&["add", "account", "lab", &all]);
        let users = [OWNER, COLLEAGUE].map(|user| user.name).join(",");
        cluster.sacctmgr(&["add", "user", &users, "account=lab", &all]);
        cluster.start_clusters(site.nodes);
        cluster
    }

    /// Starts the parts that all clusters of these names share.
    fn with_munge(names: &'static [&'static str]) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Cluster { directory, names, daemons: BTreeMap::new() };
        for name in ["munge", "log"] {
            fs::create_dir(cluster.path(name)).expect("a directory");
        }
        // Slurm's controller and munge check the owners of all parent directories, and jobs must be able to read them.
        set_mode(cluster.directory.path(), 0o755);
        set_mode(&cluster.path("munge"), 0o711);
        let key: Vec<u8> = (0..1024).map(|_| rand::random()).collect();
        fs::write(cluster.path("munge/key"), key).expect("a key");
        set_mode(&cluster.path("munge/key"), 0o400);
        let mut command = cluster.command("munged");
        command.args(["--foreground", "--force"]);
        for (name, file) in [
            ("socket", "socket"),
            ("key-file", "key"),
            ("pid-file", "pid"),
            ("seed-file", "seed"),
            ("log-file", "log"),
        ] {
            command.arg(format!("--{name}={}", cluster.path("munge").join(file).display()));
        }
        cluster.daemon("munged", command);
        wait_for("munge listens", || cluster.path("munge/socket").exists().then_some(()));
        cluster
    }

    /// Writes the configuration of a cluster. The first port is for its controller, and the others are for its nodes.
    fn configure(&self, at: usize, ports: &[u16], accounting: &str) {
        let name = self.names[at];
        for directory in ["state", "spool"] {
            fs::create_dir_all(self.path(name).join(directory)).expect("a directory");
        }
        let host = nix::unistd::gethostname().expect("a name").into_string().expect("text");
        let root = self.directory.path().display();
        let mut conf = format!(
            "ClusterName={name}\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmUser=root\nSlurmdUser=root\n\
             AuthType=auth/munge\nAuthInfo=socket={root}/munge/socket\nCredType=cred/munge\n\
             StateSaveLocation={root}/{name}/state\nSlurmdSpoolDir={root}/{name}/spool/%n\n\
             SlurmctldPidFile={root}/slurmctld-{name}.pid\nSlurmdPidFile={root}/slurmd-%n.pid\n\
             SlurmctldLogFile={root}/log/slurmctld-{name}.log\nSlurmdLogFile={root}/log/slurmd-%n.log\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nReturnToService=1\nKillWait=10\n\
             PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\nJobAcctGatherType=jobacct_gather/none\n\
             SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0\n{accounting}",
            ports[0]
        );
        let names = nodes_of(at, ports.len() - 1);
        for (name, port) in names.iter().zip(&ports[1..]) {
            conf.push_str(&format!(
                "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=100\n"
            ));
        }
        // Jobs in `urgent` preempt those in `main`.
        for (partition, is_default, tier) in [("main", "YES", 1), ("urgent", "NO", 2)] {
            conf.push_str(&format!(
                "PartitionName={partition} Nodes={} Default={is_default} PriorityTier={tier} MaxTime=INFINITE State=UP\n",
                names.join(",")
            ));
        }
        fs::write(self.conf_of(name), conf).expect("a configuration");
    }

    /// Starts controllers and nodes.
    fn start_clusters(&mut self, nodes: usize) {
        let names = self.names;
        // If a node does not find its controller, it waits for a long time before it tries again.
        names.iter().for_each(|name| self.start_controller_of(name));
        for (at, name) in names.iter().enumerate() {
            for node in nodes_of(at, nodes) {
                let mut command = self.command_of(name, "slurmd");
                command.args(["-D", "-N", &node]);
                self.daemon(&format!("slurmd-{node}"), command);
            }
        }
        for name in names {
            wait_for("all nodes are idle", || {
                let states = ["--noheader", "--Node", "--partition=main", "--format=%T"];
                let said = said(self.command_of(name, "sinfo").args(states));
                (said.lines().filter(|state| *state == "idle").count() == nodes).then_some(())
            });
        }
    }

    /// Starts a database that only root can reach, and that does not sync its files.
    fn start_database(&mut self) {
        let path = self.path("database");
        fs::create_dir(&path).expect("a directory");
        set_mode(&path, 0o700);
        let always = |program: &str| {
            let mut command = Command::new(program);
            command.args([
                "--no-defaults",
                "--user=root",
                "--innodb-flush-method=nosync",
                "--innodb-doublewrite=0",
            ]);
            command.arg(format!("--datadir={}", path.display()));
            command
        };
        let mut install = always("mariadb-install-db");
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        Ended::from(install.output().expect("mariadb-install-db")).succeeded();
        let mut command = always("mariadbd");
        command.arg("--skip-networking").arg(format!("--socket={}", path.join("socket").display()));
        command.arg(format!("--pid-file={}", path.join("pid").display()));
        command.arg(format!("--log-error={}", self.path("log/mariadbd.log").display()));
        self.daemon("mariadbd", command);
        wait_for("the database listens", || path.join("socket").exists().then_some(()));
    }

    /// Starts the daemon for accounts, which keeps the previous records.
    pub fn start_accounting(&mut self) {
        let mut command = self.command("slurmdbd");
        command.arg("-D").env("MYSQL_UNIX_PORT", self.path("database/socket"));
        self.daemon("slurmdbd", command);
        wait_for("the accounting answers", || {
            self.asked("sacctmgr", &["--noheader", "show", "qos"]).contains("normal").then_some(())
        });
    }

    /// Ends the daemon for accounts. The database keeps running.
    pub fn stop_accounting(&mut self) {
        self.stop("slurmdbd");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration of the cluster with this name.
    pub fn conf_of(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.conf"))
    }

    fn home_of(&self, user: User) -> PathBuf {
        self.path("home").join(user.name)
    }

    fn daemon(&mut self, name: &str, mut command: Command) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.insert(name.to_owned(), command.spawn().expect(name));
    }

    fn stop(&mut self, name: &str) {
        let mut daemon = self.daemons.remove(name).expect("it runs");
        send(daemon.id(), Signal::SIGTERM);
        daemon.wait().expect("it ends");
    }

    /// Starts the controller, which keeps its previous state.
    pub fn start_controller(&mut self) {
        self.start_controller_of(NAMES[0]);
    }

    /// Starts the controller of the cluster with this name.
    pub fn start_controller_of(&mut self, name: &str) {
        let mut command = self.command_of(name, "slurmctld");
        command.arg("-D");
        self.daemon(&format!("slurmctld-{name}"), command);
        wait_for("the controller is up", || {
            said(self.command_of(name, "scontrol").arg("ping")).contains(" is UP").then_some(())
        });
    }

    /// Ends the controller with SIGTERM: a killed controller may not have recorded which jobs it started.
    pub fn stop_controller(&mut self) {
        self.stop_controller_of(NAMES[0]);
    }

    /// Ends the controller of the cluster with this name.
    pub fn stop_controller_of(&mut self, name: &str) {
        self.stop(&format!("slurmctld-{name}"));
    }

    /// A command that uses this cluster.
    fn command(&self, program: &str) -> Command {
        self.command_of(NAMES[0], program)
    }

    /// A command that uses the cluster with this name.
    pub fn command_of(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.conf_of(name));
        command
    }

    /// The output of a Slurm command; empty if it fails.
    pub fn asked(&self, program: &str, arguments: &[&str]) -> String {
        said(self.command(program).args(arguments))
    }

    /// Runs a Slurm command, which must succeed.
    #[track_caller]
    pub fn does(&self, program: &str, arguments: &[&str]) {
        Ended::from(self.command(program).args(arguments).output().expect(program)).succeeded();
    }

    /// Changes accounts, users and their limits. Returns the output.
    #[track_caller]
    pub fn sacctmgr(&self, arguments: &[&str]) -> String {
        let mut command = self.command("sacctmgr");
        command.arg("--immediate").args(arguments);
        Ended::from(command.output().expect("sacctmgr")).succeeded().stdout
    }

    /// Runs the program on this cluster's login node.
    pub fn granule(&self, place: &Place, arguments: &[&str]) -> Running {
        let mut command = place.granule(arguments);
        self.at_home(&mut command);
        place.start_this(command)
    }

    /// An empty directory of this user, which the group can read.
    pub fn place_of(&self, user: User) -> Place {
        let place = Place::new();
        give(&place.path(""), user);
        set_mode(&place.path(""), 0o2750);
        place
    }

    /// A command that this user runs in this directory. Only the user and the group can read its files.
    pub fn command_as(&self, user: User, place: &Place, program: impl AsRef<Path>) -> Command {
        let mut command = place.command("setpriv");
        command.args(["--reuid", user.name, "--regid", user.group, "--clear-groups"]);
        command.args(["sh", "-c", "umask 027; exec \"$0\" \"$@\""]).arg(program.as_ref());
        self.at_home(&mut command).env("HOME", self.home_of(user)).env("USER", user.name);
        command
    }

    /// Runs the program on this cluster's login node as this user.
    pub fn granule_as(&self, user: User, place: &Place, arguments: &[&str]) -> Running {
        let mut command = self.command_as(user, place, self.path("granule"));
        command.args(arguments);
        place.start_this(command)
    }

    /// Makes a command use this cluster.
    pub fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SLURM_CONF", self.conf_of(NAMES[0]))
    }

    /// The states of all unfinished jobs of all clusters, one word each. `None` if a controller does not answer.
    fn ask_for_jobs(&self) -> Option<Vec<String>> {
        let mut jobs = Vec::new();
        for name in self.names {
            let mut asking = self.command_of(name, "squeue");
            let output = asking.args(["--noheader", "--array", "--format=%T"]).output().expect("squeue");
            let said = String::from_utf8(output.stdout).expect("text");
            jobs.extend(output.status.success().then_some(said)?.lines().map(|line| line.trim().to_owned()));
        }
        Some(jobs)
    }

    /// The states of all unfinished jobs of all clusters, one word each.
    #[track_caller]
    pub fn jobs(&self) -> Vec<String> {
        wait_for("Slurm says which jobs there are", || self.ask_for_jobs())
    }

    /// Cancels all jobs of all clusters.
    fn cancel(&self) {
        for name in self.names {
            // `scancel` requires a filter, such as a user.
            for user in ["root", OWNER.name, COLLEAGUE.name] {
                let user = format!("--user={user}");
                let _ = self.command_of(name, "scancel").args(["--quiet", &user]).output();
            }
        }
    }

    /// Cancels all jobs and waits for their end.
    pub fn clear(&self) {
        self.cancel();
        self.is_left_alone();
    }

    /// Expects that soon there are no jobs.
    #[track_caller]
    pub fn is_left_alone(&self) {
        wait_for("no job is left", || self.jobs().is_empty().then_some(()));
    }

    /// Makes a requeued job begin soon: Slurm would wait for two minutes. A node refuses a job within the second in
    /// which it ended.
    #[track_caller]
    pub fn begin_soon(&self, job: &str) {
        wait_for("the job waits", || {
            let said = self.asked("squeue", &["--noheader", "--format=%T", "--jobs", job]);
            (said.trim() == "PENDING").then_some(())
        });
        self.does("scontrol", &["update", &format!("jobid={job}"), "starttime=now+3"]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.cancel();
        let begun = std::time::Instant::now();
        while self.ask_for_jobs() != Some(Vec::new()) && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(100));
        }
        for daemon in self.daemons.values_mut() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
