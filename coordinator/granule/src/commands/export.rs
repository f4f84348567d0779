//! `granule export`: writes the stored trials of a sweep as a table, or its output files as a research object.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use granule_engine::Model;
use granule_figures::sweep::{Counter, Detail, Measure, Observed, Varied, VariedValue, Window, free, varied};
use granule_outputs::OutputError;
use granule_outputs::archive::{Archive, keep_still};
use granule_outputs::histogram::SpikeHistogram;
use granule_outputs::manifest;
use granule_outputs::research_object::{ResearchObject, ResearchObjectError};
use granule_outputs::selection::{Pair, Selection, conditions_of, seeds_of};
use granule_outputs::table::Format;
use granule_outputs::table::{self, Batch, ColumnType, ColumnValues, RowSource, TableColumn, TableError};
use granule_server::view::log::line;
use granule_sweep::Sweep;
use granule_text::{one_line, plural};
use indicatif::DecimalBytes;
use serde::Serialize;

use crate::cli::{self, exit};
use crate::commands::target::{self, TargetKind};
use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path};
use crate::gallery::{check_window, shown_cells};
use crate::stdout::{self, ReportHead, StdoutReader, StdoutStream, say, say_json};

#[derive(Debug, Serialize)]
struct Exports {
    #[serde(flatten)]
    head: ReportHead,
    sweep: String,
    tables: Vec<TableWritten>,
    #[serde(rename = "crate", skip_serializing_if = "Option::is_none")]
    research_object: Option<ResearchObjectWritten>,
    /// Trials that were set aside and are in no table.
    trials_left_out: u64,
}

