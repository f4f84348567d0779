//! `granule schema`: prints the schema of sweep files, for editors.

use crate::failure::Failure;
use crate::stdout::say;

pub(crate) fn run() -> Result<(), Failure> {
    let schema = serde_json::to_string_pretty(&granule_sweep::schema(crate::engines::ENGINES))
        .expect("text and numbers can be written");
    say(&format!("{schema}\n"))?.done();
    Ok(())
}
