//! The stream that holds a state of a vault: rows of the index and git objects, each checked as it is read. See
//! `docs/formats.md`, Snapshot.

use std::io::{Read, Write};

use aios_core::id::ContentHash;
use git2::ObjectType;
use rusqlite::Connection;
use rusqlite::types::{Type, Value, ValueRef};

use crate::error::Error;

const MAGIC: &[u8] = b"aios-image-v1\n";

/// The tables of the index that hang on records alone, and not on the device.
const TABLES: [&str; 14] = [
    "record",
    "deed",
    "tip",
    "head",
    "item",
    "moved",
    "doc",
    "gated",
    "conflict",
    "settled",
    "merge",
    "automerge",
    "accepted",
    "named",
];

/// Columns that say where something lies in the log of the device that made the image: what is not here lies nowhere.
const PLACES: [(&str, &str); 6] = [
    ("record", "segment"),
    ("record", "at"),
    ("tip", "segment"),
    ("tip", "at"),
    ("item", "at"),
    ("item", "payload"),
];

/// No value and no git object in an image is longer.
const LONGEST: usize = 64 << 20;
/// The description of the tables is no longer.
const DESCRIPTION: usize = 64 << 10;

const END: u8 = 0;
const ROW: u8 = 1;
const OBJECT: u8 = 2;

const KINDS: [ObjectType; 3] = [ObjectType::Commit, ObjectType::Tree, ObjectType::Blob];

#[derive(Debug)]
struct Column {
    name: String,
    kind: Type,
    null: bool,
    place: bool,
}

/// A table of the index, as this program has it.
#[derive(Debug)]
pub(super) struct Table {
    name: &'static str,
    columns: Vec<Column>,
}

impl Table {
    /// All that an image has, in the order in which they are numbered in it.
    pub fn all(db: &Connection) -> Result<Vec<Table>, Error> {
        TABLES.into_iter().map(|name| Table::of(db, name)).collect()
    }

    fn of(db: &Connection, name: &'static str) -> Result<Table, Error> {
        let mut get = db.prepare_cached(
            "SELECT name, type, \"notnull\" OR pk > 0 FROM pragma_table_info(?) ORDER BY cid",
        )?;
        let columns = get.query_map([name], |row| {
            let column: String = row.get(0)?;
            let kind = match row.get::<_, String>(1)?.as_str() {
                "INTEGER" => Type::Integer,
                "TEXT" => Type::Text,
                _ => Type::Blob,
            };
            let place = PLACES.contains(&(name, column.as_str()));
            Ok(Column { name: column, kind, null: !row.get::<_, bool>(2)?, place })
        })?;
        Ok(Table { name, columns: columns.collect::<Result<_, _>>()? })
    }

    fn describe(tables: &[Table]) -> Vec<u8> {
        let mut text = String::new();
        for table in tables {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            text.push_str(&format!("{} {}\n", table.name, names.join(" ")));
        }
        text.into_bytes()
    }

    /// Reads its rows, without where they lie in a log.
    pub fn select(&self) -> String {
        let names = self.columns.iter().map(|Column { name, place, .. }| match place {
            true => format!("CASE WHEN \"{name}\" IS NULL THEN NULL ELSE 0 END"),
            false => format!("\"{name}\""),
        });
        format!("SELECT {} FROM {}", names.collect::<Vec<_>>().join(", "), self.name)
    }

    /// Adds a row.
    pub fn insert(&self) -> String {
        let places = vec!["?"; self.columns.len()];
        format!("INSERT INTO {} VALUES({})", self.name, places.join(", "))
    }

    /// Whether it is the one of this name.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Bytes that are counted and hashed on their way.
struct Hashed<S> {
    stream: S,
    hasher: blake3::Hasher,
    size: u64,
}

impl<S> Hashed<S> {
    fn new(stream: S) -> Self {
        Hashed { stream, hasher: blake3::Hasher::new(), size: 0 }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn sum(&self) -> (ContentHash, u64) {
        (ContentHash(*self.hasher.finalize().as_bytes()), self.size)
    }
}

/// Writes an image.
pub(super) struct Writer<W> {
    out: Hashed<W>,
}

impl<W: Write> Writer<W> {
    /// Begins one with these tables.
    pub fn new(out: W, tables: &[Table]) -> std::io::Result<Self> {
        let mut writer = Writer { out: Hashed::new(out) };
        writer.put(MAGIC)?;
        writer.put_long(&Table::describe(tables))?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.out.note(bytes);
        self.out.stream.write_all(bytes)
    }

