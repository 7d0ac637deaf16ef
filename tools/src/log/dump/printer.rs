//! Where a dump goes: lines for people, or a JSON object a line. One at a time, so that files of any size can be shown.

use std::io::{self, BufWriter, Stdout, Write};
use std::path::Path;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::log::Format;
use crate::log::files::FileError;

/// Why a file was not shown.
#[derive(Debug, Error)]
pub(super) enum DumpError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("standard output: {0}")]
    Print(#[from] io::Error),
}

type Printed = Result<(), DumpError>;

pub(super) struct Printer {
    format: Format,
    out: BufWriter<Stdout>,
    file: String,
    /// The file's name is still to be printed.
    pending: bool,
    damages: usize,
    unread: usize,
}

impl Printer {
    pub(super) fn new(format: Format) -> Printer {
        let out = BufWriter::new(io::stdout());
        Printer { format, out, file: String::new(), pending: false, damages: 0, unread: 0 }
    }

    pub(super) fn damages(&self) -> usize {
        self.damages
    }

    /// Files of a directory that could not be read.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self.out.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Everything from here on is of this file.
    pub(super) fn begin(&mut self, path: &Path) {
        self.file = path.display().to_string();
        self.pending = true;
    }

    /// What the file is.
    pub(super) fn note(&mut self, text: &str, facts: Value) -> Printed {
        if self.is_json() {
            return self.object("file", facts);
        }
        self.line(text)
    }

    /// A heading, for people.
    pub(super) fn heading(&mut self, text: &str) -> Printed {
        if self.is_json() { Ok(()) } else { self.line(text) }
    }

    /// One entry of the file; `text` is asked for where people read it.
    pub(super) fn entry(&mut self, kind: &str, fields: Value, text: impl FnOnce() -> String) -> Printed {
        if self.is_json() {
            return self.object(kind, fields);
        }
        self.line(&text())
    }

    /// A damaged place; `end` is where reading goes on.
    pub(super) fn damage(&mut self, position: Option<u64>, end: Option<u64>, reason: &str) -> Printed {
        self.damages += 1;
        if self.is_json() {
            return self.object("damage", serde_json::json!({"position": position, "end": end, "reason": reason}));
        }
        let place = match (position, end) {
            (Some(position), Some(end)) => format!(" at byte {position}, up to {end}"),
            (Some(position), None) => format!(" at byte {position}"),
            _ => String::new(),
        };
        self.line(&format!("DAMAGED{place}: {reason}"))
    }

    /// A file of a directory that cannot be read; the others are shown all the same.
    pub(super) fn cannot_read(&mut self, error: &FileError) {
        self.unread += 1;
        crate::output::complain(error);
    }

    fn line(&mut self, text: &str) -> Printed {
        if std::mem::take(&mut self.pending) {
            writeln!(self.out, "{}", self.file)?;
        }
        writeln!(self.out, "  {text}")?;
        Ok(())
    }

    fn object(&mut self, kind: &str, fields: Value) -> Printed {
        self.pending = false;
        let mut map = Map::new();
        map.insert("file".to_owned(), Value::from(self.file.as_str()));
        map.insert("type".to_owned(), Value::from(kind));
        if let Value::Object(fields) = fields {
            map.extend(fields);
        }
        serde_json::to_writer(&mut self.out, &map).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }
}
