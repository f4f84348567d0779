//! Messages for wrong tables of conditions.

use granule_granular::ENGINES;
use granule_sweep::{Diagnostics, Overrides, Tables, parse_with_tables};

fn errors(sweep: &str, table: Result<&[u8], &str>) -> Diagnostics {
    let table = table.map(<[u8]>::to_vec).map_err(str::to_owned);
    let tables = Tables::from([("points.csv".to_owned(), table)]);
    parse_with_tables(ENGINES, "sweeps/x.yaml", sweep.as_bytes(), "x", &Overrides::default(), &tables)
        .expect_err("it is wrong")
}

fn shown(errors: &Diagnostics) -> Vec<String> {
    let place = |(line, column): (usize, usize)| format!("{line}:{column} ");
    errors
        .listed()
        .iter()
        .map(|of| {
            let place = of.line_and_column().map_or(String::new(), place);
            format!("{place}{} | {}", of.message(), of.help())
        })
        .collect()
}

/// Compares every problem of a table, written as `line:column message | help`.
fn check(table: &str, expected: &[&str]) {
    assert_eq!(
        shown(&errors("conditions: { table: points.csv }", Ok(table.as_bytes()))),
        expected,
        "{table}"
    );
}

/// As [`check`] for a cell below a header.
fn check_cell(header: &str, cell: &str, expected: &str) {
    check(&format!("{header}\n{cell}\n"), &[&format!("2:1 {expected}")]);
}

#[test]
fn problems_are_drawn_in_the_table() {
    let table = "name,golgi.leak_reversal [mV],granule.tonic_factor\np0,-53,0.5\np1,-53 mV,0.5\np0,−53,\n";
    assert_eq!(
        errors("conditions: { table: points.csv }", Ok(table.as_bytes())).to_string(),
        "\
error: `golgi.leak_reversal` must be a number, not `-53 mV`
 --> sweeps/points.csv:3:4
  |
3 | p1,-53 mV,0.5
  |    ^^^^^^
  |
  = help: write `-53`; a cell has no unit, the header has it

error: duplicate name `p0`
 --> sweeps/points.csv:4:1
  |
4 | p0,−53,
  | ^^
  |
  = help: the row on line 2 has this name, ignoring case; change one of them

error: `golgi.leak_reversal` must be a number, not `−53`
 --> sweeps/points.csv:4:4
  |
4 | p0,−53,
  |    ^
  |
  = help: write the minus sign as `-`

error: `granule.tonic_factor` has an empty cell
 --> sweeps/points.csv:4:8
  |
4 | p0,−53,
  |        ^
  |
  = help: write a value; a parameter that does not vary belongs in `set`"
    );
}

#[test]
fn files() {
    let sweep = "conditions:\n- Control\n- { table: points.csv, base: ACh }";
    let relative = "write the path of a CSV file, relative to the folder of the sweep file";
    assert_eq!(
        shown(&errors(sweep, Err("No such file or directory"))),
        [format!("3:12 cannot read the table `points.csv`: No such file or directory | {relative}")]
    );
    let other = sweep.replace("points", "other");
    assert_eq!(
        shown(&errors(&other, Ok(b""))),
        [format!("3:12 cannot read the table `other.csv`: the file was not read | {relative}")]
    );
    for (value, what) in [("[points.csv]", "a list"), ("''", "an empty text"), ("~", "an empty value")] {
        assert_eq!(
            shown(&errors(&format!("conditions: {{ table: {value} }}"), Ok(b""))),
            [format!(
                "1:22 `table` must be the path of a CSV file, not {what} | write it like `table: points.csv`"
            )]
        );
    }
    assert_eq!(
        shown(&errors("conditions: { table: points.csv }", Ok(b"name\np\xe9\n"))),
        ["2:2 the file is not UTF-8 text: byte 0xe9 found | save it as UTF-8"]
    );
    check("name\n\u{1b}[31m\n", &["2:1 the file contains the control character U+001B | remove it"]);
    // Problems of the sweep file come first.
    assert_eq!(
        shown(&errors("trials: 0\nconditions: { table: points.csv }", Ok(b"granule.tonic_factor\nx\n"))),
        [
            "1:9 `trials` must be between 1 and 1000000, not `0` | write `1` or more",
            "2:1 `granule.tonic_factor` must be a number, not `x` | write a number"
        ]
    );
}

