//! All figures of a sweep: the paper's from its output files, those of any sweep from its store. Figures of an
//! incomplete sweep are preliminary: they are drawn from the stored trials, and marked so.

pub(crate) mod bare;
mod cells;
mod folder;
mod reached;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use granule_engine::{Model, Spike, TrialSpikes};
use granule_figures::paper;
use granule_figures::sweep::{
    Counter, Detail, Drive, MOST_SHOWN, Observed, ObservedCondition, OfCondition, RasterTrial, Sensitivity,
    Traces, Window, axes, comparison, conductances, estimates, forest, heat_map, influences, matrices,
    measures, psth, raster, responses, seeds, sensitivity, spread,
};
use granule_figures::{Analysis, AnalysisError, Criteria, Figure, Table};
use granule_granular::derive::{Conductances, SpikeCounts};
use granule_granular::isa::Isa;
use granule_granular::{GOLGI, GRANULE, layer_of};
use granule_outputs::archive::{Archive, ArchiveError};
use granule_outputs::drawn::Preliminary;
use granule_outputs::manifest::Manifest;
use granule_outputs::selection::{Pair, Selection};
use granule_outputs::{OutputError, rows};
use granule_sweep::{Condition, Design, Sweep};
use granule_system::exit;
use granule_system::threads::side_by_side;
use granule_text::plural;
use granule_text::words::{Names, grouped, seeds as seeds_in_words};
use ndarray::{Array1, Array2};

pub(crate) use self::cells::shown_cells;
use self::cells::structure;
use self::folder::{Folder, Recorded, Unreadable};
use self::reached::reached;
pub(crate) use self::reached::{Reached, measures as measures_of_trial, of_trial, place_of};
use crate::failure::Failure;

/// The user's choice of what to draw.
pub(crate) struct Choice {
    /// The ms in which responses are looked for. The default is around the stimulus.
    pub(crate) window: Option<Range<usize>>,
    /// The trial of the raster. The default is the first.
    pub(crate) trial: Option<u32>,
    /// Name of the condition with which others are compared. The default is Control, or the first condition.
    pub(crate) reference: Option<String>,
}

/// The figures of some conditions and seeds.
pub(crate) struct Gallery<'a> {
    archive: &'a Archive,
    sweep: &'a Sweep,
    /// Conditions and seeds, by their index.
    conditions: &'a [usize],
    seeds: &'a [usize],
    /// Their trials. None if the store is gone.
    selection: Option<&'a Selection<'a>>,
    /// Progress of the sweep. None if it is complete.
    preliminary: Option<Preliminary>,
    choice: Choice,
    /// Notes for people about what is not drawn.
    pub(crate) notes: Vec<String>,
    /// All measures of all conditions and seeds, their estimates over seeds, differences to the reference, and sensitivity
    /// indices. Empty until all is drawn.
    pub(crate) tables: Vec<Table>,
    /// Influence of the parameters on the measures, if the conditions are a sample of them.
    pub(crate) sensitivity: Option<Sensitivity>,
    /// Name of the reference, if there are differences.
    pub(crate) reference: Option<String>,
}

/// Most windows that a note lists.
const MOST_WINDOWS: usize = 8;

/// The subject of a figure: the sweep, or one of its seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Conditions of any kind, or a folder without a sweep.
    Sweep,
    /// The paper's conditions with this seed.
    Seed(u32),
}

/// Receives a figure.
pub(crate) type TakeFigure<'a> = dyn FnMut(Of, Figure) -> Result<(), Failure> + 'a;

/// The paper's conditions, by the names of their presets.
const PAPER: [&str; 3] = ["Control", "GABAzine", "ACh"];

/// The driven cells and their stimulus, for people.
const DRIVE: Drive = Drive {
    driven: "granule cells with input from active mossy fibres",
    stimulus: Some("spikes of the mossy fibres"),
};

/// Returns the words for the cells of the first population that figures show.
fn drive_of(sweep: &Sweep) -> Drive {
    if !sweep.engine.is_program() {
        return DRIVE;
    }
    let first = sweep.engine.populations().first();
    Drive { driven: first.map_or("cells", |population| population.cells), stimulus: None }
}

