#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::topics::catalog::Catalog;
use crate::topics::image::PartitionImage;

const DEFAULTS: ElectionDefaults = ElectionDefaults { min_insync_replicas: 1, unclean: false };
const TOPIC: Uuid = Uuid::from_u128(7000);

fn wish(broker: i32) -> Application {
    let id = u128::try_from(broker).unwrap();
    Application {
        broker,
        cluster_id: "c".into(),
        incarnation: Uuid::from_u128(1000 + id),
        rack: Some("r".into()),
        listeners: vec![Endpoint {
            name: "L".into(),
            host: "h".into(),
            port: 9000 + u16::try_from(broker).unwrap(),
            security_protocol: 0,
        }],
        dirs: vec![Uuid::from_u128(500 + id)],
        previous_epoch: -1,
        extras: Extras { message_max_bytes: 1000, ..Extras::default() },
    }
}

fn again(broker: i32, previous_epoch: i64) -> Application {
    Application { incarnation: Uuid::new_v4(), previous_epoch, ..wish(broker) }
}

fn apply(catalog: &mut Catalog, records: &[Record]) {
    records.iter().for_each(|record| catalog.apply(record).unwrap());
}

fn join(catalog: &mut Catalog, wish: &Application) -> i64 {
    let granted = register(catalog.image(), "c", Presence::Gone, wish, DEFAULTS).unwrap();
    apply(catalog, &granted.records);
    granted.epoch
}

fn beat_of(broker: i32, epoch: i64) -> Beat {
    Beat { broker, epoch, applied: i64::MAX, ..Beat::default() }
}

fn say(catalog: &mut Catalog, said: &Beat) -> Verdict {
    let verdict = beat(catalog.image(), said, DEFAULTS).unwrap();
    apply(catalog, &verdict.records);
    verdict
}

/// Brokers 1 to 3 are up; one topic with partitions of leaders 1 and 2, and one that 1 holds alone.
fn three() -> (Catalog, [i64; 3]) {
    let mut catalog = Catalog::default();
    let epochs = [1, 2, 3].map(|broker| {
        let epoch = join(&mut catalog, &wish(broker));
        say(&mut catalog, &beat_of(broker, epoch));
        epoch
    });
    let assignments = vec![vec![1, 2, 3], vec![2, 1, 3], vec![1]];
    let created = Record::TopicCreated { name: "t".into(), id: TOPIC, assignments, configs: BTreeMap::new() };
    catalog.apply(&created).unwrap();
    (catalog, epochs)
}

fn partition(catalog: &Catalog, index: usize) -> &PartitionImage {
    &catalog.image().topic_by_id(TOPIC).unwrap().partitions[index]
}

#[test]
fn a_broker_is_fenced_until_it_has_applied_the_metadata_up_to_its_registration() {
    let mut catalog = Catalog::default();
    let epoch = join(&mut catalog, &wish(1));
    assert!(catalog.image().brokers[&1].fenced);
    let early = say(&mut catalog, &Beat { applied: epoch - 1, ..beat_of(1, epoch) });
    assert_eq!((early.caught_up, early.fenced), (false, true));
    let later = say(&mut catalog, &Beat { applied: epoch, ..beat_of(1, epoch) });
    assert_eq!((later.caught_up, later.fenced), (true, false));
    assert!(catalog.image().is_active(1));
    assert!(say(&mut catalog, &beat_of(1, epoch)).records.is_empty(), "then nothing changes any more");
}

#[test]
fn a_lost_answer_costs_nothing_and_a_new_life_has_a_higher_epoch() {
    let mut catalog = Catalog::default();
    let epoch = join(&mut catalog, &wish(1));
    let same = register(catalog.image(), "c", Presence::Here, &wish(1), DEFAULTS).unwrap();
    assert_eq!(same, Granted { epoch, records: Vec::new() });
    let next = register(catalog.image(), "c", Presence::Gone, &again(1, epoch), DEFAULTS).unwrap();
    assert!(next.epoch > epoch);
}

