//! The author's sweep file in a report: what it needs to give the same files, and whether it does. This is checked by
//! reading the recorded text again, not assumed.

use std::collections::BTreeMap;

use granule_outputs::manifest::{CompletedRun, ResolvedModel, ResolvedSweep, TableRecord};
use granule_sweep::{Overrides, Sweep, Tables, from_variables, parse_with_tables, tables_of};
use granule_system::hex;
use granule_text::plural;
use maud::{Markup, html};
use sha2::{Digest as _, Sha256};

use super::link::{save, save_as};
use crate::engines::ENGINES;
use crate::failure::{shell_path, shell_word};

/// Longest explicit sweep file that a page contains beside the author's, in bytes.
const LONGEST_EXPLICIT: usize = 1 << 20;

/// How a recorded sweep file relates to the sweep that was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// It gives the sweep, together with the variables and files that are recorded.
    Gives,
    /// It may give it: the content of a table is not recorded, only its hash.
    ByHash,
    /// It does not give it, or it cannot be known: variables or tables are not recorded.
    Not,
}

/// Returns how the sweep file of a run relates to the sweep. None if its text is not recorded.
pub(super) fn relation(run: &CompletedRun, sweep: &Sweep, resolved: &ResolvedSweep) -> Option<Relation> {
    let text = run.sweep_file.as_deref()?;
    let of = |path: &String| run.tables.iter().find(|table| table.path == *path);
    let needed: Option<Vec<&TableRecord>> = tables_of(text.as_bytes()).iter().map(of).collect();
    let Some(needed) = needed else { return Some(Relation::Not) };
    let content = |table: &&TableRecord| {
        let text = table.text.as_ref()?;
        Some((table.path.clone(), Ok(text.clone().into_bytes())))
    };
    let Some(tables) = needed.iter().map(content).collect::<Option<Tables>>() else {
        return Some(Relation::ByHash);
    };
    let is_same = gives(text, &run.overrides, &tables, (sweep, resolved));
    Some(if is_same { Relation::Gives } else { Relation::Not })
}

/// Whether a sweep file, with these variables and tables, is read as this sweep.
fn gives(
    text: &str,
    variables: &BTreeMap<String, String>,
    tables: &Tables,
    (sweep, resolved): (&Sweep, &ResolvedSweep),
) -> bool {
    let is_program = sweep.engine.is_program();
    let engines = if is_program { &*vec![sweep.engine].leak() } else { ENGINES };
    let overrides = match is_program {
        true => Ok((Overrides::default(), Vec::new())),
        false => from_variables(granule_granular::space(), |name| variables.get(name).map(Into::into)),
    };
    let Ok((overrides, _)) = overrides else { return false };
    let file = format!("{}.yaml", sweep.name);
    parse_with_tables(engines, &file, text.as_bytes(), &sweep.name, &overrides, tables).is_ok_and(|read| {
        let read = ResolvedSweep::of(&read);
        read == *resolved || read.is_same_but_for_the_decision(resolved)
    })
}

/// A sweep, and what is known about its file.
pub(super) struct Written<'a> {
    pub(super) sweep: &'a Sweep,
    pub(super) resolved: &'a ResolvedSweep,
    /// The run that completed the sweep.
    pub(super) run: Option<&'a CompletedRun>,
    /// The sweep as a sweep file that sets every condition explicitly.
    pub(super) explicit: &'a str,
}

impl Written<'_> {
    /// Returns the sweep file, and the conditions under which it gives the same files.
    pub(super) fn html(&self) -> Markup {
        let Written { sweep, resolved, run, explicit } = *self;
        let relation = run.and_then(|run| relation(run, sweep, resolved));
        let written = run.and_then(|run| Some((run, run.sweep_file.as_deref()?, relation?)));
        html! {
            @match written {
                Some((run, text, relation)) => {
                    p { "The sweep file:" }
                    pre { code { (text) } }
                    (self.claim(run, relation))
                    @if relation == Relation::Not || !run.tables.is_empty() || !run.overrides.is_empty() {
                        (self.alternative())
                    }
                    (tables(&run.tables))
                }
                None => {
                    p { "The sweep as a file that sets every condition explicitly; all other values are defaults:" }
                    pre { code { (explicit) } }
                    p { "Saved as " code { (self.file()) } (SAME) code { (self.command(&[])) } "." }
                }
            }
            @if let Some(model) = &resolved.model { (files_of(model)) }
            p {
                code { "granule reproduce" } " computes one trial again and compares it; " code { "granule verify" }
                " checks all files."
            }
        }
    }

    fn file(&self) -> String {
        format!("{}.yaml", self.sweep.name)
    }

    /// Returns the command that runs the sweep file with these variables.
    fn command(&self, variables: &[(&String, &String)]) -> String {
        let set: String =
            variables.iter().map(|(name, value)| format!("{name}={} ", shell_word(value))).collect();
        format!("{set}granule run {}", shell_path(self.file()))
    }

    /// States whether the author's sweep file gives the same files.
    fn claim(&self, run: &CompletedRun, relation: Relation) -> Markup {
        let variables: Vec<_> = run.overrides.iter().collect();
        let texts: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        html! {
            @if !texts.is_empty() {
                p class="alarm" {
                    (plural(texts.len() as u64, "environment variable")) " overrode this file: " code { (texts.join(" ")) }
                }
            }
            @match relation {
                Relation::Gives => p {
                    "Saved as " code { (self.file()) }
                    @if !run.tables.is_empty() { ", with the tables below beside it" }
                    (SAME) code { (self.command(&variables)) } "."
                },
                Relation::ByHash => p {
                    "Saved as " code { (self.file()) } ", with the tables of the hashes below beside it" (SAME)
                    code { (self.command(&variables)) } "."
                },
                Relation::Not => p class="alarm" {
                    "This file alone does not give the results of this report: other settings or files were used, and the \
                     manifest does not record them."
                },
            }
        }
    }

    /// Offers the sweep as a file that needs neither variables nor tables, if it is one.
    fn alternative(&self) -> Markup {
        let Written { sweep, resolved, explicit, .. } = *self;
        let is_one = explicit.len() <= LONGEST_EXPLICIT
            && gives(explicit, &BTreeMap::new(), &Tables::new(), (sweep, resolved));
        html! {
            @if is_one {
                p {
                    "This file sets every condition explicitly, and gives the same files without variables and tables: "
                    (save(explicit.as_bytes(), &format!("{}-explicit.yaml", sweep.name)))
                }
            }
        }
    }
}

