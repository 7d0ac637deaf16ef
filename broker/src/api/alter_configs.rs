//! AlterConfigs, 0 to 2: the settings of a resource are replaced by those given; what is not given goes back to its
//! default. Deprecated since KIP-339 for that reason, and still what some tools speak.
//!
//! Version notes: 2 is flexible.

use jackdaw_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use jackdaw_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use jackdaw_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse, ResponseError, StrBytes};

use super::incremental_alter_configs::{Mode, Wish, alter_all, code_and_message};
use super::{Context, Forwarded, Handler, Reply};
use crate::config::alter::{Change, Operation};

impl Handler for AlterConfigsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<AlterConfigsResponse> {
        let change = |config: AlterableConfig| Change {
            name: config.name.to_string(),
            operation: Operation::Set as i8,
            value: config.value.map(|value| value.to_string()),
        };
        let wish = |resource: AlterConfigsResource| Wish {
            resource_type: resource.resource_type,
            name: resource.resource_name,
            changes: resource.configs.into_iter().map(change).collect(),
        };
        let wishes = self.resources.into_iter().map(wish).collect::<Vec<_>>();
        let results = alter_all(ctx.broker, &wishes, Mode::Replace, self.validate_only);
        let response = |(wish, result): (Wish, _)| {
            let (code, message) = code_and_message(result);
            AlterConfigsResourceResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .with_resource_type(wish.resource_type)
                .with_resource_name(wish.name)
        };
        let responses = wishes.into_iter().zip(results).map(response).collect();
        Reply::Now(AlterConfigsResponse::default().with_responses(responses))
    }
}

impl Forwarded for AlterConfigsRequest {
    fn refuse(self, _version: i16, error: ResponseError, message: &str) -> AlterConfigsResponse {
        let message = StrBytes::from_string(message.to_owned());
        let refused = |resource: AlterConfigsResource| {
            AlterConfigsResourceResponse::default()
                .with_error_code(error.code())
                .with_error_message(Some(message.clone()))
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
        };
        AlterConfigsResponse::default().with_responses(self.resources.into_iter().map(refused).collect())
    }
}
