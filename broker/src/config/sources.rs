//! Reading the places where values are given. Nothing is judged here but whether a place can be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use java_properties::{LineContent, PropertiesIter};

use super::error::ConfigError;
use super::values::{Given, Origin};

/// What the command line and the environment give.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// A `server.properties` file.
    pub file: Option<PathBuf>,
    /// Environment variables; those that mean nothing here are passed over.
    pub env: BTreeMap<String, String>,
    /// `--override key=value`, in order.
    pub overrides: Vec<(String, String)>,
    /// `--data-dir`: stands over `log.dirs` and `log.dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen host:port` or `--listen NAME://host:port`, any number: stands over `listeners`.
    pub listen: Vec<String>,
}

impl ConfigSources {
    /// This process's environment, as far as it is text.
    pub fn process_env() -> BTreeMap<String, String> {
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
    }
}

/// Variables of Kafka's images and start scripts that set something other than a broker setting.
const NOT_SETTINGS: &[&str] = &[
    "KAFKA_CLUSTER_ID",
    "KAFKA_CONFIG",
    "KAFKA_CONF_DIR",
    "KAFKA_DEBUG",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_USER",
    "KAFKA_VERSION",
];

/// The same, for families: logging and JMX of the JVM, and what Kubernetes adds for a service named `kafka`.
const NOT_SETTINGS_PREFIXES: &[&str] =
    &["KAFKA_JMX_", "KAFKA_LOG4J", "KAFKA_DEBUG_", "KAFKA_SERVICE_", "KAFKA_PORT_", "KAFKA_PORT"];

/// The values given, the strongest source's where several give one.
pub(super) struct Collected {
    pub(super) values: BTreeMap<String, Given>,
    pub(super) cluster_id: Option<String>,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<ConfigError>,
}

/// Reads all sources, weakest first.
pub(super) fn collect(sources: &ConfigSources) -> Collected {
    let mut all = Collected { values: BTreeMap::new(), cluster_id: None, warnings: Vec::new(), errors: Vec::new() };
    if let Some(file) = &sources.file {
        all.read_file(file);
    }
    for (variable, value) in &sources.env {
        if let Some(key) = key_of_variable(variable) {
            all.set(&key, value, Origin::Environment(variable.clone()));
        }
    }
    all.cluster_id = sources.env.get("CLUSTER_ID").filter(|id| !id.trim().is_empty()).map(|id| id.trim().to_owned());
    for (key, value) in &sources.overrides {
        all.set(key.trim(), value, Origin::Argument("--override"));
    }
    if let Some(dir) = &sources.data_dir {
        all.set("log.dirs", &dir.display().to_string(), Origin::Argument("--data-dir"));
    }
    if !sources.listen.is_empty() {
        all.listen(&sources.listen);
    } else if sources.file.is_none() && !all.values.contains_key("listeners") {
        all.set("listeners", "PLAINTEXT://127.0.0.1:9092", Origin::NoFile);
    }
    all
}

impl Collected {
    fn set(&mut self, key: &str, value: &str, origin: Origin) {
        self.values.insert(key.to_owned(), Given { value: value.to_owned(), origin });
    }

    #[expect(clippy::disallowed_methods, reason = "the one file that the broker reads outside its data directories")]
    fn read_file(&mut self, path: &Path) {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("Cannot read the configuration file {}: {error}.", path.display());
                self.errors.push(ConfigError::new("config file", None, message));
                return;
            }
        };
        let shared = Arc::new(path.to_path_buf());
        let mut lines = BTreeMap::new();
        for line in PropertiesIter::new(&*escape_latin_1(&bytes)) {
            match line {
                Ok(line) => {
                    let number = line.line_number();
                    if let LineContent::KVPair(key, value) = line.consume_content() {
                        if let Some(first) = lines.insert(key.clone(), number) {
                            let file = path.display();
                            self.warnings.push(format!(
                                "{file}:{number}: {key} was already set in line {first}; the last one counts."
                            ));
                        }
                        self.set(&key, &value, Origin::File { path: Arc::clone(&shared), line: Some(number) });
                    }
                }
                Err(error) => {
                    let message = format!("{} is not a properties file: {error}.", path.display());
                    self.errors.push(ConfigError::new("config file", None, message));
                    return;
                }
            }
        }
    }

    /// `--listen` replaces all listeners; what was advertised before belonged to those.
    fn listen(&mut self, addresses: &[String]) {
        let named = |address: &String| {
            if address.contains("://") { address.clone() } else { format!("PLAINTEXT://{address}") }
        };
        let listeners = addresses.iter().map(named).collect::<Vec<_>>().join(",");
        self.set("listeners", &listeners, Origin::Argument("--listen"));
        if let Some(given) = self.values.get("advertised.listeners")
            && !matches!(given.origin, Origin::Argument(_))
            && let Some(given) = self.values.remove("advertised.listeners")
        {
            self.warnings.push(format!(
                "advertised.listeners={} ({}) belongs to the listeners that --listen replaces and is not used; \
                 give --override advertised.listeners=... to advertise another address.",
                given.value, given.origin
            ));
        }
    }
}

