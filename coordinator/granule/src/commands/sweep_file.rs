//! Reads and parses sweep files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use granule_outputs::manifest;
use granule_server::view::log::line;
use granule_sweep::{Overrides, Sweep};
use granule_system::exit;
use granule_system::files;

use crate::failure::{Failure, shell_path};

/// Bytes of a sweep file that are read. The parser has its own, lower limit.
const LARGEST_SWEEP: u64 = 4 << 20;

/// Reads and parses a sweep file, with the overrides of the environment. Prints notes on it.
pub(crate) fn read_sweep(path: &Path) -> Result<Sweep, Failure> {
    // Problems of the file are reported first.
    let text = read_text(path)?;
    let sweep = understand(path, &text, &overrides()?)?;
    granule_sweep::notes(&sweep).iter().for_each(|note| line(&format!("note: {note}")));
    Ok(sweep)
}

/// Returns what the environment overrides in every sweep file, and prints it.
pub(crate) fn overrides() -> Result<Overrides, Failure> {
    let (overrides, notices) =
        granule_sweep::from_variables(granule_granular::space(), |name| std::env::var_os(name))
            .map_err(|error| Failure::caused_by(exit::USAGE, &error, None))?;
    notices.iter().for_each(|notice| line(&format!("note: {notice}")));
    Ok(overrides)
}

/// Returns the bytes of a sweep file, up to the limit.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    files::open(path).and_then(|file| file.take(LARGEST_SWEEP).read_to_end(&mut bytes)).map_err(|error| {
        let help = help_to_find(path).map_or(String::new(), |help| format!("\n  help: {help}"));
        let message = format!("error: cannot read sweep file {}\n  because: {error}{help}", path.display());
        Failure::new(exit::USAGE, message)
    })?;
    Ok(bytes)
}

/// Returns where the sweep file may be, if it is not at this path.
fn help_to_find(path: &Path) -> Option<String> {
    if path.is_dir() {
        if [manifest::NAME, manifest::UNDER_WAY].iter().any(|name| path.join(name).is_file()) {
            let shell = shell_path(path);
            return Some(format!(
                "it is an output directory; expected a sweep file. `granule status {shell}` shows its sweep"
            ));
        }
        let mut found: Vec<PathBuf> = std::fs::read_dir(path)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_yaml(path))
            .collect();
        found.sort();
        return Some(match found.first() {
            Some(first) => format!("name the sweep file, such as {}", first.display()),
            None => "name the sweep file; `granule init` writes one to start from".to_owned(),
        });
    }
    if path.exists() {
        return None;
    }
    let beside = path.with_added_extension("yaml");
    let shipped = Path::new("sweeps").join(path.file_name()?);
    let places = [beside, shipped.with_extension("yaml"), shipped];
    let found = places.into_iter().find(|path| path.is_file());
    Some(match found {
        Some(found) => format!("did you mean {}?", found.display()),
        None => "name an existing sweep file; `granule init` writes one to start from".to_owned(),
    })
}

fn is_yaml(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// Parses the text of a sweep file.
pub(crate) fn understand(path: &Path, text: &[u8], overrides: &Overrides) -> Result<Sweep, Failure> {
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    granule_sweep::parse(crate::engines::ENGINES, &path.display().to_string(), text, &stem, overrides)
        .map_err(|diagnostics| Failure::of_text(exit::USAGE, &diagnostics.to_string()))
}
