//! What a node answers to others.

use bytes::Bytes;

use crate::machine::Machine;
use crate::node::Inner;
use crate::wire::{self, Answer, Ask, Refusal, Request};

pub(crate) async fn handle<M: Machine>(inner: &Inner<M>, request: Bytes) -> Bytes {
    let (answer, body) = match answer(inner, &request).await {
        Ok(answered) => answered,
        Err(refusal) => (Answer::Refused(refusal), Bytes::new()),
    };
    wire::encode(&answer, &body)
}

async fn answer<M: Machine>(inner: &Inner<M>, request: &Bytes) -> Result<(Answer, Bytes), Refusal> {
    let (request, _body): (Request, Bytes) =
        wire::decode(request).map_err(|error| Refusal::NotUnderstood(error.to_string()))?;
    let ended = |error: &dyn std::fmt::Display| Refusal::Ended(error.to_string());
    let answer = match request.ask {
        Ask::Append(rpc) => Answer::Append(inner.raft.append_entries(rpc).await.map_err(|error| ended(&error))?),
        Ask::Vote(rpc) => Answer::Vote(inner.raft.vote(rpc).await.map_err(|error| ended(&error))?),
        _ => return Err(Refusal::NotUnderstood("not yet".to_owned())),
    };
    Ok((answer, Bytes::new()))
}