#[derive(Debug, Serialize)]
struct TableWritten {
    /// `spikes`, `psth`, `measures` or `trials`.
    table: &'static str,
    file: String,
    rows: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct ResearchObjectWritten {
    file: String,
    /// Number of files in the archive.
    files: u64,
    bytes: u64,
}

/// Name of standard output, as in other programs.
const STANDARD_OUTPUT: &str = "-";

fn is_standard_output(path: &Path) -> bool {
    path == Path::new(STANDARD_OUTPUT)
}

/// Checks that a file of this kind may be written here. It never replaces the store or the manifest.
fn check_target(path: &Path, kind: TargetKind<'_>, archive: &Archive, forces: bool) -> Result<(), Failure> {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let records = [archive.store_path.clone(), archive.out.join(manifest::NAME)];
    if identity(path).is_some() && records.iter().any(|record| identity(record) == identity(path)) {
        let message = format!(
            "error: {} is a file of the sweep\n  help: choose another name for the new file",
            path.display()
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    target::check(path, kind, forces)
}

/// Writes the output files of a complete sweep as a research object.
fn export_research_object(arguments: &cli::Export, place: &Path) -> Result<(), Failure> {
    let cli::Resting { out, store, json } = &arguments.resting;
    if is_standard_output(place) {
        let message = "error: a research object cannot be written to standard output\n  help: name a file; for a \
            file named `-`, write `./-`";
        return Err(Failure::new(exit::USAGE, message));
    }
    let _still = keep_still(out)?;
    let archive = Archive::find(ENGINES, out, store.as_deref())?;
    let manifest = archive.finished()?;
    let (sweep, _) = archive.restore()?;
    check_target(place, TargetKind::ResearchObject, &archive, arguments.force)?;
    let failed = |error: ResearchObjectError| {
        let (code, help) = match &error {
            ResearchObjectError::Changed { .. } | ResearchObjectError::Unplanned { .. } => {
                let help =
                    format!("nothing was written; granule verify {} lists all problems", shell_path(out));
                (exit::INCOMPLETE, help)
            }
            ResearchObjectError::Time(_) => {
                (exit::FAILED, "run the sweep again, which writes the manifest again".to_owned())
            }
            ResearchObjectError::Output(_) | ResearchObjectError::Zip(_) => {
                (exit::FAILED, "nothing was written; choose another file, or free some space".to_owned())
            }
        };
        Failure::caused_by(code, &error, Some(&help))
    };
    let commit = env!("GRANULE_BUILD_COMMIT");
    let license = arguments.license.as_deref();
    let object = ResearchObject::new(out, manifest, &sweep, license, commit).map_err(failed)?;
    let (files, bytes) = object.write(place).map_err(failed)?;
    let left_out = manifest.set_aside.len() as u64;
    if left_out > 0 {
        line(&format!(
            "note: the run set aside {}; the research object records this",
            plural(left_out, "trial")
        ));
    }
    let file = place.display().to_string();
    if *json {
        let report = Exports {
            head: ReportHead::of("exported"),
            sweep: sweep.name,
            tables: Vec::new(),
            research_object: Some(ResearchObjectWritten { file, files, bytes }),
            trials_left_out: left_out,
        };
        return say_json(&report).map(StdoutReader::done);
    }
    let (files, bytes) = (plural(files, "file"), DecimalBytes(bytes));
    say(&format!("{}: {files} to {}, {bytes}\n", sweep.name, one_line(&file))).map(StdoutReader::done)
}

pub(crate) fn run(arguments: &cli::Export) -> Result<(), Failure> {
    if let Some(place) = &arguments.research_object {
        return export_research_object(arguments, place);
    }
    let cli::Resting { out, store, json } = &arguments.resting;
    let target = |path: &Path| Ok::<_, Failure>((path.to_owned(), format_of(path, arguments.format)?));
    let spikes = arguments.to.as_deref().map(target).transpose()?;
    let psth = arguments.psth.as_deref().map(target).transpose()?;
    let measures = arguments.measures.as_deref().map(target).transpose()?;
    let trials = arguments.trials.as_deref().map(target).transpose()?;
    let paths: Vec<&PathBuf> =
        spikes.iter().chain(&psth).chain(&measures).chain(&trials).map(|(path, _)| path).collect();
    if let Some(twice) = (1..paths.len()).find(|&at| paths[..at].contains(&paths[at])) {
        let message = format!(
            "error: two tables would be written to {}\n  help: name another file, or export twice",
            paths[twice].display()
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    let still = keep_still(out)?;
    let archive = Archive::find(ENGINES, out, store.as_deref())?;
    let (sweep, plan) = archive.restore()?;
    if sweep.engine.populations().is_empty() && (spikes.is_some() || psth.is_some()) {
        let message = "error: this model has no populations, so there are no spikes to export\n  help: \
            --trials FILE exports the numbers that its trials return";
        return Err(Failure::new(exit::USAGE, message));
    }
    let conditions = conditions_of(
        &sweep,
        &arguments.only.conditions,
        arguments.only.filters(sweep.engine.space())?.iter(),
    )?;
    let seeds = seeds_of(&sweep, &arguments.only.seeds)?;
    if psth.is_some() {
        conditions.iter().try_for_each(|&at| steps_per_bin(&sweep, at, arguments.bin).map(drop))?;
    }
    let store = archive.store()?;
    let selection = Selection::new(&archive, (&sweep, &plan), &store, &conditions, &seeds)?;
    let measured = Measured::new(&selection, arguments.window.clone());
    let mut tables: Vec<(&'static str, PathBuf, Format, Box<dyn RowSource + '_>)> = Vec::new();
    if let Some((path, format)) = spikes {
        tables.push(("spikes", path, format, Box::new(SpikeRows(&selection))));
    }
    if let Some((path, format)) = psth {
        let rows = PsthRows { selection: &selection, bin_ms: arguments.bin };
        tables.push(("psth", path, format, Box::new(rows)));
    }
    if let Some(window) = arguments.window.as_ref().filter(|_| measures.is_some() || trials.is_some()) {
        for &at in &conditions {
            let of = format!("a trial of condition {}", sweep.conditions[at].name);
            check_window(window, sweep.conditions[at].model.time().bins(), &of)?;
        }
    }
    if let Some((path, format)) = measures {
        tables.push(("measures", path, format, Box::new(SeedRows(&measured))));
    }
    if let Some((path, format)) = trials {
        tables.push(("trials", path, format, Box::new(TrialRows(&measured))));
    }
    for (_, path, format, rows) in tables.iter().filter(|(_, path, ..)| !is_standard_output(path)) {
        let columns: Vec<String> = rows.columns().into_iter().map(|column| column.name).collect();
        check_target(path, TargetKind::Table(*format, &columns), &archive, arguments.force)?;
    }
    if selection.left_out > 0 {
        line(&format!("note: left out {} that the run set aside", plural(selection.left_out, "trial")));
    }
    let mut report = Exports {
        head: ReportHead::of("exported"),
        sweep: sweep.name.clone(),
        tables: Vec::new(),
        research_object: None,
        trials_left_out: selection.left_out,
    };
    for (table, path, format, rows) in &tables {
        report.write(table, path, *format, &**rows)?;
    }
    drop(still);
    // If a table is on standard output, the report on it is not.
    let is_streamed = report.tables.iter().any(|table| table.file == STANDARD_OUTPUT);
    match (*json, is_streamed) {
        (true, true) => line(stdout::json(&report).trim_end()),
        (true, false) => say_json(&report)?.done(),
        (false, _) => {
            for TableWritten { file, rows, bytes, .. } in &report.tables {
                let rows = plural(*rows, "row");
                let bytes = DecimalBytes(*bytes);
                match is_streamed {
                    true => line(&format!("{}: {rows} to standard output, {bytes}", report.sweep)),
                    false => {
                        say(&format!("{}: {rows} to {}, {bytes}\n", report.sweep, one_line(file)))?.done()
                    }
                }
            }
        }
    }
    Ok(())
}

impl Exports {
    fn write(
        &mut self,
        table: &'static str,
        path: &Path,
        format: Format,
        rows: &dyn RowSource,
    ) -> Result<(), Failure> {
        let failed = |error: TableError| {
            let help = match &error {
                TableError::Output(OutputError::Missing { .. } | OutputError::Store(_)) => {
                    "the store is damaged; run the sweep again, which computes the lost trials again"
                }
                _ if is_standard_output(path) => {
                    "the table on standard output is incomplete; free some space, or name a file with --to"
                }
                _ => "nothing was written; choose another file, or free some space",
            };
            let mut failure = Failure::caused_by(exit::FAILED, &error, Some(help));
            failure.message = failure.message.replacen("error: ", &format!("error: {}: ", path.display()), 1);
            Failure::new(failure.code, failure.message)
        };
        let (rows, bytes) = if is_standard_output(path) {
            match table::stream(StdoutStream, format == Format::Json, rows).map_err(failed)? {
                Some(written) => written,
                // The reader has closed the pipe, and needs no summary.
                None => return Ok(()),
            }
        } else {
            table::write(path, format, rows).map_err(failed)?
        };
        self.tables.push(TableWritten { table, file: path.display().to_string(), rows, bytes });
        Ok(())
    }
}

fn format_of(path: &Path, given: Option<Format>) -> Result<Format, Failure> {
    if is_standard_output(path) {
        return match given {
            None => Ok(Format::Csv),
            Some(format @ (Format::Csv | Format::Json)) => Ok(format),
            Some(Format::Parquet | Format::Npz) => {
                let message = "error: standard output takes CSV and JSON only\n  help: name a file, or use --format \
                    csv; for a file named `-`, write `./-`";
                Err(Failure::new(exit::USAGE, message))
            }
        };
    }
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let named = match ending.as_deref() {
        Some("parquet") => Some(Format::Parquet),
        Some("npz") => Some(Format::Npz),
        Some("csv") => Some(Format::Csv),
        Some("json") => Some(Format::Json),
        _ => None,
    };
    given.or(named).ok_or_else(|| {
        let message = format!(
            "error: unknown format of {}\n  help: use a name that ends in .parquet, .npz, .csv or .json, or --format",
            path.display()
        );
        Failure::new(exit::USAGE, message)
    })
}

/// Returns the number of steps in a bin of this width.
fn steps_per_bin(sweep: &Sweep, condition: usize, bin_ms: f64) -> Result<u32, Failure> {
    let model = &sweep.conditions[condition].model;
    let time = model.time();
    if let Some(steps) = time.whole_steps(bin_ms).filter(|steps| (1..=time.steps).contains(steps)) {
        return Ok(steps);
    }
    let message = format!(
        "error: a bin of {bin_ms} ms does not fit: a bin must be a whole number of steps of {} ms, and at most \
            {} ms, in condition {}\n  help: choose another width with --bin",
        time.step_ms,
        time.duration_ms(),
        sweep.conditions[condition].name
    );
    Err(Failure::new(exit::USAGE, message))
}

fn condition_names(sweep: &Sweep) -> TableColumn {
    let names = sweep.conditions.iter().map(|condition| condition.name.clone());
    TableColumn { name: "condition".to_owned(), kind: ColumnType::Word(names.collect()) }
}

fn populations(sweep: &Sweep) -> TableColumn {
    let names = sweep.engine.populations().iter().map(|population| population.name.to_owned());
    TableColumn { name: "population".to_owned(), kind: ColumnType::Word(names.collect()) }
}

/// A row for every spike, by condition, seed, trial, population, time and cell.
struct SpikeRows<'a>(&'a Selection<'a>);

impl RowSource for SpikeRows<'_> {
    fn columns(&self) -> Vec<TableColumn> {
        vec![
            condition_names(self.0.sweep),
            TableColumn { name: "seed".to_owned(), kind: ColumnType::U32 },
            TableColumn { name: "trial".to_owned(), kind: ColumnType::U32 },
            populations(self.0.sweep),
            TableColumn { name: "cell".to_owned(), kind: ColumnType::U32 },
            TableColumn { name: "time_ms".to_owned(), kind: ColumnType::F64 },
        ]
    }

    fn each(&self, take: &mut dyn FnMut(Batch) -> Result<(), TableError>) -> Result<(), TableError> {
        let SpikeRows(selection) = self;
        for pair in &selection.pairs {
            let seed = selection.sweep.seeds[pair.seed];
            // Division gives the decimal that is nearest to the time. A product with the step does not.
            let per_ms = f64::from(selection.sweep.conditions[pair.condition].model.time().steps_per_ms);
            for &trial in &pair.trials {
                let spikes = selection.spikes(pair, trial)?;
                let count = spikes.len() as usize;
                let population = (0..).zip(&spikes.trains).flat_map(|(of, train)| vec![of; train.len()]);
                let all = || spikes.trains.iter().flatten();
                take(vec![
                    ColumnValues::Word(vec![pair.condition as u32; count]),
                    ColumnValues::U32(vec![seed; count]),
                    ColumnValues::U32(vec![trial; count]),
                    ColumnValues::Word(population.collect()),
                    ColumnValues::U32(all().map(|spike| spike.cell).collect()),
                    ColumnValues::F64(all().map(|spike| f64::from(spike.step) / per_ms).collect()),
                ])?;
            }
        }
        Ok(())
    }
}

/// A row for every bin of time, by condition, seed and population: the spikes of all trials and cells in it.
struct PsthRows<'a> {
    selection: &'a Selection<'a>,
    bin_ms: f64,
}

impl RowSource for PsthRows<'_> {
    fn columns(&self) -> Vec<TableColumn> {
        vec![
            condition_names(self.selection.sweep),
            TableColumn { name: "seed".to_owned(), kind: ColumnType::U32 },
            populations(self.selection.sweep),
            TableColumn { name: "time_ms".to_owned(), kind: ColumnType::F64 },
            TableColumn { name: "bin_ms".to_owned(), kind: ColumnType::F64 },
            TableColumn { name: "spikes".to_owned(), kind: ColumnType::U64 },
            TableColumn { name: "rate_hz".to_owned(), kind: ColumnType::F64 },
        ]
    }

    fn each(&self, take: &mut dyn FnMut(Batch) -> Result<(), TableError>) -> Result<(), TableError> {
        let PsthRows { selection, bin_ms } = self;
        for pair in &selection.pairs {
            let model = &selection.sweep.conditions[pair.condition].model;
            let time = model.time();
            let per_ms = f64::from(time.steps_per_ms);
            let width = time.whole_steps(*bin_ms).expect("the width was checked");
            let mut histogram = SpikeHistogram::new(model, width);
            for &trial in &pair.trials {
                histogram.add(&selection.spikes(pair, trial)?);
            }
            for ((population, counts), &cells) in (0..).zip(histogram.counts).zip(model.sizes()) {
                let bins = counts.len();
                let firsts = || (0..bins as u32).map(|bin| bin * width);
                // The end of the trial may cut the last bin short.
                let widths: Vec<f64> =
                    firsts().map(|first| f64::from(width.min(time.steps - first)) / per_ms).collect();
                let observed = f64::from(cells) * pair.trials.len() as f64;
                let rate = |(&count, &width_ms): (&u64, &f64)| match count {
                    0 => 0.0,
                    count => count as f64 / (observed * width_ms * 1e-3),
                };
                let rates = counts.iter().zip(&widths).map(rate).collect();
                take(vec![
                    ColumnValues::Word(vec![pair.condition as u32; bins]),
                    ColumnValues::U32(vec![selection.sweep.seeds[pair.seed]; bins]),
                    ColumnValues::Word(vec![population; bins]),
                    ColumnValues::F64(firsts().map(|first| f64::from(first) / per_ms).collect()),
                    ColumnValues::F64(widths),
                    ColumnValues::U64(counts),
                    ColumnValues::F64(rates),
                ])?;
            }
        }
        Ok(())
    }
}

/// The measures of a selection.
struct Measured<'a> {
    selection: &'a Selection<'a>,
    /// The response window that the user chose.
    window: Option<Range<usize>>,
    /// Parameters that differ between the conditions of the sweep.
    varied: Vec<Varied>,
    measures: Vec<Measure>,
}

impl<'a> Measured<'a> {
    fn new(selection: &'a Selection<'a>, window: Option<Range<usize>>) -> Measured<'a> {
        let models = selection.sweep.conditions.iter().map(|condition| &condition.model);
        let measures = models.clone().next().map_or_else(Vec::new, Measure::of);
        Measured { selection, window, varied: varied(models), measures }
    }

