//! The entrance of workers: plain text on loopback, otherwise over TLS only.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use granule_server::driver::{Reception, Tls, listen};
use granule_server::identity::{self, AdvertiseError, Identity, IdentityError, Origin, addresses};
use granule_server::view::log::line;
use granule_system::files::{self, Directory};
use granule_system::private;
use granule_text::plural;
use granule_worker::access::{Access, AccessError, Secret};
use tokio::net::TcpListener;

use crate::batch::BatchError;
use crate::cli::{self, exit};
use crate::commands::beacon::Beacon;
use crate::commands::target;
use crate::failure::shell_path;

/// Name of the access file in the output directory.
pub(crate) const ACCESS: &str = "access.json";

/// The entrance of workers.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// For the coordinator's own processes only, with a secret that no other process learns. They run on this machine,
    /// and on so many hosts that are reached by `ssh`.
    Local { listen: SocketAddr, out: Directory, hosts: usize },
    /// For every worker that has the access file.
    Served(Box<Served>),
}

/// An entrance for workers that others start.
#[derive(Debug)]
pub(crate) struct Served {
    listen: SocketAddr,
    advertise: Option<String>,
    interface: Option<String>,
    access: PathBuf,
    /// Whether a file that is not an access file may be replaced.
    forces: bool,
    out: Directory,
    /// The user's own files of a certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
    /// Directory of an identity that was made before.
    prepared: Option<PathBuf>,
    /// The secret in the access file, if that was written without a certificate.
    secret: Mutex<Option<Secret>>,
    /// The identity whose files are removed at the end.
    identity: Mutex<Option<Identity>>,
    /// Starts workers, given the access file. Otherwise, the user starts them.
    starts: Option<Arc<dyn Starter>>,
}

/// Starts workers while trials are computed.
pub(crate) trait Starter: fmt::Debug + Send + Sync {
    /// Starts workers, or those that are missing. The entrance is open, and this is its access file.
    fn start(self: Arc<Self>, access: &Path) -> Result<(), EntranceError>;

    /// Starts no more workers until [`Starter::start`] is called again: all trials are computed.
    fn rest(&self);
}

