//! The metadata quorum and the controller.

use super::{MAX_INT, MAX_LONG, row};
use crate::config::definition::Importance::{High, Low, Medium};
use crate::config::definition::Type::{Boolean, Int, List, Long, String};
use crate::config::definition::Update::ReadOnly;
use crate::config::definition::{Check, Def};

pub(super) const DEFS: &[Def] = &[
    row("broker.heartbeat.interval.ms", Int, Some("2000"), Check::Any, Medium, ReadOnly, ""),
    row("broker.session.timeout.ms", Int, Some("9000"), Check::Any, Medium, ReadOnly, ""),
    row("controller.listener.names", List, Some("CONTROLLER"), Check::Any, High, ReadOnly, ""),
    row(
        "controller.performance.always.log.threshold.ms",
        Long,
        Some("2000"),
        Check::Range(0, MAX_LONG),
        Medium,
        ReadOnly,
        "",
    )
    .internal(),
    row(
        "controller.performance.sample.period.ms",
        Long,
        Some("60000"),
        Check::Range(100, MAX_LONG),
        Medium,
        ReadOnly,
        "",
    )
    .internal(),
    row("controller.quorum.append.linger.ms", Int, Some("25"), Check::Range(0, MAX_INT), Medium, ReadOnly, ""),
    row("controller.quorum.auto.join.enable", Boolean, Some("false"), Check::Any, Low, ReadOnly, ""),
    row("controller.quorum.bootstrap.servers", List, Some(""), Check::Any, High, ReadOnly, ""),
    row("controller.quorum.election.backoff.max.ms", Int, Some("1000"), Check::Range(0, MAX_INT), High, ReadOnly, ""),
    row("controller.quorum.election.timeout.ms", Int, Some("1000"), Check::Range(0, MAX_INT), High, ReadOnly, ""),
    row("controller.quorum.fetch.max.bytes", Int, Some("1048576"), Check::Range(1, MAX_INT), Low, ReadOnly, ""),
    row(
        "controller.quorum.fetch.snapshot.max.bytes",
        Int,
        Some("1048576"),
        Check::Range(1, MAX_INT),
        Low,
        ReadOnly,
        "",
    ),
    row("controller.quorum.fetch.timeout.ms", Int, Some("2000"), Check::Range(0, MAX_INT), High, ReadOnly, ""),
    row("controller.quorum.request.timeout.ms", Int, Some("2000"), Check::Range(0, MAX_INT), Medium, ReadOnly, ""),
    row("controller.quorum.retry.backoff.ms", Int, Some("20"), Check::Range(0, MAX_INT), Low, ReadOnly, ""),
    row("controller.quorum.voters", List, Some(""), Check::Any, High, ReadOnly, ""),
    row("controller.quota.window.num", Int, Some("11"), Check::Range(1, MAX_INT), Low, ReadOnly, ""),
    row("controller.quota.window.size.seconds", Int, Some("1"), Check::Range(1, MAX_INT), Low, ReadOnly, ""),
    row("controller.socket.timeout.ms", Int, Some("30000"), Check::Any, Medium, ReadOnly, ""),
    row("initial.broker.registration.timeout.ms", Int, Some("60000"), Check::Any, Medium, ReadOnly, ""),
    row("internal.metadata.delete.delay.millis", Long, Some("60000"), Check::Any, Low, ReadOnly, "").internal(),
    row("internal.metadata.log.segment.bytes", Int, None, Check::Any, Low, ReadOnly, "").internal(),
    row("internal.metadata.max.batch.size.in.bytes", Int, Some("8388608"), Check::Any, Low, ReadOnly, "").internal(),
    row("metadata.log.dir", String, None, Check::Any, High, ReadOnly, ""),
    row(
        "metadata.log.max.record.bytes.between.snapshots",
        Long,
        Some("20971520"),
        Check::Range(1, MAX_LONG),
        High,
        ReadOnly,
        "",
    ),
    row("metadata.log.max.snapshot.interval.ms", Long, Some("3600000"), Check::Range(0, MAX_LONG), High, ReadOnly, ""),
    row("metadata.log.segment.bytes", Int, Some("1073741824"), Check::Range(8388608, MAX_INT), High, ReadOnly, ""),
    row("metadata.log.segment.ms", Long, Some("604800000"), Check::Any, High, ReadOnly, ""),
    row("metadata.max.idle.interval.ms", Int, Some("500"), Check::Range(0, MAX_INT), Low, ReadOnly, ""),
    row("metadata.max.retention.bytes", Long, Some("104857600"), Check::Any, High, ReadOnly, ""),
    row("metadata.max.retention.ms", Long, Some("604800000"), Check::Any, High, ReadOnly, ""),
    row(
        "process.roles",
        List,
        Some("broker,controller"),
        Check::ListOf { words: &["broker", "controller"], may_be_empty: false },
        High,
        ReadOnly,
        "",
    ),
    row(
        "server.max.startup.time.ms",
        Long,
        Some("9223372036854775807"),
        Check::Range(0, MAX_LONG),
        Medium,
        ReadOnly,
        "",
    )
    .internal(),
    row("unstable.api.versions.enable", Boolean, Some("false"), Check::Any, High, ReadOnly, "").internal(),
    row("unstable.feature.versions.enable", Boolean, Some("false"), Check::Any, High, ReadOnly, "").internal(),
];
