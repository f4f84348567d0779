//! The languages of sweep files and model files: reads YAML with units, and returns conditions, seeds and trials, or a
//! model of the user's own.
//!
//! Everything in this crate is pure: the caller reads the file and the environment. No input causes a panic, and every
//! error states its position and a remedy.
//!
//! ```text
//! bytes → yaml (tree with positions, limits) → file, seeds, condition → Sweep
//!                                              grid, axis, draws, table, names: its points
//!                                              design: the designs among them
//!                                              value, units: values of parameters
//!                                              until: a number of trials that depends on results
//!                                              vocabulary: the keys
//!                                              record, randomness: output files, shared random numbers
//!                                              naming, limits: rules that also apply to manifests
//!                                  → model_file → ModelFile
//!                                              arithmetic: sizes that follow from parameters
//!                       diagnostics: problems of all modules; text: quotations and positions
//!                       examples: texts that help suggests to write
//! ```
//!
//! The engines ([`granule_engine`]) define the parameters, presets and files: this crate depends on no model.
//!
//! ```
//! use granule_engine::Value;
//! use granule_granular::ENGINES;
//! use granule_sweep::{Overrides, parse};
//!
//! let text = "
//! conditions:
//!   - Control
//!   - { name: half-tonic, set: { granule.tonic_factor: 0.5, golgi.leak_reversal: -53 mV } }
//! ";
//! let sweep = parse(ENGINES, "tonic.yaml", text.as_bytes(), "tonic", &Overrides::default())?;
//! assert_eq!((sweep.name.as_str(), sweep.trials), ("tonic", 100));
//! let values = sweep.conditions[1].model.values();
//! assert_eq!(values.get("golgi.leak_reversal"), Some(&Value::Number(-53.0)));
//!
//! let error =
//!     parse(ENGINES, "tonic.yaml", b"conditions: [Contrl]", "tonic", &Overrides::default()).unwrap_err();
//! assert!(error.to_string().contains("did you mean `Control`?"));
//! # Ok::<(), granule_sweep::Diagnostics>(())
//! ```

mod arithmetic;
mod axis;
mod condition;
mod design;
pub mod diagnostics;
mod draws;
pub mod environment;
mod examples;
mod file;
mod filter;
mod grid;
mod limits;
mod model_file;
mod names;
mod naming;
mod notes;
pub mod plan;
mod randomness;
mod record;
mod schema;
mod seeds;
mod slips;
mod suggest;
mod table;
mod text;
mod units;
mod until;
mod value;
mod vocabulary;
mod write;
mod yaml;

pub use arithmetic::Arithmetic;
pub use condition::Condition;
pub use design::Design;
pub use diagnostics::{Diagnostic, Diagnostics};
pub use draws::Distribution;
pub use environment::{EnvironmentError, Overrides, from_variables};
pub use file::{Sweep, model_of, parse, parse_with_tables, tables_of};
pub use filter::Filter;
pub use limits::{MOST_TRIALS_OF_SWEEP, SizeProblem, check_size};
pub use model_file::{ModelFile, ReturnDeclared, Sizes, model_schema, parse_model};
pub use naming::{NameProblem, check_condition_name, check_sweep_name, prefix_of};
pub use notes::notes;
pub use plan::{Plan, check_files};
pub use randomness::Randomness;
pub use record::{ExplicitRecord, Record};
pub use schema::schema;
pub use seeds::parse_seeds;
pub use suggest::nearest;
pub use table::Tables;
pub use units::unit_of;
pub use until::Until;
pub use write::to_yaml;
