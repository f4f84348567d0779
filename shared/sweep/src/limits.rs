//! The largest sizes of a sweep.

/// Largest number of conditions of a sweep.
pub(crate) const MOST_CONDITIONS: usize = 1_000_000;

/// Largest number of seeds of a sweep.
pub(crate) const MOST_SEEDS: usize = 100_000;

/// Largest number of trials of a condition and seed.
pub(crate) const MOST_TRIALS: u32 = 1_000_000;

/// Largest number of pairs of a condition and a seed.
pub(crate) const MOST_PAIRS: usize = 1_000_000;

/// Largest number of output files of a sweep. The manifest lists each, and commands read it whole.
pub(crate) const MOST_FILES: u64 = 2_000_000;

/// Largest number of trials of a sweep, over all conditions and seeds. They must fit in the memory of a coordinator.
pub const MOST_TRIALS_OF_SWEEP: u64 = 10_000_000;

/// The error of a sweep that is too large or empty. The message follows a subject: "asks for …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SizeProblem(pub(crate) String);

/// Checks conditions × seeds × trials against every limit of sweep files, and against
/// [`MOST_TRIALS_OF_SWEEP`].
///
/// # Errors
/// The first limit that the sweep does not meet.
pub fn check_size(conditions: usize, seeds: usize, trials: u32) -> Result<(), SizeProblem> {
    let within = |what: &str, count: u64, most: u64| match count {
        0 => Err(SizeProblem(format!("has no {what}"))),
        _ if count > most => {
            Err(SizeProblem(format!("asks for {count} {what}, more than the {most} a sweep can have")))
        }
        _ => Ok(()),
    };
    let pairs = (conditions as u64).saturating_mul(seeds as u64);
    let all = pairs.saturating_mul(u64::from(trials));
    within("conditions", conditions as u64, MOST_CONDITIONS as u64)?;
    within("seeds", seeds as u64, MOST_SEEDS as u64)?;
    within("pairs of a condition and a seed", pairs, MOST_PAIRS as u64)?;
    within("trials of each condition and seed", trials.into(), MOST_TRIALS.into())?;
    within("trials", all, MOST_TRIALS_OF_SWEEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_kept() {
        let check = |size: (usize, usize, u32), expected: &str| {
            let found = check_size(size.0, size.1, size.2).map_err(|problem| problem.to_string());
            assert_eq!(found, if expected.is_empty() { Ok(()) } else { Err(expected.to_owned()) });
        };
        check((1, 1, 1), "");
        check((3, 1, 1_000_000), "");
        check((10_000, 20, 50), "");
        check((1_000_000, 1, 10), "");
        check((10_000, 20, 51), "asks for 10200000 trials, more than the 10000000 a sweep can have");
        check((0, 1, 1), "has no conditions");
        check((1, 0, 1), "has no seeds");
        check((1, 1, 0), "has no trials of each condition and seed");
        check(
            (1, 1, 4_000_000_000),
            "asks for 4000000000 trials of each condition and seed, more than the 1000000 a sweep can have",
        );
        check((1_000_001, 1, 1), "asks for 1000001 conditions, more than the 1000000 a sweep can have");
        check((1, 100_001, 1), "asks for 100001 seeds, more than the 100000 a sweep can have");
        check(
            (10_000, 101, 1),
            "asks for 1010000 pairs of a condition and a seed, more than the 1000000 a sweep can have",
        );
        check(
            (usize::MAX, usize::MAX, u32::MAX),
            &format!("asks for {} conditions, more than the 1000000 a sweep can have", usize::MAX),
        );
    }
}
