//! Suggestions for mistyped words: "Did you mean …?"

/// Returns the candidate that a mistyped word most likely means, if any is close.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are not typing errors, and comparing them would take time.
    const MOST_BYTES: usize = 64;
    if word.len() > MOST_BYTES {
        return None;
    }
    let lower = word.to_lowercase();
    // One edit for every three characters, and one edit in the shortest words.
    let most_edits = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|&(edits, candidate)| edits <= most_edits && edits < candidate.chars().count())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate)
}

/// Finds a dotted path like [`nearest`], and also by its last part alone.
pub(crate) fn nearest_path<'a>(word: &str, paths: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut same_end = paths.clone().filter(|path| path.split_once('.').is_some_and(|(_, end)| end == word));
    match (same_end.next(), same_end.next()) {
        (Some(path), None) => Some(path),
        _ => nearest(word, paths),
    }
}

/// Returns the help for an unknown word: the nearest candidate, or all of them.
pub(crate) fn help(word: &str, what: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("{what} {}", list(candidates)),
    }
}

/// Formats words as `a`, `b` and `c`.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use granule_granular::space;

    #[test]
    fn slips_are_understood_and_other_words_are_not() {
        let check = |word: &str, meant: Option<&str>| {
            assert_eq!(nearest(word, ["Control", "GABAzine", "ACh"]), meant, "{word}");
        };
        check("control", Some("Control"));
        check("Contorl", Some("Control"));
        check("gabazin", Some("GABAzine"));
        check("Gabazene", Some("GABAzine"));
        check("AC", Some("ACh"));
        check("Baseline", None);
        check("", None);
        check("é", None);
        check(&"Control".repeat(100_000), None);
    }

    #[test]
    fn paths_are_found_by_their_end_when_there_is_one_such() {
        let paths = space().parameters().iter().map(|parameter| parameter.path);
        let check = |word: &str, meant: Option<&str>| {
            assert_eq!(nearest_path(word, paths.clone()), meant, "{word}");
        };
        check("tonic_factor", Some("granule.tonic_factor"));
        check("granule.tonic_facto", Some("granule.tonic_factor"));
        check("golgi.leak_reversl", Some("golgi.leak_reversal"));
        check("leak_reversal", None);
        check("granule", None);
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(help("x9", "the keys are", &["a", "b"]), "the keys are `a` and `b`");
    }
}
