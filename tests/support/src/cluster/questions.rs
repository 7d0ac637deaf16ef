//! What tests ask a cluster, and have it do, whoever of its nodes answers.

use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, MetadataResponse, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::{ANSWER, Cluster};
use crate::batch::{self, Batch, Record};
use crate::requests;
use crate::wire::Client;

impl Cluster {
    /// Sends a request to one node; none if it is not there or does not answer.
    pub fn ask<R: Request>(&self, id: i32, version: i16, request: &R) -> Option<R::Response> {
        Client::try_connect(self.address(id))?.try_call(version, request, ANSWER)
    }

    /// The first answer of any node.
    pub fn ask_any<R: Request>(&self, version: i16, request: &R) -> Option<R::Response> {
        self.ids().into_iter().find_map(|id| self.ask(id, version, request))
    }

    /// What the first node that answers knows; of one topic, or of all.
    pub fn metadata(&self, topic: Option<&str>) -> Option<MetadataResponse> {
        self.ids().into_iter().find_map(|id| self.metadata_of(id, topic))
    }

    /// What one node knows.
    pub fn metadata_of(&self, id: i32, topic: Option<&str>) -> Option<MetadataResponse> {
        let wanted = topic.map(|name| vec![MetadataRequestTopic::default().with_name(Some(requests::topic(name)))]);
        let request = MetadataRequest::default().with_topics(wanted).with_allow_auto_topic_creation(false);
        self.ask(id, 12, &request)
    }

    /// A partition, as the first node that answers sees it.
    pub fn partition(&self, topic: &str, index: i32) -> Option<MetadataResponsePartition> {
        partition_of(self.metadata(Some(topic))?.topics.pop()?, index)
    }

    /// The leader of a partition, once there is one that runs and leads.
    pub fn leader(&self, topic: &str, index: i32) -> i32 {
        self.wait_leader(topic, index, |_| true)
    }

    /// The leader of a partition, once it is one that `wanted` takes and it answers as the leader.
    pub fn wait_leader(&self, topic: &str, index: i32, wanted: impl Fn(i32) -> bool) -> i32 {
        self.wait_for(&format!("a leader of {topic}-{index}"), |cluster| {
            let leader = cluster.partition(topic, index)?.leader_id.0;
            let is_asked_for = leader > 0 && wanted(leader) && cluster.high_watermark(leader, topic, index).is_some();
            is_asked_for.then_some(leader)
        })
    }

    /// Waits until exactly these replicas are in sync.
    pub fn wait_isr(&self, topic: &str, index: i32, wanted: &[i32]) {
        self.wait_for(&format!("in-sync replicas {wanted:?} of {topic}-{index}"), |cluster| {
            let mut isr: Vec<i32> = cluster.partition(topic, index)?.isr_nodes.iter().map(|node| node.0).collect();
            isr.sort_unstable();
            (isr == wanted).then_some(())
        });
    }

    /// The end of a partition for consumers, as this node gives it: none unless it leads.
    pub fn high_watermark(&self, id: i32, topic: &str, index: i32) -> Option<i64> {
        let mut client = Client::try_connect(self.address(id))?;
        let answer = client.try_call(6, &requests::list_offsets_request(topic, index, -1), ANSWER)?;
        let found = answer.topics.first()?.partitions.first()?;
        (found.error_code == 0).then_some(found.offset)
    }

    /// The active controller: the leader of the metadata quorum.
    pub fn controller(&self) -> i32 {
        self.wait_for("an active controller", |cluster| {
            use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
            let topic = TopicData::default()
                .with_topic_name(TopicName(StrBytes::from_static_str("__cluster_metadata")))
                .with_partitions(vec![PartitionData::default()]);
            let answer = cluster.ask_any(1, &DescribeQuorumRequest::default().with_topics(vec![topic]))?;
            let partition = answer.topics.first()?.partitions.first()?;
            (answer.error_code == 0 && partition.error_code == 0 && partition.leader_id.0 > 0)
                .then_some(partition.leader_id.0)
        })
    }

    /// Makes a topic through whichever node answers, and waits until every partition has a leader and all its replicas in sync.
    pub fn create_topic(&self, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) {
        let mut request: CreateTopicsRequest = requests::create_request(name, partitions, &[]);
        request.topics[0].replication_factor = replicas;
        request.topics[0].configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default().with_name(requests::text(key)).with_value(Some(requests::text(value)))
            })
            .collect();
        self.wait_for(&format!("topic {name} to be made"), |cluster| {
            let made = cluster.ask_any(7, &request)?.topics.pop()?;
            // Made already: the answer to an earlier try was lost. 7, 38, 41: no controller now, too few brokers yet.
            assert!(matches!(made.error_code, 0 | 7 | 36 | 38 | 41), "cannot create {name}: {:?}", made.error_message);
            matches!(made.error_code, 0 | 36).then_some(())
        });
        for index in 0..partitions {
            self.leader(name, index);
            self.wait_for(&format!("{name}-{index} to have all replicas in sync"), |cluster| {
                let isr = cluster.partition(name, index)?.isr_nodes.len();
                (isr == usize::try_from(replicas).unwrap()).then_some(())
            });
        }
    }

    /// Produces to the partition's leader of now with these acks; none if nobody answered.
    pub fn try_produce(&self, topic: &str, index: i32, acks: i16, batch: &Batch) -> Option<PartitionProduceResponse> {
        let leader = self.partition(topic, index)?.leader_id.0;
        if leader < 1 {
            return None;
        }
        let request: ProduceRequest = requests::produce_request(topic, index, acks, batch.bytes());
        let mut answer = self.ask(leader, requests::PRODUCE, &request)?;
        answer.responses.pop()?.partition_responses.pop()
    }

    /// Produces with acks=all until it is acknowledged, and returns the base offset. Without a producer id in the batch a
    /// lost answer may mean that it is there twice.
    pub fn produce(&self, topic: &str, index: i32, batch: &Batch) -> i64 {
        self.wait_for(&format!("an acknowledgement of {topic}-{index}"), |cluster| {
            let answer = cluster.try_produce(topic, index, -1, batch)?;
            // 46: it is there, by an earlier try whose offset the broker forgot.
            matches!(answer.error_code, 0 | 46).then_some(answer.base_offset)
        })
    }

    /// Everything in a partition below the high watermark of its leader.
    pub fn read_all(&self, topic: &str, index: i32) -> Vec<Record> {
        let leader = self.leader(topic, index);
        let end = self
            .wait_for(&format!("the end of {topic}-{index}"), |cluster| cluster.high_watermark(leader, topic, index));
        let mut client = self.client(leader);
        let (mut all, mut offset) = (Vec::new(), 0);
        while offset < end {
            let response = client.call(requests::FETCH, &requests::fetch_request(topic, index, offset, 500, 1));
            let code = response.responses.first().map(|topic| topic.partitions[0].error_code);
            assert_eq!(code, Some(0), "cannot read {topic}-{index} from {offset} at node {leader}");
            let records = batch::read(requests::fetched(&response));
            let Some(last) = records.last().map(|record| record.offset) else { continue };
            all.extend(records.into_iter().filter(|record| record.offset >= offset));
            offset = last + 1;
        }
        all
    }
}

fn partition_of(topic: MetadataResponseTopic, index: i32) -> Option<MetadataResponsePartition> {
    topic.partitions.into_iter().find(|partition| partition.partition_index == index)
}
