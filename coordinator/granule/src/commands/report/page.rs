//! The page: HTML that runs no script and loads nothing. A content security policy makes browsers enforce that.

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granule_figures::sweep::{Index, Measure, Sensitivity, varied};
use granule_figures::{Figure, Table};
use granule_outputs::drawn::{self, Preliminary};
use granule_outputs::manifest::{Manifest, ResolvedSweep};
use granule_sweep::Sweep;
use granule_text::plural;
use granule_text::words::{ranges, runs};
use indicatif::DecimalBytes;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::link::save;
use super::tables::{Comparison, across, has_fewer_seeds, influences, most_seeds, parts, path_heading};
use super::written::Written;
use super::{font, methods};
use crate::gallery::{Of, Reached};
use crate::version::commit;

const STYLE: &str = include_str!("page.css");

/// Most rows of the tables of parameters and of files. A browser cannot show many more.
const MOST_LISTED: usize = 5000;

/// Most parameters beside each other in a table, so that it fits a printed page.
const MOST_BESIDE: usize = 7;

/// Most rows of a table that the page contains as a file.
const MOST_CONTAINED: usize = 20_000;

/// A window in which responses are counted.
pub(super) struct ResponseWindow {
    /// In ms of a trial; the end is excluded.
    pub(super) ms: Range<usize>,
    pub(super) conditions: Vec<String>,
    /// The conditions, for people.
    pub(super) words: String,
}

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
    /// Measures of conditions and seeds, estimates over seeds, and differences. Empty if the store is gone.
    pub(super) tables: &'a [Table],
    /// Influence of the parameters on the measures, if the conditions are a sample of them.
    pub(super) sensitivity: Option<&'a Sensitivity>,
    /// The precision of each condition, if a rule decided the number of trials.
    pub(super) reached: &'a [Reached],
    /// Name of the condition with which others are compared.
    pub(super) reference: Option<&'a str>,
    /// The windows in which responses are counted, in ms, each with its conditions and their description.
    pub(super) windows: &'a [ResponseWindow],
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
        let body = self.body(&conditions, &seeds, program);
        let css = format!("{}{STYLE}", font::faces(&body.0));
        let style = STANDARD.encode(Sha256::digest(&css));
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
                        content={ "default-src 'none'; font-src data:; style-src 'sha256-" (style) "'" };
                    title { (title) }
                    style { (PreEscaped(css)) }
                }
                (body)
            }
        };
        page.into_string()
    }

    /// Returns the body of the page.
    fn body(&self, conditions: &str, seeds: &str, program: &str) -> Markup {
        let ReportPage { sweep, manifest, preliminary, .. } = self;
        html! {
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
                            a href="#design" { "Design" }
                            @if !self.tables.is_empty() {
                                a href="#results" { "Results" }
                                @if self.sensitivity.is_some() { a href="#sensitivity" { "Sensitivity" } }
                                a href="#figures" { "Figures" }
                            }
                            @if self.has_paper() { a href="#paper" { "The paper’s analysis" } }
                            @if !self.tables.is_empty() { a href="#methods" { "Methods" } }
                            a href="#run" { "Provenance" }
                            @if manifest.is_some() { a href="#files" { "Files" } }
                        }
                    }
                    main {
                        @if !self.notes.is_empty() {
                            ul class="notes" { @for note in self.notes { li { (note) } } }
                        }
                        section id="design" { h2 { "Design" } (self.design()) }
                        @if !self.tables.is_empty() {
                            section id="results" { h2 { "Results" } (self.results()) }
                            @if let Some(of) = self.sensitivity {
                                section id="sensitivity" { h2 { "Sensitivity" } (self.sensitivity_of(of)) }
                            }
                            section id="figures" {
                                h2 { "Figures" }
                                @for figure in self.of_sweep(false) { (drawn(figure, None)) }
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
                        @if !self.tables.is_empty() {
                            section id="methods" { h2 { "Methods" } (self.methods()) }
                        }
                        section id="run" { h2 { "Provenance" } (self.provenance()) }
                        @if let Some(manifest) = manifest {
                            section id="files" { h2 { "Files" } (files(manifest)) }
                        }
                    }
                }
        }
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|of| of.name == name)
    }

    /// Returns the number of trials that the run set aside.
    fn set_aside(&self) -> usize {
        self.manifest.map_or(0, |manifest| manifest.set_aside.len())
    }

    fn has_paper(&self) -> bool {
        self.figures.iter().any(|(of, _)| *of != Of::Sweep)
    }

    /// Returns the sweep file as its author wrote it, what it needs, and the parameters that differ.
    fn design(&self) -> Markup {
        let Self { sweep, resolved, manifest, yaml: explicit, .. } = *self;
        let run = manifest.map(|manifest| &manifest.run);
        html! {
            (Written { sweep, resolved, run, explicit }.html())
            (self.parameters())
        }
    }

    /// Returns estimates, differences, and links to all numbers.
    fn results(&self) -> Markup {
        let varied = varied(self.sweep.conditions.iter().map(|condition| &condition.model));
        html! {
            @if let Some(of) = self.table("estimates") {
                h3 { "Estimates" }
                p {
                    @let seeds = most_seeds(of);
                    "Means over " (plural(seeds, "seed"))
                    @if seeds > 1 { ", with 95 % confidence intervals over seeds" }
                    @else { "; one seed gives no interval over seeds" }
                    (of_fewer(of))
                    @if let [window] = self.windows { "; responses are counted from " (between(&window.ms)) } "."
                }
                (self.list_windows())
                (across(of, &Comparison { varied: &varied, ..Comparison::default() }))
            }
            @if let (Some(of), Some(reference)) = (self.table("differences"), self.reference) {
                h3 { "Differences to " (reference) }
                p {
                    "Each condition minus " (reference) ", paired by seed"
                    @if most_seeds(of) > 1 {
                        ", with 95 % confidence intervals and the effect size " i { "d" } sub { "z" }
                        "; bold if the interval excludes 0"
                    }
                    (of_fewer(of))
                    "."
                }
                (across(of, &Comparison { is_difference: true, varied: &varied, in_other_window: self.in_other_window(reference) }))
            }
            p { @for of in self.tables.iter().filter(|of| is_contained(of)) { (download(of, of.name)) " " } }
            @if self.tables.iter().any(|of| !is_contained(of)) {
                p { code { "granule export … --measures FILE" } " writes all estimates." }
            }
        }
    }

    /// Lists the windows with their conditions, if there are several.
    fn list_windows(&self) -> Markup {
        html! {
            @if self.windows.len() > 1 {
                p { "Responses are counted in different windows:" }
                ul { @for ResponseWindow { ms, words, .. } in self.windows { li { (between(ms)) ": " (words) } } }
            }
        }
    }

    /// Returns the conditions whose window is not that of the reference.
    fn in_other_window(&self, reference: &str) -> BTreeSet<&str> {
        let others =
            self.windows.iter().filter(|window| window.conditions.iter().all(|name| name != reference));
        others.flat_map(|window| &window.conditions).map(String::as_str).collect()
    }

    /// Returns the figures of the whole sweep: those of sensitivity, or all others.
    fn of_sweep(&self, is_sensitivity: bool) -> impl Iterator<Item = &Figure> {
        let is_it = move |of: &Of, figure: &Figure| {
            *of == Of::Sweep && figure.name.starts_with("sensitivity") == is_sensitivity
        };
        self.figures.iter().filter(move |(of, figure)| is_it(of, figure)).map(|(_, figure)| figure)
    }

    /// Returns the indices of the main measures, and their figures.
    fn sensitivity_of(&self, of: &Sensitivity) -> Markup {
        html! {
            p {
                @if of.shown() == [Index::First, Index::Total] {
                    "Sobol’ indices: the fraction of a measure’s variance over the conditions that a parameter explains alone \
                     (first order), and together with its interactions (total order). The files below also have regression \
                     coefficients (SRC), which mislead if R" sup { "2" } " is far below 1. "
                } @else {
                    "The standardised regression coefficient (SRC) of a parameter is the change of a measure in its standard \
                     deviations, if the parameter changes by one of its own; the partial rank correlation coefficient (PRCC) \
                     measures monotone effects. If R" sup { "2" } " is far below 1, the SRC mislead. "
                }
                "In brackets are 95 % confidence intervals; bold if the interval excludes 0."
            }
            (influences(of))
            @for figure in self.of_sweep(true) { (drawn(figure, None)) }
        }
    }

    /// Returns the definitions, and what to cite.
    fn methods(&self) -> Markup {
        let measures = self.sweep.conditions.first().map_or_else(Vec::new, |first| Measure::of(&first.model));
        let is_program = self.sweep.engine.is_program();
        html! {
            p {
                @if let Some(of) = self.table("measures") {
                    (methods::trials(self.sweep, of, self.preliminary, self.set_aside())) " "
                }
                @if let Some(until) = &self.resolved.until {
                    (methods::rule(until, self.manifest, self.reached)) " "
                }
                (methods::randomness(self.sweep)) " "
                "The seed is the unit of replication: each measure was computed for every condition and seed from all of its \
                 trials, and intervals are those of Student’s t distribution over the values of the seeds. Differences were \
                 computed for each seed before averaging, so what conditions share cancels. The effect size is Cohen’s "
                i { "d" } sub { "z" } ". p values are of paired t tests, and are not corrected for the number of comparisons."
            }
            table class="facts" {
                @for measure in measures { tr { th scope="row" { (measure.label()) } td { (measure.definition()) } } }
                @if self.reference.is_some() {
                    tr { th scope="row" { "d′" } td {
                        "difference of the mean number of spikes in a trial between two conditions, divided by the root of \
                         the mean of their variances over trials; mean over seeds"
                    } }
                }
            }
            p {
                @if is_program { "Please cite granule " } @else {
                    "Please cite Fore TR, Taylor BN, Brunel N, Hull C (2020) Acetylcholine modulates cerebellar granule cell \
                     spiking by regulating the balance of synaptic excitation and inhibition, J Neurosci 40:2882–2894, \
                     doi:10.1523/JNEUROSCI.2148-19.2020, and granule "
                }
                (self.manifest.map_or(env!("CARGO_PKG_VERSION"), |manifest| &manifest.granule))
                " (CITATION.cff)."
            }
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
            rows.insert(0, ("Drawn by", program(env!("CARGO_PKG_VERSION"), commit())));
            rows.push(("Trials", format!("{stored} of {total} stored so far")));
        }
        if let Some(Manifest { granule, run, .. }) = self.manifest {
            rows.insert(0, ("Program", program(granule, run.commit.as_deref())));
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
                @for part in parts(differing.len(), MOST_BESIDE) {
                    div class="wide" { table {
                        thead { tr {
                            th scope="col" { "condition" }
                            @for path in &differing[part.clone()] { th scope="col" { (path_heading(path, "")) } }
                        } }
                        tbody { @for (i, condition) in conditions.iter().enumerate().take(MOST_LISTED) {
                            tr {
                                th scope="row" { (condition.name) }
                                @for path in &differing[part.clone()] { td { (value(i, path)) } }
                            }
                        } }
                    } }
                }
                (rest(conditions.len(), "conditions"))
            }
            details {
                summary { "The same in all conditions: " (plural(same.len() as u64, "parameter")) }
                table class="facts" {
                    @for path in same { tr { th scope="row" { (path) } td { (value(0, path)) } } }
                }
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
                tbody { @for file in files.iter().take(MOST_LISTED) {
                    tr { td { (file.path) } td class="number" { (file.bytes) } td { code { (file.sha256) } } }
                } }
            } }
            (rest(files.len(), "files"))
        }
    }
}

