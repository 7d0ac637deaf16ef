//! A cluster's metadata in a test's hands.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use uuid::Uuid;

use crate::controller::election::{Election, Goal, settle};
use crate::topics::catalog::Catalog;
use crate::topics::image::{Configs, Image, PartitionImage};
use crate::topics::record::{ElectionDefaults, Record, Registration};

pub(crate) const DEFAULTS: ElectionDefaults = ElectionDefaults { min_insync_replicas: 1, unclean: false };

/// What a broker that has nothing special says of itself.
pub(crate) fn registration(broker: i32, epoch: i64) -> Registration {
    Registration {
        epoch,
        incarnation: Uuid::from_u128(broker as u128),
        rack: None,
        listeners: Vec::new(),
        dirs: Vec::new(),
        message_max_bytes: 1 << 20,
        replica_fetch_max_bytes: None,
        write_caching: false,
    }
}

/// The epoch of a broker that no process is, in the metadata of a broker that is one: above all that it will have.
pub(crate) fn far_epoch(broker: i32) -> i64 {
    1_000_000 + i64::from(broker)
}

/// What makes the broker one that is registered and active.
pub(crate) fn registered(broker: i32, registration: Registration) -> [Record; 2] {
    let epoch = registration.epoch;
    [
        Record::BrokerRegistered { broker, registration, unclean: false, defaults: DEFAULTS },
        Record::BrokerUnfenced { broker, epoch, defaults: DEFAULTS },
    ]
}

/// Brokers 1 to n, registered and active, and the topics made since.
pub(crate) struct Cluster {
    catalog: Catalog,
}

impl Cluster {
    pub(crate) fn of(brokers: i32) -> Cluster {
        Cluster::in_racks(&(1..=brokers).map(|_| None).collect::<Vec<_>>())
    }

    pub(crate) fn in_racks(racks: &[Option<&str>]) -> Cluster {
        let mut cluster = Cluster { catalog: Catalog::default() };
        for (broker, rack) in (1..).zip(racks) {
            let own = registration(broker, i64::from(broker));
            let own = Registration { rack: rack.map(str::to_owned), ..own };
            registered(broker, own).iter().for_each(|record| cluster.apply(record));
        }
        cluster
    }

    pub(crate) fn image(&self) -> &Image {
        self.catalog.image()
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        self.catalog.apply(record).unwrap();
    }

    pub(crate) fn topic(&mut self, name: &str, assignments: &[&[i32]]) {
        self.apply(&Record::TopicCreated {
            name: name.to_owned(),
            id: Uuid::new_v4(),
            assignments: assignments.iter().map(|replicas| replicas.to_vec()).collect(),
            configs: Configs::new(),
        });
    }

    pub(crate) fn configure(&mut self, topic: &str, name: &str, value: &str) {
        let id = self.image().topic(topic).unwrap().id;
        self.apply(&Record::TopicConfigsChanged { id, configs: Configs::from([(name.to_owned(), value.to_owned())]) });
    }

    pub(crate) fn fence(&mut self, broker: i32) {
        self.apply(&Record::BrokerFenced { broker, epoch: i64::from(broker), defaults: DEFAULTS });
    }

    pub(crate) fn unfence(&mut self, broker: i32) {
        self.apply(&Record::BrokerUnfenced { broker, epoch: i64::from(broker), defaults: DEFAULTS });
    }

    pub(crate) fn partition(&self, topic: &str, partition: usize) -> PartitionImage {
        self.image().topic(topic).unwrap().partitions[partition].clone()
    }

    /// As the leader's AlterPartition would have it.
    pub(crate) fn isr(&mut self, topic: &str, partition: usize, isr: &[i32]) {
        let goal = Goal { isr: Some(isr), ..Goal::elect(Election::Online, DEFAULTS.min_insync_replicas) };
        let before = self.partition(topic, partition);
        if let Some(after) = settle(&before, &goal, &|broker| self.image().is_active(broker)) {
            let id = self.image().topic(topic).unwrap().id;
            self.apply(&Record::PartitionChanged { id, partition: partition as i32, state: after.state() });
        }
    }
}
