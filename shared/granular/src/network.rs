//! Wiring: the connections of cells, and the active mossy fibres.
//!
//! With engine `brian2-2.2.1`, connections are drawn as in Brian2 2.2.1, from one generator. With engine `pcg`, each
//! presynaptic cell has its own stream.

use crate::Method;
use crate::layer::Layer;
use crate::parameters::{NetworkSize, Parameters};
use crate::random::cpython::Random;
use crate::random::keyed::{Scalars, Streams};
use crate::random::numpy::RandomState;
use granule_engine::elementary::ln;

/// Number of uniform numbers that the original's generator draws at once. The rest of the last block is dropped before
/// the noise begins.
const DRAWN_AT_ONCE: u64 = 20_000;

/// The synapses of one projection, by presynaptic cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Postsynaptic cells, those of the first presynaptic cell first, ascending within each.
    targets: Vec<u32>,
    /// For each presynaptic cell, the index in `targets` at which its targets begin; then the length of `targets`.
    starts: Vec<usize>,
}

impl Projection {
    /// Returns the postsynaptic cells of a presynaptic cell, ascending.
    ///
    /// # Panics
    /// If there is no such presynaptic cell.
    pub fn targets_of(&self, presynaptic: u32) -> &[u32] {
        let cell = presynaptic as usize;
        &self.targets[self.starts[cell]..self.starts[cell + 1]]
    }

    /// Returns the number of synapses that each of `cells` postsynaptic cells receives.
    pub fn synapses_per_target(&self, cells: u32) -> Vec<u32> {
        let mut count = vec![0; cells as usize];
        for &target in &self.targets {
            count[target as usize] += 1;
        }
        count
    }

    /// Returns the number of all synapses.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Returns whether the projection has no synapses.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

/// The parameters that determine the wiring of a network, and therefore the position at which its noise begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wiring {
    /// Sizes of the populations.
    pub size: NetworkSize,
    /// Mean number of synapses onto a granule cell from mossy fibres.
    pub mossy_to_granule: f64,
    /// Mean number of synapses onto a Golgi cell from mossy fibres.
    pub mossy_to_golgi: f64,
    /// Mean number of synapses onto a granule cell from Golgi cells.
    pub golgi_to_granule: f64,
}

impl Wiring {
    /// Returns the wiring of a model.
    pub fn of(model: &Layer) -> Wiring {
        Wiring::of_parameters(model.parameters())
    }

    /// Returns the wiring of a model with these parameters.
    pub fn of_parameters(parameters: &Parameters) -> Wiring {
        Wiring {
            size: parameters.network,
            mossy_to_granule: parameters.mossy_to_granule.convergence,
            mossy_to_golgi: parameters.mossy_to_golgi.convergence,
            golgi_to_granule: parameters.golgi_to_granule.convergence,
        }
    }
}

/// Position at which the noise of a seed begins: its generator, and the words that the wiring took from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseOrigin {
    /// Seed of the generator.
    pub seed: u32,
    /// Number of words drawn before the first attempt; a multiple of 4.
    pub words: u64,
}

/// A wired network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Sizes of the populations.
    pub size: NetworkSize,
    /// Mossy fibres onto granule cells.
    pub mossy_to_granule: Projection,
    /// Mossy fibres onto Golgi cells.
    pub mossy_to_golgi: Projection,
    /// Golgi cells onto granule cells.
    pub golgi_to_granule: Projection,
    /// Position of the noise in the generator that drew the wiring, if there is one generator.
    pub noise_origin: Option<NoiseOrigin>,
}

impl Network {
    /// Wires the network of this seed.
    pub fn new(engine: Method, wiring: Wiring, seed: u32) -> Network {
        match engine {
            Method::Pcg => Network::keyed(wiring, seed),
            Method::Brian2_2_2_1 => Network::of_one_generator(wiring, seed),
        }
    }

