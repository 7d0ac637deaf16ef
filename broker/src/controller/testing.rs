//! A cluster's metadata in a test's hands.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use uuid::Uuid;

use crate::controller::election::{Election, Goal, settle};
use crate::topics::catalog::Catalog;
use crate::topics::image::{Configs, Image, PartitionImage};
use crate::topics::record::{ElectionDefaults, Record, Registration};

pub(crate) const DEFAULTS: ElectionDefaults = ElectionDefaults { min_insync_replicas: 1, unclean: false };

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
            let registration = Registration {
                epoch: i64::from(broker),
                incarnation: Uuid::from_u128(broker as u128),
                rack: rack.map(str::to_owned),
                listeners: Vec::new(),
                dirs: Vec::new(),
                message_max_bytes: 1 << 20,
                replica_fetch_max_bytes: None,
                write_caching: false,
            };
            cluster.apply(&Record::BrokerRegistered { broker, registration, unclean: false, defaults: DEFAULTS });
            cluster.unfence(broker);
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
