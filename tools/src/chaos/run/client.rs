//! A client that gives up soon, and begins anew with whoever answers.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::client::{Client, ClientError};

/// How long one request may take, with all that it needs to be sent.
pub(super) const ATTEMPT: Duration = Duration::from_secs(3);
/// How long it may take to find anybody.
const CONNECT: Duration = Duration::from_secs(1);

/// Connections to the cluster, made when they are needed.
pub(super) struct ChaosClient {
    bootstrap: Vec<String>,
    random: StdRng,
    client: Option<Client>,
}

impl ChaosClient {
    pub(super) fn new(bootstrap: &[String], seed: u64) -> ChaosClient {
        ChaosClient { bootstrap: bootstrap.to_vec(), random: StdRng::seed_from_u64(seed), client: None }
    }

    /// The client of now; connected first if there is none. Whom it asks first is drawn by lot: the last one may be frozen.
    pub(super) async fn get(&mut self) -> Result<&Client, ClientError> {
        if self.client.is_none() {
            self.bootstrap.shuffle(&mut self.random);
            let connecting = tokio::time::timeout(CONNECT, Client::connect(&self.bootstrap)).await;
            self.client = Some(connecting.unwrap_or_else(|_| Err(late(CONNECT)))?);
        }
        self.client.as_ref().ok_or_else(|| late(CONNECT))
    }

    /// Drops all connections, and what is known of leaders.
    pub(super) fn forget(&mut self) {
        self.client = None;
    }
}

pub(super) fn late(after: Duration) -> ClientError {
    ClientError::Timeout { address: "the cluster".to_owned(), api: "this attempt", after }
}

/// Bounds an attempt.
pub(super) async fn attempt<T>(work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    tokio::time::timeout(ATTEMPT, work).await.unwrap_or_else(|_| Err(late(ATTEMPT)))
}
