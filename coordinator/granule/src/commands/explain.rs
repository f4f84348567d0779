//! `granule explain`: which trials will be computed, and why.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use granule_engine::{Engine, Fingerprint, Model, Recounted, TrialKey};
use granule_outputs::archive::ArchiveError;
use granule_outputs::manifest::{Decision, ResolvedCondition, ResolvedSweep, SetAside};
use granule_outputs::selection::{check_trial, conditions_of, is_damaged, seeds_of};
use granule_outputs::survey::DirectorySurvey;
use granule_server::view::log::line;
use granule_store::Store;
use granule_sweep::{Condition, Sweep, Until};
use granule_text::words::{MOST_RUNS, Names, grouped, ranges, runs, seeds};
use granule_text::{one_line, plural};
use serde::Serialize;

use crate::cli;
use crate::commands::plan::{SweepPlanned, load};
use crate::commands::sweep_run::short;
use crate::failure::Failure;
use crate::stdout::{ReportHead, say, say_json};

#[derive(Debug, Serialize)]
struct Explanation {
    #[serde(flatten)]
    head: ReportHead,
    sweep: String,
    /// Different trials by what a run does with them, over the requested conditions and seeds. Conditions with equal
    /// parameters share theirs, but each has entries.
    reused: u64,
    to_compute: u64,
    /// How the rule of the sweep has decided the number of trials. Empty if it has not, or there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Decision>,
    #[serde(skip)]
    rule: Option<Until>,
    entries: Vec<Passage>,
}

/// Trials of a condition and a seed with the same explanation.
#[derive(Debug, Serialize)]
struct Passage {
    condition: String,
    seed: u32,
    /// First and last of each range of trials.
    trials: Vec<(u32, u32)>,
    count: u64,
    /// `reused` or `to_compute`.
    fate: &'static str,
    /// `stored`; `engine`, `parameters`, `new_seed`, `new_trial`, `set_aside`, `damaged`, `not_stored` or
    /// `nothing_known`.
    why: &'static str,
    /// The condition that this one is compared with, if `why` is `parameters`.
    nearest: Option<String>,
    changes: Vec<ParameterChange>,
    /// For people.
    text: String,
}

/// A parameter whose value has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ParameterChange {
    parameter: String,
    old: String,
    new: String,
}

impl ParameterChange {
    /// Describes a parameter with an unchanged value of which other numbers are made now.
    fn of_recounted(of: Recounted) -> ParameterChange {
        let what = of.unit;
        // Of a long list, show the first difference.
        let first = of.before.iter().zip(&of.now).position(|(before, now)| before != now).unwrap_or(0);
        let counted = |numbers: &[u32]| format!("{} {what}", numbers.get(first).copied().unwrap_or(0));
        ParameterChange {
            parameter: of.path.to_owned(),
            old: format!("{} in version 0.1.0", counted(&of.before)),
            new: counted(&of.now),
        }
    }
}

pub(crate) fn run(arguments: &cli::Explain) -> Result<(), Failure> {
    let SweepPlanned { sweep, plan, out, store, survey, .. } = load(&arguments.planned)?;
    let resolved = ResolvedSweep::of(&sweep);
    if let Err(refusal) = survey.check(&sweep, arguments.planned.replace) {
        line(&format!(
            "note: `granule run` refuses {}: {refusal}\n  help: {}",
            out.display(),
            refusal.help()
        ));
    }
    let known = KnownSweeps::of(&survey, sweep.engine);
    let conditions = conditions_of(
        &sweep,
        &arguments.only.conditions,
        arguments.only.filters(sweep.engine.space())?.iter(),
    )?;
    let seeds = seeds_of(&sweep, &arguments.only.seeds)?;
    let trials = match arguments.trial {
        Some(trial) => {
            check_trial(&sweep, trial)?;
            trial..trial + 1
        }
        None => 0..sweep.trials,
    };
    let mut report = Explanation {
        head: ReportHead::of("explained"),
        sweep: sweep.name.clone(),
        reused: 0,
        to_compute: 0,
        decisions: survey.decided(&sweep).map(|manifest| manifest.decisions.clone()).unwrap_or_default(),
        rule: sweep.until.clone(),
        entries: Vec::new(),
    };
    let mut counted: HashSet<(usize, usize)> = HashSet::new();
    for &at in &conditions {
        let lineage = known.lineage(&sweep, at, &resolved);
        for &seed_at in &seeds {
            let seed = sweep.seeds[seed_at];
            let (cohort, variant) = plan.place(at, seed_at);
            let mut by_reason: BTreeMap<Cause, Vec<u32>> = BTreeMap::new();
            for trial in trials.clone() {
                let model = &sweep.conditions[at].model;
                let reason = match look(store.as_ref(), plan.key(cohort, variant, trial), model)? {
                    Stored::Whole => Cause::Stored,
                    Stored::Damaged => Cause::Damaged,
                    Stored::No => known.reason(&lineage, seed, trial),
                };
                by_reason.entry(reason).or_default().push(trial);
            }
            let is_counted = !counted.insert((cohort, variant));
            for (reason, trials) in by_reason {
                let total = if reason == Cause::Stored { &mut report.reused } else { &mut report.to_compute };
                *total += if is_counted { 0 } else { trials.len() as u64 };
                report.entries.push(entry(&sweep.conditions[at].name, seed, reason, &lineage, &trials));
            }
        }
    }
    if arguments.planned.json {
        say_json(&report)?.done();
    } else {
        let names = Names::new(sweep.conditions.iter().map(|condition| condition.name.as_str()));
        say(&report.to_text(&names, arguments.only.given().is_some()))?.done();
    }
    Ok(())
}

