//! Where partitions are, of a broker with several log directories: DescribeLogDirs and AlterReplicaLogDirs.

use std::collections::BTreeMap;
use std::path::Path;

use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::Client;
use crate::requests::{text, topic};

/// A partition in a directory, as DescribeLogDirs tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub size: i64,
    pub lag: i64,
    pub is_future: bool,
}

/// DescribeLogDirs of everything.
pub fn describe(client: &mut Client) -> DescribeLogDirsResponse {
    client.call(4, &DescribeLogDirsRequest::default().with_topics(None))
}

/// Where a partition is: names of directories, with what is there.
pub fn places(client: &mut Client, name: &str, partition: i32) -> BTreeMap<String, Found> {
    let mut places = BTreeMap::new();
    for dir in describe(client).results {
        let found = dir.topics.iter().filter(|found| found.name.as_str() == name).flat_map(|found| &found.partitions);
        for found in found.filter(|found| found.partition_index == partition) {
            let place = Path::new(dir.log_dir.as_str()).file_name().unwrap().to_str().unwrap().to_owned();
            let (size, lag, is_future) = (found.partition_size, found.offset_lag, found.is_future_key);
            places.insert(place, Found { size, lag, is_future });
        }
    }
    places
}

/// The directory of a partition that is in one.
pub fn place(client: &mut Client, name: &str, partition: i32) -> String {
    let places = places(client, name, partition);
    assert_eq!(places.len(), 1, "{name}-{partition}: {places:?}");
    places.into_keys().next().unwrap()
}

/// The error of each log directory, by its name.
pub fn errors(client: &mut Client) -> BTreeMap<String, i16> {
    let name = |path: &str| Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
    describe(client).results.iter().map(|dir| (name(&dir.log_dir), dir.error_code)).collect()
}

/// AlterReplicaLogDirs of one partition: the error.
pub fn move_to(client: &mut Client, name: &str, partition: i32, dir: &Path) -> i16 {
    let wanted = AlterReplicaLogDirTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let dir = AlterReplicaLogDir::default().with_path(text(dir.to_str().unwrap())).with_topics(vec![wanted]);
    let response = client.call(2, &AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]));
    response.results[0].partitions[0].error_code
}
