//! The state of a sweep, for programs and people: snapshots, notices, metrics.
//!
//! Snapshots and notices are sent as JSON objects with the number of their schema. It increases when a field is
//! renamed, removed or changes its meaning. Fields may be added without that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use granule_text::one_line;
use granule_text::plural;
use granule_text::words::{Names, brief, grouped, pace};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Number of the JSON schema.
pub const SCHEMA: u32 = 1;

/// Most lines about conditions, and about workers, in the text for people.
const MOST_LINES: usize = 16;

/// The state of a sweep at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub schema: u32,
    /// Always `snapshot`.
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339, UTC.
    pub time: String,
    pub sweep: String,
    /// `computing`, `draining`, `done`, `writing` (the output files), or `ended` before it was done.
    pub state: String,
    /// Version of the coordinator.
    pub granule: String,
    pub engine: String,
    pub engine_revision: u32,
    pub elapsed_seconds: f64,
    pub trials: DifferentTrials,
    /// Recent rate: over the last ten minutes, or the last twenty trials if those took longer.
    pub trials_per_second: f64,
    pub seconds_left: Option<f64>,
    pub conditions: Vec<ConditionStatus>,
    /// Stored trials by condition and seed, with the seeds of a condition adjacent. For the dashboard only.
    #[serde(skip)]
    pub pairs: Vec<u32>,
    /// Spans of noise in which normals are counted before trials can begin.
    pub spans: Parcel,
    /// Output files. Zero until writing begins.
    pub files: Parcel,
    /// All workers that take part, and of the others the last 256 that sent something.
    pub workers: Vec<WorkerStatus>,
    /// Number of workers in each state, of all that the scheduler has.
    #[serde(default)]
    pub worker_states: BTreeMap<String, u64>,
    pub counts: RunCounts,
}

/// Different trials of the sweep: conditions with equal parameters share theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferentTrials {
    pub total: u64,
    pub stored: u64,
    /// Stored by earlier runs.
    pub reused: u64,
}

/// Work that is done piece by piece. Zero if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    pub total: u64,
    pub done: u64,
}

/// A condition, over all seeds. Trials that it shares with others count for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionStatus {
    pub name: String,
    pub total: u64,
    pub stored: u64,
}

/// A worker that joined this run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The worker's random name, shortened. No other worker has it.
    pub id: String,
    /// Host and process, for people.
    pub name: String,
    pub host: String,
    pub process_id: u32,
    pub address: String,
    /// `working`, `idle`, `draining`, `lost` (not connected, but may come back), `gone` or `quarantined`.
    pub state: String,
    pub threads: u32,
    pub leases: u64,
    pub trials: u64,
    /// Seconds since the last sign of life.
    pub silent_seconds: f64,
}

/// Counts of events during this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
    pub leases: u64,
    pub copied_leases: u64,
    pub leases_given_back: u64,
    pub disconnections: u64,
    pub returns: u64,
    pub worker_deaths: u64,
    pub audited: u64,
    pub unaudited: u64,
    pub disagreements: u64,
    pub discarded_trials: u64,
    pub quarantined_workers: u64,
    pub trials_set_aside: u64,
    /// Refused requests and connections.
    pub refused: u64,
}

/// An event, for watchers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub schema: u32,
    /// Always `notice`.
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339, UTC.
    pub time: String,
    /// `worker_joined`, `trial_set_aside`, …
    pub event: String,
    /// Whether people should look into it.
    #[serde(default)]
    pub is_trouble: bool,
    /// The worker that it is about, if any.
    pub worker: Option<String>,
    /// For people.
    pub text: String,
}

/// Returns the width of a column of these words. Words of more than 36 characters do not count; they stand out of it.
fn widest<'a>(words: impl Iterator<Item = &'a String>) -> usize {
    words.map(|word| word.chars().count()).filter(|width| *width <= 36).max().unwrap_or(0)
}

/// Returns the time, in the format of all these records.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Parses a snapshot or notice of another process. All text in it becomes one line that is safe to show.
pub fn understood<T: DeserializeOwned>(json: &str) -> Option<T> {
    let mut value = serde_json::from_str(json).ok()?;
    escape(&mut value);
    serde_json::from_value(value).ok()
}

/// Makes all text in it safe to show. serde_json limits its depth.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) => *text = one_line(text),
        Value::Array(values) => values.iter_mut().for_each(escape),
        Value::Object(fields) => fields.values_mut().for_each(escape),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl WorkerStatus {
    /// Whether it takes part, or may reconnect.
    pub fn is_here(&self) -> bool {
        !["gone", "quarantined"].contains(&self.state.as_str())
    }
}

