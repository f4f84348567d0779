//! An engine as of a user's program, with parameters whose names are also names of columns.

use std::ops::Range;
use std::sync::LazyLock;

use granule_engine::output::{Derive, File, FileKind};
use granule_engine::space::{Kind, Parameter, Preset, Range as Allowed, Unit};
use granule_engine::stream::Parts;
use granule_engine::{
    Engine, Facts, Identity, Inconsistent, Memory, Model, Note, Population, Recounted, Returned, Shard,
    Space, StreamKey, Take, Unable, Value, Values,
};
use granule_toy::Toy;

/// The engine. It has the populations of engine `toy`, and returns a number, an array and another number.
pub(in crate::sweep) struct Program;

const RETURNS: &[Returned] = &[
    Returned { name: "gain", unit: "mV", about: "gain of the circuit" },
    Returned { name: "trace", unit: "", about: "" },
    Returned { name: "final_size", unit: "", about: "" },
];

impl Engine for Program {
    fn name(&self) -> &'static str {
        "program"
    }

    fn revision(&self) -> u32 {
        1
    }

    fn space(&self) -> &'static Space {
        static SPACE: LazyLock<Space> = LazyLock::new(|| {
            let number = |path, unit| {
                Parameter::new(path, Kind::Quantity(unit), Allowed::Finite, Value::Number(1.0), "")
            };
            let names = &["slow", "fast"];
            let kind = Kind::Choice(names);
            Space::new(vec![
                number("sd", Unit::One),
                Parameter::new("seed", Kind::Count, Allowed::NonNegative, Value::Count(1), ""),
                number("relay_hz", Unit::One),
                number("rise", Unit::Other("1/ms")),
                Parameter::new("reference", kind, Allowed::Finite, Value::Choice("slow"), ""),
            ])
            .with_presets(vec![Preset { name: "Base", prefix: "base", overrides: Vec::new() }])
        });
        &SPACE
    }

    fn populations(&self) -> &'static [Population] {
        Toy::Free.populations()
    }

    fn returns(&self) -> &'static [Returned] {
        RETURNS
    }

    fn is_program(&self) -> bool {
        true
    }

    fn check(&self, _: &Values) -> Result<(Identity, Facts), Inconsistent> {
        let (identity, facts) = Toy::Free.check(&granule_toy::space().defaults())?;
        Ok((identity, Facts { returns: vec![vec![], vec![2], vec![]], ..facts }))
    }

    fn is_idle(&self, _: &str, _: &Values) -> bool {
        false
    }

    fn notes(&self, _: &Model) -> Vec<Note> {
        Vec::new()
    }

    fn to_spike_less(&self, _: Option<&Model>) -> String {
        String::new()
    }

    fn recounted(&self, _: &Model) -> Vec<Recounted> {
        Vec::new()
    }

    fn parts(&self) -> Option<Parts> {
        None
    }

    fn stream(&self, model: &Model, seed: u32) -> StreamKey {
        Toy::Free.stream(model, seed)
    }

    fn shipped(&self, _: &Model, _: u32) -> Vec<u32> {
        Vec::new()
    }

    fn survey(&self, _: &Model, _: u32, _: Range<u32>) -> Result<Vec<u32>, Unable> {
        Ok(Vec::new())
    }

    fn compute(&self, _: &Shard<'_>, _: &mut Take<'_>) -> Result<(), Unable> {
        Ok(())
    }

    fn kinds(&self) -> &'static [FileKind] {
        &[]
    }

    fn files(&self, _: &Model, _: &str, _: Option<&str>, _: u32) -> Vec<File> {
        Vec::new()
    }

    fn can_name(&self, _: &str) -> bool {
        false
    }

    fn derive(&self, model: &Model, seed: u32, trials: u32, arrays: &[&str]) -> Box<dyn Derive> {
        Toy::Free.derive(model, seed, trials, arrays)
    }

    fn memory(&self, _: &[&Model], _: u32) -> Memory {
        Memory::default()
    }

    fn shortened(&self, _: &Model, _: u64) -> Option<Model> {
        None
    }

    fn template(&self) -> String {
        String::new()
    }
}
