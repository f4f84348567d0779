use granule_sweep::{Overrides, Plan, parse};

use super::*;

/// Two conditions and one seed.
fn feed() -> Arc<Feed> {
    let text = "engine: toy\nconditions: [Base, Strong]\n";
    let sweep =
        parse(granule_toy::ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).expect("a sweep");
    let (counts, _) = Counts::new(Arc::new(Plan::new(&sweep)));
    Arc::new(Feed::new(&ShownSweep::new(&sweep), Arc::new(counts)))
}

fn snapshot(pairs: [u32; 2], workers: &[(&str, f64)]) -> Arc<Snapshot> {
    let worker = |&(id, silent_seconds): &(&str, f64)| WorkerStatus {
        id: id.into(),
        state: "working".into(),
        silent_seconds,
        ..Default::default()
    };
    Arc::new(Snapshot {
        pairs: pairs.to_vec(),
        workers: workers.iter().map(worker).collect(),
        ..Default::default()
    })
}

fn end() -> RunEnd {
    RunEnd { is_complete: true, text: "well".into() }
}

/// Returns the names of events, and the numbers of those that have one.
fn names(text: &Bytes) -> Vec<(String, Option<u64>)> {
    let text = std::str::from_utf8(text).expect("text");
    let event = |event: &str| {
        let name = event.lines().next().and_then(|line| line.strip_prefix("event: ")).expect("a name");
        let id = event.lines().find_map(|line| line.strip_prefix("id: "));
        (name.to_owned(), id.and_then(|id| id.rsplit_once('-')?.1.parse().ok()))
    };
    text.split_terminator("\n\n").map(event).collect()
}

#[test]
fn only_what_changed_is_told() {
    let before = snapshot([1, 2], &[("a", 0.1), ("b", 4.0)]);
    let now = snapshot([1, 3], &[("a", 3.9), ("b", 5.5), ("c", 0.0)]);
    let (pairs, workers) = changes(&before, &now).expect("it is the same run");
    assert_eq!(pairs, [(1, 3)]);
    let told: Vec<(&str, u64)> = workers.iter().map(|worker| (worker.id, worker.silent_seconds)).collect();
    assert_eq!(told, [("b", 5), ("c", 0)]);
    assert!(changes(&now, &before).is_none(), "one is gone");
    assert!(changes(&Snapshot::default(), &now).is_none(), "there was nothing before");
}

#[tokio::test]
async fn a_page_that_cannot_follow_is_told_all_again() {
    let feed = feed();
    feed.tell(snapshot([0, 0], &[]), Vec::new(), None);
    let (page, mut told) = mpsc::channel(1);
    let follows = tokio::spawn(Arc::clone(&feed).follow(Vec::new(), page));
    assert_eq!(names(&told.recv().await.expect("a snapshot")), [("snapshot".to_owned(), Some(1))]);
    for stored in 1..=3 * FRAMES as u32 {
        feed.tell(snapshot([stored, 0], &[]), Vec::new(), None);
        tokio::task::yield_now().await;
    }
    feed.tell(snapshot([99, 1], &[]), Vec::new(), Some(&end()));
    let mut last = Bytes::new();
    let mut all = Vec::new();
    while let Some(text) = told.recv().await {
        all.extend(names(&text));
        last = text;
    }
    follows.await.expect("no panic");
    assert!(all.iter().filter(|(name, _)| name == "snapshot").count() == 1, "{all:?}");
    assert!(all.len() < FRAMES, "{all:?}");
    assert!(all.is_sorted_by(|a, b| a.1 < b.1), "{all:?}");
    let last = String::from_utf8(last.to_vec()).expect("text");
    assert!(last.contains(r#""pairs":[99,1]"#) && last.contains(r#""is_complete":true"#), "{last}");
}

#[tokio::test]
async fn a_page_that_comes_after_the_end_is_told_it() {
    let feed = feed();
    feed.tell(
        snapshot([1, 1], &[]),
        vec![Arc::new(Notice::new("refused", None, "a\nb".into()))],
        Some(&end()),
    );
    let (page, mut told) = mpsc::channel(1);
    Arc::clone(&feed).follow(vec![1, 1, 7], page).await;
    let text = told.recv().await.expect("a snapshot");
    assert_eq!(names(&text), [("snapshot".to_owned(), Some(1)), ("spikes".to_owned(), None)]);
    let text = String::from_utf8(text.to_vec()).expect("text");
    assert!(text.contains(r#""text":"a\\u{a}b""#), "{text}");
    assert!(told.recv().await.is_none());
    assert!(feed.state().watched.is_empty(), "nobody looks any more");
}

#[test]
fn old_notices_are_forgotten() {
    let feed = feed();
    let notice = |at: usize| Arc::new(Notice::new("refused", None, at.to_string()));
    feed.tell(snapshot([0, 0], &[]), (0..2 * NOTICES).map(notice).collect(), None);
    let state = feed.state();
    let told = told(&state.notices, 0);
    assert_eq!(
        (told.len(), told[0].seq, told[0].text),
        (NOTICES, NOTICES as u64, NOTICES.to_string().as_str())
    );
}
