//! Notes on valid sweeps: parameters that have less effect than their value suggests.

use granule_sim::Model;

use crate::file::Sweep;

/// Sentences for people, one for each kind of thing, however many conditions it is true of.
pub fn notes(sweep: &Sweep) -> Vec<String> {
    let mut notes = Vec::new();
    for (path, presynaptic, of) in PROJECTIONS {
        let exceeds = |model: &Model| {
            let (convergence, cells) = of(model);
            convergence > f64::from(cells)
        };
        let mut all = sweep.conditions.iter().filter(|condition| exceeds(&condition.model));
        let Some(first) = all.next() else { continue };
        let (convergence, cells) = of(&first.model);
        let others = match all.count() {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            count => format!(" and {count} others"),
        };
        notes.push(format!(
            "condition {}{others}: `{path}` is {convergence}, but there are only {cells} {presynaptic}; each cell gets one \
             synapse from every one of them",
            first.name
        ));
    }
    notes
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
