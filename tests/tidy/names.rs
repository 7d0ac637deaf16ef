//! Who may name what: files, sockets, clocks, other layers.

use crate::tree::{Source, lines_naming, sources};

struct Rule {
    rule: &'static str,
    /// What may not be named…
    words: &'static [&'static str],
    /// …in these files and folders…
    within: &'static [&'static str],
    /// …but here.
    except: &'static [&'static str],
    /// Whether tests are held to it.
    tests_too: bool,
    /// A path and a line that break the rule.
    example: (&'static str, &'static str),
}

const PURE: &[&str] = &[
    "broker/src/controller/",
    "broker/src/group/",
    "broker/src/fetch/session.rs",
    "broker/src/topics/catalog.rs",
    "broker/src/topics/image.rs",
    "broker/src/topics/record.rs",
    "broker/src/controller/leaders.rs",
    "broker/src/controller/placement.rs",
    "broker/src/controller/reassign.rs",
    "broker/src/cluster/fit.rs",
    "broker/src/config/",
    "broker/src/replication/follower.rs",
    "broker/src/replication/leader.rs",
    "broker/src/replication/session.rs",
    "storage/src/producers/",
    "storage/src/epochs.rs",
    "protocol/src/",
    "tools/checker/src/",
];

const RULES: &[Rule] = &[
    Rule {
        rule: "storage knows records, never messages",
        words: &["messages::", "kafka_protocol"],
        within: &["storage/src/"],
        except: &[],
        tests_too: false,
        example: ("storage/src/log/read.rs", "use jackdaw_protocol::messages::FetchRequest;"),
    },
    Rule {
        rule: "the message codec is reached through jackdaw_protocol, whose guard stands before it",
        words: &["kafka_protocol"],
        within: &["storage/", "broker/", "tools/"],
        except: &[],
        tests_too: false,
        example: ("broker/src/api/fetch.rs", "use kafka_protocol::messages::FetchRequest;"),
    },
    Rule {
        rule: "of the tools only serve starts a broker, and the import writes its metadata log; the others speak to one over the wire",
        words: &["jackdaw_broker"],
        within: &["tools/src/"],
        // The import makes topics where no broker runs that could be asked to.
        except: &["tools/src/serve.rs", "tools/src/log/import.rs", "tools/src/log/import/"],
        tests_too: false,
        example: ("tools/src/topic.rs", "use jackdaw_broker::Broker;"),
    },
    Rule {
        rule: "files are reached through storage/src/disk (the broker reads its configuration, and nothing else)",
        words: &["fs::", "File::", "OpenOptions", "DirBuilder"],
        within: &["protocol/src/", "storage/src/", "broker/src/", "quorum/src/", "tools/checker/src/"],
        except: &["storage/src/disk/", "broker/src/config/sources.rs", "quorum/src/journal.rs"],
        tests_too: false,
        example: ("storage/src/segment.rs", "let file = File::open(path)?;"),
    },
    Rule {
        rule: "sockets belong to broker/src/net, and to the client and benchmarks of the tools",
        words: &["TcpStream", "TcpListener", "TcpSocket", "UdpSocket", "UnixStream", "UnixListener", "socket2"],
        within: &["protocol/src/", "storage/src/", "broker/src/", "tools/src/"],
        except: &["broker/src/net/", "tools/src/client/", "tools/src/bench/", "tools/src/chaos/run/"],
        tests_too: false,
        example: ("broker/src/api/metadata.rs", "let peer: TcpStream;"),
    },
    Rule {
        rule: "time is read in broker/src/clock.rs and comes in as an argument",
        words: &["Instant::now", "SystemTime", "Timestamp::now", "Utc::now"],
        within: &["protocol/src/", "storage/src/", "broker/src/"],
        except: &["broker/src/clock.rs"],
        tests_too: false,
        example: ("broker/src/api/produce.rs", "let now = SystemTime::now();"),
    },
    Rule {
        rule: "pure modules contain no async, channel, file, clock or thread",
        words: &[
            "async",
            "await",
            "tokio",
            "mpsc",
            "oneshot",
            "Notify",
            "Instant",
            "SystemTime",
            "Clock",
            "thread",
            "spawn",
        ],
        within: PURE,
        except: &[],
        tests_too: false,
        example: ("broker/src/group/classic/join.rs", "pub async fn join() {}"),
    },
    Rule {
        rule: "machines and logs know neither requests nor connections",
        words: &["crate::api", "crate::net", "jackdaw_protocol::messages"],
        within: &[
            "broker/src/fetch/",
            "broker/src/group/",
            "broker/src/topics/",
            "broker/src/partition/",
            "broker/src/config/",
        ],
        except: &[],
        tests_too: false,
        example: ("broker/src/group/classic.rs", "use jackdaw_protocol::messages::JoinGroupResponse;"),
    },
    Rule {
        rule: "the storage and protocol crates are synchronous",
        words: &["async", "await", "tokio"],
        within: &["storage/src/", "protocol/src/"],
        except: &[],
        tests_too: false,
        example: ("storage/src/log/append.rs", "pub async fn append() {}"),
    },
    Rule {
        rule: "unsafe stands in two files: the map, and the buffer trait that is unsafe to implement",
        words: &["unsafe"],
        within: &["protocol/src/", "storage/src/", "broker/src/", "tools/src/"],
        except: &["storage/src/disk/map.rs", "protocol/src/splice.rs"],
        tests_too: false,
        example: ("broker/src/net/outgoing.rs", "unsafe { slice.get_unchecked(0) }"),
    },
    Rule {
        rule: "the broker logs, it does not print",
        words: &["println!", "eprintln!", "print!", "eprint!"],
        within: &["protocol/src/", "storage/src/", "broker/src/"],
        except: &[],
        tests_too: false,
        example: ("broker/src/broker.rs", "println!(\"ready\");"),
    },
    Rule {
        rule: "nothing unfinished is left behind, and no test that never runs",
        words: &["todo!", "unimplemented!", "dbg!", "#[ignore"],
        within: &[""],
        except: &[],
        tests_too: true,
        example: ("tools/src/main.rs", "dbg!(args);"),
    },
];

fn findings(rule: &Rule, source: &Source) -> Vec<String> {
    let starts = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
    if !starts(rule.within) || starts(rule.except) {
        return Vec::new();
    }
    let code = if rule.tests_too { &source.code } else { source.product_code() };
    let lines = rule.words.iter().flat_map(|word| lines_naming(code, word).map(move |line| (line, word)));
    lines.map(|(line, word)| format!("{}:{line} names {word}: {}", source.path, rule.rule)).collect()
}

#[test]
fn everything_is_named_only_where_it_belongs() {
    let sources = sources();
    let all = RULES.iter().flat_map(|rule| sources.iter().flat_map(|source| findings(rule, source)));
    crate::assert_tidy(all.collect());
}

#[test]
fn every_rule_finds_what_breaks_it() {
    for rule in RULES {
        let (path, line) = rule.example;
        assert!(!findings(rule, &Source::new(path, line)).is_empty(), "{} does not find {line}", rule.rule);
        for excepted in rule.except {
            let path = if excepted.ends_with('/') { format!("{excepted}x.rs") } else { (*excepted).to_owned() };
            assert!(findings(rule, &Source::new(&path, line)).is_empty(), "{} does not spare {path}", rule.rule);
        }
    }
}

#[test]
fn every_place_that_a_rule_names_exists() {
    let sources = sources();
    for rule in RULES {
        for place in rule.within.iter().chain(rule.except) {
            assert!(sources.iter().any(|source| source.path.starts_with(place)), "{}: no file in {place}", rule.rule);
        }
    }
}
