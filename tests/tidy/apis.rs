//! One table of APIs, one file for each of its rows.

use std::collections::BTreeSet;

use crate::tree::{sources, top};

/// The names in the rows of the table: `ListOffsets`.
fn rows(table: &str) -> BTreeSet<String> {
    let generic = table.split("row::<").skip(1).filter_map(|rest| rest.split("Request>").next());
    let written_out = table.split("name: \"").skip(1).filter_map(|rest| rest.split('"').next());
    generic.chain(written_out).filter(|name| name.chars().all(char::is_alphanumeric)).map(str::to_owned).collect()
}

/// `ListOffsets` lives in `list_offsets.rs`.
fn file_name(api: &str) -> String {
    let mut name = String::new();
    for c in api.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name + ".rs"
}

/// What is wrong between the rows of the table and the files, given as (name, code).
fn findings(rows: &BTreeSet<String>, files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for api in rows {
        match files.iter().find(|(name, _)| *name == file_name(api)) {
            None => found.push(format!("{api} is in the table, but broker/src/api/{} is missing", file_name(api))),
            Some((name, code)) if !code.contains(&format!("{api}Request")) => {
                found.push(format!("broker/src/api/{name} does not handle {api}Request"));
            }
            Some(_) => {}
        }
    }
    for (name, code) in files {
        let handled = code.split("impl Handler for ").skip(1).filter_map(|rest| rest.split("Request").next());
        for api in handled {
            if !rows.contains(api) {
                found.push(format!("broker/src/api/{name} handles {api}, which has no row in the table"));
            } else if *name != file_name(api) {
                found.push(format!("broker/src/api/{name} handles {api}, which belongs into {}", file_name(api)));
            }
        }
    }
    found
}

#[test]
fn every_api_has_its_row_and_its_file() {
    let table = std::fs::read_to_string(top().join("broker/src/api/mod.rs")).unwrap();
    let rows = rows(&table);
    assert!(rows.len() >= 30, "only {rows:?} were found in the table");
    let in_api = sources().into_iter().filter_map(|source| {
        let name = source.path.strip_prefix("broker/src/api/")?.to_owned();
        (name != "mod.rs").then_some((name, source.code))
    });
    crate::assert_tidy(findings(&rows, &in_api.collect::<Vec<_>>()));
}

#[test]
fn an_api_without_its_file_or_row_is_found() {
    let rows = rows("const P: Row = Row { name: \"Produce\" }; &[P, row::<ListOffsetsRequest>(\"ListOffsets\")]");
    assert_eq!(rows.len(), 2);
    let file = |name: &str, code: &str| (name.to_owned(), code.to_owned());
    let good = [
        file("list_offsets.rs", "impl Handler for ListOffsetsRequest {"),
        file("produce.rs", "fn run(request: ProduceRequest)"),
    ];
    assert!(findings(&rows, &good).is_empty());
    assert_eq!(findings(&rows, &good[..1]).len(), 1);
    let stray = [good[0].clone(), good[1].clone(), file("fetch.rs", "impl Handler for FetchRequest {")];
    assert_eq!(findings(&rows, &stray).len(), 1);
    let misplaced = [file("other.rs", "impl Handler for ListOffsetsRequest {"), good[1].clone()];
    assert_eq!(findings(&rows, &misplaced).len(), 2);
}
