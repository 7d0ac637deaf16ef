//! Values of log settings outside of what Apache Kafka 4.3 allows: INVALID_CONFIG, with what is allowed, when a topic is
//! made and when it is altered. What lies on the edge is taken.

use jackdaw_test_support::Client;
use jackdaw_test_support::messages::IncrementalAlterConfigsRequest;
use jackdaw_test_support::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use jackdaw_test_support::requests::{self, text};

use crate::{unique, with_topic};

const INVALID_CONFIG: i16 = 40;
const MAX_INT: &str = "2147483647";
const BEYOND_INT: &str = "2147483648";
const MAX_LONG: &str = "9223372036854775807";
const BEYOND_LONG: &str = "9223372036854775808";

/// Name, values at the edges, values beyond, and words of the message about the latter.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);

const BOUNDS: &[Row] = &[
    ("cleanup.policy", &["delete", "compact", "compact,delete"], &["keep", "delete,delete"], "delete"),
    ("compression.type", &["producer", "uncompressed", "zstd"], &["none", "brotli", ""], "snappy"),
    ("compression.gzip.level", &["-1", "1", "9"], &["0", "10", "-2"], "-1"),
    ("compression.lz4.level", &["1", "17"], &["0", "18"], "from 1 to 17"),
    ("compression.zstd.level", &["-131072", "22"], &["-131073", "23"], "from -131072 to 22"),
    ("delete.retention.ms", &["0", MAX_LONG], &["-1", BEYOND_LONG], "from 0"),
    ("file.delete.delay.ms", &["0", MAX_LONG], &["-1", BEYOND_LONG], "from 0"),
    ("flush.messages", &["1", MAX_LONG], &["0", BEYOND_LONG], "from 1"),
    ("flush.ms", &["0", MAX_LONG], &["-1", BEYOND_LONG], "from 0"),
    ("index.interval.bytes", &["0", MAX_INT], &["-1", BEYOND_INT], "from 0"),
    ("max.compaction.lag.ms", &["1", MAX_LONG], &["0", BEYOND_LONG], "from 1"),
    ("max.message.bytes", &["0", "1048588"], &["-1", BEYOND_INT], "from 0"),
    ("message.timestamp.after.max.ms", &["0", MAX_LONG], &["-1", BEYOND_LONG], "from 0"),
    ("message.timestamp.before.max.ms", &["0", MAX_LONG], &["-1", BEYOND_LONG], "from 0"),
    ("message.timestamp.type", &["CreateTime", "LogAppendTime"], &["createtime", ""], "LogAppendTime"),
    ("min.cleanable.dirty.ratio", &["0", "1", "0.25"], &["-0.1", "1.1", "half"], "from 0 to 1"),
    ("min.compaction.lag.ms", &["0", "1000"], &["-1", BEYOND_LONG], "from 0"),
    ("min.insync.replicas", &["1"], &["0", BEYOND_INT], "from 1"),
    ("preallocate", &["true", "false"], &["1", "yes"], "true or false"),
    ("retention.bytes", &["-1", "0", MAX_LONG], &["much", BEYOND_LONG], "whole number"),
    ("retention.ms", &["-1", "0", MAX_LONG], &["-2", BEYOND_LONG], "from -1"),
    ("segment.bytes", &["1048576", MAX_INT], &["1048575", BEYOND_INT], "from 1048576"),
    ("segment.index.bytes", &["4", MAX_INT], &["3", BEYOND_INT], "from 4"),
    ("segment.jitter.ms", &["0", MAX_LONG], &["-1", BEYOND_LONG], "from 0"),
    ("segment.ms", &["1", MAX_LONG], &["0", BEYOND_LONG], "from 1"),
    ("unclean.leader.election.enable", &["true", "false"], &["maybe"], "true or false"),
];

fn create(client: &mut Client, name: &str, key: &str, value: &str) -> (i16, String) {
    let mut request = requests::create_request(name, 1, &[(key, value)]);
    request.validate_only = true;
    let answer = client.call(7, &request).topics.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default().to_string())
}

fn alter(client: &mut Client, name: &str, key: &str, value: &str) -> (i16, String) {
    let config = AlterableConfig::default().with_name(text(key)).with_config_operation(0).with_value(Some(text(value)));
    let resource =
        AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(name)).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
    let answer = client.call(1, &request).responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default().to_string())
}

#[test]
fn every_log_setting_has_kafkas_bounds_at_creation_and_at_change() {
    let (mut client, name) = with_topic("bounds");
    let new = unique("bounds-new");
    for (key, good, bad, allowed) in BOUNDS {
        for value in *good {
            assert_eq!(create(&mut client, &new, key, value).0, 0, "create with {key}={value}");
            assert_eq!(alter(&mut client, &name, key, value).0, 0, "set {key}={value}");
        }
        for value in *bad {
            for (code, message) in [create(&mut client, &new, key, value), alter(&mut client, &name, key, value)] {
                assert_eq!(code, INVALID_CONFIG, "{key}={value}: {message}");
                assert!(message.contains(key) && message.contains(allowed), "{key}={value}: {message}");
            }
        }
    }
}