/// The claim after the name of a file, before the command.
const SAME: &str = ", it gives the same files, byte for byte, with any number of workers on any machines, if engine and revision \
                    are those below: ";

/// Lists tables with their hashes. The content is a file to save, if it is recorded.
fn tables(tables: &[TableRecord]) -> Markup {
    html! {
        @if !tables.is_empty() {
            p { "Tables that the sweep file names:" }
            ul { @for TableRecord { path, bytes, sha256, text } in tables {
                li {
                    code { (path) } ", " (plural(*bytes, "byte")) ", SHA-256 " code class="hash" { (sha256) } " "
                    @if let Some(text) = text { (save(text.as_bytes(), path)) }
                }
            } }
        }
    }
}

/// Lists the files of a model of the user's own. The text of the model file is a file to save.
fn files_of(model: &ResolvedModel) -> Markup {
    html! {
        p {
            "The sweep also needs the model file and the files that it lists, at these paths from the sweep file and from the \
             model file. Only with the same content do they give the same files:"
        }
        ul {
            li {
                code { (model.path) } ", SHA-256 " code class="hash" { (hex(&Sha256::digest(&model.text))) } " "
                (save_as(model.text.as_bytes(), &model.path, "the model file"))
            }
            @for (path, hash) in &model.files {
                li { code { (path) } ", BLAKE3 " code class="hash" { (hash) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: a\nseeds: [1]\ntrials: 3\nconditions: [Control]\n";
    const TABLE: &str = "name,golgi.leak_reversal [mV]\nx,-53\n";

    fn run(text: &str, overrides: &[(&str, &str)], tables: &[(&str, Option<&str>)]) -> CompletedRun {
        let record = |&(path, text): &(&str, Option<&str>)| {
            let text = text.map(str::to_owned);
            TableRecord { path: path.to_owned(), bytes: 0, sha256: String::new(), text }
        };
        let mut run: CompletedRun = serde_json::from_str(
            r#"{"host":"","operating_system":"","architecture":"","workers":1,"started":"","wall_seconds":0,
                "cpu_seconds":0,"trials_computed":0,"trials_reused":0,"files_reused":0}"#,
        )
        .expect("a run");
        run.sweep_file = Some(text.to_owned());
        run.overrides =
            overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        run.tables = tables.iter().map(record).collect();
        run
    }

    fn sweep(text: &str) -> Sweep {
        let tables = [("p.csv".to_owned(), Ok(TABLE.as_bytes().to_vec()))].into();
        parse_with_tables(ENGINES, "a.yaml", text.as_bytes(), "a", &Overrides::default(), &tables)
            .expect("a sweep")
    }

    #[test]
    fn a_sweep_file_is_compared_with_what_was_computed() {
        let relation = |run: &CompletedRun, sweep: &Sweep| relation(run, sweep, &ResolvedSweep::of(sweep));
        let three = sweep(TEXT);
        let two = sweep(&TEXT.replace("trials: 3", "trials: 2"));
        assert_eq!(relation(&run(TEXT, &[], &[]), &three), Some(Relation::Gives));
        // An override that is recorded is part of the file; one that is not, as in earlier versions, is noticed.
        assert_eq!(relation(&run(TEXT, &[("CHAT_NUM_TRIAL", "2")], &[]), &two), Some(Relation::Gives));
        assert_eq!(relation(&run(TEXT, &[], &[]), &two), Some(Relation::Not));
        // A rule has decided the number of trials.
        let text = TEXT.replace("3", "{ until: { measure: golgi_before_hz, half_width: 1 }, at_most: 40 }");
        let mut decided = sweep(&text);
        decided.trials = 25;
        assert_eq!(relation(&run(&text, &[], &[]), &decided), Some(Relation::Gives));

        let text = "name: a\nconditions: [{ table: p.csv }]\n";
        let of_table = sweep(text);
        assert_eq!(relation(&run(text, &[], &[("p.csv", Some(TABLE))]), &of_table), Some(Relation::Gives));
        let other = TABLE.replace("53", "54");
        assert_eq!(relation(&run(text, &[], &[("p.csv", Some(&other))]), &of_table), Some(Relation::Not));
        assert_eq!(relation(&run(text, &[], &[("p.csv", None)]), &of_table), Some(Relation::ByHash));
        assert_eq!(relation(&run(text, &[], &[]), &of_table), Some(Relation::Not));
    }
}
