//! The whole numbers that version 0.1.0 computed from decimals.
//!
//! For both engines, version 0.1.0 divided times by the step in double precision and in milliseconds. Some results were
//! therefore one step off. A trial that this changed has a new key; every other trial keeps its key.

use granule_engine::Recounted;
use granule_engine::space::CellFactor;

use crate::{Layer, Method, Parameters};

/// Returns the parameters from which version 0.1.0 computed other numbers, if the difference affects a spike.
pub fn recounted(model: &Layer) -> Vec<Recounted> {
    let parameters = model.parameters();
    let step_ms = parameters.time.step_ms;
    let whole_steps = |span_ms: f64| ((span_ms + 1e-3 * step_ms) / step_ms) as u32;
    let mut times_ms = parameters.stimulus.times_ms.clone();
    times_ms.sort_by(f64::total_cmp);
    let fraction = parameters.stimulus.active_fraction;
    let fibers = f64::from(parameters.network.mossy_fibers);
    let active = if fraction == 0.0 { 0.0 } else { fibers / (1.0 / fraction) }.round_ties_even() as u32;
    let delay = (parameters.golgi_to_granule.delay_ms / step_ms + 0.5) as u32;

    let drives = [&parameters.mossy_to_granule, &parameters.mossy_to_golgi].into_iter().any(|projection| {
        let weight = if parameters.weights.random { 1.0 } else { projection.weight_nsiemens };
        projection.convergence > 0.0 && projection.scale * weight > 0.0
    });
    let inhibits =
        parameters.golgi_to_granule.convergence > 0.0 && parameters.golgi_to_granule.weight_nsiemens > 0.0;
    // Steps after the end of a trial have no effect, so all of them count as the end.
    let until_end = |steps: u32| vec![steps.min(model.steps())];
    // If the step in which a cell is free again exceeded 32 bits, there was no refractory period.
    let refractory = |span_ms: f64| {
        let steps = whole_steps(span_ms);
        // 0 steps and 1 step have the same effect.
        until_end(if steps > u32::MAX - (model.steps() - 1) { 1 } else { steps.max(1) })
    };
    let numbers = [
        (
            "stimulus.times",
            drives && model.active_fibers() > 0,
            model.stimulus_steps().to_vec(),
            times_ms.into_iter().map(whole_steps).collect(),
        ),
        // Without a stimulus, this fraction affects no spike, but it affects the files of connections and weights.
        ("stimulus.active_fraction", true, vec![model.active_fibers()], vec![active]),
        (
            "granule.refractory",
            true,
            until_end(model.granule_refractory_steps().max(1)),
            refractory(parameters.granule.refractory_ms),
        ),
        (
            "golgi.refractory",
            true,
            until_end(model.golgi_refractory_steps().max(1)),
            refractory(parameters.golgi.refractory_ms),
        ),
        ("golgi_to_granule.delay", inhibits, until_end(model.golgi_delay_steps()), until_end(delay)),
    ];
    numbers
        .into_iter()
        .filter(|(_, counts, now, before)| *counts && now != before)
        .map(|(path, _, now, before)| {
            let unit = if path == "stimulus.active_fraction" { "fibres" } else { "steps" };
            Recounted { path, unit, before, now }
        })
        .collect()
}

/// Returns whether version 0.1.0 would count a spike of this model in another bin of the spike probabilities. Version
/// 0.1.0 used the original's rule for bins with engine `pcg`, too.
pub fn has_other_bins(model: &Layer) -> bool {
    let (clock, per_ms) = (model.clock(), model.steps_per_ms());
    // Only the first step of a bin can fall into another bin: within 10^6 ms, bins drift by less than a step.
    let is_early = |bin: u32| {
        let step = bin * per_ms;
        ((f64::from(step) * clock.step_s()) / 1e-3) as usize != bin as usize
    };
    model.method() == Method::Pcg && (may_spike_at_once(model) || (1..model.bins() as u32).any(is_early))
}

/// Returns whether a granule cell may spike in step 0, which has no noise and no input yet.
fn may_spike_at_once(model: &Layer) -> bool {
    let Parameters { granule, tonic, inhibitory, time, .. } = model.parameters();
    let v = granule.initial_mvolt;
    let leak = granule.leak_conductance_nsiemens * (granule.leak_reversal_mvolt - v);
    let inhibition = tonic.conductance_nsiemens * (inhibitory.reversal_mvolt - v);
    let most = match tonic.factor {
        CellFactor::Constant(factor) => factor * inhibition,
        // Factors are above 0 and have no largest value.
        CellFactor::Gamma { .. } if inhibition > 0.0 => f64::INFINITY,
        CellFactor::Gamma { .. } => 0.0,
    };
    let v = v + time.step_ms / granule.capacitance_pfarad * (leak + most);
    // A margin for the last bit: the kernel computes the potential in another order.
    v > granule.threshold_mvolt - 1e-9
}

