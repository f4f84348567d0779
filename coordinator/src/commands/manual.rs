//! `granule completions` and `granule man`: from the same definitions as the command line itself.

use std::fs;
use std::io;

use clap::CommandFactory as _;

use crate::cli::{self, exit};
use crate::failure::Failure;
use crate::view::say;

pub(crate) fn completions(arguments: &cli::Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::Cli::command(), "granule", &mut script);
    say(&String::from_utf8_lossy(&script));
    Ok(())
}

pub(crate) fn man(arguments: &cli::Man) -> Result<(), Failure> {
    // Without what was built: the manual is the same for all.
    let command = cli::Cli::command().long_version(None::<&str>);
    let failed = |error: io::Error| Failure::caused_by(exit::FAILED, &error, None);
    let Some(directory) = &arguments.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
        say(&String::from_utf8_lossy(&page));
        return Ok(());
    };
    fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory)).map_err(
        |error| {
            let message = format!("error: cannot write to {}\n  because: {error}", directory.display());
            Failure::new(exit::FAILED, message)
        },
    )
}
