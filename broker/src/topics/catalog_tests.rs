#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::cell::Cell;

use super::*;

/// A catalog on brokers 1, 2 and 3 that applies what its commands give, as a quorum of one would.
struct World {
    catalog: Catalog,
    log: Vec<Record>,
    last_id: Cell<u128>,
}

fn check(_: &str, configs: &Configs) -> Result<(), String> {
    configs.keys().find(|key| key.starts_with("bad")).map_or(Ok(()), |key| Err(format!("Unknown topic config {key}")))
}

/// Those that are registered, else brokers 1, 2 and 3.
fn brokers(catalog: &Catalog) -> Vec<placement::Broker<'_>> {
    let registered = placement::brokers(catalog.image());
    let active = |id| placement::Broker { id, rack: None, state: State::Active };
    if registered.is_empty() { (1..=3).map(active).collect() } else { registered }
}

impl World {
    fn new() -> World {
        World { catalog: Catalog::default(), log: Vec::new(), last_id: Cell::new(0) }
    }

    fn try_create(&mut self, commands: &[CreateTopic]) -> Vec<Result<Record, CreateTopicError>> {
        let new_id = || {
            self.last_id.set(self.last_id.get() + 1);
            Uuid::from_u128(self.last_id.get())
        };
        let rules = Rules {
            brokers: brokers(&self.catalog),
            default_partitions: 2,
            default_replication_factor: 1,
            check_configs: &check,
            new_id: &new_id,
        };
        let results = self.catalog.create_topics(commands, &rules);
        for record in results.iter().flatten() {
            self.catalog.apply(record).unwrap();
            self.log.push(record.clone());
        }
        results
    }

    fn create(&mut self, command: CreateTopic) -> Result<Arc<TopicImage>, CreateTopicError> {
        let name = command.name.clone();
        self.try_create(&[command]).remove(0).map(|_| self.catalog.image().topic(&name).unwrap().clone())
    }

    fn refusal(&mut self, command: CreateTopic) -> String {
        self.create(command).unwrap_err().to_string()
    }

    fn apply(&mut self, record: Record) {
        self.catalog.apply(&record).unwrap();
        self.log.push(record);
    }

    fn add(&mut self, topic: &str, count: i32, assignments: Option<Vec<Vec<i32>>>) -> Result<(), AddPartitionsError> {
        let rules = Rules {
            brokers: brokers(&self.catalog),
            default_partitions: 2,
            default_replication_factor: 1,
            check_configs: &check,
            new_id: &Uuid::nil,
        };
        let command = AddPartitions { topic: topic.to_owned(), count, assignments };
        let record = self.catalog.add_partitions(&[command], &rules).remove(0)?;
        self.apply(record);
        Ok(())
    }
}

fn named(name: &str) -> CreateTopic {
    CreateTopic::with_defaults(name)
}

fn sized(name: &str, partitions: i32, replication_factor: i16) -> CreateTopic {
    CreateTopic { partitions, replication_factor, ..named(name) }
}

fn assigned(assignments: &[(i32, &[i32])]) -> CreateTopic {
    let assignments = assignments.iter().map(|(partition, replicas)| (*partition, replicas.to_vec())).collect();
    CreateTopic { assignments, ..named("t") }
}

#[test]
fn a_topic_is_created_with_the_defaults_and_found_by_name_and_id() {
    let mut world = World::new();
    let topic = world.create(named("t")).unwrap();
    assert_eq!((topic.partitions.len(), topic.partitions[0].replicas.len()), (2, 1));
    assert_eq!(world.catalog.image().topic_by_id(topic.id).unwrap().name, topic.name);
    assert_eq!(world.catalog.image().partition_count(), 2);
}

#[test]
fn replicas_are_spread_over_the_brokers() {
    let mut world = World::new();
    let topic = world.create(sized("t", 6, 2)).unwrap();
    let leaders: Vec<i32> = topic.partitions.iter().map(|partition| partition.leader).collect();
    assert_eq!(leaders, [1, 2, 3, 1, 2, 3]);
    assert!(topic.partitions.iter().all(|partition| partition.replicas[0] != partition.replicas[1]));
}

#[test]
fn bad_names_are_refused() {
    let mut world = World::new();
    assert!(world.refusal(named("a b")).starts_with("Topic name is invalid: 'a b' contains"));
    assert_eq!(
        world.refusal(named("__cluster_metadata")),
        "Creation of internal topic __cluster_metadata is prohibited."
    );
    world.create(named("t")).unwrap();
    assert_eq!(world.refusal(named("t")), "Topic 't' already exists.");
}

#[test]
fn names_that_differ_only_in_dots_and_underscores_collide_until_the_first_is_gone() {
    let mut world = World::new();
    let first = world.create(named("a.b")).unwrap();
    assert_eq!(world.refusal(named("a_b")), "Topic 'a_b' collides with existing topic: a.b");
    world.apply(Record::TopicRemoved { id: first.id });
    world.create(named("a_b")).unwrap();
}