impl RunCounts {
    /// Returns lines about what people should look into, the gravest first.
    pub fn troubles(&self) -> Vec<String> {
        let troubles = [
            (self.disagreements, "result", "results", "differed from the stored ones"),
            (self.trials_set_aside, "trial", "trials", "set aside"),
            (self.discarded_trials, "trial", "trials", "removed from the store"),
            (self.quarantined_workers, "worker", "workers", "quarantined"),
            (self.worker_deaths, "worker process", "worker processes", "died"),
        ];
        let troubles = troubles.into_iter().filter(|(count, ..)| *count > 0);
        troubles
            .map(|(count, one, more, how)| format!("{count} {} {how}", if count == 1 { one } else { more }))
            .collect()
    }
}

/// Events that people should look into.
const TROUBLE: [&str; 11] = [
    "worker_lost",
    "worker_given_up",
    "worker_died",
    "worker_quarantined",
    "trial_set_aside",
    "disagreement",
    "distrusted",
    "unaudited",
    "host_lost",
    "host_dropped",
    "refused",
];

impl Notice {
    pub fn new(event: &str, worker: Option<String>, text: String) -> Notice {
        let is_trouble = TROUBLE.contains(&event);
        Notice {
            schema: SCHEMA,
            kind: "notice".into(),
            time: now(),
            event: event.into(),
            is_trouble,
            worker,
            // The text may contain text of other processes.
            text: one_line(&text),
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers can be written")
    }
}

impl Snapshot {
    /// Whether nothing more is computed.
    pub fn is_over(&self) -> bool {
        self.is_computed() || self.state == "ended"
    }

    /// Whether all trials are computed. The output files may still have to be written.
    pub fn is_computed(&self) -> bool {
        ["done", "writing"].contains(&self.state.as_str())
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers can be written")
    }

    /// Returns the metrics in the text format of Prometheus, version 0.0.4.
    pub fn to_prometheus(&self) -> String {
        let mut page = String::new();
        let mut put = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
            let _ = writeln!(page, "# HELP granule_{name} {help}\n# TYPE granule_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(page, "granule_{name}{labels} {value}");
            }
        };
        let one = |value: f64| vec![(String::new(), value)];
        let label = |name: &str, value: &str| {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            format!("{{{name}=\"{escaped}\"}}")
        };
        let conditions = |value: fn(&ConditionStatus) -> u64| {
            let of = |part: &ConditionStatus| (label("condition", &part.name), value(part) as f64);
            self.conditions.iter().map(of).collect::<Vec<_>>()
        };
        let states = ["working", "idle", "draining", "lost", "gone", "quarantined"]
            .map(|state| (label("state", state), self.worker_states.get(state).copied().unwrap_or(0) as f64));
        put("sweep_trials", "gauge", "Distinct trials of the sweep.", &one(self.trials.total as f64));
        put(
            "sweep_trials_stored",
            "gauge",
            "Distinct trials of the sweep that are stored.",
            &one(self.trials.stored as f64),
        );
        put(
            "trials",
            "gauge",
            "Trials of each condition; conditions with equal parameters share theirs.",
            &conditions(|part| part.total),
        );
        put(
            "trials_stored",
            "gauge",
            "Trials of each condition that are stored.",
            &conditions(|part| part.stored),
        );
        put("workers", "gauge", "Workers of this run.", &states);
        let threads = self.workers.iter().filter(|of| ["working", "idle"].contains(&of.state.as_str()));
        put(
            "threads",
            "gauge",
            "Threads of workers that take leases.",
            &one(threads.map(|of| f64::from(of.threads)).sum()),
        );
        put("elapsed_seconds", "gauge", "Seconds since the start of this run.", &one(self.elapsed_seconds));
        let RunCounts {
            leases,
            copied_leases,
            leases_given_back,
            disconnections,
            returns,
            worker_deaths,
            audited,
            unaudited,
            disagreements,
            discarded_trials,
            quarantined_workers,
            trials_set_aside,
            refused,
        } = self.counts;
        for (name, help, count) in [
            ("leases_total", "Leases granted.", leases),
            (
                "leases_copied_total",
                "Leases granted for shards that a slower worker still computes.",
                copied_leases,
            ),
            (
                "leases_given_back_total",
                "Leases that ended before all their trials were delivered.",
                leases_given_back,
            ),
            ("disconnections_total", "Ended connections to workers.", disconnections),
            ("returns_total", "Reconnections of workers.", returns),
            ("worker_deaths_total", "Worker processes of the coordinator that died.", worker_deaths),
            (
                "audited_total",
                "Trials that an audit confirmed; a trial counts once for all conditions of its cohort.",
                audited,
            ),
            (
                "unaudited_total",
                "Trials that could not be audited, for lack of another worker; a trial counts once for all conditions of its cohort.",
                unaudited,
            ),
            ("disagreements_total", "Results that differed from the stored ones.", disagreements),
            ("discarded_trials_total", "Trials removed from the store.", discarded_trials),
            ("quarantined_workers_total", "Quarantined workers.", quarantined_workers),
            ("trials_set_aside_total", "Trials set aside.", trials_set_aside),
            ("refused_total", "Refused requests and connections.", refused),
        ] {
            put(name, "counter", help, &one(count as f64));
        }
        page
    }

