//! Shapes: what clients do with records, and what they must know to do it.

use crate::guard::shape::{Api, array, bool, bytes, int8, int16, int32, int32s, int64, message, object, string, uuid};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 0,
        name: "Produce",
        request: message(3..=13).flexible(9).of(&[
            string("transactional_id").nullable(),
            int16("acks"),
            int32("timeout_ms"),
            array("topic_data").of(&[
                string("name").until(12),
                uuid("topic_id").since(13),
                array("partition_data").of(&[int32("index"), bytes("records").nullable()]),
            ]),
        ]),
        response: message(3..=13).flexible(9).of(&[
            array("responses").of(&[
                string("name").until(12),
                uuid("topic_id").since(13),
                array("partition_responses").of(&[
                    int32("index"),
                    int16("error_code"),
                    int64("base_offset"),
                    int64("log_append_time_ms"),
                    int64("log_start_offset").since(5),
                    array("record_errors")
                        .since(8)
                        .of(&[int32("batch_index"), string("batch_index_error_message").nullable()]),
                    string("error_message").since(8).nullable(),
                    object("current_leader").since(10).tag(0).of(&[int32("leader_id"), int32("leader_epoch")]),
                ]),
            ]),
            int32("throttle_time_ms"),
            array("node_endpoints").since(10).tag(0).of(&[
                int32("node_id"),
                string("host"),
                int32("port"),
                string("rack").nullable(),
            ]),
        ]),
    },
    Api {
        key: 1,
        name: "Fetch",
        request: message(4..=18).flexible(12).of(&[
            string("cluster_id").since(12).nullable().tag(0),
            int32("replica_id").until(14),
            object("replica_state").since(15).tag(1).of(&[int32("replica_id"), int64("replica_epoch")]),
            int32("max_wait_ms"),
            int32("min_bytes"),
            int32("max_bytes"),
            int8("isolation_level"),
            int32("session_id").since(7),
            int32("session_epoch").since(7),
            array("topics").of(&[
                string("topic").until(12),
                uuid("topic_id").since(13),
                array("partitions").of(&[
                    int32("partition"),
                    int32("current_leader_epoch").since(9),
                    int64("fetch_offset"),
                    int32("last_fetched_epoch").since(12),
                    int64("log_start_offset").since(5),
                    int32("partition_max_bytes"),
                    uuid("replica_directory_id").since(17).tag(0),
                    int64("high_watermark").since(18).tag(1),
                ]),
            ]),
            array("forgotten_topics_data").since(7).of(&[
                string("topic").until(12),
                uuid("topic_id").since(13),
                int32s("partitions"),
            ]),
            string("rack_id").since(11),
        ]),
        response: message(4..=18).flexible(12).of(&[
            int32("throttle_time_ms"),
            int16("error_code").since(7),
            int32("session_id").since(7),
            array("responses").of(&[
                string("topic").until(12),
                uuid("topic_id").since(13),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int64("high_watermark"),
                    int64("last_stable_offset"),
                    int64("log_start_offset").since(5),
                    object("diverging_epoch").since(12).tag(0).of(&[int32("epoch"), int64("end_offset")]),
                    object("current_leader").since(12).tag(1).of(&[int32("leader_id"), int32("leader_epoch")]),
                    object("snapshot_id").since(12).tag(2).of(&[int64("end_offset"), int32("epoch")]),
                    array("aborted_transactions").nullable().of(&[int64("producer_id"), int64("first_offset")]),
                    int32("preferred_read_replica").since(11),
                    bytes("records").nullable(),
                ]),
            ]),
            array("node_endpoints").since(16).tag(0).of(&[
                int32("node_id"),
                string("host"),
                int32("port"),
                string("rack").nullable(),
            ]),
        ]),
    },
    Api {
        key: 2,
        name: "ListOffsets",
        request: message(1..=10).flexible(6).of(&[
            int32("replica_id"),
            int8("isolation_level").since(2),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int32("current_leader_epoch").since(4),
                    int64("timestamp"),
                ]),
            ]),
            int32("timeout_ms").since(10),
        ]),
        response: message(1..=10).flexible(6).of(&[
            int32("throttle_time_ms").since(2),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int64("timestamp"),
                    int64("offset"),
                    int32("leader_epoch").since(4),
                ]),
            ]),
        ]),
    },
    Api {
        key: 3,
        name: "Metadata",
        request: message(0..=13).flexible(9).of(&[
            array("topics").nullable_since(1).of(&[uuid("topic_id").since(10), string("name").nullable_since(10)]),
            bool("allow_auto_topic_creation").since(4),
            bool("include_cluster_authorized_operations").since(8).until(10),
            bool("include_topic_authorized_operations").since(8),
        ]),
        response: message(0..=13).flexible(9).of(&[
            int32("throttle_time_ms").since(3),
            array("brokers").of(&[int32("node_id"), string("host"), int32("port"), string("rack").since(1).nullable()]),
            string("cluster_id").since(2).nullable(),
            int32("controller_id").since(1),
            array("topics").of(&[
                int16("error_code"),
                string("name").nullable_since(12),
                uuid("topic_id").since(10),
                bool("is_internal").since(1),
                array("partitions").of(&[
                    int16("error_code"),
                    int32("partition_index"),
                    int32("leader_id"),
                    int32("leader_epoch").since(7),
                    int32s("replica_nodes"),
                    int32s("isr_nodes"),
                    int32s("offline_replicas").since(5),
                ]),
                int32("topic_authorized_operations").since(8),
            ]),
            int32("cluster_authorized_operations").since(8).until(10),
            int16("error_code").since(13),
        ]),
    },
    Api {
        key: 18,
        name: "ApiVersions",
        request: message(0..=4)
            .flexible(3)
            .of(&[string("client_software_name").since(3), string("client_software_version").since(3)]),
        response: message(0..=4).flexible(3).of(&[
            int16("error_code"),
            array("api_keys").of(&[int16("api_key"), int16("min_version"), int16("max_version")]),
            int32("throttle_time_ms").since(1),
            array("supported_features").since(3).tag(0).of(&[
                string("name"),
                int16("min_version"),
                int16("max_version"),
            ]),
            int64("finalized_features_epoch").since(3).tag(1),
            array("finalized_features").since(3).tag(2).of(&[
                string("name"),
                int16("max_version_level"),
                int16("min_version_level"),
            ]),
            bool("zk_migration_ready").since(3).tag(3),
        ]),
    },
    Api {
        key: 21,
        name: "DeleteRecords",
        request: message(0..=2).flexible(2).of(&[
            array("topics").of(&[string("name"), array("partitions").of(&[int32("partition_index"), int64("offset")])]),
            int32("timeout_ms"),
        ]),
        response: message(0..=2).flexible(2).of(&[
            int32("throttle_time_ms"),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[int32("partition_index"), int64("low_watermark"), int16("error_code")]),
            ]),
        ]),
    },
    Api {
        key: 23,
        name: "OffsetForLeaderEpoch",
        request: message(2..=4).flexible(4).of(&[
            int32("replica_id").since(3),
            array("topics").of(&[
                string("topic"),
                array("partitions").of(&[int32("partition"), int32("current_leader_epoch"), int32("leader_epoch")]),
            ]),
        ]),
        response: message(2..=4).flexible(4).of(&[
            int32("throttle_time_ms"),
            array("topics").of(&[
                string("topic"),
                array("partitions").of(&[
                    int16("error_code"),
                    int32("partition"),
                    int32("leader_epoch"),
                    int64("end_offset"),
                ]),
            ]),
        ]),
    },
];
