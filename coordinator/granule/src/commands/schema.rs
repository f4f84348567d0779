//! `granule schema`: prints the schema of sweep files or of model files, for editors.

use crate::cli;
use crate::engines::ENGINES;
use crate::failure::Failure;
use crate::stdout::say;

pub(crate) fn run(arguments: &cli::SchemaArgs) -> Result<(), Failure> {
    let schema = if arguments.model { granule_sweep::model_schema() } else { granule_sweep::schema(ENGINES) };
    let schema = serde_json::to_string_pretty(&schema).expect("text and numbers can be written");
    say(&format!("{schema}\n"))?.done();
    Ok(())
}
