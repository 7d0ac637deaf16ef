//! Shapes: brokers, log directories, features and telemetry.

use crate::guard::shape::{
    Api, array, bool, bytes, int8, int8s, int16, int32, int32s, int64, message, string, strings, uint16, uuid, uuids,
};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 34,
        name: "AlterReplicaLogDirs",
        request: message(1..=2)
            .flexible(2)
            .of(&[array("dirs").of(&[string("path"), array("topics").of(&[string("name"), int32s("partitions")])])]),
        response: message(1..=2).flexible(2).of(&[
            int32("throttle_time_ms"),
            array("results")
                .of(&[string("topic_name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
        ]),
    },
    Api {
        key: 35,
        name: "DescribeLogDirs",
        request: message(1..=4)
            .flexible(2)
            .of(&[array("topics").nullable().of(&[string("topic"), int32s("partitions")])]),
        response: message(1..=4).flexible(2).of(&[
            int32("throttle_time_ms"),
            int16("error_code").since(3),
            array("results").of(&[
                int16("error_code"),
                string("log_dir"),
                array("topics").of(&[
                    string("name"),
                    array("partitions").of(&[
                        int32("partition_index"),
                        int64("partition_size"),
                        int64("offset_lag"),
                        bool("is_future_key"),
                    ]),
                ]),
                int64("total_bytes").since(4),
                int64("usable_bytes").since(4),
            ]),
        ]),
    },
    Api {
        key: 57,
        name: "UpdateFeatures",
        request: message(0..=2).flexible(0).of(&[
            int32("timeout_ms"),
            array("feature_updates").of(&[
                string("feature"),
                int16("max_version_level"),
                bool("allow_downgrade").until(0),
                int8("upgrade_type").since(1),
            ]),
            bool("validate_only").since(1),
        ]),
        response: message(0..=2).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("results").until(1).of(&[string("feature"), int16("error_code"), string("error_message").nullable()]),
        ]),
    },
    Api {
        key: 60,
        name: "DescribeCluster",
        request: message(0..=2).flexible(0).of(&[
            bool("include_cluster_authorized_operations"),
            int8("endpoint_type").since(1),
            bool("include_fenced_brokers").since(2),
        ]),
        response: message(0..=2).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            int8("endpoint_type").since(1),
            string("cluster_id"),
            int32("controller_id"),
            array("brokers").of(&[
                int32("broker_id"),
                string("host"),
                int32("port"),
                string("rack").nullable(),
                bool("is_fenced").since(2),
            ]),
            int32("cluster_authorized_operations"),
        ]),
    },
    Api {
        key: 62,
        name: "BrokerRegistration",
        request: message(0..=4).flexible(0).of(&[
            int32("broker_id"),
            string("cluster_id"),
            uuid("incarnation_id"),
            array("listeners").of(&[string("name"), string("host"), uint16("port"), int16("security_protocol")]),
            array("features").of(&[string("name"), int16("min_supported_version"), int16("max_supported_version")]),
            string("rack").nullable(),
            bool("is_migrating_zk_broker").since(1),
            uuids("log_dirs").since(2),
            int64("previous_broker_epoch").since(3),
        ]),
        response: message(0..=4).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            int64("broker_epoch"),
        ]),
    },
    Api {
        key: 63,
        name: "BrokerHeartbeat",
        request: message(0..=1).flexible(0).of(&[
            int32("broker_id"),
            int64("broker_epoch"),
            int64("current_metadata_offset"),
            bool("want_fence"),
            bool("want_shut_down"),
            uuids("offline_log_dirs").since(1).tag(0),
        ]),
        response: message(0..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            bool("is_caught_up"),
            bool("is_fenced"),
            bool("should_shut_down"),
        ]),
    },
    Api {
        key: 64,
        name: "UnregisterBroker",
        request: message(0..=0).flexible(0).of(&[int32("broker_id")]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
        ]),
    },
    Api {
        key: 70,
        name: "ControllerRegistration",
        request: message(0..=0).flexible(0).of(&[
            int32("controller_id"),
            uuid("incarnation_id"),
            bool("zk_migration_ready"),
            array("listeners").of(&[string("name"), string("host"), uint16("port"), int16("security_protocol")]),
            array("features").of(&[string("name"), int16("min_supported_version"), int16("max_supported_version")]),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
        ]),
    },
    Api {
        key: 71,
        name: "GetTelemetrySubscriptions",
        request: message(0..=0).flexible(0).of(&[uuid("client_instance_id")]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            uuid("client_instance_id"),
            int32("subscription_id"),
            int8s("accepted_compression_types"),
            int32("push_interval_ms"),
            int32("telemetry_max_bytes"),
            bool("delta_temporality"),
            strings("requested_metrics"),
        ]),
    },
    Api {
        key: 72,
        name: "PushTelemetry",
        request: message(0..=0).flexible(0).of(&[
            uuid("client_instance_id"),
            int32("subscription_id"),
            bool("terminating"),
            int8("compression_type"),
            bytes("metrics"),
        ]),
        response: message(0..=0).flexible(0).of(&[int32("throttle_time_ms"), int16("error_code")]),
    },
    Api {
        key: 73,
        name: "AssignReplicasToDirs",
        request: message(0..=0).flexible(0).of(&[
            int32("broker_id"),
            int64("broker_epoch"),
            array("directories").of(&[
                uuid("id"),
                array("topics").of(&[uuid("topic_id"), array("partitions").of(&[int32("partition_index")])]),
            ]),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            array("directories").of(&[
                uuid("id"),
                array("topics")
                    .of(&[uuid("topic_id"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
            ]),
        ]),
    },
];
