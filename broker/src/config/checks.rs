//! What settings demand of each other, and what a broker must refuse because it could not keep its word.

use super::broker::metrics_listener;
use super::definition;
use super::error::ConfigError;
use super::size_rule;
use super::table;
use super::values::Values;

/// Checks that hold at start and for changes at run time alike.
pub(super) fn check(values: &Values, errors: &mut Vec<ConfigError>) {
    check_order(values, errors);
    check_retention(values, errors);
    check_memory(values, errors);
    check_cordoned(values, errors);
    check_connections(values, errors);
    check_metrics(values, errors);
    errors.extend(size_rule::check_broker(values).err().map(|error| placed(values, error)));
}

/// Where the first setting, a number, must not exceed the second.
const ORDERED: &[(&str, &str)] = &[
    ("broker.heartbeat.interval.ms", "broker.session.timeout.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"),
    ("group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.min.assignment.interval.ms", "group.consumer.assignment.interval.ms"),
    ("group.consumer.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"),
    ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    ("group.share.heartbeat.interval.ms", "group.share.session.timeout.ms"),
    ("group.share.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms"),
    ("group.share.min.heartbeat.interval.ms", "group.share.heartbeat.interval.ms"),
    ("group.share.min.session.timeout.ms", "group.share.session.timeout.ms"),
    ("group.share.session.timeout.ms", "group.share.max.session.timeout.ms"),
    ("group.share.min.assignment.interval.ms", "group.share.assignment.interval.ms"),
    ("group.share.assignment.interval.ms", "group.share.max.assignment.interval.ms"),
    ("group.share.min.delivery.count.limit", "group.share.delivery.count.limit"),
    ("group.share.delivery.count.limit", "group.share.max.delivery.count.limit"),
    ("group.share.min.partition.max.record.locks", "group.share.partition.max.record.locks"),
    ("group.share.partition.max.record.locks", "group.share.max.partition.max.record.locks"),
    ("group.share.min.record.lock.duration.ms", "group.share.record.lock.duration.ms"),
    ("group.share.record.lock.duration.ms", "group.share.max.record.lock.duration.ms"),
    ("group.streams.heartbeat.interval.ms", "group.streams.max.heartbeat.interval.ms"),
    ("group.streams.min.heartbeat.interval.ms", "group.streams.heartbeat.interval.ms"),
    ("group.streams.min.session.timeout.ms", "group.streams.session.timeout.ms"),
    ("group.streams.session.timeout.ms", "group.streams.max.session.timeout.ms"),
    ("group.streams.min.assignment.interval.ms", "group.streams.assignment.interval.ms"),
    ("group.streams.assignment.interval.ms", "group.streams.max.assignment.interval.ms"),
    ("group.streams.num.standby.replicas", "group.streams.max.standby.replicas"),
    ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("replica.fetch.wait.max.ms", "replica.lag.time.max.ms"),
    ("replica.fetch.wait.max.ms", "replica.socket.timeout.ms"),
];

fn check_order(values: &Values, errors: &mut Vec<ConfigError>) {
    for (less, more) in ORDERED {
        let (low, high) = (values.long(less), values.long(more));
        // Two defaults agree; a value that is no number was reported already and reads as the default.
        if low > high && (values.given(less).is_some() || values.given(more).is_some()) {
            let key = if values.given(less).is_some() { less } else { more };
            let message =
                format!("{less}={low} must not be more than {more}={high}: lower the one or raise the other.");
            errors.push(fault(values, key, message));
        }
    }
}

fn check_metrics(values: &Values, errors: &mut Vec<ConfigError>) {
    let key = table::METRICS_LISTENER;
    if let Some(value) = values.given(key).filter(|value| !value.is_empty() && metrics_listener(value).is_none()) {
        errors.push(fault(
            values,
            key,
            format!("{key}={value} must be HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9404, or empty."),
        ));
    }
}

fn check_retention(values: &Values, errors: &mut Vec<ConfigError>) {
    for key in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
        if let Some(value) = values.given(key).and_then(|v| v.parse::<i64>().ok()).filter(|v| *v == 0 || *v < -1) {
            errors.push(fault(
                values,
                key,
                format!("{key}={value} must be at least 1, or -1 to keep records for ever."),
            ));
        }
    }
    for (key, least) in [("log.roll.ms", 1), ("log.roll.jitter.ms", 0), ("log.retention.bytes", -1)] {
        if let Some(value) = values.given(key).and_then(|v| v.parse::<i64>().ok()).filter(|v| *v < least) {
            errors.push(fault(values, key, format!("{key}={value} must be at least {least}.")));
        }
    }
}

fn check_memory(values: &Values, errors: &mut Vec<ConfigError>) {
    let (buffer, threads) = (values.long("log.cleaner.dedupe.buffer.size"), values.long("log.cleaner.threads").max(1));
    if buffer / threads <= 1 << 20 {
        let key = "log.cleaner.dedupe.buffer.size";
        let message = format!("{key}={buffer} must be more than 1048576 for each of log.cleaner.threads={threads}.");
        errors.push(fault(values, key, message));
    }
    let (queued, request) = (values.long("queued.max.request.bytes"), values.long("socket.request.max.bytes"));
    if queued > 0 && queued < request {
        let key = "queued.max.request.bytes";
        let message = format!(
            "{key}={queued} is less than socket.request.max.bytes={request}, so that the largest request never fits: \
             set it to at least {request}, or to -1 for no bound."
        );
        errors.push(fault(values, key, message));
    }
}

