//! `granule completions` and `granule man`: made from the same definitions as the command line itself.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use granule_system::files;

use crate::cli::{self, exit};
use crate::commands::target;
use crate::failure::Failure;
use crate::stdout::say;

pub(crate) fn completions(arguments: &cli::Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::Cli::command(), "granule", &mut script);
    say(&String::from_utf8_lossy(&script))?.done();
    Ok(())
}

pub(crate) fn man(arguments: &cli::Man) -> Result<(), Failure> {
    // Without facts about the build: the manual is the same for all builds.
    let command = without_help(cli::Cli::command().long_version(None::<&str>));
    let failed = |error: io::Error| Failure::caused_by(exit::FAILED, &error, None);
    let Some(directory) = &arguments.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
        say(&String::from_utf8_lossy(&page))?.done();
        return Ok(());
    };
    let failed = |path: &Path, error: io::Error| {
        let message = format!("error: cannot write {}\n  because: {error}", path.display());
        Failure::new(exit::FAILED, message)
    };
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    let pages = pages(command).map_err(|error| failed(directory, error))?;
    for (name, _) in &pages {
        target::check(&directory.join(name), target::TargetKind::Manual, arguments.force)?;
    }
    for (name, page) in pages {
        let path = directory.join(name);
        files::put(&path, &page).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Removes the command `help`, which has a subcommand, and so would have a page, for each page of the others.
fn without_help(command: clap::Command) -> clap::Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Returns the pages of a command and of its subcommands, by the names of their files.
fn pages(mut command: clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    command.build();
    let mut pages = Vec::new();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        let page = clap_mangen::Man::new(command);
        let mut text = Vec::new();
        page.render(&mut text)?;
        pages.push((page.get_filename(), text));
    }
    Ok(pages)
}