#[cfg(test)]
mod tests {
    use granule_engine::Value;

    use super::*;
    use crate::parameters::{NetworkSize, field};

    fn model(engine: Method, set: &[(&str, Value)]) -> Layer {
        let network = NetworkSize { mossy_fibers: 40, granule_cells: 30, golgi_cells: 5 };
        let mut parameters = Parameters { network, ..Parameters::default() };
        set.iter().for_each(|(path, value)| field(path).unwrap().set(&mut parameters, value).unwrap());
        Layer::new(engine, parameters).unwrap()
    }

    fn number(path: &'static str, x: f64) -> (&'static str, Value) {
        (path, Value::Number(x))
    }

    /// Checks the changed parameters, and whether the key is another.
    #[test]
    fn only_what_changed_has_another_key() {
        let check = |set: &[(&str, Value)], expected: [&[(&str, u32)]; 2]| {
            for (engine, expected) in [Method::Pcg, Method::Brian2_2_2_1].into_iter().zip(expected) {
                let model = model(engine, set);
                let found = recounted(&model);
                let found: Vec<(&str, u32)> = found.iter().map(|of| (of.path, of.now[0])).collect();
                assert_eq!(found, expected, "{engine:?}, {set:?}");
                let (identity, _) = engine.engine().check(&model.parameters().values().unwrap()).unwrap();
                let is_another = identity.fingerprint != identity.fingerprint_0_1_0;
                assert_eq!(is_another, !expected.is_empty(), "{engine:?}, {set:?}");
            }
        };
        check(&[], [&[], &[]]);
        let delay = |x| number("golgi_to_granule.delay", x);
        // 0.35 ms is 3.4999999999999996 steps if computed in milliseconds, and 3.5 steps if computed in seconds.
        check(&[delay(0.35)], [&[("golgi_to_granule.delay", 4)]; 2]);
        check(&[delay(0.25)], [&[], &[]]);
        // The delay has no effect without a weight or without synapses.
        check(&[delay(0.35), number("golgi_to_granule.weight", 0.0)], [&[], &[]]);
        check(&[delay(0.35), number("golgi_to_granule.convergence", 0.0)], [&[], &[]]);
        // A delay beyond the end of a trial has no effect either.
        check(&[delay(5e10)], [&[], &[]]);
        check(&[delay(2000.45)], [&[], &[]]);
        // 0.15 ms are 1.5 steps of 0.1 ms, but 1.4999999999999998 in double precision, in either unit.
        check(&[delay(0.15)], [&[("golgi_to_granule.delay", 2)], &[]]);
        check(&[number("granule.refractory", 1e300)], [&[("granule.refractory", 20_000)]; 2]);
        let active = |fibers, fraction| {
            [("network.mossy_fibers", Value::Count(fibers)), number("stimulus.active_fraction", fraction)]
        };
        for fibers in 1..200 {
            check(&active(fibers, 0.1), [&[], &[]]);
        }
        // 5.5 fibres, half to even; 50 / (1/0.11) is below 5.5.
        check(&active(50, 0.11), [&[("stimulus.active_fraction", 6)]; 2]);
    }

    #[test]
    fn files_of_probabilities_are_others_where_bins_are() {
        let changed = |engine, set: &[(&str, Value)]| has_other_bins(&model(engine, set));
        let step = |x| number("time.step", x);
        let duration = |x| number("time.duration", x);
        let none = ("stimulus.times", Value::Numbers(Vec::new()));
        assert!(!changed(Method::Pcg, &[]));
        assert!(!changed(Method::Pcg, &[duration(2001.0)]));
        assert!(changed(Method::Pcg, &[duration(2002.0)]), "2001 ms was in the bin before");
        assert!(changed(Method::Pcg, &[step(0.008)]));
        assert!(!changed(Method::Pcg, &[step(0.008), duration(7.0), none.clone()]));
        assert!(changed(Method::Pcg, &[step(0.008), duration(8.0), none]));
        // All cells spike in step 0.
        assert!(changed(Method::Pcg, &[number("granule.threshold", -80.0)]));
        assert!(changed(Method::Pcg, &[number("granule.initial", -54.0)]));
        assert!(!changed(Method::Pcg, &[number("granule.initial", -56.0)]));
        for set in [step(0.008), number("granule.threshold", -80.0), duration(2001.0)] {
            assert!(!changed(Method::Brian2_2_2_1, &[set]));
        }
    }
}
