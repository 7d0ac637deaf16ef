//! Producer ids of a broker that is not the active controller: blocks of them, got from it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jackdaw_protocol::messages::{AllocateProducerIdsRequest, BrokerId, ResponseError};
use tokio::sync::Mutex;

use super::channel::{self, ChannelError};
use crate::broker::Broker;

/// Why there is no producer id.
#[derive(Debug, thiserror::Error)]
pub enum ProducerIdError {
    /// The controller did not answer.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The controller refuses.
    #[error("the controller gives no producer ids: {error:?} (this broker is of epoch {epoch})")]
    Refused {
        /// Kafka's error.
        error: Option<ResponseError>,
        /// The broker epoch that was sent.
        epoch: i64,
    },
}

/// The ids in hand that no producer has yet.
#[derive(Default)]
pub struct ProducerIds {
    left: Mutex<Range<i64>>,
}

/// An id that no other producer has or had.
///
/// # Errors
/// None is left, and the controller gave no more.
pub async fn next(broker: &Arc<Broker>) -> Result<i64, ProducerIdError> {
    let mut left = broker.producer_ids.left.lock().await;
    if let Some(id) = left.next() {
        return Ok(id);
    }
    let node = broker.node_id();
    let epoch = broker.topics.image().brokers.get(&node).map_or(-1, |known| known.registration.epoch);
    let request = AllocateProducerIdsRequest::default().with_broker_id(BrokerId(node)).with_broker_epoch(epoch);
    let within = Duration::from_millis(broker.config().request_timeout_ms);
    let answer = channel::call_controller(broker, &request, within).await?;
    let first = answer.producer_id_start.0;
    *left = first..first.saturating_add(i64::from(answer.producer_id_len));
    match left.next() {
        Some(id) if answer.error_code == 0 => Ok(id),
        _ => {
            *left = 0..0;
            Err(ProducerIdError::Refused { error: ResponseError::try_from_code(answer.error_code), epoch })
        }
    }
}
