//! Wrong sweep files and their messages: `wrong/NAME.yaml` and `wrong/NAME.txt`.
//!
//! `GRANULE_REGENERATE=1 cargo test --release -p granule-sweep --test wrong` writes the texts again. Read them before
//! you keep them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use granule_granular::ENGINES;
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
        let Err(problems) = parse(ENGINES, &source, yaml.as_bytes(), name, &Overrides::default()) else {
            panic!("{name}.yaml is right");
        };
        for problem in problems.listed() {
            assert!(problem.line_and_column().is_some(), "{name}: {}", problem.message());
            assert!(!problem.help().is_empty(), "{name}: {}", problem.message());
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

/// If a help states the exact text to write, that text causes no further problem at its place.
#[test]
fn what_is_to_be_written_instead_is_right() {
    let (mut remedies, mut wrong) = (0, Vec::new());
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong")).expect("the directory")
    {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let yaml = fs::read_to_string(&path).expect("a file");
        let problems =
            parse(ENGINES, "x.yaml", yaml.as_bytes(), "x", &Overrides::default()).expect_err("it is wrong");
        for problem in problems.listed() {
            let (Some(place), Some(remedy)) = (problem.line_and_column(), what_to_write(problem.help()))
            else {
                continue;
            };
            remedies += 1;
            let mended = instead(&yaml, place, remedy);
            let Err(others) = parse(ENGINES, "x.yaml", mended.as_bytes(), "x", &Overrides::default()) else {
                continue;
            };
            let (line, column) = place;
            let there = column..=column + remedy.chars().count();
            let is_there = |(other, at): (usize, usize)| other == line && there.contains(&at);
            let mut others = others.listed().iter();
            if let Some(other) = others.find(|other| other.line_and_column().is_some_and(is_there)) {
                wrong.push(format!("{}: {}: {}", path.display(), problem.help(), other.message()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(remedies >= 30, "{remedies}");
}

/// Returns the text that a help states as the exact replacement.
fn what_to_write(help: &str) -> Option<&str> {
    let rest = help.strip_prefix("write `").or_else(|| help.strip_prefix("did you mean `"))?;
    let (remedy, _) = rest.split_once('`')?;
    // Entries and placeholders replace something else, so they are excluded.
    let is_a_part = remedy.contains(": ") != remedy.starts_with('{');
    (!is_a_part && !remedy.contains('…')).then_some(remedy)
}

/// Replaces the key or value that begins at a line and column by a remedy.
fn instead(yaml: &str, (line, column): (usize, usize), remedy: &str) -> String {
    let mut lines: Vec<String> = yaml.lines().map(str::to_owned).collect();
    let text = &lines[line - 1];
    let start = text.char_indices().nth(column - 1).map_or(text.len(), |(at, _)| at);
    let mut depth = 0;
    let end = text[start..].find(|c| match c {
        '[' | '{' => {
            depth += 1;
            false
        }
        ']' | '}' if depth > 0 => {
            depth -= 1;
            false
        }
        _ => depth == 0 && matches!(c, ',' | ']' | '}' | ':'),
    });
    let end = end.map_or(text.len(), |end| start + end);
    lines[line - 1] = format!("{}{remedy}{}", &text[..start], &text[end..]);
    lines.join("\n")
}
