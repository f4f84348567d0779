//! A figure: a drawing, its description, and the numbers that it shows.

use serde::Serialize;

pub use crate::drawing::RenderError;
use crate::drawing::{self, Canvas};

/// A figure that can be written in any format.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Short name, used in names of files.
    pub name: String,
    /// Title of the figure.
    pub title: String,
    /// Description for readers who cannot see the figure.
    pub description: String,
    /// The numbers that the figure shows.
    pub tables: Vec<Table>,
    canvas: Canvas,
}

impl Figure {
    /// Creates a figure from a drawing.
    pub fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        description: impl Into<String>,
        canvas: Canvas,
        tables: Vec<Table>,
    ) -> Figure {
        Figure { name: name.into(), title: title.into(), description: description.into(), tables, canvas }
    }

    /// Writes a text above the drawing, and adds it to title and description.
    pub fn mark(&mut self, text: &str) {
        self.canvas.mark(text);
        self.title = format!("{} ({text})", self.title);
        self.description = format!("{text}. {}", self.description);
    }

    /// Returns the figure as SVG. Text stays text.
    pub fn svg(&self) -> String {
        self.canvas.svg(&self.title, &self.description)
    }

    /// Returns the figure as PDF, with lines, text and embedded fonts.
    ///
    /// # Errors
    /// If the PDF cannot be written. No figure of this crate causes this.
    pub fn pdf(&self) -> Result<Vec<u8>, RenderError> {
        drawing::pdf(&self.canvas, &self.title, &self.description)
    }

    /// Returns the figure as PNG with this many dots per inch of print.
    ///
    /// # Errors
    /// If the resolution is not a positive number, or results in more than 30,000 pixels along a side.
    pub fn png(&self, dots_per_inch: f32) -> Result<Vec<u8>, RenderError> {
        drawing::png(&self.canvas, dots_per_inch)
    }

    /// Returns the texts in the drawing.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        drawing::text_boxes(&self.canvas).into_iter().map(|(text, _)| text).collect()
    }

    /// Returns each text in the drawing with the bounds of its ink: left, top, right and bottom, in points.
    #[cfg(test)]
    pub(crate) fn text_boxes(&self) -> Vec<(String, [f32; 4])> {
        drawing::text_boxes(&self.canvas)
    }

    /// Returns the height of the drawing in mm.
    #[cfg(test)]
    pub(crate) fn height_mm(&self) -> f64 {
        self.canvas.area().height * 25.4 / 72.0
    }

    /// Asserts that texts neither overlap nor extend beyond the page.
    #[cfg(test)]
    pub(crate) fn check_layout(&self, name: &str) {
        drawing::check_layout(&self.canvas, name);
    }
}

/// A table with named columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Short name, used in names of files.
    pub name: &'static str,
    /// Columns, all of one length.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Name of the column, with the unit.
    pub name: String,
    /// Values of the column, by row.
    pub values: ColumnData,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ColumnData {
    /// Integers.
    Whole(Vec<u64>),
    /// Numbers; `None` where a number is missing.
    Number(Vec<Option<f64>>),
    /// Texts.
    Text(Vec<String>),
}

impl Column {
    /// Creates a column of numbers. Numbers that are not finite are missing.
    pub fn numbers(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Column {
        Column::optional(name, values.into_iter().map(Some))
    }

    /// Creates a column of numbers that may be missing. Numbers that are not finite are missing.
    pub fn optional(name: impl Into<String>, values: impl IntoIterator<Item = Option<f64>>) -> Column {
        let finite = values.into_iter().map(|value| value.filter(|value| value.is_finite()));
        Column { name: name.into(), values: ColumnData::Number(finite.collect()) }
    }

    /// Creates a column of integers.
    pub fn whole(name: impl Into<String>, values: impl IntoIterator<Item = usize>) -> Column {
        Column {
            name: name.into(),
            values: ColumnData::Whole(values.into_iter().map(|value| value as u64).collect()),
        }
    }

    /// Creates a column of texts.
    pub fn text(name: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Column {
        Column { name: name.into(), values: ColumnData::Text(values.into_iter().map(Into::into).collect()) }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match &self.values {
            ColumnData::Whole(values) => values.len(),
            ColumnData::Number(values) => values.len(),
            ColumnData::Text(values) => values.len(),
        }
    }

    /// Whether the column has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a value as text that parses to the same number; empty if the value is missing.
    fn cell(&self, row: usize) -> String {
        match &self.values {
            ColumnData::Whole(values) => values.get(row).map(u64::to_string),
            ColumnData::Number(values) => values.get(row).copied().flatten().map(|value| value.to_string()),
            ColumnData::Text(values) => values.get(row).cloned(),
        }
        .unwrap_or_default()
    }
}

impl Table {
    /// Creates a table of columns that have one length.
    pub fn new(name: &'static str, columns: Vec<Column>) -> Table {
        debug_assert!(columns.windows(2).all(|pair| pair[0].len() == pair[1].len()), "{name}");
        Table { name, columns }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.iter().map(Column::len).max().unwrap_or(0)
    }

    /// Returns the table as CSV with a header, as in RFC 4180, but with line feeds as line ends.
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