    fn keyed(wiring: Wiring, seed: u32) -> Network {
        let NetworkSize { mossy_fibers, granule_cells, golgi_cells } = wiring.size;
        let project = |purpose, presynaptic: u32, postsynaptic: u32, convergence: f64| {
            let streams = Streams::new(purpose, &[seed]);
            let p = convergence / f64::from(presynaptic);
            connect(presynaptic, postsynaptic, p, |cell| streams.scalars(cell), Scalars::uniform)
        };
        Network {
            size: wiring.size,
            mossy_to_granule: project(
                "mossy to granule",
                mossy_fibers,
                granule_cells,
                wiring.mossy_to_granule,
            ),
            mossy_to_golgi: project("mossy to golgi", mossy_fibers, golgi_cells, wiring.mossy_to_golgi),
            golgi_to_granule: project(
                "golgi to granule",
                golgi_cells,
                granule_cells,
                wiring.golgi_to_granule,
            ),
            noise_origin: None,
        }
    }

    fn of_one_generator(wiring: Wiring, seed: u32) -> Network {
        let mut uniform = Uniform { state: RandomState::new(seed), drawn: 0 };
        let NetworkSize { mossy_fibers, granule_cells, golgi_cells } = wiring.size;
        let mut project = |presynaptic: u32, postsynaptic: u32, convergence: f64| {
            let p = convergence / f64::from(presynaptic);
            connect(presynaptic, postsynaptic, p, |_| (), |()| uniform.next())
        };
        let mossy_to_granule = project(mossy_fibers, granule_cells, wiring.mossy_to_granule);
        let mossy_to_golgi = project(mossy_fibers, golgi_cells, wiring.mossy_to_golgi);
        let golgi_to_granule = project(golgi_cells, granule_cells, wiring.golgi_to_granule);
        let words = 2 * uniform.drawn.next_multiple_of(DRAWN_AT_ONCE);
        Network {
            size: wiring.size,
            mossy_to_granule,
            mossy_to_golgi,
            golgi_to_granule,
            noise_origin: Some(NoiseOrigin { seed, words }),
        }
    }
}

/// A generator that counts the uniform numbers drawn.
struct Uniform {
    state: RandomState,
    drawn: u64,
}

impl Uniform {
    fn next(&mut self) -> f64 {
        self.drawn += 1;
        self.state.double()
    }
}

/// Connects each pair with probability `p`. For each presynaptic cell, `of_cell` makes a generator, from which
/// `uniform` draws numbers.
///
/// The draws are those of Brian2's generated code. A certain connection draws no number. A rare connection draws the
/// number of cells to skip. Any other connection draws one number per pair, even if `p` is above 1.
fn connect<G>(
    presynaptic: u32,
    postsynaptic: u32,
    p: f64,
    of_cell: impl Fn(u32) -> G,
    mut uniform: impl FnMut(&mut G) -> f64,
) -> Projection {
    const RARE: f64 = 0.25;
    let mut targets = Vec::new();
    let mut starts = vec![0];
    let per_log = 1.0 / ln(1.0 - p);
    for cell in 0..presynaptic {
        let mut generator = of_cell(cell);
        if p == 1.0 {
            targets.extend(0..postsynaptic);
        } else if p >= RARE {
            targets.extend((0..postsynaptic).filter(|_| uniform(&mut generator) < p));
        } else if 1.0 - p < 1.0 {
            // A probability so small that this condition is false connects nothing, like 0.
            let mut j = 0_i64;
            while j < i64::from(postsynaptic) {
                // A draw of 0 jumps past the end, because the conversion saturates.
                j = j.saturating_add((ln(uniform(&mut generator)) * per_log).floor() as i64);
                if j >= i64::from(postsynaptic) {
                    break;
                }
                targets.push(j as u32);
                j += 1;
            }
        }
        starts.push(targets.len());
    }
    Projection { targets, starts }
}