impl<'a> Gallery<'a> {
    /// Returns the gallery of a part of a sweep. Without a selection of trials, only the paper's figures can be drawn.
    pub(crate) fn new(
        archive: &'a Archive,
        sweep: &'a Sweep,
        (conditions, seeds): (&'a [usize], &'a [usize]),
        selection: Option<&'a Selection<'a>>,
        choice: Choice,
    ) -> Gallery<'a> {
        let mut notes = Vec::new();
        let left_out = selection.map_or(0, |selection| selection.left_out);
        if left_out > 0 {
            notes.push(format!("left out {} that the run set aside", plural(left_out, "trial")));
        }
        let (preliminary, tables, sensitivity, reference) = (None, Vec::new(), None, None);
        Gallery {
            archive,
            sweep,
            conditions,
            seeds,
            selection,
            preliminary,
            choice,
            notes,
            tables,
            sensitivity,
            reference,
        }
    }

    /// Returns the gallery of the trials of a part of a sweep that are stored so far.
    pub(crate) fn preliminary_of(
        archive: &'a Archive,
        sweep: &'a Sweep,
        of: (&'a [usize], &'a [usize]),
        selection: &'a Selection<'a>,
        preliminary: Preliminary,
        choice: Choice,
    ) -> Gallery<'a> {
        let mut gallery = Gallery::new(archive, sweep, of, Some(selection), choice);
        gallery.preliminary = Some(preliminary);
        gallery.notes.push(preliminary.to_string());
        let there: HashSet<(usize, usize)> =
            selection.pairs.iter().map(|pair| (pair.condition, pair.seed)).collect();
        let has = |condition: usize, seed: usize| there.contains(&(condition, seed));
        let empty = of.0.iter().map(|&condition| {
            let seeds = of.1.iter().filter(|&&seed| !has(condition, seed)).map(|&seed| sweep.seeds[seed]);
            (sweep.conditions[condition].name.clone(), seeds.collect::<Vec<u32>>())
        });
        let names = Names::new(sweep.conditions.iter().map(|condition| condition.name.as_str()));
        for (conditions, without) in grouped(empty.filter(|(_, seeds)| !seeds.is_empty())) {
            gallery.notes.push(format!(
                "left out {}, {}: no trial is stored yet",
                names.describe(&conditions),
                seeds_in_words(&without)
            ));
        }
        gallery
    }

    pub(crate) fn preliminary(&self) -> Option<Preliminary> {
        self.preliminary
    }

    /// Returns the manifest of the drawn sweep. None if the sweep is not complete.
    pub(crate) fn manifest(&self) -> Option<&'a Manifest> {
        self.archive.finished().ok().filter(|_| self.preliminary.is_none())
    }

    pub(crate) fn sweep(&self) -> &'a Sweep {
        self.sweep
    }

    pub(crate) fn archive(&self) -> &'a Archive {
        self.archive
    }

    /// Returns the precision that each condition has reached, if a rule has decided the number of trials of a complete
    /// sweep. Empty otherwise, and if only some seeds or conditions are chosen: the rule counts all.
    ///
    /// # Errors
    /// If the spikes of a trial cannot be read.
    pub(crate) fn reached(&self) -> Result<Vec<Reached>, Failure> {
        let until = self.sweep.until.as_ref().filter(|_| self.manifest().is_some());
        match until.zip(self.selection) {
            Some((until, selection)) if self.has_all() => {
                reached(selection, &until.measure).map_err(|error| lost(&error))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Whether all seeds and conditions of the sweep are chosen.
    fn has_all(&self) -> bool {
        let Sweep { seeds, conditions, .. } = self.sweep;
        let of_pairs = |selection: &Selection<'_>| {
            selection.pairs.iter().map(|pair| pair.condition).collect::<BTreeSet<_>>().len()
        };
        self.seeds.len() == seeds.len() && self.selection.map(of_pairs) == Some(conditions.len())
    }

    /// Draws all figures, one after the other.
    ///
    /// # Errors
    /// Also when there is no store, and no figure can be drawn without it.
    pub(crate) fn draw(&mut self, take: &mut TakeFigure<'_>) -> Result<(), Failure> {
        self.check()?;
        if let Some(selection) = self.selection {
            let mark = self.preliminary.map(|of| of.to_string());
            let mut take = |of: Of, mut figure: Figure| {
                mark.iter().for_each(|mark| figure.mark(mark));
                take(of, figure)
            };
            self.draw_sweep(selection, &mut take)?;
            return self.draw_paper(&mut take).map(drop);
        }
        let path = self.archive.store_path.clone();
        self.notes.push(format!(
            "the store {} does not exist, so granule draws only the paper's figures, from the output files; \
                the other figures need the store",
            path.display()
        ));
        match self.draw_paper(take)? {
            0 => Err(ArchiveError::NoStore { path }.into()),
            _ => Ok(()),
        }
    }

    /// Checks that the window is within the trials, and that the chosen trial exists.
    fn check(&self) -> Result<(), Failure> {
        if let Some(window) = &self.choice.window {
            for &condition in self.conditions {
                let condition = &self.sweep.conditions[condition];
                let of = format!("a trial of condition {}", condition.name);
                check_window(window, condition.model.time().bins(), &of)?;
            }
        }
        if self.preliminary.is_some() {
            return Ok(());
        }
        let shown = self.choice.trial.unwrap_or(0);
        for Pair { condition, seed, trials } in self.selection.iter().flat_map(|selection| &selection.pairs) {
            if !trials.contains(&shown) {
                let message = format!(
                    "error: trial {} of condition {}, seed {}, is not stored\n  help: choose another with --trial",
                    shown, self.sweep.conditions[*condition].name, self.sweep.seeds[*seed]
                );
                return Err(Failure::new(exit::USAGE, message));
            }
        }
        Ok(())
    }

    /// Returns the windows in which responses are counted, in ms, each with the names of its conditions.
    pub(crate) fn windows(&self) -> Vec<(Range<usize>, Vec<String>)> {
        let window = |&at: &usize| {
            let Condition { name, model, .. } = &self.sweep.conditions[at];
            let ms = self.choice.window.clone().unwrap_or_else(|| Window::of(model).ms);
            (name.clone(), ms)
        };
        grouped(self.conditions.iter().map(window)).into_iter().map(|(names, ms)| (ms, names)).collect()
    }

    /// Describes conditions for people.
    pub(crate) fn describe(&self, conditions: &[String]) -> String {
        Names::new(self.sweep.conditions.iter().map(|condition| condition.name.as_str())).describe(conditions)
    }

    /// Adds a note if responses are counted in different windows.
    fn note_windows(&mut self) {
        let windows = self.windows();
        if windows.len() < 2 {
            return;
        }
        let texts: Vec<String> = windows
            .iter()
            .take(MOST_WINDOWS)
            .map(|(ms, names)| format!("{} to {} ms in {}", ms.start, ms.end, self.describe(names)))
            .collect();
        let more = if windows.len() > MOST_WINDOWS { "; …" } else { "" };
        self.notes.push(format!(
            "conditions have different response windows: {}{more}. Rates and probabilities are counted over different times, so \
                differences between these conditions are no effects of the parameters alone. --window sets one window for all",
            texts.join("; ")
        ));
    }

    fn window(&self, condition: &ObservedCondition) -> Window {
        let chosen = self.choice.window.clone();
        chosen.map_or_else(|| Window::of(&condition.model), |ms| Window { ms })
    }

    /// Draws the figures that any sweep has.
    fn draw_sweep(&mut self, selection: &Selection<'_>, take: &mut TakeFigure<'_>) -> Result<(), Failure> {
        let Selection { sweep, pairs, .. } = selection;
        let of_condition: Vec<&[Pair]> = pairs.chunk_by(|a, b| a.condition == b.condition).collect();
        let conditions: Vec<ObservedCondition> = of_condition
            .iter()
            .map(|pairs| {
                let of = &sweep.conditions[pairs[0].condition];
                ObservedCondition { name: of.name.clone(), model: of.model.clone() }
            })
            .collect();
        let reference = self.reference_of(&conditions)?;
        self.note_windows();
        let chosen = shown(conditions.len(), reference);
        if chosen.len() < conditions.len() {
            self.notes.push(format!(
                "figures with a panel for each condition show {} of {} conditions: {}, and others at equal distances in the \
                    sweep; choose others with --conditions or --where",
                chosen.len(),
                conditions.len(),
                conditions[reference].name
            ));
        }
        let some_pairs: Vec<&[Pair]> = chosen.iter().map(|at| of_condition[*at]).collect();
        let common = self.common(&some_pairs);
        let mut observed: Vec<Vec<Observed>> = Vec::new();
        let mut shown: Vec<(Vec<u32>, TrialSpikes)> = Vec::new();
        for (at, (condition, pairs)) in conditions.iter().zip(&of_condition).enumerate() {
            let is_shown = chosen.contains(&at);
            let mut of_seeds = Vec::with_capacity(pairs.len());
            for pair in *pairs {
                let driven = shown_cells(&condition.model, sweep.seeds[pair.seed]);
                let detail = match common {
                    _ if !is_shown => Detail::Measures,
                    // The heat map shows the cells of one seed.
                    Some((seed, _)) if seed == pair.seed => Detail::Cells,
                    _ => Detail::Rates,
                };
                let mut counter = Counter::new(&condition.model, &driven, self.window(condition), detail);
                for &trial in &pair.trials {
                    let spikes = selection.spikes(pair, trial).map_err(|error| lost(&error))?;
                    counter.add(&spikes);
                    if is_shown && common == Some((pair.seed, trial)) {
                        shown.push((driven.clone(), spikes));
                    }
                }
                of_seeds.push(counter.finish(sweep.seeds[pair.seed]));
            }
            observed.push(of_seeds);
        }
        let all: Vec<(&ObservedCondition, &[Observed])> =
            conditions.iter().zip(&observed).map(|(condition, of)| (condition, &of[..])).collect();
        let some: Vec<OfCondition<'_>> = chosen.iter().map(|at| all[*at]).collect();
        let some = &some[..];
        let Some((first, _)) = some.first() else { return Ok(()) };
        self.tables = vec![measures(&all), estimates(&all)];
        if all.len() > 1 {
            self.tables.push(comparison(&all, reference));
            self.reference = Some(conditions[reference].name.clone());
        }
        let designs = designs(sweep, &of_condition);
        self.sensitivity = sensitivity(&all, &designs);
        if let Some(of) = &self.sensitivity {
            self.tables.push(of.table());
            self.notes.extend(of.notes.iter().cloned());
        } else if !designs.is_empty() {
            self.notes.push(
                "the points of `sobol` are too few for sensitivity indices; 8 or more base points (`count`) are enough"
                    .to_owned(),
            );
        }
        let drive = drive_of(sweep);
        let has_spikes = !sweep.engine.populations().is_empty();
        // First what compares conditions, then what shows them one by one.
        if all.len() > 1 {
            for figure in forest(&all, reference) {
                take(Of::Sweep, figure)?;
            }
        }
        for figure in axes(&conditions).iter().flat_map(|axis| responses(&all, axis)) {
            take(Of::Sweep, figure)?;
        }
        for figure in matrices(&all) {
            take(Of::Sweep, figure)?;
        }
        for figure in self.sensitivity.iter().flat_map(influences) {
            take(Of::Sweep, figure)?;
        }
        if of_condition[0].len() > 1 {
            take(Of::Sweep, seeds(some))?;
        }
        if has_spikes {
            take(Of::Sweep, psth(some, drive))?;
        }
        if let Some((seed, trial)) = common.filter(|_| has_spikes) {
            let seed = sweep.seeds[seed];
            let trials: Vec<RasterTrial<'_>> = some
                .iter()
                .zip(&shown)
                .map(|((condition, _), (driven, spikes))| RasterTrial {
                    condition: &condition.name,
                    model: &condition.model,
                    driven,
                    spikes,
                })
                .collect();
            let ms = self.window(first).shown(first.model.time().bins());
            take(Of::Sweep, raster(&trials, (seed, trial), &ms, drive))?;
            let of_seed: Vec<(&ObservedCondition, &Observed)> = some
                .iter()
                .filter_map(|(condition, of)| Some((*condition, of.iter().find(|of| of.seed == seed)?)))
                .collect();
            take(Of::Sweep, heat_map(&of_seed, drive))?;
        } else if has_spikes {
            let what = self.choice.trial.map_or("a trial".to_owned(), |trial| format!("trial {trial}"));
            self.notes.push(format!(
                "left out the raster and the heat map: they need {what} of one seed to be stored for every \
                    condition"
            ));
        }
        if !sweep.engine.is_program() {
            self.draw_conductances(selection, some, &some_pairs, take)?;
        }
        Ok(())
    }

    /// Returns the index of the reference among these conditions.
    fn reference_of(&self, conditions: &[ObservedCondition]) -> Result<usize, Failure> {
        let place = |name: &str| conditions.iter().position(|condition| condition.name == name);
        match &self.choice.reference {
            None => Ok(place(PAPER[0]).unwrap_or(0)),
            Some(name) => place(name).ok_or_else(|| {
                let message = format!(
                    "error: --reference {name}: no such condition is drawn\n  help: name a condition that is drawn, or draw \
                        it, too, with --conditions or --where; `granule status` lists all"
                );
                Failure::new(exit::USAGE, message)
            }),
        }
    }

    /// Returns the first seed with a trial that is stored for all these conditions, and that trial.
    fn common(&self, of_condition: &[&[Pair]]) -> Option<(usize, u32)> {
        let (first, others) = of_condition.split_first()?;
        let is_stored = |seed: usize, trial: u32| {
            let has = |pair: &Pair| pair.seed == seed && pair.trials.binary_search(&trial).is_ok();
            others.iter().all(|pairs| pairs.iter().any(has))
        };
        first.iter().find_map(|pair| {
            let mut trials = pair.trials.iter().copied();
            let is_shown = |trial: &u32| {
                self.choice.trial.is_none_or(|chosen| chosen == *trial) && is_stored(pair.seed, *trial)
            };
            trials.find(is_shown).map(|trial| (pair.seed, trial))
        })
    }

    fn draw_conductances(
        &mut self,
        selection: &Selection<'_>,
        some: &[(&ObservedCondition, &[Observed])],
        pairs: &[&[Pair]],
        take: &mut TakeFigure<'_>,
    ) -> Result<(), Failure> {
        let mut traces = Vec::new();
        let [mut fixed, mut incomplete] = [0, 0];
        // Weights belong to the number of a trial, so a pair must be whole. If a pair of a complete sweep is not whole,
        // its files are withheld.
        for (at, pairs) in pairs.iter().enumerate() {
            let model = &self.sweep.conditions[pairs[0].condition].model;
            if !has_random_weights(model) {
                fixed += 1;
                continue;
            }
            let whole: Vec<&Pair> = pairs.iter().filter(|pair| selection.is_whole(pair)).collect();
            if whole.is_empty() || (self.preliminary.is_none() && whole.len() < pairs.len()) {
                incomplete += 1;
                continue;
            }
            let Some((condition, _)) = some.get(at) else { continue };
            let mut of_condition = Traces::new(self.window(condition).shown(condition.model.time().bins()));
            for pair in whole {
                self.add_conductances(selection, pair, &mut of_condition)?;
            }
            traces.push((*condition, of_condition));
        }
        let incomplete_as = match self.preliminary {
            None => "trials were set aside",
            Some(_) => "no seed has all its trials yet",
        };
        for (count, why) in [(fixed, "the weights are fixed"), (incomplete, incomplete_as)] {
            if count > 0 {
                self.notes.push(format!("no conductance figure for {}: {why}", plural(count, "condition")));
            }
        }
        if traces.is_empty() {
            return Ok(());
        }
        let traces: Vec<(&ObservedCondition, &Traces)> =
            traces.iter().map(|(condition, traces)| (*condition, traces)).collect();
        take(Of::Sweep, conductances(&traces, DRIVE))
    }

    /// Adds the conductances of a condition and a seed: from their files or, if they are not recorded, from the stored
    /// spikes. Both give the same numbers.
    fn add_conductances(
        &self,
        selection: &Selection<'_>,
        pair: &Pair,
        traces: &mut Traces,
    ) -> Result<(), Failure> {
        let (condition, seed) = (&self.sweep.conditions[pair.condition], self.sweep.seeds[pair.seed]);
        // In the directory of an incomplete sweep, files are of an earlier state.
        let recorded = match self.preliminary {
            Some(_) => None,
            None => Folder::of_seed(self.archive, seed)
                .conductances(condition.prefix())
                .map_err(|error| damaged(&error))?,
        };
        if let Some((excitation, inhibition)) = recorded {
            traces.add(excitation.view(), inhibition.view());
            return Ok(());
        }
        let golgi = pair
            .trials
            .iter()
            .map(|&trial| Ok(selection.spikes(pair, trial)?.trains.swap_remove(GOLGI)))
            .collect::<Result<Vec<Vec<Spike>>, OutputError>>()
            .map_err(|error| lost(&error))?;
        let structure = structure(&condition.model, seed);
        let Some(of) = Conductances::new(Isa::best(), &structure, &golgi) else { return Ok(()) };
        // A few hundred cells at a time bound the memory. Traces add up cell by cell, so the sums are those of all
        // cells at once.
        const AT_ONCE: usize = 256;
        let bins = condition.model.time().bins();
        side_by_side(|| {
            for cells in structure.driven_cells().chunks(AT_ONCE) {
                let [excitation, inhibition] = [
                    rows(cells, bins, |cell| of.excitation(cell)),
                    rows(cells, bins, |cell| of.inhibition(cell)),
                ];
                traces.add(excitation.view(), inhibition.view());
            }
        });
        Ok(())
    }

    /// Draws the paper's figures of every seed, if the sweep has the paper's conditions. Returns their number.
    fn draw_paper(&mut self, take: &mut TakeFigure<'_>) -> Result<usize, Failure> {
        let mut drawn = 0;
        let sweep = self.sweep;
        let place = |preset: &str| {
            let is_it = |&&condition: &&usize| sweep.conditions[condition].preset == Some(preset);
            self.conditions.iter().find(is_it).copied()
        };
        let Some(conditions) = PAPER.map(place).into_iter().collect::<Option<Vec<usize>>>() else {
            return Ok(drawn);
        };
        let mut left_out = Vec::new();
        for &at in self.seeds {
            let seed = sweep.seeds[at];
            let recorded = match self.selection.filter(|_| self.preliminary.is_some()) {
                Some(selection) => {
                    let pair = |&condition: &usize| {
                        let is_it = |pair: &&Pair| (pair.condition, pair.seed) == (condition, at);
                        selection.pairs.iter().find(is_it).filter(|pair| selection.is_whole(pair))
                    };
                    let Some(pairs) = conditions.iter().map(pair).collect::<Option<Vec<&Pair>>>() else {
                        left_out.push(seed);
                        continue;
                    };
                    let derived = pairs.iter().map(|pair| derived(selection, pair));
                    Some(
                        derived
                            .collect::<Result<Vec<Recorded>, OutputError>>()
                            .map_err(|error| lost(&error))?,
                    )
                }
                None => {
                    let folder = Folder::of_seed(self.archive, seed);
                    let recorded =
                        conditions.iter().map(|&condition| self.recorded(&folder, condition, seed));
                    recorded
                        .collect::<Result<Option<Vec<Recorded>>, Unreadable>>()
                        .map_err(|error| damaged(&error))?
                }
            };
            let Some(recorded) = recorded else {
                self.notes.push(
                    "no figures of the paper: spike probabilities are not recorded; set `record: { \
                        probabilities: true }` and run the sweep again"
                        .to_owned(),
                );
                return Ok(drawn);
            };
            let criteria = self.criteria(conditions[0]);
            let analysis = match Analysis::new(&Recorded::recording(&recorded), &criteria) {
                Ok(analysis) => analysis,
                Err(error @ AnalysisError::Criteria) => {
                    self.notes.push(format!("no figures of the paper: {error}"));
                    return Ok(drawn);
                }
                Err(error) => {
                    let failure = Failure::caused_by(exit::FAILED, &error, None);
                    let message = failure.message.replacen("error: ", &format!("error: seed {seed}: "), 1);
                    return Err(Failure::new(failure.code, message));
                }
            };
            for figure in paper::all(&analysis) {
                take(Of::Seed(seed), figure)?;
                drawn += 1;
            }
        }
        if !left_out.is_empty() {
            self.notes.push(format!(
                "no figures of the paper for {}: trials of Control, GABAzine or ACh are missing",
                seeds_in_words(&left_out)
            ));
        }
        Ok(drawn)
    }

    /// Returns the data of a condition. Connections that no file has are derived from the sweep.
    fn recorded(&self, folder: &Folder, condition: usize, seed: u32) -> Result<Option<Recorded>, Unreadable> {
        let of = &self.sweep.conditions[condition];
        let mut recorded = folder.recorded(has_random_weights(&of.model), of.prefix())?;
        if let Some(recorded) = &mut recorded {
            let derive = || Array2::from(structure(&of.model, seed).active_connections());
            recorded.connections.get_or_insert_with(derive);
        }
        Ok(recorded)
    }

    /// Returns the paper's criteria, moved to the stimulus of this condition.
    fn criteria(&self, condition: usize) -> Criteria {
        let model = &self.sweep.conditions[condition].model;
        let mut criteria = Criteria::default();
        let layer = layer_of(model);
        let ms = |step: &u32| (step / layer.steps_per_ms()) as usize;
        let stimuli: Vec<usize> = layer.stimulus_steps().iter().map(ms).collect();
        if stimuli != criteria.stimuli_ms && !stimuli.is_empty() {
            criteria.window_ms = Window::of(model).ms;
            criteria.stimuli_ms = stimuli;
        }
        if let Some(window) = &self.choice.window {
            criteria.window_ms = window.clone();
        }
        criteria
    }
}

/// Returns the places of the conditions of each design among those that are drawn, if all of them are.
fn designs(sweep: &Sweep, drawn: &[&[Pair]]) -> Vec<Range<usize>> {
    let place = |condition: usize| drawn.iter().position(|pairs| pairs[0].condition == condition);
    let places = |design: &Design| {
        let of = design.conditions();
        let (first, last) = (place(of.start)?, place(of.end.checked_sub(1)?)?);
        // Conditions are drawn in the order of the sweep.
        (last - first + 1 == of.len()).then_some(first..last + 1)
    };
    sweep.designs.iter().filter_map(places).collect()
}

/// Returns the conditions that figures show one by one: all if they are few, otherwise the reference, and others at equal
/// distances.
fn shown(count: usize, reference: usize) -> Vec<usize> {
    let mut shown = spread(count, MOST_SHOWN);
    if !shown.contains(&reference) {
        // The nearest one gives way, so that the order stays that of the sweep.
        let nearest = (0..shown.len()).min_by_key(|i| shown[*i].abs_diff(reference)).unwrap_or(0);
        shown[nearest] = reference;
    }
    shown
}

fn has_random_weights(model: &Model) -> bool {
    layer_of(model).parameters().weights.random
}

/// Returns the data for the paper's analysis of a condition and a seed whose trials are all stored. The numbers are
/// those that its files would have.
fn derived(selection: &Selection<'_>, pair: &Pair) -> Result<Recorded, OutputError> {
    let sweep = selection.sweep;
    let model = &sweep.conditions[pair.condition].model;
    let structure = structure(model, sweep.seeds[pair.seed]);
    let mut counts = SpikeCounts::new(structure.layer());
    let mut golgi = Vec::with_capacity(pair.trials.len());
    for &trial in &pair.trials {
        let mut spikes = selection.spikes(pair, trial)?;
        counts.add(&spikes.trains[GRANULE]);
        golgi.push(spikes.trains.swap_remove(GOLGI));
    }
    let cells: Vec<u32> = (0..model.sizes()[GRANULE]).collect();
    let bins = model.time().bins();
    let conductances = Conductances::new(Isa::best(), &structure, &golgi).map(|of| {
        let driven = structure.driven_cells();
        (rows(driven, bins, |cell| of.excitation(cell)), rows(driven, bins, |cell| of.inhibition(cell)))
    });
    let weights = structure.weights(pair.trials.len() as u32).map(|weights| {
        let fibers = structure.active_fibers().iter().map(|&fiber| i64::from(fiber));
        fibers.zip(weights).collect()
    });
    Ok(Recorded {
        probability: rows(&cells, bins, |cell| counts.probability(cell)),
        connections: Some(Array2::from(structure.active_connections())),
        weights,
        conductances,
        tonic_factors: Some(Array1::from(structure.tonic_factors())),
    })
}

/// Checks that trials of so many ms contain the window.
pub(crate) fn check_window(window: &Range<usize>, bins: usize, of: &str) -> Result<(), Failure> {
    if window.end <= bins {
        return Ok(());
    }
    let Range { start, end } = window;
    let message = format!(
        "error: the window of {start} to {end} ms goes beyond the {bins} ms of {of}\n  help: choose another \
            window with --window"
    );
    Err(Failure::new(exit::USAGE, message))
}

fn damaged(error: &Unreadable) -> Failure {
    let help = "`granule verify` lists the changed files; a run of the sweep writes them again";
    Failure::caused_by(exit::FAILED, error, Some(help))
}

fn lost(error: &OutputError) -> Failure {
    let help = "the store is damaged; run the sweep again, which computes the lost trials again";
    Failure::caused_by(exit::FAILED, error, Some(help))
}
