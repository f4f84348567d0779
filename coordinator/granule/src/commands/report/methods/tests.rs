use granule_engine::space::Parameter;
use granule_figures::Column;
use granule_granular::ENGINES;
use granule_granular::derive::Structure;
use granule_sweep::Overrides;

use super::*;

const SMALL: &str = "network: { mossy_fibers: 39, granule_cells: 96, golgi_cells: 4 }\n";

fn sweep(text: &str) -> Sweep {
    granule_sweep::parse(ENGINES, "a.yaml", text.as_bytes(), "a", &Overrides::default()).expect("a sweep")
}

fn measured(seeds: &[usize], trials: &[usize]) -> Table {
    let columns = [("seed", seeds), ("trials", trials)];
    let columns = columns.map(|(name, values)| Column::whole(name, values.iter().copied()));
    Table::new("measures", columns.into())
}

#[test]
fn trials_are_counted_and_not_taken_from_the_plan() {
    let sweep = sweep("seeds: [1, 2]\ntrials: 3\nconditions: [Control]");
    let all = measured(&[1, 2], &[3, 3]);
    let text = trials(&sweep, &all, None, 0);
    assert_eq!(text, "Every condition was simulated with 2 seeds and 3 trials of each seed.");
    let text = trials(&sweep, &measured(&[2], &[3]), None, 0);
    assert_eq!(text, "Every condition was simulated with 1 of the 2 seeds and 3 trials of each seed.");
    let of = Preliminary { drawn: 4, chosen: 6, stored: 4, total: 6 };
    let text = trials(&sweep, &measured(&[1, 2], &[3, 1]), Some(of), 0);
    assert!(text.contains("use 1 to 3 trials of each"), "{text}");
    assert!(
        text.ends_with("because the sweep is not complete: 4 of 6 different trials are stored."),
        "{text}"
    );
    let text = trials(&sweep, &measured(&[1, 2], &[3, 2]), None, 1);
    assert!(text.ends_with("because 1 trial was set aside."), "{text}");
}

#[test]
fn a_rule_states_whether_the_goal_was_reached() {
    let until = ResolvedUntil { measure: "a_b".to_owned(), half_width: 0.05, at_least: 4, at_most: 9 };
    let of = |condition: &str, half_width| Reached { condition: condition.to_owned(), half_width };
    let decision = |half_width| Decision { trials: 9, condition: "B".to_owned(), half_width };
    let reached = [of("A", Some(0.01)), of("B", Some(0.0712))];
    let text = result(&decision(Some(0.0712)), 0.05, &reached);
    let expected = "The simulation ended at the limit of 9 trials without the goal: the widest interval is that of B, \
                    ± 0.0712. 1 of 2 conditions reached it (A ± 0.0100); 1 did not (B ± 0.0712).";
    assert_eq!(text, expected);
    let text = result(&decision(None), 0.05, &[of("B", None)]);
    assert!(text.contains("B has no interval, because a seed has fewer than two trials"), "{text}");
    assert!(text.ends_with("0 of 1 condition reached it; 1 did not (B without an interval)."), "{text}");
    let text = result(&decision(Some(0.05)), 0.05, &[]);
    assert_eq!(
        text,
        "Every condition reached the goal with 9 trials: the widest interval is that of B, ± 0.0500."
    );
    let text = rule(&until, None, &[]);
    assert!(
        text.contains("the mean of a b in every condition") && text.ends_with("has not decided yet."),
        "{text}"
    );
}