fn check_connections(values: &Values, errors: &mut Vec<ConfigError>) {
    let overrides = definition::list(values.effective("max.connections.per.ip.overrides").unwrap_or_default());
    for entry in &overrides {
        let parsed =
            entry.rsplit_once(':').is_some_and(|(host, limit)| !host.is_empty() && limit.trim().parse::<u32>().is_ok());
        if !parsed {
            let key = "max.connections.per.ip.overrides";
            let message = format!("Cannot read {entry:?} in {key}: an entry is address:limit, such as 10.0.0.1:100.");
            errors.push(fault(values, key, message));
        }
    }
    if values.long("max.connections.per.ip") == 0 && overrides.is_empty() {
        let key = "max.connections.per.ip";
        let message =
            format!("{key}=0 would let nobody in: raise it, or name addresses in max.connections.per.ip.overrides.");
        errors.push(fault(values, key, message));
    }
}

/// Checks of what cannot change at run time: folders, and promises that Jackdaw cannot keep yet.
pub(super) fn check_start(values: &Values, errors: &mut Vec<ConfigError>, warnings: &mut Vec<String>) {
    check_dirs(values, errors);
    check_promises(values, errors);
    check_substitutions(values, errors);
    warn_of_classes(values, warnings);
    let (message, request) = (values.long("message.max.bytes"), values.long("socket.request.max.bytes"));
    if message > request {
        warnings.push(format!(
            "message.max.bytes={message} is more than socket.request.max.bytes={request}: no larger request is read, so no \
             batch above that size can arrive."
        ));
    }
}

fn check_dirs(values: &Values, errors: &mut Vec<ConfigError>) {
    let key = if values.effective("log.dirs").is_some_and(|dirs| !dirs.is_empty()) { "log.dirs" } else { "log.dir" };
    if values.list(key).iter().all(String::is_empty) {
        errors.push(fault(values, key, format!("{key} names no folder for the data: set it.")));
    }
}

fn check_cordoned(values: &Values, errors: &mut Vec<ConfigError>) {
    const CORDONED: &str = "cordoned.log.dirs";
    let key = if values.effective("log.dirs").is_some_and(|dirs| !dirs.is_empty()) { "log.dirs" } else { "log.dir" };
    let (dirs, cordoned) = (values.list(key), values.list(CORDONED));
    if cordoned == ["*"] {
        return;
    }
    let missing: Vec<&str> = cordoned.iter().filter(|dir| !dirs.contains(dir)).map(String::as_str).collect();
    if !missing.is_empty() {
        let message = format!(
            "All entries in {CORDONED} must be present in {key}, or it must be *. Missing entries: {}; {key}={}",
            missing.join(","),
            dirs.join(",")
        );
        errors.push(fault(values, CORDONED, message));
    }
}

/// Settings whose silent neglect would leave a hole.
fn check_promises(values: &Values, errors: &mut Vec<ConfigError>) {
    if let Some(class) = values.given("authorizer.class.name").filter(|class| !class.is_empty()) {
        let message = format!(
            "authorizer.class.name={class} asks for authorization, which this version of Jackdaw does not have: every client \
             may do everything. Remove it if that is acceptable."
        );
        errors.push(fault(values, "authorizer.class.name", message));
    }
    if values.flag("remote.log.storage.system.enable") {
        let message = "remote.log.storage.system.enable=true asks for tiered storage, which this version of Jackdaw does not \
                       have: set it to false; all data stays on local disks.";
        errors.push(fault(values, "remote.log.storage.system.enable", message.to_owned()));
    }
}

/// `${provider:path:key}` is replaced by Kafka's configuration providers, which are Java classes.
fn check_substitutions(values: &Values, errors: &mut Vec<ConfigError>) {
    let providers = values.list("config.providers");
    for (key, given) in &values.fixed {
        if let Some(provider) = providers.iter().find(|name| given.value.contains(&format!("${{{name}:"))) {
            let message = format!(
                "{key} takes its value from configuration provider {provider}, which Jackdaw cannot run: write the value itself, or \
                 give it by environment variable."
            );
            errors.push(fault(values, key, message));
        }
    }
}

fn warn_of_classes(values: &Values, warnings: &mut Vec<String>) {
    for key in [
        "alter.config.policy.class.name",
        "client.quota.callback.class",
        "create.topic.policy.class.name",
        "kafka.metrics.reporters",
        "metric.reporters",
        "principal.builder.class",
        "replica.selector.class",
    ] {
        if let Some(class) = values.given(key).filter(|class| !class.is_empty() && values.fallback(key) != Some(*class))
        {
            warnings.push(format!("{key}={class} has no effect: Jackdaw loads no Java classes."));
        }
    }
}

fn fault(values: &Values, key: &str, message: String) -> ConfigError {
    placed(values, ConfigError::new(key, values.effective(key), message))
}

fn placed(values: &Values, error: ConfigError) -> ConfigError {
    match values.fixed.get(&error.key) {
        Some(given) => error.at(&given.origin),
        None => error,
    }
}
