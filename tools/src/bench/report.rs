//! A run's figures: a table for people, JSON for programs.

use std::io::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::BenchError;

/// Nanoseconds up to ten minutes, three significant digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are constants that the crate accepts")
}

/// The distribution in microseconds.
pub(super) fn latency(histogram: &Histogram<u64>) -> Value {
    let us = |nanos: u64| nanos as f64 / 1_000.0;
    json!({
        "min": us(histogram.min()),
        "p50": us(histogram.value_at_quantile(0.50)),
        "p90": us(histogram.value_at_quantile(0.90)),
        "p99": us(histogram.value_at_quantile(0.99)),
        "p99.9": us(histogram.value_at_quantile(0.999)),
        "p99.99": us(histogram.value_at_quantile(0.9999)),
        "max": us(histogram.max()),
        "mean": histogram.mean() / 1_000.0,
        "count": histogram.len(),
    })
}

/// Prints `report` on standard output and, if asked for, writes it to a file.
pub(super) fn finish(report: &Value, json_file: Option<&Path>) -> Result<(), BenchError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Value::Object(object) = report {
        rows(&mut table, "", object);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let text = format!("{table}\n");
    // A reader that went away (`| head`) is no failure of the benchmark.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(path) = json_file {
        let text = format!("{report:#}\n");
        std::fs::write(path, text).map_err(|source| BenchError::File { path: path.display().to_string(), source })?;
    }
    Ok(())
}

fn rows(table: &mut Table, prefix: &str, object: &Map<String, Value>) {
    for (key, value) in object {
        let name =
            if prefix.is_empty() { key.replace('_', " ") } else { format!("{prefix} {}", key.replace('_', " ")) };
        match value {
            Value::Object(inner) => rows(table, &name, inner),
            Value::Null => {}
            Value::Number(number) => {
                let text = number.as_i64().map_or_else(|| fraction(number.as_f64().unwrap_or(0.0)), grouped);
                table.add_row([name, text]);
            }
            Value::String(text) => {
                table.add_row([name, text.clone()]);
            }
            other => {
                table.add_row([name, other.to_string()]);
            }
        }
    }
}

fn fraction(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => grouped(value.round() as i64),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(-1_234_567), "-1,234,567");
        assert_eq!(fraction(0.1234), "0.123");
        assert_eq!(fraction(12_345.6), "12,346");
    }

    #[test]
    fn latency_is_reported_in_microseconds() {
        let mut histogram = histogram();
        for nanos in [10_000, 20_000, 30_000] {
            histogram.saturating_record(nanos);
        }
        let report = latency(&histogram);
        assert!((report["p50"].as_f64().unwrap_or(0.0) - 20.0).abs() < 0.1);
        assert_eq!(report["count"], 3);
    }
}
