//! AllocateProducerIds, 0: a block of producer ids for a broker (KIP-730). Only the controller serves it.

use jackdaw_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerId, ResponseError};

use super::{Context, Handler, Reply};
use crate::topics::ChangeError;
use crate::topics::catalog::PRODUCER_ID_BLOCK;

impl Handler for AllocateProducerIdsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<AllocateProducerIdsResponse> {
        let (broker, epoch) = (self.broker_id.0, self.broker_epoch);
        let allocated = ctx.broker.blocking(|| {
            ctx.broker.topics.change(|catalog| {
                if catalog.image().broker_of_epoch(broker, epoch).is_none() {
                    return (Vec::new(), Err(refusal(catalog.image().brokers.contains_key(&broker))));
                }
                let (record, first) = catalog.allocate_producer_ids(broker);
                (vec![record], Ok(first))
            })
        });
        let answer = AllocateProducerIdsResponse::default();
        let refused = |error: ResponseError| answer.clone().with_error_code(error.code());
        Reply::Now(match allocated {
            Ok(Ok(first)) => {
                let len = i32::try_from(PRODUCER_ID_BLOCK).unwrap_or(i32::MAX);
                answer.with_producer_id_start(ProducerId(first)).with_producer_id_len(len)
            }
            Ok(Err(error)) => refused(error),
            Err(ChangeError::NotController { .. }) => refused(ResponseError::NotController),
            Err(error) => {
                tracing::error!(%error, "cannot allocate producer ids");
                refused(ResponseError::UnknownServerError)
            }
        })
    }
}

fn refusal(is_known: bool) -> ResponseError {
    if is_known { ResponseError::StaleBrokerEpoch } else { ResponseError::BrokerIdNotRegistered }
}
