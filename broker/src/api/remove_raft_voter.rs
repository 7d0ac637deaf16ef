//! RemoveRaftVoter, 0 (KIP-853): a node does not vote on the metadata any more. It names the voter with its directory: one that
//! came back with another is another one.

use jackdaw_protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse, ResponseError, StrBytes};
use jackdaw_quorum::{DirectoryId, MembershipError};

use super::add_raft_voter::check_cluster;
use super::errors::{self, Failure};
use super::forward::Forwarded;
use super::{Context, Handler, Reply};

impl Handler for RemoveRaftVoterRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<RemoveRaftVoterResponse> {
        if let Err(failure) = check_cluster(self.cluster_id.as_deref(), ctx) {
            return Reply::Now(answer(Some(&failure)));
        }
        let broker = ctx.broker.clone();
        Reply::later(async move {
            let quorum = broker.topics.quorum();
            let Some(quorum) = quorum.as_voter() else {
                return answer(Some(&errors::membership(&MembershipError::NotLeader { leader: None })));
            };
            let id = u64::try_from(self.voter_id).unwrap_or(u64::MAX);
            let asked = (!self.voter_directory_id.is_nil()).then_some(DirectoryId(self.voter_directory_id));
            let known = quorum.members().remove(&id).filter(|member| member.voter);
            let matches =
                known.is_some_and(|member| asked.is_none() || member.directory.is_none_or(|own| Some(own) == asked));
            if !matches {
                return answer(Some(&errors::membership(&MembershipError::Unknown { id })));
            }
            match quorum.remove(id).await {
                Ok(()) => {
                    tracing::info!(voter = id, "a voter was removed from the metadata quorum");
                    answer(None)
                }
                Err(error) => answer(Some(&errors::membership(&error))),
            }
        })
    }
}

impl Forwarded for RemoveRaftVoterRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> RemoveRaftVoterResponse {
        answer(Some(&Failure::with(error, message.to_owned())))
    }
}

fn answer(failure: Option<&Failure>) -> RemoveRaftVoterResponse {
    let message = failure.and_then(|failure| failure.message.as_ref());
    RemoveRaftVoterResponse::default()
        .with_error_code(failure.map_or(0, |failure| failure.error.code()))
        .with_error_message(message.map(|message| StrBytes::from_string(message.to_string())))
}
