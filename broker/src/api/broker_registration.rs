//! BrokerRegistration, 0 to 4: a broker that starts asks to be one of the cluster. Controller listener only.
//!
//! Version notes: 2 adds log directories (KIP-858), 3 the epoch of the last clean stop (KIP-966). What Kafka's message has
//! no field for, the settings of the size rule above all, travels in a tagged field of our own; the answer's says why a
//! registration was refused.

use bytes::Bytes;
use jackdaw_protocol::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse};

use super::{Context, Handler, Reply, errors};
use crate::cluster::members;
use crate::controller::registration::{Application, Extras};
use crate::topics::record::Endpoint;

/// Tag of our own field, in request and answer. Far from Kafka's, which count from 0.
pub(crate) const TAG: i32 = 0x4a44;
/// What our own field of a request may have.
const EXTRAS_MAX: usize = 1 << 20;

impl Handler for BrokerRegistrationRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<BrokerRegistrationResponse> {
        let wish = application(&self);
        let connection = (ctx.connection.id != 0).then_some(ctx.connection.id);
        let response = BrokerRegistrationResponse::default();
        let result = ctx.broker.blocking(|| members::register(ctx.broker, &wish, connection));
        let failure = match result {
            Ok(Ok(epoch)) => {
                tracing::info!(broker = wish.broker, epoch, "broker registered");
                return Reply::Now(response.with_broker_epoch(epoch));
            }
            Ok(Err(refused)) => {
                tracing::warn!(broker = wish.broker, reason = %refused, "registration of a broker refused");
                errors::registration(&refused)
            }
            Err(error) => errors::change(&error),
        };
        let why = failure.message.map_or_else(Bytes::new, |why| Bytes::from(why.into_owned()));
        let refused = response.with_error_code(failure.error.code()).with_broker_epoch(-1);
        Reply::Now(refused.with_unknown_tagged_field(TAG, why))
    }
}

fn application(request: &BrokerRegistrationRequest) -> Application {
    let endpoint = |listener: &jackdaw_protocol::messages::broker_registration_request::Listener| Endpoint {
        name: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    };
    let extras = request.unknown_tagged_fields.get(&TAG).filter(|bytes| bytes.len() <= EXTRAS_MAX);
    Application {
        broker: request.broker_id.0,
        cluster_id: request.cluster_id.to_string(),
        incarnation: request.incarnation_id,
        rack: request.rack.as_ref().map(ToString::to_string),
        listeners: request.listeners.iter().map(endpoint).collect(),
        dirs: request.log_dirs.clone(),
        previous_epoch: request.previous_broker_epoch,
        // What cannot be read leaves the settings out, and the registration is refused for that.
        extras: extras.and_then(|bytes| serde_json::from_slice::<Extras>(bytes).ok()).unwrap_or_default(),
    }
}
