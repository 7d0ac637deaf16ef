//! Produce by hand: the one request whose encoding and decoding is a share of what it costs to serve.
//!
//! A request of the ordinary shape is checked and read in one pass, without an allocation of its own; one that is not
//! (tagged fields, a null where there could be none, damage) is left to [`crate::guard`] and the codec, which also find
//! the words for what is wrong with it. The tests hold both to the same results.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::messages::StrBytes;

const FLEXIBLE_SINCE: i16 = 9;
const LOG_START_OFFSET_SINCE: i16 = 5;
const ERROR_MESSAGE_SINCE: i16 = 8;
const TOPIC_ID_SINCE: i16 = 13;
/// From it on, an answer can say who leads instead (KIP-951).
pub const LEADER_HINTS_SINCE: i16 = 10;
/// More topics or partitions than this are not usual: what is kept for each is larger than its least encoding.
const ORDINARY_ENTRIES: usize = 4096;

/// The topic of the next `partitions` entries of a request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Empty from version 13 on.
    pub name: StrBytes,
    /// Nil up to version 12.
    pub id: Uuid,
    /// How many of the entries are its.
    pub partitions: usize,
}

/// One partition's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Partition index.
    pub index: i32,
    /// The records, not looked at.
    pub records: Option<Bytes>,
}

/// A Produce request. Kept from request to request so that its lists need no allocation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Of a transactional producer.
    pub transactional_id: Option<StrBytes>,
    /// 0, 1 or -1, unless the client is wrong.
    pub acks: i16,
    /// How long the client waits for replicas.
    pub timeout_ms: i32,
    /// In the order of the request.
    pub topics: Vec<Topic>,
    /// Of all topics, in the order of the request.
    pub data: Vec<Data>,
}

impl Request {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.transactional_id = None;
        self.acks = 0;
        self.timeout_ms = 0;
        self.topics.clear();
        self.data.clear();
    }

    /// Reads a body of version 3 to 13, if it has the ordinary shape; on `false` the content is undefined.
    pub fn read(&mut self, version: i16, body: &Bytes) -> bool {
        self.clear();
        let mut reader = Reader { body, at: 0, flexible: version >= FLEXIBLE_SINCE };
        self.read_fields(version, &mut reader).is_some() && reader.at == body.len()
    }

    fn read_fields(&mut self, version: i16, reader: &mut Reader<'_>) -> Option<()> {
        if !reader.null_string()? {
            return None; // transactions are not what has to be fast
        }
        self.acks = i16::from_be_bytes(reader.take()?);
        self.timeout_ms = i32::from_be_bytes(reader.take()?);
        for _ in 0..reader.count()? {
            let (name, id) = if version >= TOPIC_ID_SINCE {
                (StrBytes::new(), Uuid::from_bytes(reader.take()?))
            } else {
                (reader.string()?, Uuid::nil())
            };
            let partitions = reader.count()?;
            for _ in 0..partitions {
                let index = i32::from_be_bytes(reader.take()?);
                let length = reader.count()?;
                let records = Some(reader.slice(length)?);
                reader.no_tags()?;
                if self.data.len() == ORDINARY_ENTRIES {
                    return None;
                }
                self.data.push(Data { index, records });
            }
            reader.no_tags()?;
            if self.topics.len() == ORDINARY_ENTRIES {
                return None;
            }
            self.topics.push(Topic { name, id, partitions });
        }
        reader.no_tags()
    }
}

/// Takes fields off a body; `None` where the body is not as usual.
struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
    flexible: bool,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.body.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*taken)
    }

    fn slice(&mut self, length: usize) -> Option<Bytes> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.body.len())?;
        let slice = self.body.slice(self.at..end);
        self.at = end;
        Some(slice)
    }

    /// Length or count; null is not usual. A count is not trusted: each element read takes a byte at least, and nothing
    /// is reserved for those to come.
    fn count(&mut self) -> Option<usize> {
        if self.flexible {
            return self.varint()?.checked_sub(1);
        }
        usize::try_from(i32::from_be_bytes(self.take()?)).ok()
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let [byte] = self.take()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None // 256 MiB or more: not usual
    }

    fn string(&mut self) -> Option<StrBytes> {
        let length =
            if self.flexible { self.varint()?.checked_sub(1)? } else { usize::from(u16::from_be_bytes(self.take()?)) };
        if length > i16::MAX as usize {
            return None;
        }
        StrBytes::from_utf8(self.slice(length)?).ok()
    }

    /// Whether a nullable string is null.
    fn null_string(&mut self) -> Option<bool> {
        if self.flexible { Some(self.take()? == [0]) } else { Some(self.take()? == [0xff, 0xff]) }
    }

    fn no_tags(&mut self) -> Option<()> {
        if self.flexible && self.take()? != [0] { None } else { Some(()) }
    }
}