/// Returns the active mossy fibres of this seed, ascending.
///
/// # Panics
/// If the number of active fibres exceeds the number of fibres. [`Layer`] excludes this.
pub fn active_fibers(model: &Layer, seed: u32) -> Vec<u32> {
    let (fibers, count) = (model.parameters().network.mossy_fibers, model.active_fibers());
    let mut active = match model.method() {
        Method::Pcg => {
            // The fibres with the smallest words are active. If more fibres are active, these stay active.
            let streams = Streams::new("active fibers", &[seed]);
            let mut drawn: Vec<(u64, u32)> =
                (0..fibers).map(|fiber| (streams.scalars(fiber).word(), fiber)).collect();
            drawn.sort_unstable();
            drawn.iter().take(count as usize).map(|&(_, fiber)| fiber).collect()
        }
        Method::Brian2_2_2_1 => Random::new(seed).sample(fibers, count),
    };
    active.sort_unstable();
    active
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wiring(mossy: u32, granule: u32, golgi: u32) -> Wiring {
        Wiring {
            size: NetworkSize { mossy_fibers: mossy, granule_cells: granule, golgi_cells: golgi },
            mossy_to_granule: 4.0,
            mossy_to_golgi: 10.0,
            golgi_to_granule: 4.0,
        }
    }

    #[test]
    fn the_papers_network() {
        let network = Network::new(Method::Brian2_2_2_1, wiring(315, 4096, 27), 451);
        let model = Layer::new(Method::Brian2_2_2_1, Default::default()).unwrap();
        let active = active_fibers(&model, 451);
        assert_eq!(active.len(), 32);
        let connections: usize = active.iter().map(|&m| network.mossy_to_granule.targets_of(m).len()).sum();
        assert_eq!(connections, 1670);
        let mut cells: Vec<u32> =
            active.iter().flat_map(|&m| network.mossy_to_granule.targets_of(m)).copied().collect();
        cells.sort_unstable();
        cells.dedup();
        assert_eq!(cells.len(), 1374);
    }

    #[test]
    fn targets_ascend_and_noise_starts_on_a_block() {
        for (mossy, granule, golgi) in [(315, 4096, 27), (40, 64, 5), (20, 64, 4), (12, 64, 3), (3, 2, 1)] {
            for engine in Method::ALL.iter().copied() {
                let network = Network::new(engine, wiring(mossy, granule, golgi), 3);
                for (projection, presynaptic, postsynaptic) in [
                    (&network.mossy_to_granule, mossy, granule),
                    (&network.mossy_to_golgi, mossy, golgi),
                    (&network.golgi_to_granule, golgi, granule),
                ] {
                    for cell in 0..presynaptic {
                        let targets = projection.targets_of(cell);
                        assert!(targets.windows(2).all(|pair| pair[0] < pair[1]));
                        assert!(targets.last().is_none_or(|&last| last < postsynaptic));
                    }
                }
                let is_on_a_block = |origin: NoiseOrigin| origin.words.is_multiple_of(2 * DRAWN_AT_ONCE);
                assert!(network.noise_origin.is_none_or(is_on_a_block));
            }
        }
    }

    #[test]
    fn certain_connections_draw_nothing_and_more_than_certain_ones_do() {
        let mut uniform = Uniform { state: RandomState::new(1), drawn: 0 };
        let mut draws = |p: f64| {
            let synapses = connect(3, 5, p, |_| (), |()| uniform.next()).len();
            (synapses, uniform.drawn)
        };
        assert_eq!([1.0, 1.5, 0.0, 1e-17].map(&mut draws), [(15, 0), (15, 15), (0, 15), (0, 15)]);
    }

    #[test]
    fn keyed_networks_have_their_convergence_and_grow_in_place() {
        let mean = |projection: &Projection, cells: u32| projection.len() as f64 / f64::from(cells);
        let network = Network::new(Method::Pcg, wiring(315, 4096, 270), 451);
        for (found, expected, within) in [
            (mean(&network.mossy_to_granule, 4096), 4.0, 0.15),
            (mean(&network.mossy_to_golgi, 270), 10.0, 0.8),
            (mean(&network.golgi_to_granule, 4096), 4.0, 0.15),
        ] {
            assert!((found - expected).abs() < within, "{found} synapses a cell, not {expected}");
        }
        // More granule cells at the end leave the synapses of the other cells unchanged.
        let larger = Network::new(Method::Pcg, wiring(315, 5000, 270), 451);
        for fiber in 0..315 {
            let before = network.mossy_to_granule.targets_of(fiber);
            assert!(larger.mossy_to_granule.targets_of(fiber).starts_with(before));
        }
        assert_ne!(network, Network::new(Method::Pcg, wiring(315, 4096, 270), 452));
    }

    #[test]
    fn keyed_fibers_stay_active_as_more_become_so() {
        let of = |fraction: f64| {
            let mut parameters = Parameters::default();
            parameters.stimulus.active_fraction = fraction;
            active_fibers(&Layer::new(Method::Pcg, parameters).unwrap(), 451)
        };
        let (few, many) = (of(0.1), of(0.3));
        assert_eq!((few.len(), many.len()), (32, 94));
        assert!(few.iter().all(|fiber| many.contains(fiber)));
    }
}
