//! Tables of conditions: CSV files (RFC 4180) with a row for each condition.
//!
//! The header names a parameter and its unit, as in `golgi.leak_reversal [mV]`; the cells below are plain numbers, with
//! which a spreadsheet can compute. The caller reads the files. Problems are shown in the table itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use granule_engine::space::{CellFactor, Kind, Parameter, Space, Unit, Value};

use crate::axis::{GridAxis, unit};
use crate::diagnostics::{Problem, Problems, line_number};
use crate::examples;
use crate::limits::MOST_CONDITIONS;
use crate::naming::check_condition_name;
use crate::suggest;
use crate::text::{Span, quote};
use crate::units;
use crate::value::{ValueEntry, count_range};
use crate::vocabulary::{Language, TABLE};
use crate::yaml;

/// The column with the names of conditions.
pub(crate) const NAME: &str = "name";

/// The tables that a sweep file names, by their paths as the file writes them. Each is its bytes, or the reason why the
/// caller cannot read it.
pub type Tables = BTreeMap<String, Result<Vec<u8>, String>>;

/// The tables of a sweep file.
#[derive(Clone, Copy)]
pub(crate) struct TableFiles<'a> {
    pub(crate) tables: &'a Tables,
    /// Name of the sweep file. Paths of tables are relative to its folder.
    pub(crate) sweep_file: &'a str,
}

/// The axes of a table, at least one. They have one length.
pub(crate) struct Table {
    pub(crate) axes: Vec<GridAxis>,
    /// Names of the rows, valid and unique, if there is a column for them.
    pub(crate) names: Option<Vec<String>>,
}

impl TableFiles<'_> {
    /// Reads the table that an entry names.
    pub(crate) fn read(self, entry: &ValueEntry<'_>, problems: &mut Problems) -> Option<Table> {
        let node = entry.value;
        let space = problems.space();
        let path = match &node.value {
            yaml::Content::Scalar { text, .. } if !text.is_empty() => text,
            _ => {
                problems.add(|| {
                    let message = format!("`{TABLE}` must be the path of a CSV file, not {}", node.shown());
                    Problem::at(node.span, message).help(format!("write it like `{TABLE}: points.csv`"))
                });
                return None;
            }
        };
        let bytes = match self.tables.get(path) {
            Some(Ok(bytes)) => bytes,
            missing => {
                problems.add(|| {
                    let reason = match missing {
                        Some(Err(reason)) => reason,
                        _ => "the file was not read",
                    };
                    Problem::at(node.span, format!("cannot read the table {}: {reason}", quote(path)))
                        .help("write the path of a CSV file, relative to the folder of the sweep file")
                });
                return None;
            }
        };
        let language = Language::Table(space);
        let (of_table, table) = match yaml::decode(language, bytes) {
            Ok(text) => {
                let mut of_table = Problems::of(language, text);
                let table = table(space, text, node.span, &mut of_table);
                (of_table.finish(&self.shown(path)), table)
            }
            Err((problem, text)) => {
                let mut of_table = Problems::of(language, &text);
                of_table.add(|| problem);
                (of_table.finish(&self.shown(path)), None)
            }
        };
        match of_table {
            Some(of_table) => {
                problems.add_table(of_table);
                None
            }
            None => table,
        }
    }

    /// Returns the path of a table for messages.
    fn shown(self, path: &str) -> String {
        Path::new(self.sweep_file).with_file_name(path).display().to_string()
    }
}

/// A column.
enum Column {
    Name,
    Parameter {
        parameter: &'static Parameter,
        /// Symbol of the unit of its numbers; empty if it has none.
        symbol: String,
    },
}

