//! Shapes: classic and new consumer groups and their offsets.

use crate::guard::shape::{
    Api, Message, array, bool, bytes, int8, int16, int32, int32s, int64, message, object, string, strings, uuid,
};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 8,
        name: "OffsetCommit",
        request: message(2..=9).flexible(8).of(&[
            string("group_id"),
            int32("generation_id_or_member_epoch"),
            string("member_id"),
            string("group_instance_id").since(7).nullable(),
            int64("retention_time_ms").until(4),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int64("committed_offset"),
                    int32("committed_leader_epoch").since(6),
                    string("committed_metadata").nullable(),
                ]),
            ]),
        ]),
        response: message(2..=10).flexible(8).of(&[
            int32("throttle_time_ms").since(3),
            array("topics").of(&[
                string("name").until(9),
                uuid("topic_id").since(10),
                array("partitions").of(&[int32("partition_index"), int16("error_code")]),
            ]),
        ]),
    },
    Api {
        key: 9,
        name: "OffsetFetch",
        request: message(1..=9).flexible(6).of(&[
            string("group_id").until(7),
            array("topics").until(7).nullable_since(2).of(&[string("name"), int32s("partition_indexes")]),
            array("groups").since(8).of(&[
                string("group_id"),
                string("member_id").since(9).nullable(),
                int32("member_epoch").since(9),
                array("topics").nullable().of(&[string("name"), int32s("partition_indexes")]),
            ]),
            bool("require_stable").since(7),
        ]),
        response: message(1..=10).flexible(6).of(&[
            int32("throttle_time_ms").since(3),
            array("topics").until(7).of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int64("committed_offset"),
                    int32("committed_leader_epoch").since(5),
                    string("metadata").nullable(),
                    int16("error_code"),
                ]),
            ]),
            int16("error_code").since(2).until(7),
            array("groups").since(8).of(&[
                string("group_id"),
                array("topics").of(&[
                    string("name").until(9),
                    uuid("topic_id").since(10),
                    array("partitions").of(&[
                        int32("partition_index"),
                        int64("committed_offset"),
                        int32("committed_leader_epoch"),
                        string("metadata").nullable(),
                        int16("error_code"),
                    ]),
                ]),
                int16("error_code"),
            ]),
        ]),
    },
    Api {
        key: 10,
        name: "FindCoordinator",
        request: message(0..=6).flexible(3).of(&[
            string("key").until(3),
            int8("key_type").since(1),
            strings("coordinator_keys").since(4),
        ]),
        response: message(0..=6).flexible(3).of(&[
            int32("throttle_time_ms").since(1),
            int16("error_code").until(3),
            string("error_message").since(1).until(3).nullable(),
            int32("node_id").until(3),
            string("host").until(3),
            int32("port").until(3),
            array("coordinators").since(4).of(&[
                string("key"),
                int32("node_id"),
                string("host"),
                int32("port"),
                int16("error_code"),
                string("error_message").nullable(),
            ]),
        ]),
    },
    Api {
        key: 11,
        name: "JoinGroup",
        request: message(0..=9).flexible(6).of(&[
            string("group_id"),
            int32("session_timeout_ms"),
            int32("rebalance_timeout_ms").since(1),
            string("member_id"),
            string("group_instance_id").since(5).nullable(),
            string("protocol_type"),
            array("protocols").of(&[string("name"), bytes("metadata")]),
            string("reason").since(8).nullable(),
        ]),
        response: message(0..=9).flexible(6).of(&[
            int32("throttle_time_ms").since(2),
            int16("error_code"),
            int32("generation_id"),
            string("protocol_type").since(7).nullable(),
            string("protocol_name").nullable_since(7),
            string("leader"),
            bool("skip_assignment").since(9),
            string("member_id"),
            array("members").of(&[
                string("member_id"),
                string("group_instance_id").since(5).nullable(),
                bytes("metadata"),
            ]),
        ]),
    },
    Api {
        key: 12,
        name: "Heartbeat",
        request: message(0..=4).flexible(4).of(&[
            string("group_id"),
            int32("generation_id"),
            string("member_id"),
            string("group_instance_id").since(3).nullable(),
        ]),
        response: message(0..=4).flexible(4).of(&[int32("throttle_time_ms").since(1), int16("error_code")]),
    },
    Api {
        key: 13,
        name: "LeaveGroup",
        request: message(0..=5).flexible(4).of(&[
            string("group_id"),
            string("member_id").until(2),
            array("members").since(3).of(&[
                string("member_id"),
                string("group_instance_id").nullable(),
                string("reason").since(5).nullable(),
            ]),
        ]),
        response: message(0..=5).flexible(4).of(&[
            int32("throttle_time_ms").since(1),
            int16("error_code"),
            array("members").since(3).of(&[
                string("member_id"),
                string("group_instance_id").nullable(),
                int16("error_code"),
            ]),
        ]),
    },
    Api {
        key: 14,
        name: "SyncGroup",
        request: message(0..=5).flexible(4).of(&[
            string("group_id"),
            int32("generation_id"),
            string("member_id"),
            string("group_instance_id").since(3).nullable(),
            string("protocol_type").since(5).nullable(),
            string("protocol_name").since(5).nullable(),
            array("assignments").of(&[string("member_id"), bytes("assignment")]),
        ]),
        response: message(0..=5).flexible(4).of(&[
            int32("throttle_time_ms").since(1),
            int16("error_code"),
            string("protocol_type").since(5).nullable(),
            string("protocol_name").since(5).nullable(),
            bytes("assignment"),
        ]),
    },
    Api {
        key: 15,
        name: "DescribeGroups",
        request: message(0..=6).flexible(5).of(&[strings("groups"), bool("include_authorized_operations").since(3)]),
        response: message(0..=6).flexible(5).of(&[
            int32("throttle_time_ms").since(1),
            array("groups").of(&[
                int16("error_code"),
                string("error_message").since(6).nullable(),
                string("group_id"),
                string("group_state"),
                string("protocol_type"),
                string("protocol_data"),
                array("members").of(&[
                    string("member_id"),
                    string("group_instance_id").since(4).nullable(),
                    string("client_id"),
                    string("client_host"),
                    bytes("member_metadata"),
                    bytes("member_assignment"),
                ]),
                int32("authorized_operations").since(3),
            ]),
        ]),
    },
    Api {
        key: 16,
        name: "ListGroups",
        request: message(0..=5).flexible(3).of(&[strings("states_filter").since(4), strings("types_filter").since(5)]),
        response: message(0..=5).flexible(3).of(&[
            int32("throttle_time_ms").since(1),
            int16("error_code"),
            array("groups").of(&[
                string("group_id"),
                string("protocol_type"),
                string("group_state").since(4),
                string("group_type").since(5),
            ]),
        ]),
    },
    Api {
        key: 42,
        name: "DeleteGroups",
        request: message(0..=2).flexible(2).of(&[strings("groups_names")]),
        response: message(0..=2)
            .flexible(2)
            .of(&[int32("throttle_time_ms"), array("results").of(&[string("group_id"), int16("error_code")])]),
    },
    Api {
        key: 47,
        name: "OffsetDelete",
        request: message(0..=0).of(&[
            string("group_id"),
            array("topics").of(&[string("name"), array("partitions").of(&[int32("partition_index")])]),
        ]),
        response: message(0..=0).of(&[
            int16("error_code"),
            int32("throttle_time_ms"),
            array("topics")
                .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
        ]),
    },
    Api {
        key: 68,
        name: "ConsumerGroupHeartbeat",
        request: message(0..=1).flexible(0).of(&[
            string("group_id"),
            string("member_id"),
            int32("member_epoch"),
            string("instance_id").nullable(),
            string("rack_id").nullable(),
            int32("rebalance_timeout_ms"),
            strings("subscribed_topic_names").nullable(),
            string("subscribed_topic_regex").since(1).nullable(),
            string("server_assignor").nullable(),
            array("topic_partitions").nullable().of(&[uuid("topic_id"), int32s("partitions")]),
        ]),
        response: message(0..=1).flexible(0).of(&[
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
        key: 69,
        name: "ConsumerGroupDescribe",
        request: message(0..=1).flexible(0).of(&[strings("group_ids"), bool("include_authorized_operations")]),
        response: message(0..=1).flexible(0).of(&[
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
                    string("instance_id").nullable(),
                    string("rack_id").nullable(),
                    int32("member_epoch"),
                    string("client_id"),
                    string("client_host"),
                    strings("subscribed_topic_names"),
                    string("subscribed_topic_regex").nullable(),
                    object("assignment").of(&[array("topic_partitions").of(&[
                        uuid("topic_id"),
                        string("topic_name"),
                        int32s("partitions"),
                    ])]),
                    object("target_assignment").of(&[array("topic_partitions").of(&[
                        uuid("topic_id"),
                        string("topic_name"),
                        int32s("partitions"),
                    ])]),
                    int8("member_type").since(1),
                ]),
                int32("authorized_operations"),
            ]),
        ]),
    },
];

/// What a member of a classic consumer group wants to read: the metadata of its JoinGroup protocol.
pub(in crate::guard) static CONSUMER_SUBSCRIPTION: Message = message(0..=3).of(&[
    strings("topics"),
    bytes("user_data").nullable(),
    array("owned_partitions").since(1).of(&[string("topic"), int32s("partitions")]),
    int32("generation_id").since(2),
    string("rack_id").since(3).nullable(),
]);

/// What a member of a classic consumer group is to read: its SyncGroup assignment.
pub(in crate::guard) static CONSUMER_ASSIGNMENT: Message = message(0..=3)
    .of(&[array("assigned_partitions").of(&[string("topic"), int32s("partitions")]), bytes("user_data").nullable()]);
