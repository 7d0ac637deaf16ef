//! Lines to records.

use std::io::{self, BufRead};

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// A line longer than this is refused: no topic takes such a record, and memory must stay bounded.
const MAX_LINE: u64 = 128 << 20;
/// Lines are handed on in chunks of about so many bytes, or as soon as the input pauses.
const CHUNK_BYTES: usize = 256 << 10;

/// One record to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
}

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// A value.
    Value,
    /// A key, this delimiter, and a value; without the delimiter just a value.
    Keyed(String),
    /// A JSON object.
    Json,
}

/// A line and what became of it.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) parsed: Result<Input, String>,
}

/// Lines read together, and how many bytes of the input they end at.
pub(super) struct Chunk {
    pub(super) lines: Vec<Line>,
    pub(super) position: u64,
}

/// Reads lines to the end, on a thread of its own since standard input blocks. Ends early when nobody listens.
pub(super) fn read_lines(
    mut input: impl BufferedBytes,
    layout: &Layout,
    empty_is_null: bool,
    chunks: &mpsc::Sender<io::Result<Chunk>>,
) {
    let mut number = 0;
    let mut position = 0;
    loop {
        let mut lines = Vec::new();
        let mut bytes = 0;
        let end = loop {
            let mut line = Vec::new();
            match io::Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) => break true,
                Ok(read) if read as u64 == MAX_LINE && line.last() != Some(&b'\n') => {
                    let reason = format!("line {} is longer than {MAX_LINE} bytes", number + 1);
                    let _ = chunks.blocking_send(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
                    return;
                }
                Ok(read) => {
                    number += 1;
                    position += read as u64;
                    bytes += read;
                    line.pop_if(|last| *last == b'\n');
                    lines.push(Line { number, parsed: parse(line, layout, empty_is_null) });
                }
                Err(error) => {
                    let _ = chunks.blocking_send(Err(error));
                    return;
                }
            }
            if bytes >= CHUNK_BYTES || !input.has_buffered() {
                break false;
            }
        };
        if !lines.is_empty() && chunks.blocking_send(Ok(Chunk { lines, position })).is_err() || end {
            return;
        }
    }
}

/// A reader that knows whether the next read would wait for the system.
pub(super) trait BufferedBytes: BufRead {
    /// Whether bytes are at hand.
    fn has_buffered(&self) -> bool;
}

impl<R: io::Read> BufferedBytes for io::BufReader<R> {
    fn has_buffered(&self) -> bool {
        !self.buffer().is_empty()
    }
}

/// One line to a record, or what is wrong with it.
pub(super) fn parse(line: Vec<u8>, layout: &Layout, empty_is_null: bool) -> Result<Input, String> {
    let mut input = match layout {
        Layout::Value => Input { value: Some(line), ..Input::default() },
        Layout::Keyed(delimiter) => match find(&line, delimiter.as_bytes()) {
            None => Input { value: Some(line), ..Input::default() },
            Some(at) => Input {
                key: Some(line[..at].to_vec()),
                value: Some(line[at + delimiter.len()..].to_vec()),
                ..Input::default()
            },
        },
        Layout::Json => json(&line)?,
    };
    if empty_is_null {
        input.key = input.key.filter(|key| !key.is_empty());
        input.value = input.value.filter(|value| !value.is_empty());
    }
    Ok(input)
}

fn find(line: &[u8], delimiter: &[u8]) -> Option<usize> {
    line.windows(delimiter.len()).position(|window| window == delimiter)
}

/// The fields of a line; those that `consume --json` prints beside them are known but mean nothing here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRecord<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    key_base64: Option<String>,
    #[serde(borrow, alias = "payload")]
    value: Option<&'a RawValue>,
    #[serde(alias = "payload_base64")]
    value_base64: Option<String>,
    headers: Option<Value>,
    partition: Option<i32>,
    #[serde(alias = "ts")]
    timestamp: Option<i64>,
    #[serde(rename = "topic")]
    _topic: Option<serde::de::IgnoredAny>,
    #[serde(rename = "offset")]
    _offset: Option<serde::de::IgnoredAny>,
    #[serde(rename = "tstype")]
    _timestamp_type: Option<serde::de::IgnoredAny>,
    #[serde(rename = "broker")]
    _broker: Option<serde::de::IgnoredAny>,
}

