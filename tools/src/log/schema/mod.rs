//! The records of Kafka's internal topics, decoded by description: one table of text says which fields each has.
//!
//! A field is `name:type`, then `/2+` or `/1` for the versions that have it, then `@0` for a tagged field's number. A type
//! is a name of Kafka's message definitions, `[]` before it for an array, or `{...}` for fields of its own (with `?`
//! where it may be null). Every length is checked against the bytes that remain.

mod tables;

use base64::Engine;
use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;

/// Why bytes are not the record that they should be.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SchemaError {
    #[error("ends inside {0}")]
    Truncated(String),
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
    #[error("a frame of version {0}; known are 0 (Kafka 2.8) and 1")]
    Frame(u32),
    #[error("a record of unknown type {0}")]
    UnknownType(u32),
    #[error("{name}: {left} bytes after the last field")]
    Trailing { name: String, left: usize },
}

/// A record with its name and its fields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    /// The type's name.
    pub(crate) name: String,
    pub(crate) version: i16,
    pub(crate) fields: Map<String, Value>,
}

/// Which topic's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    Offsets,
    Transactions,
    Share,
}

/// Key and value of a record of a coordinator's topic; no value for a tombstone.
pub(crate) fn coordinator(
    topic: Topic,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(Decoded, Option<Decoded>), SchemaError> {
    let table = match topic {
        Topic::Offsets => tables::OFFSETS,
        Topic::Transactions => tables::TRANSACTIONS,
        Topic::Share => tables::SHARE,
    };
    let mut input = Reader { rest: key };
    let kind = input.i16("key version")?;
    let unknown = || SchemaError::UnknownType(u32::from(kind as u16));
    let mut shapes = table.iter().filter_map(|line| Shape::parse(line)).filter(|shape| shape.number == kind);
    let shape = shapes.next().ok_or_else(unknown)?;
    let key = shape.decode(&mut input, 0)?;
    let mut shape = shapes.next().ok_or_else(unknown)?;
    if topic == Topic::Offsets && kind == 0 {
        // Both kinds of keys have had values of all versions.
        shape = table.iter().filter_map(|line| Shape::parse(line)).nth(3).ok_or_else(unknown)?;
    }
    let value = value.map(|value| {
        let mut input = Reader { rest: value };
        let version = input.i16("value version")?;
        shape.decode(&mut input, version)
    });
    Ok((key, value.transpose()?))
}

/// A record of Kafka's metadata log: frame version, type, version, fields. The preview of KRaft in Kafka 2.8 wrote
/// frame version 0.
pub(crate) fn metadata(value: &[u8]) -> Result<Decoded, SchemaError> {
    let mut input = Reader { rest: value };
    let frame = input.varint("frame version")?;
    if frame > 1 {
        return Err(SchemaError::Frame(frame));
    }
    let kind = input.varint("record type")?;
    let version = input.varint("record version")? as i16;
    let is_kind = |shape: &Shape<'_>| shape.number as u32 == kind;
    let table = if frame == 0 { tables::METADATA_2_8 } else { tables::METADATA };
    let shape = table.iter().filter_map(|line| Shape::parse(line)).find(is_kind);
    let shape = shape.ok_or(SchemaError::UnknownType(kind))?;
    shape.decode(&mut input, version)
}

/// One line of a table.
struct Shape<'a> {
    number: i16,
    name: &'a str,
    /// The first version with compact lengths and tagged fields.
    flexible_from: i16,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    name: &'a str,
    kind: Kind<'a>,
    versions: std::ops::RangeInclusive<i16>,
    tag: Option<u32>,
}

