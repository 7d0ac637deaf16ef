//! The size rule among several brokers, one of them misconfigured: what any of them, or any topic, takes, each must be able to
//! fetch. Whoever would break that is refused, with both settings, both values, the broker or topic, and the command that helps.

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::requests::create_request;
use jackdaw_test_support::{Cluster, ClusterOptions};

use crate::configs::{self, BROKER, TOPIC};

const UNKNOWN_TOPIC: i16 = 3;
const INVALID_CONFIG: i16 = 40;

fn names_all(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

fn batch_of(bytes: usize) -> Batch {
    Batch::of([vec![b'x'; bytes]])
}

#[test]
fn a_broker_that_fetches_too_little_is_refused_at_the_start_and_at_registration() {
    let mut cluster = ClusterOptions::nodes(3)
        .and_brokers(1)
        .set("message.max.bytes", 1_500_000)
        .set_of(4, "message.max.bytes", 1_000_000)
        .set_of(4, "replica.fetch.max.bytes", 900_000)
        .start();
    // Its own two settings.
    let said = cluster.refused(4);
    let settings = ["replica.fetch.max.bytes=900000 of broker 4", "message.max.bytes=1000000"];
    names_all(&said, &settings);
    names_all(&said, &["jackdaw serve --override replica.fetch.max.bytes=1000000"]);
    assert!(!cluster.data_dir(4).exists(), "nothing was made before the settings were found wrong");

    // Its own against another broker's.
    cluster.configure(4, "replica.fetch.max.bytes", 1_200_000);
    let said = cluster.refused(4);
    names_all(&said, &["replica.fetch.max.bytes=1200000 of broker 4", "message.max.bytes=1500000 of broker"]);
    names_all(&said, &["jackdaw serve --override replica.fetch.max.bytes=1500000"]);
    assert_eq!(cluster.metadata(None).unwrap().brokers.len(), 3);

    // Its own against a topic's.
    cluster.create_topic("large", 1, 1, &[("max.message.bytes", "2000000")]);
    cluster.configure(4, "replica.fetch.max.bytes", 1_600_000);
    let said = cluster.refused(4);
    names_all(&said, &["replica.fetch.max.bytes=1600000", "broker 4", "max.message.bytes=2000000", "large"]);
    names_all(&said, &["jackdaw topic alter large --config max.message.bytes=1600000"]);
    names_all(&said, &["jackdaw serve --override replica.fetch.max.bytes=2000000"]);

    // As it was told.
    cluster.configure(4, "replica.fetch.max.bytes", 2_000_000);
    cluster.start_node(4);
    cluster.wait_for("the broker to be let in", |cluster| (cluster.metadata(None)?.brokers.len() == 4).then_some(()));
}

#[test]
fn what_one_broker_could_not_fetch_is_refused_for_topics_and_for_settings_of_brokers() {
    let cluster = ClusterOptions::nodes(3).set_of(2, "replica.fetch.max.bytes", 2_000_000).start();
    let ways_out = ["jackdaw serve --override replica.fetch.max.bytes="];
    let fetches = ["replica.fetch.max.bytes=2000000", "broker 2"];
    for asked in cluster.ids() {
        let mut made = cluster.ask(asked, 7, &create_request("big", 1, &[("max.message.bytes", "3000000")])).unwrap();
        let made = made.topics.pop().unwrap();
        assert_eq!(made.error_code, INVALID_CONFIG, "asked of {asked}: {:?}", made.error_message);
        let message = made.error_message.unwrap().to_string();
        names_all(&message, &fetches);
        names_all(&message, &ways_out);
        names_all(&message, &["max.message.bytes=3000000", "opic big", "--config max.message.bytes=2000000"]);
    }
    let made = cluster.metadata(Some("big")).unwrap().topics.remove(0);
    assert_eq!(made.error_code, UNKNOWN_TOPIC, "{made:?} was made");

    cluster.create_topic("fits", 1, 3, &[("max.message.bytes", "2000000")]);
    for asked in cluster.ids() {
        let (code, message) = configs::set(&cluster, asked, TOPIC, "fits", ("max.message.bytes", "2000001"));
        assert_eq!(code, INVALID_CONFIG, "asked of {asked}: {message}");
        names_all(&message, &fetches);
        names_all(&message, &["max.message.bytes=2000001", "opic fits", "--override replica.fetch.max.bytes=2000001"]);
        names_all(&message, &["jackdaw topic alter fits --config max.message.bytes=2000000"]);

        // Of all brokers, and of one that is not the misconfigured one.
        for name in ["", "1"] {
            let (code, message) = configs::set(&cluster, asked, BROKER, name, ("message.max.bytes", "2000001"));
            assert_eq!(code, INVALID_CONFIG, "of {name:?} asked of {asked}: {message}");
            names_all(&message, &fetches);
            names_all(&message, &["message.max.bytes=2000001 of broker 1", "--add-config message.max.bytes=2000000"]);
            names_all(&message, &["--override replica.fetch.max.bytes=2000001"]);
        }
    }
    for id in [1, 3] {
        assert_eq!(configs::of_broker(&cluster, id, "message.max.bytes").as_deref(), Some("1048588"));
    }
    assert_eq!(configs::set(&cluster, 3, BROKER, "", ("message.max.bytes", "2000000")), (0, String::new()));
    cluster.ids().into_iter().for_each(|id| configs::wait_for_broker(&cluster, id, "message.max.bytes", "2000000"));
}

/// The files of all nodes are changed one by one, as one does it: a node at a time, with a restart each.
#[test]
fn both_settings_are_raised_by_a_rolling_change_in_the_right_order_and_not_in_the_wrong_one() {
    let mut cluster = ClusterOptions::nodes(3)
        .set("message.max.bytes", 1_100_000)
        .set("replica.fetch.max.bytes", 1_100_000)
        .set("min.insync.replicas", 2)
        .start();
    cluster.create_topic("rolled", 1, 3, &[]);
    // What is accepted first: the others could not fetch it.
    assert!(cluster.stop(1).success());
    cluster.configure(1, "replica.fetch.max.bytes", 2_000_000);
    cluster.configure(1, "message.max.bytes", 2_000_000);
    let said = cluster.refused(1);
    names_all(&said, &["replica.fetch.max.bytes=1100000 of broker", "message.max.bytes=2000000 of broker 1"]);
    names_all(&said, &["jackdaw serve --override replica.fetch.max.bytes=2000000"]);
    names_all(&said, &["--entity-name 1 --add-config message.max.bytes=1100000"]);
    // What is fetched first, everywhere; then what is accepted.
    cluster.configure(1, "message.max.bytes", 1_100_000);
    cluster.start_node(1);
    for id in [2, 3] {
        cluster.wait_isr("rolled", 0, &[1, 2, 3]);
        cluster.configure(id, "replica.fetch.max.bytes", 2_000_000);
        cluster.restart(id);
    }
    for id in cluster.ids() {
        cluster.wait_isr("rolled", 0, &[1, 2, 3]);
        cluster.configure(id, "message.max.bytes", 2_000_000);
        cluster.restart(id);
    }
    cluster.wait_isr("rolled", 0, &[1, 2, 3]);
    cluster.produce("rolled", 0, &batch_of(1_900_000));
    cluster.wait_isr("rolled", 0, &[1, 2, 3]);
}

#[test]
fn where_nothing_is_set_what_is_fetched_follows_every_broker_and_topic() {
    let cluster = Cluster::start(3);
    cluster.create_topic("usual", 1, 3, &[]);
    let leader = cluster.leader("usual", 0);
    assert_eq!(configs::of_broker(&cluster, 2, "replica.fetch.max.bytes").as_deref(), Some("1048588"));
    // Of the leader alone: its followers take less themselves, and must fetch it all the same.
    let setting = ("message.max.bytes", "3000000");
    assert_eq!(configs::set(&cluster, leader, BROKER, &leader.to_string(), setting), (0, String::new()));
    let ids = cluster.ids();
    ids.iter().for_each(|id| configs::wait_for_broker(&cluster, *id, "replica.fetch.max.bytes", "3000000"));
    cluster.produce("usual", 0, &batch_of(2_900_000));
    cluster.create_topic("large", 1, 3, &[("max.message.bytes", "9000000")]);
    ids.iter().for_each(|id| configs::wait_for_broker(&cluster, *id, "replica.fetch.max.bytes", "9000000"));
    cluster.produce("large", 0, &batch_of(8_900_000));
    cluster.wait_isr("large", 0, &[1, 2, 3]);
    cluster.wait_isr("usual", 0, &[1, 2, 3]);
}

/// Kafka's followers of old stopped for ever at such a batch (KAFKA-1756; KIP-74 ended it).
#[test]
fn a_batch_larger_than_a_broker_fetches_at_once_still_comes_to_its_replica() {
    let mut cluster = ClusterOptions::nodes(3).set("num.replica.fetchers", 1).start();
    cluster.create_topic("grown", 1, 3, &[("max.message.bytes", "5000000")]);
    cluster.create_topic("beside", 1, 3, &[]);
    let away = crate::another(&cluster, cluster.leader("grown", 0));
    assert!(cluster.stop(away).success());
    let producer = crate::Producer::new_at(&cluster, crate::another(&cluster, away));
    cluster.produce("grown", 0, &batch_of(4_500_000).producer(producer.0, producer.1, 0));
    cluster.produce("beside", 0, &producer.batch(0, 10));
    // From now on nothing so large is taken, so that a broker may fetch less.
    let smaller = ("max.message.bytes", "1000000");
    let asked = crate::another(&cluster, away);
    assert_eq!(configs::set(&cluster, asked, TOPIC, "grown", smaller), (0, String::new()));
    cluster.configure(away, "replica.fetch.max.bytes", 1_100_000);
    cluster.configure(away, "replica.fetch.response.max.bytes", 1_100_000);
    cluster.start_node(away);
    cluster.wait_isr("grown", 0, &[1, 2, 3]);
    cluster.wait_isr("beside", 0, &[1, 2, 3]);
}
