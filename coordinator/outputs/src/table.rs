//! Tables as Parquet, as an archive of numpy arrays, as comma-separated values, or as JSON. Rows arrive in batches; each column
//! has one type. Memory holds only a batch or a row group.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use granule_system::files::Directory;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::npy::{NpyError, write_vector_header};
use super::{HashedFile, OutputError};

/// The format of a table's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Npz,
    Csv,
    Json,
}

/// Rows of a row group of Parquet. The batch that completes a group may add more.
const ROW_GROUP: usize = 1 << 18;

/// Values of a column that are passed to Parquet at a time. These are many of Parquet's own batches, so pages end where
/// they would if all values were passed at once.
const AT_ONCE: usize = 1 << 13;

#[derive(Clone, Debug)]
pub struct TableColumn {
    pub name: String,
    pub kind: ColumnType,
}

#[derive(Clone, Debug)]
pub enum ColumnType {
    /// One of these words.
    Word(Arc<[String]>),
    U32,
    U64,
    F64,
}

#[derive(Clone, Debug)]
pub enum ColumnValues {
    /// Indices into the words of the column.
    Word(Vec<u32>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F64(Vec<f64>),
}

/// Some rows of a table, with the same number of values for each column.
pub type Batch = Vec<ColumnValues>;

/// A source of rows.
pub trait RowSource {
    /// Returns the columns of every batch, in their order.
    fn columns(&self) -> Vec<TableColumn>;

