//! A Slurm cluster on this machine: munge, a controller, and several nodes that are daemons beside each other.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Ended, Place, Running, send, wait_for};

/// The cluster; everything of it is ended when this is dropped.
pub struct Cluster {
    directory: tempfile::TempDir,
    daemons: Vec<Child>,
    /// Which of them is the controller.
    controller: usize,
}

/// Whether there is a Slurm here, and we may start one.
pub fn is_possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("daemons of Slurm that start jobs of others run as root".into());
    }
    for program in ["munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel"] {
        if Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            return Err(format!("there is no {program}: apt-get install slurm-wlm munge"));
        }
    }
    Ok(())
}

/// So many ports side by side that are free, of those that the system gives to nobody by itself: what a
/// connection had for a moment would be missing when a daemon wants to listen.
fn free_ports(count: usize) -> Vec<u16> {
    wait_for("there are free ports", || {
        let first = 20_000 + rand::random::<u16>() % 10_000;
        let ports: Vec<u16> = (first..).take(count).collect();
        let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
        ports.iter().all(is_free).then_some(ports)
    })
}

impl Cluster {
    /// Starts one of so many nodes, each with one processor, and waits until all of them are idle.
    pub fn start(nodes: usize) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["munge", "state", "spool", "log"] {
            fs::create_dir(path(name)).expect("a directory");
        }
        // Slurm's controller and munge look at whose it is all the way up; jobs read it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(path("munge"), fs::Permissions::from_mode(0o711)).expect("a mode");
        let key: Vec<u8> = (0..1024).map(|_| rand::random()).collect();
        fs::write(path("munge/key"), key).expect("a key");
        fs::set_permissions(path("munge/key"), fs::Permissions::from_mode(0o400)).expect("a mode");
        let ports = free_ports(nodes + 1);
        let host = nix::unistd::gethostname().expect("a name").into_string().expect("text");
        let root = directory.path().display();
        let mut conf = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmUser=root\nSlurmdUser=root\n\
             AuthType=auth/munge\nAuthInfo=socket={root}/munge/socket\nCredType=cred/munge\n\
             StateSaveLocation={root}/state\nSlurmdSpoolDir={root}/spool/%n\n\
             SlurmctldPidFile={root}/slurmctld.pid\nSlurmdPidFile={root}/slurmd-%n.pid\n\
             SlurmctldLogFile={root}/log/slurmctld.log\nSlurmdLogFile={root}/log/slurmd-%n.log\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nReturnToService=1\nKillWait=3\n\
             PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0\n",
            ports[0]
        );
        let names: Vec<String> = (1..=nodes).map(|node| format!("n{node}")).collect();
        for (name, port) in names.iter().zip(&ports[1..]) {
            conf.push_str(&format!(
                "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=100\n"
            ));
        }
        // What is urgent takes its nodes from what is not.
        for (partition, is_default, tier) in [("main", "YES", 1), ("urgent", "NO", 2)] {
            conf.push_str(&format!(
                "PartitionName={partition} Nodes={} Default={is_default} PriorityTier={tier} MaxTime=INFINITE State=UP\n",
                names.join(",")
            ));
        }
        fs::write(path("slurm.conf"), conf).expect("a configuration");

        let mut cluster = Cluster { directory, daemons: Vec::new(), controller: 0 };
        let munge = |name: &str, file: &str| format!("--{name}={}", cluster.path(file).display());
        let arguments = [
            munge("socket", "munge/socket"),
            munge("key-file", "munge/key"),
            munge("pid-file", "munge/pid"),
            munge("seed-file", "munge/seed"),
            munge("log-file", "munge/log"),
        ];
        let arguments: Vec<&str> =
            ["--foreground", "--force"].into_iter().chain(arguments.iter().map(|of| &**of)).collect();
        cluster.daemon("munged", &arguments);
        wait_for("munge listens", || cluster.path("munge/socket").exists().then_some(()));
        // A node that does not find it waits for long before it looks again.
        cluster.start_controller();
        for name in &names {
            cluster.daemon("slurmd", &["-D", "-N", name]);
        }
        wait_for("all nodes are idle", || {
            let said = cluster.asked("sinfo", &["--noheader", "--Node", "--partition=main", "--format=%T"]);
            (said.lines().filter(|state| *state == "idle").count() == nodes).then_some(())
        });
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn daemon(&mut self, program: &str, arguments: &[&str]) {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.push(command.spawn().expect(program));
    }

    /// Starts the controller, which remembers what it knew before.
    pub fn start_controller(&mut self) {
        self.daemon("slurmctld", &["-D"]);
        self.controller = self.daemons.len() - 1;
        wait_for("the controller is up", || {
            self.asked("scontrol", &["ping"]).contains(" is UP").then_some(())
        });
    }

    /// Ends the controller. What is killed may not have noted down yet which jobs it had begun.
    pub fn stop_controller(&mut self) {
        let controller = &mut self.daemons[self.controller];
        send(controller.id(), Signal::SIGTERM);
        controller.wait().expect("it ends");
    }

    /// A program that finds this cluster.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.at_home(&mut command);
        command
    }

    /// What a command of Slurm's says; nothing if it fails.
    pub fn asked(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).stderr(Stdio::null()).output().expect(program);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Has Slurm do something, which must succeed.
    #[track_caller]
    pub fn does(&self, program: &str, arguments: &[&str]) {
        Ended::from(self.command(program).args(arguments).output().expect(program)).succeeded();
    }

    /// The program on this cluster's login node.
    pub fn granule(&self, place: &Place, arguments: &[&str]) -> Running {
        let mut command = place.granule(arguments);
        self.at_home(&mut command);
        place.start_this(command)
    }

    /// The command finds this cluster.
    pub fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SLURM_CONF", self.path("slurm.conf"))
    }

    /// The states of all jobs that are not over, one word each; none if the controller does not say.
    fn ask_for_jobs(&self) -> Option<Vec<String>> {
        let mut asking = self.command("squeue");
        let output = asking.args(["--noheader", "--array", "--format=%T"]).output().expect("squeue");
        let said = String::from_utf8(output.stdout).expect("text");
        output.status.success().then(|| said.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// The states of all jobs that are not over, one word each.
    #[track_caller]
    pub fn jobs(&self) -> Vec<String> {
        wait_for("Slurm says which jobs there are", || self.ask_for_jobs())
    }

    /// Ends all jobs.
    pub fn clear(&self) {
        self.does("scancel", &["--quiet", "--user=root"]);
        self.is_left_alone();
    }

    /// Expects that there are soon no jobs any more.
    #[track_caller]
    pub fn is_left_alone(&self) {
        wait_for("no job is left", || self.jobs().is_empty().then_some(()));
    }

    /// Has the job that waits after it was put back begin soon: Slurm would wait for two minutes. Within the
    /// second in which it was ended a node would refuse it.
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
        let _ = self.command("scancel").args(["--quiet", "--user=root"]).output();
        let begun = std::time::Instant::now();
        while self.ask_for_jobs() != Some(Vec::new()) && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(100));
        }
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
