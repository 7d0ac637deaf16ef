//! Whether a node that starts fits to the controllers that its configuration names, as they answer before it touches its data:
//! a directory of another cluster, a node id that is in use, voters that are listed differently. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Who a node says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {
    /// Its `node.id`.
    pub(crate) node: i32,
    /// The cluster that it is of, if it is settled.
    pub(crate) cluster: Option<String>,
    /// It decides.
    pub(crate) active: bool,
    /// The version of its metadata.
    pub(crate) version: u64,
    /// While it starts, a number by which a process knows itself.
    #[serde(default)]
    pub(crate) start: u64,
    /// The nodes that its `controller.quorum.voters` lists.
    #[serde(default)]
    pub(crate) listed: BTreeSet<i32>,
    /// The voters as it knows them, with their controller listeners.
    #[serde(default)]
    pub(crate) voters: BTreeMap<i32, String>,
}

impl Who {
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("it is numbers and text").into()
    }
}

/// Why a node must not start as it is configured. Nothing on its disks has been touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Its directory is another cluster's.
    #[error(
        "{} is of cluster {ours}, and the controller at {address} is of cluster {theirs}: one of the two is not this node's. Point \
         log.dirs at this cluster's directory or an empty one, or correct the addresses in controller.quorum.voters and \
         controller.quorum.bootstrap.servers",
        dir.display()
    )]
    OtherCluster {
        /// A log directory.
        dir: PathBuf,
        /// Its cluster.
        ours: String,
        /// Who answered.
        address: String,
        /// The cluster there.
        theirs: String,
    },
    /// Another process is this node.
    #[error(
        "node id {node} is in use: another process, which is alive, answers under it at {address}. Give this one a node.id of its own, \
         or stop the other one first"
    )]
    NodeIdInUse {
        /// `node.id`
        node: i32,
        /// Where the other one listens.
        address: String,
    },
    /// Somebody else is where a voter should be.
    #[error(
        "controller.quorum.voters says that node {named} is at {address}, and node {there} answers there: correct the address, or the \
         node.id of that node"
    )]
    OtherNode {
        /// As listed.
        named: i32,
        /// Where.
        address: String,
        /// As it is.
        there: i32,
    },
    /// Voters that start with different lists could elect two leaders.
    #[error(
        "controller.quorum.voters names nodes {} here, and the node at {address} is started with {}: all voters need the same list",
        ids(ours),
        ids(theirs)
    )]
    OtherVoters {
        /// As listed here.
        ours: BTreeSet<i32>,
        /// Who answered.
        address: String,
        /// As listed there.
        theirs: BTreeSet<i32>,
    },
}

fn ids(ids: &BTreeSet<i32>) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

