//! DescribeCluster, 0 to 2: brokers, controller and cluster id (KIP-700).
//!
//! Version 1 adds the kind of endpoint asked for (KIP-919), 2 brokers that are fenced (KIP-1073), of which a broker on
//! its own has none.

use jackdaw_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use jackdaw_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse, ResponseError, StrBytes};

use super::topology::{self, CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED};
use super::{Context, Handler, Reply};

const BROKERS: i8 = 1;
/// The kind of endpoint that controllers have.
pub const CONTROLLERS: i8 = 2;

impl Handler for DescribeClusterRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<DescribeClusterResponse> {
        if self.endpoint_type != BROKERS {
            return Reply::Now(refused(self.endpoint_type, ctx.api_version));
        }
        let node = topology::this_node(ctx);
        let broker = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(node.id))
            .with_host(node.host)
            .with_port(node.port)
            .with_rack(node.rack);
        Reply::Now(
            DescribeClusterResponse::default()
                .with_endpoint_type(BROKERS)
                .with_cluster_id(StrBytes::from_string(ctx.broker.cluster_id().to_owned()))
                .with_controller_id(BrokerId(node.id))
                .with_brokers(vec![broker])
                .with_cluster_authorized_operations(if self.include_cluster_authorized_operations {
                    CLUSTER_OPERATIONS
                } else {
                    OPERATIONS_NOT_ASKED
                }),
        )
    }
}

fn refused(endpoint_type: i8, version: i16) -> DescribeClusterResponse {
    let (error, message) = match endpoint_type {
        CONTROLLERS => (
            ResponseError::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_owned(),
        ),
        unknown => (ResponseError::UnsupportedEndpointType, format!("Unsupported endpoint type {unknown}")),
    };
    let error = if version == 0 { ResponseError::InvalidRequest } else { error };
    DescribeClusterResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(message)))
        .with_endpoint_type(BROKERS)
}
