//! The sentences of a report that state how the sweep was computed: the trials, and the random numbers that
//! conditions share. They are derived from the stored trials and from the parameters, not from the plan.

use std::collections::BTreeSet;

use granule_engine::space::CellFactor;
use granule_engine::{Model, Value};
use granule_figures::{ColumnData, Table};
use granule_granular::{Method, layer_of};
use granule_outputs::drawn::Preliminary;
use granule_outputs::manifest::{Decision, Manifest, ResolvedUntil};
use granule_sweep::{Randomness, Sweep};
use granule_text::plural;

use crate::commands::sweep_run::short;
use crate::gallery::Reached;

/// Most conditions whose precision a sentence lists.
const MOST_LISTED: usize = 12;

/// The seeds and trials that the numbers of a report are computed from.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    seeds: usize,
    /// Fewest and most trials of a condition and a seed.
    least: u64,
    most: u64,
}

impl Counted {
    /// Counts them in the table of measures. `None` if it has no rows.
    fn of(measures: &Table) -> Option<Counted> {
        let whole = |name: &str| {
            let column = measures.columns.iter().find(|column| column.name == name)?;
            match &column.values {
                ColumnData::Whole(values) => Some(values),
                _ => None,
            }
        };
        let (seeds, trials) = (whole("seed")?, whole("trials")?);
        Some(Counted {
            seeds: seeds.iter().collect::<BTreeSet<_>>().len(),
            least: *trials.iter().min()?,
            most: *trials.iter().max()?,
        })
    }
}

/// Returns the sentences about the number of seeds and trials.
pub(super) fn trials(
    sweep: &Sweep,
    measures: &Table,
    preliminary: Option<Preliminary>,
    set_aside: usize,
) -> String {
    let Some(Counted { seeds, least, most }) = Counted::of(measures) else { return String::new() };
    let all = sweep.seeds.len();
    let of_seeds = match seeds < all {
        true => format!("{seeds} of the {}", plural(all as u64, "seed")),
        false => plural(seeds as u64, "seed"),
    };
    let planned = plural(sweep.trials.into(), "trial");
    if least == u64::from(sweep.trials) && preliminary.is_none() {
        return format!("Every condition was simulated with {of_seeds} and {planned} of each seed.");
    }
    let used = if least == most { plural(most, "trial") } else { format!("{least} to {most} trials") };
    let why = match preliminary {
        Some(Preliminary { stored, total, .. }) => {
            format!("the sweep is not complete: {stored} of {total} different trials are stored")
        }
        None => format!("{} set aside", were(set_aside)),
    };
    let limit = if sweep.undecided().is_some() { "at most " } else { "" };
    format!(
        "The sweep has {limit}{planned} of each condition and seed. The numbers below use {used} of each condition and seed \
         that has any, of {of_seeds}, because {why}."
    )
}

fn were(count: usize) -> String {
    format!("{} {}", plural(count as u64, "trial"), if count == 1 { "was" } else { "were" })
}

/// Returns the sentences about the rule that decides the number of trials, and about its result.
pub(super) fn rule(until: &ResolvedUntil, manifest: Option<&Manifest>, reached: &[Reached]) -> String {
    let ResolvedUntil { measure, half_width, at_least, at_most } = until;
    let rule = format!(
        "A rule decides the number of trials: after fixed numbers of trials from {at_least} to {at_most}, granule computes the \
         95 % interval (due to trials, for these seeds) of the mean of {} in every condition. It stops when all half widths \
         are at most {half_width}, or at {}. All conditions and seeds get the same number of trials.",
        measure.replace('_', " "),
        plural((*at_most).into(), "trial")
    );
    let last = manifest.and_then(|manifest| manifest.decisions.last());
    let result = match (last, manifest) {
        (Some(decision), _) => result(decision, *half_width, reached),
        (None, None) => "The rule has not decided yet.".to_owned(),
        (None, Some(_)) => "The manifest does not record the decision.".to_owned(),
    };
    format!("{rule} {result}")
}

/// Returns the sentence about the last decision of a rule with this goal.
fn result(decision: &Decision, goal: f64, reached: &[Reached]) -> String {
    let Decision { trials, condition, half_width } = decision;
    let widest = match half_width {
        Some(half_width) => format!("the widest interval is that of {condition}, ± {}", short(*half_width)),
        None => format!("{condition} has no interval, because a seed has fewer than two trials with a value"),
    };
    let is_enough = |half_width: &Option<f64>| half_width.is_some_and(|half_width| half_width <= goal);
    let trials = plural((*trials).into(), "trial");
    if is_enough(half_width) {
        let each = if reached.len() > 1 { each(&reached.iter().collect::<Vec<_>>()) } else { String::new() };
        return format!("Every condition reached the goal with {trials}: {widest}{each}.");
    }
    let (good, short_of): (Vec<&Reached>, Vec<&Reached>) =
        reached.iter().partition(|of| is_enough(&of.half_width));
    let counts = match reached.len() {
        0 => String::new(),
        all => format!(
            " {} of {} reached it{}; {} did not{}.",
            good.len(),
            plural(all as u64, "condition"),
            each(&good),
            short_of.len(),
            each(&short_of)
        ),
    };
    format!("The simulation ended at the limit of {trials} without the goal: {widest}.{counts}")
}