    fn put_long(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if bytes.len() > LONGEST {
            return Err(std::io::Error::other(format!(
                "a value of {} bytes is too long for it",
                bytes.len()
            )));
        }
        self.put(&(bytes.len() as u32).to_le_bytes())?;
        self.put(bytes)
    }

    /// Adds a row of the table with this number.
    pub fn row<'v>(
        &mut self,
        table: usize,
        values: impl IntoIterator<Item = ValueRef<'v>>,
    ) -> std::io::Result<()> {
        self.put(&[ROW, table as u8])?;
        for value in values {
            match value {
                ValueRef::Null => self.put(&[0])?,
                ValueRef::Integer(n) => {
                    self.put(&[1])?;
                    self.put(&n.to_le_bytes())?;
                }
                ValueRef::Text(text) => {
                    self.put(&[2])?;
                    self.put_long(text)?;
                }
                ValueRef::Blob(bytes) => {
                    self.put(&[3])?;
                    self.put_long(bytes)?;
                }
                ValueRef::Real(_) => return Err(std::io::Error::other("a row holds a fraction")),
            }
        }
        Ok(())
    }

    /// Adds a git object.
    pub fn object(&mut self, kind: ObjectType, bytes: &[u8]) -> std::io::Result<()> {
        let number = KINDS.iter().position(|known| *known == kind);
        let number = number.ok_or_else(|| std::io::Error::other("a git object of a kind it has not"))?;
        self.put(&[OBJECT, number as u8])?;
        self.put_long(bytes)
    }

    /// Ends it. Gives the hash and the length of all of it.
    pub fn end(mut self) -> std::io::Result<(ContentHash, u64)> {
        self.put(&[END])?;
        self.out.stream.flush()?;
        Ok(self.out.sum())
    }
}

/// What an image holds.
#[derive(Debug)]
pub(super) enum Part {
    /// A row of the table with this number.
    Row(usize, Vec<Value>),
    /// A git object.
    Object(ObjectType, Vec<u8>),
}

/// Reads an image.
pub(super) struct Reader<'t, R> {
    from: Hashed<R>,
    tables: &'t [Table],
}

/// Why an image is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("it is no image of a vault")]
    Magic,
    #[error("another version of aios made it, whose tables differ: upgrade the older of both devices")]
    Version,
    #[error("at byte {0} it is malformed: {1}")]
    Malformed(u64, &'static str),
}