#[test]
fn a_node_id_is_refused_while_another_process_has_it() {
    let (catalog, _) = three();
    let other = Application { listeners: wish(5).listeners, ..again(1, -1) };
    let try_with = |presence, wish: &Application| register(catalog.image(), "c", presence, wish, DEFAULTS);
    let error = try_with(Presence::Here, &other).unwrap_err();
    assert!(error.may_heal() && error.to_string().contains("node id 1 is in use by a broker that is alive, at h:9001"));
    assert!(try_with(Presence::Doubtful, &other).is_err());
    assert!(try_with(Presence::Gone, &other).is_ok());
    // It listens where the other one did, whose connection is closed: that one has ended.
    assert!(try_with(Presence::Doubtful, &again(1, -1)).is_ok());
    assert!(try_with(Presence::Here, &again(1, -1)).is_err());
}

#[test]
fn another_cluster_a_copied_disk_and_a_nameless_process_are_refused() {
    let (catalog, _) = three();
    let refused = |wish: Application| {
        let error = register(catalog.image(), "c", Presence::Gone, &wish, DEFAULTS).unwrap_err();
        assert!(!error.may_heal());
        error.to_string()
    };
    let foreign = refused(Application { cluster_id: "x".into(), ..wish(4) });
    assert!(foreign.contains("broker 4 is of cluster x, this is cluster c"), "{foreign}");
    let copied = refused(Application { dirs: wish(2).dirs, ..wish(4) });
    assert!(copied.contains("is that of broker 2 too"), "{copied}");
    let twice = [wish(4).dirs, wish(4).dirs].concat();
    assert!(refused(Application { dirs: twice, ..wish(4) }).contains("two of its log directories"));
    assert!(refused(Application { dirs: vec![Uuid::nil()], ..wish(4) }).contains("reserved"));
    assert!(refused(Application { incarnation: Uuid::nil(), ..wish(4) }).contains("incarnation"));
    assert!(refused(Application { listeners: Vec::new(), ..wish(4) }).contains("listener"));
    assert!(refused(Application { broker: -1, ..wish(4) }).contains("negative"));
    assert!(refused(Application { extras: Extras::default(), ..wish(4) }).contains("only Jackdaw's brokers"));
}

#[test]
fn the_size_rule_stands_at_this_door() {
    let (catalog, _) = three();
    let mut small = wish(4);
    small.extras.replica_fetch_max_bytes = Some(1000);
    assert!(register(catalog.image(), "c", Presence::Gone, &small, DEFAULTS).is_ok());
    small.extras.message_max_bytes = 10;
    small.extras.replica_fetch_max_bytes = Some(999);
    let error = register(catalog.image(), "c", Presence::Gone, &small, DEFAULTS).unwrap_err();
    assert!(matches!(error, RegistrationError::Size(_)));
}

#[test]
fn two_brokers_must_know_where_the_other_one_is() {
    let nowhere = |mut wish: Application| {
        wish.listeners[0].host.clear();
        wish
    };
    let refused = |catalog: &Catalog, wish: &Application| {
        register(catalog.image(), "c", Presence::Gone, wish, DEFAULTS).unwrap_err().to_string()
    };
    let (catalog, _) = three();
    let error = refused(&catalog, &nowhere(wish(4)));
    assert!(error.contains("start it with advertised.listeners=L://HOST:9004"), "{error}");
    // One alone need not say where it is, until another one comes.
    let mut alone = Catalog::default();
    let granted = register(alone.image(), "c", Presence::Gone, &nowhere(wish(1)), DEFAULTS).unwrap();
    granted.records.iter().for_each(|record| alone.apply(record).unwrap());
    let error = refused(&alone, &wish(2));
    assert!(error.contains("start broker 1 again with advertised.listeners=L://HOST:9001"), "{error}");
}

