//! ListConfigResources, 0 to 1 (KIP-1142): what there is that settings can be asked of.
//!
//! Version 0 was for client metrics alone (KIP-714); 1 is asked for kinds, all of them if none is named.

use jackdaw_protocol::messages::list_config_resources_response::ConfigResource;
use jackdaw_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse, ResponseError, StrBytes};

use super::incremental_alter_configs::Resource;
use super::{Context, Handler, Reply};
use crate::topics::image::Image;

/// The version from which on kinds are named.
const NAMES_KINDS: i16 = 1;
/// Kafka's numbers of the kinds.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

impl Handler for ListConfigResourcesRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<ListConfigResourcesResponse> {
        let kinds = match ctx.api_version {
            NAMES_KINDS.. if self.resource_types.is_empty() => ALL.to_vec(),
            NAMES_KINDS.. => self.resource_types,
            _ => vec![CLIENT_METRICS],
        };
        Reply::Now(answer(&kinds, &ctx.broker.topics.image()))
    }
}

fn answer(kinds: &[i8], image: &Image) -> ListConfigResourcesResponse {
    if kinds.iter().any(|kind| Resource::of(*kind).is_none()) {
        return ListConfigResourcesResponse::default().with_error_code(ResponseError::UnsupportedVersion.code());
    }
    let mut found = Vec::new();
    for kind in ALL.into_iter().filter(|kind| kinds.contains(kind)) {
        let mut add = |name: String| {
            let named = ConfigResource::default().with_resource_name(StrBytes::from_string(name));
            found.push(named.with_resource_type(kind));
        };
        match kind {
            TOPIC => image.topics().for_each(|topic| add(topic.name.to_string())),
            BROKER | BROKER_LOGGER => {
                image.brokers.iter().filter(|(_, broker)| !broker.fenced).for_each(|(id, _)| add(id.to_string()));
            }
            GROUP => image.group_configs.keys().for_each(|group| add(group.clone())),
            // No subscription to client metrics can be made.
            _ => {}
        }
    }
    ListConfigResourcesResponse::default().with_config_resources(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use jackdaw_protocol::messages::IncrementalAlterConfigsRequest;
    use jackdaw_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

    use super::*;
    use crate::api::testing::TestBroker;

    fn text(text: &str) -> StrBytes {
        StrBytes::from_string(text.to_owned())
    }

    async fn listed(broker: &TestBroker, version: i16, kinds: &[i8]) -> (i16, Vec<(i8, String)>) {
        let request = ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
        let answer = broker.ask(version, request).await;
        let found = |found: &ConfigResource| (found.resource_type, found.resource_name.to_string());
        (answer.error_code, answer.config_resources.iter().map(found).collect())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_settings_can_be_asked_of_is_listed_by_kind() {
        let broker = TestBroker::start(&[]).await;
        broker.create("t", 1, &[]);
        let config =
            AlterableConfig::default().with_name(text("consumer.session.timeout.ms")).with_value(Some(text("50000")));
        let group = AlterConfigsResource::default()
            .with_resource_type(GROUP)
            .with_resource_name(text("g"))
            .with_configs(vec![config]);
        let altered = broker.ask(1, IncrementalAlterConfigsRequest::default().with_resources(vec![group])).await;
        assert_eq!(altered.responses[0].error_code, 0);
        let of = |kind: i8, name: &str| (kind, name.to_owned());
        assert_eq!(listed(&broker, 1, &[GROUP, TOPIC]).await, (0, vec![of(TOPIC, "t"), of(GROUP, "g")]));
        assert_eq!(listed(&broker, 0, &[]).await, (0, Vec::new()), "version 0 asks for client metrics");
        let all = vec![of(TOPIC, "t"), of(BROKER, "1"), of(BROKER_LOGGER, "1"), of(GROUP, "g")];
        assert_eq!(listed(&broker, 1, &[]).await, (0, all));
        assert_eq!(listed(&broker, 1, &[3]).await, (ResponseError::UnsupportedVersion.code(), Vec::new()));
    }
}
