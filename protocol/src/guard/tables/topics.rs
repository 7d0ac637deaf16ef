//! Shapes: topics and configuration.

use crate::guard::shape::{
    Api, array, bool, int8, int8s, int16, int32, int32s, message, object, string, strings, uuid,
};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 19,
        name: "CreateTopics",
        request: message(2..=7).flexible(5).of(&[
            array("topics").of(&[
                string("name"),
                int32("num_partitions"),
                int16("replication_factor"),
                array("assignments").of(&[int32("partition_index"), int32s("broker_ids")]),
                array("configs").of(&[string("name"), string("value").nullable()]),
            ]),
            int32("timeout_ms"),
            bool("validate_only"),
        ]),
        response: message(2..=7).flexible(5).of(&[
            int32("throttle_time_ms"),
            array("topics").of(&[
                string("name"),
                uuid("topic_id").since(7),
                int16("error_code"),
                string("error_message").nullable(),
                int16("topic_config_error_code").since(5).tag(0),
                int32("num_partitions").since(5),
                int16("replication_factor").since(5),
                array("configs").since(5).nullable().of(&[
                    string("name"),
                    string("value").nullable(),
                    bool("read_only"),
                    int8("config_source"),
                    bool("is_sensitive"),
                ]),
            ]),
        ]),
    },
    Api {
        key: 20,
        name: "DeleteTopics",
        request: message(1..=6).flexible(4).of(&[
            array("topics").since(6).of(&[string("name").nullable(), uuid("topic_id")]),
            strings("topic_names").until(5),
            int32("timeout_ms"),
        ]),
        response: message(1..=6).flexible(4).of(&[
            int32("throttle_time_ms"),
            array("responses").of(&[
                string("name").nullable_since(6),
                uuid("topic_id").since(6),
                int16("error_code"),
                string("error_message").since(5).nullable(),
            ]),
        ]),
    },
    Api {
        key: 32,
        name: "DescribeConfigs",
        request: message(1..=4).flexible(4).of(&[
            array("resources").of(&[
                int8("resource_type"),
                string("resource_name"),
                strings("configuration_keys").nullable(),
            ]),
            bool("include_synonyms"),
            bool("include_documentation").since(3),
        ]),
        response: message(1..=4).flexible(4).of(&[
            int32("throttle_time_ms"),
            array("results").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                int8("resource_type"),
                string("resource_name"),
                array("configs").of(&[
                    string("name"),
                    string("value").nullable(),
                    bool("read_only"),
                    int8("config_source"),
                    bool("is_sensitive"),
                    array("synonyms").of(&[string("name"), string("value").nullable(), int8("source")]),
                    int8("config_type").since(3),
                    string("documentation").since(3).nullable(),
                ]),
            ]),
        ]),
    },
    Api {
        key: 33,
        name: "AlterConfigs",
        request: message(0..=2).flexible(2).of(&[
            array("resources").of(&[
                int8("resource_type"),
                string("resource_name"),
                array("configs").of(&[string("name"), string("value").nullable()]),
            ]),
            bool("validate_only"),
        ]),
        response: message(0..=2).flexible(2).of(&[
            int32("throttle_time_ms"),
            array("responses").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                int8("resource_type"),
                string("resource_name"),
            ]),
        ]),
    },
    Api {
        key: 37,
        name: "CreatePartitions",
        request: message(0..=3).flexible(2).of(&[
            array("topics").of(&[
                string("name"),
                int32("count"),
                array("assignments").nullable().of(&[int32s("broker_ids")]),
            ]),
            int32("timeout_ms"),
            bool("validate_only"),
        ]),
        response: message(0..=3).flexible(2).of(&[
            int32("throttle_time_ms"),
            array("results").of(&[string("name"), int16("error_code"), string("error_message").nullable()]),
        ]),
    },
    Api {
        key: 43,
        name: "ElectLeaders",
        request: message(0..=2).flexible(2).of(&[
            int8("election_type").since(1),
            array("topic_partitions").nullable().of(&[string("topic"), int32s("partitions")]),
            int32("timeout_ms"),
        ]),
        response: message(0..=2).flexible(2).of(&[
            int32("throttle_time_ms"),
            int16("error_code").since(1),
            array("replica_election_results").of(&[
                string("topic"),
                array("partition_result").of(&[
                    int32("partition_id"),
                    int16("error_code"),
                    string("error_message").nullable(),
                ]),
            ]),
        ]),
    },
    Api {
        key: 44,
        name: "IncrementalAlterConfigs",
        request: message(0..=1).flexible(1).of(&[
            array("resources").of(&[
                int8("resource_type"),
                string("resource_name"),
                array("configs").of(&[string("name"), int8("config_operation"), string("value").nullable()]),
            ]),
            bool("validate_only"),
        ]),
        response: message(0..=1).flexible(1).of(&[
            int32("throttle_time_ms"),
            array("responses").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                int8("resource_type"),
                string("resource_name"),
            ]),
        ]),
    },
    Api {
        key: 45,
        name: "AlterPartitionReassignments",
        request: message(0..=1).flexible(0).of(&[
            int32("timeout_ms"),
            bool("allow_replication_factor_change").since(1),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[int32("partition_index"), int32s("replicas").nullable()]),
            ]),
        ]),
        response: message(0..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            bool("allow_replication_factor_change").since(1),
            int16("error_code"),
            string("error_message").nullable(),
            array("responses").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    string("error_message").nullable(),
                ]),
            ]),
        ]),
    },
    Api {
        key: 46,
        name: "ListPartitionReassignments",
        request: message(0..=0)
            .flexible(0)
            .of(&[int32("timeout_ms"), array("topics").nullable().of(&[string("name"), int32s("partition_indexes")])]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int32s("replicas"),
                    int32s("adding_replicas"),
                    int32s("removing_replicas"),
                ]),
            ]),
        ]),
    },
    Api {
        key: 74,
        name: "ListConfigResources",
        request: message(0..=1).flexible(0).of(&[int8s("resource_types").since(1)]),
        response: message(0..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            array("config_resources").of(&[string("resource_name"), int8("resource_type").since(1)]),
        ]),
    },
    Api {
        key: 75,
        name: "DescribeTopicPartitions",
        request: message(0..=0).flexible(0).of(&[
            array("topics").of(&[string("name")]),
            int32("response_partition_limit"),
            object("cursor").nullable().of(&[string("topic_name"), int32("partition_index")]),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            array("topics").of(&[
                int16("error_code"),
                string("name").nullable(),
                uuid("topic_id"),
                bool("is_internal"),
                array("partitions").of(&[
                    int16("error_code"),
                    int32("partition_index"),
                    int32("leader_id"),
                    int32("leader_epoch"),
                    int32s("replica_nodes"),
                    int32s("isr_nodes"),
                    int32s("eligible_leader_replicas").nullable(),
                    int32s("last_known_elr").nullable(),
                    int32s("offline_replicas"),
                ]),
                int32("topic_authorized_operations"),
            ]),
            object("next_cursor").nullable().of(&[string("topic_name"), int32("partition_index")]),
        ]),
    },
];
