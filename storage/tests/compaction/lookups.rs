//! What was dropped leaves gaps, within segments and between them: reads and questions about time lead to the next
//! record that is left, also once the indexes were lost and made again.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Batches of one to four records, of few keys and times that wander.
fn fill(log: &Log, random: &mut StdRng) {
    for i in 0..120 {
        let mut builder = BatchBuilder::new(Codec::ALL[random.random_range(0..5)]);
        if random.random_bool(0.1) {
            builder = builder.producer(1000 + log.log_end_offset(), 0, 0); // whose last batch stays, maybe empty
        }
        for _ in 0..random.random_range(1..=4) {
            let key = if random.random_bool(0.2) { i } else { random.random_range(0..9) };
            let time = NOW + 2 * i - random.random_range(0..40);
            builder.push(time, Some(format!("k{key}").as_bytes()), Some(b"some value"), &[]);
        }
        append(log, &Batch::check(builder.build()).unwrap()).unwrap();
    }
}

fn check(log: &Log, when: &str) {
    let (end, all) = (log.log_end_offset(), batches(log));
    for offset in 0..end {
        let slice = log.read(offset, 1, true, end).unwrap();
        let found = Batch::split_all(slice.bytes).next().unwrap().unwrap();
        let expected = all.iter().find(|batch| batch.header().last_offset() >= offset).unwrap();
        assert_eq!(found.bytes(), expected.bytes(), "{when}: a read from {offset}");
    }
    let left: Vec<(i64, i64)> = all.iter().flat_map(rows_of).map(|(offset, _, _, time)| (offset, time)).collect();
    for time in NOW - 41..=NOW + 241 {
        let expected = left.iter().copied().find(|(_, at)| *at >= time);
        let found = log.offset_for_timestamp(time).unwrap().map(|found| (found.offset, found.timestamp));
        assert_eq!(found, expected, "{when}: time {}", time - NOW);
    }
    let largest = left.iter().map(|(_, at)| *at).max().unwrap();
    let expected = left.iter().copied().find(|(_, at)| *at == largest);
    let found = log.max_timestamp().unwrap().map(|found| (found.offset, found.timestamp));
    assert_eq!(found, expected, "{when}: the largest time");
}

#[test]
fn reads_and_times_lead_to_what_is_left() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let config = LogConfig {
            segment_bytes: random.random_range(500..3000),
            index_interval_bytes: random.random_range(0..400),
            ..compacted()
        };
        let temp = fast_temp();
        let dir = open(temp.path(), &config);
        let log = create(&dir, &config);
        fill(&log, &mut random);
        seal(&log);
        check(&log, &format!("seed {seed}, before"));
        let done = compact_once(&log, NOW).unwrap();
        assert!(done.records_out < done.records_in);
        check(&log, &format!("seed {seed}, compacted"));
        fill(&log, &mut random);
        seal(&log);
        compact_once(&log, NOW).unwrap();
        check(&log, &format!("seed {seed}, compacted twice"));
        dir.close().unwrap();
        drop((log, dir));
        for suffix in ["index", "timeindex"] {
            files_with(&partition_path(temp.path()), suffix)
                .iter()
                .for_each(|file| std::fs::remove_file(file).unwrap());
        }
        let dir = open(temp.path(), &config);
        check(&only_log(&dir), &format!("seed {seed}, without index files"));
    }
}
