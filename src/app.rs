//! The process (floor 8): what is started in which order, and stopped in which.
//!
//! Start: settings, the configuration's check, sockets, the snapshot, workers, admin, and only
//! then the word that it runs. Nothing is bound for a configuration that is refused.

mod admin;
mod listen;
mod notify;
mod policy;
mod registration;
pub mod source;
mod stop;
mod upgrade;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::admin::Posted;
use self::listen::Listening;
use self::notify::Notify;
use self::registration::Registered;
use self::source::Source;
use crate::admin::{Admin, ListenerInfo, Parts};
use crate::config::Report;
use crate::config::settings::{self, Accept, AccessLog, Layer, Merged, SettingError, Settings};
use crate::config::text::TextError;
use crate::control::dns::system::System;
use crate::control::dns::{Elsewhere, Lookup};
use crate::control::kv::KvError;
use crate::control::supervisor::warn_of;
use crate::control::watch::{Signal, Signals};
use crate::control::{
    Discovery, Dns, Loader, Loading, Origin, Probes, Reloads, discovery, exposed, outliers,
};
use crate::gateway::access::AccessLines;
use crate::plugins;
use crate::remote::consul::open::{self, OpenError};
use crate::remote::jwks::KeySources;
use crate::remote::redis::RedisClients;
use crate::remote::ship::{Lines, Shipper, Shippers, Target};
use crate::server::activation::{self, ActivationError};
use crate::server::bind::{BindError, DEFAULT_BACKLOG};
use crate::server::handover::{self, Handed, Inherited, Spare, Successor};
use crate::server::limit::{self, ConnLimit};
use crate::server::per_address::PerAddress;
use crate::server::worker::{self, MakeAccess};
use crate::snapshot::cell::SnapshotCell;
use crate::snapshot::{self, Checked, Surroundings, UpstreamTls};
use crate::telemetry::log::Log;
use crate::telemetry::{Checks, Metrics};
use crate::tls::default_cert::DefaultCertError;
use crate::tls::{DefaultCert, TlsClients, TlsSetupError};
use crate::util::background::Background;
use crate::util::drain::Drain;
use crate::util::handles::Handles;
use crate::util::keep::Keeps;

/// What a gateway is started with.
pub struct Options {
    /// The declarative file.
    pub file: PathBuf,
    /// Flags and environment.
    pub around: Surroundings,
    /// Who resolves names, if not the system.
    pub lookup: Option<Arc<dyn Lookup>>,
    /// Targets that are found elsewhere than by their names.
    pub elsewhere: Elsewhere,
}

/// Why the gateway did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Settings with values that are none.
    #[error("a setting is wrong")]
    Settings(Vec<SettingError>),
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// Why.
        error: TextError,
    },
    /// Consul does not give the file.
    #[error("{key}: cannot be read: {error}")]
    Kv {
        /// The source.
        key: String,
        /// Why.
        error: KvError,
    },
    /// The file has errors.
    #[error("the configuration has errors")]
    Invalid(Report),
    /// The default certificate cannot be used.
    #[error("ssl_cert: {0}")]
    Certificate(#[from] DefaultCertError),
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Sockets that systemd passed cannot be served.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// TLS does not work at all here.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The system refuses threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// Logging cannot be set up.
    #[error("cannot log: {0}")]
    Log(String),
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Settings(vec![SettingError {
            name: error.setting.to_owned(),
            message: error.message,
            hint: None,
        }])
    }
}

/// Threads of the control side: reloads, DNS, logs, admin.
const CONTROL_THREADS: usize = 2;
/// How often the files of the default certificate are looked at.
const CERT_POLL: Duration = Duration::from_secs(5);

