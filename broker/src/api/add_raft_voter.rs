//! AddRaftVoter, 0 (KIP-853): a node votes on the metadata from now on. Before it may, it learns everything that was decided, so
//! that the voters there are never wait for it.

use jackdaw_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse, ResponseError, StrBytes};
use jackdaw_quorum::{DirectoryId, MembershipError};

use super::errors::{self, Failure};
use super::forward::Forwarded;
use super::{Context, Handler, Reply};

impl Handler for AddRaftVoterRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<AddRaftVoterResponse> {
        let (id, address) = match check(&self, ctx) {
            Ok(checked) => checked,
            Err(failure) => return Reply::Now(answer(Some(&failure))),
        };
        let directory = (!self.voter_directory_id.is_nil()).then_some(DirectoryId(self.voter_directory_id));
        let broker = ctx.broker.clone();
        Reply::later(async move {
            let quorum = broker.topics.quorum();
            let Some(quorum) = quorum.as_voter() else {
                return answer(Some(&errors::membership(&MembershipError::NotLeader { leader: None })));
            };
            let added = match quorum.add_learner(id, &address, directory).await {
                Ok(()) => quorum.promote(id).await,
                Err(error) => Err(error),
            };
            match added {
                Ok(()) => {
                    tracing::info!(voter = id, %address, "a voter was added to the metadata quorum");
                    answer(None)
                }
                Err(error) => answer(Some(&errors::membership(&error))),
            }
        })
    }
}

impl Forwarded for AddRaftVoterRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> AddRaftVoterResponse {
        answer(Some(&Failure::with(error, message.to_owned())))
    }
}

fn check(request: &AddRaftVoterRequest, ctx: &Context<'_>) -> Result<(u64, String), Failure> {
    check_cluster(request.cluster_id.as_deref(), ctx)?;
    let id = u64::try_from(request.voter_id).map_err(|_| {
        Failure::with(ResponseError::InvalidRequest, format!("{} is no node id of a voter", request.voter_id))
    })?;
    let config = ctx.broker.config();
    let ours = |name: &str| config.controller_listener_names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let listener = request.listeners.iter().find(|listener| ours(&listener.name)).ok_or_else(|| {
        let names = config.controller_listener_names.join(", ");
        let message =
            format!("The listeners of the voter have none that is called {names}, as controllers are reached");
        Failure::with(ResponseError::InvalidRequest, message)
    })?;
    let host = listener.host.as_str();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok((id, format!("{host}:{}", listener.port)))
}

/// Who names a cluster means no other.
pub(super) fn check_cluster(given: Option<&str>, ctx: &Context<'_>) -> Result<(), Failure> {
    match given {
        Some(given) if given != ctx.broker.cluster_id() => {
            let message = format!("This is cluster {}, and not {given}", ctx.broker.cluster_id());
            Err(Failure::with(ResponseError::InconsistentClusterId, message))
        }
        _ => Ok(()),
    }
}

fn answer(failure: Option<&Failure>) -> AddRaftVoterResponse {
    let message = failure.and_then(|failure| failure.message.as_ref());
    AddRaftVoterResponse::default()
        .with_error_code(failure.map_or(0, |failure| failure.error.code()))
        .with_error_message(message.map(|message| StrBytes::from_string(message.to_string())))
}
