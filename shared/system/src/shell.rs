//! Words for shells: in commands that users paste, and in scripts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use granule_text::is_hidden;

/// Returns the word in a form that a shell reads as exactly these bytes. The form is on one line, in
/// characters that every terminal displays unchanged.
///
/// The result is correct in `sh` (POSIX), bash, dash, zsh, ksh, mksh, BusyBox's ash and fish 3.4, in
/// interactive shells and in scripts. It is the first of three forms that suffices:
///
/// 1. the word itself;
/// 2. `'the word'`, where each `'` and each `\` is outside the quotes, escaped (fish gives `\` a meaning in
///    them);
/// 3. `"$(printf '\033')"`, if the word has control characters, characters that are invisible or change the
///    direction of writing, or bytes that are not UTF-8. `$'\033'` would be shorter, but dash and fish do not
///    know it. A command substitution drops line feeds at the end of its output, so those of the word follow
///    in quotes. Only then does the result have more than one line.
///
/// The result is for an argument: as a command's first word, `if` and `a=b` have other meanings. The word
/// must have no NUL; arguments cannot have one.
#[must_use]
pub fn shell_word(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) if is_plain(text) => text.to_owned(),
        Ok(text) if !text.is_empty() && !text.chars().any(is_hidden) => quoted(text),
        Ok("") => "''".to_owned(),
        _ => printed(bytes),
    }
}

/// Returns the path as an argument of a command: a [`shell_word`] that no program reads as an option.
#[must_use]
pub fn shell_path(path: impl AsRef<Path>) -> String {
    let path = path.as_ref().as_os_str();
    if !path.as_bytes().starts_with(b"-") {
        return shell_word(path);
    }
    let mut safe = OsString::from("./");
    safe.push(path);
    shell_word(safe)
}

/// Whether no shell gives a meaning to any part of the text.
fn is_plain(text: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    // zsh replaces `=ls` with the path of `ls`; one of its options does so also after another `=`. `%1` is a
    // job.
    let has_expansion = text.starts_with(['=', '%']) || text.matches('=').count() > 1;
    !text.is_empty() && text.chars().all(is_safe) && !has_expansion
}

fn quoted(text: &str) -> String {
    let mut word = String::with_capacity(text.len() + 2);
    let mut is_within = false;
    for c in text.chars() {
        let is_outside = matches!(c, '\'' | '\\');
        if is_within == is_outside {
            word.push('\'');
            is_within = !is_within;
        }
        if is_outside {
            word.push('\\');
        }
        word.push(c);
    }
    if is_within {
        word.push('\'');
    }
    word
}

fn printed(bytes: &[u8]) -> String {
    let newlines = bytes.iter().rev().take_while(|byte| **byte == b'\n').count();
    let body = &bytes[..bytes.len() - newlines];
    let mut word = String::new();
    if !body.is_empty() {
        word.push_str("\"$(printf '");
        for chunk in body.utf8_chunks() {
            for c in chunk.valid().chars() {
                // A `-` at the beginning would begin an option of `printf`.
                let is_first = word.ends_with('\'');
                let is_safe = c.is_alphanumeric() || "_./:,+@= ".contains(c) || (c == '-' && !is_first);
                if is_safe && !is_hidden(c) {
                    word.push(c);
                } else {
                    octal(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut word);
                }
            }
            octal(chunk.invalid(), &mut word);
        }
        word.push_str("')\"");
    }
    if newlines > 0 {
        word.push('\'');
        word.extend(std::iter::repeat_n('\n', newlines));
        word.push('\'');
    }
    word
}

