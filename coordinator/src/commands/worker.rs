//! `granule worker`: computes for a coordinator.

use std::io::{BufRead, Read};

use granule_worker::session::Introduction;
use granule_worker::{Config, WorkerError};

use crate::cli::{self, exit};
use crate::failure::Failure;

pub(crate) fn run(arguments: &cli::Worker) -> Result<(), Failure> {
    let mut secret = String::new();
    // A supervisor that is gone has nothing to say: the secret is then empty and refused.
    std::io::stdin()
        .lock()
        .read_line(&mut secret)
        .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    end_with_the_supervisor()?;
    let introduction = Introduction {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        threads: 1,
        host: host(),
        process_id: std::process::id(),
    };
    let config =
        Config { address: arguments.connect.clone(), secret: secret.trim_end().to_owned(), introduction };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    match runtime.block_on(granule_worker::run(config)) {
        Ok(_) => {
            // The computing threads may be in the middle of something nobody wants any more.
            std::process::exit(0);
        }
        Err(error) => {
            let code = match error {
                WorkerError::Address { .. } | WorkerError::Secret => exit::USAGE,
                _ => exit::FAILED,
            };
            Err(Failure::caused_by(code, &error, None))
        }
    }
}

/// However the supervisor ends, its end of our standard input closes.
fn end_with_the_supervisor() -> Result<(), Failure> {
    let watch = || {
        let mut buffer = [0; 64];
        while std::io::stdin().lock().read(&mut buffer).is_ok_and(|count| count > 0) {}
        std::process::exit(i32::from(exit::FAILED));
    };
    std::thread::Builder::new()
        .name("supervisor".into())
        .spawn(watch)
        .map(|_| ())
        .map_err(|error| Failure::caused_by(exit::FAILED, &error, None))
}

/// Name of this machine.
pub(crate) fn host() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}
