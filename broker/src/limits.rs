//! Every bound that no configuration key sets, in one place, with the relations between them.

use std::time::Duration;

/// Requests of one connection that may be in work or wait for their turn to be answered; beyond it the connection is not
/// read, so a client that pipelines without reading answers is held back by TCP.
pub const IN_FLIGHT_PER_CONNECTION: usize = 256;

/// Size of a connection's read buffer while it has something to read; it grows only for a larger frame, as that arrives.
pub const READ_BUFFER_BYTES: usize = 128 * 1024;

/// Read buffers that are kept for connections that come to have something to read. Large enough for a few
/// with frames of `message.max.bytes`: fresh memory costs more than the bytes that are read into it.
pub const POOLED_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Answers waiting to be written to one connection; beyond it no further request of that connection is worked on.
pub const OUTGOING_BYTES: usize = 4 * 1024 * 1024;

/// Slices given to one vectored write (Linux takes at most 1024).
pub const SLICES_PER_WRITE: usize = 64;

/// Produce requests of one connection that are appended together.
pub const PRODUCE_RUN_REQUESTS: usize = 256;

/// Bytes of records of one connection that are appended together.
pub const PRODUCE_RUN_BYTES: usize = 1024 * 1024;

/// What the records of one batch may decompress to where the broker has to look into them; `max.message.bytes` where
/// that is more. Batches of more than [`UNPACKED_AT_ONCE_BYTES`] are unpacked one at a time.
pub const UNPACKED_BATCH_BYTES: usize = 128 * 1024 * 1024;

/// What the records of a batch may decompress to beside others that are just unpacked.
pub const UNPACKED_AT_ONCE_BYTES: usize = 4 * 1024 * 1024;

/// From so many bytes on a batch is looked into where that holds up no other connection of the worker thread.
pub const HEAVY_BATCH_BYTES: usize = 16 * 1024;

/// Records of a refused batch that are named in its answer.
pub const RECORD_FAULTS: usize = 100;

/// How often it is looked whether a segment lacks the sketch of its keys.
pub const SKETCH_CHECK: Duration = Duration::from_secs(2);

/// What is read of sealed segments, at most, to make sketches of their keys.
pub const SKETCH_BYTES_PER_SECOND: usize = 16 * 1024 * 1024;

/// What one question for the facts of logs may read of segments that have no sketch yet.
pub const SKETCH_BYTES_AT_ONCE: u64 = 32 * 1024 * 1024;

/// A frame that has begun must be complete after this time: a slow or stalled peer may not hold memory for ever.
pub const FRAME_DEADLINE: Duration = Duration::from_secs(30);

/// A follower that waits for records, and was not told of the newest high watermark, is told after this time without
/// records, and each time that the pause, doubled, is over: records that come sooner bring it along.
pub const HIGH_WATERMARK_PAUSE: Duration = Duration::from_millis(10);

/// A peer that takes no byte of its answers for this long is disconnected.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// What was sent to another node and not received there for this long ends the connection. TCP alone waits twice as long after
/// each try: after a network that was cut for ten seconds it would be silent for ten more.
pub const PEER_UNHEARD: Duration = Duration::from_secs(3);

/// How long another node's connection may be silent before its other end is asked whether it is still there.
pub const PEER_PROBE: Duration = Duration::from_secs(1);

/// How often idle and stalled connections are looked for.
pub const CONNECTION_CHECK: Duration = Duration::from_secs(1);

/// Files and maps that nobody used from one such round to the next are closed.
pub const IDLE_FILES: Duration = Duration::from_secs(60);

/// A start that takes longer tells so often how far it has come.
pub const RECOVERY_REPORT: Duration = Duration::from_secs(3);

const _: () = assert!(PRODUCE_RUN_REQUESTS <= IN_FLIGHT_PER_CONNECTION);
const _: () = assert!(8 * READ_BUFFER_BYTES <= POOLED_BUFFER_BYTES);

/// Threads that may read cold records from the disk at once.
pub const COLD_READERS: usize = 8;

/// Budget for requests larger than a read buffer, over all connections, where `queued.max.request.bytes` is not set.
pub const REQUEST_BUDGET_BYTES: usize = 512 * 1024 * 1024;

/// The cleaner rests at least so long when there was nothing to compact, whatever `log.cleaner.backoff.ms` says.
pub const CLEANER_REST_MIN: Duration = Duration::from_millis(10);

/// How long a stopping broker waits for its connections to end.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// How long a stopping broker tries to hand its partitions over.
pub const HANDOVER_DEADLINE: Duration = Duration::from_secs(5);

/// How long it still answers afterwards, so that clients and brokers learn from it where its partitions are.
pub const HANDOVER_GRACE: Duration = Duration::from_millis(100);

/// A leader that a follower in sync still followed so long ago is taken for the leader, if the controller is silent. Followers ask at
/// least every `replica.fetch.wait.max.ms`.
pub const FOLLOWERS_ASK_WITHIN: Duration = Duration::from_secs(2);

/// How long the controller waits for a broker's listener to take a connection.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(2);

/// An append that takes longer than this has waited for the disk. Well above the time slice of a busy machine, for
/// which a thread that was merely preempted is away.
pub const SLOW_APPEND: Duration = Duration::from_millis(20);

/// How many appends to a directory are expected to wait after one that did.
pub const SLOW_DIRECTORY_APPENDS: u32 = 256;

/// Threads that sync the logs of one directory, each one log at a time. The file system commits what they ask for at
/// the same time together, so several syncs at once take little longer than one.
pub const SYNC_THREADS: usize = 8;

/// From so many logs on that wait for a sync, one sync of the whole file system serves them all.
pub const SYNC_TOGETHER: usize = 32;

const _: () = assert!(SYNC_THREADS < SYNC_TOGETHER);

/// Bytes of a partition on its way to another log directory that are copied before it is the next one's turn; with less
/// than this left, the copy takes over.
pub const MOVE_CHUNK_BYTES: usize = 1024 * 1024;

/// Copying is not paused for less: the waits add up to more than they are.
pub const MOVE_PAUSE_MIN: Duration = Duration::from_millis(1);

/// What a moved partition leaves behind is deleted after this time: who is reading it has the bytes by then.
pub const MOVED_LOG_READABLE: Duration = Duration::from_secs(1);

/// Partitions that do not exist, for which a log directory was named all the same.
pub const REMEMBERED_LOG_DIRS: usize = 10_000;

/// The first look for segments past their retention, where `log.retention.check.interval.ms` is longer.
pub const FIRST_RETENTION_CHECK: Duration = Duration::from_secs(30);

/// Lines that one round of retention writes about records that groups lose. The rest is in the metrics.
pub const RETENTION_LINES: usize = 100;

/// Series of one metric that names groups and partitions.
pub const METRIC_SERIES: usize = 10_000;

/// Topics, the first by name, that metrics tell of one by one.
pub const METRIC_TOPICS: usize = 1_000;

/// Connections to `metrics.listener` that are served at once.
pub const METRICS_CONNECTIONS: usize = 8;

/// How long one of them may take.
pub const METRICS_DEADLINE: Duration = Duration::from_secs(10);
