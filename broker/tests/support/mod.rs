//! A broker in this process and a client that speaks to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jackdaw_broker::Broker;
use jackdaw_broker::broker::Running;
use jackdaw_broker::config::{Config, ConfigSources};
use jackdaw_broker::topics::catalog::CreateTopic;
use jackdaw_protocol::messages::{
    Decodable, Encodable, HeaderVersion, Request, RequestHeader, ResponseHeader, StrBytes,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    running: Running,
    settings: Vec<(String, String)>,
    dir: TempDir,
}

impl Server {
    /// A broker whose groups do not wait for more members.
    pub(crate) async fn start() -> Server {
        Server::start_with(&[("group.initial.rebalance.delay.ms", "0")]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Server {
        let mut settings: Vec<(String, String)> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        if !settings.iter().any(|(key, _)| key == "group.initial.rebalance.delay.ms") {
            settings.push(("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned()));
        }
        Server::open(tempfile::tempdir().unwrap(), settings).await
    }

    async fn open(dir: TempDir, settings: Vec<(String, String)>) -> Server {
        let sources = ConfigSources {
            overrides: settings.clone(),
            data_dir: Some(dir.path().to_owned()),
            listen: vec!["127.0.0.1:0".to_owned()],
            ..ConfigSources::default()
        };
        let loaded = Config::load(&sources).unwrap();
        let running = Broker::start(loaded.config).await.unwrap();
        Server { running, settings, dir }
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.running.broker
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    fn address(&self) -> SocketAddr {
        self.running.listening[0].1
    }

    pub(crate) fn topic(&self, name: &str, partitions: i32) {
        let command = CreateTopic { partitions, ..CreateTopic::with_defaults(name) };
        tokio::task::block_in_place(|| self.broker().topics.create(&[command], false)).remove(0).unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address()).await.unwrap(), next: 0 }
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    pub(crate) async fn restart(self) -> Server {
        let Server { running, settings, dir } = self;
        running.stop().await;
        Server::open(dir, settings).await
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    next: i32,
}

impl Client {
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation_id = self.send(version, request).await;
        self.receive::<R>(version, correlation_id).await
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.next += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next)
            .with_client_id(Some(StrBytes::from_static_str("tester")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap();
        let mut frame = BytesMut::with_capacity(4 + body.len());
        frame.put_i32(body.len() as i32);
        frame.extend_from_slice(&body);
        self.stream.write_all(&frame).await.unwrap();
        self.next
    }

    pub(crate) async fn receive<R: Request>(&mut self, version: i16, correlation_id: i32) -> R::Response {
        let mut frame: Bytes = tokio::time::timeout(PATIENCE, self.frame()).await.expect("an answer in time");
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, correlation_id);
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(!frame.has_remaining(), "nothing follows the answer");
        response
    }

    async fn frame(&mut self) -> Bytes {
        let len = self.stream.read_i32().await.unwrap();
        let mut frame = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut frame).await.unwrap();
        frame.into()
    }
}
