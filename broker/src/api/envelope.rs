//! Envelope, 0: a client's request, as the broker that got it passes it on to the active controller (KIP-590).
//!
//! Only on the controller listener, and only for requests that are forwarded. The client's address travels along.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use jackdaw_protocol::frame;
use jackdaw_protocol::messages::{EnvelopeRequest, EnvelopeResponse, ResponseError};

use super::{ConnectionInfo, Context, Handler, Reply, here};

impl Handler for EnvelopeRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<EnvelopeResponse> {
        if !ctx.broker.channel.is_active() {
            return Reply::Now(refused(ResponseError::NotController));
        }
        match begin(&self, ctx) {
            Err(error) => Reply::Now(refused(error)),
            Ok(begun) => Reply::later(async move {
                match begun.finish().await {
                    Ok(answer) => EnvelopeResponse::default().with_response_data(Some(answer)),
                    Err(reason) => {
                        tracing::warn!(reason, "a forwarded request has no answer");
                        refused(ResponseError::InvalidRequest)
                    }
                }
            }),
        }
    }
}

fn begin(envelope: &EnvelopeRequest, ctx: &Context<'_>) -> Result<here::Begun, ResponseError> {
    let invalid = |_| ResponseError::InvalidRequest;
    let frame = frame::parse_header(envelope.request_data.clone(), super::is_flexible).map_err(invalid)?;
    let row = super::find(frame.api_key).filter(|row| row.is_forwarded).ok_or(ResponseError::InvalidRequest)?;
    if !(row.min..=row.max).contains(&frame.api_version) {
        return Err(ResponseError::UnsupportedVersion);
    }
    let client = address(&envelope.client_host_address).ok_or(ResponseError::InvalidRequest)?;
    let connection = Arc::new(ConnectionInfo {
        id: ctx.connection.id,
        peer: SocketAddr::new(client, 0),
        local: ctx.connection.local,
        listener: ctx.connection.listener.clone(),
        serving: ctx.connection.serving,
    });
    let inner = Context {
        broker: ctx.broker,
        connection: &connection,
        client_id: frame.client_id.as_ref(),
        api_version: frame.api_version,
    };
    here::begin(&inner, frame.api_key, frame.body).map_err(|_| ResponseError::InvalidRequest)
}

/// The bytes of an address, as Java gives them.
fn address(bytes: &Bytes) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(&bytes[..]).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(&bytes[..]).map(IpAddr::from)).ok()
}

fn refused(error: ResponseError) -> EnvelopeResponse {
    EnvelopeResponse::default().with_response_data(None).with_error_code(error.code())
}
