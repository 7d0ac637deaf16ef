//! Shapes: share groups and their state.

use crate::guard::shape::{
    Api, array, bool, bytes, int8, int8s, int16, int32, int32s, int64, message, object, string, strings, uuid,
};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 76,
        name: "ShareGroupHeartbeat",
        request: message(1..=1).flexible(0).of(&[
            string("group_id"),
            string("member_id"),
            int32("member_epoch"),
            string("rack_id").nullable(),
            strings("subscribed_topic_names").nullable(),
        ]),
        response: message(1..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            string("member_id").nullable(),
            int32("member_epoch"),
            int32("heartbeat_interval_ms"),
            object("assignment")
                .nullable()
                .of(&[array("topic_partitions").of(&[uuid("topic_id"), int32s("partitions")])]),
        ]),
    },
    Api {
        key: 77,
        name: "ShareGroupDescribe",
        request: message(1..=1).flexible(0).of(&[strings("group_ids"), bool("include_authorized_operations")]),
        response: message(1..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            array("groups").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                string("group_id"),
                string("group_state"),
                int32("group_epoch"),
                int32("assignment_epoch"),
                string("assignor_name"),
                array("members").of(&[
                    string("member_id"),
                    string("rack_id").nullable(),
                    int32("member_epoch"),
                    string("client_id"),
                    string("client_host"),
                    strings("subscribed_topic_names"),
                    object("assignment").of(&[array("topic_partitions").of(&[
                        uuid("topic_id"),
                        string("topic_name"),
                        int32s("partitions"),
                    ])]),
                ]),
                int32("authorized_operations"),
            ]),
        ]),
    },
    Api {
        key: 78,
        name: "ShareFetch",
        request: message(1..=1).flexible(0).of(&[
            string("group_id").nullable(),
            string("member_id").nullable(),
            int32("share_session_epoch"),
            int32("max_wait_ms"),
            int32("min_bytes"),
            int32("max_bytes"),
            int32("max_records"),
            int32("batch_size"),
            array("topics").of(&[
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition_index"),
                    array("acknowledgement_batches").of(&[
                        int64("first_offset"),
                        int64("last_offset"),
                        int8s("acknowledge_types"),
                    ]),
                ]),
            ]),
            array("forgotten_topics_data").of(&[uuid("topic_id"), int32s("partitions")]),
        ]),
        response: message(1..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            int32("acquisition_lock_timeout_ms"),
            array("responses").of(&[
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    string("error_message").nullable(),
                    int16("acknowledge_error_code"),
                    string("acknowledge_error_message").nullable(),
                    object("current_leader").of(&[int32("leader_id"), int32("leader_epoch")]),
                    bytes("records"),
                    array("acquired_records").of(&[
                        int64("first_offset"),
                        int64("last_offset"),
                        int16("delivery_count"),
                    ]),
                ]),
            ]),
            array("node_endpoints").of(&[int32("node_id"), string("host"), int32("port"), string("rack").nullable()]),
        ]),
    },
    Api {
        key: 79,
        name: "ShareAcknowledge",
        request: message(1..=1).flexible(0).of(&[
            string("group_id").nullable(),
            string("member_id").nullable(),
            int32("share_session_epoch"),
            array("topics").of(&[
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition_index"),
                    array("acknowledgement_batches").of(&[
                        int64("first_offset"),
                        int64("last_offset"),
                        int8s("acknowledge_types"),
                    ]),
                ]),
            ]),
        ]),
        response: message(1..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("responses").of(&[
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    string("error_message").nullable(),
                    object("current_leader").of(&[int32("leader_id"), int32("leader_epoch")]),
                ]),
            ]),
            array("node_endpoints").of(&[int32("node_id"), string("host"), int32("port"), string("rack").nullable()]),
        ]),
    },
    Api {
        key: 83,
        name: "InitializeShareGroupState",
        request: message(0..=0).flexible(0).of(&[
            string("group_id"),
            array("topics").of(&[
                uuid("topic_id"),
                array("partitions").of(&[int32("partition"), int32("state_epoch"), int64("start_offset")]),
            ]),
        ]),
        response: message(0..=0).flexible(0).of(&[array("results").of(&[
            uuid("topic_id"),
            array("partitions").of(&[int32("partition"), int16("error_code"), string("error_message").nullable()]),
        ])]),
    },
    Api {
        key: 84,
        name: "ReadShareGroupState",
        request: message(0..=0).flexible(0).of(&[
            string("group_id"),
            array("topics")
                .of(&[uuid("topic_id"), array("partitions").of(&[int32("partition"), int32("leader_epoch")])]),
        ]),
        response: message(0..=0).flexible(0).of(&[array("results").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition"),
                int16("error_code"),
                string("error_message").nullable(),
                int32("state_epoch"),
                int64("start_offset"),
                array("state_batches").of(&[
                    int64("first_offset"),
                    int64("last_offset"),
                    int8("delivery_state"),
                    int16("delivery_count"),
                ]),
            ]),
        ])]),
    },
    Api {
        key: 85,
        name: "WriteShareGroupState",
        request: message(0..=0).flexible(0).of(&[
            string("group_id"),
            array("topics").of(&[
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition"),
                    int32("state_epoch"),
                    int32("leader_epoch"),
                    int64("start_offset"),
                    array("state_batches").of(&[
                        int64("first_offset"),
                        int64("last_offset"),
                        int8("delivery_state"),
                        int16("delivery_count"),
                    ]),
                ]),
            ]),
        ]),
        response: message(0..=0).flexible(0).of(&[array("results").of(&[
            uuid("topic_id"),
            array("partitions").of(&[int32("partition"), int16("error_code"), string("error_message").nullable()]),
        ])]),
    },
    Api {
        key: 86,
        name: "DeleteShareGroupState",
        request: message(0..=0).flexible(0).of(&[
            string("group_id"),
            array("topics").of(&[uuid("topic_id"), array("partitions").of(&[int32("partition")])]),
        ]),
        response: message(0..=0).flexible(0).of(&[array("results").of(&[
            uuid("topic_id"),
            array("partitions").of(&[int32("partition"), int16("error_code"), string("error_message").nullable()]),
        ])]),
    },
    Api {
        key: 87,
        name: "ReadShareGroupStateSummary",
        request: message(0..=0).flexible(0).of(&[
            string("group_id"),
            array("topics")
                .of(&[uuid("topic_id"), array("partitions").of(&[int32("partition"), int32("leader_epoch")])]),
        ]),
        response: message(0..=0).flexible(0).of(&[array("results").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition"),
                int16("error_code"),
                string("error_message").nullable(),
                int32("state_epoch"),
                int32("leader_epoch"),
                int64("start_offset"),
            ]),
        ])]),
    },
    Api {
        key: 90,
        name: "DescribeShareGroupOffsets",
        request: message(0..=0).flexible(0).of(&[array("groups")
            .of(&[string("group_id"), array("topics").nullable().of(&[string("topic_name"), int32s("partitions")])])]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            array("groups").of(&[
                string("group_id"),
                array("topics").of(&[
                    string("topic_name"),
                    uuid("topic_id"),
                    array("partitions").of(&[
                        int32("partition_index"),
                        int64("start_offset"),
                        int32("leader_epoch"),
                        int16("error_code"),
                        string("error_message").nullable(),
                    ]),
                ]),
                int16("error_code"),
                string("error_message").nullable(),
            ]),
        ]),
    },
    Api {
        key: 91,
        name: "AlterShareGroupOffsets",
        request: message(0..=0).flexible(0).of(&[
            string("group_id"),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[int32("partition_index"), int64("start_offset")]),
            ]),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("responses").of(&[
                string("topic_name"),
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    string("error_message").nullable(),
                ]),
            ]),
        ]),
    },
    Api {
        key: 92,
        name: "DeleteShareGroupOffsets",
        request: message(0..=0).flexible(0).of(&[string("group_id"), array("topics").of(&[string("topic_name")])]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("responses").of(&[
                string("topic_name"),
                uuid("topic_id"),
                int16("error_code"),
                string("error_message").nullable(),
            ]),
        ]),
    },
];
