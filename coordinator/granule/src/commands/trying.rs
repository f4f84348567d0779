//! `granule try`: computes one trial of a model of the user's own twice, in the foreground, and compares the results.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use granule_engine::{Digest, Model, TrialSpikes};
use granule_farm::catalogue::first_difference;
use granule_server::view::log::line;
use granule_sweep::{Condition, Overrides};
use granule_system::os;
use granule_text::words::brief;
use granule_text::{lines, one_line, plural};
use granule_worker::program::{Processes, SingleTrial};

use crate::cli::{self, exit};
use crate::commands::sweep_file::read_model;
use crate::commands::sweep_run::MAY_DEPEND;
use crate::failure::{Failure, shown};
use crate::stdout::say;

pub(crate) fn run(arguments: &cli::Try) -> Result<(), Failure> {
    let cli::Try { model: path, seed, trial, .. } = arguments;
    let (local, program) = read_model(path)?;
    let condition = condition(arguments, program.engine())?;
    let model = &condition.model;
    let granule = os::this_program().map_err(|error| Failure::caused_by(exit::FAILED, &error, None))?;
    let processes = Processes::new(local, program, granule, 1);
    let compute = |times| {
        let computed = with_notice(|| processes.once(model, *seed, *trial, times));
        computed.map_err(|error| Failure::caused_by(exit::FAILED, &error, None))
    };
    let file = program.file();
    say(&format!("model {} ({}): `{}`\n", file.name, shown(path), file.program.join(" ")))?.done();
    let first = compute(1)?;
    let versions: Vec<String> =
        first.versions.iter().map(|(package, version)| one_line(&format!("{package} {version}"))).collect();
    if !versions.is_empty() {
        say(&format!("versions: {}\n", versions.join(", ")))?.done();
    }
    let SingleTrial { result, printed, starting, taken, .. } = first;
    say(&format!(
        "trial {trial} of seed {seed}: {}, after {} to start the program\n",
        in_short(taken),
        in_short(starting)
    ))?
    .done();
    let of_trial = |why: granule_engine::NoResult| {
        let message =
            format!("error: the trial has no result\n  because: {}", why.to_string().replace('\n', "\n  "));
        Failure::new(exit::FAILED, message)
    };
    let result = result.map_err(of_trial)?;
    say(&description(model, &result))?.done();
    if !printed.trim().is_empty() {
        say(&format!("the program printed:\n  {}\n", lines(printed.trim_end()).replace('\n', "\n  ")))?
            .done();
    }
    // Computed twice, so that a result that depends on the trial before differs.
    let again = compute(2)?.result.map_err(of_trial)?;
    let digest = Digest::of(&result.encode());
    if again != result {
        return Err(Failure::new(
            exit::DISAGREED,
            format!(
                "error: a second process, which computed the trial twice, gave another result\n  because: {}\n  \
                 help: {MAY_DEPEND}",
                first_difference(model, &result, &again, "the second time")
                    .replace(" stored", " the first time")
            ),
        ));
    }
    say(&format!("a second process gave the same result, bit by bit (BLAKE3 {digest})\n"))?.done();
    Ok(())
}

/// Says what it waits for if this takes long.
fn with_notice<T>(compute: impl FnOnce() -> T) -> T {
    const LONG: Duration = Duration::from_secs(5);
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
                line(
                    "waiting for the program to answer: it must write a line to descriptor 4 and flush it; raw bytes \
                     must be as many as the line states. Ctrl-C ends it",
                );
            }
        });
        let computed = compute();
        drop(done);
        computed
    })
}

/// Returns the condition with the values of the command line, which are written as in sweep files.
fn condition(
    arguments: &cli::Try,
    engine: &'static dyn granule_engine::Engine,
) -> Result<Condition, Failure> {
    let mut text = "model: try\nconditions:\n  - name: try\n".to_owned();
    if !arguments.set.is_empty() {
        text.push_str("    set:\n");
    }
    for set in &arguments.set {
        let Some((path, value)) = set.split_once('=') else {
            let message = format!(
                "error: --set {set} has no `=`\n  help: write a parameter and its value, as in --set {}",
                engine.space().parameters().first().map_or("synapse.weight='2 nS'".to_owned(), |first| {
                    format!("{}='{} {}'", first.path, first.default, first.unit()).replace(" '", "'")
                })
            );
            return Err(Failure::new(exit::USAGE, message));
        };
        text.push_str(&format!("      {}: {}\n", path.trim(), value.trim()));
    }
    let engines = vec![engine].leak();
    let sweep = granule_sweep::parse(engines, "--set", text.as_bytes(), "try", &Overrides::default());
    let sweep = sweep.map_err(|error| Failure::of_text(exit::USAGE, &error.to_string()))?;
    Ok(sweep.conditions[0].clone())
}

/// Describes the result of a trial, for people.
fn description(model: &Model, result: &TrialSpikes) -> String {
    let engine = model.engine();
    let step_ms = model.time().step_ms;
    let seconds = model.time().duration_ms() * 1e-3;
    let mut text = String::new();
    for ((population, &cells), train) in engine.populations().iter().zip(model.sizes()).zip(&result.trains) {
        let rate = train.len() as f64 / f64::from(cells) / seconds;
        let ends = match (train.first(), train.last()) {
            (Some(first), Some(last)) => format!(
                ", from {:.3} to {:.3} ms",
                f64::from(first.step) * step_ms,
                f64::from(last.step) * step_ms
            ),
            _ => String::new(),
        };
        let spikes = plural(train.len() as u64, "spike");
        let cells = plural(cells.into(), "cell");
        text.push_str(&format!("  {}: {spikes} of {cells}, {rate:.2} Hz a cell{ends}\n", population.name));
    }
    for (returned, elements) in engine.returns().iter().zip(&result.values) {
        let finite = || elements.iter().filter(|x| x.is_finite());
        let value = match elements.as_slice() {
            [one] => format!("{one}"),
            many => {
                let (least, most) =
                    (finite().fold(f64::NAN, |a, b| a.min(*b)), finite().fold(f64::NAN, |a, b| a.max(*b)));
                let mean = finite().sum::<f64>() / finite().count().max(1) as f64;
                format!("{} values, from {least} to {most}, mean {mean}", many.len())
            }
        };
        text.push_str(&format!("  {}: {value} {}\n", returned.name, returned.unit).replace(" \n", "\n"));
    }
    text
}

fn in_short(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{:.3} s", time.as_secs_f64()) } else { brief(time) }
}