/// What became of one partition's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Partition index.
    pub index: i32,
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// Offset of the first record, -1 on an error.
    pub base_offset: i64,
    /// -1 unless the topic uses LogAppendTime.
    pub log_append_time_ms: i64,
    /// First offset of the log, -1 on an error.
    pub log_start_offset: i64,
    /// Words for the error.
    pub error_message: Option<StrBytes>,
    /// The records that are to blame, by their place in the batch, each with words of its own (KIP-467).
    pub record_errors: Vec<(i32, StrBytes)>,
}

/// Who leads partitions that are not led where they were sent to; left out below [`LEADER_HINTS_SINCE`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leaders {
    /// By the place of the outcome, ascending: leader and leader epoch.
    pub of: Vec<(usize, i32, i32)>,
    /// Where these leaders are reached.
    pub nodes: Vec<Node>,
}

/// A broker as a client reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: i32,
    /// Its host.
    pub host: StrBytes,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

/// Appends the body of an answer of version 3 to 13. `outcomes` are those of the topics, in their order.
pub fn write_answer(version: i16, topics: &[Topic], outcomes: &[Outcome], leaders: &Leaders, out: &mut BytesMut) {
    let flexible = version >= FLEXIBLE_SINCE;
    let mut outcomes = outcomes.iter().enumerate();
    let mut of = leaders.of.iter().filter(|_| version >= LEADER_HINTS_SINCE).peekable();
    put_count(topics.len(), flexible, out);
    for topic in topics {
        if version >= TOPIC_ID_SINCE {
            out.put_slice(topic.id.as_bytes());
        } else {
            put_string(&topic.name, flexible, out);
        }
        put_count(topic.partitions, flexible, out);
        for (place, outcome) in outcomes.by_ref().take(topic.partitions) {
            put_outcome(version, outcome, out);
            match of.next_if(|(of, ..)| *of == place) {
                Some((_, leader, epoch)) => put_leader(*leader, *epoch, out),
                None => put_no_tags(flexible, out),
            }
        }
        put_no_tags(flexible, out);
    }
    out.put_i32(0); // throttle time
    if version >= LEADER_HINTS_SINCE && !leaders.nodes.is_empty() {
        put_nodes(&leaders.nodes, out);
    } else {
        put_no_tags(flexible, out);
    }
}

/// One tagged field, number 0: an id, an epoch, and no tagged field.
fn put_leader(leader: i32, epoch: i32, out: &mut BytesMut) {
    out.put_slice(&[1, 0, 9]);
    out.put_i32(leader);
    out.put_i32(epoch);
    out.put_u8(0);
}

/// One tagged field, number 0: a list.
fn put_nodes(nodes: &[Node], out: &mut BytesMut) {
    let mut list = BytesMut::new();
    put_count(nodes.len(), true, &mut list);
    for node in nodes {
        list.put_i32(node.id);
        put_string(&node.host, true, &mut list);
        list.put_i32(node.port);
        match &node.rack {
            Some(rack) => put_string(rack, true, &mut list),
            None => list.put_u8(0),
        }
        put_no_tags(true, &mut list);
    }
    out.put_slice(&[1, 0]);
    put_varint(list.len(), out);
    out.put_slice(&list);
}

fn put_outcome(version: i16, outcome: &Outcome, out: &mut BytesMut) {
    let flexible = version >= FLEXIBLE_SINCE;
    let mut fixed = [0; 30];
    fixed[..4].copy_from_slice(&outcome.index.to_be_bytes());
    fixed[4..6].copy_from_slice(&outcome.error_code.to_be_bytes());
    fixed[6..14].copy_from_slice(&outcome.base_offset.to_be_bytes());
    fixed[14..22].copy_from_slice(&outcome.log_append_time_ms.to_be_bytes());
    fixed[22..].copy_from_slice(&outcome.log_start_offset.to_be_bytes());
    out.put_slice(if version >= LOG_START_OFFSET_SINCE { &fixed } else { &fixed[..22] });
    if version >= ERROR_MESSAGE_SINCE {
        put_count(outcome.record_errors.len(), flexible, out);
        for (index, message) in &outcome.record_errors {
            out.put_i32(*index);
            put_string(message, flexible, out);
            put_no_tags(flexible, out);
        }
        match &outcome.error_message {
            Some(message) => put_string(message, flexible, out),
            None if flexible => out.put_u8(0),
            None => out.put_i16(-1),
        }
    }
}