/// Lists the half widths of conditions in brackets. Empty for none.
fn each(of: &[&Reached]) -> String {
    if of.is_empty() {
        return String::new();
    }
    let text = |of: &&Reached| match of.half_width {
        Some(half_width) => format!("{} ± {}", of.condition, short(half_width)),
        None => format!("{} without an interval", of.condition),
    };
    let mut texts: Vec<String> = of.iter().take(MOST_LISTED).map(text).collect();
    if of.len() > MOST_LISTED {
        texts.push("…".to_owned());
    }
    format!(" ({})", texts.join(", "))
}

/// A kind of random numbers of the granular layer.
struct Draw {
    name: &'static str,
    /// The parameters that decide them, by their path: conditions with equal values have the same random numbers.
    decided_by: fn(Method, &str) -> bool,
    /// Whether the seed decides them, too.
    is_of_seed: fn(Method) -> bool,
    /// Whether a condition of this model has such random numbers.
    exists: fn(&Model) -> bool,
}

static DRAWS: [Draw; 5] = [
    Draw {
        name: "wiring",
        decided_by: |_, path| is_of_network(path),
        is_of_seed: |_| true,
        exists: |_| true,
    },
    Draw {
        name: "active mossy fibres",
        decided_by: |_, path| is_of_active_fibers(path),
        is_of_seed: |_| true,
        exists: |_| true,
    },
    Draw {
        name: "random weights",
        decided_by: |_, path| path.starts_with("weights.") || is_of_active_fibers(path),
        is_of_seed: |method| method == Method::Pcg,
        exists: |model| layer_of(model).parameters().weights.random,
    },
    Draw {
        name: "random tonic factors",
        decided_by: |_, path| matches!(path, "granule.tonic_factor" | "network.granule_cells"),
        is_of_seed: |method| method == Method::Pcg,
        exists: |model| matches!(layer_of(model).parameters().tonic.factor, CellFactor::Gamma { .. }),
    },
    Draw {
        name: "noise",
        decided_by: |method, path| match method {
            Method::Pcg => matches!(path, "noise.stream" | "time.step") || path.starts_with("network."),
            Method::Brian2_2_2_1 => {
                matches!(path, "noise.first" | "time.step" | "time.duration") || is_of_network(path)
            }
        },
        is_of_seed: |_| true,
        exists: |_| true,
    },
];

fn is_of_network(path: &str) -> bool {
    path.starts_with("network.") || path.ends_with(".convergence")
}

fn is_of_active_fibers(path: &str) -> bool {
    matches!(path, "network.mossy_fibers" | "stimulus.active_fraction")
}

/// Returns the sentences about the random numbers of a sweep of the granular layer: what the seed decides, and what the
/// conditions share. Empty for another model.
pub(super) fn randomness(sweep: &Sweep) -> String {
    let Some(method) = Method::named(sweep.engine.name()).filter(|_| !sweep.engine.is_program()) else {
        return String::new();
    };
    let models: Vec<&Model> = sweep.conditions.iter().map(|condition| &condition.model).collect();
    // Of each kind, the conditions that have such random numbers.
    let owners = |draw: &'static Draw| -> (&'static Draw, Vec<&Model>) {
        (draw, models.iter().copied().filter(|model| (draw.exists)(model)).collect())
    };
    let drawn: Vec<(&Draw, Vec<&Model>)> =
        DRAWS.iter().map(owners).filter(|(_, owners)| !owners.is_empty()).collect();
    let named = |is_of_seed: bool| -> Vec<&str> {
        let is_it = |draw: &Draw| (draw.is_of_seed)(method) == is_of_seed;
        drawn.iter().filter(|(draw, _)| is_it(draw)).map(|(draw, _)| draw.name).collect()
    };
    let mut sentences = vec![format!("A seed determines {}.", listed(&named(true)))];
    if !named(false).is_empty() {
        sentences.push(format!("With this engine, all seeds have the same {}.", listed(&named(false))));
    }
    let mut shared = Vec::new();
    let mut others = Vec::new();
    for (draw, owners) in drawn.iter().filter(|(_, owners)| owners.len() > 1) {
        let differing = differing(draw, method, owners);
        if !differing.is_empty() {
            others.push(of_own(draw, &differing, sweep.randomness));
        } else if owners.len() == models.len() {
            shared.push(draw.name);
        } else {
            others.push(format!("All conditions with {} share them within a seed.", draw.name));
        }
    }
    if !shared.is_empty() {
        sentences.push(format!("All conditions of a seed share {}.", listed(&shared)));
    }
    sentences.extend(others);
    sentences.join(" ")
}

/// Returns the paths of the parameters that decide such random numbers and differ between these conditions.
fn differing(draw: &Draw, method: Method, owners: &[&Model]) -> Vec<&'static str> {
    let Some((first, others)) = owners.split_first() else { return Vec::new() };
    let varies = |parameter, value: &Value| others.iter().any(|other| other.values().of(parameter) != value);
    let decisive = first.values().iter().filter(|(parameter, _)| (draw.decided_by)(method, parameter.path));
    decisive
        .filter(|(parameter, value)| varies(parameter, value))
        .map(|(parameter, _)| parameter.path)
        .collect()
}

/// Returns the sentence about random numbers that differ between conditions, because these parameters differ.
fn of_own(draw: &Draw, differing: &[&str], randomness: Randomness) -> String {
    let name = draw.name;
    if randomness == Randomness::Independent && differing.contains(&"noise.stream") {
        return format!("Each condition has its own {name} (noise: independent).");
    }
    format!("Conditions that differ in {} do not share {name}.", listed(differing))
}

/// Joins words to a list: `a, b and c`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
