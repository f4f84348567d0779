//! `granule identity`: makes a coordinator's key and access file before it runs.

use granule_server::identity::{FILE, Identity, IdentityError, prepared};
use granule_system::private;

use crate::cli::{self, exit};
use crate::commands::entrance::ACCESS;
use crate::failure::{Failure, shell_path, shown};
use crate::stdout::say;

pub(crate) fn run(arguments: &cli::IdentityArgs) -> Result<(), Failure> {
    let address = prepared::address(&arguments.advertise)
        .map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?;
    let directory = &arguments.directory;
    let (key, access) = (directory.join(FILE), directory.join(ACCESS));
    Identity::prepare(&key, &access, &address).map_err(|error| match &error {
        IdentityError::Write { source, .. } if private::is_modeless(source) => Failure::caused_by(
            exit::USAGE,
            &error,
            Some("name a directory elsewhere, such as below your home directory"),
        ),
        _ => Failure::caused_by(exit::FAILED, &error, None),
    })?;
    say(&format!(
        "Wrote {}, for the coordinator only, and {}, for the coordinator and its workers.\n  granule serve \
            SWEEP --listen ADDR \
         --identity {}\n  granule worker --access {}\n",
        shown(&key),
        shown(&access),
        shell_path(directory),
        shell_path(&access)
    ))?
    .done();
    Ok(())
}
