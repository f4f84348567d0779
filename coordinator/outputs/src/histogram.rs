//! Counts spikes of trials in bins of time, for peristimulus time histograms.

use granule_engine::{Model, Spike, TrialSpikes};

/// Spikes of any number of trials of a condition, by population and bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpikeHistogram {
    /// Steps per bin.
    width: u32,
    /// Number of counted trials.
    pub trials: u64,
    /// Spikes in each bin, by population.
    pub counts: Vec<Vec<u64>>,
}

impl SpikeHistogram {
    /// Makes an empty histogram for trials of a model, with bins of `width` steps. The end of a trial may cut the last
    /// bin short.
    pub fn new(model: &Model, width: u32) -> SpikeHistogram {
        let bins = model.time().steps.div_ceil(width) as usize;
        SpikeHistogram { width, trials: 0, counts: vec![vec![0; bins]; model.sizes().len()] }
    }

    /// Counts the spikes of a trial of that model.
    pub fn add(&mut self, spikes: &TrialSpikes) {
        self.trials += 1;
        for (counts, train) in self.counts.iter_mut().zip(&spikes.trains) {
            train.iter().for_each(|Spike { step, .. }| counts[(step / self.width) as usize] += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use granule_granular::Method;

    use super::*;

    #[test]
    fn spikes_are_counted_where_they_are() {
        let engine = Method::Pcg.engine();
        let model = Model::new(engine, engine.space().defaults()).expect("the defaults are a model");
        let mut histogram = SpikeHistogram::new(&model, 300);
        assert_eq!(histogram.counts[0].len(), 67, "20000 steps; the last bin has 200");
        let spike = |step| Spike { step, cell: 0 };
        let granule = vec![spike(0), spike(299), spike(300)];
        let golgi = vec![spike(19_799), spike(19_800), spike(19_999)];
        let trial = TrialSpikes::of(vec![granule, golgi]);
        histogram.add(&trial);
        histogram.add(&trial);
        assert_eq!(histogram.trials, 2);
        let [granule, golgi] = &histogram.counts[..] else { panic!("two populations") };
        assert_eq!((granule[..3].to_vec(), granule[3..].iter().sum()), (vec![4, 2, 0], 0));
        assert_eq!((golgi[..65].iter().sum::<u64>(), &golgi[65..]), (0, &[2, 4][..]));
    }
}