    /// Returns the time that the rest takes, if it is known.
    pub fn left(&self) -> Option<Duration> {
        self.seconds_left.and_then(|left| Duration::try_from_secs_f64(left).ok())
    }

    /// Returns the state in one line.
    pub fn headline(&self) -> String {
        let mut text = format!(
            "{}: {}, {} of {} trials stored ({} %), {}",
            self.sweep,
            self.state,
            self.trials.stored,
            self.trials.total,
            100 * self.trials.stored / self.trials.total.max(1),
            pace(self.trials_per_second),
        );
        if let Some(left) = self.left() {
            let _ = write!(text, ", {} left", brief(left));
        }
        text
    }

    /// Returns `2 workers (1 lost), 3 gone`: first workers that take part or may reconnect, then those that do not.
    fn workers_in_words(&self) -> String {
        let count = |state: &str| self.worker_states.get(state).copied().unwrap_or(0);
        let here = self.workers.iter().filter(|worker| worker.is_here()).count();
        let lost = match count("lost") {
            0 => String::new(),
            lost => format!(" ({lost} lost)"),
        };
        let mut text = format!("{}{lost}", plural(here as u64, "worker"));
        for (count, word) in [(count("gone"), "gone"), (count("quarantined"), "quarantined")] {
            if count > 0 {
                let _ = write!(text, ", {count} {word}");
            }
        }
        text
    }