#[test]
fn topics_of_one_request_get_in_each_others_way_too() {
    let mut world = World::new();
    let results = world.try_create(&[named("a.b"), named("a_b"), named("a.b"), named("c")]);
    assert!(results[0].is_ok() && results[3].is_ok());
    assert!(matches!(results[1], Err(CreateTopicError::Collides { .. })));
    assert!(matches!(results[2], Err(CreateTopicError::AlreadyExists { .. })));
}

#[test]
fn partition_counts_must_be_positive_and_bounded() {
    let mut world = World::new();
    for partitions in [0, -2, i32::MIN] {
        assert_eq!(world.create(sized("t", partitions, -1)), Err(CreateTopicError::InvalidPartitions));
    }
    for partitions in [MAX_PARTITIONS_PER_REQUEST as i32 + 1, i32::MAX] {
        assert_eq!(
            world.create(sized("t", partitions, -1)),
            Err(CreateTopicError::TooManyPartitions(TooManyPartitions))
        );
    }
    let half = MAX_PARTITIONS_PER_REQUEST as i32 / 2 + 1;
    let results = world.try_create(&[sized("a", half, -1), sized("b", half, -1), sized("c", 1, -1)]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn replication_factors_must_be_positive_and_within_the_brokers() {
    let mut world = World::new();
    for factor in [0, -2] {
        let expected = CreateTopicError::ReplicationFactor(ReplicationFactorError::NotPositive);
        assert_eq!(world.create(sized("t", 1, factor)), Err(expected));
    }
    assert_eq!(
        world.refusal(sized("t", 1, 4)),
        "Unable to replicate the partition 4 time(s): The target replication factor of 4 cannot be reached because \
         only 3 broker(s) are registered."
    );
}

#[test]
fn a_manual_assignment_is_taken_as_given() {
    let mut world = World::new();
    let topic = world.create(assigned(&[(1, &[3, 1]), (0, &[2, 3])])).unwrap();
    let replicas: Vec<_> = topic.partitions.iter().map(|partition| partition.replicas.to_vec()).collect();
    assert_eq!(replicas, [[2, 3], [3, 1]]);
}

#[test]
fn a_manual_assignment_excludes_counts() {
    let mut world = World::new();
    let both = CreateTopic { partitions: 1, ..assigned(&[(0, &[1])]) };
    assert_eq!(
        world.refusal(both),
        "A manual partition assignment was specified, but numPartitions was not set to -1."
    );
    let both = CreateTopic { replication_factor: 1, ..assigned(&[(0, &[1])]) };
    assert_eq!(
        world.refusal(both),
        "A manual partition assignment was specified, but replication factor was not set to -1."
    );
}

#[test]
fn impossible_manual_assignments_are_refused() {
    let mut world = World::new();
    type Assignment<'a> = &'a [(i32, &'a [i32])];
    let cases: [(Assignment<'_>, AssignmentError); 6] = [
        (&[(0, &[1]), (0, &[2])], AssignmentError::Repeated(0)),
        (&[(0, &[1]), (2, &[2])], AssignmentError::Gap),
        (&[(0, &[])], AssignmentError::Empty),
        (&[(0, &[9])], AssignmentError::UnknownBroker(9)),
        (&[(0, &[1, 1])], AssignmentError::RepeatedBroker(1)),
        (&[(0, &[1]), (1, &[1, 2])], AssignmentError::Uneven { found: 2, expected: 1 }),
    ];
    for (assignment, error) in cases {
        assert_eq!(world.create(assigned(assignment)), Err(CreateTopicError::Assignment(error)));
    }
}

#[test]
fn configs_are_kept_and_bad_ones_refused() {
    let mut world = World::new();
    let with = |key: &str, value: Option<&str>| CreateTopic {
        configs: vec![(key.to_owned(), value.map(str::to_owned))],
        ..named("t")
    };
    assert_eq!(world.refusal(with("badkey", Some("1"))), "Unknown topic config badkey");
    assert_eq!(world.refusal(with("retention.ms", None)), "Null value not supported for topic configs: retention.ms");
    let topic = world.create(with("retention.ms", Some("5"))).unwrap();
    assert_eq!(topic.configs, Configs::from([("retention.ms".into(), "5".into())]));
}

#[test]
fn partitions_are_added_behind_the_existing_ones() {
    let mut world = World::new();
    world.create(sized("t", 2, 2)).unwrap();
    world.add("t", 4, None).unwrap();
    world.add("t", 5, Some(vec![vec![3, 2]])).unwrap();
    let topic = world.catalog.image().topic("t").unwrap();
    assert_eq!(topic.partitions.len(), 5);
    assert_eq!(*topic.partitions[4].replicas, [3, 2]);
    assert_eq!(world.catalog.image().partition_count(), 5);
}

#[test]
fn partitions_cannot_shrink_or_be_added_wrongly() {
    let mut world = World::new();
    world.create(sized("t", 2, 1)).unwrap();
    let message = |result: Result<(), AddPartitionsError>| result.unwrap_err().to_string();
    assert_eq!(world.add("nowhere", 4, None), Err(AddPartitionsError::UnknownTopic));
    assert_eq!(message(world.add("t", 2, None)), "Topic already has 2 partition(s).");
    for count in [1, 0, -1, i32::MIN] {
        let expected = format!("The topic t currently has 2 partition(s); {count} would not be an increase.");
        assert_eq!(message(world.add("t", count, None)), expected);
    }
    assert_eq!(world.add("t", i32::MAX, None), Err(TooManyPartitions.into()));
    assert_eq!(
        message(world.add("t", 4, Some(vec![vec![1]]))),
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
    );
    let uneven = AssignmentError::Uneven { found: 2, expected: 1 };
    assert_eq!(world.add("t", 3, Some(vec![vec![1, 2]])), Err(uneven.into()));
}

#[test]
fn a_removed_topic_is_gone_and_its_name_free() {
    let mut world = World::new();
    let first = world.create(named("t")).unwrap();
    world.apply(Record::TopicRemoved { id: first.id });
    assert!(world.catalog.image().topic("t").is_none());
    assert!(world.catalog.image().topic_by_id(first.id).is_none());
    assert_eq!(world.catalog.image().partition_count(), 0);
    assert_ne!(world.create(named("t")).unwrap().id, first.id);
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut world = World::new();
    let (record, first) = world.catalog.allocate_producer_ids(1);
    world.apply(record);
    let (record, second) = world.catalog.allocate_producer_ids(2);
    world.apply(record);
    assert_eq!((first, second), (0, PRODUCER_ID_BLOCK));
}

#[test]
fn a_broker_that_starts_leads_in_new_epochs() {
    let mut world = World::new();
    world.create(sized("t", 3, 1)).unwrap();
    world.apply(Record::BrokerStarted { broker: 2 });
    let epochs: Vec<i32> =
        world.catalog.image().topic("t").unwrap().partitions.iter().map(|partition| partition.leader_epoch).collect();
    assert_eq!(epochs, [0, 1, 0]);
}

#[test]
fn configs_of_brokers_and_groups_are_replaced_as_a_whole() {
    let mut world = World::new();
    let one = Configs::from([("a".into(), "1".into())]);
    world.apply(Record::BrokerConfigsChanged { broker: None, configs: one.clone() });
    world.apply(Record::BrokerConfigsChanged { broker: Some(1), configs: one.clone() });
    world.apply(Record::GroupConfigsChanged { group: "g".into(), configs: one.clone() });
    let image = world.catalog.image();
    assert_eq!((&*image.cluster_configs, &image.broker_configs[&1], &image.group_configs["g"]), (&one, &one, &one));
    world.apply(Record::BrokerConfigsChanged { broker: Some(1), configs: Configs::new() });
    assert!(world.catalog.image().broker_configs.is_empty());
}

#[test]
fn records_that_do_not_fit_are_reported_not_swallowed() {
    let mut catalog = Catalog::default();
    let id = Uuid::from_u128(1);
    assert_eq!(catalog.apply(&Record::TopicRemoved { id }), Err(ApplyError::UnknownTopic(id)));
    let created =
        Record::TopicCreated { name: "t".into(), id, assignments: vec![vec![1]], configs: Configs::default() };
    catalog.apply(&created).unwrap();
    assert_eq!(catalog.apply(&created), Err(ApplyError::TopicExists("t".into())));
}

#[test]
fn replaying_the_records_gives_the_same_image() {
    let mut world = World::new();
    world.create(sized("a.b", 3, 2)).unwrap();
    let gone = world.create(named("gone")).unwrap();
    world.add("a.b", 5, None).unwrap();
    world.apply(Record::TopicRemoved { id: gone.id });
    world.apply(Record::FeatureLevelChanged { name: "metadata.version".into(), level: 27 });
    world.apply(Record::BrokerStarted { broker: 1 });
    let (record, _) = world.catalog.allocate_producer_ids(1);
    world.apply(record);

    let mut replayed = Catalog::default();
    for record in &world.log {
        replayed.apply(&Record::decode(&record.encode()).unwrap()).unwrap();
    }
    assert_eq!(format!("{:?}", replayed.image()), format!("{:?}", world.catalog.image()));
    assert!(world.refusal(named("a_b")).contains("collides"));
    assert_eq!(replayed.colliding, world.catalog.colliding);
}

#[test]
fn a_replica_on_a_broker_that_is_fenced_is_not_in_sync_at_first() {
    let mut cluster = crate::controller::testing::Cluster::of(3);
    cluster.fence(1);
    cluster.topic("t", &[&[1, 2, 3], &[2, 3]]);
    let partition = cluster.partition("t", 0);
    assert_eq!((&*partition.isr, partition.leader), ([2, 3].as_slice(), 2));
    let id = cluster.image().topic("t").unwrap().id;
    cluster.apply(&Record::PartitionsAdded { id, assignments: vec![vec![1, 3]] });
    let added = cluster.partition("t", 2);
    assert_eq!((&*added.isr, added.leader), ([3].as_slice(), 3));
    assert_eq!(check_active(0, &[1], &placement::brokers(cluster.image())), Err(AssignmentError::NobodyActive(0)));
}