impl<'t, R: Read> Reader<'t, R> {
    /// Begins to read one that has these tables.
    pub fn new(from: R, tables: &'t [Table]) -> Result<Self, ImageError> {
        let mut reader = Reader { from: Hashed::new(from), tables };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(ImageError::Magic);
        }
        match reader.take_long(DESCRIPTION)? == Table::describe(tables) {
            true => Ok(reader),
            false => Err(ImageError::Version),
        }
    }

    fn bad<T>(&self, why: &'static str) -> Result<T, ImageError> {
        Err(ImageError::Malformed(self.from.size, why))
    }

    /// Reads as much as there is of `len` bytes: room is made for what came, not for what was promised.
    fn take(&mut self, len: usize) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::with_capacity(len.min(64 << 10));
        self.from.stream.by_ref().take(len as u64).read_to_end(&mut bytes)?;
        self.from.note(&bytes);
        match bytes.len() == len {
            true => Ok(bytes),
            false => self.bad("it ends too early"),
        }
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        match self.from.stream.read_exact(&mut bytes) {
            Ok(()) => {
                self.from.note(&bytes);
                Ok(bytes)
            }
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => self.bad("it ends too early"),
            Err(e) => Err(e.into()),
        }
    }

    fn take_long(&mut self, longest: usize) -> Result<Vec<u8>, ImageError> {
        let len = u32::from_le_bytes(self.take_array()?) as usize;
        match len <= longest {
            true => self.take(len),
            false => self.bad("a value is too long"),
        }
    }

    /// The next part; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Part>, ImageError> {
        let [tag] = self.take_array()?;
        if tag == END {
            return Ok(None);
        }
        let [number] = self.take_array()?;
        let number = usize::from(number);
        match tag {
            ROW => self.row(number).map(|row| Some(Part::Row(number, row))),
            OBJECT => match KINDS.get(number) {
                Some(kind) => Ok(Some(Part::Object(*kind, self.take_long(LONGEST)?))),
                None => self.bad("a git object of an unknown kind"),
            },
            _ => self.bad("a part of an unknown kind"),
        }
    }

    fn row(&mut self, table: usize) -> Result<Vec<Value>, ImageError> {
        let Some(table) = self.tables.get(table) else { return self.bad("a row of an unknown table") };
        let mut row = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let value = match self.take_array()? {
                [0] => Value::Null,
                [1] => Value::Integer(i64::from_le_bytes(self.take_array()?)),
                [2] => match String::from_utf8(self.take_long(LONGEST)?) {
                    Ok(text) => Value::Text(text),
                    Err(_) => return self.bad("a text is not UTF-8"),
                },
                [3] => Value::Blob(self.take_long(LONGEST)?),
                _ => return self.bad("a value of an unknown kind"),
            };
            let fits = match value.data_type() {
                Type::Null => column.null,
                kind => kind == column.kind,
            };
            if !fits {
                return self.bad("a value is not what its column holds");
            }
            if column.place && !matches!(value, Value::Null | Value::Integer(0)) {
                return self.bad("it says where something lies in a log");
            }
            row.push(value);
        }
        Ok(row)
    }

    /// The hash and the length of what was read.
    pub fn sum(&self) -> (ContentHash, u64) {
        self.from.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Vec<Table> {
        let dir = tempfile::tempdir().unwrap();
        Table::all(&crate::db::open(&dir.path().join("db")).unwrap()).unwrap()
    }

    fn number(tables: &[Table], name: &str) -> usize {
        tables.iter().position(|table| table.is(name)).unwrap()
    }

    /// One row, one object.
    fn image(tables: &[Table]) -> (Vec<u8>, (ContentHash, u64)) {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, tables).unwrap();
        let values = [ValueRef::Text(b"c1"), ValueRef::Integer(4)];
        writer.row(number(tables, "settled"), values).unwrap();
        writer.object(ObjectType::Blob, b"text\n").unwrap();
        let sum = writer.end().unwrap();
        (bytes, sum)
    }

    fn read(bytes: &[u8], tables: &[Table]) -> Result<(Vec<Part>, (ContentHash, u64)), ImageError> {
        let mut reader = Reader::new(bytes, tables)?;
        let mut out = Vec::new();
        while let Some(part) = reader.next()? {
            out.push(part);
        }
        Ok((out, reader.sum()))
    }

    #[test]
    fn what_is_written_is_read() {
        let tables = tables();
        let (bytes, sum) = image(&tables);
        assert_eq!(sum, (ContentHash::of(&bytes), bytes.len() as u64));
        let (parts, found) = read(&bytes, &tables).unwrap();
        assert_eq!(found, sum);
        let [Part::Row(table, row), Part::Object(ObjectType::Blob, text)] = &parts[..] else {
            panic!("{parts:?}")
        };
        assert!(tables[*table].is("settled"));
        assert_eq!(row, &[Value::Text("c1".into()), Value::Integer(4)]);
        assert_eq!(text, b"text\n");
    }

    #[test]
    fn one_cut_short_is_none_and_none_with_a_flipped_bit_is_the_same() {
        let tables = tables();
        let (bytes, sum) = image(&tables);
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len], &tables).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            assert!(read(&bytes, &tables).map_or(true, |(_, found)| found != sum), "{at}");
        }
    }

    #[test]
    fn a_row_that_its_table_cannot_hold_is_refused() {
        let tables = tables();
        let try_row = |name: &str, values: &[ValueRef<'_>]| {
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes, &tables).unwrap();
            writer.row(number(&tables, name), values.iter().copied()).unwrap();
            writer.end().unwrap();
            read(&bytes, &tables).map(drop)
        };
        use ValueRef::{Blob, Integer, Null, Text};
        try_row("settled", &[Text(b"c"), Integer(1)]).unwrap();
        assert!(try_row("settled", &[Null, Integer(1)]).is_err());
        assert!(try_row("settled", &[Text(b"\xff"), Integer(1)]).is_err());
        assert!(try_row("settled", &[Text(b"c"), Blob(b"1")]).is_err());
        let tip = |segment| [Blob(&[1; 32]), Integer(1), Blob(&[2; 32]), Integer(segment), Integer(0)];
        try_row("tip", &tip(0)).unwrap();
        assert!(try_row("tip", &tip(1)).is_err());
    }
}
