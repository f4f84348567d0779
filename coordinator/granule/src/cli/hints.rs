//! Hints for wrong command lines: what to type instead.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;

/// Parses the command line.
///
/// # Errors
/// If it is wrong, with a hint. Also if help or a version is requested; then the error is to be printed.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    Cli::try_parse_from(&arguments).map_err(|mut error| {
        let command = arguments.get(1).and_then(|command| command.to_str()).unwrap_or_default();
        if let Some(hint) = hint(&error, command) {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
        }
        error
    })
}

fn hint(error: &clap::Error, command: &str) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let ends = |word: &str, endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = word(ContextKind::InvalidSubcommand)?;
            let path = Path::new(word);
            if ends(word, &[".yaml", ".yml"]) || path.is_file() {
                Some(format!("to run a sweep file: granule run {word}"))
            } else {
                path.is_dir().then(|| format!("to see the state of a sweep: granule status {word}"))
            }
        }
        ErrorKind::UnknownArgument => {
            let word = word(ContextKind::InvalidArg)?;
            match command {
                _ if word.starts_with('-') => None,
                "export" if ends(word, &[".csv", ".parquet", ".npz"]) => {
                    Some(format!("to write the spikes to it: --to {word}; rates over time: --psth {word}"))
                }
                "export" if ends(word, &[".zip"]) => {
                    Some(format!("to write a research object to it: --crate {word}"))
                }
                "figures" | "report" => Some(format!("to write to it: --to {word}")),
                "worker" | "status" if ends(word, &[".json"]) => {
                    Some(format!("to use an access file: --access {word}"))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
