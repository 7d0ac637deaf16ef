//! The control connection: blocking, one request at a time; makes and removes the topic of a run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jackdaw_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use jackdaw_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use jackdaw_protocol::messages::metadata_request::MetadataRequestTopic;
use jackdaw_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, Decodable, DeleteTopicsRequest, Encodable, HeaderVersion,
    ListOffsetsRequest, MetadataRequest, Request, RequestHeader, ResponseError, ResponseHeader, StrBytes, TopicName,
    request_versions,
};
use uuid::Uuid;

use super::BenchError;
use super::args::Target;

pub(super) const CLIENT_ID: &str = "jackdaw-bench";
/// No answer of a control request is larger; a server that claims more is not a broker.
const MAX_ANSWER: usize = 64 << 20;
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Connects with Nagle's algorithm off.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream, BenchError> {
    let fail = |source| BenchError::Connect { address: address.to_string(), source };
    let stream = TcpStream::connect(address).map_err(fail)?;
    if stream.local_addr()? == stream.peer_addr()? {
        // Nobody listens, and the kernel chose the very port that was asked for: the socket talks to itself.
        return Err(fail(std::io::ErrorKind::ConnectionRefused.into()));
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One whole request with its length prefix, as it goes on the wire.
pub(super) fn encode<R: Request>(request: &R, version: i16, correlation_id: i32) -> Result<BytesMut, BenchError> {
    let malformed = |why: String| BenchError::Malformed { what: "own request", why };
    let mut out = BytesMut::new();
    out.extend_from_slice(&[0; 4]);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)))
        .encode(&mut out, R::header_version(version))
        .and_then(|()| request.encode(&mut out, version))
        .map_err(|error| malformed(error.to_string()))?;
    let length = i32::try_from(out.len() - 4).map_err(|error| malformed(error.to_string()))?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out)
}

/// Reads one frame, without its length prefix, into `buffer`.
pub(super) fn read_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), BenchError> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let length = i32::from_be_bytes(prefix);
    let size = usize::try_from(length).ok().filter(|size| (4..=MAX_ANSWER).contains(size));
    let size = size.ok_or_else(|| BenchError::Malformed { what: "answer", why: format!("its length is {length}") })?;
    buffer.resize(size, 0);
    stream.read_exact(buffer)?;
    Ok(())
}

/// A connection on which one request is in flight at a time.
pub(super) struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, BenchError> {
        Ok(Self { stream: connect(address)?, correlation_id: 0 })
    }

    pub(super) fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, BenchError> {
        self.correlation_id += 1;
        let frame = encode(request, version, self.correlation_id)?;
        self.stream.write_all(&frame)?;
        let mut answer = Vec::new();
        read_frame(&mut self.stream, &mut answer)?;
        let malformed = |error: &dyn ToString| BenchError::Malformed { what: "answer", why: error.to_string() };
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(|error| malformed(&error))?;
        if header.correlation_id != self.correlation_id {
            return Err(BenchError::OutOfOrder { expected: self.correlation_id, got: header.correlation_id });
        }
        R::Response::decode(&mut answer, version).map_err(|error| malformed(&error))
    }

    /// What the broker serves, by API key.
    pub(super) fn api_versions(&mut self) -> Result<Versions, BenchError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = self.call(&request, 3)?;
        refuse("ApiVersions", answer.error_code, None)?;
        let served = answer.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect();
        Ok(Versions(served))
    }
}

/// The versions of each API that the broker serves.
pub(super) struct Versions(Vec<(i16, RangeInclusive<i16>)>);

impl Versions {
    /// The newest version of `R` that both sides know; `wanted` instead if given and served.
    pub(super) fn choose<R: Request>(&self, wanted: Option<i16>) -> Result<i16, BenchError> {
        let ours = request_versions::<R>();
        let theirs = self.0.iter().find(|(key, _)| *key == R::KEY).map(|(_, range)| range.clone());
        let theirs = theirs
            .ok_or_else(|| BenchError::Arguments(format!("the broker does not serve the API with key {}", R::KEY)))?;
        let version = wanted.unwrap_or_else(|| *ours.end().min(theirs.end()));
        if ours.contains(&version) && theirs.contains(&version) {
            return Ok(version);
        }
        Err(BenchError::Arguments(format!(
            "version {version} of the API with key {}: the broker serves {}-{}, this tool {}-{}",
            R::KEY,
            theirs.start(),
            theirs.end(),
            ours.start(),
            ours.end()
        )))
    }
}

