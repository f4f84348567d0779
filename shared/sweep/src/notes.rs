//! Notes on valid sweeps: the engine's notes on their conditions.

use granule_engine::Note;

use crate::file::Sweep;

/// Returns sentences for the user: one for each subject, for any number of conditions with notes about it.
pub fn notes(sweep: &Sweep) -> Vec<String> {
    /// The first note about a subject, and the number of other conditions with such a note.
    struct About<'a> {
        subject: &'static str,
        condition: &'a str,
        text: String,
        others: usize,
    }
    let mut all: Vec<About<'_>> = Vec::new();
    for condition in sweep.conditions.iter() {
        for note in sweep.engine.notes(&condition.model) {
            let Note { subject, text } = note;
            match all.iter_mut().find(|of| of.subject == subject) {
                Some(of) => of.others += 1,
                None => all.push(About { subject, condition: &condition.name, text, others: 0 }),
            }
        }
    }
    // Notes about parameters are first, in the order of the parameters.
    let parameters = sweep.engine.space().parameters();
    let place = |of: &About<'_>| parameters.iter().position(|parameter| parameter.path == of.subject);
    all.sort_by_key(|of| place(of).unwrap_or(parameters.len()));
    let sentence = |About { condition, text, others, .. }: About<'_>| {
        let others = match others {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            count => format!(" and {count} others"),
        };
        format!("condition {condition}{others}: {text}")
    };
    all.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use granule_granular::ENGINES;

    use super::*;
    use crate::{Overrides, parse};

    #[test]
    fn conditions_whose_cells_can_fire_too_often_are_named() {
        let of = |refractory: &str| {
            let text = format!(
                "network: {{ granule_cells: 1000, golgi_cells: 10 }}\ntime: {{ duration: 20 s }}\n\
                 golgi: {{ refractory: 1 s }}\nconditions: [Control, {{ name: Fast, set: {{ granule.refractory: {refractory} }} }}]"
            );
            notes(&parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap())
        };
        assert_eq!(of("0.3 ms"), [""; 0]);
        let expected = "condition Fast: if all cells fire as often as `granule.refractory` and `golgi.refractory` allow, a \
                        trial has 200000200 spikes; granule sets aside trials with more than 100000000";
        assert_eq!(of("0.1 ms"), [expected]);
    }

    #[test]
    fn convergence_beyond_the_presynaptic_cells_is_said_once() {
        let of = |text: &str| {
            let text = format!("conditions: [{text}]");
            notes(&parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap())
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
    #[test]
    fn notes_are_in_the_order_of_the_parameters_whatever_the_order_of_the_conditions() {
        let text = "network: { granule_cells: 1000, golgi_cells: 10 }\ntime: { duration: 20 s }\n\
                    golgi: { refractory: 1 s }\nconditions:\n\
                    - { name: Fast, set: { granule.refractory: 0.1 ms } }\n\
                    - { name: g, set: { golgi_to_granule.convergence: 11 } }\n\
                    - { name: m, set: { mossy_to_golgi.convergence: 400 } }\n";
        let notes = notes(&parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).unwrap());
        let starts = ["condition m: `mossy", "condition g: `golgi_to", "condition Fast: if all"];
        assert_eq!(notes.len(), starts.len());
        assert!(notes.iter().zip(starts).all(|(note, start)| note.starts_with(start)), "{notes:?}");
    }
}
