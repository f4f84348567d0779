//! What a sweep is at, for programs and people: snapshots, notices, metrics.
//!
//! Both travel as JSON objects with the number of their schema, which grows when a field is renamed,
//! removed or changes its meaning; new fields come without notice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use granule_worker::text::one_line;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words::{brief, pace};
use crate::failure::plural;

/// Number of the schema.
pub(crate) const SCHEMA: u32 = 1;

/// What a sweep is at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) schema: u32,
    /// Always `snapshot`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// RFC 3339, UTC.
    pub(crate) time: String,
    pub(crate) sweep: String,
    /// `computing`, `draining`, `done`, `writing` (the output files), or `ended` before it was done.
    pub(crate) state: String,
    /// Version of the coordinator.
    pub(crate) granule: String,
    pub(crate) engine: String,
    pub(crate) engine_revision: u32,
    pub(crate) elapsed_seconds: f64,
    pub(crate) trials: Trials,
    /// Of late: over the last ten minutes, or the last twenty trials if those took longer.
    pub(crate) trials_per_second: f64,
    pub(crate) seconds_left: Option<f64>,
    pub(crate) conditions: Vec<Part>,
    /// Trials stored by condition and seed, the seeds of a condition side by side: for the dashboard only.
    #[serde(skip)]
    pub(crate) pairs: Vec<u32>,
    /// Spans of noise in which normals are counted before trials can begin.
    pub(crate) spans: Parcel,
    /// Output files, once they are written.
    pub(crate) files: Parcel,
    /// At most 1024: those that are here first, and of the others the last that were heard of.
    pub(crate) workers: Vec<WorkerStatus>,
    /// Number of workers in each state, of all that are remembered.
    #[serde(default)]
    pub(crate) worker_states: BTreeMap<String, u64>,
    pub(crate) counts: Counts,
}

/// Trials, each of one condition and seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trials {
    pub(crate) total: u64,
    pub(crate) stored: u64,
    /// Stored by earlier runs.
    pub(crate) reused: u64,
}

/// Something that is done piece by piece; nothing if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    pub(crate) total: u64,
    pub(crate) done: u64,
}

/// A condition, over all seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) total: u64,
    pub(crate) stored: u64,
}

/// A worker that was here during this run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerStatus {
    /// The name that it draws when it starts, shortened; no other worker has it.
    pub(crate) id: String,
    /// Host and process, for people.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) process_id: u32,
    pub(crate) address: String,
    /// `working`, `idle`, `draining`, `lost` (not connected, but may come back), `gone` or `quarantined`.
    pub(crate) state: String,
    pub(crate) threads: u32,
    pub(crate) leases: u64,
    pub(crate) trials: u64,
    /// Since the last sign of life.
    pub(crate) silent_seconds: f64,
}

/// What has happened during this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) leases: u64,
    pub(crate) copied_leases: u64,
    pub(crate) leases_given_back: u64,
    pub(crate) disconnections: u64,
    pub(crate) returns: u64,
    pub(crate) worker_deaths: u64,
    pub(crate) audited: u64,
    pub(crate) unaudited: u64,
    pub(crate) disagreements: u64,
    pub(crate) discarded_trials: u64,
    pub(crate) quarantined_workers: u64,
    pub(crate) trials_set_aside: u64,
    /// Requests and connections that were not let in.
    pub(crate) refused: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) schema: u32,
    /// Always `notice`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// RFC 3339, UTC.
    pub(crate) time: String,
    /// `worker_joined`, `trial_set_aside`, …
    pub(crate) event: String,
    /// Whether people want to look into it.
    #[serde(default)]
    pub(crate) is_trouble: bool,
    /// Of the worker it is about, if it is about one.
    pub(crate) worker: Option<String>,
    /// For people.
    pub(crate) text: String,
}

/// Now, as all of this is dated.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// What another process has sent, if it is one of these: all text in it is on one line, and safe to show.
pub(crate) fn understood<T: DeserializeOwned>(json: &str) -> Option<T> {
    let mut value = serde_json::from_str(json).ok()?;
    escape(&mut value);
    serde_json::from_value(value).ok()
}

/// Makes all text in it safe to show. Its depth is that which serde_json takes.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) => *text = one_line(text),
        Value::Array(values) => values.iter_mut().for_each(escape),
        Value::Object(fields) => fields.values_mut().for_each(escape),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl WorkerStatus {
    /// Whether it takes part, or may come back.
    pub(crate) fn is_here(&self) -> bool {
        !["gone", "quarantined"].contains(&self.state.as_str())
    }
}

impl Counts {
    /// What people may want to look into, the gravest first.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let troubles = [
            (self.disagreements, "result", "results", "differed from those stored"),
            (self.trials_set_aside, "trial", "trials", "set aside"),
            (self.discarded_trials, "trial", "trials", "taken out of the store"),
            (self.quarantined_workers, "worker", "workers", "shut out"),
            (self.worker_deaths, "worker process", "worker processes", "died"),
        ];
        let troubles = troubles.into_iter().filter(|(count, ..)| *count > 0);
        troubles
            .map(|(count, one, more, how)| format!("{count} {} {how}", if count == 1 { one } else { more }))
            .collect()
    }
}

