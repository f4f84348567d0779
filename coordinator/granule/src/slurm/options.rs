//! Options for `sbatch` from the user, word by word.

/// The user's options, and those that granule adds in the user's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlurmOptions {
    words: Vec<String>,
}

/// Options that only granule sets, by their names and letters, and what to do instead.
const GRANULES: [(&str, Option<char>, &str); 19] = [
    ("array", Some('a'), WORKERS),
    ("ntasks", Some('n'), WORKERS),
    ("nodes", Some('N'), "use granule's --nodes"),
    ("cpus-per-task", Some('c'), "use granule's --workers and --cores"),
    ("cpus-per-gpu", None, "use granule's --workers and --cores"),
    ("ntasks-per-node", None, WORKERS),
    ("tasks-per-node", None, WORKERS),
    ("ntasks-per-core", None, WORKERS),
    ("ntasks-per-socket", None, WORKERS),
    ("ntasks-per-gpu", None, WORKERS),
    ("output", Some('o'), LOGS),
    ("error", Some('e'), LOGS),
    ("input", Some('i'), "leave it out: the job reads nothing"),
    ("wrap", None, "leave it out: the job runs granule's script"),
    (
        "test-only",
        None,
        "write the script with --dry-run, then run `sbatch --test-only SCRIPT` to see when it would start",
    ),
    ("wait", Some('W'), "leave it out: granule follows the job unless you pass --detach"),
    ("help", Some('h'), "ask `sbatch --help`"),
    ("usage", None, "ask `sbatch --usage`"),
    ("version", Some('V'), "ask `sbatch --version`"),
];

const WORKERS: &str = "use granule's --nodes, or --workers and --cores";
const SIGNAL: &str =
    "granule handles only `--signal=B:USR1@SECONDS`, or `--signal=B:TERM@SECONDS` with --attach; use that";
const LOGS: &str = "leave it out: granule reads the log beside the outputs";

/// Letters of options without a value. They may precede others in one word.
const FLAGS: &str = "HIkOQsvhVW";

impl SlurmOptions {
    pub(crate) fn new(words: Vec<String>) -> SlurmOptions {
        SlurmOptions { words }
    }

    /// Whether an option is given, in any of the forms that `sbatch` accepts.
    pub(crate) fn has(&self, long: &str, short: Option<char>) -> bool {
        self.words.iter().any(|word| is(word, long, short))
    }

    /// Returns the first word with an option that only granule sets, and what to do instead.
    pub(crate) fn contradiction(&self) -> Option<(&str, &'static str)> {
        let granules = self.words.iter().find_map(|word| {
            let (_, _, instead) = GRANULES.iter().find(|(long, short, _)| is(word, long, *short))?;
            Some((&**word, *instead))
        });
        granules.or_else(|| self.signal().map(|word| (word, SIGNAL)))
    }

    /// Returns a word that requests another warning than those that the scripts handle.
    fn signal(&self) -> Option<&str> {
        let at = self.words.iter().position(|word| word.starts_with("--") && is(word, "signal", None))?;
        let word = &self.words[at];
        let value =
            word.split_once('=').map(|(_, value)| value).or(self.words.get(at + 1).map(String::as_str));
        let is_known =
            value.is_some_and(|value| ["B:USR1", "B:TERM"].iter().any(|known| value.starts_with(known)));
        (!is_known).then_some(word)
    }
}

/// Whether a word gives this option. Names may be shortened, as `getopt_long` allows.
fn is(word: &str, long: &str, short: Option<char>) -> bool {
    if let Some(name) = word.strip_prefix("--") {
        let name = name.split('=').next().unwrap_or_default();
        return !name.is_empty() && long.starts_with(name);
    }
    let Some(letters) = word.strip_prefix('-') else { return false };
    for letter in letters.chars() {
        if Some(letter) == short {
            return true;
        }
        if !FLAGS.contains(letter) {
            // The rest of the word is its value.
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> SlurmOptions {
        SlurmOptions::new(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn options_are_found_in_every_form() {
        for words in [&["--time=4"][..], &["--time", "4"], &["-t4"], &["-t", "4"], &["-Ht4"], &["--tim=4"]] {
            assert!(of(words).has("time", Some('t')), "{words:?}");
        }
        for words in [&["--account=time"][..], &["-At"], &["--", "x"], &["time"], &["--time-min=4"]] {
            assert!(!of(words).has("time", Some('t')), "{words:?}");
        }
    }

    #[test]
    fn what_granule_says_itself_is_no_option() {
        for word in
            ["--array=1-3", "-a1", "-n1", "--ntasks=1", "--out=x", "-ox", "--test", "-HV", "-N2", "-c4"]
        {
            assert!(of(&[word]).contradiction().is_some(), "{word}");
        }
        let fine = [
            "--mem=4G",
            "--account=lab",
            "--no-kill=off",
            "--nodelist=n1",
            "-wn1",
            "--nice",
            "--exclusive",
            "-Mtwo",
            "--signal=B:USR1@1",
            "--comment=a b",
            "--export=NONE",
            "--hold",
            "-H",
            "--dependency=afterok:1",
            "-Lx:2",
            "--exclude=n1",
            "--time=3",
            "--wckey=a",
            "--ntasks-is-a-value",
        ];
        for word in fine {
            assert_eq!(of(&[word]).contradiction(), None, "{word}");
        }
    }
}
