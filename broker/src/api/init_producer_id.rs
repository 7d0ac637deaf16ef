//! InitProducerId, 0 to 5: an id for an idempotent producer (KIP-98).
//!
//! Version 3 lets a producer name the id it has (KIP-360); without a transactional id it gets a new one.
//!
//! Transactions are not served yet. A transactional id is answered with TRANSACTIONAL_ID_AUTHORIZATION_FAILED: the one
//! code that every client reports at once; Java fails on any other too, but librdkafka would retry it until its timeout.

use jackdaw_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId, ResponseError};

use super::{Context, Handler, Reply};
use crate::cluster::producer_ids;

const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

impl Handler for InitProducerIdRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<InitProducerIdResponse> {
        if let Err(error) = check(&self, ctx.broker.config().transaction_max_timeout_ms) {
            if error == ResponseError::TransactionalIdAuthorizationFailed {
                let (id, client) = (self.transactional_id.as_deref().map(|id| id.as_str()), ctx.client_id());
                tracing::warn!(transactional_id = id, client_id = client, "refused: transactions are not served yet");
            }
            return Reply::Now(refused(error));
        }
        if !ctx.broker.channel.is_active() {
            let broker = ctx.broker.clone();
            return Reply::later(async move {
                match producer_ids::next(&broker).await {
                    Ok(id) => given(id),
                    Err(error) => {
                        tracing::warn!(%error, "no producer id can be had");
                        // Which every client takes for a reason to try again.
                        refused(ResponseError::CoordinatorLoadInProgress)
                    }
                }
            });
        }
        Reply::Now(match ctx.broker.blocking(|| ctx.broker.topics.next_producer_id()) {
            Ok(id) => given(id),
            Err(error) => {
                tracing::error!(%error, "cannot allocate producer ids");
                refused(ResponseError::KafkaStorageError)
            }
        })
    }
}

fn check(request: &InitProducerIdRequest, longest_timeout_ms: i32) -> Result<(), ResponseError> {
    if (request.producer_id.0 == NO_ID) != (request.producer_epoch == NO_EPOCH) {
        return Err(ResponseError::InvalidRequest);
    }
    match &request.transactional_id {
        None => Ok(()),
        Some(id) if id.is_empty() => Err(ResponseError::InvalidRequest),
        Some(_) if !(1..=longest_timeout_ms).contains(&request.transaction_timeout_ms) => {
            Err(ResponseError::InvalidTransactionTimeout)
        }
        Some(_) => Err(ResponseError::TransactionalIdAuthorizationFailed),
    }
}

fn given(id: i64) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0)
}

fn refused(error: ResponseError) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(ProducerId(NO_ID))
        .with_producer_epoch(NO_EPOCH)
}

#[cfg(test)]
mod tests {
    use jackdaw_protocol::messages::{StrBytes, TransactionalId};

    use super::*;

    fn plain() -> InitProducerIdRequest {
        InitProducerIdRequest::default().with_transactional_id(None)
    }

    fn transactional(id: &'static str, timeout_ms: i32) -> InitProducerIdRequest {
        plain()
            .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str(id))))
            .with_transaction_timeout_ms(timeout_ms)
    }

    #[test]
    fn an_idempotent_producer_is_served_with_or_without_an_id_of_its_own() {
        assert_eq!(check(&plain(), 900_000), Ok(()));
        assert_eq!(check(&plain().with_producer_id(ProducerId(7)).with_producer_epoch(3), 900_000), Ok(()));
    }

    #[test]
    fn an_id_without_an_epoch_is_an_invalid_request_and_the_reverse() {
        assert_eq!(check(&plain().with_producer_id(ProducerId(7)), 900_000), Err(ResponseError::InvalidRequest));
        assert_eq!(check(&plain().with_producer_epoch(0), 900_000), Err(ResponseError::InvalidRequest));
    }

    #[test]
    fn a_transactional_producer_is_refused_so_that_it_does_not_retry() {
        assert_eq!(check(&transactional("", 1_000), 900_000), Err(ResponseError::InvalidRequest));
        assert_eq!(check(&transactional("t", 900_001), 900_000), Err(ResponseError::InvalidTransactionTimeout));
        assert_eq!(check(&transactional("t", 0), 900_000), Err(ResponseError::InvalidTransactionTimeout));
        assert_eq!(
            check(&transactional("t", 900_000), 900_000),
            Err(ResponseError::TransactionalIdAuthorizationFailed)
        );
    }
}