/// Events that are no good news.
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
    pub(crate) fn new(event: &str, worker: Option<String>, text: String) -> Notice {
        let is_trouble = TROUBLE.contains(&event);
        Notice {
            schema: SCHEMA,
            kind: "notice".into(),
            time: now(),
            event: event.into(),
            is_trouble,
            worker,
            // Reasons come from elsewhere.
            text: one_line(&text),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers can be written")
    }
}

impl Snapshot {
    /// Whether nothing is computed any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_computed() || self.state == "ended"
    }

    /// Whether all trials are computed, and at most the output files are still to be written.
    pub(crate) fn is_computed(&self) -> bool {
        ["done", "writing"].contains(&self.state.as_str())
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers can be written")
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn to_prometheus(&self) -> String {
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
        let conditions = |value: fn(&Part) -> u64| {
            let of = |part: &Part| (label("condition", &part.name), value(part) as f64);
            self.conditions.iter().map(of).collect::<Vec<_>>()
        };
        let states = ["working", "idle", "draining", "lost", "gone", "quarantined"]
            .map(|state| (label("state", state), self.worker_states.get(state).copied().unwrap_or(0) as f64));
        put("trials", "gauge", "Trials of the sweep.", &conditions(|part| part.total));
        put("trials_stored", "gauge", "Trials that are stored.", &conditions(|part| part.stored));
        put("workers", "gauge", "Workers of this run.", &states);
        let threads = self.workers.iter().filter(|of| ["working", "idle"].contains(&of.state.as_str()));
        put(
            "threads",
            "gauge",
            "Threads of workers that take leases.",
            &one(threads.map(|of| f64::from(of.threads)).sum()),
        );
        put("elapsed_seconds", "gauge", "Since this run began.", &one(self.elapsed_seconds));
        let Counts {
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
            ("leases_copied_total", "Leases of what slower workers had, too.", copied_leases),
            ("leases_given_back_total", "Leases that ended before all of them was done.", leases_given_back),
            ("disconnections_total", "Connections of workers that ended.", disconnections),
            ("returns_total", "Workers that came back.", returns),
            ("worker_deaths_total", "Worker processes of the coordinator's that died.", worker_deaths),
            ("audited_total", "Trials computed once more, with the same result.", audited),
            ("unaudited_total", "Trials that nobody could compute once more.", unaudited),
            ("disagreements_total", "Results that were not those stored.", disagreements),
            ("discarded_trials_total", "Trials taken out of the store.", discarded_trials),
            (
                "quarantined_workers_total",
                "Workers that nothing is taken from any more.",
                quarantined_workers,
            ),
            ("trials_set_aside_total", "Trials that are not tried any more.", trials_set_aside),
            ("refused_total", "Requests and connections that were not let in.", refused),
        ] {
            put(name, "counter", help, &one(count as f64));
        }
        page
    }

    /// How long the rest will take, if that can be said.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.seconds_left.and_then(|left| Duration::try_from_secs_f64(left).ok())
    }

    /// For people, in the width of a terminal.
    pub(crate) fn to_text(&self) -> String {
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
        let _ = writeln!(text, "\nrunning for {}", brief(Duration::from_secs_f64(self.elapsed_seconds)));
        for Part { name, total, stored } in self.conditions.iter().take(24) {
            let _ = writeln!(text, "  {name:24.24} {stored}/{total}");
        }
        if self.conditions.len() > 24 {
            let _ = writeln!(text, "  and {} conditions more", self.conditions.len() - 24);
        }
        let here = self.workers.iter().filter(|worker| worker.state != "gone");
        let gone = self.workers.len() - here.clone().count();
        let _ = writeln!(text, "{}, {gone} gone", plural((self.workers.len() - gone) as u64, "worker"));
        for worker in here {
            let _ = writeln!(
                text,
                "  {:28.28} {:11} {:>11} {:>10} {:>15}  heard {:.1} s ago",
                worker.name,
                worker.state,
                plural(worker.threads.into(), "thread"),
                plural(worker.leases, "lease"),
                plural(worker.trials, "trial"),
                worker.silent_seconds
            );
        }
        for trouble in self.counts.troubles() {
            let _ = writeln!(text, "  ! {trouble}");
        }
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
            trials: Trials { total: 300, stored: 60, reused: 10 },
            seconds_left: Some(12.0),
            conditions: vec![Part { name: "a \"b\"\\\n".into(), total: 100, stored: 20 }],
            workers: vec![
                WorkerStatus {
                    name: "node1/77".into(),
                    state: "working".into(),
                    threads: 4,
                    ..Default::default()
                },
                WorkerStatus { state: "gone".into(), threads: 8, ..Default::default() },
            ],
            counts: Counts { leases: 7, refused: 3, ..Default::default() },
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
    fn people_see_who_is_here() {
        let text = snapshot().to_text();
        assert!(text.starts_with("paper: computing, 60 of 300 trials stored (20 %)"), "{text}");
        assert!(text.contains("1 worker, 1 gone\n  node1/77 "), "{text}");
    }
}