enum Kind<'a> {
    Plain(&'a str),
    Array(Box<Kind<'a>>),
    Struct { fields: Vec<Field<'a>>, nullable: bool },
}

impl<'a> Shape<'a> {
    fn parse(line: &'a str) -> Option<Shape<'a>> {
        let mut words = line.splitn(4, ' ');
        let number = words.next()?.parse().ok()?;
        let name = words.next()?;
        let flexible_from = words.next()?.parse().unwrap_or(i16::MAX);
        let mut rest = words.next().unwrap_or("");
        Some(Shape { number, name, flexible_from, fields: fields(&mut rest)? })
    }

    fn decode(&self, input: &mut Reader<'_>, version: i16) -> Result<Decoded, SchemaError> {
        let flexible = version >= self.flexible_from;
        let fields = input.fields(&self.fields, version, flexible)?;
        if !input.rest.is_empty() {
            return Err(SchemaError::Trailing { name: self.name.to_owned(), left: input.rest.len() });
        }
        Ok(Decoded { name: self.name.to_owned(), version, fields })
    }
}

/// Fields up to the end of `rest`, or up to a closing brace, which is taken.
fn fields<'a>(rest: &mut &'a str) -> Option<Vec<Field<'a>>> {
    let mut all = Vec::new();
    loop {
        *rest = rest.trim_start();
        if rest.is_empty() {
            return Some(all);
        }
        if let Some(after) = rest.strip_prefix('}') {
            *rest = after;
            return Some(all);
        }
        let (name, after) = rest.split_once(':')?;
        *rest = after;
        let kind = kind(rest)?;
        let mut versions = 0..=i16::MAX;
        if let Some(after) = rest.strip_prefix('/') {
            let text = word(after);
            *rest = &after[text.len()..];
            let from = text.trim_end_matches('+').parse().ok()?;
            versions = from..=if text.ends_with('+') { i16::MAX } else { from };
        }
        let mut tag = None;
        if let Some(after) = rest.strip_prefix('@') {
            let text = word(after);
            *rest = &after[text.len()..];
            tag = Some(text.parse().ok()?);
        }
        all.push(Field { name, kind, versions, tag });
    }
}

fn kind<'a>(rest: &mut &'a str) -> Option<Kind<'a>> {
    if let Some(after) = rest.strip_prefix("[]") {
        *rest = after;
        return Some(Kind::Array(Box::new(kind(rest)?)));
    }
    if let Some(after) = rest.strip_prefix('{') {
        *rest = after;
        let fields = fields(rest)?;
        let nullable = rest.starts_with('?');
        *rest = rest.strip_prefix('?').unwrap_or(rest);
        return Some(Kind::Struct { fields, nullable });
    }
    let name = word(rest);
    *rest = &rest[name.len()..];
    Some(Kind::Plain(name))
}

/// Letters, digits and a plus at the front.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '+')).unwrap_or(text.len());
    &text[..end]
}

/// Fields whose values are nobody's to see.
const SECRET: [&str; 4] = ["salt", "storedKey", "serverKey", "saltedPassword"];

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, field: &str) -> Result<&'a [u8], SchemaError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| SchemaError::Truncated(field.to_owned()))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], SchemaError> {
        self.take(N, field)?.try_into().map_err(|_| SchemaError::Truncated(field.to_owned()))
    }

    fn i16(&mut self, field: &str) -> Result<i16, SchemaError> {
        Ok(i16::from_be_bytes(self.array(field)?))
    }

    fn varint(&mut self, field: &str) -> Result<u32, SchemaError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array(field)?;
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SchemaError::Truncated(field.to_owned()))
    }

    fn fields(
        &mut self,
        fields: &[Field<'_>],
        version: i16,
        flexible: bool,
    ) -> Result<Map<String, Value>, SchemaError> {
        let mut map = Map::new();
        let present = |field: &&Field<'_>| field.versions.contains(&version);
        for field in fields.iter().filter(present).filter(|field| field.tag.is_none()) {
            let value = self.value(&field.kind, version, flexible, field.name)?;
            put(&mut map, field.name, value);
        }
        if flexible {
            for _ in 0..self.varint("tagged fields")? {
                let tag = self.varint("tagged fields")?;
                let len = self.varint("tagged fields")? as usize;
                let mut tagged = Reader { rest: self.take(len, "tagged fields")? };
                let known = fields.iter().filter(present).find(|field| field.tag == Some(tag));
                match known {
                    Some(field) => {
                        let value = tagged.value(&field.kind, version, flexible, field.name)?;
                        put(&mut map, field.name, value);
                    }
                    None => put(&mut map, &format!("tag{tag}"), Value::from(base64(tagged.rest))),
                }
            }
        }
        Ok(map)
    }

    /// -1 for null.
    fn len(&mut self, classic_is_short: bool, flexible: bool, field: &str) -> Result<Option<usize>, SchemaError> {
        let len = if flexible {
            i64::from(self.varint(field)?) - 1
        } else if classic_is_short {
            i64::from(self.i16(field)?)
        } else {
            i64::from(i32::from_be_bytes(self.array(field)?))
        };
        if len == -1 {
            return Ok(None);
        }
        // Nothing is shorter than a byte.
        let fits = usize::try_from(len).ok().filter(|&len| len <= self.rest.len());
        fits.map(Some).ok_or_else(|| SchemaError::Truncated(field.to_owned()))
    }

    fn value(&mut self, kind: &Kind<'_>, version: i16, flexible: bool, field: &str) -> Result<Value, SchemaError> {
        match kind {
            Kind::Plain(name) => self.plain(name, flexible, field),
            Kind::Array(item) => {
                let Some(count) = self.len(false, flexible, field)? else { return Ok(Value::Null) };
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(item, version, flexible, field)?);
                }
                Ok(Value::Array(items))
            }
            Kind::Struct { fields, nullable } => {
                if *nullable && i8::from_be_bytes(self.array(field)?) < 0 {
                    return Ok(Value::Null);
                }
                self.fields(fields, version, flexible).map(Value::Object)
            }
        }
    }

    fn plain(&mut self, name: &str, flexible: bool, field: &str) -> Result<Value, SchemaError> {
        Ok(match name {
            "bool" => Value::from(self.array::<1>(field)? != [0]),
            "int8" => Value::from(i8::from_be_bytes(self.array(field)?)),
            "int16" => Value::from(self.i16(field)?),
            "uint16" => Value::from(u16::from_be_bytes(self.array(field)?)),
            "int32" => Value::from(i32::from_be_bytes(self.array(field)?)),
            "int64" => Value::from(i64::from_be_bytes(self.array(field)?)),
            "float64" => Value::from(f64::from_be_bytes(self.array(field)?)),
            "uuid" => Value::from(jackdaw_storage::inspect::id_to_text(Uuid::from_bytes(self.array(field)?))),
            "string" => match self.len(true, flexible, field)? {
                None => Value::Null,
                Some(len) => {
                    let text = std::str::from_utf8(self.take(len, field)?);
                    Value::from(text.map_err(|_| SchemaError::NotUtf8(field.to_owned()))?)
                }
            },
            _ => match self.len(false, flexible, field)? {
                None => Value::Null,
                Some(len) => Value::from(base64(self.take(len, field)?)),
            },
        })
    }
}