/// The reason that the entrance cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntranceError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot serve the dashboard at {address}")]
    Dashboard { address: SocketAddr, source: io::Error },
    #[error("{} exists and is not an access file of granule", path.display())]
    NotAccess { path: PathBuf },
    #[error("cannot write {} with mode 0600", path.display())]
    Open { path: PathBuf, source: io::Error, is_key: bool },
    #[error("cannot write {}", path.display())]
    Jobs { path: PathBuf, source: io::Error },
    #[error("cannot read {}, which lists the jobs of an earlier run", path.display())]
    ReadJobs { path: PathBuf, source: io::Error },
    #[error("{} lists the jobs of an earlier run with another batch system (`{system}`)", path.display())]
    OtherJobs { path: PathBuf, system: String },
    #[error("{} exists and is not a script that granule wrote", path.display())]
    NotScript { path: PathBuf },
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Advertise(#[from] AdvertiseError),
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl EntranceError {
    pub(crate) fn code(&self) -> u8 {
        match self {
            EntranceError::Advertise(AdvertiseError::Given { .. } | AdvertiseError::Interface { .. }) => {
                exit::USAGE
            }
            EntranceError::NotAccess { .. }
            | EntranceError::NotScript { .. }
            | EntranceError::OtherJobs { .. } => exit::USAGE,
            EntranceError::Open { source, .. } if private::is_modeless(source) => exit::USAGE,
            _ => exit::FAILED,
        }
    }

    /// Whether the same may succeed a little later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, EntranceError::Batch(BatchError::Failed { .. } | BatchError::Silent { .. }))
    }

    pub(crate) fn help(&self) -> Option<String> {
        match self {
            EntranceError::Listen { .. } | EntranceError::Dashboard { .. } => {
                Some("use port 0 for a free one, and an address of this machine".to_owned())
            }
            EntranceError::NotAccess { .. } => {
                Some("choose another file with --access, or replace this one with --force".to_owned())
            }
            EntranceError::NotScript { .. } => Some("move it away".to_owned()),
            EntranceError::ReadJobs { .. } => {
                Some("cancel these jobs if they still wait or run, and remove the file".to_owned())
            }
            EntranceError::OtherJobs { .. } => Some(
                "name the same system with --system; or cancel these jobs if they still wait or run, and remove the \
                    file"
                    .to_owned(),
            ),
            EntranceError::Batch(error) => Some(error.help()),
            EntranceError::Open { source, is_key: false, .. } if private::is_modeless(source) => Some(
                "--access FILE puts the access file elsewhere, such as into your home directory".to_owned(),
            ),
            EntranceError::Open { source, is_key: true, .. } if private::is_modeless(source) => Some(
                "make the key and the access file in another directory, such as your home directory, with \
                    `granule identity DIR \
                 --advertise HOST:PORT`, and pass --identity DIR"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Entrance {
    /// Returns the entrance for the coordinator's own processes on this machine.
    pub(crate) fn local(listen: SocketAddr, out: &Directory) -> Entrance {
        Entrance::Local { listen, out: out.clone(), hosts: 0 }
    }

    /// Returns the entrance for the coordinator's own processes, some of which are on other machines.
    pub(crate) fn over_ssh(listen: SocketAddr, out: &Directory, hosts: usize) -> Entrance {
        Entrance::Local { listen, out: out.clone(), hosts }
    }

    /// Returns the entrance that the command line requests.
    pub(crate) fn served(arguments: &cli::Serve, out: &Directory) -> Entrance {
        let prepared = arguments.identity.clone();
        let place = prepared.as_deref().unwrap_or(out.path());
        Entrance::Served(Box::new(Served {
            listen: arguments.listen,
            advertise: arguments.advertise.clone(),
            interface: arguments.interface.clone(),
            access: arguments.access.clone().unwrap_or_else(|| place.join(ACCESS)),
            forces: arguments.force,
            out: out.clone(),
            own: arguments.certificate.clone().zip(arguments.key.clone()),
            prepared,
            secret: Mutex::new(None),
            identity: Mutex::new(None),
            starts: None,
        }))
    }

    /// Returns the entrance for workers that are jobs of a batch system. `starter` submits them.
    pub(crate) fn for_jobs(
        listen: SocketAddr,
        interface: Option<String>,
        out: &Directory,
        starter: Arc<dyn Starter>,
    ) -> Entrance {
        Entrance::Served(Box::new(Served {
            listen,
            advertise: None,
            interface,
            access: out.path().join(ACCESS),
            forces: false,
            out: out.clone(),
            own: None,
            prepared: None,
            secret: Mutex::new(None),
            identity: Mutex::new(None),
            starts: Some(starter),
        }))
    }

    /// Describes the workers, for people.
    pub(crate) fn describe(&self, workers: u32) -> String {
        match (self, workers) {
            (Entrance::Served(served), 0) if served.starts.is_some() => "workers in jobs".to_owned(),
            (Entrance::Served(_), 0) => "waiting for workers on other machines".to_owned(),
            (Entrance::Served(_), count) => {
                format!("{} here; waiting for workers on other machines", plural(count.into(), "worker"))
            }
            (Entrance::Local { hosts: 0, .. }, count) => plural(count.into(), "worker"),
            (Entrance::Local { hosts, .. }, 0) => format!("workers on {}", plural(*hosts as u64, "host")),
            (Entrance::Local { hosts, .. }, count) => {
                format!(
                    "{} here, the others on {}",
                    plural(count.into(), "worker"),
                    plural(*hosts as u64, "host")
                )
            }
        }
    }

    /// Returns the scope of the known CPU time, for people.
    pub(crate) fn whose_time(&self) -> &'static str {
        match self {
            Entrance::Local { hosts: 0, .. } => "",
            Entrance::Local { .. } | Entrance::Served(_) => " here",
        }
    }

    /// Checks that the access file and the key may be written.
    pub(crate) fn check(&self) -> Result<(), EntranceError> {
        match self {
            Entrance::Served(served) if served.prepared.is_none() => served.check(),
            _ => Ok(()),
        }
    }

    /// Opens the entrance.
    pub(crate) fn open(&self) -> Result<Reception, EntranceError> {
        match self {
            Entrance::Local { listen, .. } => {
                let secret = Secret::generate();
                Ok(Reception { listener: bind(*listen)?, tls: None, secret })
            }
            Entrance::Served(served) => served.open(),
        }
    }

    /// Starts no more workers: all trials are computed, and files are written. The entrance may be opened again.
    pub(crate) fn rest(&self) {
        if let Entrance::Served(served) = self
            && let Some(starter) = &served.starts
        {
            starter.rest();
        }
    }

    /// Lets `granule status` find a run that has no access file. If that fails, prints the reason.
    pub(crate) fn light(&self, door: &Reception) -> Option<Beacon> {
        let Entrance::Local { out, .. } = self else { return None };
        match door.access().and_then(|access| Beacon::light(out, &access)) {
            Ok(beacon) => Some(beacon),
            Err(error) => {
                line(&format!("note: `granule status` cannot show the progress of this run: {error}"));
                None
            }
        }
    }

    /// Admits no more workers: removes the access file and the key, also those that a killed run left in the output
    /// directory. Workers that wait for the access file conclude that the sweep is complete.
    pub(crate) fn close(&self) -> Result<(), EntranceError> {
        let served = match self {
            // These files are the user's, for the next run.
            Entrance::Served(served) if served.prepared.is_some() => return Ok(()),
            Entrance::Served(served) => served,
            // This run holds the directory, so no coordinator serves from it.
            Entrance::Local { out, .. } => return remove_left(out, true),
        };
        let identity = served.identity.lock().map(|mut identity| identity.take()).unwrap_or_default();
        if let Some(identity) = identity {
            identity.remove()?;
        } else if let Some(secret) = served.secret.lock().map(|mut secret| secret.take()).unwrap_or_default()
        {
            // Without TLS, there is only the access file.
            if Access::read(&served.access).is_ok_and(|access| access.secret.expose() == secret.expose()) {
                remove(&served.access)?;
            }
        }
        remove_left(&served.out, served.own.is_none())
    }
}

/// Removes the access file that a coordinator left in an output directory, and its key.
fn remove_left(out: &Directory, with_key: bool) -> Result<(), EntranceError> {
    let text = |name: &str| {
        out.open_file(OsStr::new(name)).and_then(|file| files::read_open(file, identity::LONGEST)).ok()
    };
    let removed = |name: &str| {
        out.remove(OsStr::new(name)).map(drop).map_err(|source| {
            EntranceError::from(IdentityError::Remove { path: out.path().join(name), source })
        })
    };
    if text(ACCESS).is_some_and(|text| Access::parse(&text).is_ok()) {
        removed(ACCESS)?;
    }
    if with_key && text(identity::FILE).is_some_and(|text| identity::is_made(&text)) {
        removed(identity::FILE)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), EntranceError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(IdentityError::Remove { path: path.to_owned(), source }.into())
        }
        _ => Ok(()),
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, EntranceError> {
    listen(address).map_err(|source| EntranceError::Listen { address, source })
}

impl Served {
    fn open(&self) -> Result<Reception, EntranceError> {
        let earlier = Access::read(&self.access).ok();
        let listener = self.bind_again(earlier.as_ref())?;
        let bound =
            listener.local_addr().map_err(|source| EntranceError::Listen { address: self.listen, source })?;
        if let Some(directory) = &self.prepared {
            let (identity, access) = Identity::prepared(&directory.join(identity::FILE), &self.access)?;
            let tls = self.tls(bound, &identity, &Origin::Prepared);
            self.invite()?;
            return Ok(Reception { listener, tls: Some(tls), secret: access.secret });
        }
        let addresses = addresses(bound, self.advertise.as_deref(), self.interface.as_deref())?;
        let (access, tls) = if self.needs_tls(bound) {
            let (identity, origin) = match &self.own {
                Some((certificate, key)) => Identity::from_files(certificate, key, &self.access)?,
                None => Identity::load_or_make(self.out.path(), &self.access)?,
            };
            let access = identity.access(addresses);
            let tls = self.tls(bound, &identity, &origin);
            if let Ok(mut place) = self.identity.lock() {
                *place = Some(identity);
            }
            (access, Some(tls))
        } else {
            let kept = earlier.filter(|access| access.certificate.is_none());
            let secret = kept.map_or_else(Secret::generate, |access| access.secret);
            line(&format!("listening on {bound}, this machine only; access file: {}", self.access.display()));
            if let Ok(mut place) = self.secret.lock() {
                *place = Some(secret.clone());
            }
            (Access { addresses, certificate: None, secret }, None)
        };
        access.write(&self.access)?;
        self.invite()?;
        Ok(Reception { listener, tls, secret: access.secret })
    }

    /// Checks that the access file and the key do not exist, or are earlier ones.
    fn check(&self) -> Result<(), EntranceError> {
        if target::is_there(&self.access) {
            let is_file = std::fs::symlink_metadata(&self.access).is_ok_and(|found| found.is_file());
            let is_access = || {
                let found = files::read(&self.access, identity::LONGEST);
                found.is_ok_and(|bytes| Access::is_replaceable(&bytes))
            };
            // A store would be lost.
            let begins = files::open(&self.access).and_then(|mut file| {
                let mut magic = [0; 13];
                file.read_exact(&mut magic).map(|()| magic)
            });
            let is_store = begins.is_ok_and(|magic| magic == *b"granule store");
            if !is_file || is_store || !(self.forces || is_access()) {
                return Err(EntranceError::NotAccess { path: self.access.clone() });
            }
        }
        let key = self.out.path().join(identity::FILE);
        let for_us = |path: &Path, is_key| {
            private::check_place(path).map_err(|source| EntranceError::Open {
                path: path.to_owned(),
                source,
                is_key,
            })
        };
        if self.own.is_none() {
            identity::check_place(&key)?;
            if self.needs_tls(self.listen) {
                for_us(&key, true)?;
            }
        }
        for_us(&self.access, false)
    }

    /// Whether a socket that is bound to this address has to use TLS.
    fn needs_tls(&self, bound: SocketAddr) -> bool {
        !bound.ip().is_loopback() || self.advertise.is_some() || self.own.is_some()
    }

    fn tls(&self, bound: SocketAddr, identity: &Identity, origin: &Origin) -> Tls {
        line(&format!("listening on {bound} with TLS; access file: {} ({origin})", self.access.display()));
        Tls { config: identity.server_config(), certificate: identity.certificate().clone() }
    }

    /// Starts workers, or prints how the user starts them.
    fn invite(&self) -> Result<(), EntranceError> {
        if let Some(starter) = &self.starts {
            return Arc::clone(starter).start(&self.access);
        }
        line(&format!("to add workers: granule worker --access {}", shell_path(&self.access)));
        Ok(())
    }

    /// Listens. If any port will do, prefers the port that workers know from before, if it is free.
    fn bind_again(&self, earlier: Option<&Access>) -> Result<TcpListener, EntranceError> {
        let port = earlier
            .filter(|_| self.listen.port() == 0)
            .and_then(|access| access.addresses.first()?.rsplit_once(':')?.1.parse().ok());
        if let Some(port) = port
            && let Ok(listener) = listen(SocketAddr::new(self.listen.ip(), port))
        {
            return Ok(listener);
        }
        bind(self.listen)
    }
}
