//! A transactional producer of Kafka's, request by request.

use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::Client;
use jackdaw_test_support::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use jackdaw_test_support::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, TransactionalId,
};
use jackdaw_test_support::requests::{self, produce_request, text, topic};

use crate::both::Side;

/// Answers that mean: not yet.
const NOT_YET: [i16; 4] = [14, 15, 16, 51];

pub(crate) struct Transactional {
    name: String,
    client: Client,
    pub(crate) id: i64,
    epoch: i16,
    sequence: i32,
}

impl Transactional {
    pub(crate) fn new(mut client: Client, name: &str) -> Transactional {
        let find = FindCoordinatorRequest::default().with_key(text(name)).with_key_type(1);
        while NOT_YET.contains(&client.call(3, &find).error_code) {}
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(name))))
            .with_transaction_timeout_ms(600_000);
        let answer = loop {
            let answer = client.call(4, &init);
            if !NOT_YET.contains(&answer.error_code) {
                break answer;
            }
        };
        assert_eq!(answer.error_code, 0);
        Transactional {
            name: name.to_owned(),
            client,
            id: answer.producer_id.0,
            epoch: answer.producer_epoch,
            sequence: 0,
        }
    }

    /// One batch, within the transaction that is open or begins with it.
    pub(crate) fn produce(&mut self, name: &str, codec: Codec, timestamp: i64, records: &[(&str, Option<&str>)]) {
        let wanted = AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![0]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&self.name)))
            .with_v3_and_below_producer_id(self.id.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![wanted]);
        loop {
            let answer = self.client.call(3, &add);
            let error = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
            if error == 0 {
                break;
            }
            assert!(NOT_YET.contains(&error), "AddPartitionsToTxn: error {error}");
        }
        let mut batch = BatchBuilder::new(codec).producer(self.id, self.epoch, self.sequence).transactional(true);
        for (key, value) in records {
            batch.push(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
        }
        let request =
            produce_request(name, 0, -1, batch.build()).with_transactional_id(Some(TransactionalId(text(&self.name))));
        let answer = self.client.call(11, &request);
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        self.sequence += i32::try_from(records.len()).unwrap();
    }

    /// Commits or aborts, and waits until the marker is in the log.
    pub(crate) fn end(&mut self, side: &mut Side, commit: bool) {
        let end = requests::list_offset(&mut side.client, &side.topic, 0, -1);
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(&self.name)))
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        loop {
            let error = self.client.call(3, &request).error_code;
            if error == 0 {
                break;
            }
            assert!(NOT_YET.contains(&error), "EndTxn: error {error}");
        }
        side.until("the marker of a transaction", |side| {
            let now = requests::list_offset(&mut side.client, &side.topic, 0, -1);
            if now > end { Ok(()) } else { Err(format!("the log ends at {now}")) }
        });
    }
}
