//! `jackdaw serve`: arguments to a configuration, a broker, and a clean stop on a signal.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jackdaw_broker::Broker;
use jackdaw_broker::broker::Running;
use jackdaw_broker::config::{Config, ConfigSources};
use tokio::signal::unix::{SignalKind, signal};

/// Start a broker
///
/// Without any option: one broker on 127.0.0.1:9092, data in ./jackdaw-data. Every setting has Kafka's name; it can be
/// given in a properties file, as KAFKA_* in the environment (dots become underscores), or with --override, each
/// standing over the one before.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// A server.properties file, as Apache Kafka's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
    /// Where data is kept (log.dirs)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen (listeners); port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Vec<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Runs a broker until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    let sources = ConfigSources {
        file: args.config,
        env: ConfigSources::process_env(),
        overrides: args.overrides,
        data_dir: args.data_dir,
        listen: args.listen,
    };
    let loaded = match Config::load(&sources) {
        Ok(loaded) => loaded,
        Err(errors) => return fail(&errors),
    };
    for note in &loaded.notes {
        tracing::info!("{note}");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(serve(loaded.config))
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    // The terminal may be gone; then there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "jackdaw serve: {error}");
    ExitCode::FAILURE
}

async fn serve(config: Config) -> ExitCode {
    // Before the start, so that a signal during a long recovery stops the process as asked.
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return fail(&error),
    };
    let running = tokio::select! {
        started = Broker::start(config) => match started {
            Ok(running) => running,
            Err(error) => return fail(&error),
        },
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
    };
    announce(&running);
    let refused = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        refused = running.broker.lifecycle.refused() => Some(refused),
    };
    tracing::info!("stopping");
    running.stop().await;
    tracing::info!("stopped");
    refused.map_or(ExitCode::SUCCESS, |refused| fail(&refused))
}

/// Says what is served and how to try it; the line that begins with `ready:` tells scripts that clients may come.
fn announce(running: &Running) {
    let broker = &running.broker;
    let config = broker.config();
    let dirs: Vec<String> = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    let mut lines = vec![format!(
        "jackdaw {} node {} of cluster {}, data in {}",
        env!("CARGO_PKG_VERSION"),
        config.node_id,
        broker.cluster_id(),
        dirs.join(", ")
    )];
    if let Some((name, _)) = running.listening.first()
        && let Some((host, port)) = broker.advertised(name)
    {
        lines.push(format!("try:   echo hello | jackdaw produce greetings -b {host}:{port}"));
        lines.push(format!("       jackdaw consume greetings --from-beginning --exit -b {host}:{port}"));
    }
    let listening: Vec<String> =
        running.listening.iter().map(|(name, address)| format!("{name}://{address}")).collect();
    lines.push(format!("ready: listening on {}", listening.join(", ")));
    // Standard output may be closed (a daemon): the broker serves all the same.
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}
