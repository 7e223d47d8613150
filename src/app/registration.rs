//! The gateway as a service in Consul, where the settings ask for that.
//!
//! Invariant: an agent that lost its state is told again; who leaves is taken out before it drains.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::admin::ListenerInfo;
use crate::config::settings::ConsulSettings;
use crate::remote::consul::agent::Registration;
use crate::remote::consul::{Consul, ConsulError};

/// How often the agent is asked whether it still knows us, and told again after a failure.
const AGAIN: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(2);
/// How long leaving may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A registration that is kept up.
pub(super) struct Registered {
    consul: Consul,
    service: Arc<Registration>,
    task: AbortHandle,
}

impl Registered {
    /// Registers in the background, if the settings name a service. On a runtime.
    pub(super) fn start(
        consul: &Consul,
        settings: &ConsulSettings,
        listeners: &[ListenerInfo],
    ) -> Option<Registered> {
        let service = Arc::new(registration(settings, listeners)?);
        let keeping = keep(consul.clone(), service.clone());
        Some(Registered {
            consul: consul.clone(),
            service,
            task: tokio::spawn(keeping).abort_handle(),
        })
    }

    /// Takes the service out, so that nobody new comes.
    pub(super) async fn leave(self) {
        self.task.abort();
        let leaving = self.consul.deregister(&self.service.id);
        match timeout(PATIENCE, leaving).await {
            Ok(Ok(())) => info!(id = self.service.id, "taken out of Consul"),
            Ok(Err(error)) => warn!(id = self.service.id, "still in Consul: {error}"),
            Err(_) => warn!(id = self.service.id, "still in Consul: no answer in time"),
        }
    }
}

/// Registers, and looks again and again whether that still stands.
async fn keep(consul: Consul, service: Arc<Registration>) {
    let mut trouble = None;
    loop {
        let pause = match ensure(&consul, &service).await {
            Ok(is_new) => {
                if is_new || trouble.take().is_some() {
                    info!(id = service.id, name = service.name, "registered in Consul");
                }
                AGAIN
            }
            Err(error) => {
                if trouble.as_ref() != Some(&error) {
                    warn!(id = service.id, "not registered in Consul: {error}");
                }
                trouble = Some(error);
                RETRY
            }
        };
        sleep(pause).await;
    }
}

/// Registers what the agent does not know; whether it did not.
async fn ensure(consul: &Consul, service: &Registration) -> Result<bool, ConsulError> {
    if consul.is_registered(&service.id).await? {
        return Ok(false);
    }
    consul.register(service).await.map(|()| true)
}

fn registration(settings: &ConsulSettings, listeners: &[ListenerInfo]) -> Option<Registration> {
    let name = settings.register.clone()?;
    let proxy = listeners.iter().find(|listener| listener.role == "proxy")?;
    let (address, port) = match &settings.register_address {
        Some((address, port)) => (address.clone(), *port),
        None => (String::new(), None),
    };
    let port = port.unwrap_or(proxy.address.port());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(Registration {
        id: format!("{name}-{}-{port}", host.trim()),
        name,
        address,
        port,
        tags: settings.register_tags.clone(),
        version: env!("CARGO_PKG_VERSION"),
        check: check(settings, listeners),
    })
}

/// What the agent is to ask: what the settings say, else `/ready` of a listener that it reaches.
fn check(settings: &ConsulSettings, listeners: &[ListenerInfo]) -> Option<String> {
    match settings.register_check.as_deref() {
        Some("off") => None,
        Some(url) => Some(url.to_owned()),
        None => {
            let side = |role: &str| {
                let mut plain = listeners.iter().filter(|listener| !listener.tls);
                plain.find(|listener| listener.role == role)
            };
            let side = side("status").or_else(|| side("admin"))?;
            let address = super::reachable(side.address);
            Some(format!("http://{address}/ready"))
        }
    }
}