/// States that a list is not shown as a whole, if it is longer than the page can show.
fn rest(count: usize, what: &str) -> Markup {
    html! {
        @if count > MOST_LISTED {
            p { "The first " (MOST_LISTED) " of " (count) " " (what) "; all are in " code { "manifest.json" } "." }
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
                @for of in figure.tables.iter().filter(|of| is_contained(of)) {
                    " "
                    (download(of, &format!("{}-{}", figure.name, of.name)))
                }
            }
        }
    }
}

/// Whether the page contains a table as a file.
fn is_contained(of: &Table) -> bool {
    of.rows() <= MOST_CONTAINED
}

/// Returns a link that has the numbers in it.
fn download(of: &Table, name: &str) -> Markup {
    save(of.csv().as_bytes(), &format!("{name}.csv"))
}

/// Describes a window: `1000 to 1060 ms`.
fn between(ms: &Range<usize>) -> String {
    format!("{} to {} ms", ms.start, ms.end)
}

/// States that some values of a table are computed from fewer seeds than others. Empty if all have the same number.
fn of_fewer(table: &Table) -> Markup {
    html! {
        @if has_fewer_seeds(table) { "; values that can be measured in fewer seeds state their number " i { "n" } }
    }
}

/// Describes a program by its version and commit.
fn program(version: &str, commit: Option<&str>) -> String {
    format!("granule {version}, commit {}", commit.unwrap_or("unknown"))
}