fn put(map: &mut Map<String, Value>, name: &str, value: Value) {
    let value = if SECRET.contains(&name) { Value::from("(not shown)") } else { value };
    map.insert(name.to_owned(), value);
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_line_of_the_tables_is_understood() {
        let known = ["bool", "int8", "int16", "uint16", "int32", "int64", "float64", "uuid", "string", "bytes"];
        fn plain<'a>(fields: &'a [Field<'a>]) -> Vec<&'a str> {
            fn of<'a>(kind: &'a Kind<'a>) -> Vec<&'a str> {
                match kind {
                    Kind::Plain(name) => vec![name],
                    Kind::Array(item) => of(item),
                    Kind::Struct { fields, .. } => plain(fields),
                }
            }
            fields.iter().flat_map(|field| of(&field.kind)).collect()
        }
        for line in
            [tables::METADATA, tables::METADATA_2_8, tables::OFFSETS, tables::TRANSACTIONS, tables::SHARE].concat()
        {
            let shape = Shape::parse(line).unwrap_or_else(|| panic!("{line}"));
            for name in plain(&shape.fields) {
                assert!(known.contains(&name), "{name} in {line}");
            }
        }
    }

    #[test]
    fn a_committed_offset_is_read_at_each_version() {
        let key = b"\0\x01\0\x01g\0\x01t\0\0\0\x03";
        let v1 = b"\0\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06";
        let v3 = b"\0\x03\0\0\0\0\0\0\0\x09\0\0\0\x02\0\x01m\0\0\0\0\0\0\0\x05";
        let v4 = b"\0\x04\0\0\0\0\0\0\0\x09\0\0\0\x02\x02m\0\0\0\0\0\0\0\x05\0";
        let read = |value: &[u8]| {
            let (key, value) = coordinator(Topic::Offsets, key, Some(value)).unwrap();
            assert_eq!(Value::Object(key.fields), json!({"group": "g", "topic": "t", "partition": 3}));
            Value::Object(value.unwrap().fields)
        };
        assert_eq!(read(v1), json!({"offset": 9, "metadata": "", "commitTimestamp": 5, "expireTimestamp": 6}));
        let expected = json!({"offset": 9, "leaderEpoch": 2, "metadata": "m", "commitTimestamp": 5});
        assert_eq!((read(v3), read(v4)), (expected.clone(), expected));
        assert_eq!(coordinator(Topic::Offsets, key, None).unwrap().1, None);
        for end in 0..v4.len() {
            assert!(coordinator(Topic::Offsets, key, Some(&v4[..end])).is_err(), "{end}");
        }
    }

    #[test]
    fn a_metadata_record_is_read_in_both_frames_and_secrets_are_not_shown() {
        let mut topic = vec![1, 2, 0, 3, b't', b'a'];
        topic.extend_from_slice(Uuid::from_u128(1).as_bytes());
        topic.push(0);
        let expected = json!({"name": "ta", "topicId": "AAAAAAAAAAAAAAAAAAAAAQ"});
        assert_eq!(Value::Object(metadata(&topic).unwrap().fields), expected);
        let mut preview = vec![0, 2, 0, 0, 2, b't', b'a'];
        preview.extend_from_slice(Uuid::from_u128(1).as_bytes());
        assert_eq!(Value::Object(metadata(&preview).unwrap().fields), expected);
        topic.push(0);
        assert_eq!(metadata(&topic), Err(SchemaError::Trailing { name: "TopicRecord".to_owned(), left: 1 }));
        assert_eq!(metadata(&[2, 2, 0]), Err(SchemaError::Frame(2)));
        assert_eq!(metadata(&[1, 99, 0]), Err(SchemaError::UnknownType(99)));
        let scram = metadata(&[1, 11, 0, 2, b'u', 1, 2, b's', 2, b'k', 2, b'k', 0, 0, 16, 0, 0]).unwrap();
        assert_eq!(scram.fields["storedKey"], "(not shown)");
    }
}
