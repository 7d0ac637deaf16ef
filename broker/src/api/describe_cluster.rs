//! DescribeCluster, 0 to 2: brokers, controller and cluster id (KIP-700).
//!
//! Version 1 adds the kind of endpoint asked for (KIP-919): on a controller's listener the controllers answer for
//! themselves. Version 2 adds brokers that are fenced (KIP-1073).

use jackdaw_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use jackdaw_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse, ResponseError, StrBytes};

use super::topology::{Brokers, CLUSTER_OPERATIONS, Node, OPERATIONS_NOT_ASKED};
use super::{Context, Handler, Reply, Serving};
use crate::config::quorum::host_and_port;

const BROKERS: i8 = 1;
/// The kind of endpoint that controllers have.
pub const CONTROLLERS: i8 = 2;

impl Handler for DescribeClusterRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeClusterResponse> {
        let kind = match ctx.connection.serving {
            Serving::Clients => BROKERS,
            Serving::Controller => CONTROLLERS,
        };
        if self.endpoint_type != kind {
            return Reply::Now(refused(self.endpoint_type, kind, ctx.api_version));
        }
        let active = ctx.broker.channel.controller_id();
        let (controller, brokers) = if kind == BROKERS {
            let brokers = Brokers::of(ctx, &ctx.broker.topics.image());
            let fenced = if self.include_fenced_brokers { brokers.fenced() } else { Vec::new() };
            let alive = brokers.alive().into_iter().map(|node| described(node, false));
            let all = alive.chain(fenced.into_iter().map(|node| described(node, true))).collect();
            (brokers.controller(active), all)
        } else {
            (BrokerId(active.unwrap_or(-1)), controllers(ctx))
        };
        Reply::Now(
            DescribeClusterResponse::default()
                .with_endpoint_type(kind)
                .with_cluster_id(StrBytes::from_string(ctx.broker.cluster_id().to_owned()))
                .with_controller_id(controller)
                .with_brokers(brokers)
                .with_cluster_authorized_operations(if self.include_cluster_authorized_operations {
                    CLUSTER_OPERATIONS
                } else {
                    OPERATIONS_NOT_ASKED
                }),
        )
    }
}

fn described(node: Node, is_fenced: bool) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(BrokerId(node.id))
        .with_host(node.host)
        .with_port(node.port)
        .with_rack(node.rack)
        .with_is_fenced(is_fenced)
}

/// The voters of the quorum, by their controller listeners.
fn controllers(ctx: &Context<'_>) -> Vec<DescribeClusterBroker> {
    let voters = ctx.broker.cluster.voters().into_iter();
    let node = |(id, address): (i32, String)| {
        let (host, port) = host_and_port(&address)?;
        let (host, port) = (StrBytes::from_string(host.to_owned()), i32::from(port));
        Some(described(Node { id, host, port, rack: None }, false))
    };
    voters.filter_map(node).collect()
}

fn refused(endpoint_type: i8, kind: i8, version: i16) -> DescribeClusterResponse {
    let name = |kind: i8| if kind == BROKERS { "BROKER" } else { "CONTROLLER" };
    let (error, message) = match endpoint_type {
        BROKERS | CONTROLLERS => (
            ResponseError::MismatchedEndpointType,
            format!(
                "The request was sent to an endpoint of type {}, but we wanted an endpoint of type {}",
                name(kind),
                name(endpoint_type)
            ),
        ),
        unknown => (ResponseError::UnsupportedEndpointType, format!("Unsupported endpoint type {unknown}")),
    };
    let error = if version == 0 { ResponseError::InvalidRequest } else { error };
    DescribeClusterResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message)))
        .with_endpoint_type(kind)
}
