//! The configuration of one broker, typed. A field has the name of its setting with `_` for `.`.
//!
//! Settings that Jackdaw does not use have no field; their values are kept and described all the same.

use std::path::PathBuf;

use super::listener::Listener;
use super::load::Loaded;
use super::quorum::{self, Voter};
use super::sources::ConfigSources;
use super::table;
use super::topic::TopicConfig;
use super::values::Values;

/// What this process is part of (`process.roles`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub broker: bool,
    pub controller: bool,
}

/// Every setting the broker acts on. Times are milliseconds, sizes bytes; "no limit" is the largest value of the type.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The values behind the fields, and those of all other settings.
    pub values: Values,

    // identity
    pub node_id: i32,
    pub broker_rack: Option<String>,
    pub process_roles: Roles,
    /// The id a fresh data folder gets, and an existing one must have (environment variable `CLUSTER_ID`).
    pub cluster_id: Option<String>,
    pub log_dirs: Vec<PathBuf>,
    /// Where the quorum keeps its files; none for the first of `log_dirs`.
    pub metadata_log_dir: Option<PathBuf>,

    // network
    /// The listeners for clients and brokers, in the order given; never those of `controller.listener.names`.
    pub listeners: Vec<Listener>,
    /// Those that are opened.
    pub controller_listeners: Vec<Listener>,
    pub inter_broker_listener_name: String,
    pub socket_request_max_bytes: usize,
    pub socket_listen_backlog_size: i32,
    /// None leaves the size to the system (-1).
    pub socket_send_buffer_bytes: Option<usize>,
    pub socket_receive_buffer_bytes: Option<usize>,
    /// Budget of all requests in flight together; none means unbounded by setting (-1).
    pub queued_max_request_bytes: Option<usize>,
    pub queued_max_requests: usize,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    pub max_connections_per_ip_overrides: Vec<(String, usize)>,
    pub max_connection_creation_rate: usize,
    /// None never closes an idle connection.
    pub connections_max_idle_ms: Option<u64>,
    pub request_timeout_ms: u64,

    // requests
    pub message_max_bytes: usize,
    pub fetch_max_bytes: usize,
    pub max_incremental_fetch_session_cache_slots: usize,
    pub max_request_partition_size_limit: usize,

    // topics
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,

    // logs
    pub num_recovery_threads_per_data_dir: usize,
    pub log_retention_check_interval_ms: u64,
    pub log_flush_scheduler_interval_ms: i64,
    pub log_flush_offset_checkpoint_interval_ms: u64,
    pub log_flush_start_offset_checkpoint_interval_ms: u64,
    pub replica_high_watermark_checkpoint_interval_ms: u64,
    /// Bound of all moves into one log directory.
    pub replica_alter_log_dirs_io_max_bytes_per_second: usize,
    /// Directories that get no new partition, as `log.dirs` writes them; `*` for all.
    pub cordoned_log_dirs: Vec<String>,
    pub log_cleaner_enable: bool,
    pub log_cleaner_threads: usize,
    pub log_cleaner_backoff_ms: u64,
    pub log_cleaner_dedupe_buffer_size: usize,
    pub log_cleaner_io_buffer_size: usize,
    pub log_cleaner_io_max_bytes_per_second: f64,
    pub log_cleaner_io_buffer_load_factor: f64,

    // replication
    /// None: automatic, see [`super::size_rule`].
    pub replica_fetch_max_bytes: Option<usize>,
    pub replica_fetch_response_max_bytes: usize,
    pub replica_fetch_min_bytes: usize,
    pub replica_fetch_wait_max_ms: u64,
    pub replica_fetch_backoff_ms: u64,
    pub replica_lag_time_max_ms: u64,
    pub num_replica_fetchers: usize,
    pub auto_leader_rebalance_enable: bool,
    pub leader_imbalance_check_interval_seconds: u64,

    // groups and offsets
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_max_size: usize,
    pub offset_metadata_max_bytes: usize,
    pub offsets_commit_timeout_ms: u64,
    pub offsets_load_buffer_size: usize,
    pub offsets_retention_check_interval_ms: u64,
    pub offsets_retention_minutes: i32,
    pub offsets_topic_compression_codec: i32,
    pub offsets_topic_num_partitions: i32,
    /// What was asked for; a topic made on its own gets no more replicas than there are live brokers.
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: u32,

    // transactions and producer ids
    pub transaction_max_timeout_ms: i32,
    pub transaction_state_log_num_partitions: i32,
    pub transaction_state_log_replication_factor: i16,
    pub transaction_state_log_min_isr: i32,
    pub transaction_state_log_segment_bytes: u32,
    pub transaction_abort_timed_out_transaction_cleanup_interval_ms: u64,
    pub transaction_remove_expired_transaction_cleanup_interval_ms: u64,
    pub transaction_partition_verification_enable: bool,
    pub transactional_id_expiration_ms: i64,
    pub producer_id_expiration_ms: i64,
    pub producer_id_expiration_check_interval_ms: u64,

    // quorum
    pub broker_heartbeat_interval_ms: u64,
    pub broker_session_timeout_ms: u64,
    pub controller_listener_names: Vec<String>,
    /// Who votes when the quorum is made.
    pub controller_quorum_voters: Vec<Voter>,
    pub controller_quorum_bootstrap_servers: Vec<String>,
    pub controller_quorum_election_timeout_ms: u64,

    /// What a topic without settings of its own gets.
    pub topic_defaults: TopicConfig,
}

