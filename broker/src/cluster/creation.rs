//! Topics that clients mention, made through the active controller by brokers that are not it.
//!
//! Nobody waits for it: the client is told that the topic is not there (yet) and asks again, as with Kafka.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jackdaw_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use jackdaw_protocol::messages::{CreateTopicsRequest, ResponseError, StrBytes, TopicName};
use parking_lot::Mutex;

use super::channel;
use crate::broker::Broker;
use crate::coordinator;
use crate::topics::catalog::CreateTopic;
use crate::topics::names;

/// Topics that are asked for at the same time.
const IN_FLIGHT: usize = 10_000;

/// Topics that the controller has been asked for and has not answered yet.
#[derive(Default)]
pub struct Creations {
    asked: Mutex<HashSet<String>>,
}

/// Asks the controller for topics of the broker's defaults, each once at a time; `__consumer_offsets` is made as its
/// coordinators need it.
pub fn ask_for(broker: &Arc<Broker>, topics: impl IntoIterator<Item = String>) {
    let mut asked = broker.creations.asked.lock();
    let mut new = Vec::new();
    for topic in topics {
        if asked.len() < IN_FLIGHT && asked.insert(topic.clone()) {
            new.push(topic);
        }
    }
    drop(asked);
    if new.is_empty() {
        return;
    }
    let broker = broker.clone();
    tokio::spawn(async move {
        create(&broker, &new).await;
        let mut asked = broker.creations.asked.lock();
        for topic in &new {
            asked.remove(topic);
        }
    });
}

async fn create(broker: &Arc<Broker>, topics: &[String]) {
    let within = Duration::from_millis(broker.config().request_timeout_ms);
    let request = CreateTopicsRequest::default()
        .with_topics(topics.iter().map(|topic| wish(broker, topic)).collect())
        .with_timeout_ms(i32::try_from(within.as_millis()).unwrap_or(i32::MAX));
    match channel::call_controller(broker, &request, within).await {
        Ok(answer) => {
            for topic in answer.topics {
                let is_fine = topic.error_code == 0 || topic.error_code == ResponseError::TopicAlreadyExists.code();
                if !is_fine {
                    let message = topic.error_message.as_deref();
                    tracing::warn!(topic = %topic.name.as_str(), code = topic.error_code, message, "a topic that clients asked for is not made");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "topics that clients asked for are not made"),
    }
}

fn wish(broker: &Broker, name: &str) -> CreatableTopic {
    let config = broker.config();
    let command = if name == names::CONSUMER_OFFSETS {
        coordinator::offsets_topic(&config, false)
    } else {
        CreateTopic {
            partitions: config.num_partitions,
            replication_factor: config.default_replication_factor,
            ..CreateTopic::with_defaults(name)
        }
    };
    let text = StrBytes::from_string;
    let configs = command.configs.into_iter();
    CreatableTopic::default()
        .with_name(TopicName(text(command.name)))
        .with_num_partitions(command.partitions)
        .with_replication_factor(command.replication_factor)
        .with_configs(
            configs
                .map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text)))
                .collect(),
        )
}
