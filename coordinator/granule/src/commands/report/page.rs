//! The page: HTML that runs no script and loads nothing. A content security policy makes browsers enforce that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granule_figures::sweep::Measure;
use granule_figures::{ColumnData, Figure, Table};
use granule_outputs::drawn::{self, Preliminary};
use granule_outputs::manifest::{Manifest, ResolvedSweep};
use granule_sweep::Sweep;
use granule_text::plural;
use granule_text::words::{ranges, runs};
use indicatif::DecimalBytes;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::failure::shell_path;
use crate::gallery::Of;

const STYLE: &str = include_str!("page.css");

/// Most rows of a table that are shown.
const MOST_ROWS: usize = 100;

/// The contents of the page.
pub(super) struct ReportPage<'a> {
    pub(super) sweep: &'a Sweep,
    /// The sweep as a sweep file.
    pub(super) yaml: &'a str,
    /// The manifest of a complete sweep. None if the sweep is not complete.
    pub(super) manifest: Option<&'a Manifest>,
    pub(super) preliminary: Option<Preliminary>,
    /// The sweep, with every default filled in.
    pub(super) resolved: &'a ResolvedSweep,
    /// When its last run began, RFC 3339 in UTC.
    pub(super) begun: &'a str,
    pub(super) figures: &'a [(Of, Figure)],
    /// Measures of conditions and seeds, and means over seeds. Empty if the store is gone.
    pub(super) tables: &'a [Table],
    pub(super) notes: &'a [String],
}

