//! What the documentation says of parameters, sweep files and their errors is what the program does.

mod support;

use std::fs;

use granule_sim::Parameters;
use granule_sim::parameters::{FIELDS, Kind, PRESETS, Range};
use granule_sweep::{Overrides, parse};
use support::root;

fn parameters_page() -> String {
    let mut page = String::from(
        "# Parameters\n\n\
         Every constant of the model, as it is written in the `set:` of a condition. Quantities need a unit; any prefix\n\
         will do (`0.17 nS`, `170 pS`). The defaults are the paper's Control. The top-level `network:` and `weights:` of a\n\
         sweep file set the parameters of those names for all conditions.\n\n\
         | parameter | default | range | what it is |\n|---|---|---|---|\n",
    );
    let defaults = Parameters::default();
    for field in FIELDS {
        let unit = match field.kind {
            Kind::Quantity(unit) | Kind::Quantities(unit) => unit.symbol(),
            _ => "",
        };
        let default = format!("{} {unit}", field.get(&defaults));
        let range = match field.kind {
            Kind::Flag => "`true` or `false`".to_owned(),
            Kind::Population => "`golgi` or `granule`".to_owned(),
            Kind::Factor => {
                "a number, 0 or above, or `{ gamma: { mean: 0.4, sd: 0.07, seed: 1 } }`".to_owned()
            }
            Kind::Count if field.range == Range::NonNegative => "a whole number below 2^32".to_owned(),
            Kind::Count => format!("a whole number {}", field.range.in_words(unit)),
            Kind::Quantities(_) => format!("a list, each {}", field.range.in_words(unit)),
            Kind::Quantity(_) => field.range.in_words(unit),
        };
        page.push_str(&format!(
            "| `{}` | {} | {range} | {} |\n",
            field.path,
            default.trim_end(),
            field.meaning
        ));
    }
    page.push_str(
        "\n## Presets\n\nThe paper's conditions, as overrides of the defaults:\n\n| preset | sets |\n|---|---|\n",
    );
    for preset in PRESETS {
        let sets: Vec<String> =
            preset.overrides.iter().map(|(path, value)| format!("`{path}`: {value}")).collect();
        let sets = if sets.is_empty() { "nothing".to_owned() } else { sets.join(", ") };
        page.push_str(&format!("| `{}` | {sets} |\n", preset.name));
    }
    page
}

/// To write the page anew: `GRANULE_REGENERATE=1 cargo test --release -p granule --test docs`.
#[test]
fn the_page_of_parameters_is_that_of_the_table() {
    let path = root().join("docs/parameters.md");
    if std::env::var_os("GRANULE_REGENERATE").is_some() {
        fs::write(&path, parameters_page()).expect("the source tree is writable");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == parameters_page(),
        "regenerate docs/parameters.md"
    );
}

/// The code blocks of the README in this language.
fn readme_blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    readme
        .split("\n```")
        .filter_map(|block| block.strip_prefix(&format!("{language}\n")))
        .map(|block| format!("{block}\n"))
        .collect()
}

#[test]
fn the_sweep_file_of_the_readme_is_one() {
    let blocks = readme_blocks("yaml");
    assert_eq!(blocks.len(), 1);
    let sweep = parse("README.md", blocks[0].as_bytes(), "readme", &Overrides::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(sweep.name, "tonic");
    assert_eq!(sweep.conditions[1].model.parameters().golgi.leak_reversal_mvolt, -53.0);
}

#[test]
fn the_mistake_of_the_readme_is_shown_like_that() {
    let text = "name: my\nconditions:\n  - Control\n  - name: half\n    set: { granule.tonic_facto: 0.5 }\n";
    let error = parse("my.yaml", text.as_bytes(), "my", &Overrides::default()).unwrap_err().to_string();
    let shown =
        readme_blocks("text").into_iter().find(|block| block.starts_with("error")).expect("the block");
    assert_eq!(shown.trim_end(), error.trim_end());
}