/// Reads a table; its values have the position `place` in the sweep file. A returned table may have problems.
fn table(space: &'static Space, text: &str, place: Span, problems: &mut Problems) -> Option<Table> {
    let mut rows = Rows { text, at: 0 };
    let header = match rows.next() {
        Some(Ok(header)) => header,
        Some(Err(problem)) => {
            problems.add(|| problem);
            return None;
        }
        None => {
            let example = examples::column(space);
            problems.add(|| {
                Problem::of_file("the table is empty")
                    .help(format!("write a header, such as `{NAME},{example}`"))
            });
            return None;
        }
    };
    let columns = columns(space, &header, problems)?;
    let mut values: Vec<Vec<(Value, Span)>> = columns.iter().map(|_| Vec::new()).collect();
    let mut names = Names { space, names: Vec::new(), first: HashMap::new() };
    let mut count = 0;
    for row in rows {
        let row = match row {
            Ok(row) => row,
            Err(problem) => {
                problems.add(|| problem);
                return None;
            }
        };
        let span = Span { start: row[0].span.start, end: row[row.len() - 1].span.end };
        count += 1;
        if count > MOST_CONDITIONS {
            problems.add(|| {
                Problem::at(span, format!("the table has more than {MOST_CONDITIONS} rows"))
                    .help("split the table and the sweep")
            });
            return None;
        }
        if row.len() != columns.len() {
            problems.add(|| ragged(&row, columns.len(), span));
            continue;
        }
        for ((cell, column), values) in row.iter().zip(&columns).zip(&mut values) {
            match column {
                Column::Name => names.add(cell, problems),
                Column::Parameter { parameter, symbol } => {
                    values.extend(value(parameter, symbol, cell, problems).map(|value| (value, place)));
                }
            }
        }
    }
    if count == 0 {
        problems.add(|| {
            Problem::of_file("the table has no rows below its header").help("write a row for each condition")
        });
    }
    let has_names = columns.iter().any(|column| matches!(column, Column::Name));
    let axis = |(column, values)| match column {
        Column::Parameter { parameter, .. } => Some(GridAxis { parameter, span: place, values }),
        Column::Name => None,
    };
    let axes = columns.into_iter().zip(values).filter_map(axis).collect();
    Some(Table { axes, names: has_names.then_some(names.names) })
}

/// Reads the header. Returns `None` if a column is wrong.
fn columns(space: &'static Space, header: &[Cell<'_>], problems: &mut Problems) -> Option<Vec<Column>> {
    let before = problems.count();
    if let [cell] = header
        && let Some(separator) = [';', '\t'].into_iter().find(|separator| cell.text.contains(*separator))
    {
        problems.add(|| {
            let separator = if separator == '\t' { "tabs" } else { "`;`" };
            Problem::at(cell.span, format!("the columns are separated by {separator}, not by commas"))
                .help("save the table as CSV with commas between the columns, and with decimal points")
        });
        return None;
    }
    let mut columns = Vec::new();
    let mut first: HashMap<&str, Span> = HashMap::new();
    for cell in header {
        let Some(column) = column(space, cell, problems) else { continue };
        let path = match &column {
            Column::Name => NAME,
            Column::Parameter { parameter, .. } => parameter.path,
        };
        if first.insert(path, cell.span).is_some() {
            problems.add(|| {
                Problem::at(cell.span, format!("duplicate column `{path}`")).help("keep one of the two")
            });
        }
        columns.push(column);
    }
    if problems.count() == before && columns.iter().all(|column| matches!(column, Column::Name)) {
        problems.add(|| {
            Problem::at(header[0].span, "the table has no column for a parameter")
                .help(format!("add one, such as `{}`", examples::column(space)))
        });
    }
    (problems.count() == before).then_some(columns)
}

