//! The few requests that nearly every test begins with, at versions that all topics are named in.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse,
    FindCoordinatorRequest, GroupId, IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, OffsetFetchRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::batch::{self, Batch, Record};
use crate::wire::Client;

/// The last versions with topic names.
pub const PRODUCE: i16 = 12;
pub const FETCH: i16 = 12;

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn create_request(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let configs = configs
        .iter()
        .map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))))
        .collect();
    let spec = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs);
    CreateTopicsRequest::default().with_topics(vec![spec]).with_timeout_ms(30_000)
}

pub fn create_topic(client: &mut Client, name: &str, partitions: i32) {
    create_topic_with(client, name, partitions, &[]);
}

pub fn create_topic_with(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let response = client.call(7, &create_request(name, partitions, configs));
    let made = &response.topics[0];
    assert_eq!(made.error_code, 0, "cannot create {name}: {:?}", made.error_message);
    for partition in 0..partitions.max(1) {
        // Apache Kafka, with which these tests are compared, answers before it leads the new partitions.
        while matches!(list_offset_answer(client, name, partition, -1).0, 3 | 6) {}
    }
}

/// Sets configs of a topic.
pub fn alter_topic(client: &mut Client, name: &str, configs: &[(&str, &str)]) {
    let set = |(key, value): &(&str, &str)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(0).with_value(Some(text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(set).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(1, &request).responses.remove(0);
    assert_eq!(answer.error_code, 0, "cannot alter {name}: {:?}", answer.error_message);
}

/// Moves the start of a partition.
pub fn delete_records(client: &mut Client, name: &str, partition: i32, before: i64) {
    let wanted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
    let wanted = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let answer = client.call(2, &request).topics.remove(0).partitions.remove(0);
    assert_eq!((answer.error_code, answer.low_watermark), (0, before), "cannot delete records of {name}-{partition}");
}

pub fn delete_topic(client: &mut Client, name: &str) {
    let wanted = DeleteTopicState::default().with_name(Some(topic(name)));
    let request = DeleteTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    assert_eq!(client.call(6, &request).responses[0].error_code, 0, "cannot delete {name}");
}

/// Waits until the coordinator of a group answers: the first question about any group makes the internal topic.
pub fn coordinator(client: &mut Client, group: &str) {
    let find = FindCoordinatorRequest::default().with_key(text(group));
    while client.call(3, &find).error_code == 15 {}
    let fetch = OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(None);
    while matches!(client.call(5, &fetch).error_code, 14 | 16) {}
}

pub fn topic_id(client: &mut Client, name: &str) -> kafka_protocol::messages::metadata_response::MetadataResponseTopic {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    client.call(12, &request).topics.remove(0)
}

pub fn produce_request(name: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let wanted = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![wanted])
}

/// Produces bytes as they are, with acks=all, and returns the partition's answer.
pub fn produce_bytes(client: &mut Client, name: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
    let mut response = client.call(PRODUCE, &produce_request(name, partition, -1, records));
    response.responses.remove(0).partition_responses.remove(0)
}

/// Produces with acks=all; returns the base offset.
pub fn produce(client: &mut Client, name: &str, partition: i32, batch: &Batch) -> i64 {
    let answer = produce_bytes(client, name, partition, batch.bytes());
    assert_eq!(answer.error_code, 0, "cannot produce to {name}-{partition}: {:?}", answer.error_message);
    answer.base_offset
}

pub fn fetch_partition(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default().with_partition(partition).with_fetch_offset(offset).with_partition_max_bytes(1 << 20)
}

/// Of one partition, outside of any session.
pub fn fetch_request(name: &str, partition: i32, offset: i64, max_wait_ms: i32, min_bytes: i32) -> FetchRequest {
    let wanted =
        FetchTopic::default().with_topic(topic(name)).with_partitions(vec![fetch_partition(partition, offset)]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(min_bytes)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![wanted])
}

/// The records of a fetch answer about one partition.
pub fn fetched(response: &FetchResponse) -> Bytes {
    response.responses.first().and_then(|topic| topic.partitions[0].records.clone()).unwrap_or_default()
}

/// What is there from an offset on, at most one answer's worth, without waiting.
pub fn fetch(client: &mut Client, name: &str, partition: i32, offset: i64) -> Vec<Record> {
    let response = client.call(FETCH, &fetch_request(name, partition, offset, 0, 0));
    assert_eq!(response.error_code, 0);
    assert_eq!(response.responses[0].partitions[0].error_code, 0, "cannot fetch {name}-{partition} from {offset}");
    batch::read(fetched(&response))
}

/// Everything in a partition.
pub fn read_all(client: &mut Client, name: &str, partition: i32) -> Vec<Record> {
    let (mut offset, end) = (list_offset(client, name, partition, -2), list_offset(client, name, partition, -1));
    let mut all = Vec::new();
    while offset < end {
        let records = fetch(client, name, partition, offset);
        let last = records.last().expect("records before the end of the log").offset;
        all.extend(records.into_iter().filter(|record| record.offset >= offset));
        offset = last + 1;
    }
    all
}

/// By time, or one of the special times: -1 latest, -2 earliest, -3 of the largest timestamp.
pub fn list_offset(client: &mut Client, name: &str, partition: i32, time: i64) -> i64 {
    let (error_code, offset) = list_offset_answer(client, name, partition, time);
    assert_eq!(error_code, 0, "cannot list offsets of {name}-{partition}");
    offset
}

/// The same for a question that may be refused: only that it is answered matters.
pub fn try_list_offset(client: &mut Client, name: &str, partition: i32, time: i64) {
    list_offset_answer(client, name, partition, time);
}

pub fn list_offsets_request(name: &str, partition: i32, time: i64) -> ListOffsetsRequest {
    let wanted = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(time);
    let wanted = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted])
}

pub(crate) fn list_offset_answer(client: &mut Client, name: &str, partition: i32, time: i64) -> (i16, i64) {
    let request = list_offsets_request(name, partition, time);
    // Apache Kafka 2.8 knows version 6, in which all but the largest timestamp can be asked for.
    let response = client.call(if time == -3 { 7 } else { 6 }, &request);
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset)
}

/// The id and epoch of a new idempotent producer.
pub fn producer_id(client: &mut Client) -> (i64, i16) {
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let mut response = client.call(4, &request);
    while response.error_code == 14 {
        // Apache Kafka fetches its first block of ids after it was asked.
        response = client.call(4, &request);
    }
    assert_eq!(response.error_code, 0);
    (response.producer_id.0, response.producer_epoch)
}
