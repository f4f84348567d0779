//! Reads and parses sweep files.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use granule_figures::sweep::Measure;
use granule_outputs::manifest::{self, TableRecord};
use granule_outputs::table::csv_of_parquet;
use granule_server::view::log::line;
use granule_sweep::{Condition, Overrides, Sweep, Tables, Until};
use granule_system::exit;
use granule_system::files;
use granule_text::{one_line, plural};

use granule_program::Program;
use granule_worker::model::{LocalModel, ModelError};

use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path};
use crate::gallery::measures_of_trial;

/// Bytes of a sweep file that are read. The parser has its own, lower limit.
const LARGEST_SWEEP: u64 = 4 << 20;

/// Bytes of a table of conditions that are read. The parser has its own, lower limit.
const LARGEST_TABLE: u64 = 129 << 20;

/// Reads and parses a sweep file, with the overrides of the environment. Prints notes on it.
pub(crate) fn read_sweep(path: &Path) -> Result<Sweep, Failure> {
    Ok(read(path)?.0)
}

/// The files and variables that a sweep was read from.
pub(crate) struct WrittenSweep {
    /// Text of the sweep file.
    pub(crate) text: String,
    /// Environment variables that override it, with their values.
    pub(crate) overrides: BTreeMap<String, String>,
    pub(crate) tables: Vec<TableRecord>,
}

/// The same. Also returns the text, the variables and the tables.
pub(crate) fn read_sweep_and_written(path: &Path) -> Result<(Sweep, WrittenSweep), Failure> {
    let (sweep, text, overrides, tables) = read(path)?;
    let variables = overrides.variables(granule_granular::space()).into_iter();
    let written = WrittenSweep {
        text: String::from_utf8_lossy(&text).into_owned(),
        overrides: variables.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        tables: tables
            .iter()
            .filter_map(|(name, content)| record(path, name, content.as_ref().ok()?))
            .collect(),
    };
    Ok((sweep, written))
}

fn read(path: &Path) -> Result<(Sweep, Vec<u8>, Overrides, Tables), Failure> {
    // Problems of the file are reported first.
    let text = read_text(path)?;
    // The variables of the environment override parameters of granule's own model.
    let is_own_model = granule_sweep::model_of(&text).is_some();
    let overrides = if is_own_model { Overrides::default() } else { overrides()? };
    let (sweep, tables) = understand_with_tables(path, &text, &overrides)?;
    granule_sweep::notes(&sweep).iter().for_each(|note| line(&format!("note: {note}")));
    Ok((sweep, text, overrides, tables))
}

/// Returns the record of a table that a sweep file names. `content` is the table as CSV. None if the file is gone.
fn record(sweep_file: &Path, name: &str, content: &[u8]) -> Option<TableRecord> {
    let path = beside(sweep_file, name);
    match is_parquet(&path) {
        true => Some(TableRecord::of(name, &files::read(&path, LARGEST_TABLE).ok()?)),
        false => Some(TableRecord::of(name, content)),
    }
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

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// Reads a table of conditions as CSV, up to the limit. If this fails, returns the reason.
fn read_table(path: &Path) -> Result<Vec<u8>, String> {
    let file = files::open(path).map_err(|error| error.to_string())?;
    if is_parquet(path) {
        return csv_of_parquet(file, LARGEST_TABLE);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_TABLE).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Parses the text of a sweep file, and reads the model file and the tables that it names.
pub(crate) fn understand(path: &Path, text: &[u8], overrides: &Overrides) -> Result<Sweep, Failure> {
    Ok(understand_with_tables(path, text, overrides)?.0)
}

/// The same. Also returns the tables.
fn understand_with_tables(
    path: &Path,
    text: &[u8],
    overrides: &Overrides,
) -> Result<(Sweep, Tables), Failure> {
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let engines = match granule_sweep::model_of(text) {
        Some(model) => {
            let (_, program) = read_model(&beside(path, &model))?;
            vec![program.engine()].leak()
        }
        None => ENGINES,
    };
    let paths = granule_sweep::tables_of(text).into_iter();
    let tables = paths.map(|table| (table.clone(), read_table(&beside(path, &table)))).collect();
    let sweep = granule_sweep::parse_with_tables(
        engines,
        &path.display().to_string(),
        text,
        &stem,
        overrides,
        &tables,
    )
    .map_err(|diagnostics| Failure::of_text(exit::USAGE, &diagnostics.to_string()))?;
    check_measure(path, &sweep)?;
    Ok((sweep, tables))
}

/// Checks that the trials of all conditions have the measure that decides their number.
fn check_measure(path: &Path, sweep: &Sweep) -> Result<(), Failure> {
    let Some(Until { measure, .. }) = &sweep.until else { return Ok(()) };
    for Condition { name, model, .. } in sweep.conditions.iter() {
        let names: Vec<String> = measures_of_trial(model).map(|(_, measure)| measure.name()).collect();
        if names.contains(measure) {
            continue;
        }
        let problem = match Measure::of(model).iter().any(|of| of.name() == *measure) {
            true => format!("a single trial does not have the measure `{measure}`"),
            false => format!("unknown measure `{}`", one_line(measure)),
        };
        let help = match granule_sweep::nearest(measure, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => {
                "trials of this model have no measures; use a number of trials".to_owned()
            }
            None => format!("the measures of a trial are {}", names.join(", ")),
        };
        let message = format!(
            "error: {}: {problem} in `trials.until`, condition {name}\n  help: {help}",
            path.display()
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    Ok(())
}

/// Describes the trials of each condition and seed: `200 trials`, or `20 to 400 trials` while their number is undecided.
pub(crate) fn trials_of(sweep: &Sweep) -> String {
    let trials = plural(sweep.trials.into(), "trial");
    sweep.undecided().map_or(trials.clone(), |until| format!("{} to {trials}", until.at_least))
}