    fn model(&self, pair: &Pair) -> &Model {
        &self.selection.sweep.conditions[pair.condition].model
    }

    fn counter(&self, pair: &Pair, driven: &[u32]) -> Counter {
        let model = self.model(pair);
        let window = self.window.clone().map_or_else(|| Window::of(model), |ms| Window { ms });
        Counter::new(model, driven, window, Detail::Measures)
    }

    /// Returns the columns of condition, parameters and seed, and then the others. Of a parameter whose column would have
    /// the name of another, the name is changed, as in `measures.csv`.
    fn columns(&self, others: Vec<TableColumn>) -> Vec<TableColumn> {
        let sweep = self.selection.sweep;
        let mut taken: BTreeSet<String> = others.iter().map(|column| column.name.clone()).collect();
        taken.extend(["condition", "seed"].map(str::to_owned));
        let mut columns = vec![condition_names(sweep)];
        columns.extend(self.varied.iter().map(|column| {
            let texts = || {
                sweep.conditions.iter().map(|of| match column.value(&of.model) {
                    VariedValue::Text(text) => text,
                    VariedValue::Number(number) => number.to_string(),
                })
            };
            let kind = if column.is_number() { ColumnType::F64 } else { ColumnType::Word(texts().collect()) };
            let name = free(column.name.clone(), &taken);
            taken.insert(name.clone());
            TableColumn { name, kind }
        }));
        columns.push(TableColumn { name: "seed".to_owned(), kind: ColumnType::U32 });
        columns.extend(others);
        columns
    }

