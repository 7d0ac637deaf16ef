//! Transactions, producer ids and the share coordinator's state topic.

use super::{MAX_INT, MAX_SHORT, row};
use crate::config::definition::Importance::{High, Low, Medium};
use crate::config::definition::Type::{Boolean, Int, Short};
use crate::config::definition::Update::{ClusterWide, ReadOnly};
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row("add.partitions.to.txn.retry.backoff.max.ms", Int, Some("100"), Check::Range(0, MAX_INT), High, ReadOnly, ""),
    row("add.partitions.to.txn.retry.backoff.ms", Int, Some("20"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row("producer.id.expiration.check.interval.ms", Int, Some("600000"), Check::Range(1, MAX_INT), Low, ReadOnly, "")
        .internal(),
    row("producer.id.expiration.ms", Int, Some("86400000"), Check::Range(1, MAX_INT), Low, ClusterWide, ""),
    row("share.coordinator.append.linger.ms", Int, Some("-1"), Check::Range(-1, MAX_INT), Medium, ReadOnly, ""),
    row(
        "share.coordinator.cached.buffer.max.bytes",
        Int,
        Some("1048588"),
        Check::Range(524288, MAX_INT),
        Medium,
        ClusterWide,
        "",
    ),
    row(
        "share.coordinator.cold.partition.snapshot.interval.ms",
        Int,
        Some("300000"),
        Check::Range(1, MAX_INT),
        Low,
        ReadOnly,
        "",
    )
    .internal(),
    row("share.coordinator.load.buffer.size", Int, Some("5242880"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row(
        "share.coordinator.snapshot.update.records.per.snapshot",
        Int,
        Some("500"),
        Check::Range(0, 500),
        Medium,
        ReadOnly,
        "",
    ),
    row("share.coordinator.state.topic.compression.codec", Int, Some("0"), Check::Any, High, ReadOnly, ""),
    row("share.coordinator.state.topic.min.isr", Short, Some("2"), Check::Range(1, MAX_SHORT), High, ReadOnly, ""),
    row("share.coordinator.state.topic.num.partitions", Int, Some("50"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row(
        "share.coordinator.state.topic.prune.interval.ms",
        Int,
        Some("300000"),
        Check::Range(1, MAX_INT),
        Low,
        ReadOnly,
        "",
    )
    .internal(),
    row(
        "share.coordinator.state.topic.replication.factor",
        Short,
        Some("3"),
        Check::Range(1, MAX_SHORT),
        High,
        ReadOnly,
        "",
    ),
    row(
        "share.coordinator.state.topic.segment.bytes",
        Int,
        Some("104857600"),
        Check::Range(1, MAX_INT),
        High,
        ReadOnly,
        "",
    ),
    row("share.coordinator.threads", Int, Some("1"), Check::Range(1, MAX_INT), Medium, ReadOnly, ""),
    row("share.coordinator.write.timeout.ms", Int, Some("5000"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row("share.fetch.purgatory.purge.interval.requests", Int, Some("1000"), Check::Any, Medium, ReadOnly, ""),
    row(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        Int,
        Some("10000"),
        Check::Range(1, MAX_INT),
        Low,
        ReadOnly,
        "",
    ),
    row("transaction.max.timeout.ms", Int, Some("900000"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row("transaction.partition.verification.enable", Boolean, Some("true"), Check::Any, Low, ClusterWide, ""),
    row(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        Int,
        Some("3600000"),
        Check::Range(1, MAX_INT),
        Low,
        ReadOnly,
        "",
    ),
    row("transaction.state.log.load.buffer.size", Int, Some("5242880"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row("transaction.state.log.min.isr", Int, Some("2"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row("transaction.state.log.num.partitions", Int, Some("50"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row("transaction.state.log.replication.factor", Short, Some("3"), Check::Range(1, MAX_SHORT), High, ReadOnly, ""),
    row("transaction.state.log.segment.bytes", Int, Some("104857600"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
    row("transaction.two.phase.commit.enable", Boolean, Some("false"), Check::Any, Low, ReadOnly, ""),
    row("transactional.id.expiration.ms", Int, Some("604800000"), Check::Range(1, MAX_INT), High, ReadOnly, ""),
];
