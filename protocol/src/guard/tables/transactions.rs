//! Shapes: producer ids and transactions.

use crate::guard::shape::{Api, array, bool, int16, int32, int32s, int64, int64s, message, string, strings};

pub(super) const APIS: &[Api] = &[
    Api {
        key: 22,
        name: "InitProducerId",
        request: message(0..=5).flexible(2).of(&[
            string("transactional_id").nullable(),
            int32("transaction_timeout_ms"),
            int64("producer_id").since(3),
            int16("producer_epoch").since(3),
        ]),
        response: message(0..=6).flexible(2).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            int64("producer_id"),
            int16("producer_epoch"),
            int64("ongoing_txn_producer_id").since(6),
            int16("ongoing_txn_producer_epoch").since(6),
        ]),
    },
    Api {
        key: 24,
        name: "AddPartitionsToTxn",
        request: message(0..=5).flexible(3).of(&[
            array("transactions").since(4).of(&[
                string("transactional_id"),
                int64("producer_id"),
                int16("producer_epoch"),
                bool("verify_only"),
                array("topics").of(&[string("name"), int32s("partitions")]),
            ]),
            string("v3_and_below_transactional_id").until(3),
            int64("v3_and_below_producer_id").until(3),
            int16("v3_and_below_producer_epoch").until(3),
            array("v3_and_below_topics").until(3).of(&[string("name"), int32s("partitions")]),
        ]),
        response: message(0..=5).flexible(3).of(&[
            int32("throttle_time_ms"),
            int16("error_code").since(4),
            array("results_by_transaction").since(4).of(&[
                string("transactional_id"),
                array("topic_results").of(&[
                    string("name"),
                    array("results_by_partition").of(&[int32("partition_index"), int16("partition_error_code")]),
                ]),
            ]),
            array("results_by_topic_v3_and_below").until(3).of(&[
                string("name"),
                array("results_by_partition").of(&[int32("partition_index"), int16("partition_error_code")]),
            ]),
        ]),
    },
    Api {
        key: 25,
        name: "AddOffsetsToTxn",
        request: message(0..=4).flexible(3).of(&[
            string("transactional_id"),
            int64("producer_id"),
            int16("producer_epoch"),
            string("group_id"),
        ]),
        response: message(0..=4).flexible(3).of(&[int32("throttle_time_ms"), int16("error_code")]),
    },
    Api {
        key: 26,
        name: "EndTxn",
        request: message(0..=5).flexible(3).of(&[
            string("transactional_id"),
            int64("producer_id"),
            int16("producer_epoch"),
            bool("committed"),
        ]),
        response: message(0..=5).flexible(3).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            int64("producer_id").since(5),
            int16("producer_epoch").since(5),
        ]),
    },
    Api {
        key: 27,
        name: "WriteTxnMarkers",
        request: message(1..=1).flexible(1).of(&[array("markers").of(&[
            int64("producer_id"),
            int16("producer_epoch"),
            bool("transaction_result"),
            array("topics").of(&[string("name"), int32s("partition_indexes")]),
            int32("coordinator_epoch"),
        ])]),
        response: message(1..=1).flexible(1).of(&[array("markers").of(&[
            int64("producer_id"),
            array("topics")
                .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
        ])]),
    },
    Api {
        key: 28,
        name: "TxnOffsetCommit",
        request: message(0..=5).flexible(3).of(&[
            string("transactional_id"),
            string("group_id"),
            int64("producer_id"),
            int16("producer_epoch"),
            int32("generation_id").since(3),
            string("member_id").since(3),
            string("group_instance_id").since(3).nullable(),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int64("committed_offset"),
                    int32("committed_leader_epoch").since(2),
                    string("committed_metadata").nullable(),
                ]),
            ]),
        ]),
        response: message(0..=5).flexible(3).of(&[
            int32("throttle_time_ms"),
            array("topics")
                .of(&[string("name"), array("partitions").of(&[int32("partition_index"), int16("error_code")])]),
        ]),
    },
    Api {
        key: 61,
        name: "DescribeProducers",
        request: message(0..=0).flexible(0).of(&[array("topics").of(&[string("name"), int32s("partition_indexes")])]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    string("error_message").nullable(),
                    array("active_producers").of(&[
                        int64("producer_id"),
                        int32("producer_epoch"),
                        int32("last_sequence"),
                        int64("last_timestamp"),
                        int32("coordinator_epoch"),
                        int64("current_txn_start_offset"),
                    ]),
                ]),
            ]),
        ]),
    },
    Api {
        key: 65,
        name: "DescribeTransactions",
        request: message(0..=0).flexible(0).of(&[strings("transactional_ids")]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            array("transaction_states").of(&[
                int16("error_code"),
                string("transactional_id"),
                string("transaction_state"),
                int32("transaction_timeout_ms"),
                int64("transaction_start_time_ms"),
                int64("producer_id"),
                int16("producer_epoch"),
                array("topics").of(&[string("topic"), int32s("partitions")]),
            ]),
        ]),
    },
    Api {
        key: 66,
        name: "ListTransactions",
        request: message(0..=2).flexible(0).of(&[
            strings("state_filters"),
            int64s("producer_id_filters"),
            int64("duration_filter").since(1),
            string("transactional_id_pattern").since(2).nullable(),
        ]),
        response: message(0..=2).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            strings("unknown_state_filters"),
            array("transaction_states").of(&[
                string("transactional_id"),
                int64("producer_id"),
                string("transaction_state"),
            ]),
        ]),
    },
    Api {
        key: 67,
        name: "AllocateProducerIds",
        request: message(0..=0).flexible(0).of(&[int32("broker_id"), int64("broker_epoch")]),
        response: message(0..=0).flexible(0).of(&[
            int32("throttle_time_ms"),
            int16("error_code"),
            int64("producer_id_start"),
            int32("producer_id_len"),
        ]),
    },
];
