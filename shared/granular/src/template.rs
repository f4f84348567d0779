//! The sweep file that users start from.

use crate::parameters::PRESETS;

/// Returns a sweep file with everything that it can contain, most of it commented out. A `#` without a space after it
/// marks an example; a `#` with a space marks an explanation.
pub(crate) fn template() -> String {
    let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    TEMPLATE.replace("PRESETS", &presets.join(", "))
}

const TEMPLATE: &str = "\
# A sweep: conditions × seeds × trials of the granular-layer model. Run it with `granule run FILE`; run
# the same command again to resume it, or after a change. Lines that begin with `#` and no space are
# examples: remove the `#` to use them.

# Names the output directory, out/NAME. By default the name of this file.
#name: my-sweep

# The sizes here are small, for a first look. Without this line they are the paper's: 315, 4096 and 27.
network: { mossy_fibers: 78, granule_cells: 512, golgi_cells: 7 }

# Other parameters of all conditions. docs/parameters.md lists them all. Presets override them.
#weights: { random: true, seed: 35 }
#stimulus: { times: [1010 ms, 1020 ms, 1030 ms], active_fraction: 0.1 }
#set: { granule.noise_sigma: 0.05 nS }

# Each seed is one network and its noise: a list, a range with both its ends, or a number of random seeds,
# as in `{ count: 20, seed: 7 }`.
seeds: [451]

# Trials of each condition and seed.
trials: 10

# Which files are written. By default, presets have all files. Conditions of your own have no spike
# probabilities and no conductances: these are nearly all of the output, and can be written later without
# computing anything. `all` writes every file of every condition; `{ conductances: true }` sets one kind.
#record: all

conditions:
  # The paper's conditions are PRESETS.
  - Control

  # One of your own starts from a preset or an earlier condition, and changes parameters.
  - name: half-tonic
    base: Control
    set: { granule.tonic_factor: 0.5 }

  # One for every combination of values, here 5 × 2. The first axis varies slowest.
  #- name: tonic-{granule.tonic_factor}_leak{golgi.leak_reversal}
  #  base: Control
  #  grid:
  #    granule.tonic_factor: { linspace: [0.2, 1.0, 5] }
  #    golgi.leak_reversal: [-53 mV, -51 mV]

  # Axes that advance together.
  #- name: muscarine-{index}
  #  zip:
  #    granule.tonic_factor: [1, 0.7, 0.4]
  #    mossy_to_granule.scale: [1, 0.73, 0.46]

  # Few points that cover many axes.
  #- name: hypercube-{index}
  #  latin_hypercube:
  #    count: 20
  #    seed: 1
  #    axes:
  #      granule.tonic_factor: { uniform: [0, 1] }
  #      golgi_to_granule.weight: { loguniform: [0.05 nS, 0.5 nS] }
";