    /// Returns the values of these columns in so many rows.
    fn name_values(&self, pair: &Pair, rows: usize) -> Batch {
        let condition = || ColumnValues::Word(vec![pair.condition as u32; rows]);
        let mut batch = vec![condition()];
        batch.extend(self.varied.iter().map(|column| match column.number(self.model(pair)) {
            Some(number) => ColumnValues::F64(vec![number; rows]),
            None => condition(),
        }));
        batch.push(ColumnValues::U32(vec![self.selection.sweep.seeds[pair.seed]; rows]));
        batch
    }
}

/// Returns the column of a measure. NaN stands for a missing value.
fn of_measure(measure: Measure) -> TableColumn {
    TableColumn { name: measure.name(), kind: ColumnType::F64 }
}

/// A row for every condition and seed: the parameters that differ, and the measures.
struct SeedRows<'a>(&'a Measured<'a>);

impl RowSource for SeedRows<'_> {
    fn columns(&self) -> Vec<TableColumn> {
        let whole = |name: &str| TableColumn { name: name.to_owned(), kind: ColumnType::U32 };
        let mut others = ["trials", "window_from_ms", "window_to_ms"].map(whole).to_vec();
        others.extend(self.0.measures.iter().copied().map(of_measure));
        self.0.columns(others)
    }

    fn each(&self, take: &mut dyn FnMut(Batch) -> Result<(), TableError>) -> Result<(), TableError> {
        let SeedRows(measured) = self;
        for pair in &measured.selection.pairs {
            let seed = measured.selection.sweep.seeds[pair.seed];
            let mut counter = measured.counter(pair, &shown_cells(measured.model(pair), seed));
            for &trial in &pair.trials {
                counter.add(&measured.selection.spikes(pair, trial)?);
            }
            let mut batch = measured.name_values(pair, 1);
            let Observed { window, measures, .. } = counter.finish(seed);
            let whole = [pair.trials.len(), window.ms.start, window.ms.end];
            batch.extend(whole.map(|number| ColumnValues::U32(vec![number as u32])));
            batch
                .extend(measures.into_iter().map(|value| ColumnValues::F64(vec![value.unwrap_or(f64::NAN)])));
            take(batch)?;
        }
        Ok(())
    }
}

