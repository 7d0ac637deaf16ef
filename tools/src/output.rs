//! How results are printed, and how errors end the process.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use thiserror::Error;

use crate::client::{Client, ClientError};

/// Where the cluster is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArgs {
    /// Brokers to start from, HOST:PORT, separated by commas
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        env = "JACKDAW_BOOTSTRAP_SERVER",
        default_value = "127.0.0.1:9092",
        value_delimiter = ',',
        value_parser = address,
        global = true
    )]
    pub(crate) bootstrap_server: Vec<String>,
}

impl ConnectArgs {
    /// Connects.
    pub(crate) async fn client(&self) -> Result<Client, ClientError> {
        Client::connect(&self.bootstrap_server).await
    }
}

fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let port = text.rsplit_once(':').map(|(_, port)| port).filter(|_| !text.ends_with(']'));
    match port {
        None if text.is_empty() => Err("an empty address".to_owned()),
        None => Ok(format!("{text}:9092")),
        Some(port) if port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        Some(port) => Err(format!("{port:?} is not a port")),
    }
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns; with lines around them on a terminal.
    Table,
    /// One JSON document.
    Json,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// How to print results
    #[arg(long, value_enum, default_value = "table", global = true)]
    format: Format,
    /// Short for --format json
    #[arg(long, global = true)]
    json: bool,
}

impl OutputArgs {
    /// Whether JSON is wanted.
    pub(crate) fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// Something that only another command line can mend.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    #[error("{0}")]
    Failed(String),
    /// All was said already, item by item.
    #[error("not everything succeeded")]
    Reported,
}

impl CliError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> CliError {
        let what = what.into();
        move |error| CliError::Io { what, error }
    }

    /// A failure to print.
    pub(crate) fn stdout(error: io::Error) -> CliError {
        CliError::Io { what: "standard output".to_owned(), error }
    }
}

/// Prints the error, if any, and says how the process ends: 0 success, 1 failure, 2 usage.
pub(crate) fn finish(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::Reported) => ExitCode::FAILURE,
        // The reader has seen enough, as `head` does.
        Err(CliError::Io { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            if matches!(error, CliError::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints to standard error.
pub(crate) fn complain(message: &dyn std::fmt::Display) {
    // Nobody can be told if standard error is gone.
    let _ = writeln!(io::stderr(), "jackdaw: {message}");
}

/// Prints a line of text.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    writeln!(io::stdout(), "{text}").map_err(CliError::stdout)
}

/// Prints one JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    line(&text)
}

/// Prints rows under headings.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    if io::stdout().is_terminal() {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(headings.to_vec());
        for row in rows {
            table.add_row(row.clone());
        }
        line(&table.to_string())
    } else {
        line(&columns(headings, rows))
    }
}

/// Left-aligned columns with two spaces between; an empty cell is a dash, so that columns can be counted.
fn columns(headings: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heading).chain(rows).collect();
    let cell = |row: &Vec<String>, column: usize| match row.get(column).map(String::as_str) {
        None | Some("") => "-".to_owned(),
        Some(text) => text.to_owned(),
    };
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| all.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0))
        .collect();
    let lines = all.iter().map(|row| {
        let cells: Vec<String> =
            widths.iter().enumerate().map(|(column, &width)| format!("{:<width$}", cell(row, column))).collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Asks on a terminal; elsewhere nobody can answer, so that `--yes` must be given.
pub(crate) fn confirmed(question: &str) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage("there is no terminal to ask on: pass --yes to go on".to_owned()));
    }
    let mut err = io::stderr();
    write!(err, "{question}").and_then(|()| err.flush()).map_err(CliError::io("standard error"))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(CliError::io("standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Counts what failed; each failure is told when it happens.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    failures: usize,
}

impl Tally {
    pub(crate) fn failed(&mut self, error: &dyn std::fmt::Display) {
        complain(error);
        self.failures += 1;
    }

    pub(crate) fn finish(self) -> Result<(), CliError> {
        if self.failures == 0 { Ok(()) } else { Err(CliError::Reported) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_cells_are_dashes() {
        let rows = vec![vec!["orders".to_owned(), "12".to_owned()], vec!["a".to_owned(), String::new()]];
        assert_eq!(columns(&["NAME", "SIZE"], &rows), "NAME    SIZE\norders  12\na       -");
    }

    #[test]
    fn addresses_get_kafkas_port_when_they_have_none() {
        assert_eq!(address("broker").as_deref(), Ok("broker:9092"));
        assert_eq!(address("broker:1"), Ok("broker:1".to_owned()));
        assert_eq!(address("[::1]").as_deref(), Ok("[::1]:9092"));
        assert_eq!(address("[::1]:19"), Ok("[::1]:19".to_owned()));
        assert!(address("broker:x").is_err());
        assert!(address("").is_err());
    }
}
