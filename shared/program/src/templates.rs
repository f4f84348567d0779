//! Models to start from, which `granule init --model` writes.

/// Stands for the name of the model in the texts.
pub const NAME: &str = "@NAME@";

/// A model to start from.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Text of the program.
    pub program: &'static str,
    /// Ending of the program's file, after the name of the model.
    pub ending: &'static str,
    /// Text of the model file.
    pub model: &'static str,
    /// Text of a sweep file.
    pub sweep: &'static str,
    /// The command that makes the program, if it has to be made.
    pub compile: Option<&'static str>,
}

/// A model in Python.
pub const PYTHON: Template = Template {
    program: include_str!("../templates/python.py"),
    ending: ".py",
    model: include_str!("../templates/python.model.yaml"),
    sweep: include_str!("../templates/python.sweep.yaml"),
    compile: None,
};

/// A model in C.
pub const C: Template = Template {
    program: include_str!("../templates/c.c"),
    ending: ".c",
    model: include_str!("../templates/c.model.yaml"),
    sweep: include_str!("../templates/c.sweep.yaml"),
    compile: Some("cc -std=c99 -O2 -ffp-contract=off -o @NAME@ @NAME@.c"),
};
