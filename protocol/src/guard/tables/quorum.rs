//! Shapes: the metadata quorum.

use crate::guard::shape::{
    Api, array, bool, bytes, int8, int16, int32, int32s, int64, message, object, string, uint16, uuid,
};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 52,
        name: "Vote",
        request: message(0..=2).flexible(0).of(&[
            string("cluster_id").nullable(),
            int32("voter_id").since(1),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int32("replica_epoch"),
                    int32("replica_id"),
                    uuid("replica_directory_id").since(1),
                    uuid("voter_directory_id").since(1),
                    int32("last_offset_epoch"),
                    int64("last_offset"),
                    bool("pre_vote").since(2),
                ]),
            ]),
        ]),
        response: message(0..=2).flexible(0).of(&[
            int16("error_code"),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int32("leader_id"),
                    int32("leader_epoch"),
                    bool("vote_granted"),
                ]),
            ]),
            array("node_endpoints").since(1).tag(0).of(&[int32("node_id"), string("host"), uint16("port")]),
        ]),
    },
    Api {
        key: 53,
        name: "BeginQuorumEpoch",
        request: message(0..=1).flexible(1).of(&[
            string("cluster_id").nullable(),
            int32("voter_id").since(1),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    uuid("voter_directory_id").since(1),
                    int32("leader_id"),
                    int32("leader_epoch"),
                ]),
            ]),
            array("leader_endpoints").since(1).of(&[string("name"), string("host"), uint16("port")]),
        ]),
        response: message(0..=1).flexible(1).of(&[
            int16("error_code"),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int32("leader_id"),
                    int32("leader_epoch"),
                ]),
            ]),
            array("node_endpoints").since(1).tag(0).of(&[int32("node_id"), string("host"), uint16("port")]),
        ]),
    },
    Api {
        key: 54,
        name: "EndQuorumEpoch",
        request: message(0..=1).flexible(1).of(&[
            string("cluster_id").nullable(),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int32("leader_id"),
                    int32("leader_epoch"),
                    int32s("preferred_successors").until(0),
                    array("preferred_candidates").since(1).of(&[int32("candidate_id"), uuid("candidate_directory_id")]),
                ]),
            ]),
            array("leader_endpoints").since(1).of(&[string("name"), string("host"), uint16("port")]),
        ]),
        response: message(0..=1).flexible(1).of(&[
            int16("error_code"),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int32("leader_id"),
                    int32("leader_epoch"),
                ]),
            ]),
            array("node_endpoints").since(1).tag(0).of(&[int32("node_id"), string("host"), uint16("port")]),
        ]),
    },
    Api {
        key: 55,
        name: "DescribeQuorum",
        request: message(0..=2)
            .flexible(0)
            .of(&[array("topics").of(&[string("topic_name"), array("partitions").of(&[int32("partition_index")])])]),
        response: message(0..=2).flexible(0).of(&[
            int16("error_code"),
            string("error_message").since(2).nullable(),
            array("topics").of(&[
                string("topic_name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    string("error_message").since(2).nullable(),
                    int32("leader_id"),
                    int32("leader_epoch"),
                    int64("high_watermark"),
                    array("current_voters").of(&[
                        int32("replica_id"),
                        uuid("replica_directory_id").since(2),
                        int64("log_end_offset"),
                        int64("last_fetch_timestamp").since(1),
                        int64("last_caught_up_timestamp").since(1),
                    ]),
                    array("observers").of(&[
                        int32("replica_id"),
                        uuid("replica_directory_id").since(2),
                        int64("log_end_offset"),
                        int64("last_fetch_timestamp").since(1),
                        int64("last_caught_up_timestamp").since(1),
                    ]),
                ]),
            ]),
            array("nodes")
                .since(2)
                .of(&[int32("node_id"), array("listeners").of(&[string("name"), string("host"), uint16("port")])]),
        ]),
    },
    Api {
        key: 56,
        name: "AlterPartition",
        request: message(2..=3).flexible(0).of(&[
            int32("broker_id"),
            int64("broker_epoch"),
            array("topics").of(&[
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int32("leader_epoch"),
                    int32s("new_isr").until(2),
                    array("new_isr_with_epochs").since(3).of(&[int32("broker_id"), int64("broker_epoch")]),
                    int8("leader_recovery_state"),
                    int32("partition_epoch"),
                ]),
            ]),
        ]),
        response: message(2..=3).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            array("topics").of(&[
                uuid("topic_id"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int32("leader_id"),
                    int32("leader_epoch"),
                    int32s("isr"),
                    int8("leader_recovery_state"),
                    int32("partition_epoch"),
                ]),
            ]),
        ]),
    },
    Api {
        key: 58,
        name: "Envelope",
        request: message(0..=0).flexible(0).of(&[
            bytes("request_data"),
            bytes("request_principal").nullable(),
            bytes("client_host_address"),
        ]),
        response: message(0..=0).flexible(0).of(&[bytes("response_data").nullable(), int16("error_code")]),
    },
    Api {
        key: 59,
        name: "FetchSnapshot",
        request: message(0..=1).flexible(0).of(&[
            string("cluster_id").nullable().tag(0),
            int32("replica_id"),
            int32("max_bytes"),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition"),
                    int32("current_leader_epoch"),
                    object("snapshot_id").of(&[int64("end_offset"), int32("epoch")]),
                    int64("position"),
                    uuid("replica_directory_id").since(1).tag(0),
                ]),
            ]),
        ]),
        response: message(0..=1).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("index"),
                    int16("error_code"),
                    object("snapshot_id").of(&[int64("end_offset"), int32("epoch")]),
                    object("current_leader").tag(0).of(&[int32("leader_id"), int32("leader_epoch")]),
                    int64("size"),
                    int64("position"),
                    bytes("unaligned_records"),
                ]),
            ]),
            array("node_endpoints").since(1).tag(0).of(&[int32("node_id"), string("host"), uint16("port")]),
        ]),
    },
    Api {
        key: 80,
        name: "AddRaftVoter",
        request: message(0..=0).flexible(0).of(&[
            string("cluster_id").nullable(),
            int32("timeout_ms"),
            int32("voter_id"),
            uuid("voter_directory_id"),
            array("listeners").of(&[string("name"), string("host"), uint16("port")]),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
        ]),
    },
    Api {
        key: 81,
        name: "RemoveRaftVoter",
        request: message(0..=0).flexible(0).of(&[
            string("cluster_id").nullable(),
            int32("voter_id"),
            uuid("voter_directory_id"),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
        ]),
    },
    Api {
        key: 82,
        name: "UpdateRaftVoter",
        request: message(0..=0).flexible(0).of(&[
            string("cluster_id").nullable(),
            int32("current_leader_epoch"),
            int32("voter_id"),
            uuid("voter_directory_id"),
            array("listeners").of(&[string("name"), string("host"), uint16("port")]),
            object("k_raft_version_feature").of(&[int16("min_supported_version"), int16("max_supported_version")]),
        ]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            object("current_leader").tag(0).of(&[
                int32("leader_id"),
                int32("leader_epoch"),
                string("host"),
                int32("port"),
            ]),
        ]),
    },
];
