//! Spikes of trials, counted in bins of time: what a peristimulus time histogram shows.

use granule_sim::Model;
use granule_sim::spikes::{Spike, TrialSpikes};

/// Spikes of any number of trials of a condition, by population and bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Steps of a bin.
    width: u32,
    /// Trials that were counted.
    pub trials: u64,
    /// Spikes of granule cells in each bin.
    pub granule: Vec<u64>,
    /// Spikes of Golgi cells in each bin.
    pub golgi: Vec<u64>,
}

impl Histogram {
    /// Nothing counted yet, of a model's trials in bins of so many steps. The last bin may be cut short
    /// by the end of a trial.
    pub fn new(model: &Model, width: u32) -> Histogram {
        let bins = model.steps().div_ceil(width) as usize;
        Histogram { width, trials: 0, granule: vec![0; bins], golgi: vec![0; bins] }
    }

    /// Counts a trial of that model.
    pub fn add(&mut self, spikes: &TrialSpikes) {
        self.trials += 1;
        for (counts, train) in [(&mut self.granule, &spikes.granule), (&mut self.golgi, &spikes.golgi)] {
            train.iter().for_each(|Spike { step, .. }| counts[(step / self.width) as usize] += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use granule_sim::{Engine, Model, Parameters};

    use super::*;

    #[test]
    fn spikes_are_counted_where_they_are() {
        let model = Model::new(Engine::Pcg, Parameters::default()).expect("the defaults are a model");
        let mut histogram = Histogram::new(&model, 300);
        assert_eq!(histogram.granule.len(), 67, "20000 steps; the last bin has 200");
        let spike = |step| Spike { step, cell: 0 };
        let trial = TrialSpikes {
            granule: vec![spike(0), spike(299), spike(300)],
            golgi: vec![spike(19_799), spike(19_800), spike(19_999)],
        };
        histogram.add(&trial);
        histogram.add(&trial);
        assert_eq!(histogram.trials, 2);
        assert_eq!(
            (histogram.granule[..3].to_vec(), histogram.granule[3..].iter().sum()),
            (vec![4, 2, 0], 0)
        );
        assert_eq!((histogram.golgi[..65].iter().sum::<u64>(), &histogram.golgi[65..]), (0, &[2, 4][..]));
    }
}
