//! Requests that only the active controller decides: a broker that is not it passes them on, and the answer back.
//!
//! The one mechanism for all of them: a row made with [`forwarded_row`](super::forwarded_row). The request's bytes go as
//! they came, in an Envelope with the client's address, to the controller's listener.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use jackdaw_protocol::messages::{EnvelopeRequest, HeaderVersion, ResponseError};

use super::{Context, Handler, Served, Serving, decode, serve};
use crate::cluster::channel;
use crate::net::Outgoing;

/// A request that only the active controller decides.
pub trait Forwarded: Handler {
    /// The answer to a request that found no controller: everything in it failed, for this reason.
    fn refuse(self, version: i16, error: ResponseError, message: &str) -> Self::Response;

    /// Whether this broker answers by itself what is asked.
    fn is_local(&self, _ctx: &Context<'_>) -> bool {
        false
    }
}

/// Handles the request if this node is the active controller, and passes it on if it is not.
pub(super) fn serve_or_forward<H: Forwarded>(
    ctx: &Context<'_>,
    correlation_id: i32,
    body: Bytes,
    out: &mut Outgoing,
) -> Served {
    if ctx.broker.channel.is_active() {
        return serve::<H>(ctx, correlation_id, body, out);
    }
    let version = ctx.api_version;
    let request = match decode::<H>(version, body.clone()) {
        Ok(request) => request,
        Err(reason) => return Served::Close(reason),
    };
    if request.is_local(ctx) {
        return serve::<H>(ctx, correlation_id, body, out);
    }
    if ctx.connection.serving == Serving::Controller {
        // Who asks here looks for the active controller by itself.
        let message = "This is not the correct controller for this cluster.";
        let response = request.refuse(version, ResponseError::NotController, message);
        return match <H as Handler>::encode(response, correlation_id, version, out) {
            Ok(()) => Served::Answered,
            Err(reason) => Served::Close(reason),
        };
    }
    let envelope = envelope::<H>(ctx, &body);
    let within = Duration::from_millis(ctx.broker.config().request_timeout_ms);
    let broker = ctx.broker.clone();
    Served::Later(Box::pin(async move {
        let mut out = Outgoing::default();
        let refused = match channel::call_controller(&broker, &envelope, within).await {
            Ok(answer) => match (answer.response_data, ResponseError::try_from_code(answer.error_code)) {
                (Some(data), None) => {
                    let flexible = <H::Response as HeaderVersion>::header_version(version) >= 1;
                    let len = data.len();
                    out.frame_of_parts(correlation_id, flexible, [data], len);
                    return out;
                }
                (_, error) => {
                    let error = error.unwrap_or(ResponseError::UnknownServerError);
                    request.refuse(version, error, "The controller did not take the request.")
                }
            },
            Err(error) => {
                tracing::warn!(%error, api_key = H::KEY, "a request that only the controller decides is not answered");
                request.refuse(version, ResponseError::RequestTimedOut, &error.to_string())
            }
        };
        match <H as Handler>::encode(refused, correlation_id, version, &mut out) {
            Ok(()) => out,
            Err(reason) => Outgoing::broken(reason),
        }
    }))
}

/// The request with its header, as it would be on a connection, and whom it came from.
fn envelope<H: Handler>(ctx: &Context<'_>, body: &Bytes) -> EnvelopeRequest {
    let client_id = ctx.client_id.map(|id| id.as_bytes());
    let mut data = BytesMut::with_capacity(11 + client_id.map_or(0, <[u8]>::len) + body.len());
    data.put_i16(H::KEY);
    data.put_i16(ctx.api_version);
    data.put_i32(0);
    // Two bytes said its length when it came.
    data.put_i16(client_id.map_or(-1, |id| id.len() as i16));
    data.put_slice(client_id.unwrap_or_default());
    if H::header_version(ctx.api_version) >= 2 {
        data.put_u8(0);
    }
    data.put_slice(body);
    let host = match ctx.connection.peer.ip() {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    };
    EnvelopeRequest::default()
        .with_request_data(data.freeze())
        .with_request_principal(None)
        .with_client_host_address(host)
}
