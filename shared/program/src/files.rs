//! The output files of a user's model.
//!
//! | file | content | kind |
//! |---|---|---|
//! | `CONDITION.POPULATION.counts.npy` | mean number of spikes per trial, cells × ms | `counts` |
//! | `CONDITION.NAME.trials.npy` | a returned number for each trial | `values` |
//! | `CONDITION.NAME.trials.npy` | a returned array for each trial | `arrays` |
//! | `CONDITION.NAME.mean.npy`, `CONDITION.NAME.sd.npy` | mean and standard deviation over trials of a returned array | `means` |

use std::borrow::Cow;

use granule_engine::output::{Array, Derive, File, FileKind, Size};
use granule_engine::spikes::size_of;
use granule_engine::{Model, TrialSpikes};
use granule_sweep::ModelFile;

const COUNTS: FileKind = FileKind {
    key: "counts",
    about: "mean spikes per trial of each cell in each ms (POPULATION.counts)",
    is_large: true,
};
const VALUES: FileKind =
    FileKind { key: "values", about: "each returned number, for every trial (NAME.trials)", is_large: false };
const MEANS: FileKind = FileKind {
    key: "means",
    about: "mean and standard deviation of each returned array over the trials (NAME.mean, NAME.sd)",
    is_large: false,
};
const ARRAYS: FileKind =
    FileKind { key: "arrays", about: "each returned array, for every trial (NAME.trials)", is_large: true };

/// Returns the kinds of files that a model has.
pub(crate) fn kinds(file: &ModelFile) -> Vec<FileKind> {
    let has_arrays = file.returns.iter().any(|of| !of.shape.is_empty());
    let has_numbers = file.returns.iter().any(|of| of.shape.is_empty());
    let kinds = [
        (COUNTS, !file.populations.is_empty()),
        (VALUES, has_numbers),
        (MEANS, has_arrays),
        (ARRAYS, has_arrays),
    ];
    kinds.into_iter().filter(|(_, has)| *has).map(|(kind, _)| kind).collect()
}

/// The arrays of files. An array of the i-th population or returned value has the number i after its name.
const PLACES: usize = 64;

/// Returns a name that stays valid as long as the process, for the i-th population or returned value.
fn numbered(name: &str, i: usize) -> &'static str {
    /// `counts0`, `counts1`, …
    static NAMES: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| {
        let names = ["counts", "trials", "mean", "sd"];
        names.iter().flat_map(|name| (0..PLACES).map(move |i| format!("{name}{i}"))).collect()
    });
    let first = match name {
        "counts" => 0,
        "trials" => 1,
        "mean" => 2,
        _ => 3,
    };
    &NAMES[first * PLACES + i]
}

/// Returns the files of a condition and a seed, of the engine's kinds.
pub(crate) fn files(model: &Model, prefix: &str, trials: u32) -> Vec<File> {
    let engine = model.engine();
    let kind_of =
        |kind: FileKind| engine.kinds().iter().position(|of| *of == kind).expect("a kind that the model has");
    let bins = model.time().bins() as f64;
    let file = |name: &str, what: &str, i: usize, kind: FileKind| File {
        name: format!("{prefix}.{name}.{what}.npy"),
        kind: kind_of(kind),
        array: numbered(what, i),
        rule: "",
        dtype: "<f8",
        axes: &[],
        unit: "",
        size: Size::default(),
        // Files of a model have no other source than its trials.
        is_of_spikes: true,
    };
    let counts =
        engine.populations().iter().zip(model.sizes()).enumerate().map(|(i, (population, &cells))| File {
            axes: &["cell", "ms"],
            size: Size::exactly(8.0 * f64::from(cells) * bins),
            ..file(population.name, "counts", i, COUNTS)
        });
    let mut files: Vec<File> = counts.collect();
    for (i, (returned, axes)) in engine.returns().iter().zip(&model.facts().returns).enumerate() {
        let bytes = 8.0 * size_of(axes) as f64;
        let of = |what: &str, kind: FileKind, axes: &'static [&'static str], bytes: f64| File {
            axes,
            unit: returned.unit,
            size: Size::exactly(bytes),
            ..file(returned.name, what, i, kind)
        };
        let all = bytes * f64::from(trials);
        match axes.len() {
            0 => files.push(of("trials", VALUES, &["trial"], all)),
            dimensions => {
                let shapes: [&[&str]; 3] =
                    [&["element"], &["row", "column"], &["first axis", "second axis", "third axis"]];
                let longer: [&[&str]; 3] = [
                    &["trial", "element"],
                    &["trial", "row", "column"],
                    &["trial", "first axis", "second axis", "third axis"],
                ];
                files.push(of("mean", MEANS, shapes[dimensions - 1], bytes));
                files.push(of("sd", MEANS, shapes[dimensions - 1], bytes));
                files.push(of("trials", ARRAYS, longer[dimensions - 1], all));
            }
        }
    }
    files
}

