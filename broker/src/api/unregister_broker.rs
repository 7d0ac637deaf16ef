//! UnregisterBroker, 0: a broker that will not come back is none of the cluster any more (KIP-500).

use jackdaw_protocol::messages::{ResponseError, StrBytes, UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::errors::{self, Failure};
use super::{Context, Forwarded, Handler, Reply};
use crate::cluster::members;

impl Handler for UnregisterBrokerRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<UnregisterBrokerResponse> {
        let failure = match ctx.broker.blocking(|| members::unregister(ctx.broker, self.broker_id.0)) {
            Ok(Ok(())) => return Reply::Now(UnregisterBrokerResponse::default()),
            Ok(Err(unknown)) => errors::broker_epoch(unknown),
            Err(error) => errors::change(&error),
        };
        Reply::Now(refused(failure))
    }
}

impl Forwarded for UnregisterBrokerRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> UnregisterBrokerResponse {
        refused(Failure::with(error, message.to_owned()))
    }
}

fn refused(failure: Failure) -> UnregisterBrokerResponse {
    let message = failure.message.map(|message| StrBytes::from_string(message.into_owned()));
    UnregisterBrokerResponse::default().with_error_code(failure.error.code()).with_error_message(message)
}
