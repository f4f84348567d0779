//! Output on a terminal: the program runs in a pseudoterminal, and a terminal emulator shows the screen.

use std::io::{Read, Write};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::support::{Place, Sweep, send, wait_for};

const ROWS: u16 = 24;

/// A terminal with the program in it, and its screen.
struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts the program in a terminal of this width.
    fn start(place: &Place, columns: u16, arguments: &[&str]) -> Terminal {
        Terminal::start_as(Some("xterm"), place, columns, arguments)
    }

    /// The same, for this value of TERM.
    fn start_as(kind: Option<&str>, place: &Place, columns: u16, arguments: &[&str]) -> Terminal {
        let (pty, pts) = open().expect("a terminal");
        pty.resize(Size::new(ROWS, columns)).expect("a size");
        let command = Command::from(place.granule(arguments));
        let command = match kind {
            Some(kind) => command.env("TERM", kind),
            None => command.env_remove("TERM"),
        };
        let child = command.spawn(pts).expect("the program starts");
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, columns, 0)));
        let reader = {
            let (pty, screen) = (Arc::clone(&pty), Arc::clone(&screen));
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                // Reading fails once no process has the other end open.
                while let Ok(count @ 1..) = (&*pty).read(&mut buffer) {
                    screen.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..count]);
                }
            })
        };
        Terminal { child, pty, screen, reader }
    }

    /// The rows of the screen, without trailing spaces and empty rows.
    fn rows(&self) -> Vec<String> {
        let parser = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = parser.screen();
        let (_, columns) = screen.size();
        let mut rows: Vec<String> = screen.rows(0, columns).map(|row| row.trim_end().to_owned()).collect();
        while rows.pop_if(|row| row.is_empty()).is_some() {}
        rows
    }

    /// Waits for a row like this and returns it.
    #[track_caller]
    fn until(&self, what: &str, is_like: impl Fn(&str) -> bool) -> String {
        wait_for(what, || self.rows().into_iter().find(|row| is_like(row)))
    }

    /// Waits until all rows are like this and returns them. A single read may contain half of a redraw.
    #[track_caller]
    fn until_all(&self, what: &str, are_like: impl Fn(&[String]) -> bool) -> Vec<String> {
        wait_for(what, || Some(self.rows()).filter(|rows| are_like(rows)))
    }

    /// Sends keys to the program.
    fn types(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).expect("a terminal that is open");
    }

    /// Sends Ctrl-S: from now on the terminal takes no output.
    fn stalls(&self) {
        self.types("\u{13}");
    }

    /// Waits for the end of the program, not for the screen. Returns the exit code.
    #[track_caller]
    fn code(mut self) -> Option<i32> {
        wait_for("the program ends", || self.child.try_wait().expect("a child")).code()
    }

    /// Waits for the end of the program. Returns the exit code and the screen.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the program ends", || self.child.try_wait().expect("a child"));
        // This process holds the last end, so a read may block for ever. Everything written is already on the screen.
        wait_for("all is shown", || self.reader.is_finished().then_some(()));
        (status.code(), self.rows().join("\n"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a row shows progress, which is redrawn.
fn is_progress(row: &str) -> bool {
    row.contains(" %  ") || row.contains('█') || row.contains("trials/s") || row.contains("waiting for")
}

/// Whether the last rows are an empty one, one row for each of these bars with its name and count, and the status. A
/// row that does not fit would continue in a further row.
fn are_bars(rows: &[String], bars: &[(String, String)], status: &str) -> bool {
    let shown = &rows[rows.len().saturating_sub(bars.len() + 2)..];
    let is_bar = |(row, (name, count)): (&String, &(String, String))| {
        row.starts_with(name) && row.contains(" %  ") && row.contains(count)
    };
    shown.len() == bars.len() + 2
        && shown[0].is_empty()
        && shown[1..].iter().zip(bars).all(is_bar)
        && shown[bars.len() + 1].starts_with(status)
}

/// Expects no progress row on the screen, and these parts in this order.
#[track_caller]
fn check_screen(screen: &str, parts: &[&str]) {
    assert!(!screen.lines().any(is_progress), "bars are left:\n{screen}");
    let mut rest = screen;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("no “{part}” in its place in\n{screen}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_run_shows_how_far_it_is_and_leaves_what_came_of_it() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep { trials: 100, ..Sweep::slow() });
    let terminal = Terminal::start(&place, 80, &["run", "x.yaml", "--workers", "2"]);
    terminal.until("it says how fast", |row| row.starts_with("  2 workers · ") && row.contains(" left"));
    let bar = |name: &str, total: u32| (format!("{name}  "), format!("/{total}"));
    let bars = [bar("test", 300), bar("  Control", 100), bar("  GABAzine", 100), bar("  ACh", 100)];
    let rows = terminal.until_all("it shows bars", |rows| are_bars(rows, &bars, "  2 workers · "));
    assert!(rows[0].starts_with("test: 3 conditions × 1 seed × 100 trials"), "{rows:#?}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    check_screen(&screen, &["test: 3 conditions", "Sweep test is complete: 300 trials computed", "hashes:"]);
}

#[test]
fn what_is_narrow_is_not_torn() {
    let place = Place::new();
    let yaml = "name: of-many-doses-of-something\nengine: pcg\ntrials: 60\n\
                network: { mossy_fibers: 40, granule_cells: 64, golgi_cells: 5 }\nconditions:\n  \
                - name: tonic-{granule.tonic_factor}\n    \
                grid: { granule.tonic_factor: { linspace: [0, 2, 21] } }\n";
    place.write("x.yaml", yaml);
    let terminal = Terminal::start(&place, 60, &["run", "x.yaml", "--workers", "1"]);
    terminal.until("it says how fast", |row| row.contains("trials/s"));
    let bar = |name: &str, count: &str| (name.to_owned(), count.to_owned());
    let bars = [bar("of-many-doses-of-some…  ", "/1260"), bar("  conditions  ", "/21")];
    terminal.until_all("it shows bars", |rows| are_bars(rows, &bars, "  1 worker · "));
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    check_screen(&screen, &["is complete: 1260"]);
}

#[test]
fn an_end_that_is_typed_leaves_how_to_go_on() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep { trials: 4000, ..Sweep::slow() });
    let terminal = Terminal::start(&place, 80, &["run", "x.yaml", "--workers", "2"]);
    terminal.until("it computes", |row| row.contains("trials/s"));
    terminal.types("\u{3}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(130), "{screen}");
    check_screen(
        &screen,
        &["test: 3 conditions", "interrupted: ", " of 12000 trials are stored", "to resume: "],
    );
}

#[test]
fn an_end_that_is_typed_twice_leaves_that_too() {
    let place = Place::new();
    place.sweep("x.yaml", &Sweep { trials: 4000, ..Sweep::slow() });
    let serve = ["serve", "x.yaml", "--listen", "127.0.0.1:0", "--workers", "2"];
    let terminal = Terminal::start(&place, 80, &serve);
    terminal.until("it computes", |row| row.contains("trials/s"));
    // Suspended workers do not give back their leases.
    let all = place.processes();
    let coordinator = terminal.child.id();
    all.iter().filter(|id| **id != coordinator).for_each(|id| send(*id, Signal::SIGSTOP));
    terminal.types("\u{3}");
    terminal.until("it is ending", |row| {
        row.starts_with("  ending: ") && row.contains("press Ctrl-C again to end at once")
    });
    terminal.types("\u{3}");
    let (code, screen) = terminal.end();
    all.iter().for_each(|id| send(*id, Signal::SIGCONT));
    assert_eq!(code, Some(130), "{screen}");
    check_screen(&screen, &["ending: workers finish their leases", "stopped; ", "to resume: "]);
    place.is_left_alone();
}

#[test]
fn what_is_wrong_is_said() {
    let place = Place::new();
    let (code, screen) = Terminal::start(&place, 80, &["run", "nowhere.yaml"]).end();
    assert_eq!(code, Some(2));
    check_screen(&screen, &["error: cannot read sweep file nowhere.yaml"]);
}

#[test]
fn a_terminal_that_takes_no_output_does_not_hold_up_a_run() {
    let sweep = Sweep { trials: 100, ..Sweep::slow() };
    let undisturbed = sweep.undisturbed();
    let place = Place::new();
    place.sweep("x.yaml", &sweep);
    let terminal = Terminal::start(&place, 80, &["run", "x.yaml", "--out", "out", "--workers", "2"]);
    terminal.until("it computes", |row| row.contains("trials/s"));
    terminal.stalls();
    assert_eq!(terminal.code(), Some(0));
    assert_eq!(place.outputs("out"), undisturbed);
    place.is_left_alone();
    // The same for a complete sweep, which only prints its summary.
    let terminal = Terminal::start(&place, 80, &["run", "x.yaml", "--out", "out"]);
    terminal.stalls();
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_terminal_that_takes_no_output_does_not_hold_up_a_coordinator() {
    let sweep = Sweep { trials: 400, ..Sweep::slow() };
    let place = Place::new();
    place.sweep("x.yaml", &sweep);
    let serve = ["serve", "x.yaml", "--out", "out", "--listen", "127.0.0.1:0"];
    let terminal = Terminal::start(&place, 80, &serve);
    terminal.until("it waits", |row| row.contains("waiting for workers"));
    terminal.stalls();
    // Each of these workers causes a notice.
    for _ in 0..3 {
        let leaving = ["--threads", "1", "--time-limit", "1s"];
        place.worker(&leaving).end().succeeded();
    }
    place.worker(&["--threads", "2"]).end().succeeded();
    assert_eq!(terminal.code(), Some(0));
    assert_eq!(place.outputs("out"), sweep.undisturbed());
    place.is_left_alone();
}

#[test]
fn signals_end_what_is_in_a_terminal_that_takes_no_output() {
    for (signals, expected) in
        [(&[Signal::SIGTERM][..], 143), (&[Signal::SIGINT], 130), (&[Signal::SIGINT; 2], 130)]
    {
        let place = Place::new();
        place.sweep("x.yaml", &Sweep { trials: 4000, ..Sweep::slow() });
        let serve = ["serve", "x.yaml", "--out", "out", "--listen", "127.0.0.1:0"];
        let terminal = Terminal::start(&place, 80, &serve);
        terminal.until("it waits", |row| row.contains("waiting for workers"));
        terminal.stalls();
        let mut worker = place.worker(&["--threads", "2"]);
        let stored = || place.status().and_then(|status| status["trials"]["stored"].as_u64());
        wait_for("it serves", || stored().filter(|stored| *stored > 20));
        if signals.len() > 1 {
            // The suspended worker does not give back its leases.
            worker.signal(Signal::SIGSTOP);
        }
        for signal in signals {
            send(terminal.child.id(), *signal);
            let state = || place.status().is_none_or(|status| status["state"] == "draining").then_some(());
            wait_for("the signal is noticed", state);
        }
        assert_eq!(terminal.code(), Some(expected));
        worker.signal(Signal::SIGCONT);
        worker.signal(Signal::SIGKILL);
        wait_for("the worker is gone", || worker.has_ended().then_some(()));
    }
}

/// Whether a line begins with a date, like log lines.
fn is_dated(row: &str) -> bool {
    let shape = row.chars().take(20).map(|c| if c.is_ascii_digit() { '0' } else { c });
    shape.collect::<String>() == "0000-00-00T00:00:00Z"
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_is_a_log() {
    for kind in [Some("dumb"), Some("unknown"), None] {
        let place = Place::new();
        place.sweep("x.yaml", &Sweep { trials: 400, ..Sweep::slow() });
        let run = ["run", "x.yaml", "--out", "out", "--workers", "2"];
        let terminal = Terminal::start_as(kind, &place, 200, &run);
        let worker = wait_for("it computes", || {
            let status = place.length("out/store.granule") > 100_000;
            let ours = terminal.child.id();
            place.processes().into_iter().find(|id| status && *id != ours)
        });
        send(worker, Signal::SIGKILL);
        let notice = format!("worker process {worker} was killed by signal 9");
        let row = terminal.until("the death is told", |row| row.contains(&notice));
        assert!(is_dated(&row), "{kind:?}: {row}");
        terminal.until("it says how far it is", |row| is_dated(row) && row.contains("/1200 trials ("));
        send(terminal.child.id(), Signal::SIGTERM);
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(143), "{screen}");
        assert!(screen.starts_with("test: 3 conditions") && screen.contains("\nterminated: "), "{screen}");
        assert!(!screen.contains('█') && !screen.contains('\u{1b}'), "{screen}");
    }
}
