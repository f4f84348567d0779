//! Benchmarks of the simulation core: random words, normals, cells, output arrays. Every vectorised part runs with each
//! instruction set of the processor.
//!
//! `cargo bench --workspace --bench simulation`

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use granule_engine::space::CellFactor;
use granule_engine::{Engine as _, Start};
use granule_granular::derive::{Conductances, SpikeCounts, Structure};
use granule_granular::isa::Isa;
use granule_granular::network::NoiseOrigin;
use granule_granular::noise::keyed::KeyedNoise;
use granule_granular::noise::{NormalStream, SPAN_ATTEMPTS, count_accepted};
use granule_granular::parameters::{LayerPopulation, NetworkSize};
use granule_granular::random::keyed::Streams;
use granule_granular::random::{Mt19937, jump};
use granule_granular::trial::ReadyCohort;
use granule_granular::{GOLGI, GRANULE, Layer, Method, Parameters};

const SEED: u32 = 451;
const ORIGIN: NoiseOrigin = NoiseOrigin { seed: SEED, words: 0 };

/// The paper's conditions, for a network of the paper's or another size.
fn layers(method: Method, size: NetworkSize) -> [Layer; 3] {
    let control = Parameters { network: size, ..Parameters::default() };
    let mut gabazine = control.clone();
    gabazine.tonic.factor = CellFactor::Constant(0.0);
    gabazine.golgi_to_granule.weight_nsiemens = 0.0;
    gabazine.noise.first = LayerPopulation::Granule;
    let mut ach = control.clone();
    ach.tonic.factor = CellFactor::Gamma { mean: 0.4, sd: 0.07, seed: 1 };
    ach.mossy_to_granule.scale = 0.4521;
    ach.mossy_to_golgi.scale = 0.4578;
    ach.golgi.leak_reversal_mvolt = -55.0;
    [control, gabazine, ach].map(|parameters| Layer::new(method, parameters).expect("the paper's parameters"))
}

fn paper() -> [Layer; 3] {
    layers(Method::Brian2_2_2_1, Parameters::default().network)
}

/// MT19937: words one by one, as wiring and weights draw them, and a jump to a distant place in the stream.
fn words(c: &mut Criterion) {
    let mut group = c.benchmark_group("words");
    const COUNT: u64 = 1 << 16;
    group.throughput(Throughput::Elements(COUNT));
    let mut generator = Mt19937::from_seed_u32(SEED);
    group.bench_function("one by one", |b| {
        b.iter(|| (0..COUNT).fold(0, |sum: u32, _| sum.wrapping_add(generator.next_word())));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("jump to 2^34", |b| b.iter(|| jump::seeded_at(SEED, black_box(1 << 34))));
    group.finish();
}

/// Normals, and attempts that are only counted. An attempt takes four words.
fn noise(c: &mut Criterion) {
    let mut group = c.benchmark_group("noise");
    let mut normals = vec![0.0; 1 << 16];
    for isa in Isa::available() {
        group.throughput(Throughput::Elements(normals.len() as u64));
        let mut stream = NormalStream::new(isa, ORIGIN, Start::default());
        group.bench_function(BenchmarkId::new("normals", isa.name()), |b| {
            b.iter(|| stream.fill(&mut normals));
        });
        let streams = Streams::new("benchmark", &[SEED]);
        let mut keyed = KeyedNoise::new(isa, &streams, 64, 64);
        group.bench_function(BenchmarkId::new("keyed normals", isa.name()), |b| {
            b.iter(|| keyed.fill(&mut normals));
        });
        group.throughput(Throughput::Elements(SPAN_ATTEMPTS));
        group.bench_function(BenchmarkId::new("attempts counted", isa.name()), |b| {
            b.iter(|| count_accepted(isa, ORIGIN, 0, 1));
        });
    }
    group.finish();
}

/// Whole trials including noise, per cell and step, for one condition and for the paper's three together.
fn trials(c: &mut Criterion) {
    let mut group = c.benchmark_group("trial");
    group.sample_size(10);
    // A network with the paper's convergences, in which a trial takes a tenth of a second.
    let size = NetworkSize { granule_cells: 1024, ..Parameters::default().network };
    for isa in Isa::available() {
        for (&method, conditions) in Method::ALL.iter().flat_map(|method| [(method, 1), (method, 3)]) {
            let layers = layers(method, size);
            let cohort = ReadyCohort::new(isa, &layers[..conditions], SEED, 1).expect("one network");
            group.throughput(Throughput::Elements(cohort.normals_per_trial()));
            let trials = cohort.trials(Start::default());
            let name = format!("{}, {conditions} conditions", method.name());
            group.bench_function(BenchmarkId::new(name, isa.name()), |b| {
                b.iter_batched(|| trials.clone(), |mut trials| trials.simulate(0), BatchSize::LargeInput);
            });
        }
    }
    group.finish();
}

/// Output arrays of the paper's size: a hundred trials, per granule cell.
fn derive(c: &mut Criterion) {
    let mut group = c.benchmark_group("derive");
    group.throughput(Throughput::Elements(1));
    const TRIALS: u32 = 100;
    let [control, ..] = paper();
    let structure = Structure::new(&control, SEED);
    let cohort = ReadyCohort::new(Isa::best(), std::slice::from_ref(&control), SEED, 1).expect("one network");
    let spikes = cohort.trials(Start::default()).simulate(0).remove(0);
    // The same trial a hundred times: the measured time does not depend on the times of spikes.
    let golgi = vec![spikes.trains[GOLGI].clone(); TRIALS as usize];
    let cell = structure.driven_cells()[0];
    for isa in Isa::available() {
        let conductances = Conductances::new(isa, &structure, &golgi).expect("weights are random");
        group.bench_function(BenchmarkId::new("excitation of a cell", isa.name()), |b| {
            b.iter(|| conductances.excitation(cell));
        });
        group.bench_function(BenchmarkId::new("inhibition of a cell", isa.name()), |b| {
            b.iter(|| conductances.inhibition(cell));
        });
    }
    let mut counts = SpikeCounts::new(&control);
    counts.add(&spikes.trains[GRANULE]);
    group.bench_function("spike probability of a cell", |b| b.iter(|| counts.probability(cell)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = words, noise, trials, derive
}
criterion_main!(benches);
