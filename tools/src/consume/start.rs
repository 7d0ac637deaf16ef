//! Where reading begins.

use std::collections::BTreeMap;

use crate::client::{Client, ClientError, EARLIEST, LATEST};

/// Where reading of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The first record there is.
    Beginning,
    /// The next record to come.
    End,
    /// So many records before the end.
    BeforeEnd(i64),
    /// This offset.
    Offset(i64),
    /// The first record at or after this time, in ms since 1970.
    Time(i64),
}

/// Reads `N`, `-N`, `beginning` or `end`.
pub(super) fn parse_offset(text: &str) -> Result<Start, String> {
    match text {
        "beginning" | "earliest" => return Ok(Start::Beginning),
        "end" | "latest" => return Ok(Start::End),
        _ => {}
    }
    let number: i64 =
        text.parse().map_err(|_| "give an offset, -N for the last N records, beginning, or end".to_owned())?;
    if text.starts_with('-') { Ok(Start::BeforeEnd(number.saturating_neg())) } else { Ok(Start::Offset(number)) }
}

/// Reads ms since 1970, or an RFC 3339 time such as 2026-01-31T12:00:00Z.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return if ms >= 0 { Ok(ms) } else { Err("a time before 1970".to_owned()) };
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|error| format!("neither milliseconds since 1970 nor a time such as 2026-01-31T12:00:00Z: {error}"))?;
    Ok(time.as_millisecond())
}

/// The first and the next offset of partitions.
pub(super) struct Bounds {
    pub(super) starts: BTreeMap<i32, i64>,
    pub(super) ends: BTreeMap<i32, i64>,
}

impl Bounds {
    /// Asks the brokers.
    pub(super) async fn fetch(
        client: &Client,
        topic: &str,
        partitions: &[i32],
        isolation: i8,
    ) -> Result<Bounds, ClientError> {
        let at = |time: i64| partitions.iter().map(|&index| (index, time)).collect::<Vec<_>>();
        let starts = client.list_offsets(topic, &at(EARLIEST), isolation).await?;
        let ends = client.list_offsets(topic, &at(LATEST), isolation).await?;
        Ok(Bounds { starts, ends })
    }

    /// The offset of a start that needs no look-up by time, within the records there are.
    pub(super) fn place(&self, partition: i32, start: Start) -> i64 {
        let first = self.starts.get(&partition).copied().unwrap_or(0);
        let next = self.ends.get(&partition).copied().unwrap_or(first);
        match start {
            Start::Beginning => first,
            Start::End | Start::Time(_) => next,
            Start::BeforeEnd(count) => next.saturating_sub(count).max(first),
            // An offset that is gone or not there yet is brought to the nearest one; kcat would go to its reset policy.
            Start::Offset(offset) => offset.clamp(first, next.max(first)),
        }
    }
}

/// The offset of `start` in each partition.
pub(super) async fn resolve(
    client: &Client,
    topic: &str,
    partitions: &[i32],
    start: Start,
    isolation: i8,
) -> Result<(BTreeMap<i32, i64>, Bounds), ClientError> {
    let bounds = Bounds::fetch(client, topic, partitions, isolation).await?;
    let timed = match start {
        Start::Time(time) => {
            let wanted: Vec<(i32, i64)> = partitions.iter().map(|&index| (index, time)).collect();
            client.list_offsets(topic, &wanted, isolation).await?
        }
        _ => BTreeMap::new(),
    };
    let place = |&index: &i32| {
        let offset = timed.get(&index).copied().filter(|&offset| offset >= 0);
        (index, offset.unwrap_or_else(|| bounds.place(index, start)))
    };
    let offsets = partitions.iter().map(place).collect();
    Ok((offsets, bounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_absolute_or_relative_or_named() {
        assert_eq!(parse_offset("17"), Ok(Start::Offset(17)));
        assert_eq!(parse_offset("-5"), Ok(Start::BeforeEnd(5)));
        assert_eq!(parse_offset("-0"), Ok(Start::BeforeEnd(0)));
        assert_eq!(parse_offset("beginning"), Ok(Start::Beginning));
        assert_eq!(parse_offset("latest"), Ok(Start::End));
        assert!(parse_offset("soon").is_err_and(|reason| reason.contains("beginning")));
        assert_eq!(parse_offset("-9223372036854775808"), Ok(Start::BeforeEnd(i64::MAX)));
    }

    #[test]
    fn times_are_milliseconds_or_rfc_3339() {
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1000));
        assert_eq!(parse_time("1970-01-01T01:00:00.5+01:00"), Ok(500));
        assert!(parse_time("-1").is_err());
        assert!(parse_time("yesterday").is_err_and(|reason| reason.contains("2026-01-31T12:00:00Z")));
    }

    #[test]
    fn a_start_lies_within_the_records_there_are() {
        let bounds = Bounds { starts: BTreeMap::from([(0, 10)]), ends: BTreeMap::from([(0, 20)]) };
        assert_eq!(bounds.place(0, Start::Beginning), 10);
        assert_eq!(bounds.place(0, Start::End), 20);
        assert_eq!(bounds.place(0, Start::BeforeEnd(3)), 17);
        assert_eq!(bounds.place(0, Start::BeforeEnd(300)), 10);
        assert_eq!(bounds.place(0, Start::Offset(15)), 15);
        assert_eq!(bounds.place(0, Start::Offset(3)), 10);
        assert_eq!(bounds.place(0, Start::Offset(30)), 20);
    }
}