/// State of a trial in the store.
enum Stored {
    Whole,
    Damaged,
    No,
}

fn look(store: Option<&Store>, key: TrialKey, model: &Model) -> Result<Stored, Failure> {
    let Some(store) = store.filter(|store| store.contains(key)) else { return Ok(Stored::No) };
    let is_damaged = is_damaged(store, key, model).map_err(ArchiveError::from)?;
    Ok(if is_damaged { Stored::Damaged } else { Stored::Whole })
}

/// The reason that a trial is reused or computed. Entries are printed in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Stored,
    Damaged,
    SetAside,
    NewTrial,
    NewSeed,
    Parameters,
    Engine,
    NotStored,
    NothingKnown,
}

/// How a condition relates to the known sweeps.
enum Lineage {
    /// No sweep is known.
    Nothing,
    /// The known sweeps were computed by another engine, or another revision of it.
    Engine(String),
    /// The known sweeps were computed with another version of the user's model: its changes.
    Model(Vec<String>),
    /// A condition with the same fingerprint is known, under these names.
    Same(BTreeSet<String>),
    /// The nearest known condition, and the differences from it.
    Differs(String, Vec<ParameterChange>),
}

/// The sweeps that an output directory records.
struct KnownSweeps<'a> {
    sweeps: Vec<&'a ResolvedSweep>,
    /// Their conditions, as far as the sweep's engine computed them.
    conditions: Vec<&'a ResolvedCondition>,
    /// Indices of these conditions by fingerprint and by name, the first one first.
    by_fingerprint: HashMap<&'a str, Vec<usize>>,
    by_name: HashMap<&'a str, usize>,
    set_aside: &'a [SetAside],
}

/// Most known conditions that are searched for the one with the fewest differences.
const MOST_COMPARED: usize = 1000;

impl<'a> KnownSweeps<'a> {
    fn of(survey: &'a DirectorySurvey, engine: &dyn Engine) -> KnownSweeps<'a> {
        let (under_way, manifest) = (survey.under_way.as_ref(), survey.manifest.as_ref());
        let sweeps: Vec<&ResolvedSweep> =
            (under_way.map(|of| &of.sweep).into_iter()).chain(manifest.map(|of| &of.sweep)).collect();
        let is_of_engine = |of: &&&ResolvedSweep| {
            (of.engine.as_str(), of.engine_revision) == (engine.name(), engine.revision())
        };
        let conditions: Vec<&ResolvedCondition> =
            sweeps.iter().filter(is_of_engine).flat_map(|of| &of.conditions).collect();
        let mut by_fingerprint: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut by_name = HashMap::new();
        for (at, of) in conditions.iter().enumerate() {
            by_fingerprint.entry(&of.fingerprint).or_default().push(at);
            by_name.entry(of.name.as_str()).or_insert(at);
        }
        let set_aside = manifest.map_or(&[][..], |manifest| &manifest.set_aside);
        KnownSweeps { sweeps, conditions, by_fingerprint, by_name, set_aside }
    }

    /// Returns the conditions with this fingerprint.
    fn same(&self, fingerprint: Fingerprint) -> impl Iterator<Item = &'a ResolvedCondition> {
        let places = self.by_fingerprint.get(fingerprint.to_string().as_str());
        places.into_iter().flatten().map(|at| self.conditions[*at])
    }