fn column(space: &'static Space, cell: &Cell<'_>, problems: &mut Problems) -> Option<Column> {
    let text = cell.text.trim();
    if text == NAME {
        return Some(Column::Name);
    }
    let with_symbol = text.strip_suffix(']').and_then(|text| text.split_once('['));
    let (path, symbol) = with_symbol.map_or((text, ""), |(path, symbol)| (path.trim_end(), symbol.trim()));
    let add = |problems: &mut Problems, message: String, help: String| {
        problems.add(|| Problem::at(cell.span, message).help(help));
        None
    };
    if path.is_empty() {
        let help = "write the parameter of the column, or remove the column";
        return add(problems, "a column has no header".to_owned(), help.to_owned());
    }
    let Some(parameter) = space.parameter(path) else {
        let known = || space.parameters().iter().map(|parameter| parameter.path).chain([NAME]);
        let help = match suggest::nearest_path(path, known()) {
            Some(NAME) => format!("did you mean `{NAME}`?"),
            Some(near) => {
                format!("did you mean `{}`?", space.parameter(near).map_or(near.to_owned(), examples::header))
            }
            None => format!(
                "a column is `{NAME}` or a parameter with its unit, such as `{}`",
                examples::column(space)
            ),
        };
        return add(problems, format!("unknown column {}", quote(path)), help);
    };
    let right = examples::header(parameter);
    if let Kind::Quantities(_) = parameter.kind {
        let help = "set it in `set`, or vary it in `grid`".to_owned();
        return add(
            problems,
            format!("the column `{path}` would need lists, which a table cannot have"),
            help,
        );
    }
    // Flags and choices have no unit.
    let wanted = unit(parameter).unwrap_or(Unit::One);
    let found = units::quantity(&format!("1 {symbol}"), wanted);
    match (wanted, symbol) {
        (Unit::One, "") => {}
        (Unit::One, _) => {
            return add(problems, format!("the column `{path}` has no unit"), format!("write `{right}`"));
        }
        (_, "") => {
            return add(problems, format!("the column `{path}` needs a unit"), format!("write `{right}`"));
        }
        _ if found.is_err() => {
            let message = format!("the column `{path}` cannot have the unit {}", quote(symbol));
            return add(problems, message, format!("write `{right}`"));
        }
        _ => {}
    }
    Some(Column::Parameter { parameter, symbol: symbol.to_owned() })
}

fn ragged(row: &[Cell<'_>], columns: usize, span: Span) -> Problem {
    let cells = |count: usize| if count == 1 { "1 cell".to_owned() } else { format!("{count} cells") };
    let message = format!("this row has {}, but the header has {columns}", cells(row.len()));
    Problem::at(span, message).help(if row.len() > columns {
        "write decimals with a point, and put a text that contains a comma in quotes"
    } else {
        "write a cell for every column"
    })
}

/// The names of the rows so far.
struct Names {
    space: &'static Space,
    names: Vec<String>,
    /// The names in lower case, with the positions of their rows.
    first: HashMap<String, usize>,
}

impl Names {
    fn add(&mut self, cell: &Cell<'_>, problems: &mut Problems) {
        let name = cell.text.trim();
        if let Err(problem) = check_condition_name(self.space, name) {
            problems.add(|| Problem::at(cell.span, problem.to_string()).help(problem.help()));
            return;
        }
        let text = problems.text();
        if let Some(&place) = self.first.get(&name.to_ascii_lowercase()) {
            problems.add(|| {
                let line = line_number(text, place);
                Problem::at(cell.span, format!("duplicate name {}", quote(name)))
                    .help(format!("the row on line {line} has this name, ignoring case; change one of them"))
            });
            return;
        }
        self.first.insert(name.to_ascii_lowercase(), cell.span.start);
        self.names.push(name.to_owned());
    }
}

/// Reads a cell as a value that the parameter can take.
fn value(
    parameter: &'static Parameter,
    symbol: &str,
    cell: &Cell<'_>,
    problems: &mut Problems,
) -> Option<Value> {
    let path = parameter.path;
    let text = cell.text.trim();
    let add = |problems: &mut Problems, what: String, help: String| {
        problems.add(|| Problem::at(cell.span, format!("`{path}` {what}")).help(help));
        None
    };
    if text.is_empty() {
        let help = "write a value; a parameter that does not vary belongs in `set`".to_owned();
        return add(problems, "has an empty cell".to_owned(), help);
    }
    let value = match parameter.kind {
        Kind::Flag if text.eq_ignore_ascii_case("true") => Value::Flag(true),
        Kind::Flag if text.eq_ignore_ascii_case("false") => Value::Flag(false),
        Kind::Flag => {
            let message = format!("must be `true` or `false`, not {}", quote(text));
            return add(problems, message, "write `true` or `false`".to_owned());
        }
        Kind::Choice(names) => match names.iter().find(|name| **name == text) {
            Some(name) => Value::Choice(name),
            None => {
                let help = suggest::help(text, "known values:", names);
                return add(problems, format!("cannot be {}", quote(text)), help);
            }
        },
        Kind::Count | Kind::Factor | Kind::Quantity(_) | Kind::Quantities(_) => {
            let unit = unit(parameter).unwrap_or(Unit::One);
            let Ok(x) = units::quantity(format!("{text} {symbol}").trim_end(), unit) else {
                let help = match units::split(text) {
                    Some((number, unit)) if !unit.is_empty() => {
                        format!("write `{number}`; a cell has no unit, the header has it")
                    }
                    _ if text.contains(',') => "write the decimal point as `.`".to_owned(),
                    _ => "write a number".to_owned(),
                };
                return add(problems, format!("must be a number, not {}", quote(text)), help);
            };
            match parameter.kind {
                Kind::Factor => Value::Factor(CellFactor::Constant(x)),
                Kind::Count if x.fract() != 0.0 => {
                    let message = format!("must be a whole number, not {}", quote(text));
                    return add(problems, message, format!("write `{}`", x.round()));
                }
                Kind::Count => {
                    let (least, most) = count_range(parameter.range);
                    if !(f64::from(least)..=f64::from(most)).contains(&x) {
                        let message = format!("must be between {least} and {most}, not {}", quote(text));
                        return add(problems, message, "write a number in this range".to_owned());
                    }
                    Value::Count(x as u32)
                }
                _ => Value::Number(x),
            }
        }
    };
    match parameter.check(&value) {
        Ok(()) => Some(value),
        Err(rejected) => {
            problems.add(|| {
                Problem::at(cell.span, rejected.to_string()).help("correct the cell, or remove the row")
            });
            None
        }
    }
}

/// A cell: its text without quotes, and its position.
struct Cell<'t> {
    text: Cow<'t, str>,
    span: Span,
}

