//! Segments: batches, and their records if they are asked for.

use std::path::Path;

use jackdaw_protocol::records::{Batch, ControlRecord, ControlType, Decoded, Header, Record, records};
use jackdaw_storage::inspect::{BatchAt, Check, Item, LegacyMessage};
use serde_json::{Map, Value, json};

use super::printer::{DumpError, Printer};
use super::{Bytes, Decode, DumpArgs};
use crate::log::files::{self, FileError, bytes, time};
use crate::log::schema;

type Printed = Result<(), DumpError>;

/// What the records of one batch may unpack to.
pub(in crate::log) const UNPACKED_MAX: usize = 256 << 20;

pub(super) fn dump(path: &Path, base: i64, len: u64, args: &DumpArgs, printer: &mut Printer) -> Printed {
    let facts = json!({"base_offset": base, "bytes": len});
    printer.note(&format!("segment from offset {base}, {}", bytes(len)), facts)?;
    let decode = args.decode.unwrap_or_else(|| Decode::guess(path));
    batches(path, base, decode, args, printer)
}

pub(super) fn dump_metadata_snapshot(path: &Path, len: u64, args: &DumpArgs, printer: &mut Printer) -> Printed {
    printer.note(&format!("snapshot of Kafka's metadata, {}", bytes(len)), json!({"bytes": len}))?;
    batches(path, 0, args.decode.unwrap_or(Decode::Metadata), args, printer)
}

fn batches(path: &Path, base: i64, decode: Decode, args: &DumpArgs, printer: &mut Printer) -> Printed {
    let with_records = args.records || args.decode.is_some_and(|decode| decode != Decode::None);
    let mut reader = files::segment(path, base)?;
    printer.heading(&format!(
        "{:>10}  {:<21} {:>7} {:>9} {:<6} {:<4} {:>5} {:>16} {:>10}  {:<24} NOTES",
        "POSITION", "OFFSETS", "RECORDS", "BYTES", "CODEC", "CRC", "EPOCH", "PRODUCER", "SEQUENCE", "MAX TIMESTAMP"
    ))?;
    while let Some(item) = reader.next().map_err(FileError::new("read", path))? {
        match item {
            Item::Damage(damage) => printer.damage(Some(damage.position), Some(damage.end), &damage.reason)?,
            Item::Legacy(message) if message.offset >= args.from_offset => legacy(&message, printer)?,
            Item::Batch(batch) if batch.header().last_offset() >= args.from_offset => {
                one_batch(&batch, printer)?;
                if with_records && let Check::Whole(whole) = &batch.check {
                    all_records(whole, batch.position, decode, args, printer)?;
                }
            }
            Item::Legacy(_) | Item::Batch(_) => {}
        }
    }
    Ok(())
}

fn legacy(message: &LegacyMessage, printer: &mut Printer) -> Printed {
    let codec = message.codec.map_or("?", |codec| codec.name());
    let fields = json!({
        "position": message.position, "magic": message.magic, "offset": message.offset, "size": message.size,
        "codec": codec, "crc_ok": message.is_sound, "timestamp": message.timestamp,
    });
    printer.entry("legacy_message", fields, || {
        format!(
            "{:>10}  {:<21} {:>7} {:>9} {codec:<6} ok   message format {} (of Kafka before 0.11), {}",
            message.position,
            message.offset,
            "-",
            message.size,
            message.magic,
            message.timestamp.map_or_else(|| "no timestamp".to_owned(), time),
        )
    })
}

fn one_batch(batch: &BatchAt, printer: &mut Printer) -> Printed {
    let header = batch.header();
    let control = match &batch.check {
        Check::Whole(whole) if header.is_control() => control_of(whole),
        _ => None,
    };
    let fields = batch_fields(batch, &header, control.as_deref());
    printer.entry("batch", fields, || batch_line(batch, &header, control.as_deref()))?;
    match &batch.check {
        Check::Bad(error) => {
            let end = batch.position + header.size_in_bytes() as u64;
            printer.damage(Some(batch.position), Some(end), &error.to_string())
        }
        Check::Whole(_) | Check::TooLargeToHold => Ok(()),
    }
}