fn json(line: &[u8]) -> Result<Input, String> {
    let record: JsonRecord<'_> = serde_json::from_slice(line).map_err(|error| format!("not a JSON record: {error}"))?;
    if record.partition.is_some_and(|partition| partition < 0) {
        return Err("a negative partition".to_owned());
    }
    Ok(Input {
        key: field(record.key, record.key_base64)?,
        value: field(record.value, record.value_base64)?,
        headers: record.headers.map_or(Ok(Vec::new()), headers)?,
        partition: record.partition,
        timestamp: record.timestamp,
    })
}

/// A string stands for its text, null for null, and any other JSON for itself as written.
fn field(raw: Option<&RawValue>, base64: Option<String>) -> Result<Option<Vec<u8>>, String> {
    if let Some(text) = base64 {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        return bytes.map(Some).map_err(|error| format!("bad base64: {error}"));
    }
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(None) };
    if raw.starts_with('"') {
        let text: String = serde_json::from_str(raw).map_err(|error| error.to_string())?;
        return Ok(Some(text.into_bytes()));
    }
    Ok(Some(raw.as_bytes().to_vec()))
}

type Headers = Vec<(String, Option<Vec<u8>>)>;

/// `{"k": "v"}`, `[["k", "v"]]`, `[{"key": "k", "value": "v"}]`, or kcat's `["k", "v"]`.
fn headers(value: Value) -> Result<Headers, String> {
    const FORMS: &str = "headers must be an object, or an array of pairs";
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) => Ok(map.into_iter().map(|(key, value)| (key, plain(value))).collect()),
        Value::Array(items) if items.iter().all(|item| item.is_string() || item.is_null()) => {
            let pairs = items.chunks(2).map(|pair| match pair {
                [Value::String(key), value] => Ok((key.clone(), plain(value.clone()))),
                _ => Err(FORMS.to_owned()),
            });
            pairs.collect()
        }
        Value::Array(items) => items.into_iter().map(pair).collect(),
        _ => Err(FORMS.to_owned()),
    }
}

fn pair(item: Value) -> Result<(String, Option<Vec<u8>>), String> {
    match item {
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::String(key), value]) => Ok((key, plain(value))),
            _ => Err("a header must be a pair of a string and a value".to_owned()),
        },
        Value::Object(mut map) => match (map.remove("key"), map.remove("value")) {
            (Some(Value::String(key)), value) => Ok((key, plain(value.unwrap_or(Value::Null)))),
            _ => Err("a header needs a \"key\"".to_owned()),
        },
        _ => Err("a header must be a pair of a string and a value".to_owned()),
    }
}