impl Default for Config {
    /// A broker without a file: node 1, plaintext on 127.0.0.1:9092, data in `jackdaw-data`, a quorum of one.
    fn default() -> Self {
        match Self::load(&ConfigSources::default()) {
            Ok(loaded) => loaded.config,
            Err(errors) => unreachable!("the defaults are valid: {errors}"),
        }
    }
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(sources: &ConfigSources) -> Result<Loaded, super::ConfigErrors> {
        super::load::load(sources)
    }

    /// The value of any broker setting as text; none where it is unknown or null.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.effective(name)
    }

    /// Reads the fields; values were checked before.
    pub(super) fn from_values(values: Values, listeners: Vec<Listener>, controller_listeners: Vec<Listener>) -> Self {
        let v = &values;
        let ms = |name: &str| u64::try_from(v.long(name)).unwrap_or(0);
        let unless_negative = |name: &str| usize::try_from(v.long(name)).ok();
        let factor = |name: &str| i16::try_from(v.long(name)).unwrap_or(i16::MAX);
        let segment = |name: &str| u32::try_from(v.long(name)).unwrap_or(u32::MAX);
        Self {
            node_id: v.int("node.id"),
            broker_rack: v.text("broker.rack"),
            process_roles: roles(v),
            cluster_id: None,
            log_dirs: log_dirs(v),
            metadata_log_dir: v.text("metadata.log.dir").filter(|dir| !dir.is_empty()).map(PathBuf::from),
            listeners,
            controller_listeners,
            inter_broker_listener_name: v.text("inter.broker.listener.name").unwrap_or_default(),
            socket_request_max_bytes: v.size("socket.request.max.bytes"),
            socket_listen_backlog_size: v.int("socket.listen.backlog.size"),
            socket_send_buffer_bytes: unless_negative("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: unless_negative("socket.receive.buffer.bytes"),
            queued_max_request_bytes: unless_negative("queued.max.request.bytes"),
            queued_max_requests: v.size("queued.max.requests"),
            max_connections: v.size("max.connections"),
            max_connections_per_ip: v.size("max.connections.per.ip"),
            max_connections_per_ip_overrides: per_ip_overrides(v),
            max_connection_creation_rate: v.size("max.connection.creation.rate"),
            connections_max_idle_ms: u64::try_from(v.long("connections.max.idle.ms")).ok(),
            request_timeout_ms: ms("request.timeout.ms"),
            message_max_bytes: v.size("message.max.bytes"),
            fetch_max_bytes: v.size("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: v.size("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: v.size("max.request.partition.size.limit"),
            num_partitions: v.int("num.partitions"),
            default_replication_factor: factor("default.replication.factor"),
            auto_create_topics_enable: v.flag("auto.create.topics.enable"),
            delete_topic_enable: v.flag("delete.topic.enable"),
            num_recovery_threads_per_data_dir: v.size("num.recovery.threads.per.data.dir"),
            log_retention_check_interval_ms: ms("log.retention.check.interval.ms"),
            log_flush_scheduler_interval_ms: v.long("log.flush.scheduler.interval.ms"),
            log_flush_offset_checkpoint_interval_ms: ms("log.flush.offset.checkpoint.interval.ms"),
            log_flush_start_offset_checkpoint_interval_ms: ms("log.flush.start.offset.checkpoint.interval.ms"),
            replica_alter_log_dirs_io_max_bytes_per_second: v.size("replica.alter.log.dirs.io.max.bytes.per.second"),
            cordoned_log_dirs: v.list("cordoned.log.dirs"),
            replica_high_watermark_checkpoint_interval_ms: ms("replica.high.watermark.checkpoint.interval.ms"),
            log_cleaner_enable: v.flag("log.cleaner.enable"),
            log_cleaner_threads: v.size("log.cleaner.threads"),
            log_cleaner_backoff_ms: ms("log.cleaner.backoff.ms"),
            log_cleaner_dedupe_buffer_size: v.size("log.cleaner.dedupe.buffer.size"),
            log_cleaner_io_buffer_size: v.size("log.cleaner.io.buffer.size"),
            log_cleaner_io_buffer_load_factor: v.fraction("log.cleaner.io.buffer.load.factor"),
            log_cleaner_io_max_bytes_per_second: v.fraction("log.cleaner.io.max.bytes.per.second"),
            replica_fetch_max_bytes: v.given("replica.fetch.max.bytes").map(|_| v.size("replica.fetch.max.bytes")),
            replica_fetch_response_max_bytes: v.size("replica.fetch.response.max.bytes"),
            replica_fetch_min_bytes: v.size("replica.fetch.min.bytes"),
            replica_fetch_wait_max_ms: ms("replica.fetch.wait.max.ms"),
            replica_fetch_backoff_ms: ms("replica.fetch.backoff.ms"),
            replica_lag_time_max_ms: ms("replica.lag.time.max.ms"),
            num_replica_fetchers: v.size("num.replica.fetchers"),
            auto_leader_rebalance_enable: v.flag("auto.leader.rebalance.enable"),
            leader_imbalance_check_interval_seconds: ms("leader.imbalance.check.interval.seconds"),
            group_min_session_timeout_ms: v.int("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: v.int("group.max.session.timeout.ms"),
            group_initial_rebalance_delay_ms: v.int("group.initial.rebalance.delay.ms"),
            group_max_size: v.size("group.max.size"),
            offset_metadata_max_bytes: v.size("offset.metadata.max.bytes"),
            offsets_commit_timeout_ms: ms("offsets.commit.timeout.ms"),
            offsets_load_buffer_size: v.size("offsets.load.buffer.size"),
            offsets_retention_check_interval_ms: ms("offsets.retention.check.interval.ms"),
            offsets_retention_minutes: v.int("offsets.retention.minutes"),
            offsets_topic_compression_codec: v.int("offsets.topic.compression.codec"),
            offsets_topic_num_partitions: v.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: factor("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: segment("offsets.topic.segment.bytes"),
            transaction_max_timeout_ms: v.int("transaction.max.timeout.ms"),
            transaction_state_log_num_partitions: v.int("transaction.state.log.num.partitions"),
            transaction_state_log_replication_factor: factor("transaction.state.log.replication.factor"),
            transaction_state_log_min_isr: v.int("transaction.state.log.min.isr"),
            transaction_state_log_segment_bytes: segment("transaction.state.log.segment.bytes"),
            transaction_abort_timed_out_transaction_cleanup_interval_ms: ms(
                "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            ),
            transaction_remove_expired_transaction_cleanup_interval_ms: ms(
                "transaction.remove.expired.transaction.cleanup.interval.ms",
            ),
            transaction_partition_verification_enable: v.flag("transaction.partition.verification.enable"),
            transactional_id_expiration_ms: v.long("transactional.id.expiration.ms"),
            producer_id_expiration_ms: v.long("producer.id.expiration.ms"),
            producer_id_expiration_check_interval_ms: ms("producer.id.expiration.check.interval.ms"),
            broker_heartbeat_interval_ms: ms("broker.heartbeat.interval.ms"),
            broker_session_timeout_ms: ms("broker.session.timeout.ms"),
            controller_listener_names: v.list("controller.listener.names"),
            controller_quorum_voters: quorum::voters(v),
            controller_quorum_bootstrap_servers: v.list("controller.quorum.bootstrap.servers"),
            controller_quorum_election_timeout_ms: ms("controller.quorum.election.timeout.ms"),
            topic_defaults: TopicConfig::from_values(v),
            values,
        }
    }

    /// Where metrics are served, host and port; none means nowhere.
    pub fn metrics_listener(&self) -> Option<(String, u16)> {
        self.values.effective(table::METRICS_LISTENER).and_then(metrics_listener)
    }
}

pub(super) fn roles(v: &Values) -> Roles {
    let roles = v.list("process.roles");
    let has = |name| roles.iter().any(|role| role == name);
    Roles { broker: has("broker"), controller: has("controller") }
}

fn log_dirs(values: &Values) -> Vec<PathBuf> {
    let set = values.effective("log.dirs").is_some_and(|dirs| !dirs.is_empty());
    values.list(if set { "log.dirs" } else { "log.dir" }).into_iter().map(PathBuf::from).collect()
}

/// `HOST:PORT`, IPv6 addresses in brackets.
pub(super) fn metrics_listener(value: &str) -> Option<(String, u16)> {
    let (host, port) = value.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

fn per_ip_overrides(values: &Values) -> Vec<(String, usize)> {
    let entry = |entry: String| {
        let (host, limit) = entry.rsplit_once(':')?;
        Some((host.trim().to_owned(), limit.trim().parse().ok()?))
    };
    values.list("max.connections.per.ip.overrides").into_iter().filter_map(entry).collect()
}
