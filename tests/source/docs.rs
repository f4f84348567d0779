//! The documentation of parameters, sweep files and errors agrees with the program.

use std::fs;

use granule_engine::Value;
use granule_engine::space::{CellFactor, Kind, Range};
use granule_granular::{ENGINES, Parameters, parameters, space};
use granule_sweep::{Condition, Overrides, parse};

use crate::support::{Place, root};

/// Rules that do not fit into the table.
const RULES: &str = "
## Times, counts and draws

**Times in steps.** A stimulus falls into the step that contains its time. A refractory period is cut to whole steps. A time that is
at most a thousandth of a step before the start of a step counts as the start of that step. A delay is rounded to the nearest step,
half up. Each of `stimulus.times` must lie in a step of the trial, and no two in the same step.

Engine `pcg` computes steps exactly, from the decimals as they are written. With more than 15 digits, it uses the shortest decimal
that is the same double. `brian2-2.2.1` computes them as Brian2 does, in double precision; there, a delay of half a step may be rounded
up or down ([engines.md](engines.md#times-and-counts-in-brian2-221)).

**Steps.** A whole number of steps makes 1 ms, such as 0.1, 0.05, 0.025 or 0.008 ms, to one part in 10⁹. If a step is not a finite
decimal, write ten significant digits or more: `0.3333333333 ms` is a third of a millisecond.

**Convergence** is the mean number of synapses onto a cell: each pair of cells is connected with the probability convergence /
presynaptic cells. A convergence above the number of presynaptic cells connects all pairs; granule then prints a note.

**Noise.** The noise conductance g obeys dg = −g/τ dt + σ √(1/τ) dW, with τ = `noise.tau` and σ = `noise_sigma`. Its standard deviation
is σ/√2: with the defaults, 0.035 nS for granule cells and 0.071 nS for Golgi cells. It starts at 0.

**Random weights.** The weight of a mossy fibre in a trial is its mean weight times a factor. The mean weight is drawn once from a
gamma distribution. The factor has an exponential distribution of mean 1, and all fibres of a trial share it. With `brian2-2.2.1`,
there are only 999 factors, and their mean is 0.962 ([validation.md](validation.md#the-trial-factors-of-brian2-221)).

**Gamma distributions** (`weights.mean` and `weights.sd`, `granule.tonic_factor`): the standard deviation is between a millionth of the
mean and 3 times the mean.

**Conductances** in the files `CondE` and `CondI` are sums over synapses, as the original recorded them. Each is the conductance that
acts on the cell, times its number of synapses of that kind. Synapses of inactive mossy fibres count as well. The sample at t ms has
the conductance that acted in the step before.
";

fn parameters_page() -> String {
    let mut page = String::from(
        "# Parameters\n\n\
         Every parameter of [the model](model.md), as you write it in the `set:` of a condition. Quantities need a unit, with or without an\n\
         SI prefix (`0.17 nS`, `170 pS`). The defaults are those of the paper's Control. A group of parameters at the top of a\n\
         sweep file, such as `network:` or `golgi:`, sets them for all conditions ([sweeps.md](sweeps.md)).\n\n\
         | parameter | default | range | meaning |\n|---|---|---|---|\n",
    );
    let defaults = Parameters::default();
    for parameter in space().parameters() {
        let unit = parameter.unit();
        let default = format!("{} {unit}", parameter.default);
        let range = match parameter.kind {
            Kind::Flag => "`true` or `false`".to_owned(),
            Kind::Choice(names) => {
                let mut names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                names.sort();
                names.join(" or ")
            }
            Kind::Factor => {
                "a number, 0 or above, or `{ gamma: { mean: 0.4, sd: 0.07, seed: 1 } }`".to_owned()
            }
            Kind::Count if parameter.range == Range::NonNegative => "a whole number below 2^32".to_owned(),
            Kind::Count => format!("a whole number {}", parameter.range.in_words(unit)),
            Kind::Quantities(_) => format!("a list, each {}", parameter.range.in_words(unit)),
            Kind::Quantity(_) => parameter.range.in_words(unit),
        };
        page.push_str(&format!(
            "| `{}` | {} | {range} | {} |\n",
            parameter.path,
            default.trim_end(),
            parameter.meaning
        ));
    }
    let (step, granule, golgi) = (defaults.time.step_ms, defaults.granule, defaults.golgi);
    let per_step = |cell: parameters::Cell| cell.capacitance_pfarad / step;
    page.push_str(&format!(
        "\n## Limits of the step\n\n\
         Forward Euler with a step dt needs time constants longer than dt. granule refuses sweeps with shorter ones before it\n\
         computes, and prints the limit. With the defaults, the limits are:\n\n\
         | quantity | must be | granule cells | Golgi cells |\n|---|---|---|---|\n\
         | `excitatory.tau`, `inhibitory.tau`, `noise.tau` | above dt | {step} ms | {step} ms |\n\
         | leak + tonic conductance × tonic factor | below capacitance / dt | {} nS | {} nS |\n\
         | the weight × `scale` of one synapse | below 2 × capacitance / dt | {} nS | {} nS |\n\n\
         For factors that are drawn, the limit applies to the value that at most one network in a thousand exceeds.\n\
         With mean m and standard deviation s it is m + s √(2t) + t s²/m, t = ln(1000 × `network.granule_cells`).\n\
         For random weights, the limit applies to their mean, `weights.mean`.\n",
        per_step(granule),
        per_step(golgi),
        2.0 * per_step(granule),
        2.0 * per_step(golgi),
    ));
    page.push_str(RULES);
    page.push_str(
        "\n## Presets\n\nThe paper's conditions, as overrides of the defaults:\n\n| preset | sets |\n|---|---|\n",
    );
    for preset in space().presets() {
        let sets: Vec<String> =
            preset.overrides.iter().map(|(path, value)| format!("`{path}`: {value}")).collect();
        let sets = if sets.is_empty() { "nothing".to_owned() } else { sets.join(", ") };
        page.push_str(&format!("| `{}` | {sets} |\n", preset.name));
    }
    page
}

/// Compares a page with its generated text. To write the pages: `GRANULE_REGENERATE=1 cargo test --release -p granule
/// --test source docs::`.
fn check_generated(page: &str, expected: &str) {
    let path = root().join(page);
    if std::env::var_os("GRANULE_REGENERATE").is_some() {
        fs::write(&path, expected).expect("the source tree is writable");
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == expected, "regenerate {page}");
}

#[test]
fn the_page_of_parameters_is_that_of_the_table() {
    check_generated("docs/parameters.md", &parameters_page());
}

/// The table of output files: for a condition that draws factors, and for the paper's ACh.
fn output_files_table() -> String {
    let text = "conditions: [ACh, { name: P, base: ACh }]";
    let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).expect("a sweep");
    let [ach, own] = [0, 1].map(|at| &sweep.conditions[at].model);
    let mut files = sweep.engine.files(own, "P", None, 1);
    files.extend(
        sweep
            .engine
            .files(ach, "ach", Some("ACh"), 1)
            .into_iter()
            .filter(|file| !file.name.starts_with("ach") && !file.name.contains("_ach")),
    );
    let mut table = "| file | elements | axes | unit | key of `record` |\n|---|---|---|---|---|\n".to_owned();
    for file in files {
        let elements = match file.dtype {
            "<f8" => "float64",
            "<i4" => "int32",
            "|O" => "object",
            other => panic!("{other}"),
        };
        let unit = if file.unit.is_empty() { "1" } else { file.unit };
        let key = sweep.engine.kinds()[file.kind].key;
        table.push_str(&format!(
            "| `{}` | {elements} | {} | {unit} | `{key}` |\n",
            file.name,
            file.axes.join(" × ")
        ));
    }
    table
}

#[test]
fn the_page_of_output_files_has_each_as_the_engine_describes_it() {
    let page = fs::read_to_string(root().join("docs/outputs.md")).expect("the page");
    let (before, rest) = page.split_once("| file | elements |").expect("the table");
    let (_, after) = rest.split_once("\n\n").expect("its end");
    check_generated("docs/outputs.md", &format!("{before}{}\n{after}", output_files_table()));
}

/// Appends the help of a command and of its subcommands.
fn push_help(page: &mut String, command: &[&str]) {
    let words = [&["help"], command].concat();
    let help = Place::new().run(&words).succeeded().stdout;
    page.push_str(&format!("\n## granule {}\n\n```text\n{}\n```\n", command.join(" "), help.trim_end()));
    for subcommand in subcommands(&help) {
        push_help(page, &[command, &[subcommand]].concat());
    }
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<&str> {
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let listed = listed.split("\n\n").next().unwrap_or_default().lines();
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").collect()
}

#[test]
fn the_page_of_commands_is_what_help_prints() {
    let help = Place::new().run(&["--help"]).succeeded().stdout;
    let mut page = format!(
        "# Commands\n\nThe text of `--help`, for each command. `granule man` prints it as manual pages.\n\n\
         ```text\n{}\n```\n",
        help.trim_end()
    );
    let commands = subcommands(&help);
    assert!(commands.len() > 15, "{help}");
    for command in commands {
        push_help(&mut page, &[command]);
    }
    check_generated("docs/cli.md", &page);
}

/// The code blocks of a page, each with its language.
fn blocks(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(page)).expect("the page");
    // Every second piece is between blocks.
    let blocks = text.split("\n```").skip(1).step_by(2);
    let block = |block: &str| {
        let (language, code) = block.split_once('\n').expect("a block of several lines");
        (language.to_owned(), format!("{code}\n"))
    };
    blocks.map(block).collect()
}

/// The code blocks of the README in this language.
fn readme_blocks(language: &str) -> Vec<String> {
    let blocks = blocks("README.md").into_iter().filter(|(of, _)| of == language);
    blocks.map(|(_, code)| code).collect()
}

#[test]
fn the_examples_of_the_language_stand_for_what_the_page_says() {
    let blocks = blocks("docs/sweeps.md");
    let mut examples = 0;
    for pair in blocks.windows(2) {
        let [(first, yaml), (second, names)] = pair else { unreachable!("windows of two") };
        if first != "yaml" {
            continue;
        }
        assert_eq!(second, "text", "no conditions are listed for\n{yaml}");
        let sweep = parse(ENGINES, "sweeps.md", yaml.as_bytes(), "example", &Overrides::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let found: Vec<&str> = sweep.conditions.iter().map(|condition| condition.name.as_str()).collect();
        assert_eq!(found, names.lines().collect::<Vec<_>>(), "{yaml}");
        examples += 1;
    }
    assert_eq!(examples, blocks.iter().filter(|(language, _)| language == "yaml").count());
    assert!(examples >= 8, "{examples}");
}

/// The factor on tonic inhibition.
fn factor(condition: &Condition) -> CellFactor {
    match condition.model.values().get("granule.tonic_factor") {
        Some(Value::Factor(factor)) => *factor,
        other => panic!("{other:?}"),
    }
}

/// Single values that the page of the language states.
#[test]
fn the_values_that_the_page_of_the_language_names_are_right() {
    let page = fs::read_to_string(root().join("docs/sweeps.md")).expect("the page");
    let condition = |axis: &str, at: usize| {
        let text = format!("conditions: [{{ name: a, grid: {{ granule.tonic_factor: {axis} }} }}]");
        let sweep = parse(ENGINES, "x.yaml", text.as_bytes(), "x", &Overrides::default()).expect("a sweep");
        sweep.conditions[at].clone()
    };
    let axis = "{ arange: [0.1, 0.5, 0.1] }";
    assert!(page.contains(&format!("the third value of `{axis}` is 0.3 and")));
    assert_eq!(condition(axis, 2).name, "a-0.3");
    assert_eq!(factor(&condition(axis, 2)), CellFactor::Constant(0.3));
    let axis = "{ arange: [0, 1, 0.3333333333] }";
    assert!(page.contains(axis) && page.contains("the last is 0.9999999999"));
    assert_eq!(factor(&condition(axis, 3)), CellFactor::Constant(0.9999999999));
    let gamma = "{ gamma: { mean: 0.4, sd: 0.07, seed: 1 } }";
    assert!(page.contains(&format!("[0.4, {gamma}]")) && page.contains("`gamma0.4_0.07_1`"));
    assert_eq!(condition(&format!("[0.4, {gamma}]"), 1).name, "a-gamma0.4_0.07_1");
    // The page's example of precedence.
    let (_, yaml) = blocks("docs/sweeps.md")
        .into_iter()
        .find(|(_, code)| code.contains("tonic_factor: 0.8"))
        .expect("it");
    let sweep = parse(ENGINES, "x.yaml", yaml.as_bytes(), "x", &Overrides::default()).expect("a sweep");
    let factors: Vec<CellFactor> = sweep.conditions.iter().map(factor).collect();
    assert_eq!(factors, [0.8, 0.0, 0.5].map(CellFactor::Constant));
}

/// The exit codes in the `--help` of each command agree with the page on failures.
#[test]
fn exit_codes_are_those_of_the_page() {
    let page = fs::read_to_string(root().join("docs/failures.md")).expect("the page");
    let (_, section) = page.split_once("\n## Exit codes\n").expect("the section");
    let mut commands = 0;
    for table in section.split("\n\n").filter(|table| table.contains("|---|")) {
        let rows: Vec<Vec<String>> = table
            .lines()
            .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
            .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
            .collect();
        let (head, rows) = rows.split_first().expect("a head");
        for (at, heads) in head.iter().enumerate().skip(1) {
            let codes = rows.iter().filter(|row| !row[at].is_empty());
            let codes: Vec<String> = codes.map(|row| format!("{} {}", row[0], row[at])).collect();
            let expected = format!("Exit codes: {}.", codes.join("; ").replace('`', ""));
            for command in heads.split('`').skip(1).step_by(2) {
                let ended = Place::new().run(&[command, "--help"]).succeeded();
                let help = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(help.ends_with(&expected), "{command}: {expected}\n{help}");
                commands += 1;
            }
        }
    }
    assert_eq!(commands, 15);
}

#[test]
fn the_mutations_of_the_page_are_those_that_are_tried() {
    let page = fs::read_to_string(root().join("docs/reliability.md")).expect("the page");
    let test = fs::read_to_string(root().join("tests/plain/fuzz_corpus.rs")).expect("the test");
    let (_, inputs) = test.split_once("const INPUTS: [(&str, u64); 6] = [").expect("how many of each");
    let (inputs, _) = inputs.split_once("];").expect("its end");
    let mut mutations = 0;
    for of in inputs.split('(').skip(1) {
        let (name, count) = of.trim_end_matches([')', ',', ' ', '\n']).split_once(", ").expect("a pair");
        let count: usize = count.replace('_', "").parse().expect("a number");
        let directories = ["corpus", "regressions"].map(|of| root().join("fuzz").join(of));
        let files = directories.iter().filter_map(|of| fs::read_dir(of.join(name.trim_matches('"'))).ok());
        mutations += count * files.map(Iterator::count).sum::<usize>();
    }
    let (millions, thousands) = (mutations / 1_000_000, mutations / 1000 % 1000);
    assert!(
        page.contains(&format!("a corpus and {millions},{thousands:03},000 mutations of it")),
        "{mutations}"
    );
}

#[test]
fn the_sweep_file_of_the_readme_is_one() {
    let blocks = readme_blocks("yaml");
    assert_eq!(blocks.len(), 2);
    let sweep = parse(ENGINES, "README.md", blocks[0].as_bytes(), "readme", &Overrides::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(sweep.name, "tonic");
    let reversal = sweep.conditions[1].model.values().get("golgi.leak_reversal");
    assert_eq!(reversal, Some(&Value::Number(-53.0)));
    let sweep = parse(ENGINES, "README.md", blocks[1].as_bytes(), "readme", &Overrides::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((sweep.seeds.len(), sweep.conditions.len()), (20, 1 + 8 * 2));
    assert_eq!(sweep.conditions[1].name, "tonic-0.3-leak-53");
}

#[test]
fn the_mistake_of_the_readme_is_shown_like_that() {
    let text = "name: my\nconditions:\n  - Control\n  - name: half\n    set: { granule.tonic_facto: 0.5 }\n";
    let error =
        parse(ENGINES, "my.yaml", text.as_bytes(), "my", &Overrides::default()).unwrap_err().to_string();
    let shown =
        readme_blocks("text").into_iter().find(|block| block.starts_with("error")).expect("the block");
    assert_eq!(shown.trim_end(), error.trim_end());
}

/// Only one engine, which is not the default, gives the original's bytes.
#[test]
fn the_bytes_of_the_original_are_promised_of_their_engine_only() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the page");
    let about = Place::new().run(&["--help"]).succeeded().stdout;
    for text in [readme, about.split_whitespace().collect::<Vec<_>>().join(" ")] {
        for (at, _) in text.match_indices("byte for byte") {
            let before: Vec<char> = text[..at].chars().rev().take(160).collect();
            let before: String = before.into_iter().rev().collect();
            assert!(before.contains("brian2-2.2.1"), "{before}byte for byte");
        }
    }
}

/// Every page is linked.
#[test]
fn every_page_is_linked_from_the_readme_or_another_page() {
    let pages: Vec<(String, String)> = fs::read_dir(root().join("docs"))
        .expect("the pages")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("text"))
        })
        .collect();
    let readme = fs::read_to_string(root().join("README.md")).expect("the page");
    let contents = fs::read_to_string(root().join("docs/site/contents.txt")).expect("the table of contents");
    for (name, _) in &pages {
        assert!(contents.contains(&format!("]({name})")), "{name} is not in docs/site/contents.txt");
        let elsewhere = pages
            .iter()
            .filter(|(other, _)| other != name)
            .any(|(_, text)| text.contains(&format!("({name}")));
        assert!(elsewhere || readme.contains(&format!("docs/{name}")), "nothing links to docs/{name}");
    }
    assert!(readme.contains("(docs/validation.md)"));
}
