//! A whole broker in a test's hands, asked without a socket.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;

use jackdaw_protocol::messages::{Decodable, StrBytes, TopicName};
use jackdaw_protocol::records::{Batch, BatchBuilder, Codec};
use jackdaw_storage::Origin;

use super::{ConnectionInfo, Context, Handler, Reply, Serving};
use crate::broker::{Broker, Running};
use crate::config::{Config, ConfigSources};
use crate::net::Outgoing;

/// A broker on a directory of its own.
pub(crate) struct TestBroker {
    running: Running,
    dir: tempfile::TempDir,
    connection: Arc<ConnectionInfo>,
}

impl TestBroker {
    pub(crate) async fn start(overrides: &[(&str, &str)]) -> TestBroker {
        TestBroker::start_in(tempfile::tempdir().unwrap(), overrides).await
    }

    async fn start_in(dir: tempfile::TempDir, overrides: &[(&str, &str)]) -> TestBroker {
        let sources = ConfigSources {
            overrides: overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            data_dir: Some(dir.path().join("data")),
            listen: vec!["127.0.0.1:0".to_owned()],
            ..ConfigSources::default()
        };
        let running = Broker::start(Config::load(&sources).unwrap().config).await.unwrap();
        let (listener, local) = running.listening[0].clone();
        let peer = "127.0.0.1:9".parse().unwrap();
        let connection = Arc::new(ConnectionInfo { id: 1, peer, local, listener, serving: Serving::Clients });
        TestBroker { running, dir, connection }
    }

    /// Stops cleanly and starts again on the same directory.
    pub(crate) async fn restart(self, overrides: &[(&str, &str)]) -> TestBroker {
        self.restart_after(overrides, |_| {}).await
    }

    /// The same, with something done to the data directory in between.
    pub(crate) async fn restart_after(self, overrides: &[(&str, &str)], tamper: impl FnOnce(&Path)) -> TestBroker {
        let data = self.data_dir();
        let TestBroker { running, dir, .. } = self;
        running.stop().await;
        tamper(&data);
        TestBroker::start_in(dir, overrides).await
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.running.broker
    }

    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("data")
    }

    /// The address that clients are told.
    pub(crate) fn port(&self) -> i32 {
        i32::from(self.connection.local.port())
    }

    /// Handles a request of that version, and makes sure that the answer can be written in it.
    pub(crate) async fn ask<H: Handler>(&self, version: i16, request: H) -> H::Response
    where
        H::Response: Clone,
    {
        let ctx =
            Context { broker: self.broker(), connection: &self.connection, client_id: None, api_version: version };
        let response = match request.handle(&ctx) {
            Reply::Now(response) => response,
            Reply::Later(future) => future.await,
            Reply::Silent | Reply::Close(_) => panic!("no answer"),
        };
        <H as Handler>::encode(response.clone(), 1, version, &mut Outgoing::default()).unwrap();
        response
    }

    /// Sends a request through the table of APIs, as a connection would.
    pub(crate) async fn serve<H: Handler>(&self, version: i16, request: H) -> H::Response {
        let mut body = bytes::BytesMut::new();
        request.encode(&mut body, version).unwrap();
        let begun = {
            let ctx =
                Context { broker: self.broker(), connection: &self.connection, client_id: None, api_version: version };
            super::here::begin(&ctx, H::KEY, body.freeze()).unwrap()
        };
        H::Response::decode(&mut begun.finish().await.unwrap(), version).unwrap()
    }

    /// Makes a topic with the broker's defaults for replicas.
    pub(crate) fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let command = crate::topics::catalog::CreateTopic {
            partitions,
            configs: configs.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect(),
            ..crate::topics::catalog::CreateTopic::with_defaults(name)
        };
        self.broker().topics.create(&[command], false).remove(0).unwrap();
    }

    /// Appends a batch of one record for each timestamp to partition 0.
    pub(crate) fn append(&self, topic: &str, timestamps: &[i64]) {
        let mut builder = BatchBuilder::new(Codec::None);
        for timestamp in timestamps {
            builder.push(*timestamp, Some(b"k"), Some(b"v"), &[]);
        }
        let batch = Batch::check(builder.build()).unwrap();
        let mut results = Vec::new();
        let partition = self.broker().topics.find(topic, 0).unwrap();
        partition.append(&[batch], Origin::Client, self.broker().clock.now_ms(), &mut results);
        results.remove(0).unwrap();
    }
}

/// A topic's name for a request.
pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
