//! Reads and parses sweep files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use granule_outputs::manifest;
use granule_server::view::log::line;
use granule_sweep::{Overrides, Sweep};
use granule_system::exit;
use granule_system::files;

use granule_program::Program;
use granule_worker::model::{LocalModel, ModelError};

use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path};

/// Bytes of a sweep file that are read. The parser has its own, lower limit.
const LARGEST_SWEEP: u64 = 4 << 20;

/// Reads and parses a sweep file, with the overrides of the environment. Prints notes on it.
pub(crate) fn read_sweep(path: &Path) -> Result<Sweep, Failure> {
    // Problems of the file are reported first.
    let text = read_text(path)?;
    // The variables of the environment override parameters of granule's own model.
    let is_own_model = granule_sweep::model_of(&text).is_some();
    let overrides = if is_own_model { Overrides::default() } else { overrides()? };
    let sweep = understand(path, &text, &overrides)?;
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

/// Reads a model file and the files that it lists.
pub(crate) fn read_model(path: &Path) -> Result<(LocalModel, &'static Program), Failure> {
    LocalModel::read(path).map_err(|error| match error {
        ModelError::Diagnostics(diagnostics) => Failure::of_text(exit::USAGE, &diagnostics.to_string()),
        error => Failure::caused_by(exit::USAGE, &error, error.help()),
    })
}

/// Returns the path of the model file that a sweep file names, if it names one.
pub(crate) fn model_path(sweep_file: &Path, sweep: &Sweep) -> Option<PathBuf> {
    sweep.model.as_ref().map(|model| beside(sweep_file, model))
}

/// Returns an absolute path from one that is relative to the directory of a file.
fn beside(file: &Path, path: &str) -> PathBuf {
    let found = file.parent().unwrap_or(Path::new("")).join(path);
    std::path::absolute(&found).unwrap_or(found)
}

/// Parses the text of a sweep file, and reads the model file that it names.
pub(crate) fn understand(path: &Path, text: &[u8], overrides: &Overrides) -> Result<Sweep, Failure> {
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let engines = match granule_sweep::model_of(text) {
        Some(model) => {
            let (_, program) = read_model(&beside(path, &model))?;
            vec![program.engine()].leak()
        }
        None => ENGINES,
    };
    granule_sweep::parse(engines, &path.display().to_string(), text, &stem, overrides)
        .map_err(|diagnostics| Failure::of_text(exit::USAGE, &diagnostics.to_string()))
}