/// Returns whether a file of some condition can have this name.
pub(crate) fn can_name(name: &str) -> bool {
    let ends = [".counts.npy", ".trials.npy", ".mean.npy", ".sd.npy"];
    ends.iter().filter_map(|end| name.strip_suffix(end)).any(|rest| {
        let is_word = |of: &str| {
            of.starts_with(|c: char| c.is_ascii_lowercase())
                && of.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        rest.rsplit_once('.').is_some_and(|(prefix, of)| {
            !prefix.is_empty()
                && is_word(of)
                && prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        })
    })
}

/// Returns the memory to derive the files of a condition and a seed, in bytes.
pub(crate) fn bytes_to_derive(model: &Model, trials: u32) -> u64 {
    let cells: u64 = model.sizes().iter().map(|&cells| u64::from(cells)).sum();
    let counts = 4 * cells * model.time().bins() as u64;
    // Numbers are kept for every trial. Of arrays, mean and deviations are enough, unless all are recorded.
    let of =
        |axes: &Vec<u32>| if axes.is_empty() { 8 * u64::from(trials) } else { 24 * size_of(axes) as u64 };
    counts + model.facts().returns.iter().map(of).sum::<u64>()
}

/// Derives arrays of a condition and a seed. It keeps only what the wanted arrays need.
pub(crate) struct Arrays {
    bins: usize,
    steps_per_ms: u32,
    trials: u32,
    sizes: Vec<u32>,
    /// Spikes by population, cell and ms, over all trials. The spikes after the last whole ms are left out.
    counts: Vec<Option<Vec<u32>>>,
    returned: Vec<Elements>,
}

/// The kept parts of a returned number or array.
struct Elements {
    axes: Vec<u32>,
    /// The elements of all trials.
    all: Option<Vec<f64>>,
    moments: Option<Moments>,
}

/// Mean of each element over the trials, and the sum of squared deviations from it. Source: Welford's method (Knuth, The
/// Art of Computer Programming 2, section 4.2.2).
struct Moments {
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Arrays {
    pub(crate) fn new(model: &Model, trials: u32, arrays: &[&str]) -> Arrays {
        let bins = model.time().bins();
        let is_wanted = |what: &str, i: usize| arrays.contains(&numbered(what, i));
        let counts =
            |(i, &cells): (usize, &u32)| is_wanted("counts", i).then(|| vec![0; cells as usize * bins]);
        let returned = |(i, axes): (usize, &Vec<u32>)| {
            let size = size_of(axes);
            let moments = || Moments { mean: vec![0.0; size], squares: vec![0.0; size] };
            Elements {
                axes: axes.clone(),
                all: is_wanted("trials", i).then(|| Vec::with_capacity(size * trials as usize)),
                moments: (is_wanted("mean", i) || is_wanted("sd", i)).then(moments),
            }
        };
        Arrays {
            bins,
            steps_per_ms: model.time().steps_per_ms,
            trials: 0,
            sizes: model.sizes().to_vec(),
            counts: model.sizes().iter().enumerate().map(counts).collect(),
            returned: model.facts().returns.iter().enumerate().map(returned).collect(),
        }
    }
}

impl Moments {
    /// Adds the n-th trial, counted from 1.
    fn add(&mut self, n: u32, trial: &[f64]) {
        for ((mean, squares), x) in self.mean.iter_mut().zip(&mut self.squares).zip(trial) {
            let distance = x - *mean;
            *mean += distance / f64::from(n);
            *squares += distance * (x - *mean);
        }
    }

    /// Returns the standard deviation of each element, with the divisor n − 1. Of a single trial it is NaN.
    fn deviations(&self, n: u32) -> Vec<f64> {
        let degrees = f64::from(n) - 1.0;
        let deviation = |sum: &f64| if degrees > 0.0 { (sum / degrees).sqrt() } else { f64::NAN };
        self.squares.iter().map(deviation).collect()
    }
}

impl Derive for Arrays {
    fn add(&mut self, result: TrialSpikes) {
        self.trials += 1;
        for (counts, train) in self.counts.iter_mut().zip(&result.trains) {
            let Some(counts) = counts else { continue };
            for spike in train {
                let bin = (spike.step / self.steps_per_ms) as usize;
                if bin < self.bins {
                    counts[spike.cell as usize * self.bins + bin] += 1;
                }
            }
        }
        for (kept, trial) in self.returned.iter_mut().zip(&result.values) {
            kept.all.iter_mut().for_each(|all| all.extend_from_slice(trial));
            kept.moments.iter_mut().for_each(|moments| moments.add(self.trials, trial));
        }
    }

    fn array(&self, name: &str) -> Array<'_> {
        const WANTED: &str = "an array that was asked for";
        let at = name.find(|c: char| c.is_ascii_digit()).expect("the name of an array ends with a number");
        let i: usize = name[at..].parse().expect("the name of an array ends with a number");
        let what = &name[..at];
        if what == "counts" {
            let (bins, trials) = (self.bins, f64::from(self.trials));
            let counts = self.counts[i].as_ref().expect(WANTED);
            let row = move |cell: u32| {
                let counts = &counts[cell as usize * bins..][..bins];
                counts.iter().map(|&count| f64::from(count) / trials).collect()
            };
            return Array::Rows { cells: (0..self.sizes[i]).collect(), columns: bins, row: Box::new(row) };
        }
        let Elements { axes, all, moments } = &self.returned[i];
        let mut shape: Vec<usize> = axes.iter().map(|&length| length as usize).collect();
        let moments = || moments.as_ref().expect(WANTED);
        let elements = match what {
            "trials" => {
                shape.insert(0, self.trials as usize);
                Cow::Borrowed(&all.as_ref().expect(WANTED)[..])
            }
            "mean" => Cow::Borrowed(&moments().mean[..]),
            "sd" => Cow::Owned(moments().deviations(self.trials)),
            _ => panic!("no array {name}"),
        };
        Array::Shaped { shape, elements }
    }
}

#[cfg(test)]
mod tests {
    use granule_engine::{Engine as _, Source};

    use super::*;
    use crate::Program;

    #[test]
    fn means_and_deviations_are_those_of_the_trials() {
        let text = "granule-model: 1\nname: toy\nprogram: [toy]\nfiles: [toy]\n\
                    returns: { rate: {}, course: { shape: [2] } }\n";
        let program =
            Program::of("toy", Source { text: text.to_owned(), files: Vec::new() }).expect("a model file");
        let model = Model::new(program.engine(), program.space().defaults()).expect("consistent");
        let names: Vec<String> =
            program.files(&model, "a", None, 3).into_iter().map(|file| file.name).collect();
        let expected = ["a.rate.trials.npy", "a.course.mean.npy", "a.course.sd.npy", "a.course.trials.npy"];
        assert_eq!(names, expected);
        assert!(names.iter().all(|name| can_name(name)));
        let mut arrays = program.derive(&model, 1, 3, &["mean1", "sd1", "trials0"]);
        for (rate, course) in [(1.0, [0.0, 5.0]), (2.0, [3.0, 5.0]), (f64::NAN, [6.0, 5.0])] {
            arrays.add(TrialSpikes { trains: Vec::new(), values: vec![vec![rate], course.to_vec()] });
        }
        let elements = |name: &str| match arrays.array(name) {
            Array::Shaped { shape, elements } => (shape, elements.into_owned()),
            _ => panic!("{name}"),
        };
        assert_eq!(elements("mean1"), (vec![2], vec![3.0, 5.0]));
        assert_eq!(elements("sd1"), (vec![2], vec![3.0, 0.0]));
        let (shape, rates) = elements("trials0");
        assert!(shape == [3] && rates[..2] == [1.0, 2.0] && rates[2].is_nan());
    }
}