#[test]
fn headers() {
    check("", &["the table is empty | write a header, such as `name,granule.tonic_factor`"]);
    check(
        "granule.tonic_factor\n",
        &["the table has no rows below its header | write a row for each condition"],
    );
    check(
        "name\na\n",
        &["1:1 the table has no column for a parameter | add one, such as `granule.tonic_factor`"],
    );
    check(
        "nam,granule.tonic_facto,leak_reversal,weights.sd,weights.sdd [nS],,x9\n",
        &[
            "1:1 unknown column `nam` | did you mean `name`?",
            "1:5 unknown column `granule.tonic_facto` | did you mean `granule.tonic_factor`?",
            "1:25 unknown column `leak_reversal` | a column is `name` or a parameter with its unit, such as \
             `granule.tonic_factor`",
            "1:39 the column `weights.sd` needs a unit | write `weights.sd [nS]`",
            "1:50 unknown column `weights.sdd` | did you mean `weights.sd [nS]`?",
            "1:67 a column has no header | write the parameter of the column, or remove the column",
            "1:68 unknown column `x9` | a column is `name` or a parameter with its unit, such as \
             `granule.tonic_factor`",
        ],
    );
    check(
        "granule.tonic_factor [1],golgi.reset [nS],golgi.reset [mv],weights.sd [],stimulus.times [ms],name,name\n",
        &[
            "1:1 the column `granule.tonic_factor` has no unit | write `granule.tonic_factor`",
            "1:26 the column `golgi.reset` cannot have the unit `nS` | write `golgi.reset [mV]`",
            "1:43 the column `golgi.reset` cannot have the unit `mv` | write `golgi.reset [mV]`",
            "1:60 the column `weights.sd` needs a unit | write `weights.sd [nS]`",
            "1:74 the column `stimulus.times` would need lists, which a table cannot have | set it in `set`, or vary \
             it in `grid`",
            "1:99 duplicate column `name` | keep one of the two",
        ],
    );
    let commas = "save the table as CSV with commas between the columns, and with decimal points";
    check(
        "name;granule.tonic_factor\na;0,5\n",
        &[&format!("1:1 the columns are separated by `;`, not by commas | {commas}")],
    );
    check(
        "name\tgranule.tonic_factor\n",
        &[&format!("1:1 the columns are separated by tabs, not by commas | {commas}")],
    );
}

#[test]
fn rows() {
    check(
        "name,granule.tonic_factor\na,0,5\nb\n\nc,\"1\"\n",
        &[
            "2:1 this row has 3 cells, but the header has 2 | write decimals with a point, and put a text that contains \
             a comma in quotes",
            "3:1 this row has 1 cell, but the header has 2 | write a cell for every column",
        ],
    );
    check(
        "name,granule.tonic_factor\n\"a,0.5\nb,1\n",
        &["2:1 a quote has no end | close it with `\"`, or remove it"],
    );
    check(
        "name,granule.tonic_factor\n\"a\"b,0.5\n",
        &[
            "2:4 a quote ends before the end of its cell | write a quote inside of a quoted cell twice, as in \
           `\"a \"\"b\"\"\"`",
        ],
    );
    let many: String = (0..1_000_001).map(|i| format!("{i}\n")).collect();
    check(
        &format!("weights.seed\n{many}"),
        &["1000002:1 the table has more than 1000000 rows | split the table and the sweep"],
    );
}

#[test]
fn cells() {
    for cell in ["NaN", "inf", "-Infinity", "1e999", "x", "=A1"] {
        let message = format!("`granule.tonic_factor` must be a number, not `{cell}` | write a number");
        check_cell("granule.tonic_factor", cell, &message);
    }
    check_cell(
        "granule.tonic_factor",
        "\"0,5\"",
        "`granule.tonic_factor` must be a number, not `0,5` | write the decimal point as `.`",
    );
    check_cell(
        "golgi_to_granule.weight [pS]",
        "-1",
        "`golgi_to_granule.weight` must be 0 nS or above, not -0.001 | correct the cell, or remove the row",
    );
    check_cell(
        "network.golgi_cells",
        "2.5",
        "`network.golgi_cells` must be a whole number, not `2.5` | write `3`",
    );
    check_cell(
        "network.golgi_cells",
        "0",
        "`network.golgi_cells` must be between 1 and 1000000, not `0` | write a number in this range",
    );
    check_cell(
        "weights.random",
        "1",
        "`weights.random` must be `true` or `false`, not `1` | write `true` or `false`",
    );
    check_cell("noise.first", "golgy", "`noise.first` cannot be `golgy` | did you mean `golgi`?");
    let name = |cell: &str, expected: &str| check(&format!("name,weights.seed\n{cell},1\n"), &[expected]);
    name("", "2:1 a condition's name must not be empty | write `half-tonic`");
    name(
        "a b",
        "2:1 a condition's name can have letters, digits, `.`, `_` and `-` only; `a b` has others | write `a-b`",
    );
    name("ACh", "2:1 `ACh` is the name of a preset | give this condition another name");
}

#[test]
fn beside_a_table() {
    let table = "name,granule.tonic_factor,network.granule_cells\na,1,100\nb,0.5,10\n";
    let check = |entry: &str, expected: &[&str]| {
        let found = errors(&format!("conditions:\n- {entry}"), Ok(table.as_bytes()));
        assert_eq!(shown(&found), expected, "{entry}");
    };
    check(
        "{ table: points.csv, grid: { granule.tonic_factor: [1, 2] } }",
        &["2:12 `granule.tonic_factor` is on two axes of this condition | keep one of them"],
    );
    check(
        "{ table: points.csv, set: { granule.tonic_factor: 1 } }",
        &[
            "2:53 `granule.tonic_factor` is set here, but it is an axis of this condition, too | an axis sets it at \
           every point; remove one of the two",
        ],
    );
    check(
        "{ table: points.csv, name: 'p{nam}' }",
        &[
            "2:30 the name has a placeholder `{nam}`, but the condition has no such axis | the placeholders are \
           `{granule.tonic_factor}`, `{network.granule_cells}` and `{index}`",
        ],
    );
    check(
        "{ table: points.csv, grid: { golgi.reset: [-55 mV, -54 mV] } }",
        &[
            "2:12 the points 0 and 2 are both named `a`, but their values of `golgi.reset` are -55 and -54 | add \
           `{golgi.reset}` or `{index}` to the name",
        ],
    );
    check(
        "{ table: points.csv }\n- { name: x, base: c }",
        &[
            "3:20 unknown base `c` | a base is an earlier condition or one of the presets `Control`, `GABAzine` and `ACh`",
        ],
    );
}
