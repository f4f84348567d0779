//! Wrong sweep files, and what is said of each: `wrong/NAME.yaml` and `wrong/NAME.txt`.
//!
//! To write the texts anew: `GRANULE_REGENERATE=1 cargo test --release -p granule-sweep --test wrong`.
//! Read them before you keep them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use granule_sweep::{Overrides, parse};

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let names = |ending: &str| -> BTreeSet<String> {
        fs::read_dir(&directory)
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .filter_map(|name| name.strip_suffix(ending).map(str::to_owned))
            .collect()
    };
    let files = names(".yaml");
    assert!(files.len() >= 40, "{}", files.len());
    for name in &files {
        let yaml = fs::read_to_string(directory.join(format!("{name}.yaml"))).expect("a file");
        let source = format!("{name}.yaml");
        let Err(problems) = parse(&source, yaml.as_bytes(), name, &Overrides::default()) else {
            panic!("{name}.yaml is right");
        };
        for problem in problems.listed() {
            assert!(problem.line_and_column().is_some(), "{name}: {}", problem.message());
        }
        let told = format!("{problems}\n");
        let path = directory.join(format!("{name}.txt"));
        if std::env::var_os("GRANULE_REGENERATE").is_some() {
            fs::write(&path, &told).expect("the source tree is writable");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(told, expected, "{name}.yaml");
    }
    assert_eq!(names(".txt"), files);
}
