//! The files of the metadata quorum.

use std::path::Path;

use jackdaw_quorum::inspect::{self, Entry, FileKind, Place, Record, What};
use serde_json::{Value, json};

use super::DumpArgs;
use super::printer::{DumpError, Printer};
use super::small::whole;
use crate::log::quorum::{Command, State, directory, members_json, members_text, place};

type Printed = Result<(), DumpError>;

pub(super) fn dump(kind: FileKind, path: &Path, args: &DumpArgs, printer: &mut Printer) -> Printed {
    let bytes = whole(path)?;
    match kind {
        FileKind::Journal => inspect::journal(&bytes).into_iter().try_for_each(|place| journal(place, args, printer)),
        FileKind::Snapshot => snapshot(&bytes, args, printer),
        FileKind::Identity => identity(&bytes, printer),
    }
}

fn journal(at: Place, args: &DumpArgs, printer: &mut Printer) -> Printed {
    let (start, end) = (at.at as u64, at.end as u64);
    match at.what {
        What::Record { sync, record } => self::record((start, sync), record, args, printer),
        What::Unknown { reason } => printer.damage(Some(start), Some(end), &reason),
        What::Torn => {
            let text = format!(
                "{} bytes of a write that a crash cut off, at byte {start}; the next start removes them",
                end - start
            );
            printer.entry("torn", json!({"position": start, "end": end}), || text)
        }
        What::Damaged => printer.damage(Some(start), Some(end), "no record stands here, and others were written later"),
    }
}

fn record((position, sync): (u64, u64), record: Record, args: &DumpArgs, printer: &mut Printer) -> Printed {
    let mut entry = |kind: &str, mut fields: Value, text: String| {
        fields["position"] = position.into();
        fields["sync"] = sync.into();
        printer.entry(kind, fields, || format!("{sync:>8}  {text}"))
    };
    match record {
        Record::Vote { term, node, elected } => {
            let verb = if elected { "is elected" } else { "has the vote" };
            entry(
                "vote",
                json!({"term": term, "node": node, "elected": elected}),
                format!("node {node} {verb} in term {term}"),
            )
        }
        Record::Truncate { from } => {
            entry("truncate", json!({"from": from}), format!("entries from {from} on are gone"))
        }
        Record::Purge { upto } => {
            let fields = json!({"term": upto.term, "index": upto.index});
            entry("purge", fields, format!("entries up to {} are gone: a snapshot holds them", place(upto)))
        }
        Record::Committed { upto } => {
            let fields = json!({"term": upto.map(|at| at.term), "index": upto.map(|at| at.index)});
            entry("committed", fields, format!("committed up to {}", upto.map_or("nothing".to_owned(), place)))
        }
        Record::Entry { at, entry: what } => {
            let fields = json!({"term": at.term, "index": at.index});
            match what {
                Entry::Blank => entry("entry", fields, format!("{}  a leader's first", place(at))),
                Entry::Members(members) => {
                    let mut fields = fields;
                    fields["membership"] = members_json(&members);
                    entry("entry", fields, format!("{}  {}", place(at), members_text(&members)))
                }
                Entry::Command(text) => match Command::read(&text) {
                    Ok(command) => {
                        let mut fields = fields;
                        fields["base"] = command.base.into();
                        fields["records"] = serde_json::from_str::<Value>(&text).unwrap_or_default()["records"].take();
                        let (base, kinds) = (command.base, command.kinds());
                        entry("entry", fields, format!("{}  on version {base}: {kinds}", place(at)))?;
                        if args.records { records(&command, printer) } else { Ok(()) }
                    }
                    Err(reason) => printer.damage(Some(position), None, &reason),
                },
            }
        }
    }
}

/// For people alone: programs have them already.
fn records(command: &Command, printer: &mut Printer) -> Printed {
    for record in &command.records {
        printer.heading(&format!("{:>10}{} {}", "", record.kind, text_of(&record.fields)))?;
    }
    Ok(())
}

fn text_of(fields: &serde_json::Map<String, Value>) -> String {
    let shown = fields.iter().filter(|(name, _)| *name != "v");
    shown.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn snapshot(bytes: &[u8], args: &DumpArgs, printer: &mut Printer) -> Printed {
    let found = match inspect::snapshot(bytes) {
        Ok(found) => found,
        Err(reason) => return printer.damage(None, None, &reason),
    };
    let state = match State::read(&found.state) {
        Ok(state) => state,
        Err(reason) => return printer.damage(None, None, &reason),
    };
    let text = format!(
        "up to entry {}: version {}, {} topics with {} partitions, {} brokers; {}",
        place(found.at),
        state.version,
        state.topics.len(),
        state.partitions(),
        state.brokers(),
        members_text(&found.members)
    );
    let fields = json!({
        "term": found.at.term, "index": found.at.index, "version": state.version, "topics": state.topics.len(),
        "partitions": state.partitions(), "brokers": state.brokers(), "membership": members_json(&found.members),
    });
    printer.entry("snapshot", fields, || text)?;
    if !args.records {
        return Ok(());
    }
    for topic in &state.topics {
        let mut fields = Value::Object(topic.fields.clone());
        fields["name"] = topic.name.as_str().into();
        fields["partitions"] = topic.partitions.clone().into();
        let partitions = || topic.partitions.iter().map(Value::to_string).collect::<Vec<_>>().join(" ");
        printer.entry("topic", fields, || {
            format!("{:>10}topic {} {} {}", "", topic.name, text_of(&topic.fields), partitions())
        })?;
    }
    for (name, value) in state.fields.iter().filter(|(name, _)| *name != "v") {
        printer.entry(name, json!({name.as_str(): value}), || format!("{:>10}{name} {value}", ""))?;
    }
    Ok(())
}

fn identity(bytes: &[u8], printer: &mut Printer) -> Printed {
    match inspect::identity(bytes) {
        Ok(found) => {
            let id = directory(&found.directory);
            let founders: Vec<String> = found.founders.iter().map(|(id, address)| format!("{id}@{address}")).collect();
            let founders = founders.join(",");
            let begun =
                if founders.is_empty() { String::new() } else { format!(", first configured with voters {founders}") };
            let text = format!("node {} of cluster {}, directory id {id}{begun}", found.node, found.cluster);
            let fields = json!({
                "cluster_id": found.cluster, "node_id": found.node, "directory_id": id, "founders": found.founders,
            });
            printer.note(&text, fields)
        }
        Err(reason) => printer.damage(None, None, &reason),
    }
}
