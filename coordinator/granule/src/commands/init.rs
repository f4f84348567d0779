//! `granule init`: writes a sweep file to start from, a model of the user's own, or the file of a batch system.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use granule_program::templates::{self, Template};
use granule_sweep::check_sweep_name;

use crate::cli::{self, Language, exit};
use crate::commands::batch;
use crate::engines::ENGINES;
use crate::failure::{Failure, shell_path, shown};
use crate::stdout::say;

const SWEEP: &str = "sweep.yaml";
const MODEL: &str = "my-model.model.yaml";

pub(crate) fn run(arguments: &cli::Init) -> Result<(), Failure> {
    let (files, text) = match (arguments.model, &arguments.batch) {
        (None, Some(system)) => {
            let content = batch::file_of(system)?.to_owned();
            let path = arguments.file.clone().unwrap_or_else(|| format!("{system}.batch.yaml").into());
            let next = format!("granule batch SWEEP --jobs N --system {}", shell_path(&path));
            let text = format!("Wrote {}. Change it, then use it:\n  {next}\n", shown(&path));
            (vec![(path, content)], text)
        }
        (None, None) => {
            let path = arguments.file.clone().unwrap_or_else(|| SWEEP.into());
            let next = format!("Change it, then run it:\n  granule run {}\n", shell_path(&path));
            let text = format!("Wrote {}. {next}", shown(&path));
            (vec![(path, ENGINES[0].template())], text)
        }
        (Some(language), _) => model(language, arguments.file.as_deref().unwrap_or(Path::new(MODEL)))?,
    };
    if arguments.model.is_none() && arguments.file.as_deref() == Some(Path::new("-")) {
        files.iter().try_for_each(|(_, content)| say(content).map(|said| said.done()))?;
        return Ok(());
    }
    let mut made: Vec<&Path> = Vec::new();
    for (path, content) in &files {
        // Never replace an existing file.
        let written = File::create_new(path).and_then(|mut file| {
            made.push(path);
            file.write_all(content.as_bytes()).and_then(|()| file.sync_all())
        });
        if let Err(error) = written {
            // Some files, or half of one, would be in the way of the next attempt.
            made.iter().for_each(|path| drop(fs::remove_file(path)));
            let batch = arguments.batch.iter().map(|system| format!(" --batch {system}")).collect::<String>();
            return Err(failure(path, &error, &batch));
        }
    }
    say(&text)?.done();
    Ok(())
}

/// Returns the files of a model, and what to do with them.
fn model(language: Language, path: &Path) -> Result<(Vec<(PathBuf, String)>, String), Failure> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let ends = [".model.yaml", ".model.yml", ".yaml", ".yml"];
    let name = ends.iter().find_map(|end| file.strip_suffix(end)).unwrap_or(&file);
    check_sweep_name(name).map_err(|problem| {
        let message = format!("error: a model cannot be called `{}`: {problem}", name.escape_debug());
        Failure::new(exit::USAGE, format!("{message}\n  help: {}", problem.help()))
    })?;
    let template = match language {
        Language::Python => &templates::PYTHON,
        Language::C => &templates::C,
    };
    let Template { program, ending, model, sweep, compile } = template;
    let at = |ending: &str| path.with_file_name(format!("{name}{ending}"));
    let content = |text: &str| text.replace(templates::NAME, name);
    let (model_file, sweep_file) = (at(".model.yaml"), at(".yaml"));
    let files = vec![
        (model_file.clone(), content(model)),
        (at(ending), content(program)),
        (sweep_file.clone(), content(sweep)),
    ];
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let compile = match (compile, directory) {
        (None, _) => String::new(),
        (Some(compile), None) => format!("  {}\n", content(compile)),
        (Some(compile), Some(directory)) => {
            format!("  (cd {} && {})\n", shell_path(directory), content(compile))
        }
    };
    let text = format!(
        "Wrote {}, {} and {}.\nTry the model, change it, then run the sweep:\n{compile}  granule try {}\n  granule run {}\n",
        shown(&model_file),
        shown(at(ending)),
        shown(&sweep_file),
        shell_path(&model_file),
        shell_path(&sweep_file)
    );
    Ok((files, text))
}

fn failure(path: &Path, error: &io::Error, options: &str) -> Failure {
    let (what, help) = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let help = format!("name another file: `granule init{options} FILE`; this one was not changed");
            ("already exists", Some(help))
        }
        io::ErrorKind::NotFound => {
            ("cannot be written: its directory does not exist", Some("make the directory first".to_owned()))
        }
        _ => ("cannot be written", None),
    };
    let mut message = format!("error: {} {what}", path.display());
    if help.is_none() {
        message.push_str(&format!("\n  because: {error}"));
    }
    if let Some(help) = help {
        message.push_str(&format!("\n  help: {help}"));
    }
    Failure::new(exit::FAILED, message)
}