fn codec_of(header: &Header<'_>) -> &'static str {
    header.codec().map_or("?", |codec| codec.name())
}

fn batch_fields(batch: &BatchAt, header: &Header<'_>, control: Option<&str>) -> Value {
    let horizon = header.has_delete_horizon().then(|| header.base_timestamp());
    json!({
        "position": batch.position,
        "base_offset": header.base_offset(),
        "last_offset": header.last_offset(),
        "count": header.record_count(),
        "size": header.size_in_bytes(),
        "magic": header.magic(),
        "codec": codec_of(header),
        "crc": header.crc(),
        "crc_ok": !matches!(batch.check, Check::Bad(_)),
        "leader_epoch": header.leader_epoch(),
        "producer_id": header.producer_id(),
        "producer_epoch": header.producer_epoch(),
        "base_sequence": header.base_sequence(),
        "transactional": header.is_transactional(),
        "control": header.is_control(),
        "control_type": control,
        "timestamp_type": if header.is_log_append_time() { "LogAppendTime" } else { "CreateTime" },
        "base_timestamp": header.base_timestamp(),
        "max_timestamp": header.max_timestamp(),
        "delete_horizon": horizon,
    })
}

fn batch_line(batch: &BatchAt, header: &Header<'_>, control: Option<&str>) -> String {
    let dash = |missing: bool, text: String| if missing { "-".to_owned() } else { text };
    let mut notes = Vec::new();
    if header.is_transactional() {
        notes.push("transactional".to_owned());
    }
    if header.is_control() {
        notes.push(format!("control: {}", control.unwrap_or("?")));
    }
    if header.is_log_append_time() {
        notes.push("log append time".to_owned());
    }
    if header.has_delete_horizon() {
        notes.push(format!("delete horizon {}", time(header.base_timestamp())));
    }
    let line = format!(
        "{:>10}  {:<21} {:>7} {:>9} {:<6} {:<4} {:>5} {:>16} {:>10}  {:<24} {}",
        batch.position,
        format!("{}..={}", header.base_offset(), header.last_offset()),
        header.record_count(),
        header.size_in_bytes(),
        codec_of(header),
        if matches!(batch.check, Check::Bad(_)) { "BAD" } else { "ok" },
        header.leader_epoch(),
        dash(header.producer_id() < 0, format!("{}/{}", header.producer_id(), header.producer_epoch())),
        dash(header.base_sequence() < 0, header.base_sequence().to_string()),
        time(header.max_timestamp()),
        notes.join(", "),
    );
    line.trim_end().to_owned()
}

/// What the first record of a control batch says.
fn control_of(batch: &Batch) -> Option<String> {
    let decoded = records(batch, UNPACKED_MAX).ok()?;
    let record = decoded.iter().next()?.ok()?;
    Some(control_name(&record))
}

fn control_name(record: &Record<'_>) -> String {
    let control = match ControlRecord::parse(record) {
        Ok(control) => control,
        Err(error) => return error.to_string(),
    };
    let name = match control.kind {
        Some(ControlType::Abort) => "abort",
        Some(ControlType::Commit) => "commit",
        Some(ControlType::LeaderChange) => "leader change",
        Some(ControlType::SnapshotHeader) => "snapshot header",
        Some(ControlType::SnapshotFooter) => "snapshot footer",
        Some(ControlType::KraftVersion) => "kraft version",
        Some(ControlType::KraftVoters) => "kraft voters",
        None => return format!("type {}", control.type_id),
    };
    name.to_owned()
}

fn all_records(batch: &Batch, position: u64, decode: Decode, args: &DumpArgs, printer: &mut Printer) -> Printed {
    let decoded = match records(batch, UNPACKED_MAX) {
        Ok(decoded) => decoded,
        Err(error) => return printer.damage(Some(position), None, &format!("its records: {error}")),
    };
    for record in decoded.iter() {
        match record {
            Ok(record) => one_record(&decoded, &record, decode, args, printer)?,
            Err(error) => return printer.damage(Some(position), None, &format!("its records: {error}")),
        }
    }
    Ok(())
}

fn one_record(
    decoded: &Decoded,
    record: &Record<'_>,
    decode: Decode,
    args: &DumpArgs,
    printer: &mut Printer,
) -> Printed {
    let (offset, timestamp) = (decoded.offset(record), decoded.timestamp(record));
    let mut fields = Map::new();
    fields.insert("offset".to_owned(), Value::from(offset));
    fields.insert("timestamp".to_owned(), Value::from(timestamp));
    let what = if decoded.batch().header().is_control() {
        let control = control_name(record);
        fields.insert("control".to_owned(), Value::from(control.as_str()));
        control
    } else {
        match meaning(decode, record) {
            Some(Ok((kind, meaning))) => {
                let text = format!("{kind} {meaning}");
                fields.insert("record".to_owned(), Value::from(kind));
                fields.insert("fields".to_owned(), meaning);
                text
            }
            other => {
                put_bytes(&mut fields, "key", record.key);
                put_bytes(&mut fields, "value", record.value);
                put_headers(&mut fields, record);
                let plain = plain_text(record, args.bytes);
                let Some(Err(reason)) = other else { return print_record(printer, fields, offset, timestamp, plain) };
                fields.insert("not_decoded".to_owned(), Value::from(reason.as_str()));
                format!("{plain}  (not decoded: {reason})")
            }
        }
    };
    print_record(printer, fields, offset, timestamp, what)
}

fn print_record(
    printer: &mut Printer,
    fields: Map<String, Value>,
    offset: i64,
    timestamp: i64,
    what: String,
) -> Printed {
    printer
        .entry("record", Value::Object(fields), || format!("{:>10}  {offset:<10} {:<24} {what}", "", time(timestamp)))
}

/// What a record of an internal topic says: its kind, and its fields.
fn meaning(decode: Decode, record: &Record<'_>) -> Option<Result<(String, Value), String>> {
    if decode == Decode::Metadata {
        let value = record.value.unwrap_or_default();
        if value.first() == Some(&b'{') {
            // Ours.
            let parsed = serde_json::from_slice::<Map<String, Value>>(value).map_err(|error| error.to_string());
            return Some(parsed.map(|mut fields| {
                let kind = fields.remove("type").and_then(|kind| kind.as_str().map(str::to_owned));
                (kind.unwrap_or_else(|| "?".to_owned()), Value::Object(fields))
            }));
        }
        let decoded = schema::metadata(value).map_err(|error| error.to_string());
        return Some(decoded.map(|decoded| (decoded.name, Value::Object(decoded.fields))));
    }
    let topic = decode.topic()?;
    let decoded = schema::coordinator(topic, record.key.unwrap_or_default(), record.value);
    Some(decoded.map_err(|error| error.to_string()).map(|(key, value)| {
        let kind = key.name.strip_suffix("Key").unwrap_or(&key.name).to_owned();
        let value = value.map(|value| Value::Object(value.fields));
        let (kind, rest) = match value {
            None => (format!("{kind} removed"), Value::Null),
            Some(value) => (kind, value),
        };
        (kind, json!({"key": key.fields, "value": rest}))
    }))
}

fn put_bytes(fields: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    use base64::Engine;
    let (name, value) = match bytes.map(std::str::from_utf8) {
        None => (name.to_owned(), Value::Null),
        Some(Ok(text)) => (name.to_owned(), Value::from(text)),
        Some(Err(_)) => {
            let coded = base64::engine::general_purpose::STANDARD.encode(bytes.unwrap_or_default());
            (format!("{name}_base64"), Value::from(coded))
        }
    };
    fields.insert(name, value);
}

fn put_headers(fields: &mut Map<String, Value>, record: &Record<'_>) {
    let header = |header: jackdaw_protocol::records::RecordHeader<'_>| {
        let mut map = Map::new();
        put_bytes(&mut map, "key", Some(header.key));
        put_bytes(&mut map, "value", header.value);
        Value::Object(map)
    };
    fields.insert("headers".to_owned(), record.headers().map(header).collect());
}

fn plain_text(record: &Record<'_>, how: Bytes) -> String {
    let mut text = format!("{}: {}", shown(record.key, how), shown(record.value, how));
    for header in record.headers() {
        text.push_str(&format!("  {}={}", shown(Some(header.key), how), shown(header.value, how)));
    }
    text
}

fn shown(bytes: Option<&[u8]>, how: Bytes) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    if how == Bytes::Hex {
        return bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                letter if letter.is_control() => text.extend(letter.escape_default()),
                letter => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        assert_eq!(shown(Some("a\n\\é".as_bytes()), Bytes::Text), "a\\n\\\\é");
        assert_eq!(shown(Some(b"k\xff\x00"), Bytes::Text), "k\\xff\\u{0}");
        assert_eq!(shown(Some(b"k\xff"), Bytes::Hex), "6bff");
        assert_eq!(shown(None, Bytes::Text), "null");
    }
}