    /// Returns the state for people, in the width of a terminal. The most important lines are last, where they stay
    /// visible.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let names = Names::new(self.conditions.iter().map(|part| part.name.as_str()));
        let parts = self.conditions.iter().map(|part| (part.name.clone(), (part.stored, part.total)));
        let lines: Vec<(String, String)> = grouped(parts)
            .into_iter()
            .map(|(of, (stored, total))| {
                let each = if of.len() > 1 { ", each" } else { "" };
                (names.describe(&of), format!("{stored}/{total}{each}"))
            })
            .collect();
        let width = widest(lines.iter().take(MOST_LINES).map(|(names, _)| names));
        for (names, counts) in lines.iter().take(MOST_LINES) {
            let _ = writeln!(text, "  {names:width$}  {counts}");
        }
        if lines.len() > MOST_LINES {
            let _ = writeln!(text, "  lines left out: {}; --json has all", lines.len() - MOST_LINES);
        }
        if self.conditions.iter().map(|part| part.total).sum::<u64>() > self.trials.total {
            text.push_str(
                "  (conditions with equal parameters share trials; the total below counts each trial once)\n",
            );
        }
        let here: Vec<&WorkerStatus> = self.workers.iter().filter(|worker| worker.state != "gone").collect();
        let width = widest(here.iter().take(MOST_LINES).map(|worker| &worker.name));
        for worker in here.iter().take(MOST_LINES) {
            let _ = writeln!(
                text,
                "  {:width$}  {:11}  {}, {}, {}, last message {:.1} s ago",
                worker.name,
                worker.state,
                plural(worker.threads.into(), "thread"),
                plural(worker.leases, "lease"),
                plural(worker.trials, "trial"),
                worker.silent_seconds
            );
        }
        if here.len() > MOST_LINES {
            let _ = writeln!(text, "  workers left out: {}; --json has all", here.len() - MOST_LINES);
        }
        for trouble in self.counts.troubles() {
            let _ = writeln!(text, "  ! {trouble}");
        }
        let _ = writeln!(
            text,
            "running for {}; {}\n{}",
            brief(Duration::from_secs_f64(self.elapsed_seconds)),
            self.workers_in_words(),
            self.headline()
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            schema: SCHEMA,
            kind: "snapshot".into(),
            sweep: "paper".into(),
            state: "computing".into(),
            trials: DifferentTrials { total: 300, stored: 60, reused: 10 },
            seconds_left: Some(12.0),
            conditions: vec![ConditionStatus { name: "a \"b\"\\\n".into(), total: 100, stored: 20 }],
            workers: vec![
                WorkerStatus {
                    name: "node1/77".into(),
                    state: "working".into(),
                    threads: 4,
                    ..Default::default()
                },
                WorkerStatus { state: "gone".into(), threads: 8, ..Default::default() },
            ],
            worker_states: [("working".to_owned(), 1), ("gone".to_owned(), 1)].into(),
            counts: RunCounts { leases: 7, refused: 3, ..Default::default() },
            ..Default::default()
        }
    }

    #[test]
    fn snapshots_and_notices_survive_their_encoding() {
        let json = snapshot().to_json();
        assert!(json.starts_with(r#"{"schema":1,"type":"snapshot","#), "{json}");
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot());
        let notice = Notice::new("worker_joined", None, "hello".into());
        assert_eq!(serde_json::from_str::<Notice>(&notice.to_json()).unwrap(), notice);
    }

    #[test]
    fn what_another_process_sends_is_on_one_line() {
        let forged = "x\n2026-11-29T06:00:00.000Z all is well\u{202e}";
        let notice =
            Notice { text: forged.into(), ..Notice::new("left", Some(forged.into()), forged.into()) };
        let notice = understood::<Notice>(&notice.to_json()).expect("a notice");
        let expected = one_line(forged);
        assert_eq!((notice.text, notice.worker), (expected.clone(), Some(expected.clone())));
        let mut sent = snapshot();
        sent.workers[0].name = forged.into();
        sent.conditions[0].name = forged.into();
        let heard = understood::<Snapshot>(&sent.to_json()).expect("a snapshot");
        assert_eq!((&heard.workers[0].name, &heard.conditions[0].name), (&expected, &expected));
        assert_eq!(understood::<Notice>("x"), None);
    }

    #[test]
    fn metrics_are_those_of_the_snapshot() {
        let page = snapshot().to_prometheus();
        for line in [
            r#"granule_trials{condition="a \"b\"\\\n"} 100"#,
            r#"granule_trials_stored{condition="a \"b\"\\\n"} 20"#,
            r#"granule_workers{state="working"} 1"#,
            r#"granule_workers{state="gone"} 1"#,
            "granule_threads 4",
            "granule_leases_total 7",
            "granule_refused_total 3",
            "# TYPE granule_leases_total counter",
        ] {
            assert!(page.lines().any(|found| found == line), "no `{line}` in\n{page}");
        }
    }

    #[test]
    fn people_see_who_is_here_and_last_what_counts_most() {
        let mut snapshot = snapshot();
        let last = |snapshot: &Snapshot| {
            snapshot.to_text().lines().rev().take(2).map(str::to_owned).collect::<Vec<String>>()
        };
        assert_eq!(
            last(&snapshot),
            [
                "paper: computing, 60 of 300 trials stored (20 %), 0.0 trials/h, 12 s left",
                "running for 0.0 s; 1 worker, 1 gone"
            ]
        );
        assert!(snapshot.to_text().contains("\n  node1/77  working "), "{}", snapshot.to_text());
        for state in ["lost", "quarantined"] {
            snapshot.workers.push(WorkerStatus { state: state.into(), ..Default::default() });
            snapshot.worker_states.insert(state.to_owned(), 1);
        }
        assert_eq!(last(&snapshot)[1], "running for 0.0 s; 2 workers (1 lost), 1 gone, 1 quarantined");
    }

    #[test]
    fn conditions_that_are_alike_share_a_line() {
        let part = |name: String, stored| ConditionStatus { name, total: 10, stored };
        let mut conditions = vec![part("Control".into(), 10)];
        conditions.extend((1..=10_000).map(|i| part(format!("leak-{i}"), u64::from(i <= 2) * 4)));
        let snapshot = Snapshot {
            conditions,
            trials: DifferentTrials { total: 100_000, ..snapshot().trials },
            ..snapshot()
        };
        let text = snapshot.to_text();
        let lines: Vec<String> =
            (text.lines()).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "Control 10/10",
            "leak-1, leak-2 4/10, each",
            "leak-3 to leak-10000 (9998 conditions) 0/10, each",
            "(conditions with equal parameters share trials; the total below counts each trial once)",
        ];
        assert_eq!(lines[..4], expected, "{text}");
        assert!(text.lines().count() < 24, "{text}");
    }
}
