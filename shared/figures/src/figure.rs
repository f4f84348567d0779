//! A figure: a drawing, what it shows in words, and the numbers behind it.

use serde::Serialize;

pub use crate::drawing::RenderError;
use crate::drawing::{self, Canvas};

/// A figure, ready to be written in any format.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Short name, for files.
    pub name: String,
    /// What it is.
    pub title: String,
    /// What it shows, for those who cannot see it.
    pub description: String,
    /// The numbers behind it.
    pub tables: Vec<Table>,
    canvas: Canvas,
}

impl Figure {
    /// A figure of a drawing.
    pub fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        description: impl Into<String>,
        canvas: Canvas,
        tables: Vec<Table>,
    ) -> Figure {
        Figure { name: name.into(), title: title.into(), description: description.into(), tables, canvas }
    }

    /// Writes a text above the drawing, and into title and description.
    pub fn mark(&mut self, text: &str) {
        self.canvas.mark(text);
        self.title = format!("{} ({text})", self.title);
        self.description = format!("{text}. {}", self.description);
    }

    /// The figure as SVG, with text as text.
    pub fn svg(&self) -> String {
        self.canvas.svg(&self.title, &self.description)
    }

    /// The figure as PDF, of lines and text with embedded fonts.
    ///
    /// # Errors
    /// None that a figure of this crate could cause.
    pub fn pdf(&self) -> Result<Vec<u8>, RenderError> {
        drawing::pdf(&self.canvas, &self.title, &self.description)
    }

    /// The figure as PNG with this many dots per inch of print.
    ///
    /// # Errors
    /// If the resolution is not a positive number, or leads to more than 30,000 pixels along a side.
    pub fn png(&self, dots_per_inch: f32) -> Result<Vec<u8>, RenderError> {
        drawing::png(&self.canvas, dots_per_inch)
    }

    /// What its texts say.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        drawing::text_boxes(&self.canvas).into_iter().map(|(text, _)| text).collect()
    }

    /// Expects that no text meets another, or is cut by the edge of the page.
    #[cfg(test)]
    pub(crate) fn check_layout(&self, name: &str) {
        drawing::check_layout(&self.canvas, name);
    }
}

/// Numbers with names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Short name, for files.
    pub name: &'static str,
    /// Columns of one length.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// The name, with the unit.
    pub name: String,
    /// What is in it.
    pub values: Values,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Values {
    /// Whole numbers.
    Whole(Vec<u64>),
    /// Numbers; none where there is none.
    Number(Vec<Option<f64>>),
    /// Text.
    Text(Vec<String>),
}

impl Column {
    /// A column of numbers.
    pub fn numbers(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Column {
        Column::optional(name, values.into_iter().map(Some))
    }

    /// A column of numbers that may be missing. What is not finite is missing.
    pub fn optional(name: impl Into<String>, values: impl IntoIterator<Item = Option<f64>>) -> Column {
        let finite = values.into_iter().map(|value| value.filter(|value| value.is_finite()));
        Column { name: name.into(), values: Values::Number(finite.collect()) }
    }

    /// A column of whole numbers.
    pub fn whole(name: impl Into<String>, values: impl IntoIterator<Item = usize>) -> Column {
        Column {
            name: name.into(),
            values: Values::Whole(values.into_iter().map(|value| value as u64).collect()),
        }
    }

    /// A column of text.
    pub fn text(name: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Column {
        Column { name: name.into(), values: Values::Text(values.into_iter().map(Into::into).collect()) }
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Whole(values) => values.len(),
            Values::Number(values) => values.len(),
            Values::Text(values) => values.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A value as text that reads back as the same number; empty where there is none.
    fn cell(&self, row: usize) -> String {
        match &self.values {
            Values::Whole(values) => values.get(row).map(u64::to_string),
            Values::Number(values) => values.get(row).copied().flatten().map(|value| value.to_string()),
            Values::Text(values) => values.get(row).cloned(),
        }
        .unwrap_or_default()
    }
}

impl Table {
    /// A table of columns.
    pub fn new(name: &'static str, columns: Vec<Column>) -> Table {
        debug_assert!(columns.windows(2).all(|pair| pair[0].len() == pair[1].len()), "{name}");
        Table { name, columns }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.columns.iter().map(Column::len).max().unwrap_or(0)
    }

    /// The table as CSV (RFC 4180, but for line ends of one character), with a header.
    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let rows = (0..self.rows())
            .map(|row| self.columns.iter().map(|column| column.cell(row)).collect::<Vec<_>>());
        let written = writer
            .write_record(header)
            .and_then(|()| rows.into_iter().try_for_each(|row| writer.write_record(row)));
        written.expect("rows of one length in memory");
        let bytes = writer.into_inner().expect("memory takes all bytes");
        String::from_utf8(bytes).expect("names and numbers are text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_csv_and_json() {
        let table = Table::new(
            "cells",
            vec![
                Column::whole("cell", [3, 11]),
                Column::text("change", ["increase", "a \"b\", c"]),
                Column::optional("peak", [Some(0.1 + 0.2), None]),
                Column::numbers("log", [f64::NEG_INFINITY, -1e-300]),
            ],
        );
        let small = format!("-0.{}1", "0".repeat(299));
        let expected = format!(
            "cell,change,peak,log\n3,increase,0.30000000000000004,\n11,\"a \"\"b\"\", c\",,{small}\n"
        );
        assert_eq!(table.csv(), expected);
        let json = serde_json::to_value(&table).expect("JSON");
        assert_eq!(json["columns"][2]["values"], serde_json::json!([0.300_000_000_000_000_04, null]));
        assert_eq!(json["columns"][0]["values"], serde_json::json!([3, 11]));
        assert_eq!(Table::new("empty", vec![Column::whole("cell", [])]).csv(), "cell\n");
    }
}