/// What an answer means for a node that starts. `named` is whose address it is, where the configuration or the quorum tells.
///
/// # Errors
/// The node must not start.
pub(crate) fn check(
    own: &Who,
    dir: &std::path::Path,
    (named, address): (Option<i32>, &str),
    there: &Who,
) -> Result<(), Misfit> {
    let is_self = there.start == own.start;
    if there.node == own.node && !is_self {
        return Err(Misfit::NodeIdInUse { node: own.node, address: address.to_owned() });
    }
    if let Some(named) = named.filter(|named| *named != there.node) {
        return Err(Misfit::OtherNode { named, address: address.to_owned(), there: there.node });
    }
    if is_self {
        return Ok(());
    }
    if let (Some(ours), Some(theirs)) = (&own.cluster, &there.cluster)
        && ours != theirs
    {
        let (ours, theirs) = (ours.clone(), theirs.clone());
        return Err(Misfit::OtherCluster { dir: dir.to_owned(), ours, address: address.to_owned(), theirs });
    }
    // One that has a place in the quorum already keeps it, whatever lists have become since.
    let founds = own.cluster.is_none() && !own.listed.is_empty();
    let agrees = there.listed.is_empty() || there.listed == own.listed || there.voters.keys().eq(&own.listed);
    if founds && !agrees {
        let (ours, theirs) = (own.listed.clone(), there.listed.clone());
        return Err(Misfit::OtherVoters { ours, address: address.to_owned(), theirs });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const DIR: &str = "data";

    fn starting(node: i32, cluster: Option<&str>, listed: &[i32]) -> Who {
        let (cluster, listed) = (cluster.map(str::to_owned), listed.iter().copied().collect());
        Who { node, cluster, start: 100 + node as u64, listed, ..Who::default() }
    }

    fn running(node: i32, cluster: &str, listed: &[i32], voters: &[i32]) -> Who {
        let voters = voters.iter().map(|id| (*id, format!("host{id}:9093"))).collect();
        Who { start: 0, voters, ..starting(node, Some(cluster), listed) }
    }

    fn check_at(own: &Who, named: Option<i32>, there: &Who) -> Result<(), Misfit> {
        check(own, Path::new(DIR), (named, "there:9093"), there)
    }

    #[test]
    fn a_directory_of_another_cluster_is_told_by_any_controller() {
        let own = starting(3, Some("A"), &[1, 2, 3]);
        assert_eq!(check_at(&own, Some(1), &running(1, "A", &[1, 2, 3], &[1, 2, 3])), Ok(()));
        assert_eq!(check_at(&own, Some(1), &starting(1, None, &[1, 2, 3])), Ok(()));
        let refused = check_at(&own, Some(1), &running(1, "B", &[1, 2, 3], &[1, 2, 3]));
        let text = refused.map_err(|misfit| misfit.to_string());
        assert!(text.as_ref().is_err_and(|text| text.contains("data is of cluster A")), "{text:?}");
        assert!(text.as_ref().is_err_and(|text| text.contains("there:9093 is of cluster B")), "{text:?}");
    }

    #[test]
    fn a_node_id_that_another_process_has_is_refused_and_one_knows_oneself() {
        let own = starting(1, None, &[1, 2, 3]);
        let in_use = Err(Misfit::NodeIdInUse { node: 1, address: "there:9093".to_owned() });
        assert_eq!(check_at(&own, Some(1), &running(1, "A", &[1, 2, 3], &[1, 2, 3])), in_use);
        assert_eq!(check_at(&own, None, &Who { start: 7, ..own.clone() }), in_use);
        assert_eq!(check_at(&own, Some(1), &own.clone()), Ok(()));
        assert_eq!(check_at(&own, None, &own.clone()), Ok(()));
    }

    #[test]
    fn an_address_where_another_node_answers_is_refused() {
        let own = starting(1, None, &[1, 2, 3]);
        let other = |named, there| Err(Misfit::OtherNode { named, address: "there:9093".to_owned(), there });
        assert_eq!(check_at(&own, Some(2), &starting(3, None, &[1, 2, 3])), other(2, 3));
        assert_eq!(check_at(&own, Some(2), &own.clone()), other(2, 1));
    }

    #[test]
    fn new_voters_need_one_list_and_old_ones_keep_theirs() {
        let own = starting(1, None, &[1, 2, 3]);
        assert!(matches!(check_at(&own, Some(3), &starting(3, None, &[1, 3])), Err(Misfit::OtherVoters { .. })));
        assert_eq!(check_at(&own, Some(3), &starting(3, None, &[1, 2, 3])), Ok(()));
        // The quorum has become what is listed here; one that goes by what is stored lists nobody.
        assert_eq!(check_at(&own, Some(3), &running(3, "A", &[3, 4], &[1, 2, 3])), Ok(()));
        assert_eq!(check_at(&own, Some(3), &running(3, "A", &[], &[3, 4])), Ok(()));
        let settled = starting(1, Some("A"), &[1, 2, 3]);
        assert_eq!(check_at(&settled, Some(3), &running(3, "A", &[3, 4], &[3, 4])), Ok(()));
    }
}