/// The topic of a run; [`Topic::remove`] it at the end.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) partitions: i32,
}

impl Topic {
    /// A topic that exists nowhere, for servers that do not look.
    pub(super) fn imagined(target: &Target) -> Self {
        Self { name: target.topic_name("bare"), id: Uuid::nil(), partitions: target.partitions }
    }

    /// Creates the topic, unless it is there already, and waits until each of its partitions has a leader.
    pub(super) fn create(client: &mut Client, target: &Target, kind: &str) -> Result<Self, BenchError> {
        let name = target.topic_name(kind);
        if target.existing {
            return Self::wait_for_leaders(client, name, target.partitions);
        }
        let mut configs = target.configs.clone();
        let refused = target.write_caching && {
            configs.push(("write.caching".to_owned(), "true".to_owned()));
            Self::try_create(client, &name, target.partitions, &configs)? == ResponseError::InvalidConfig.code()
        };
        if refused {
            configs.pop();
        }
        if refused || !target.write_caching {
            let code = Self::try_create(client, &name, target.partitions, &configs)?;
            refuse("CreateTopics", code, Some(&name))?;
        }
        Self::wait_for_leaders(client, name, target.partitions)
    }

    fn try_create(
        client: &mut Client,
        name: &str,
        partitions: i32,
        configs: &[(String, String)],
    ) -> Result<i16, BenchError> {
        let config = |(key, value): &(String, String)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(key.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        };
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(20_000);
        let answer = client.call(&request, 5)?;
        let result = answer.topics.first();
        let code = result.map_or(ResponseError::UnknownServerError.code(), |topic| topic.error_code);
        if code != 0 && code != ResponseError::InvalidConfig.code() {
            let message = result.and_then(|topic| topic.error_message.as_ref()).map(ToString::to_string);
            refuse("CreateTopics", code, message.as_deref())?;
        }
        Ok(code)
    }

    fn wait_for_leaders(client: &mut Client, name: String, partitions: i32) -> Result<Self, BenchError> {
        let version = client.api_versions()?.choose::<MetadataRequest>(None)?.min(12);
        let asked = MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone()))));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = client.call(&request, version)?;
            let ready = answer.topics.first().filter(|topic| {
                let led = topic.partitions.iter().filter(|p| p.error_code == 0 && p.leader_id.0 >= 0).count();
                topic.error_code == 0 && i32::try_from(led) == Ok(partitions)
            });
            if let Some(topic) = ready
                && Self::is_served(client, &name, partitions)?
            {
                return Ok(Self { id: topic.topic_id, name, partitions });
            }
            if Instant::now() >= deadline {
                return Err(BenchError::NotReady { topic: name, seconds: READY_WITHIN.as_secs() });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the leader knows that it is one: Kafka names it in Metadata a little earlier.
    fn is_served(client: &mut Client, name: &str, partitions: i32) -> Result<bool, BenchError> {
        let latest = |partition| ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_partitions((0..partitions).map(latest).collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = client.call(&request, 5)?;
        Ok(answer.topics.iter().flat_map(|topic| &topic.partitions).all(|partition| partition.error_code == 0))
    }

    pub(super) fn remove(&self, client: &mut Client) -> Result<(), BenchError> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(StrBytes::from_string(self.name.clone()))])
            .with_timeout_ms(20_000);
        let answer = client.call(&request, 4)?;
        let code = answer.responses.first().map_or(0, |topic| topic.error_code);
        refuse("DeleteTopics", code, Some(&self.name))
    }
}

/// An error code other than 0 as an error.
pub(super) fn refuse(what: &'static str, code: i16, detail: Option<&str>) -> Result<(), BenchError> {
    if code == 0 {
        return Ok(());
    }
    let name = ResponseError::try_from_code(code).map_or_else(String::new, |error| format!(" ({error:?})"));
    let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    Err(BenchError::Refused { what, code, detail: format!("{name}{detail}") })
}