impl ReportPage<'_> {
    pub(super) fn html(&self) -> String {
        let ReportPage { sweep, manifest, preliminary, .. } = self;
        let program = manifest.map_or(env!("CARGO_PKG_VERSION"), |manifest| &manifest.granule);
        let title =
            format!("{}: {}report", sweep.name, if preliminary.is_some() { "preliminary " } else { "" });
        let seeds = plural(sweep.seeds.len() as u64, "seed");
        let conditions = plural(sweep.conditions.len() as u64, "condition");
        let style = STANDARD.encode(Sha256::digest(STYLE));
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="generator" content={ "granule " (program) };
                    @if let Some(manifest) = manifest { meta name=(drawn::META) content=(manifest.fingerprint()); }
                    @if let Some(of) = preliminary { meta name=(drawn::PRELIMINARY) content=(of.to_meta()); }
                    meta http-equiv="Content-Security-Policy"
                        content={ "default-src 'none'; style-src 'sha256-" (style) "'" };
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (sweep.name) }
                        @if let Some(of) = preliminary { p class="alarm" { strong { (of) } } }
                        p {
                            (conditions) " × " (seeds) " × " (plural(sweep.trials.into(), "trial"))
                            @if let Some(model) = &self.resolved.model {
                                " of model " code { (sweep.engine.space().words().model.trim_start_matches("model ")) }
                                " (" (model.path) ")"
                            } @else {
                                " of the cerebellar granular-layer model of Fore et al. (2020), engine "
                                code { (sweep.engine.name()) }
                            }
                            @if preliminary.is_some() { ", incomplete; drawn by granule " } @else { ", completed by granule " }
                            (program) "."
                        }
                        nav aria-label="Contents" {
                            @if !self.tables.is_empty() {
                                a href="#results" { "Results" }
                                a href="#figures" { "Figures" }
                            }
                            @if self.has_paper() { a href="#paper" { "The paper’s analysis" } }
                            a href="#run" { "Provenance" }
                            a href="#again" { "Reproduce" }
                            @if manifest.is_some() { a href="#files" { "Files" } }
                        }
                    }
                    main {
                        @if !self.notes.is_empty() {
                            ul class="notes" { @for note in self.notes { li { (note) } } }
                        }
                        @if !self.tables.is_empty() {
                            section id="results" { h2 { "Results" } (self.results()) }
                            section id="figures" {
                                h2 { "Figures" }
                                @for (_, figure) in self.figures.iter().filter(|(of, _)| *of == Of::Sweep) {
                                    (drawn(figure, None))
                                }
                            }
                        }
                        @if self.has_paper() {
                            section id="paper" {
                                h2 { "The paper’s analysis" }
                                @for (of, figure) in self.figures {
                                    @if let Of::Seed(seed) = of { (drawn(figure, Some(*seed))) }
                                }
                            }
                        }
                        section id="run" { h2 { "Provenance" } (self.provenance()) }
                        section id="again" { h2 { "Reproduce" } (self.again()) }
                        @if let Some(manifest) = manifest {
                            section id="files" { h2 { "Files" } (files(manifest)) }
                        }
                    }
                }
            }
        };
        page.into_string()
    }

    fn has_paper(&self) -> bool {
        self.figures.iter().any(|(of, _)| *of != Of::Sweep)
    }

    /// Returns means over seeds, and links to all numbers.
    fn results(&self) -> Markup {
        let measures = self.sweep.conditions.first().map_or_else(Vec::new, |first| Measure::of(&first.model));
        html! {
            p {
                @if self.sweep.engine.is_program() {
                    "The rates are of all cells of a population. "
                } @else {
                    "Driven granule cells have input from active mossy fibres. "
                    "The first three measures are of driven cells in the window around the stimulus. "
                    "The rates are of all cells of a population, before the window or in it. "
                }
                "Values are means over trials, cells and seeds, with the standard error over seeds if there are several."
            }
            @for of in self.tables.iter().filter(|of| of.name == "means") { (means(of, &measures)) }
            p { @for of in self.tables { (download(of, of.name)) " " } }
        }
    }

    fn provenance(&self) -> Markup {
        let ResolvedSweep { engine, engine_revision, .. } = self.resolved;
        let seconds = |seconds: f64| format!("{seconds:.1} s");
        let mut rows = vec![
            (
                "Engine",
                match &self.resolved.model {
                    Some(_) => engine.clone(),
                    None => format!("{engine}, revision {engine_revision}"),
                },
            ),
            ("Started", self.begun.to_owned()),
            ("Seeds", ranges(&runs(&self.sweep.seeds), usize::MAX)),
        ];
        if let Some(Preliminary { stored, total, .. }) = self.preliminary {
            rows.push(("Trials", format!("{stored} of {total} stored so far")));
        }
        if let Some(Manifest { granule, run, .. }) = self.manifest {
            rows.insert(0, ("Program", format!("granule {granule}")));
            rows.extend([
                ("Host", format!("{} ({}, {})", run.host, run.operating_system, run.architecture)),
                ("Workers", run.workers.to_string()),
                (
                    "Versions",
                    run.versions
                        .iter()
                        .map(|(of, version)| format!("{of} {version}"))
                        .collect::<Vec<_>>()
                        .join(", "),
                ),
                ("Time", format!("{}, {} of CPU time", seconds(run.wall_seconds), seconds(run.cpu_seconds))),
                ("Trials", format!("{} computed, {} reused", run.trials_computed, run.trials_reused)),
                (
                    "Audited",
                    format!(
                        "{}, each in all conditions of its cohort, with the same result",
                        plural(run.trials_audited, "trial")
                    ),
                ),
            ]);
        }
        rows.retain(|(_, value)| !value.is_empty());
        html! {
            table class="facts" {
                @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
            }
            @if let Some(Manifest { run, set_aside, .. }) = self.manifest {
                @for text in run.disagreements.iter().chain(&run.workers_shut_out) { p class="alarm" { (text) } }
                @if !set_aside.is_empty() {
                    @let were = if set_aside.len() == 1 { "was" } else { "were" };
                    p class="alarm" { (plural(set_aside.len() as u64, "trial")) " " (were) " set aside:" }
                    ul { @for of in set_aside { li { (of.condition) ", seed " (of.seed) ", trial " (of.trial) } } }
                }
            }
            (self.parameters())
        }
    }

    /// Returns the parameters that differ between conditions, then all others.
    fn parameters(&self) -> Markup {
        let conditions = &self.resolved.conditions;
        let value = |condition: usize, path: &str| {
            let value = conditions[condition].parameters.get(path);
            value.and_then(|value| value.as_str()).unwrap_or("").to_owned()
        };
        let paths: Vec<&String> =
            conditions.first().map_or(Vec::new(), |first| first.parameters.keys().collect());
        let (same, differing): (Vec<&String>, Vec<&String>) = paths
            .into_iter()
            .partition(|path| (1..conditions.len()).all(|i| value(i, path) == value(0, path)));
        html! {
            h3 { "Parameters" }
            @if !differing.is_empty() {
                div class="wide" { table {
                    thead { tr {
                        th scope="col" { "condition" }
                        @for path in &differing { th scope="col" { (path) } }
                    } }
                    tbody { @for (i, condition) in conditions.iter().enumerate() {
                        tr {
                            th scope="row" { (condition.name) }
                            @for path in &differing { td { (value(i, path)) } }
                        }
                    } }
                } }
            }
            details {
                summary { "The same in all conditions: " (plural(same.len() as u64, "parameter")) }
                table class="facts" {
                    @for path in same { tr { th scope="row" { (path) } td { (value(0, path)) } } }
                }
            }
        }
    }

    fn again(&self) -> Markup {
        let file = format!("{}.yaml", self.sweep.name);
        html! {
            p {
                "This sweep file sets every condition explicitly; all other values are the preset’s, or defaults. Saved as "
                code { (file) } ", it gives the same files, byte for byte, with any number of workers on any machines, if engine and \
                 revision are those above:"
            }
            pre { code { (self.yaml) } }
            pre { code { "granule run " (shell_path(&file)) } }
            p {
                code { "granule reproduce" } " computes one trial again and compares it. " code { "granule verify" }
                " checks all files."
            }
        }
    }
}

