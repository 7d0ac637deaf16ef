#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use super::*;
use crate::config::SecurityProtocol;

fn sources(overrides: &[(&str, &str)]) -> ConfigSources {
    let overrides = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ConfigSources { overrides, ..ConfigSources::default() }
}

fn loaded(overrides: &[(&str, &str)]) -> Loaded {
    Config::load(&sources(overrides)).unwrap()
}

fn refused(overrides: &[(&str, &str)]) -> ConfigErrors {
    Config::load(&sources(overrides)).unwrap_err()
}

fn file(content: &str) -> (tempfile::TempDir, ConfigSources) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.properties");
    std::fs::write(&path, content).unwrap();
    (dir, ConfigSources { file: Some(path), ..ConfigSources::default() })
}

#[track_caller]
fn assert_names(errors: &ConfigErrors, parts: &[&str]) {
    let text = errors.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_broker_without_a_file_listens_on_loopback_and_keeps_data_beside_it() {
    let Loaded { config, warnings, notes } = loaded(&[]);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!(config.listeners[0].advertised_host.as_deref(), Some("127.0.0.1"));
    assert_eq!(config.log_dirs, [std::path::PathBuf::from("jackdaw-data")]);
    assert_eq!(config.node_id, 1);
    assert!(config.process_roles.broker && config.process_roles.controller);
    assert_eq!((warnings.len(), notes.len()), (0, 0), "{warnings:?} {notes:?}");
}

#[test]
fn the_file_of_a_real_single_node_loads() {
    let (_dir, sources) = file(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:9193\n\
         controller.listener.names=CONTROLLER\nlisteners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9193\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:9092\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\nlog.dirs=/tmp/x/1/data\noffsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n",
    );
    let Loaded { config, warnings, notes } = Config::load(&sources).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.listeners.iter().map(ToString::to_string).collect::<Vec<_>>(), ["PLAINTEXT://127.0.0.1:9092"]);
    assert_eq!(config.controller_listeners.len(), 1);
    assert_eq!(config.offsets_topic_replication_factor, 1);
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn a_file_without_listeners_means_every_address_as_with_kafka() {
    let (_dir, sources) = file("node.id=3\n");
    let config = Config::load(&sources).unwrap().config;
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://:9092");
    assert!(config.listeners[0].is_wildcard());
    assert_eq!(config.listeners[0].advertised_host, None);
    assert_eq!((config.node_id, config.get("broker.id")), (3, Some("3")));
}

#[test]
fn an_unknown_setting_is_warned_about_with_the_nearest_known_one_and_its_place() {
    let (_dir, sources) = file("num.partition=3\nzookeeper.connect=localhost:2181\nfoo=1\n");
    let Loaded { warnings, .. } = Config::load(&sources).unwrap();
    let text = warnings.join("\n");
    for part in [
        "num.partition has no effect; did you mean num.partitions?",
        "server.properties:1",
        "before version 4",
        "unknown setting foo has no effect; remove it",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn settings_of_a_listener_are_known_by_their_base_name() {
    let Loaded { warnings, .. } = loaded(&[
        ("listener.name.plaintext.max.connections", "5"),
        ("listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config", "x"),
    ]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_names(
        &refused(&[("listener.name.plaintext.max.connections", "x")]),
        &["listener.name.plaintext.max.connections"],
    );
}

#[test]
fn all_errors_are_found_in_one_go_each_with_value_allowed_range_and_place() {
    let (_dir, sources) =
        file("num.partitions=0\nauto.create.topics.enable=maybe\nlog.cleanup.policy=shred\nlog.roll.ms=0\n");
    let errors = Config::load(&sources).unwrap_err();
    assert_eq!(errors.0.len(), 4, "{errors}");
    assert_names(
        &errors,
        &[
            "4 errors",
            "Invalid value 0 for configuration num.partitions: it must be a whole number from 1 to 2147483647",
            "server.properties:1",
            "Invalid value maybe for configuration auto.create.topics.enable: it must be true or false",
            "log.cleanup.policy",
            "server.properties:3",
            "log.roll.ms=0 must be at least 1",
        ],
    );
}

#[test]
fn a_wrong_secret_is_not_repeated() {
    // No password of Kafka's has bounds, so one is made up.
    let error = ConfigError::invalid_secret("ssl.key.password", "longer");
    assert_eq!(error.to_string(), "Invalid value (hidden) for configuration ssl.key.password: it must be longer.");
}

#[test]
fn broker_id_stands_for_node_id_and_must_agree_with_it() {
    assert_eq!(loaded(&[("broker.id", "5")]).config.node_id, 5);
    assert_names(&refused(&[("broker.id", "5"), ("node.id", "6")]), &["node.id=6", "broker.id=5", "remove broker.id"]);
    assert_names(&refused(&[("broker.id", "-1")]), &["-1", "node.id"]);
}

#[test]
fn a_listener_advertises_what_it_is_told_to() {
    let config = loaded(&[
        ("listeners", "INTERNAL://0.0.0.0:9092,external://[::1]:0"),
        ("advertised.listeners", "EXTERNAL://broker.example:19092"),
        ("listener.security.protocol.map", "INTERNAL:PLAINTEXT,EXTERNAL:plaintext"),
        ("inter.broker.listener.name", "internal"),
    ])
    .config;
    let [internal, external] = config.listeners.as_slice() else { panic!("{:?}", config.listeners) };
    assert_eq!((&*internal.name, internal.host.as_str(), internal.advertised_host.as_deref()), ("INTERNAL", "", None));
    assert_eq!((&*external.name, external.host.as_str(), external.port), ("EXTERNAL", "::1", 0));
    assert_eq!(external.advertised_host.as_deref(), Some("broker.example"));
    assert_eq!(external.advertised_port, Some(19092));
    assert_eq!(external.protocol, SecurityProtocol::Plaintext);
    assert_eq!(config.inter_broker_listener_name, "INTERNAL");
}

#[test]
fn what_is_wrong_with_listeners_is_said_with_the_way_out() {
    for (overrides, parts) in [
        (&[("listeners", "127.0.0.1:9092")][..], &["127.0.0.1:9092", "no ://", "NAME://host:port"][..]),
        (&[("listeners", "PLAINTEXT://localhost")], &["no port"]),
        (&[("listeners", "PLAINTEXT://localhost:70000")], &["0 to 65535"]),
        (&[("listeners", "PLAINTEXT://fe80::1:9092")], &["IPv6", "[ ]"]),
        (&[("listeners", "")], &["listeners is empty"]),
        (&[("listeners", "PLAINTEXT://a:1,plaintext://b:2")], &["Two listeners", "PLAINTEXT"]),
        (
            &[("listeners", "A://:1,B://0.0.0.0:1"), ("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT")],
            &["port 1"],
        ),
        (&[("listeners", "HOME://:9092")], &["HOME has no security protocol", "HOME:PLAINTEXT"]),
        (&[("listener.security.protocol.map", "PLAINTEXT=PLAINTEXT")], &["NAME:PROTOCOL"]),
        (&[("listener.security.protocol.map", "PLAINTEXT:TLS")], &["PLAINTEXT:TLS", "SASL_SSL"]),
        (&[("listeners", "SSL://:9093")], &["SSL", "serves PLAINTEXT only"]),
        (
            &[("listeners", "X://:9093"), ("listener.security.protocol.map", "X:SASL_PLAINTEXT")],
            &["SASL_PLAINTEXT", "Map X to"],
        ),
        (&[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")], &["0.0.0.0", "advertised.listeners cannot"]),
        (&[("advertised.listeners", "OTHER://x:9092")], &["OTHER", "use one of PLAINTEXT"]),
        // Alone, a node needs no address that others know.
        (
            &[
                ("process.roles", "broker"),
                ("controller.quorum.bootstrap.servers", "a:9093"),
                ("listeners", "PLAINTEXT://0.0.0.0:1"),
            ],
            &["every address of this machine", "Set advertised.listeners=PLAINTEXT://HOST:1"],
        ),
        (&[("inter.broker.listener.name", "X")], &["inter.broker.listener.name=X", "one of PLAINTEXT"]),
        (&[("listeners", "CONTROLLER://:9093")], &["No listener is left for clients"]),
        (
            &[("inter.broker.listener.name", "PLAINTEXT"), ("security.inter.broker.protocol", "PLAINTEXT")],
            &["Only one of inter.broker.listener.name"],
        ),
    ] {
        assert_names(&refused(overrides), parts);
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused_naming_both() {
    for (overrides, parts) in [
        (
            &[("group.min.session.timeout.ms", "10"), ("group.max.session.timeout.ms", "5")][..],
            &["group.min.session.timeout.ms=10", "group.max.session.timeout.ms=5"][..],
        ),
        (
            &[("queued.max.request.bytes", "1000")],
            &["queued.max.request.bytes=1000", "socket.request.max.bytes=104857600"],
        ),
        (&[("max.connections.per.ip", "0")], &["max.connections.per.ip=0"]),
        (&[("max.connections.per.ip.overrides", "localhost")], &["localhost", "address:limit"]),
        (&[("log.retention.ms", "0")], &["log.retention.ms=0", "-1"]),
        (&[("log.cleaner.dedupe.buffer.size", "1048576")], &["log.cleaner.dedupe.buffer.size=1048576"]),
        (
            &[("replica.fetch.wait.max.ms", "40000")],
            &["replica.fetch.wait.max.ms=40000", "replica.lag.time.max.ms=30000"],
        ),
    ] {
        assert_names(&refused(overrides), parts);
    }
}

#[test]
fn what_would_silently_break_a_promise_is_refused() {
    for (overrides, parts) in [
        (
            &[("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")][..],
            &["authorization"][..],
        ),
        (&[("remote.log.storage.system.enable", "true")], &["tiered storage"]),
        (&[("config.providers", "env"), ("broker.rack", "${env:RACK}")], &["broker.rack", "provider env"]),
    ] {
        assert_names(&refused(overrides), parts);
    }
}

#[test]
fn nonsense_about_the_quorum_is_refused_with_the_way_out() {
    const VOTERS: &str = "controller.quorum.voters";
    const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";
    const LISTENERS: (&str, &str) = ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093");
    for (overrides, parts) in [
        (&[("process.roles", "controller")][..], &["process.roles=controller", "PLAINTEXT", "broker,controller"][..]),
        (&[("process.roles", "")], &["process.roles must be"]),
        (&[("process.roles", "broker")], &["process.roles=broker needs controllers", BOOTSTRAP]),
        (&[("process.roles", "broker"), (BOOTSTRAP, "a:1"), LISTENERS], &["is no controller", "CONTROLLER"]),
        (&[("process.roles", "broker"), (VOTERS, "1@a:1")], &["names node.id=1, which is no controller"]),
        (&[(VOTERS, "1@a:1,2@b:1,3@c:1")], &["listeners has none of", "CONTROLLER://host:port"]),
        (&[(VOTERS, "2@a:1")], &["does not name node.id=1", "1@host:port"]),
        (&[(VOTERS, "a:1")], &["id@host:port"]),
        (&[(VOTERS, "1@a:0")], &["id@host:port"]),
        (&[(VOTERS, "1@a:1,2@b:1,1@c:1"), LISTENERS], &["names node 1 twice"]),
        (&[(VOTERS, "1@a:1,2@a:1"), LISTENERS], &["nodes 1 and 2 the same address a:1"]),
        (&[(BOOTSTRAP, "a:1,b:1")], &["listeners has none of"]),
        (&[(BOOTSTRAP, "a"), LISTENERS], &["host:port"]),
        (
            &[
                (VOTERS, "1@a:1,2@b:1"),
                LISTENERS,
                ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:SSL"),
            ],
            &["CONTROLLER is to speak SSL"],
        ),
    ] {
        assert_names(&refused(overrides), parts);
    }
}

#[test]
fn each_role_of_a_cluster_is_taken_as_apache_kafka_takes_it() {
    let voters = ("controller.quorum.voters", "1@a:9093,2@b:9093");
    let names = ("controller.listener.names", "CONTROLLER");
    let both = loaded(&[voters, names, ("listeners", "PLAINTEXT://a:9092,CONTROLLER://:9093")]).config;
    assert_eq!(both.controller_quorum_voters.len(), 2);
    assert_eq!(both.controller_quorum_voters[1].address, "b:9093");
    assert_eq!((both.listeners.len(), both.controller_listeners.len()), (1, 1));
    let controller =
        loaded(&[voters, names, ("process.roles", "controller"), ("listeners", "CONTROLLER://:9093")]).config;
    assert_eq!((controller.listeners.len(), controller.controller_listeners.len()), (0, 1));
    let broker =
        loaded(&[voters, names, ("process.roles", "broker"), ("node.id", "4"), ("listeners", "PLAINTEXT://d:9092")]);
    assert_eq!((broker.config.listeners.len(), broker.config.controller_listeners.len()), (1, 0));
}

#[test]
fn java_classes_and_replication_factors_beyond_one_node_are_remarked_upon_only() {
    let Loaded { warnings, notes, .. } = loaded(&[
        ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
        ("metric.reporters", "org.apache.kafka.common.metrics.JmxReporter"),
        ("offsets.topic.replication.factor", "3"),
    ]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("loads no Java classes"));
    assert!(notes[0].contains("offsets.topic.replication.factor=3"), "{notes:?}");
}

#[test]
fn command_line_and_environment_reach_the_typed_fields() {
    let config = Config::load(&ConfigSources {
        env: BTreeMap::from([("KAFKA_NUM_PARTITIONS".into(), "7".into()), ("CLUSTER_ID".into(), "abc".into())]),
        data_dir: Some("/data".into()),
        listen: vec!["127.0.0.1:0".into()],
        overrides: vec![("max.connections.per.ip.overrides".into(), "10.0.0.1:3, ::1:4".into())],
        ..ConfigSources::default()
    })
    .unwrap()
    .config;
    assert_eq!(config.num_partitions, 7);
    assert_eq!(config.cluster_id.as_deref(), Some("abc"));
    assert_eq!(config.log_dirs, [std::path::PathBuf::from("/data")]);
    assert_eq!((config.listeners[0].host.as_str(), config.listeners[0].port), ("127.0.0.1", 0));
    assert_eq!(config.max_connections_per_ip_overrides, [("10.0.0.1".to_owned(), 3), ("::1".to_owned(), 4)]);
}

#[test]
fn a_log_setting_out_of_kafkas_bounds_stops_the_start_with_its_name_and_what_is_allowed() {
    for (key, bad, allowed) in [
        ("compression.gzip.level", "10", "-1"),
        ("compression.lz4.level", "18", "from 1 to 17"),
        ("compression.type", "none", "snappy"),
        ("compression.zstd.level", "23", "from -131072 to 22"),
        ("log.cleaner.backoff.ms", "-1", "from 0"),
        ("log.cleaner.dedupe.buffer.size", "1048576", "more than 1048576"),
        ("log.cleaner.delete.retention.ms", "-1", "from 0"),
        ("log.cleaner.io.buffer.size", "-1", "from 0"),
        ("log.cleaner.max.compaction.lag.ms", "0", "from 1"),
        ("log.cleaner.min.cleanable.ratio", "1.01", "from 0 to 1"),
        ("log.cleaner.min.compaction.lag.ms", "-1", "from 0"),
        ("log.cleaner.threads", "-1", "from 0"),
        ("log.cleanup.policy", "shred", "compact, delete"),
        ("log.flush.interval.messages", "0", "from 1"),
        ("log.flush.offset.checkpoint.interval.ms", "-1", "from 0"),
        ("log.index.interval.bytes", "-1", "from 0"),
        ("log.index.size.max.bytes", "3", "from 4"),
        ("log.message.timestamp.after.max.ms", "-1", "from 0"),
        ("log.message.timestamp.before.max.ms", "-1", "from 0"),
        ("log.message.timestamp.type", "Now", "LogAppendTime"),
        ("log.preallocate", "maybe", "true or false"),
        ("log.retention.bytes", "-2", "at least -1"),
        ("log.retention.check.interval.ms", "0", "from 1"),
        ("log.retention.hours", "0", "at least 1, or -1"),
        ("log.retention.minutes", "0", "at least 1, or -1"),
        ("log.retention.ms", "0", "at least 1, or -1"),
        ("log.roll.hours", "0", "from 1"),
        ("log.roll.jitter.hours", "-1", "from 0"),
        ("log.roll.jitter.ms", "-1", "at least 0"),
        ("log.roll.ms", "0", "at least 1"),
        ("log.segment.bytes", "1048575", "from 1048576"),
        ("log.segment.delete.delay.ms", "-1", "from 0"),
        ("message.max.bytes", "-1", "from 0"),
        ("num.recovery.threads.per.data.dir", "0", "from 1"),
    ] {
        assert_names(&refused(&[(key, bad)]), &[key, bad, allowed]);
    }
}
