//! Histories that cannot be read say where, why, and what to do; and what is written is read again.

use jackdaw_checker::{HistoryError, Limits, check, read};

fn refuse(text: &str) -> HistoryError {
    let judged = read(text.as_bytes()).and_then(|history| check(&history, &Limits::default()));
    judged.err().unwrap_or_else(|| panic!("{text} was judged"))
}

const BEGIN: &str = r#"{"time":1,"process":1,"type":"invoke","f":"send","ops":[["send","a",1]]}"#;

fn refuses(text: &str, line: u32, column: usize, words: &str) {
    let error = refuse(text);
    let message = error.to_string();
    assert_eq!((error.line, error.column), (line, column), "{message}");
    assert!(message.contains(words), "{message}");
    assert!(message.starts_with(&format!("line {line}, column {column}: ")), "{message}");
}

#[test]
fn text_that_is_no_json_is_refused_at_its_place() {
    refuses(&format!("{BEGIN}\n{{\"time\":2,\"process\":1,,"), 2, 23, "not an entry");
    refuses("jepsen\n", 1, 1, "expected value");
    refuses(&format!("{BEGIN}\n{}", &BEGIN[..20]), 2, 20, "EOF");
    refuses("[]", 1, 2, "expected struct Entry");
}

#[test]
fn unknown_words_are_refused_by_name() {
    refuses(&BEGIN.replace("[[\"send\"", "[[\"snd\""), 1, 63, "unknown variant `snd`, expected one of `send`, `poll`");
    refuses(&BEGIN.replace("\"f\":\"send\"", "\"f\":\"sen\""), 1, 47, "unknown variant `sen`");
    refuses(&BEGIN.replace("time", "tme"), 1, 6, "unknown field `tme`");
    refuses(&BEGIN.replace("\"a\",1]", "\"a\",1,2]"), 1, 72, "more elements");
    refuses(&BEGIN.replace("\"a\",1]", "\"a\"]"), 1, 68, "the value of the send");
}

#[test]
fn an_operation_without_a_part_is_refused() {
    refuses(r#"{"time":1}"#, 1, 1, "without \"process\"");
    refuses(r#"{"time":1,"process":1,"type":"ok"}"#, 1, 1, "without \"f\"");
    refuses(r#"{"time":1,"process":1,"f":"send"}"#, 1, 1, "without \"type\"");
    refuses(r#"{"process":1}"#, 1, 13, "missing field `time`");
}

#[test]
fn operations_that_do_not_pair_are_refused() {
    let second = BEGIN.replace("\"time\":1", "\"time\":2");
    refuses(&format!("{BEGIN}\n{second}"), 2, 1, "the one it began on line 1 has not ended");
    let end = second.replace("invoke", "ok");
    refuses(&format!("\n{end}"), 2, 1, "has begun none");
    let other = end.replace("\"f\":\"send\"", "\"f\":\"poll\"");
    refuses(&format!("{BEGIN}\n{other}"), 2, 1, "ends Poll, but began Send on line 1");
}

#[test]
fn time_does_not_go_back() {
    let before = BEGIN.replace("\"time\":1", "\"time\":-2").replace("\"process\":1", "\"process\":2");
    refuses(&format!("{BEGIN}\n{before}"), 2, 1, "time -2 is before 1");
}

#[test]
fn a_value_sent_twice_is_refused_where_it_is_sent_again() {
    let again = BEGIN.replace("\"process\":1", "\"process\":2");
    refuses(&format!("{BEGIN}\n\n{again}"), 3, 1, "value 1 is sent to a a second time; first on line 1");
}

#[test]
fn an_unknown_offset_is_null_and_not_negative() {
    let end = |offset: &str| BEGIN.replace("invoke", "ok").replace(",1]]", &format!(",[{offset},1]]]"));
    refuses(&format!("{BEGIN}\n{}", end("-1")), 2, 1, "offset -1 is negative");
    assert!(read(format!("{BEGIN}\n{}", end("null")).as_bytes()).is_ok());
}

#[test]
fn a_commit_needs_a_group() {
    refuses(
        r#"{"time":1,"process":1,"type":"invoke","f":"poll","ops":[["commit",{"a":1}]]}"#,
        1,
        1,
        "\"commit\" without a group",
    );
}

#[test]
fn nothing_is_no_history() {
    refuses("", 1, 1, "no operation at all");
    refuses("\n\n{\"time\":1,\"mark\":\"final\"}\n", 3, 1, "no operation at all");
}

#[test]
fn bytes_that_are_no_text_are_refused_and_never_end_the_process() {
    for seed in 0..2_000_u64 {
        // Bytes of a valid line, some of them changed.
        let mut line = BEGIN.as_bytes().to_vec();
        let at = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % line.len();
        line[at] = (seed % 256) as u8;
        let _ = read(&line[..]).and_then(|history| check(&history, &Limits::default()));
    }
    let deep = format!("{{\"time\":{}", "[".repeat(100_000));
    assert!(read(deep.as_bytes()).is_err());
}

#[test]
fn marks_and_blank_lines_are_no_operations() {
    let text = format!("\n{{\"time\":0,\"mark\":\"fault\",\"note\":\"kill -9 n1\"}}\n{BEGIN}\n  \n");
    let report = check(&read(text.as_bytes()).unwrap(), &Limits::default()).unwrap();
    assert!(report.valid);
    assert_eq!((report.summary.faults, report.summary.operations, report.summary.unknown), (1, 1, 1));
}

#[test]
fn time_may_begin_anywhere() {
    let text = format!("\n{}", BEGIN.replace("\"time\":1", "\"time\":-5"));
    assert!(read(text.as_bytes()).is_ok());
}