#[test]
fn the_text_states_what_conditions_share() {
    let of = |rest: &str| randomness(&sweep(&format!("{SMALL}{rest}")));
    assert_eq!(
        of("conditions: [Control, GABAzine]"),
        "A seed determines wiring, active mossy fibres, random weights and noise. All conditions of a seed share wiring, \
         active mossy fibres, random weights and noise."
    );
    let text = of("noise: independent\nconditions: [Control, ACh]");
    assert!(text.contains("Each condition has its own noise (noise: independent)."), "{text}");
    assert!(text.contains("share wiring, active mossy fibres and random weights."), "{text}");
    let text = of("conditions: [Control, { name: b, set: { weights.seed: 7 } }]");
    assert!(text.contains("Conditions that differ in weights.seed do not share random weights."), "{text}");
    let text = randomness(&sweep(
        "conditions: [{ name: 'n{network.granule_cells}', grid: { network.granule_cells: [96, 128] } }]",
    ));
    for name in ["wiring", "noise"] {
        let expected = format!("Conditions that differ in network.granule_cells do not share {name}.");
        assert!(text.contains(&expected), "{text}");
    }
    let text = of("engine: brian2-2.2.1\nconditions: [Control, ACh]");
    assert!(
        text.starts_with(
            "A seed determines wiring, active mossy fibres and noise. With this engine, all seeds have \
         the same random weights and random tonic factors."
        ),
        "{text}"
    );
    let text = of("weights: { random: false }\nconditions: [Control]");
    assert_eq!(text, "A seed determines wiring, active mossy fibres and noise.");
}

/// The random numbers of a condition that can be seen without a simulation, by the name of their kind.
fn drawn(model: &Model, seed: u32) -> [(&'static str, String); 4] {
    let structure = Structure::new(&layer_of(model), seed);
    [
        (
            "wiring",
            format!(
                "{:?}",
                granule_granular::network::Network::new(
                    layer_of(model).method(),
                    granule_granular::network::Wiring::of(&layer_of(model)),
                    seed,
                )
            ),
        ),
        ("active mossy fibres", format!("{:?}", structure.active_fibers())),
        ("random weights", format!("{:?}", structure.weights(3))),
        ("random tonic factors", format!("{:?}", structure.tonic_factors())),
    ]
}

/// Another value of a parameter.
fn other(parameter: &Parameter, value: &Value) -> Value {
    match (parameter.path, value) {
        ("stimulus.active_fraction", _) => Value::Number(0.5),
        (_, Value::Number(x)) => Value::Number(x * 0.5),
        (_, Value::Count(n)) => Value::Count(n + 1),
        (_, Value::Factor(_)) => Value::Factor(CellFactor::Gamma { mean: 0.5, sd: 0.1, seed: 2 }),
        (_, value) => value.clone(),
    }
}

#[test]
fn every_parameter_that_changes_random_numbers_is_known_to_decide_them() {
    for method in Method::ALL {
        let text = format!("engine: {}\n{SMALL}conditions: [ACh]", method.engine().name());
        let sweep = sweep(&text);
        let model = &sweep.conditions[0].model;
        let before = drawn(model, 451);
        let mut changes = 0;
        for (parameter, value) in model.values().iter() {
            let mut values = model.values().clone();
            if values.set(parameter, other(parameter, value)).is_err() {
                continue;
            }
            let Ok(changed) = model.with_values(values) else { continue };
            for ((name, before), (_, after)) in before.iter().zip(drawn(&changed, 451)) {
                let draw = DRAWS.iter().find(|draw| draw.name == *name).expect("a kind");
                // Wiring and fibres decide the driven cells, whose tonic factors are compared.
                let is_of_cells = *name == "random tonic factors"
                    && (DRAWS[..2].iter().any(|of| (of.decided_by)(*method, parameter.path)));
                if *before != after && !is_of_cells {
                    assert!((draw.decided_by)(*method, parameter.path), "{name}: {}", parameter.path);
                    changes += 1;
                }
            }
        }
        assert!(changes > 8, "{changes}");
        // Another seed changes the random numbers of which `is_of_seed` is true.
        for ((name, before), (_, after)) in before.iter().zip(drawn(model, 452)) {
            let draw = DRAWS.iter().find(|draw| draw.name == *name).expect("a kind");
            let of_fibers = ["random weights", "random tonic factors"].contains(name);
            assert!(*before != after || (of_fibers && !(draw.is_of_seed)(*method)), "{name}");
        }
    }
}