fn octal(bytes: &[u8], word: &mut String) {
    bytes.iter().for_each(|byte| word.push_str(&format!("\\{byte:03o}")));
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// Shells with usual options, and zsh with the options that give a meaning to most characters. Only
    /// `bash` and `sh` must be installed.
    const SHELLS: &[&[&str]] = &[
        &["bash", "--norc", "-c"],
        &["sh", "-c"],
        &["dash", "-c"],
        &["zsh", "-f", "-c"],
        &[
            "zsh",
            "-f",
            "-o",
            "magicequalsubst",
            "-o",
            "extendedglob",
            "-o",
            "rcquotes",
            "-o",
            "kshglob",
            "-c",
        ],
        &["ksh", "-c"],
        &["mksh", "-c"],
        &["busybox", "sh", "-c"],
        &["fish", "--no-config", "-c"],
    ];

    /// Asserts that every shell reads the words unchanged, as the arguments of one command.
    fn check(words: &[OsString]) {
        // A command that is run by mistake would leave a file here, or find one.
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("lure"), "").expect("a file");
        let shown: Vec<String> = words.iter().map(shell_word).collect();
        for text in &shown {
            let line = text.strip_suffix('\'').unwrap_or(text).trim_end_matches('\n');
            assert!(!line.chars().any(is_hidden), "{text:?} has characters that are not shown");
        }
        let command = format!("printf '%s\\0' {}", shown.join(" "));
        for shell in SHELLS {
            let [program, arguments @ ..] = shell else { unreachable!("no shell is empty") };
            let mut shell = Command::new(program);
            shell.args(arguments).arg(&command).current_dir(directory.path()).stdin(Stdio::null());
            let output = match shell.output() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    assert!(!["bash", "sh"].contains(program), "{program} is not installed");
                    continue;
                }
                output => output.expect("a shell"),
            };
            assert!(output.stderr.is_empty(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            let mut got = output.stdout.split(|byte| *byte == 0);
            for (word, text) in words.iter().zip(&shown) {
                let got = got.next().map(OsStr::from_bytes);
                assert_eq!(got, Some(word.as_os_str()), "{program} of {text}");
            }
            assert_eq!(got.next(), Some(&b""[..]), "{program} has more words");
        }
        let files = std::fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(files, 1, "a word was run as a command");
    }

    fn word() -> impl Strategy<Value = OsString> {
        let bytes = prop::collection::vec(1..=u8::MAX, 0..12);
        const PIECES: &[&str] = &[
            "'",
            "\"",
            "\\",
            "`",
            "$",
            "$(touch X)",
            "`touch X`",
            "!",
            "!!",
            "~",
            "=",
            "=ls",
            "%",
            "%1",
            "-",
            "#",
            "*",
            "?",
            "[a]",
            "{a,b}",
            "(",
            ")",
            "<",
            ">",
            "|",
            "&",
            ";",
            " ",
            "\t",
            "\n",
            "\r",
            "\u{7f}",
            "\u{85}",
            "\u{1b}[31m",
            "\u{202e}",
            "\u{e9}",
            "e\u{301}",
            "日本",
            "\u{1f9e0}",
            "a",
            "7",
            "lure",
            "^",
            "\u{a0}",
        ];
        let pieces = prop::collection::vec(select(PIECES), 0..6);
        prop_oneof![
            bytes.prop_map(|bytes| OsStr::from_bytes(&bytes).to_owned()),
            pieces.prop_map(|pieces| OsString::from(pieces.concat())),
            ".{0,8}".prop_map(|text: String| OsString::from(text.replace('\0', ""))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

        #[test]
        fn every_shell_reads_the_word_that_was_meant(words in prop::collection::vec(word(), 100)) {
            check(&words);
        }

        #[test]
        fn a_path_is_the_same_path_and_no_option(bytes in prop::collection::vec(1..=u8::MAX, 1..12)) {
            let path = Path::new(OsStr::from_bytes(&bytes));
            let shown = shell_path(path);
            prop_assert!(!shown.trim_start_matches(['"', '$', '(', '\'']).starts_with('-'));
            if bytes[0] != b'-' {
                prop_assert_eq!(shown, shell_word(path));
            }
        }
    }

    #[test]
    fn every_byte_and_every_pair_of_bytes_with_a_meaning_is_read() {
        let single = (1..=u8::MAX).map(|byte| OsStr::from_bytes(&[byte]).to_owned());
        check(&single.collect::<Vec<_>>());
        let signs = (1..128_u8).filter(|byte| !byte.is_ascii_alphanumeric());
        let pairs = signs.clone().flat_map(|first| signs.clone().map(move |second| [first, second]));
        let pairs: Vec<OsString> = pairs.map(|pair| OsStr::from_bytes(&pair).to_owned()).collect();
        pairs.chunks(1000).for_each(check);
    }

    #[test]
    fn words_are_as_short_as_they_can_be() {
        for (word, shown) in [
            ("out/a-b_c.d", "out/a-b_c.d"),
            ("--out=x", "--out=x"),
            ("", "''"),
            ("=ls", "'=ls'"),
            ("a=b", "a=b"),
            ("--out==ls", "'--out==ls'"),
            ("%1", "'%1'"),
            ("~", "'~'"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("'", r"\'"),
            (r"a\b", r"'a'\\'b'"),
            ("größe", "'größe'"),
            ("a\u{1b}[31mb", r#""$(printf 'a\033\13331mb')""#),
            ("-\n!", r#""$(printf '\055\012\041')""#),
            ("a\n\n", "\"$(printf 'a')\"'\n\n'"),
            ("\n", "'\n'"),
            ("a\u{202e}", r#""$(printf 'a\342\200\256')""#),
        ] {
            assert_eq!(shell_word(word), shown, "{word:?}");
        }
        assert_eq!(shell_word(OsStr::from_bytes(b"a\xff")), r#""$(printf 'a\377')""#);
        assert_eq!(shell_path("-x"), "./-x");
        assert_eq!(shell_path("--out=a b"), "'./--out=a b'");
        assert_eq!(shell_path(""), "''");
    }
}