fn put_count(count: usize, flexible: bool, out: &mut BytesMut) {
    if flexible {
        put_varint(count + 1, out);
    } else {
        out.put_i32(count as i32);
    }
}

fn put_string(text: &str, flexible: bool, out: &mut BytesMut) {
    if flexible {
        put_varint(text.len() + 1, out);
    } else {
        out.put_i16(text.len() as i16);
    }
    out.put_slice(text.as_bytes());
}

fn put_varint(mut value: usize, out: &mut BytesMut) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_no_tags(flexible: bool, out: &mut BytesMut) {
    if flexible {
        out.put_u8(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::guard;
    use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::messages::produce_response::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
    };
    use crate::messages::{
        BrokerId, Decodable, Encodable, ProduceRequest, ProduceResponse, TopicName, TransactionalId,
    };

    type Topics = Vec<(String, u128, Vec<(i32, Option<Vec<u8>>)>)>;

    fn topics() -> impl Strategy<Value = Topics> {
        let partitions = vec((any::<i32>(), option::weighted(0.9, vec(any::<u8>(), 0..200))), 0..4);
        vec(("[a-z.é]{0,140}", any::<u128>(), partitions), 0..4)
    }

    fn encode(version: i16, acks: i16, transactional_id: Option<&str>, topics: &Topics) -> Bytes {
        let topics = topics.iter().map(|(name, id, partitions)| {
            let data = partitions.iter().map(|(index, records)| {
                PartitionProduceData::default().with_index(*index).with_records(records.clone().map(Bytes::from))
            });
            let topic = TopicProduceData::default().with_partition_data(data.collect());
            if version >= TOPIC_ID_SINCE {
                topic.with_topic_id(Uuid::from_u128(*id))
            } else {
                topic.with_name(TopicName(StrBytes::from_string(name.clone())))
            }
        });
        let id = transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned())));
        let mut out = BytesMut::new();
        ProduceRequest::default()
            .with_transactional_id(id)
            .with_acks(acks)
            .with_timeout_ms(7)
            .with_topic_data(topics.collect())
            .encode(&mut out, version)
            .unwrap();
        out.freeze()
    }

    /// What guard and codec make of a body, in our form.
    fn by_codec(version: i16, body: &Bytes) -> Option<Request> {
        guard::check_request(0, version, body).ok()?;
        let decoded = ProduceRequest::decode(&mut body.clone(), version).ok()?;
        let mut request = Request { acks: decoded.acks, timeout_ms: decoded.timeout_ms, ..Request::default() };
        request.transactional_id = decoded.transactional_id.map(|id| id.0);
        for topic in decoded.topic_data {
            let partitions = topic.partition_data.len();
            request.topics.push(Topic { name: topic.name.0, id: topic.topic_id, partitions });
            let data = topic.partition_data.into_iter();
            request.data.extend(data.map(|data| Data { index: data.index, records: data.records }));
        }
        Some(request)
    }

    fn leaders(nodes: Vec<(i32, String, i32, Option<String>)>) -> Leaders {
        let node = |(id, host, port, rack): (i32, String, i32, Option<String>)| Node {
            id,
            host: StrBytes::from_string(host),
            port,
            rack: rack.map(StrBytes::from_string),
        };
        Leaders { of: Vec::new(), nodes: nodes.into_iter().map(node).collect() }
    }

    #[test]
    fn a_flood_of_empty_topics_is_left_to_the_guard() {
        let topics: Topics = (0..ORDINARY_ENTRIES + 1).map(|_| (String::new(), 0, Vec::new())).collect();
        let mut request = Request::default();
        assert!(!request.read(9, &encode(9, 1, None, &topics)));
        assert!(request.topics.capacity() <= 2 * ORDINARY_ENTRIES);
        assert!(request.read(9, &encode(9, 1, None, &topics[1..].to_vec())));
    }

    proptest! {
        #[test]
        fn an_ordinary_request_is_read_as_the_codec_reads_it(
            version in 3i16..=13, acks in -1i16..=1, topics in topics(), id in option::weighted(0.1, "[a-z]{1,5}"),
        ) {
            let body = encode(version, acks, id.as_deref(), &topics);
            let mut request = Request::default();
            let is_read = request.read(version, &body);
            let ordinary = id.is_none() && topics.iter().flat_map(|t| &t.2).all(|(_, records)| records.is_some());
            prop_assert_eq!(is_read, ordinary);
            if is_read {
                prop_assert_eq!(Some(request), by_codec(version, &body));
            }
        }

        #[test]
        fn whatever_is_read_of_damaged_bytes_guard_and_codec_read_too(
            version in 3i16..=13, topics in topics(), at in any::<prop::sample::Index>(), byte: u8, cut: bool,
        ) {
            let mut bytes = encode(version, 1, None, &topics).to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let body = Bytes::from(bytes);
            let mut request = Request::default();
            if request.read(version, &body) {
                prop_assert_eq!(Some(request), by_codec(version, &body));
            }
        }

        #[test]
        fn an_answer_is_written_as_the_codec_writes_it(
            version in 3i16..=13,
            topics in vec(("[a-z]{0,140}", any::<u128>(), vec((any::<i32>(), any::<i16>(), any::<i64>(), option::of("[a-z]{0,300}")), 0..4)), 0..4),
            faults in vec((any::<i32>(), "[a-z]{0,200}"), 0..3),
            nodes in vec((any::<i32>(), "[a-z]{0,200}", any::<i32>(), option::of("[a-z]{0,200}")), 0..3),
        ) {
            let (mut ours, mut outcomes, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
            let mut leaders = leaders(nodes);
            for (name, id, partitions) in topics {
                let by_id = version >= TOPIC_ID_SINCE;
                let name = StrBytes::from_string(if by_id { String::new() } else { name });
                let id = if by_id { Uuid::from_u128(id) } else { Uuid::nil() };
                ours.push(Topic { name: name.clone(), id, partitions: partitions.len() });
                let mut answers = Vec::new();
                for (index, error_code, offset, message) in partitions {
                    let error_message = message.map(StrBytes::from_string).filter(|_| version >= ERROR_MESSAGE_SINCE);
                    let with_words = version >= ERROR_MESSAGE_SINCE;
                    let faults = faults.iter().map(|(index, text)| (*index, StrBytes::from_string(text.clone())));
                    let record_errors: Vec<_> = faults.filter(|_| with_words).collect();
                    let their_errors = record_errors.iter().map(|(index, text)| {
                        BatchIndexAndErrorMessage::default()
                            .with_batch_index(*index)
                            .with_batch_index_error_message(Some(text.clone()))
                    });
                    let log_start_offset = if version >= LOG_START_OFFSET_SINCE { offset ^ 1 } else { -1 };
                    let mut leader = LeaderIdAndEpoch::default();
                    if error_code % 2 == 0 {
                        leaders.of.push((outcomes.len(), index & 7, index));
                        if version >= LEADER_HINTS_SINCE {
                            leader = leader.with_leader_id(BrokerId(index & 7)).with_leader_epoch(index);
                        }
                    }
                    answers.push(
                        PartitionProduceResponse::default()
                            .with_current_leader(leader)
                            .with_index(index)
                            .with_error_code(error_code)
                            .with_base_offset(offset)
                            .with_log_append_time_ms(!offset)
                            .with_log_start_offset(log_start_offset)
                            .with_record_errors(their_errors.collect())
                            .with_error_message(error_message.clone()),
                    );
                    outcomes.push(Outcome {
                        index, error_code, base_offset: offset, log_append_time_ms: !offset, log_start_offset, error_message,
                        record_errors,
                    });
                }
                theirs.push(
                    TopicProduceResponse::default()
                        .with_name(TopicName(name))
                        .with_topic_id(id)
                        .with_partition_responses(answers),
                );
            }
            let (mut out, mut expected) = (BytesMut::new(), BytesMut::new());
            write_answer(version, &ours, &outcomes, &leaders, &mut out);
            let nodes = leaders.nodes.iter().filter(|_| version >= LEADER_HINTS_SINCE).map(|node| {
                let endpoint = NodeEndpoint::default().with_node_id(BrokerId(node.id)).with_host(node.host.clone());
                endpoint.with_port(node.port).with_rack(node.rack.clone())
            });
            let theirs = ProduceResponse::default().with_responses(theirs).with_node_endpoints(nodes.collect());
            theirs.encode(&mut expected, version).unwrap();
            prop_assert_eq!(out, expected);
        }
    }
}
