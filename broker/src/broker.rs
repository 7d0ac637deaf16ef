//! The broker as a whole: builds the parts, and owns the order in which they start and stop.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::api::Serving;
use crate::cleaner::{self, Cleaner};
use crate::clock::Clock;
use crate::cluster::channel::Channel;
use crate::cluster::creation::Creations;
use crate::cluster::fit::Misfit;
use crate::cluster::lifecycle::{self, Lifecycle};
use crate::cluster::members::{self, Members};
use crate::cluster::producer_ids::ProducerIds;
use crate::cluster::{Cluster, node};
use crate::config::table::METRICS_LISTENER;
use crate::config::{Config, Listener};
use crate::coordinator::Groups;
use crate::dirs::Opened;
use crate::fetch::session::Sessions;
use crate::metrics::Metrics;
use crate::net::{self, Bound, ListenError, Registry};
use crate::partition::Flusher;
use crate::topics::Topics;
use crate::topics::quorum::Threads;
use crate::topics::store::{Place, Store, StoreError};
use crate::{balance, dirs, housekeeping, limits, replication, retention, sketches};

/// Why a broker does not start. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A log directory cannot be opened.
    #[error(transparent)]
    LogDir(#[from] jackdaw_storage::OpenError),
    /// The metadata cannot be read.
    #[error(transparent)]
    Topics(#[from] crate::topics::OpenError),
    /// Two entries of `log.dirs` are one directory.
    #[error("{} and {} in log.dirs are the same directory: name it once", first.display(), second.display())]
    SameDirectory {
        /// The one.
        first: std::path::PathBuf,
        /// The other.
        second: std::path::PathBuf,
    },
    /// A listener cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The cluster does not take this broker.
    #[error(transparent)]
    Refused(#[from] lifecycle::Refused),
    /// It does not go with the controllers that its configuration names.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The system refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// One running broker.
pub struct Broker {
    /// The clock.
    pub clock: Arc<Clock>,
    /// Topics and their partitions.
    pub topics: Arc<Topics>,
    /// This node's place in the cluster.
    pub cluster: Arc<Cluster>,
    /// Consumer groups.
    pub groups: Arc<Groups>,
    /// Who is connected.
    pub connections: Registry,
    /// What is counted for `metrics.listener`.
    pub metrics: Metrics,
    /// Compaction.
    pub cleaner: Cleaner,
    /// Who the active controller is, and connections to other nodes.
    pub channel: Channel,
    /// Topics asked of the controller.
    pub creations: Creations,
    /// Producer ids got from the controller.
    pub producer_ids: ProducerIds,
    /// Its registration with the cluster.
    pub lifecycle: Lifecycle,
    /// The cluster's brokers, while this node is the active controller.
    pub members: Members,
    /// Incremental fetch sessions.
    pub fetch_sessions: Sessions,
    /// What requests larger than a read buffer may hold together, in KiB.
    pub request_budget: Arc<Semaphore>,
    request_budget_kib: u32,
    cold_reads: Semaphore,
    config: Arc<ArcSwap<Config>>,
    flushers: Vec<Arc<Flusher>>,
    cluster_id: String,
    ports: ArcSwap<Vec<(Arc<str>, u16)>>,
}

/// A broker that serves; [`Running::stop`] ends it.
pub struct Running {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Listener names with the addresses they are bound to.
    pub listening: Vec<(Arc<str>, std::net::SocketAddr)>,
    tasks: Vec<JoinHandle<()>>,
}

impl Broker {
    /// Opens the log directories, binds the listeners and serves. Must run on a multi-thread tokio runtime.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let clock = Arc::new(Clock::new());
        let threads = Threads::start()?;
        // Bound before the data is touched: a port that is taken shall not cost a recovery.
        let mut bound = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            bound.push(net::bind(&listener.name, &listener.host, listener.port).await?);
        }
        let mut controllers = Vec::with_capacity(config.controller_listeners.len());
        for Listener { name, host, port, .. } in config.controller_listeners.clone() {
            let bound = threads.handle().spawn(async move { net::bind(&name, &host, port).await }).await;
            controllers.push(bound.map_err(std::io::Error::other)??);
        }
        let metrics = match config.metrics_listener() {
            Some((host, port)) => Some(net::bind(METRICS_LISTENER, &host, port).await?),
            None => None,
        };
        let (config, controllers) = Broker::settle_cluster(config, controllers, &threads).await?;
        let (broker, earlier) = tokio::task::block_in_place(|| Broker::open(config, clock, threads))?;
        let listening: Vec<_> = bound.iter().map(|bound| (bound.name.clone(), bound.address)).collect();
        broker.ports.store(Arc::new(listening.iter().map(|(name, address)| (name.clone(), address.port())).collect()));
        let tasks = broker.join(controllers);
        let mut running = Running { broker, listening, tasks };
        match running.begin(bound, metrics, earlier).await {
            Ok(()) => Ok(running),
            Err(error) => {
                // Left as cleanly as it was found.
                running.stop().await;
                Err(error)
            }
        }
    }

    /// The configuration with the id of the cluster that the node is of, or is to be of.
    async fn settle_cluster(
        mut config: Config,
        controllers: Vec<Bound>,
        threads: &Threads,
    ) -> Result<(Config, Vec<Bound>), StartError> {
        if node::is_alone(&config) {
            return Ok((config, controllers));
        }
        let known = config.cluster_id.clone().or_else(|| dirs::known_cluster(&config.log_dirs));
        let settled = threads.handle().spawn(async move {
            config.cluster_id = node::settle(&config, known, &controllers).await?;
            Ok((config, controllers))
        });
        settled.await.map_err(std::io::Error::other)?
    }

    fn open(config: Config, clock: Arc<Clock>, threads: Threads) -> Result<(Arc<Broker>, Option<Store>), StartError> {
        let opened = dirs::open(&config, &clock)?;
        let flushers = opened.flushers.clone();
        // Left as cleanly as they were found.
        Broker::open_with(config, clock, threads, opened).inspect_err(|_| dirs::close(&flushers))
    }

    fn open_with(
        config: Config,
        clock: Arc<Clock>,
        threads: Threads,
        opened: Opened,
    ) -> Result<(Arc<Broker>, Option<Store>), StartError> {
        let Opened { flushers, failed, cluster_id } = opened;
        let log_dirs: Vec<_> = flushers.iter().map(|flusher| flusher.dir().clone()).collect();
        let Place { folder, earlier } = Place::find(config.metadata_log_dir.as_deref(), &log_dirs, &failed)?;
        if let Some(earlier) = earlier.as_ref().filter(|earlier| !earlier.is_empty() && !node::is_alone(&config)) {
            return Err(StoreError::WasAlone { path: earlier.path() }.into());
        }
        let quorum = Arc::new(node::join(&config, threads, &folder, dirs::fresh_id(&log_dirs, &folder), &cluster_id)?);
        let budget = config.queued_max_request_bytes.unwrap_or(limits::REQUEST_BUDGET_BYTES);
        let budget = budget.max(config.socket_request_max_bytes.min(limits::REQUEST_BUDGET_BYTES));
        let request_budget_kib = u32::try_from(budget.div_ceil(1024)).unwrap_or(u32::MAX >> 3);
        let cluster = Arc::new(Cluster::new(&config, quorum.clone()));
        let slots = config.max_incremental_fetch_session_cache_slots;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let topics = Topics::open(quorum, flushers.clone(), failed, config.clone(), clock.clone())?;
        let groups = Arc::new(Groups::new(config.clone(), clock.clone()));
        let broker = Arc::new(Broker {
            channel: Channel::new(config.clone(), cluster.clone()),
            creations: Creations::default(),
            producer_ids: ProducerIds::default(),
            lifecycle: Lifecycle::default(),
            members: Members::new(Duration::from_millis(config.load().broker_session_timeout_ms)),
            fetch_sessions: Sessions::new(slots, rand::random()),
            request_budget: Arc::new(Semaphore::new(request_budget_kib as usize)),
            request_budget_kib,
            cold_reads: Semaphore::new(limits::COLD_READERS),
            connections: Registry::default(),
            metrics: Metrics::default(),
            cleaner: Cleaner::default(),
            cluster,
            cluster_id,
            ports: ArcSwap::default(),
            clock,
            topics,
            groups,
            config,
            flushers,
        });
        Ok((broker, earlier))
    }

    /// Takes part in the cluster: others are answered from now on.
    fn join(self: &Arc<Broker>, controllers: Vec<Bound>) -> Vec<JoinHandle<()>> {
        let handle = self.topics.quorum().handle();
        let serve = |bound: Bound| {
            tracing::info!(name = %bound.name, address = %bound.address, "the controller listener is open");
            handle.spawn(net::serve(bound, self.clone()))
        };
        let mut tasks: Vec<_> = controllers.into_iter().map(serve).collect();
        tasks.push(match self.topics.quorum().as_observer() {
            Some(_) => handle.spawn(node::observe(self.clone())),
            None => handle.spawn(node::watch_leader(self.clone())),
        });
        tasks
    }

    /// Opens the partitions that this broker has.
    fn host(&self, earlier: Option<&Store>) -> Result<(), StartError> {
        self.topics.host(earlier)?;
        self.topics.resume_moves();
        // Coordinators go where the partitions of __consumer_offsets are led.
        let (groups, view, node) = (self.groups.clone(), self.topics.view().clone(), self.node_id());
        self.topics.on_publish(Arc::new(move |registry| {
            // Nor does it coordinate what it led in its life before: what is committed is known when it leads.
            if !view.is_of_former_life(&registry.image) {
                groups.follow(registry, node);
            }
        }));
        Ok(())
    }

    /// The configuration now in effect.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// This broker's `node.id`.
    pub fn node_id(&self) -> i32 {
        self.config().node_id
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// What clients of a listener are told to connect to: its advertised address, else the address bound.
    pub fn advertised(&self, listener: &str) -> Option<(String, u16)> {
        let config = self.config();
        let listener = config.listeners.iter().find(|own| &*own.name == listener)?;
        let bound = self.ports.load().iter().find(|(name, _)| *name == listener.name).map(|(_, port)| *port);
        let host = listener.advertised_host.as_ref().unwrap_or(&listener.host);
        Some((host.clone(), listener.advertised_port.or(bound).unwrap_or(listener.port)))
    }

    /// What a listener of that name is for.
    pub fn serving(&self, listener: &str) -> Serving {
        let is_controller = self.config().controller_listeners.iter().any(|own| *own.name == *listener);
        if is_controller { Serving::Controller } else { Serving::Clients }
    }

    /// The sync threads, one per log directory.
    pub fn flushers(&self) -> &[Arc<Flusher>] {
        &self.flushers
    }

    /// `max.connections` and `max.connections.per.ip` for an address.
    pub fn connection_limits(&self, address: IpAddr) -> (usize, usize) {
        let config = self.config();
        let per_address = if config.max_connections_per_ip_overrides.is_empty() {
            config.max_connections_per_ip
        } else {
            let name = address.to_string();
            let own = config.max_connections_per_ip_overrides.iter().find(|(host, _)| *host == name);
            own.map_or(config.max_connections_per_ip, |(_, limit)| *limit)
        };
        (config.max_connections, per_address)
    }

    /// Permits of the request budget for a frame of so many bytes; a frame above the whole budget passes alone.
    pub fn request_budget_permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.request_budget_kib)
    }

    /// Runs work that may wait for the disk without holding up the connections of this worker thread.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        tokio::task::block_in_place(work)
    }

    /// Reads from the disk on one of a bounded number of threads.
    pub async fn cold_reads(&self, work: impl FnOnce() + Send + 'static) {
        let Ok(_permit) = self.cold_reads.acquire().await else { return };
        // A panic in there has been reported by the panic hook; the reader goes on without the warm-up.
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

impl Running {
    /// Catches up with the cluster, opens the partitions, registers, and serves.
    async fn begin(
        &mut self,
        bound: Vec<Bound>,
        metrics: Option<Bound>,
        earlier: Option<Store>,
    ) -> Result<(), StartError> {
        let (broker, tasks) = (self.broker.clone(), &mut self.tasks);
        if !broker.cluster.is_alone() {
            node::catch_up(&broker).await;
        }
        tokio::task::block_in_place(|| broker.host(earlier.as_ref()))?;
        tasks.push(tokio::spawn(housekeeping::run(broker.clone())));
        tasks.push(tokio::spawn(broker.groups.clone().run_timers()));
        for flusher in broker.flushers() {
            let flusher = flusher.clone();
            tasks.push(tokio::task::spawn_blocking(move || housekeeping::finish_recovery(&flusher)));
        }
        let groups = broker.groups.clone();
        tasks.push(tokio::task::spawn_blocking(move || groups.load()));
        tasks.push(tokio::spawn(retention::run(broker.clone())));
        tasks.push(tokio::spawn(sketches::run(broker.clone())));
        tasks.push(tokio::spawn(cleaner::run(broker.clone())));
        tasks.push(tokio::spawn(replication::run(broker.clone())));
        tasks.push(tokio::spawn(balance::run(broker.clone())));
        if let Some(bound) = metrics {
            tracing::info!(address = %bound.address, "metrics are served at /metrics");
            tasks.push(tokio::spawn(net::serve_metrics(bound, broker.clone())));
        }
        tasks.push(tokio::spawn(members::run(broker.clone())));
        if broker.cluster.roles().broker {
            lifecycle::join(&broker).await?;
            tasks.push(tokio::spawn(lifecycle::run(broker.clone())));
        }
        tasks.extend(bound.into_iter().map(|bound| tokio::spawn(net::serve(bound, broker.clone()))));
        Ok(())
    }

    /// Hands over what it leads, takes no more requests, closes connections, and leaves the data directories clean.
    pub async fn stop(self) {
        if self.broker.cluster.roles().broker {
            lifecycle::leave(&self.broker).await;
        }
        self.broker.connections.stop();
        self.broker.groups.stop();
        // What waits for a majority that is gone too is to wait no longer.
        tokio::task::block_in_place(|| self.broker.topics.stop());
        for task in self.tasks {
            task.abort();
            // Ends with "cancelled", or with what the panic hook has told already.
            let _ = task.await;
        }
        let broker = self.broker;
        broker.connections.emptied(limits::STOP_DEADLINE).await;
        tokio::task::block_in_place(|| {
            broker.topics.stop_moves();
            broker.cleaner.stop();
            dirs::close(broker.flushers());
        });
    }
}
