//! Requests handled in this process that came on no connection: from this node itself, or in an Envelope.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use jackdaw_protocol::guard;
use jackdaw_protocol::messages::{self, Decodable, Request};

use super::{ConnectionInfo, Context, Served, Serving, find};
use crate::broker::Broker;
use crate::net::Outgoing;

/// Handles a request of this node itself, as the active controller would one that came on its listener.
pub async fn call<R: Request>(broker: &Arc<Broker>, request: &R, version: i16) -> Result<R::Response, String> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).map_err(|error| error.to_string())?;
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let listener = "this node".into();
    let connection =
        Arc::new(ConnectionInfo { id: 0, peer: nowhere, local: nowhere, listener, serving: Serving::Controller });
    let begun = {
        let ctx = Context { broker, connection: &connection, client_id: None, api_version: version };
        begin(&ctx, R::KEY, body.freeze())?
    };
    let mut answer = begun.finish().await?;
    guard::check_response(R::KEY, version, &answer).map_err(|error| error.to_string())?;
    R::Response::decode(&mut answer, version).map_err(|error| error.to_string())
}

/// A request whose work is done.
pub(super) struct Begun {
    served: Served,
    out: Outgoing,
    has_tags: bool,
}

/// Does the work of a request of a served version.
pub(super) fn begin(ctx: &Context<'_>, key: i16, body: Bytes) -> Result<Begun, String> {
    let serve = find(key).and_then(|row| row.each()).ok_or_else(|| format!("API key {key} is not served"))?;
    let mut out = Outgoing::default();
    let served = serve(ctx, 0, body, &mut out);
    let has_tags = messages::response_header_version(key, ctx.api_version) == Some(1);
    Ok(Begun { served, out, has_tags })
}

impl Begun {
    /// The body of the answer.
    pub(super) async fn finish(self) -> Result<Bytes, String> {
        let mut out = match self.served {
            Served::Answered => self.out,
            Served::Later(coming) => coming.await,
            Served::Silent => return Err("the request has no answer".to_owned()),
            Served::Close(reason) => return Err(reason),
        };
        if let Some(reason) = out.take_broken() {
            return Err(reason);
        }
        let mut frame = out.into_bytes();
        // Length and header, which the caller replaces by its own.
        let head = 8 + usize::from(self.has_tags);
        if frame.len() < head {
            return Err("the answer has no header".to_owned());
        }
        frame.advance(head);
        Ok(frame)
    }
}
