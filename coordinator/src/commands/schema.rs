//! `granule schema`: the shape of sweep files, for editors.

use std::io::{self, Write};

use crate::cli::exit;
use crate::failure::Failure;

pub(crate) fn run() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::caused_by(exit::FAILED, &error, None);
    let mut text = serde_json::to_string_pretty(&granule_sweep::schema())
        .map_err(|error| failed(io::Error::from(error)))?;
    text.push('\n');
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Nobody reads on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(failed),
    }
}