fn plain(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn from_json(line: &str) -> Result<Input, String> {
        parse(line.as_bytes().to_vec(), &Layout::Json, false)
    }

    fn bytes(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn a_line_is_a_value_and_may_have_a_key_before_a_delimiter() {
        let parsed = parse(b"k\tv\tw".to_vec(), &Layout::Value, false).unwrap();
        assert_eq!((parsed.key, parsed.value), (None, bytes("k\tv\tw")));
        let keyed = Layout::Keyed("\t".to_owned());
        let parsed = parse(b"k\tv\tw".to_vec(), &keyed, false).unwrap();
        assert_eq!((parsed.key, parsed.value), (bytes("k"), bytes("v\tw")));
        let parsed = parse(b"no key".to_vec(), &keyed, false).unwrap();
        assert_eq!((parsed.key, parsed.value), (None, bytes("no key")));
        let parsed = parse(b"k::v".to_vec(), &Layout::Keyed("::".to_owned()), false).unwrap();
        assert_eq!((parsed.key, parsed.value), (bytes("k"), bytes("v")));
    }

    #[test]
    fn an_empty_value_is_a_tombstone_only_when_asked_for() {
        let keyed = Layout::Keyed(":".to_owned());
        assert_eq!(parse(b"k:".to_vec(), &keyed, false).unwrap().value, bytes(""));
        assert_eq!(parse(b"k:".to_vec(), &keyed, true).unwrap().value, None);
    }

    #[test]
    fn json_gives_every_part_of_a_record() {
        let parsed = from_json(
            r#"{"key":"k\u00e9","value":{"a": 1.50},"headers":{"h":"1","n":null},"partition":3,"timestamp":17}"#,
        );
        let expected = Input {
            key: bytes("ké"),
            value: bytes(r#"{"a": 1.50}"#),
            headers: vec![("h".to_owned(), bytes("1")), ("n".to_owned(), None)],
            partition: Some(3),
            timestamp: Some(17),
        };
        assert_eq!(parsed, Ok(expected));
        assert_eq!(from_json("{}"), Ok(Input::default()));
        assert_eq!(from_json(r#"{"key":null,"value":null}"#), Ok(Input::default()));
        assert_eq!(from_json(r#"{"value":42}"#).unwrap().value, bytes("42"));
        assert_eq!(from_json(r#"{"key_base64":"AP8="}"#).unwrap().key, Some(vec![0, 255]));
    }

    #[test]
    fn what_consume_prints_can_be_produced_again() {
        let line = r#"{"topic":"t","partition":0,"offset":9,"tstype":"create","ts":5,"broker":1,"headers":["a","1","a","2"],"key":"k","payload":"v"}"#;
        let parsed = from_json(line).unwrap();
        assert_eq!((parsed.key, parsed.value, parsed.timestamp), (bytes("k"), bytes("v"), Some(5)));
        assert_eq!(parsed.headers, [("a".to_owned(), bytes("1")), ("a".to_owned(), bytes("2"))]);
    }

    #[test]
    fn headers_come_in_four_forms() {
        let expected = Ok(vec![("a".to_owned(), bytes("1"))]);
        for form in [r#"{"a":"1"}"#, r#"[["a","1"]]"#, r#"[{"key":"a","value":"1"}]"#, r#"["a","1"]"#] {
            assert_eq!(headers(serde_json::from_str(form).unwrap()), expected, "{form}");
        }
        for form in ["7", r#"["a"]"#, r#"[["a"]]"#, "[1]", r#"[{"value":"1"}]"#] {
            assert!(headers(serde_json::from_str(form).unwrap()).is_err(), "{form}");
        }
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        assert!(from_json("nonsense").unwrap_err().contains("not a JSON record"));
        assert!(from_json(r#"{"vlaue":"typo"}"#).unwrap_err().contains("vlaue"));
        assert!(from_json(r#"{"partition":-1}"#).unwrap_err().contains("negative"));
        assert!(from_json(r#"{"key_base64":"*"}"#).unwrap_err().contains("base64"));
    }

    #[test]
    fn lines_are_numbered_and_the_last_may_lack_its_end() {
        let (sender, mut receiver) = mpsc::channel(16);
        read_lines(io::BufReader::new(&b"a\n\nc"[..]), &Layout::Value, false, &sender);
        drop(sender);
        let mut values = Vec::new();
        let mut end = 0;
        while let Some(chunk) = receiver.blocking_recv() {
            let chunk = chunk.unwrap();
            end = chunk.position;
            values.extend(chunk.lines.into_iter().map(|line| (line.number, line.parsed.unwrap().value.unwrap())));
        }
        assert_eq!(values, [(1, b"a".to_vec()), (2, vec![]), (3, b"c".to_vec())]);
        assert_eq!(end, 4);
    }
}
