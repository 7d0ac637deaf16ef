//! How a record is printed: kcat's format tokens, or kcat's JSON envelope.

use std::io::{self, Write};

use base64::Engine;
use serde::Serialize;

/// A record with all that can be printed of it.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) log_append_time: bool,
    pub(super) broker: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// How records are printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Printer {
    /// Pieces of a format, one after another.
    Pieces(Vec<Piece>),
    /// One JSON object a line.
    Json,
}

/// A piece of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Vec<u8>),
    Value,
    /// Length in bytes, -1 for null.
    ValueLength,
    /// Length as a big-endian 32-bit number, for programs that read the output.
    ValueLengthBinary,
    Key,
    KeyLength,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

/// Reads a format: `%` tokens, and the escapes `\n \r \t \0 \\ \xHH`.
pub(super) fn parse(format: &str) -> Result<Printer, String> {
    let mut pieces = Vec::new();
    let mut plain = Vec::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.push(escape(&mut letters)?),
            '%' => {
                let token = letters.next();
                if token == Some('%') {
                    plain.push(b'%');
                    continue;
                }
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(piece(token)?);
            }
            other => plain.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(Printer::Pieces(pieces))
}

fn piece(token: Option<char>) -> Result<Piece, String> {
    Ok(match token {
        Some('s') => Piece::Value,
        Some('S') => Piece::ValueLength,
        Some('R') => Piece::ValueLengthBinary,
        Some('k') => Piece::Key,
        Some('K') => Piece::KeyLength,
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('T') => Piece::Timestamp,
        Some('h') => Piece::Headers,
        Some(other) => {
            return Err(format!(
                "no token %{other}: there are %s %S %R %k %K %t %p %o %T %h, and %% for a percent sign"
            ));
        }
        None => return Err("the format ends after a %; write %% for a percent sign".to_owned()),
    })
}

fn escape(letters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match letters.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = letters.by_ref().take(2).collect();
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
            byte.ok_or_else(|| format!("\\x{digits} is not a byte: give two hex digits"))
        }
        Some(other) => Err(format!("no escape \\{other}: there are \\n \\r \\t \\0 \\\\ and \\xHH")),
        None => Err("the format ends after a backslash; write \\\\ for one".to_owned()),
    }
}

impl Printer {
    /// Prints one record.
    pub(super) fn print(&self, message: &Message<'_>, out: &mut impl Write) -> io::Result<()> {
        match self {
            Printer::Json => {
                serde_json::to_writer(&mut *out, &Envelope::from(message))?;
                out.write_all(b"\n")
            }
            Printer::Pieces(pieces) => pieces.iter().try_for_each(|piece| piece.print(message, out)),
        }
    }
}

impl Piece {
    fn print(&self, message: &Message<'_>, out: &mut impl Write) -> io::Result<()> {
        match self {
            Piece::Text(text) => out.write_all(text),
            Piece::Value => out.write_all(message.value.unwrap_or_default()),
            Piece::ValueLength => write!(out, "{}", length(message.value)),
            Piece::ValueLengthBinary => out.write_all(&length(message.value).to_be_bytes()),
            Piece::Key => out.write_all(message.key.unwrap_or_default()),
            Piece::KeyLength => write!(out, "{}", length(message.key)),
            Piece::Topic => out.write_all(message.topic.as_bytes()),
            Piece::Partition => write!(out, "{}", message.partition),
            Piece::Offset => write!(out, "{}", message.offset),
            Piece::Timestamp => write!(out, "{}", message.timestamp),
            Piece::Headers => print_headers(message, out),
        }
    }
}

fn length(field: Option<&[u8]>) -> i32 {
    field.map_or(-1, |bytes| bytes.len() as i32)
}

/// `key=value` with commas between; NULL for null.
fn print_headers(message: &Message<'_>, out: &mut impl Write) -> io::Result<()> {
    for (index, (key, value)) in message.headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key)?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or(b"NULL"))?;
    }
    Ok(())
}