/// The rows of a table, without empty lines. Each has at least one cell.
struct Rows<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Rows<'t> {
    type Item = Result<Vec<Cell<'t>>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.at += self.text[self.at..].bytes().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if self.at == self.text.len() {
            return None;
        }
        let mut cells = Vec::new();
        loop {
            let cell = match self.cell() {
                Ok(cell) => cell,
                Err(problem) => {
                    self.at = self.text.len();
                    return Some(Err(problem));
                }
            };
            self.at = cell.span.end;
            cells.push(cell);
            match self.text.as_bytes().get(self.at) {
                Some(b',') => self.at += 1,
                _ => return Some(Ok(cells)),
            }
        }
    }
}

impl<'t> Rows<'t> {
    /// Reads the cell that begins here.
    fn cell(&self) -> Result<Cell<'t>, Problem> {
        let start = self.at;
        let rest = &self.text[start..];
        let Some(inner) = rest.strip_prefix('"') else {
            let len = rest.find([',', '\r', '\n']).unwrap_or(rest.len());
            return Ok(Cell { text: Cow::Borrowed(&rest[..len]), span: Span { start, end: start + len } });
        };
        let mut len = 0;
        loop {
            let Some(quote) = inner[len..].find('"') else {
                let span = Span { start, end: start + 1 };
                return Err(Problem::at(span, "a quote has no end").help("close it with `\"`, or remove it"));
            };
            len += quote + 1;
            if !inner[len..].starts_with('"') {
                break;
            }
            len += 1;
        }
        let end = start + 1 + len;
        if self.text[end..].starts_with(|c| !matches!(c, ',' | '\r' | '\n')) {
            let span = Span { start: end, end: end + 1 };
            return Err(Problem::at(span, "a quote ends before the end of its cell")
                .help("write a quote inside of a quoted cell twice, as in `\"a \"\"b\"\"\"`"));
        }
        let text = &inner[..len - 1];
        let text = if text.contains('"') { text.replace("\"\"", "\"").into() } else { Cow::Borrowed(text) };
        Ok(Cell { text, span: Span { start, end } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `csv` crate is the reference.
    #[test]
    fn rows_are_those_of_another_reader() {
        let texts = [
            "a,b\n1,2\n",
            "a,b\r\n1,2",
            "a,b\r1,2\r",
            "\n\na,\"b, c\"\n\n\"1\n2\",\"x \"\"y\"\"\"\n",
            "a,\n,\n",
            " a , b \n\"\",\"\"\"\"",
            "é,\"脳\"\n",
            "",
            "\n",
        ];
        for text in texts {
            let rows =
                Rows { text, at: 0 }.map(|row| row.map_err(|problem| format!("{problem:?}")).expect(text));
            let found: Vec<Vec<String>> =
                rows.map(|row| row.into_iter().map(|cell| cell.text.into_owned()).collect()).collect();
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.expect(text).iter().map(str::to_owned).collect())
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
