//! Notes on valid sweeps: parameters that have less effect than their value suggests, and trials that may be too
//! large.

use granule_sim::Model;
use granule_sim::spikes::MOST_SPIKES;

use crate::condition::Condition;
use crate::file::Sweep;

/// Sentences for people, one for each kind of thing, however many conditions it is true of.
pub fn notes(sweep: &Sweep) -> Vec<String> {
    let mut notes = Vec::new();
    for (path, presynaptic, of) in PROJECTIONS {
        let exceeds = |model: &Model| {
            let (convergence, cells) = of(model);
            convergence > f64::from(cells)
        };
        let Some((first, others)) = those(sweep, exceeds) else { continue };
        let (convergence, cells) = of(&first.model);
        notes.push(format!(
            "condition {}{others}: `{path}` is {convergence}, but there are only {cells} {presynaptic}; each cell gets one \
             synapse from every one of them",
            first.name
        ));
    }
    if let Some((first, others)) = those(sweep, |model| model.most_spikes() > MOST_SPIKES) {
        notes.push(format!(
            "condition {}{others}: if all cells fire as often as `granule.refractory` and `golgi.refractory` allow, a \
             trial has {} spikes; one of more than {MOST_SPIKES} cannot be stored, and is set aside",
            first.name,
            first.model.most_spikes()
        ));
    }
    notes
}

/// The first condition of this kind, and how many others there are, in words.
fn those(sweep: &Sweep, is_one: impl Fn(&Model) -> bool) -> Option<(&Condition, String)> {
    let mut all = sweep.conditions.iter().filter(|condition| is_one(&condition.model));
    let first = all.next()?;
    let others = match all.count() {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        count => format!(" and {count} others"),
    };
    Some((first, others))
}

/// Convergence of a projection and number of its presynaptic cells.
type Numbers = fn(&Model) -> (f64, u32);

/// Path of the convergence, what the presynaptic cells are called, and both numbers.
const PROJECTIONS: [(&str, &str, Numbers); 3] = [
    ("mossy_to_granule.convergence", "mossy fibres", |model| {
        let parameters = model.parameters();
        (parameters.mossy_to_granule.convergence, parameters.network.mossy_fibers)
    }),
    ("mossy_to_golgi.convergence", "mossy fibres", |model| {
        let parameters = model.parameters();
        (parameters.mossy_to_golgi.convergence, parameters.network.mossy_fibers)
    }),
    ("golgi_to_granule.convergence", "Golgi cells", |model| {
        let parameters = model.parameters();
        (parameters.golgi_to_granule.convergence, parameters.network.golgi_cells)
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overrides, parse};

    #[test]
    fn conditions_whose_cells_can_fire_too_often_are_named() {
        let of = |refractory: &str| {
            let text = format!(
                "network: {{ granule_cells: 1000, golgi_cells: 10 }}\ntime: {{ duration: 20 s }}\n\
                 golgi: {{ refractory: 1 s }}\nconditions: [Control, {{ name: Fast, set: {{ granule.refractory: {refractory} }} }}]"
            );
            notes(&parse("x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap())
        };
        assert_eq!(of("0.3 ms"), [""; 0]);
        let expected = "condition Fast: if all cells fire as often as `granule.refractory` and `golgi.refractory` allow, a \
                        trial has 200000200 spikes; one of more than 100000000 cannot be stored, and is set aside";
        assert_eq!(of("0.1 ms"), [expected]);
    }

    #[test]
    fn convergence_beyond_the_presynaptic_cells_is_said_once() {
        let of = |text: &str| {
            let text = format!("conditions: [{text}]");
            notes(&parse("x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap())
        };
        let golgi = |count: u32| format!("{{ name: g{count}, set: {{ network.golgi_cells: {count} }} }}");
        assert_eq!(of(&golgi(4)), [""; 0]);
        let expected = "condition g3: `golgi_to_granule.convergence` is 4, but there are only 3 Golgi cells; each cell \
                        gets one synapse from every one of them";
        assert_eq!(of(&golgi(3)), [expected]);
        let many = [golgi(3), golgi(27), golgi(2), golgi(1)].join(", ");
        assert_eq!(of(&many), [expected.replace("g3:", "g3 and 2 others:")]);
        let mossy = "{ name: m, set: { network.mossy_fibers: 9, mossy_to_granule.convergence: 9.5 } }";
        let of_mossy = of(mossy);
        assert_eq!(of_mossy.len(), 2, "{of_mossy:?}");
        assert!(
            of_mossy[0].contains("`mossy_to_granule.convergence` is 9.5, but there are only 9 mossy fibres")
        );
    }
}