/// kcat's envelope. Bytes that are no text go to the fields `key_base64` and `payload_base64`, which
/// `jackdaw produce --json` reads as well.
#[derive(Serialize)]
struct Envelope<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    tstype: &'static str,
    ts: i64,
    broker: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Option<String>>,
    #[serde(skip_serializing_if = "Field::is_binary")]
    key: Field<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Field::is_binary")]
    payload: Field<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// A key or value as JSON sees it.
enum Field<'a> {
    Null,
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> From<&Message<'a>> for Envelope<'a> {
    fn from(message: &Message<'a>) -> Envelope<'a> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pair = |(key, value): &(&[u8], Option<&[u8]>)| [Some(text(key)), value.map(text)];
        let (key, payload) = (Field::from(message.key), Field::from(message.value));
        Envelope {
            topic: message.topic,
            partition: message.partition,
            offset: message.offset,
            tstype: if message.log_append_time { "logappend" } else { "create" },
            ts: message.timestamp,
            broker: message.broker,
            headers: message.headers.iter().flat_map(pair).collect(),
            key_base64: key.base64(),
            key,
            payload_base64: payload.base64(),
            payload,
        }
    }
}

impl<'a> From<Option<&'a [u8]>> for Field<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Field<'a> {
        match bytes {
            None => Field::Null,
            Some(bytes) => std::str::from_utf8(bytes).map_or(Field::Binary(bytes), Field::Text),
        }
    }
}

impl Field<'_> {
    fn is_binary(&self) -> bool {
        matches!(self, Field::Binary(_))
    }

    fn base64(&self) -> Option<String> {
        match self {
            Field::Binary(bytes) => Some(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Field::Null | Field::Text(_) => None,
        }
    }
}

impl Serialize for Field<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Text(text) => serializer.serialize_str(text),
            Field::Null | Field::Binary(_) => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn message<'a>() -> Message<'a> {
        Message {
            topic: "orders",
            partition: 3,
            offset: 42,
            timestamp: 1_700_000_000_000,
            log_append_time: false,
            broker: 1,
            key: Some(b"k"),
            value: Some(b"value"),
            headers: vec![(b"a", Some(b"1")), (b"a", None)],
        }
    }

    fn printed(format: &str, message: &Message<'_>) -> String {
        let mut out = Vec::new();
        parse(format).unwrap().print(message, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_token_of_kcat_is_known() {
        let text = printed(r"%t [%p] %o: %k(%K)=%s(%S) %T %h 100%%\n", &message());
        assert_eq!(text, "orders [3] 42: k(1)=value(5) 1700000000000 a=1,a=NULL 100%\n");
    }

    #[test]
    fn null_has_length_minus_one_and_no_text() {
        let null = Message { key: None, value: None, ..message() };
        assert_eq!(printed("%K,%S,%k%s", &null), "-1,-1,");
        let mut out = Vec::new();
        parse("%R%s").unwrap().print(&message(), &mut out).unwrap();
        assert_eq!(out, b"\0\0\0\x05value");
    }

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(printed(r"\t\x41\\é\r\0", &message()), "\tA\\é\r\0");
        for (format, reason) in
            [("%q", "no token %q"), ("50%", "ends after a %"), (r"\q", "no escape"), (r"\x4", "hex"), (r"a\", "ends")]
        {
            assert!(parse(format).unwrap_err().contains(reason), "{format}");
        }
    }

    #[test]
    fn json_is_the_envelope_of_kcat() {
        let mut out = Vec::new();
        Printer::Json.print(&message(), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"topic":"orders","partition":3,"offset":42,"tstype":"create","ts":1700000000000,"broker":1,"#,
                r#""headers":["a","1","a",null],"key":"k","payload":"value"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_in_json() {
        let mut out = Vec::new();
        let binary = Message { key: None, value: Some(&[0, 255]), headers: vec![], ..message() };
        Printer::Json.print(&binary, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\"broker\":1,\"key\":null,\"payload_base64\":\"AP8=\"}\n"), "{text}");
    }
}
