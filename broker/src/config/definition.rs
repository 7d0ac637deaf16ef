//! What one setting is: name, type, default, bounds, who may change it and when, and what it does.
//!
//! The tables under `table/` are made of these. Names, types, defaults and bounds are Apache Kafka 4.3.1's,
//! the documentation is ours: it says what Jackdaw does with the setting, also where that is nothing.

use std::fmt;

/// The type of a value, with the code DescribeConfigs gives it (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// What a value must fulfil beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    Any,
    /// A whole number within these bounds, both included.
    Range(i64, i64),
    /// A fraction within these bounds, both included.
    Fraction(f64, f64),
    /// A gzip level: 1 to 9, or -1 for the library's own default.
    GzipLevel,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, whatever their case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// A list of these words only, none twice; an empty list is allowed where the flag says so.
    ListOf {
        words: &'static [&'static str],
        may_be_empty: bool,
    },
    /// Any string or list but an empty one.
    NotEmpty,
    /// `*` or `partition:broker,...` (the replicas a replication throttle applies to).
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` and an ISO 8601 duration (share groups).
    ShareOffsetReset,
}

/// How much a reader of the list should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// How a broker setting may change while the broker runs (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only in the configuration file, with a restart.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker or as the default of all.
    ClusterWide,
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Def {
    pub name: &'static str,
    pub kind: Type,
    /// The default as it would be written in a file; none means null (unset).
    pub default: Option<&'static str>,
    pub check: Check,
    pub importance: Importance,
    pub update: Update,
    /// Whether Kafka hides it from DescribeConfigs while it has its default.
    pub internal: bool,
    pub doc: &'static str,
}

impl Def {
    /// Whether the value may never be shown to anyone.
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Type::Password)
    }

    /// The value in the form Kafka shows it in: numbers, booleans and lists without the freedom of their writing.
    pub fn display(&self, value: &str) -> String {
        let value = value.trim();
        match self.kind {
            Type::Boolean => value.to_ascii_lowercase(),
            Type::Short | Type::Int | Type::Long => {
                value.parse::<i64>().map_or_else(|_| value.to_owned(), |number| number.to_string())
            }
            Type::Double => value.parse::<f64>().map_or_else(|_| value.to_owned(), java_double),
            Type::List => list(value).join(","),
            Type::String | Type::Class | Type::Password => value.to_owned(),
        }
    }

    /// Checks type and bounds.
    ///
    /// # Errors
    /// Says what would be allowed.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let value = value.trim();
        match self.kind {
            Type::Boolean => match value.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("true or false".into()),
            },
            Type::Short => self.check_number(value, i16::MIN.into(), i16::MAX.into()),
            Type::Int => self.check_number(value, i32::MIN.into(), i32::MAX.into()),
            Type::Long => self.check_number(value, i64::MIN, i64::MAX),
            Type::Double => self.check_fraction(value),
            Type::String | Type::Class | Type::Password | Type::List => self.check_text(value),
        }
    }

    fn check_number(&self, value: &str, least: i64, most: i64) -> Result<(), String> {
        let number = value.parse::<i64>().ok();
        match self.check {
            Check::Range(low, high) => match number {
                Some(n) if n >= low.max(least) && n <= high.min(most) => Ok(()),
                _ => Err(format!("a whole number {}", Bounds(low.max(least), high.min(most)))),
            },
            Check::GzipLevel => match number {
                Some(-1 | 1..=9) => Ok(()),
                _ => Err("a whole number from 1 to 9, or -1".into()),
            },
            _ => match number {
                Some(n) if n >= least && n <= most => Ok(()),
                _ => Err(format!("a whole number {}", Bounds(least, most))),
            },
        }
    }

    fn check_fraction(&self, value: &str) -> Result<(), String> {
        let number = value.parse::<f64>().ok().filter(|n| !n.is_nan());
        match (self.check, number) {
            (Check::Fraction(low, high), Some(n)) if n >= low && n <= high => Ok(()),
            (Check::Fraction(low, high), _) => Err(format!("a number from {low} to {high}")),
            (_, Some(_)) => Ok(()),
            (_, None) => Err("a number".into()),
        }
    }

    fn check_text(&self, value: &str) -> Result<(), String> {
        match self.check {
            Check::OneOf(words) if !words.contains(&value) => Err(format!("one of {}", words.join(", "))),
            Check::OneOfIgnoringCase(words) if !words.iter().any(|w| w.eq_ignore_ascii_case(value)) => {
                Err(format!("one of {}", words.join(", ")))
            }
            Check::ListOf { words, may_be_empty } => check_list(value, words, may_be_empty),
            Check::NotEmpty if value.is_empty() => Err("anything but an empty value".into()),
            Check::ThrottledReplicas if !is_throttled_replicas(value) => {
                Err("* or a list of partition:broker pairs such as 0:1,1:2".into())
            }
            Check::ShareOffsetReset if !is_share_offset_reset(value) => {
                Err("latest, earliest or by_duration: with an ISO 8601 duration such as by_duration:PT1H".into())
            }
            _ => Ok(()),
        }
    }
}

/// As Java prints a double: plain from 0.001 up to 10000000, else with an exponent; never without a fraction.
fn java_double(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

/// The elements of a list value: comma separated, blanks around them dropped.
pub fn list(value: &str) -> Vec<&str> {
    let value = value.trim();
    if value.is_empty() { Vec::new() } else { value.split(',').map(str::trim).collect() }
}

fn check_list(value: &str, words: &[&str], may_be_empty: bool) -> Result<(), String> {
    let items = list(value);
    let twice = items.iter().enumerate().any(|(i, item)| items[..i].contains(item));
    if twice || items.iter().any(|item| !words.contains(item)) || (items.is_empty() && !may_be_empty) {
        let or_none = if may_be_empty { ", or nothing" } else { "" };
        return Err(format!("a list of {}, each at most once{or_none}", words.join(", ")));
    }
    Ok(())
}

fn is_throttled_replicas(value: &str) -> bool {
    let is_pair = |pair: &str| {
        pair.split_once(':').is_some_and(|(partition, broker)| {
            [partition, broker].iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    value == "*" || list(value).into_iter().all(is_pair)
}

fn is_share_offset_reset(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    match lower.strip_prefix("by_duration:") {
        None => matches!(lower.as_str(), "latest" | "earliest"),
        Some(duration) => is_iso_duration(duration),
    }
}

/// `PnDTnHnMn.nS`, every part optional but at least one there; never negative.
fn is_iso_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('p') else { return false };
    let (days, time) = match rest.split_once('t') {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return false;
    }
    let mut units = "hms".chars();
    let mut number = String::new();
    for c in time.chars() {
        match c {
            '0'..='9' | '.' => number.push(c),
            unit if !number.is_empty() && units.any(|u| u == unit) => {
                let valid = if unit == 's' { number.parse::<f64>().is_ok() } else { number.parse::<u64>().is_ok() };
                if !valid {
                    return false;
                }
                number.clear();
            }
            _ => return false,
        }
    }
    let days_valid = days.is_empty() || days.strip_suffix('d').is_some_and(|n| n.parse::<u64>().is_ok());
    number.is_empty() && days_valid
}

struct Bounds(i64, i64);

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (number, text) in [
            (0.5, "0.5"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (1e7, "1.0E7"),
            (0.0001, "1.0E-4"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }

    #[test]
    fn durations_of_share_groups_are_iso_8601() {
        for good in [
            "latest",
            "Earliest",
            "by_duration:PT1H",
            "by_duration:P1D",
            "by_duration:P2DT3H4M5.6S",
            "by_duration:PT0.5S",
        ] {
            assert!(is_share_offset_reset(good), "{good}");
        }
        for bad in [
            "",
            "none",
            "by_duration:",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:1H",
            "by_duration:-PT1H",
            "by_duration:PT1M2H",
        ] {
            assert!(!is_share_offset_reset(bad), "{bad}");
        }
    }
}
