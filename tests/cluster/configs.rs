//! Settings described and altered, as admin clients do it.

use jackdaw_test_support::Cluster;
use jackdaw_test_support::messages::describe_configs_request::DescribeConfigsResource;
use jackdaw_test_support::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use jackdaw_test_support::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use jackdaw_test_support::requests::text;

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;

/// Sets one setting, asking this node; error code and message.
pub(crate) fn set(cluster: &Cluster, asked: i32, kind: i8, name: &str, (key, value): (&str, &str)) -> (i16, String) {
    let set = AlterableConfig::default().with_name(text(key)).with_config_operation(0).with_value(Some(text(value)));
    let resource =
        AlterConfigsResource::default().with_resource_type(kind).with_resource_name(text(name)).with_configs(vec![set]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    cluster.wait_for("an answer to a change of settings", |cluster| {
        let answer = cluster.ask(asked, 1, &request)?.responses.pop()?;
        // 41: there is no controller just now.
        let message = answer.error_message.map_or_else(String::new, |message| message.to_string());
        (answer.error_code != 41).then_some((answer.error_code, message))
    })
}

/// A setting of a broker, as it says itself.
pub(crate) fn of_broker(cluster: &Cluster, id: i32, key: &str) -> Option<String> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(&id.to_string()))
        .with_configuration_keys(Some(vec![text(key)]));
    let answer = cluster.ask(id, 4, &DescribeConfigsRequest::default().with_resources(vec![resource]))?;
    Some(answer.results.first()?.configs.first()?.value.as_ref()?.to_string())
}

/// Waits until a broker says so.
pub(crate) fn wait_for_broker(cluster: &Cluster, id: i32, key: &str, wanted: &str) {
    cluster.wait_for(&format!("{key}={wanted} of broker {id}"), |cluster| {
        (of_broker(cluster, id, key)?.as_str() == wanted).then_some(())
    });
}