    /// Passes on all batches, the same ones at every call.
    ///
    /// # Errors
    /// If a batch cannot be made, or `take` fails.
    fn each(&self, take: &mut dyn FnMut(Batch) -> Result<(), TableError>) -> Result<(), TableError>;
}

/// Why a table was not written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("the table cannot be encoded")]
    Parquet(#[from] ParquetError),
    #[error("the table cannot be encoded")]
    Zip(#[from] ZipError),
    #[error("the table cannot be encoded")]
    Npy(#[from] NpyError),
    #[error("the table cannot be written")]
    Csv(#[from] csv::Error),
    #[error("the table cannot be written")]
    Io(#[from] io::Error),
}

impl TableError {
    fn is_of_nobody_reading(&self) -> bool {
        let error = match self {
            TableError::Csv(error) => match error.kind() {
                csv::ErrorKind::Io(error) => error,
                _ => return false,
            },
            TableError::Io(error) => error,
            _ => return false,
        };
        error.kind() == io::ErrorKind::BrokenPipe
    }
}

impl ColumnValues {
    fn len(&self) -> usize {
        match self {
            ColumnValues::Word(values) | ColumnValues::U32(values) => values.len(),
            ColumnValues::U64(values) => values.len(),
            ColumnValues::F64(values) => values.len(),
        }
    }

    fn append(&mut self, more: ColumnValues) {
        match (self, more) {
            (ColumnValues::Word(values), ColumnValues::Word(more))
            | (ColumnValues::U32(values), ColumnValues::U32(more)) => {
                values.extend(more);
            }
            (ColumnValues::U64(values), ColumnValues::U64(more)) => values.extend(more),
            (ColumnValues::F64(values), ColumnValues::F64(more)) => values.extend(more),
            _ => unreachable!("all batches have the same columns"),
        }
    }

    /// Returns a value as JSON. NaN is `null`.
    fn json(&self, kind: &ColumnType, at: usize) -> serde_json::Value {
        match (self, kind) {
            (ColumnValues::Word(values), ColumnType::Word(words)) => {
                words[values[at] as usize].as_str().into()
            }
            (ColumnValues::Word(values) | ColumnValues::U32(values), _) => values[at].into(),
            (ColumnValues::U64(values), _) => values[at].into(),
            (ColumnValues::F64(values), _) => values[at].into(),
        }
    }

    /// Returns a value as text; for a word, the word itself.
    fn text(&self, kind: &ColumnType, at: usize) -> String {
        match (self, kind) {
            (ColumnValues::Word(values), ColumnType::Word(words)) => words[values[at] as usize].clone(),
            (ColumnValues::Word(values) | ColumnValues::U32(values), _) => values[at].to_string(),
            (ColumnValues::U64(values), _) => values[at].to_string(),
            (ColumnValues::F64(values), _) => values[at].to_string(),
        }
    }
}

/// Writes a table to this place, completely or not at all. Returns its numbers of rows and bytes.
pub fn write(place: &Path, format: Format, rows: &dyn RowSource) -> Result<(u64, u64), TableError> {
    let failed = |source| OutputError::Io { path: place.to_owned(), doing: "create", source };
    let (directory, _) = Directory::of(place).map_err(failed)?;
    directory.remove_leftovers().map_err(failed)?;
    let file = HashedFile::create(place)?;
    let (file, count) = match format {
        Format::Csv => write_csv(file, rows)?,
        Format::Json => write_json(file, rows)?,
        Format::Parquet => write_parquet(file, rows)?,
        Format::Npz => write_npz(file, rows)?,
    };
    let (bytes, _) = file.commit()?;
    directory.sync().map_err(failed)?;
    Ok((count, bytes))
}

/// Writes a table of comma-separated values, or of JSON, to a stream. Returns its numbers of rows and bytes; `None` if the
/// reader has closed the stream.
pub fn stream(to: impl Write, is_json: bool, rows: &dyn RowSource) -> Result<Option<(u64, u64)>, TableError> {
    let write = if is_json { write_json } else { write_csv };
    match write(CountingWriter { to, bytes: 0 }, rows) {
        Ok((CountingWriter { mut to, bytes }, count)) => match to.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
            flushed => flushed.map(|()| Some((count, bytes))).map_err(TableError::Io),
        },
        Err(error) if error.is_of_nobody_reading() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Counts the written bytes.
struct CountingWriter<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn write_csv<W: Write>(file: W, rows: &dyn RowSource) -> Result<(W, u64), TableError> {
    let columns = rows.columns();
    let mut count = 0;
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(columns.iter().map(|column| &column.name))?;
    rows.each(&mut |batch| {
        let length = batch.first().map_or(0, ColumnValues::len);
        for at in 0..length {
            writer.write_record(
                columns.iter().zip(&batch).map(|(column, values)| values.text(&column.kind, at)),
            )?;
        }
        count += length as u64;
        Ok(())
    })?;
    let file = writer.into_inner().map_err(|error| error.into_error())?;
    Ok((file, count))
}

/// Writes an array with an object for each row, on lines of their own.
fn write_json<W: Write>(file: W, rows: &dyn RowSource) -> Result<(W, u64), TableError> {
    let columns = rows.columns();
    let mut file = io::BufWriter::new(file);
    let mut count = 0;
    file.write_all(b"[")?;
    rows.each(&mut |batch| {
        for at in 0..batch.first().map_or(0, ColumnValues::len) {
            let mut before = if count == 0 { "\n{" } else { ",\n{" };
            for (TableColumn { name, kind }, values) in columns.iter().zip(&batch) {
                write!(file, "{before}{}:{}", serde_json::Value::from(name.as_str()), values.json(kind, at))?;
                before = ",";
            }
            file.write_all(b"}")?;
            count += 1;
        }
        Ok(())
    })?;
    file.write_all(b"\n]\n")?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok((file, count))
}

fn write_parquet(file: HashedFile, rows: &dyn RowSource) -> Result<(HashedFile, u64), TableError> {
    let columns = rows.columns();
    let fields: String = columns
        .iter()
        .map(|TableColumn { name, kind }| match kind {
            ColumnType::Word(_) => format!("required binary {name} (STRING);"),
            ColumnType::U32 => format!("required int32 {name} (INTEGER(32, false));"),
            ColumnType::U64 => format!("required int64 {name} (INTEGER(64, false));"),
            ColumnType::F64 => format!("required double {name};"),
        })
        .collect();
    let schema = Arc::new(parse_message_type(&format!("message granule {{ {fields} }}"))?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("granule ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let mut waiting: Option<Batch> = None;
    let mut count = 0;
    rows.each(&mut |batch| {
        count += batch.first().map_or(0, ColumnValues::len) as u64;
        match &mut waiting {
            None => waiting = Some(batch),
            Some(waiting) => waiting.iter_mut().zip(batch).for_each(|(values, more)| values.append(more)),
        }
        if waiting.as_ref().is_some_and(|waiting| waiting[0].len() >= ROW_GROUP) {
            write_row_group(&mut writer, &columns, &waiting.take().unwrap_or_default())?;
        }
        Ok(())
    })?;
    if let Some(rest) = waiting {
        write_row_group(&mut writer, &columns, &rest)?;
    }
    Ok((writer.into_inner()?, count))
}

fn write_row_group(
    writer: &mut SerializedFileWriter<HashedFile>,
    columns: &[TableColumn],
    batch: &Batch,
) -> Result<(), TableError> {
    let mut group = writer.next_row_group()?;
    for (column, values) in columns.iter().zip(batch) {
        let Some(mut writer) = group.next_column()? else { break };
        match (writer.untyped(), values) {
            (ColumnWriter::ByteArrayColumnWriter(writer), ColumnValues::Word(values)) => {
                let ColumnType::Word(words) = &column.kind else {
                    unreachable!("a column of words has them")
                };
                let words: Vec<ByteArray> = words.iter().map(|word| word.as_str().into()).collect();
                for values in values.chunks(AT_ONCE) {
                    let values: Vec<ByteArray> =
                        values.iter().map(|&at| words[at as usize].clone()).collect();
                    writer.write_batch(&values, None, None)?;
                }
            }
            (ColumnWriter::Int32ColumnWriter(writer), ColumnValues::U32(values)) => {
                for values in values.chunks(AT_ONCE) {
                    let values: Vec<i32> = values.iter().map(|&value| value.cast_signed()).collect();
                    writer.write_batch(&values, None, None)?;
                }
            }
            (ColumnWriter::Int64ColumnWriter(writer), ColumnValues::U64(values)) => {
                for values in values.chunks(AT_ONCE) {
                    let values: Vec<i64> = values.iter().map(|&value| value.cast_signed()).collect();
                    writer.write_batch(&values, None, None)?;
                }
            }
            (ColumnWriter::DoubleColumnWriter(writer), ColumnValues::F64(values)) => {
                writer.write_batch(values, None, None)?;
            }
            _ => unreachable!("the schema is that of the columns"),
        }
        writer.close()?;
    }
    group.close()?;
    Ok(())
}

/// Writes an array for each column, one after the other. Each needs all rows once more.
fn write_npz(file: HashedFile, rows: &dyn RowSource) -> Result<(HashedFile, u64), TableError> {
    let columns = rows.columns();
    let mut count = 0_u64;
    rows.each(&mut |batch| {
        count += batch.first().map_or(0, ColumnValues::len) as u64;
        Ok(())
    })?;
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        // An array may have more than 4 GiB.
        .large_file(true);
    let mut archive = ZipWriter::new_stream(file);
    for (at, TableColumn { name, kind }) in columns.iter().enumerate() {
        archive.start_file(format!("{name}.npy"), options)?;
        let (descr, words) = match kind {
            // A numpy text is as wide as the longest of its array, with four bytes per character.
            ColumnType::Word(words) => {
                let width = words.iter().map(|word| word.chars().count()).max().unwrap_or(0).max(1);
                let padded = |word: &String| {
                    let mut bytes: Vec<u8> = word.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
                    bytes.resize(4 * width, 0);
                    bytes
                };
                (format!("<U{width}"), words.iter().map(padded).collect::<Vec<_>>())
            }
            ColumnType::U32 => ("<u4".to_owned(), Vec::new()),
            ColumnType::U64 => ("<u8".to_owned(), Vec::new()),
            ColumnType::F64 => ("<f8".to_owned(), Vec::new()),
        };
        write_vector_header(&mut archive, &descr, count as usize)?;
        let mut bytes = Vec::new();
        rows.each(&mut |mut batch| {
            bytes.clear();
            match batch.swap_remove(at) {
                ColumnValues::Word(values) => {
                    values.iter().for_each(|&word| bytes.extend(&words[word as usize]))
                }
                ColumnValues::U32(values) => {
                    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()))
                }
                ColumnValues::U64(values) => {
                    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()))
                }
                ColumnValues::F64(values) => {
                    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()))
                }
            }
            Ok(archive.write_all(&bytes)?)
        })?;
    }
    Ok((archive.finish()?.into_inner(), count))
}
/// Reads a Parquet file as CSV with a header. Numbers have as many digits as distinguish them; null is an empty field.
/// Stops soon after so many bytes of CSV.
///
/// # Errors
/// The reason, if the file cannot be read, or has a column of other values than numbers, flags and texts.
pub fn csv_of_parquet(file: File, most_bytes: u64) -> Result<Vec<u8>, String> {
    let not_readable = |error: ParquetError| format!("it is not a readable Parquet file: {error}");
    let reader = SerializedFileReader::new(file).map_err(not_readable)?;
    let columns = reader.metadata().file_metadata().schema_descr().columns();
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| error.to_string();
    table.write_record(columns.iter().map(|column| column.name())).map_err(failed)?;
    let mut bytes = 0;
    for row in reader.get_row_iter(None).map_err(not_readable)? {
        let row = row.map_err(not_readable)?;
        let cell = |(name, field): (&String, &Field)| match field {
            Field::Null => Ok(String::new()),
            Field::Str(text) => Ok(text.clone()),
            Field::Float(number) => Ok(number.to_string()),
            Field::Double(number) => Ok(number.to_string()),
            field if field.is_primitive() => Ok(field.to_string()),
            _ => Err(format!("its column `{name}` has neither numbers nor texts")),
        };
        let cells = row.get_column_iter().map(cell).collect::<Result<Vec<String>, String>>()?;
        bytes += cells.iter().map(|cell| cell.len() as u64 + 1).sum::<u64>();
        table.write_record(&cells).map_err(failed)?;
        if bytes > most_bytes {
            break;
        }
    }
    table.into_inner().map_err(|error| error.to_string())
}