#[test]
fn a_clean_stop_is_proven_by_the_epoch_that_it_left() {
    let (catalog, epochs) = three();
    for (previous, expected) in [(-1, true), (epochs[0] + 1, true), (epochs[0], false)] {
        let granted = register(catalog.image(), "c", Presence::Gone, &again(1, previous), DEFAULTS).unwrap();
        let Record::BrokerRegistered { unclean, .. } = &granted.records[0] else { panic!("{granted:?}") };
        assert_eq!(*unclean, expected);
    }
}

#[test]
fn directories_are_remembered_once_there_are_several() {
    let mut catalog = Catalog::default();
    let dirs = |ids: &[&str]| ids.iter().map(|id| ((*id).to_owned(), format!("/{id}"))).collect::<BTreeMap<_, _>>();
    let mut wish = wish(1);
    wish.extras.known_dirs = dirs(&["a"]);
    assert_eq!(register(catalog.image(), "c", Presence::Gone, &wish, DEFAULTS).unwrap().records.len(), 1);
    for (ids, news) in [(&["a", "b"][..], true), (&["a", "b"], false), (&["a"], true)] {
        wish.extras.known_dirs = dirs(ids);
        wish.incarnation = Uuid::new_v4();
        let records = register(catalog.image(), "c", Presence::Gone, &wish, DEFAULTS).unwrap().records;
        assert_eq!(records.len() == 2, news, "{ids:?}");
        apply(&mut catalog, &records);
        assert_eq!(catalog.image().log_dirs[&1], dirs(ids));
    }
}

#[test]
fn requests_of_an_earlier_life_or_of_nobody_are_told_apart() {
    let (catalog, epochs) = three();
    let stale = BrokerEpochError::Stale { broker: 1, given: epochs[0] - 1, current: epochs[0] };
    assert_eq!(beat(catalog.image(), &beat_of(1, epochs[0] - 1), DEFAULTS), Err(stale));
    assert_eq!(beat(catalog.image(), &beat_of(9, 1), DEFAULTS), Err(BrokerEpochError::NotRegistered { broker: 9 }));
}

#[test]
fn a_broker_that_wants_to_stop_hands_its_partitions_over_first() {
    let (mut catalog, epochs) = three();
    let stop = Beat { want_shut_down: true, ..beat_of(1, epochs[0]) };
    let verdict = say(&mut catalog, &stop);
    assert!(verdict.should_shut_down && !verdict.fenced);
    assert_eq!((partition(&catalog, 0).leader, &*partition(&catalog, 0).isr), (2, [2, 3].as_slice()));
    assert_eq!(&*partition(&catalog, 1).isr, [2, 3]);
    assert_eq!(partition(&catalog, 2).leader, 1, "nobody else has it: it is served until the end");
    let verdict = say(&mut catalog, &stop);
    assert!(verdict.should_shut_down && verdict.records.is_empty());
    let last = say(&mut catalog, &Beat { want_fence: true, ..stop });
    assert!(last.fenced);
    assert_eq!(partition(&catalog, 2).leader, -1);
}

#[test]
fn a_broker_that_was_not_heard_comes_back_when_it_is() {
    let (mut catalog, epochs) = three();
    let record = fence(catalog.image(), 1, epochs[0], DEFAULTS).unwrap();
    apply(&mut catalog, &[record]);
    assert_eq!((partition(&catalog, 0).leader, partition(&catalog, 2).leader), (2, -1));
    assert_eq!(fence(catalog.image(), 1, epochs[0], DEFAULTS), None, "once is enough");
    assert_eq!(fence(catalog.image(), 1, epochs[0] - 1, DEFAULTS), None, "an earlier life");
    assert!(!say(&mut catalog, &beat_of(1, epochs[0])).fenced);
    assert_eq!((partition(&catalog, 0).leader, partition(&catalog, 2).leader), (2, 1));
    assert!(say(&mut catalog, &Beat { want_fence: true, ..beat_of(1, epochs[0]) }).fenced);
}