/// A row for every trial: the parameters that differ, the number of spikes of each population, and the measures that one
/// trial has.
struct TrialRows<'a>(&'a Measured<'a>);

impl TrialRows<'_> {
    /// Returns the measures that one trial has, with their index.
    fn measures(&self) -> Vec<(usize, Measure)> {
        self.0.measures.iter().copied().enumerate().filter(|(_, measure)| measure.is_of_trial()).collect()
    }
}

impl RowSource for TrialRows<'_> {
    fn columns(&self) -> Vec<TableColumn> {
        let TrialRows(measured) = self;
        let mut others = vec![TableColumn { name: "trial".to_owned(), kind: ColumnType::U32 }];
        let populations = measured.selection.sweep.engine.populations().iter();
        others.extend(
            populations.map(|of| TableColumn { name: format!("{}_spikes", of.name), kind: ColumnType::U64 }),
        );
        others.extend(self.measures().into_iter().map(|(_, measure)| of_measure(measure)));
        measured.columns(others)
    }

    fn each(&self, take: &mut dyn FnMut(Batch) -> Result<(), TableError>) -> Result<(), TableError> {
        let TrialRows(measured) = self;
        let measures = self.measures();
        for pair in &measured.selection.pairs {
            let seed = measured.selection.sweep.seeds[pair.seed];
            let driven = shown_cells(measured.model(pair), seed);
            let count = pair.trials.len();
            let populations = measured.selection.sweep.engine.populations().len();
            let mut spikes = vec![Vec::with_capacity(count); populations];
            let mut values = vec![Vec::with_capacity(count); measures.len()];
            for &trial in &pair.trials {
                let result = measured.selection.spikes(pair, trial)?;
                spikes.iter_mut().zip(&result.trains).for_each(|(all, train)| all.push(train.len() as u64));
                let mut counter = measured.counter(pair, &driven);
                counter.add(&result);
                let of_trial = counter.finish(seed).measures;
                for (all, (at, _)) in values.iter_mut().zip(&measures) {
                    all.push(of_trial[*at].unwrap_or(f64::NAN));
                }
            }
            let mut batch = measured.name_values(pair, count);
            batch.push(ColumnValues::U32(pair.trials.clone()));
            batch.extend(spikes.into_iter().map(ColumnValues::U64));
            batch.extend(values.into_iter().map(ColumnValues::F64));
            take(batch)?;
        }
        Ok(())
    }
}