/// Runs a gateway until it is told to stop. `ready` is called once it listens, with a line per
/// listener.
pub fn run(options: Options, ready: impl FnOnce(&[String])) -> Result<(), StartError> {
    let around = &options.around;
    let early = settings::merge(&around.flags, &around.variables, &Layer::default());
    refuse_wrong(&early)?;
    let handed = match around.variables.contains_key(handover::VARIABLE) {
        true => Some(handover::receive()?),
        false => None,
    };
    let (text, mut took_over) = match handed.map(Handed::into_parts) {
        Some((text, posted, sockets, successor)) => {
            let took_over = TookOver {
                posted,
                source: None,
                sockets,
                successor: Some(successor),
            };
            (text, took_over)
        }
        None => {
            let took_over = TookOver {
                sockets: activation::receive(&around.variables)?,
                ..TookOver::default()
            };
            (source::read(&options.file, &early.settings)?, took_over)
        }
    };
    let file = options.file.display().to_string();
    let (checked, report) = snapshot::check(&text, &file, around, plugins::TABLE);
    let mut checked = checked.ok_or_else(|| StartError::Invalid(report.clone()))?;
    if took_over.posted {
        // What was posted may say nothing of settings that the source has.
        took_over.source = source::read(&options.file, &early.settings).ok();
        let source = took_over.source.as_deref().unwrap_or_default();
        checked.settle(around, &settings_in(source, &options.file, around));
    }
    refuse_wrong(checked.settings())?;
    let settings = checked.settings().clone();
    let log = Log::start(
        policy::level(&settings.settings),
        policy::format(&settings.settings),
    );
    // Where another log runs already, as in a program that embeds this one, it goes on.
    let _log = log.map_err(StartError::Log)?;
    tell(&settings, &report);
    let notify = Notify::of(&around.variables);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()?;
    let mut gateway = Gateway::start(
        options,
        settings.settings,
        checked,
        text,
        took_over,
        &runtime,
    )?;
    ready(&gateway.lines);
    if let Some(successor) = &mut gateway.successor {
        successor.serves();
    }
    notify.ready();
    let Ended { workers, shippers } = runtime.block_on(gateway.serve(&notify))?;
    stop::join(workers);
    // The workers' last words are on their way by now.
    runtime.block_on(stop::flush(&shippers));
    // What still runs has nothing to say any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// The settings that a source has in it; none where it is wrong by now.
fn settings_in(text: &str, file: &Path, around: &Surroundings) -> Layer {
    let name = file.display().to_string();
    let (checked, _) = snapshot::check(text, &name, around, plugins::TABLE);
    checked.map_or_else(Layer::default, |checked| checked.model().settings.clone())
}

fn refuse_wrong(merged: &Merged) -> Result<(), StartError> {
    match merged.errors.is_empty() {
        true => Ok(()),
        false => Err(StartError::Settings(merged.errors.clone())),
    }
}

fn tell(settings: &Merged, report: &Report) {
    for notice in &settings.notices {
        warn!("{notice}");
    }
    warn_of(report);
}

/// What is left of a gateway that has drained.
struct Ended {
    /// They end by themselves.
    workers: Vec<JoinHandle<()>>,
    /// They have lines to write yet.
    shippers: Arc<Shippers>,
}

/// What came from an older process.
#[derive(Default)]
struct TookOver {
    /// The configuration was posted there.
    posted: bool,
    /// What the source says instead, where it can be read.
    source: Option<String>,
    sockets: Inherited,
    successor: Option<Successor>,
}

/// How often a start that takes over looks whether it is ready.
const READY_POLL: Duration = Duration::from_millis(10);

/// A gateway that runs.
struct Gateway {
    source: Source,
    registered: Option<Registered>,
    text: String,
    settings: Settings,
    lines: Vec<String>,
    drain: Drain,
    reloads: Reloads,
    shippers: Arc<Shippers>,
    redis: Arc<RedisClients>,
    default_cert: Arc<DefaultCert>,
    workers: Vec<JoinHandle<()>>,
    sides: JoinSet<()>,
    signals: Signals,
    /// Those that came while a copy was starting.
    missed: Vec<Signal>,
    /// For a process that takes over.
    spares: Vec<Spare>,
    /// Another process serves the admin listeners.
    handed: CancellationToken,
    /// The conversation with the process that this one took over from.
    successor: Option<Successor>,
    /// Kept open for as long as somebody may write to it.
    _access: Option<Arc<Shipper>>,
}

impl Gateway {
    fn start(
        options: Options,
        settings: Settings,
        checked: Checked,
        text: String,
        mut took_over: TookOver,
        runtime: &Runtime,
    ) -> Result<Self, StartError> {
        let _context = runtime.enter();
        let count = policy::workers(&settings);
        let (cell, drain) = (SnapshotCell::default(), Drain::new());
        let (keeps, metrics) = (Arc::new(Keeps::default()), Metrics::new(count));
        let default_cert = Arc::new(policy::default_cert(&settings)?);
        let inherited = &mut took_over.sockets;
        let listening = Listening::bind(&settings, count, &cell, &default_cert, &keeps, inherited)?;
        // What an older process listened at, and this one shall not, is closed with that.
        if let (Some(left), None) = (inherited.left(), &took_over.successor) {
            return Err(ActivationError::Unasked(left.to_string()).into());
        }
        let shippers = Shippers::new(
            runtime.handle().clone(),
            metrics.clone(),
            TlsClients::new()?,
        );
        let access = access_log(&settings, &shippers)?;
        let mut handles = Handles::default();
        handles.offer(metrics.clone());
        handles.offer(shippers.clone());
        let redis = RedisClients::new(
            runtime.handle().clone(),
            metrics.clone(),
            TlsClients::new()?,
        );
        let checks = Checks::default();
        handles.offer(Arc::new(checks.clone()));
        let ask_redis = redis.clone();
        checks.register(move |out| out.extend(ask_redis.check()));
        handles.offer(redis.clone());
        offer_keys(runtime.handle(), &mut handles, &checks, &metrics)?;
        let system = || Arc::new(System::new(&settings.dns_resolver, &settings.dns_order));
        let lookup = options.lookup.unwrap_or_else(|| system());
        let consul = open::open(&settings.consul, &TlsClients::new()?)?;
        let on = runtime.handle().clone();
        let source = Source::of(&options.file, &settings.consul, &consul);
        let registered = Registered::start(&consul, &settings.consul, &listening.infos);
        let discovery = Discovery::new(consul, &settings.consul, lookup.clone(), on.clone());
        discovery::register(&discovery, &checks, &metrics);
        let probes = Probes::new(runtime.handle().clone());
        exposed::register(&metrics, cell.clone(), probes.clone());
        runtime.spawn(outliers::watch(cell.clone()));
        let loader = Arc::new(Loader::new(Loading {
            table: plugins::TABLE,
            around: options.around,
            keeps,
            handles,
            metrics: metrics.clone(),
            tls: UpstreamTls::new()?,
            workers: count,
            cell: cell.clone(),
            dns: Dns::with(lookup, on, options.elsewhere, Some(discovery.clone())),
            probes: probes.clone(),
            background: Background::start("config")?,
        }));
        let origin = match took_over.posted {
            true => Origin::Post,
            false => Origin::File(options.file.display().to_string()),
        };
        // What was posted stays until the source says something new.
        let text = took_over.source.take().unwrap_or(text);
        let compiled = loader.compile(checked);
        loader.publish(compiled, origin);
        self_signed_notice(&listening, &default_cert, &cell);
        let signals = Signals::new()?;
        let reloads = Reloads::start(loader);
        let lines = listening.infos.iter().map(ListenerInfo::line).collect();
        let admin = Admin::new(Parts {
            cell: cell.clone(),
            metrics: metrics.clone(),
            checks,
            drain: drain.clone(),
            reloads: Arc::new(Posted(reloads.clone())),
            listeners: listening.infos.clone(),
            discovered: Arc::new(move |of| discovery.tell(of)),
            token: settings.admin_token.clone(),
        });
        if let Some(successor) = &mut took_over.successor {
            // The older process serves meanwhile: nobody is to meet one that is not ready.
            runtime.block_on(async {
                while !admin.is_ready() {
                    tokio::time::sleep(READY_POLL).await;
                }
            });
            successor.prepared()?;
            listening.queue(&settings, Some(DEFAULT_BACKLOG))?;
        } else {
            listening.queue(&settings, None)?;
        }
        let workers = worker::start(worker::Setup {
            workers: count,
            ports: listening.ports,
            balance: settings.accept == Accept::Balance,
            policy: policy::policy(&settings),
            cell: cell.clone(),
            drain: drain.clone(),
            metrics: metrics.clone(),
            limit: ConnLimit::new(policy::max_connections(&settings, limit::default_limit)),
            per_address: PerAddress::new(settings.max_connections_per_ip),
            access: make_access(&settings, access.clone()),
        })?;
        let handed = CancellationToken::new();
        let sides = admin::start(&admin, listening.sides, &drain, &handed)?;
        Ok(Self {
            source,
            registered,
            text,
            settings,
            lines,
            drain,
            reloads,
            shippers,
            redis,
            default_cert,
            workers,
            sides,
            signals,
            missed: Vec::new(),
            spares: listening.spares,
            handed,
            successor: took_over.successor,
            _access: access,
        })
    }

    /// Serves until a signal says stop, then drains.
    async fn serve(mut self, notify: &Notify) -> Result<Ended, StartError> {
        let text = std::mem::take(&mut self.text);
        tokio::spawn(self.source.clone().watch(text, self.reloads.clone()));
        tokio::spawn(refresh_default_cert(self.default_cert.clone()));
        info!(version = env!("CARGO_PKG_VERSION"), "sluicegate runs");
        let handed = loop {
            let signal = match self.missed.is_empty() {
                true => self.signals.next().await,
                false => self.missed.remove(0),
            };
            match signal {
                Signal::Reload => self.reload().await,
                Signal::Reopen => {
                    info!("opening log files again");
                    self.shippers.reopen();
                }
                Signal::Upgrade => match self.upgrade().await {
                    Upgrade::Done => break true,
                    Upgrade::Failed => {}
                    Upgrade::Stopped => break false,
                },
                Signal::Stop => break false,
            }
        };
        // With duplicates open, what waits in a queue would wait for ever.
        self.spares.clear();
        if handed {
            self.handed.cancel();
            stop::leave(&self.drain, &self.settings, &mut self.signals).await;
        } else {
            notify.stopping();
            // A process that took over has the registration.
            if let Some(registered) = self.registered.take() {
                registered.leave().await;
            }
            stop::drain(&self.drain, &self.settings, &mut self.signals).await;
        }
        self.redis.close(stop::FLUSH).await;
        // They end by themselves, with a moment for the last answer.
        while self.sides.join_next().await.is_some() {}
        Ok(Ended {
            workers: self.workers,
            shippers: self.shippers,
        })
    }

    /// Hands over to a fresh copy; a signal to stop wins over it, others wait.
    async fn upgrade(&mut self) -> Upgrade {
        info!("SIGUSR2: handing over to a fresh copy");
        let patience = self.settings.upgrade_timeout;
        let (signals, missed) = (&mut self.signals, &mut self.missed);
        let stop = async {
            loop {
                match signals.next().await {
                    Signal::Stop => break,
                    other => missed.push(other),
                }
            }
        };
        tokio::select! {
            done = upgrade::hand_over(&self.spares, self.reloads.loader(), patience) => {
                match done {
                    Ok(pid) => {
                        info!(pid, "handed over to process {pid}: open requests are finished");
                        Upgrade::Done
                    }
                    Err(reason) => {
                        error!("the fresh copy does not take over, this process goes on: {reason}");
                        Upgrade::Failed
                    }
                }
            }
            () = stop => Upgrade::Stopped,
        }
    }

    async fn reload(&self) {
        info!("SIGHUP: loading {} again", self.source.name());
        self.source.reread(&self.reloads).await;
        reload_default_cert(self.default_cert.clone()).await;
    }
}

/// A listener's address as this machine reaches it.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Lets plugins have the keys of token issuers.
fn offer_keys(
    runtime: &tokio::runtime::Handle,
    handles: &mut Handles,
    checks: &Checks,
    metrics: &Metrics,
) -> Result<(), StartError> {
    let keys = KeySources::new(runtime.clone(), &TlsClients::new()?)
        .map_err(|error| StartError::System(io::Error::other(error)))?;
    let ask = keys.clone();
    checks.register(move |out| out.extend(ask.checks()));
    let ask = keys.clone();
    metrics.register(Box::new(move |out| ask.expose(out)));
    handles.offer(keys);
    Ok(())
}

/// How handing over ended.
enum Upgrade {
    Done,
    Failed,
    /// A signal to stop came first.
    Stopped,
}

fn self_signed_notice(listening: &Listening, cert: &DefaultCert, cell: &SnapshotCell) {
    let none = cell.load().is_none_or(|snapshot| snapshot.certs.is_empty());
    if listening.has_tls() && cert.is_self_signed() && none {
        warn!("no certificate is configured: TLS listeners use a self-signed one for localhost");
    }
}

/// Opens the target once, so that one that cannot be written to is refused at start.
fn access_log(
    settings: &Settings,
    shippers: &Arc<Shippers>,
) -> Result<Option<Arc<Shipper>>, StartError> {
    let target = match &settings.access_log {
        AccessLog::Off => return Ok(None),
        AccessLog::Stdout => Target::Stdout,
        AccessLog::File(path) => Target::of(path),
    };
    target.probe().map_err(|error| {
        StartError::Settings(vec![SettingError {
            name: "access_log".to_owned(),
            message: format!("{} cannot be written to: {error}", target.label()),
            hint: None,
        }])
    })?;
    Ok(Some(shippers.open(target)))
}

fn make_access(settings: &Settings, shipper: Option<Arc<Shipper>>) -> MakeAccess {
    let format = policy::access_format(settings);
    Arc::new(move |_| {
        let lines = Lines::new(shipper.clone()?);
        Some(Box::new(AccessLines::new(format, lines)))
    })
}

/// Looks at the files of the default certificate now and then.
async fn refresh_default_cert(cert: Arc<DefaultCert>) {
    while !cert.is_self_signed() {
        tokio::time::sleep(CERT_POLL).await;
        reload_default_cert(cert.clone()).await;
    }
}

async fn reload_default_cert(cert: Arc<DefaultCert>) {
    let read = tokio::task::spawn_blocking(move || cert.reload()).await;
    match read {
        Ok(Ok(true)) => info!("the default certificate was read again"),
        Ok(Err(error)) => warn!("the default certificate stays as it was: {error}"),
        Ok(Ok(false)) | Err(_) => {}
    }
}