#[test]
fn partitions_on_a_failed_disk_go_to_those_who_have_them_and_stay_where_nobody_has() {
    let (mut catalog, epochs) = three();
    let unknown = Uuid::from_u128(1);
    let offline = vec![(TOPIC, 0), (TOPIC, 1), (TOPIC, 2), (TOPIC, 9), (TOPIC, -1), (unknown, 0)];
    let report = Beat { offline, ..beat_of(1, epochs[0]) };
    assert_eq!(say(&mut catalog, &report).records.len(), 2);
    assert_eq!((partition(&catalog, 0).leader, &*partition(&catalog, 0).isr), (2, [2, 3].as_slice()));
    assert_eq!((partition(&catalog, 1).leader, &*partition(&catalog, 1).isr), (2, [2, 3].as_slice()));
    assert_eq!(partition(&catalog, 2).leader, 1);
    assert!(say(&mut catalog, &report).records.is_empty());
    assert!(catalog.image().is_active(1), "its other disks serve");
}

#[test]
fn a_broker_whose_directories_are_all_cordoned_is_known_as_such_by_every_controller_and_after_it_registers_again() {
    let (mut catalog, epochs) = three();
    let cordoned = |catalog: &Catalog| catalog.image().brokers[&1].cordoned;
    let told = Beat { cordoned: Some(true), ..beat_of(1, epochs[0]) };
    assert_eq!(say(&mut catalog, &told).records.len(), 1);
    assert!(cordoned(&catalog));
    assert!(say(&mut catalog, &told).records.is_empty());
    assert!(say(&mut catalog, &beat_of(1, epochs[0])).records.is_empty(), "one that does not say changes nothing");
    // The next controller may start from a snapshot.
    let image = crate::topics::snapshot::decode(&crate::topics::snapshot::encode(catalog.image())).unwrap();
    assert!(image.brokers[&1].cordoned && !image.brokers[&2].cordoned);
    let epoch = join(&mut catalog, &again(1, epochs[0]));
    assert!(cordoned(&catalog));
    say(&mut catalog, &Beat { cordoned: Some(false), ..beat_of(1, epoch) });
    assert!(!cordoned(&catalog));
}

#[test]
fn a_broker_that_is_unregistered_leads_nothing_and_is_unknown_afterwards() {
    let (mut catalog, epochs) = three();
    let records = unregister(catalog.image(), 1, DEFAULTS).unwrap();
    apply(&mut catalog, &records);
    assert_eq!((partition(&catalog, 0).leader, &*partition(&catalog, 0).isr), (2, [2, 3].as_slice()));
    assert_eq!(check_epoch(catalog.image(), 1, epochs[0]), Err(BrokerEpochError::NotRegistered { broker: 1 }));
    assert!(unregister(catalog.image(), 1, DEFAULTS).is_err());
}

#[test]
fn what_a_broker_acknowledged_from_memory_is_in_doubt_after_an_unclean_stop() {
    for (cached, topic, in_doubt) in
        [(false, None, false), (true, None, true), (true, Some("false"), false), (false, Some("TRUE"), true)]
    {
        let (mut catalog, _) = three();
        let own = topic.map(|value| ("write.caching".to_owned(), value.to_owned()));
        let all_three = ("min.insync.replicas".to_owned(), "3".to_owned());
        let configs = own.into_iter().chain([all_three]).collect();
        apply(&mut catalog, &[Record::TopicConfigsChanged { id: TOPIC, configs }]);
        let mut restarted = again(1, -1);
        restarted.extras.write_caching = cached;
        join(&mut catalog, &restarted);
        assert_eq!(&*partition(&catalog, 0).isr, [2, 3]);
        assert_eq!(partition(&catalog, 0).elr().is_empty(), in_doubt, "{cached} {topic:?}");
        assert_eq!(partition(&catalog, 2).elr(), [1], "the last one that knows anything");
    }
}