    fn lineage(&self, sweep: &Sweep, at: usize, resolved: &ResolvedSweep) -> Lineage {
        let (condition, new_model) = (&sweep.conditions[at], resolved.model.as_ref());
        let resolved = &resolved.conditions[at];
        let (engine, revision) = (sweep.engine.name(), sweep.engine.revision());
        let Some(latest) = self.sweeps.first() else { return Lineage::Nothing };
        if self.conditions.is_empty() {
            if let (Some(old), Some(new)) = (&latest.model, new_model) {
                return Lineage::Model(old.changes(new));
            }
            let old = format!("{}, revision {}", latest.engine, latest.engine_revision);
            return Lineage::Engine(format!("{old} -> {engine}, revision {revision}"));
        }
        let same: BTreeSet<String> =
            self.same(condition.model.fingerprint()).map(|known| known.name.clone()).collect();
        if !same.is_empty() {
            return Lineage::Same(same);
        }
        // Equal parameters, of which version 0.1.0 made other numbers.
        let recounted = sweep.engine.recounted(&condition.model);
        let before = self.same(condition.model.fingerprint_0_1_0()).next();
        if let Some(known) = before.filter(|_| !recounted.is_empty()) {
            return Lineage::Differs(
                known.name.clone(),
                recounted.into_iter().map(ParameterChange::of_recounted).collect(),
            );
        }
        // The condition of the same name if there is one, else the one with the fewest differences.
        let namesake = self.by_name.get(condition.name.as_str()).map(|at| self.conditions[*at]);
        let nearest = namesake.or_else(|| {
            let some = self.conditions.iter().copied().take(MOST_COMPARED);
            some.min_by_key(|known| changes(known, resolved, condition).len())
        });
        match nearest {
            Some(known) => Lineage::Differs(known.name.clone(), changes(known, resolved, condition)),
            None => Lineage::Nothing,
        }
    }

    /// Returns the reason that a trial is not in the store.
    fn reason(&self, lineage: &Lineage, seed: u32, trial: u32) -> Cause {
        let names = match lineage {
            Lineage::Nothing => return Cause::NothingKnown,
            Lineage::Engine(_) | Lineage::Model(_) => return Cause::Engine,
            Lineage::Differs(..) => return Cause::Parameters,
            Lineage::Same(names) => names,
        };
        let of_seed = || self.sweeps.iter().filter(|sweep| sweep.seeds.contains(&seed));
        let is_set_aside = self
            .set_aside
            .iter()
            .any(|aside| names.contains(&aside.condition) && (aside.seed, aside.trial) == (seed, trial));
        if is_set_aside {
            Cause::SetAside
        } else if of_seed().next().is_none() {
            Cause::NewSeed
        } else if of_seed().all(|sweep| trial >= sweep.trials) {
            Cause::NewTrial
        } else {
            Cause::NotStored
        }
    }
}

/// Returns the parameters in which a condition differs from a known one, without those that affect no spike.
fn changes(
    known: &ResolvedCondition,
    new: &ResolvedCondition,
    condition: &Condition,
) -> Vec<ParameterChange> {
    let (engine, values) = (condition.model.engine(), condition.model.values());
    let text = |of: &ResolvedCondition, path: &str| {
        let value = of.parameters.get(path).and_then(serde_json::Value::as_str);
        value.unwrap_or("(none)").to_owned()
    };
    let paths: BTreeSet<&String> = known.parameters.keys().chain(new.parameters.keys()).collect();
    paths
        .into_iter()
        .filter(|path| values.get(path).is_none() || !engine.is_idle(path, values))
        .map(|path| ParameterChange { parameter: path.clone(), old: text(known, path), new: text(new, path) })
        .filter(|change| change.old != change.new)
        .collect()
}