/// A properties file is Latin-1 and says anything else in `\u` escapes. The parser knows no plain Latin-1,
/// so bytes beyond ASCII are handed to it as escapes. A byte order mark, which editors like to add, is dropped.
fn escape_latin_1(bytes: &[u8]) -> Vec<u8> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut escaped = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii() {
            escaped.push(byte);
        } else {
            escaped.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        }
    }
    escaped
}

/// The setting that an environment variable stands for: `_` is `.`, `__` is `_`, `___` is `-` (as in Kafka's image).
fn key_of_variable(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix("KAFKA_")?;
    let foreign = NOT_SETTINGS.contains(&variable)
        || NOT_SETTINGS_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
        || rest.is_empty();
    let key = rest.to_ascii_lowercase().replace('_', ".").replace("...", "-").replace("..", "_");
    (!foreign).then_some(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

    use super::*;

    fn file(content: &[u8]) -> Collected {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.properties");
        std::fs::write(&path, content).unwrap();
        collect(&ConfigSources { file: Some(path), ..ConfigSources::default() })
    }

    #[test]
    fn a_properties_file_is_latin_1_with_escapes_and_continued_lines() {
        let read =
            file(b"# comment \xe9\nbroker.rack = caf\xe9\nlog.dirs: /a\\\n   /b\nnum.partitions 3\nx=\\u010dej\n");
        let value = |key: &str| read.values.get(key).map(|given| given.value.as_str());
        assert_eq!(value("broker.rack"), Some("café"));
        assert_eq!(value("log.dirs"), Some("/a/b"));
        assert_eq!(value("num.partitions"), Some("3"));
        assert_eq!(value("x"), Some("čej"));
        assert!(read.errors.is_empty());
    }

    #[test]
    fn a_value_knows_its_line_and_a_key_given_twice_is_warned_about() {
        let read = file(b"\n# one\nnum.partitions=1\nnode.id=1\nnum.partitions=2\n");
        let given = read.values.get("num.partitions").unwrap();
        assert_eq!(given.value, "2");
        assert!(given.origin.to_string().ends_with("server.properties:5"), "{}", given.origin);
        assert_eq!(read.warnings.len(), 1);
        assert!(read.warnings[0].contains("num.partitions was already set in line 3"), "{}", read.warnings[0]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_key() {
        assert!(file(b"\xEF\xBB\xBFnode.id=7\n").values.contains_key("node.id"));
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let sources = ConfigSources { file: Some("/nonexistent/x.properties".into()), ..ConfigSources::default() };
        assert!(collect(&sources).errors[0].to_string().contains("/nonexistent/x.properties"));
    }

    #[test]
    fn environment_variables_map_as_in_the_official_image() {
        let key = |variable: &str| key_of_variable(variable).unwrap_or_default();
        assert_eq!(key("KAFKA_NODE_ID"), "node.id");
        assert_eq!(
            key("KAFKA_LISTENER_NAME_MY__LISTENER_SSL_CLIENT_AUTH"),
            "listener.name.my_listener.ssl.client.auth"
        );
        assert_eq!(
            key("KAFKA_LISTENER_NAME_CLIENT_SASL_SCRAM___SHA___256_X"),
            "listener.name.client.sasl.scram-sha-256.x"
        );
    }

    #[test]
    fn variables_of_the_images_and_of_kubernetes_are_not_settings() {
        for variable in [
            "KAFKA_OPTS",
            "KAFKA_HEAP_OPTS",
            "KAFKA_LOG4J_LOGGERS",
            "KAFKA_LOG4J_ROOT_LOGLEVEL",
            "KAFKA_JMX_PORT",
            "KAFKA_VERSION",
            "KAFKA_HOME",
            "KAFKA_PORT",
            "KAFKA_PORT_9092_TCP_ADDR",
            "KAFKA_SERVICE_HOST",
            "CLUSTER_ID",
            "PATH",
        ] {
            assert_eq!(key_of_variable(variable), None, "{variable}");
        }
    }

    #[test]
    fn the_stronger_source_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.properties");
        std::fs::write(&path, "num.partitions=1\nnum.io.threads=1\nqueued.max.requests=1\nlog.dirs=/file\n").unwrap();
        let read = collect(&ConfigSources {
            file: Some(path),
            env: BTreeMap::from([
                ("KAFKA_NUM_IO_THREADS".to_owned(), "2".to_owned()),
                ("KAFKA_QUEUED_MAX_REQUESTS".to_owned(), "2".to_owned()),
                ("CLUSTER_ID".to_owned(), "abc".to_owned()),
            ]),
            overrides: vec![("queued.max.requests".into(), "3".into()), ("log.dirs".into(), "/override".into())],
            data_dir: Some("/data".into()),
            listen: vec!["127.0.0.1:0".into(), "OTHER://localhost:1".into()],
        });
        let value = |key: &str| read.values.get(key).map(|given| given.value.as_str());
        assert_eq!(value("num.partitions"), Some("1"));
        assert_eq!(value("num.io.threads"), Some("2"));
        assert_eq!(value("queued.max.requests"), Some("3"));
        assert_eq!(value("log.dirs"), Some("/data"));
        assert_eq!(value("listeners"), Some("PLAINTEXT://127.0.0.1:0,OTHER://localhost:1"));
        assert_eq!(read.cluster_id.as_deref(), Some("abc"));
    }
}