fn files(manifest: &Manifest) -> Markup {
    let files = &manifest.files;
    let bytes = files.iter().map(|file| file.bytes).sum();
    html! {
        details {
            summary { (plural(files.len() as u64, "file")) ", " (DecimalBytes(bytes)) ", with SHA-256" }
            div class="wide" { table {
                thead { tr { th scope="col" { "file" } th scope="col" { "bytes" } th scope="col" { "SHA-256" } } }
                tbody { @for file in files {
                    tr { td { (file.path) } td class="number" { (file.bytes) } td { code { (file.sha256) } } }
                } }
            } }
        }
    }
}

fn drawn(figure: &Figure, seed: Option<u32>) -> Markup {
    let title = seed.map_or_else(|| figure.title.clone(), |seed| format!("{}, seed {seed}", figure.title));
    html! {
        figure {
            h3 { (title) }
            div class="wide" { (PreEscaped(figure.svg())) }
            figcaption {
                (figure.description)
                @for of in &figure.tables {
                    " "
                    (download(of, &format!("{}-{}", figure.name, of.name)))
                }
            }
        }
    }
}

/// Returns a link that has the numbers in it.
fn download(of: &Table, name: &str) -> Markup {
    let data = STANDARD.encode(of.csv());
    html! {
        a download={ (name) ".csv" } href={ "data:text/csv;charset=utf-8;base64," (data) } {
            (name) ".csv"
        }
    }
}

/// Returns a table with a condition in each row and a measure in each column.
fn means(of: &Table, measures: &[Measure]) -> Markup {
    let number = |name: String, row: usize| {
        let column = of.columns.iter().find(|column| column.name == name)?;
        match &column.values {
            ColumnData::Number(values) => values.get(row).copied().flatten(),
            ColumnData::Whole(_) | ColumnData::Text(_) => None,
        }
    };
    let names = match of.columns.first().map(|column| &column.values) {
        Some(ColumnData::Text(names)) => &names[..],
        _ => &[],
    };
    html! {
        div class="wide" { table {
            thead { tr {
                th scope="col" { "Condition" }
                @for measure in measures { th scope="col" class="number" { (measure.label()) } }
            } }
            tbody { @for (row, name) in names.iter().enumerate().take(MOST_ROWS) {
                tr {
                    th scope="row" { (name) }
                    @for measure in measures {
                        td class="number" {
                            @if let Some(mean) = number(format!("{}_mean", measure.name()), row) { (rounded(mean)) }
                            @if let Some(sem) = number(format!("{}_sem", measure.name()), row) { " ± " (rounded(sem)) }
                        }
                    }
                }
            } }
        } }
        @if names.len() > MOST_ROWS {
            p { "The first " (MOST_ROWS) " of " (names.len()) " conditions; all are in the files below." }
        }
    }
}

/// Formats a number with three digits.
fn rounded(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    format!("{value:.digits$}").replace('-', "\u{2212}")
}
