//! Signals that ask the program to stop: SIGINT, SIGTERM and SIGHUP; and SIGUSR1, with which schedulers warn of a
//! SIGTERM.

use std::io;
use std::time::{Duration, Instant};

use granule_server::view::log::{self, line};
use granule_server::view::stderr;
use granule_system::exit;
use granule_system::os;
use granule_system::threads;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGINT, as from Ctrl-C.
    Interrupt,
    /// SIGTERM or SIGUSR1.
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl Stop {
    /// Name of the signal.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stop::Interrupt => "SIGINT",
            Stop::Terminate => "SIGTERM",
            Stop::HangUp => "SIGHUP",
        }
    }

    /// Returns the word for the end of a command that stops for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Stop::Interrupt => "interrupted",
            Stop::Terminate => "terminated",
            Stop::HangUp => "hung up",
        }
    }

    /// Exit code of a command that stops for it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Stop::Interrupt => exit::INTERRUPTED,
            Stop::Terminate => exit::TERMINATED,
            Stop::HangUp => exit::HUNG_UP,
        }
    }

    /// Whether it ends a command at once that got another request this long ago. Several processes may pass on a single
    /// event. Slurm sends SIGTERM to a job's shell, which passes it on, and to all processes of the job. A shell and
    /// the system send SIGHUP for one terminal.
    fn is_urgent(self, first: Stop, ago: Duration) -> bool {
        const SAME_WITHIN: Duration = Duration::from_secs(1);
        match self {
            Stop::Interrupt => true,
            Stop::Terminate => first == Stop::Interrupt || ago >= SAME_WITHIN,
            Stop::HangUp => false,
        }
    }
}

/// The request to stop, if there was one.
pub(crate) type Stopped = watch::Receiver<Option<Stop>>;

/// Handlers of the signals.
pub(crate) struct Signals {
    interrupts: Signal,
    terminations: Signal,
    /// SIGUSR1.
    warnings: Signal,
    /// None if SIGHUP was ignored at the start, as by `nohup`, or may have been.
    hangups: Option<Signal>,
    first: Option<(Stop, Instant)>,
}

impl Signals {
    /// Installs the handlers. Must be called in a runtime.
    ///
    /// # Errors
    /// When the system refuses. Then each signal ends the process.
    pub(crate) fn new() -> io::Result<Signals> {
        // If the system does not tell, SIGHUP is left as it is.
        let hangups = match os::is_hangup_ignored() {
            Some(false) => Some(signal(SignalKind::hangup())?),
            _ => None,
        };
        let interrupts = signal(SignalKind::interrupt())?;
        let terminations = signal(SignalKind::terminate())?;
        let warnings = signal(SignalKind::user_defined1())?;
        Ok(Signals { interrupts, terminations, warnings, hangups, first: None })
    }

    /// Returns the next signal that matters: the first, and then each that asks to end at once.
    pub(crate) async fn next(&mut self) -> Stop {
        loop {
            let stop = tokio::select! {
                _ = self.interrupts.recv() => Stop::Interrupt,
                _ = self.terminations.recv() => Stop::Terminate,
                _ = self.warnings.recv() => Stop::Terminate,
                () = hangup(self.hangups.as_mut()) => Stop::HangUp,
            };
            match self.first {
                None => {
                    self.first = Some((stop, Instant::now()));
                    return stop;
                }
                Some((first, at)) if stop.is_urgent(first, at.elapsed()) => return stop,
                Some(_) => {}
            }
        }
    }
}

async fn hangup(hangups: Option<&mut Signal>) {
    match hangups {
        Some(hangups) => _ = hangups.recv().await,
        None => std::future::pending().await,
    }
}

/// Turns the first signal into a request to stop. Ends the process on the second, after this message. This runs in a
/// thread of its own, so it works even if all others are busy.
///
/// # Errors
/// When the system has no thread or no files for it.
pub(crate) fn listen(farewell: String) -> io::Result<Stopped> {
    let (stop, stopped) = watch::channel(None);
    let runtime = threads::runtime()?;
    let listen = async move {
        let mut signals = Signals::new();
        loop {
            let next = async {
                match &mut signals {
                    Ok(signals) => signals.next().await,
                    Err(_) => std::future::pending().await,
                }
            };
            let kind = tokio::select! {
                kind = next => kind,
                () = stop.closed() => return,
            };
            if stop.borrow().is_some() {
                stderr::draw(None);
                line(&farewell);
                log::exit(kind.code());
            }
            let _ = stop.send(Some(kind));
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listen))?;
    Ok(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_one_request() {
        use Stop::{HangUp, Interrupt, Terminate};
        let (soon, late) = (Duration::from_millis(300), Duration::from_secs(2));
        for first in [HangUp, Interrupt, Terminate] {
            assert!(Interrupt.is_urgent(first, soon), "a person types it");
            assert!(Terminate.is_urgent(first, late));
            assert!(!HangUp.is_urgent(first, late), "a terminal is gone once");
        }
        assert!(!Terminate.is_urgent(Terminate, soon) && !Terminate.is_urgent(HangUp, soon));
        assert!(Terminate.is_urgent(Interrupt, soon));
    }
}