fn entry(condition: &str, seed: u32, reason: Cause, lineage: &Lineage, trials: &[u32]) -> Passage {
    let (nearest, changes) = match (reason, lineage) {
        (Cause::Parameters, Lineage::Differs(name, changes)) => (Some(name.clone()), changes.clone()),
        _ => (None, Vec::new()),
    };
    let (why, text) = match reason {
        Cause::Stored => ("stored", "stored with the same key".to_owned()),
        Cause::Damaged => ("damaged", "damaged in the store".to_owned()),
        Cause::SetAside => ("set_aside", "set aside by the last run".to_owned()),
        Cause::NewTrial => ("new_trial", "the last sweep had fewer trials".to_owned()),
        Cause::NewSeed => ("new_seed", "the last sweep did not have this seed".to_owned()),
        Cause::Parameters => {
            let told: Vec<String> =
                changes.iter().map(|of| format!("{} {} -> {}", of.parameter, of.old, of.new)).collect();
            let name = nearest.as_deref().unwrap_or_default();
            ("parameters", format!("different parameters from those of {name}: {}", told.join("; ")))
        }
        Cause::Engine => match lineage {
            Lineage::Engine(change) => ("engine", format!("another engine: {change}")),
            Lineage::Model(changes) => {
                ("model", format!("another version of the model: {}", changes.join("; ")))
            }
            _ => ("engine", "another engine".to_owned()),
        },
        Cause::NotStored => ("not_stored", "not in the store: never computed, or lost".to_owned()),
        Cause::NothingKnown => {
            ("nothing_known", "not in the store, and there is no earlier sweep to compare with".to_owned())
        }
    };
    Passage {
        condition: condition.to_owned(),
        seed,
        trials: runs(trials),
        count: trials.len() as u64,
        fate: if reason == Cause::Stored { "reused" } else { "to_compute" },
        why,
        nearest,
        changes,
        text,
    }
}

impl Explanation {
    /// Returns the explanation for people: a line for all conditions and seeds to which the same applies. If only some
    /// were requested, each has a line. The total is last, where it stays visible.
    fn to_text(&self, names: &Names<'_>, is_by_seed: bool) -> String {
        let most = if is_by_seed { usize::MAX } else { MOST_RUNS };
        let mut lines: Vec<(String, (Vec<u32>, String))> = Vec::new();
        for entries in self.entries.chunk_by(|a, b| a.condition == b.condition) {
            let first = lines.len();
            for Passage { condition, seed, trials, fate, text, .. } in entries {
                let is_one = matches!(trials[..], [(first, last)] if first == last);
                let trials_in_words = if is_one { "trial" } else { "trials" };
                let fate = fate.replace('_', " ");
                let told = format!("{trials_in_words} {}: {fate}: {text}", ranges(trials, most));
                match lines[first..].iter_mut().find(|(_, (_, line))| !is_by_seed && *line == told) {
                    Some((_, (same, _))) => same.push(*seed),
                    None => lines.push((condition.clone(), (vec![*seed], told))),
                }
            }
        }
        let count: u64 = self.entries.iter().map(|entry| entry.count).sum();
        let groups = if is_by_seed {
            lines.into_iter().map(|(name, told)| (vec![name], told)).collect()
        } else {
            grouped(lines)
        };
        let mut text = String::new();
        for (of, (numbers, told)) in groups {
            text.push_str(&format!("  {}, {}, {told}\n", names.describe(&of), seeds(&numbers)));
        }
        if count > self.reused + self.to_compute {
            text.push_str(
                "  (conditions with equal parameters share trials; the total below counts each trial once)\n",
            );
        }
        text.push_str(&self.rule.as_ref().map_or(String::new(), |rule| self.reasons(rule)));
        let is_open = self.rule.as_ref().is_some_and(|rule| !rule.is_decided);
        text.push_str(&format!(
            "{}: {} reused, {}{} to be computed\n",
            self.sweep,
            plural(self.reused, "trial"),
            if is_open { "at most " } else { "" },
            self.to_compute
        ));
        text
    }

    /// Describes how the rule has decided the number of trials, or will.
    fn reasons(&self, Until { measure, half_width, at_least, at_most, .. }: &Until) -> String {
        let goal = format!("{measure} to ± {half_width}");
        let Some(last) = self.decisions.last() else {
            return format!("  number of trials: {at_least} to {at_most}, until {goal} in every condition\n");
        };
        let mut text =
            format!("  number of trials: {}, decided by the goal {goal} in every condition:\n", last.trials);
        for Decision { trials, condition, half_width } in &self.decisions {
            let condition = one_line(condition);
            let width = half_width.map_or("no interval".to_owned(), |width| format!("± {}", short(width)));
            text.push_str(&format!(
                "    after {trials}: {width} in condition {condition}, the least precise\n"
            ));
        }
        text
    }
}
