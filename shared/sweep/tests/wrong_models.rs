//! Wrong model files and their messages: `wrong_models/NAME.yaml` and `wrong_models/NAME.txt`.
//!
//! `GRANULE_REGENERATE=1 cargo test --release -p granule-sweep --test wrong_models` writes the texts again. Read them
//! before you keep them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use granule_sweep::parse_model;

#[test]
fn every_mistake_has_a_place_and_a_remedy() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong_models");
    let names = |ending: &str| -> BTreeSet<String> {
        fs::read_dir(&directory)
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .filter_map(|name| name.strip_suffix(ending).map(str::to_owned))
            .collect()
    };
    let files = names(".yaml");
    assert!(files.len() >= 60, "{}", files.len());
    for name in &files {
        let yaml = fs::read_to_string(directory.join(format!("{name}.yaml"))).expect("a file");
        let Err(problems) = parse_model(&format!("{name}.yaml"), yaml.as_bytes()) else {
            panic!("{name}.yaml is right");
        };
        for problem in problems.listed() {
            assert!(problem.line_and_column().is_some(), "{name}: {}", problem.message());
            assert!(!problem.help().is_empty(), "{name}: {}", problem.message());
        }
        let printed = format!("{problems}\n");
        let path = directory.join(format!("{name}.txt"));
        if std::env::var_os("GRANULE_REGENERATE").is_some() {
            fs::write(&path, &printed).expect("the source tree is writable");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(printed, expected, "{name}.yaml");
    }
    assert_eq!(names(".txt"), files);
}

/// If a help states the exact text to write, that text causes no further problem at its place.
#[test]
fn the_text_that_a_help_states_is_valid() {
    let (mut remedies, mut wrong) = (0, Vec::new());
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong_models")).expect("the directory")
    {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let yaml = fs::read_to_string(&path).expect("a file");
        let problems = parse_model("x.yaml", yaml.as_bytes()).expect_err("it is wrong");
        for problem in problems.listed() {
            let (Some(place), Some(remedy)) = (problem.line_and_column(), what_to_write(problem.help()))
            else {
                continue;
            };
            let Some(repaired) = instead(&yaml, place, remedy) else { continue };
            remedies += 1;
            let Err(others) = parse_model("x.yaml", repaired.as_bytes()) else { continue };
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
    // Entries and operators replace something else, so they are excluded.
    let is_a_part = remedy.contains(": ") != remedy.starts_with('{') || remedy.len() == 1;
    (!is_a_part && !remedy.contains('…')).then_some(remedy)
}

/// Replaces the key or value that begins at a line and column by a remedy. Returns `None` if it is in arithmetic.
fn instead(yaml: &str, (line, column): (usize, usize), remedy: &str) -> Option<String> {
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
    if text[start..end].contains(" / ") || text[start..end].contains(" * ") {
        return None;
    }
    lines[line - 1] = format!("{}{remedy}{}", &text[..start], &text[end..]);
    Some(lines.join("\n"))
}
