//! The machine's own resolver: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.

use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::Instant;
use tracing::warn;

use super::{Answer, Looking, Resolve, ResolveError};

/// The machine's own resolver.
pub struct System(Option<TokioResolver>);

/// One question to one server takes at most this long.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Servers are asked so often.
const ATTEMPTS: usize = 2;

impl System {
    /// Reads the machine's configuration. Without a usable one only `/etc/hosts` and `localhost`
    /// are known, and a warning says so.
    pub fn new() -> System {
        let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            warn!("no name servers: {error}");
            TokioResolver::builder_with_config(
                ResolverConfig::default(),
                TokioRuntimeProvider::default(),
            )
        });
        let mut builder = builder;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        // Refreshing by TTL is done by the caller; the cache must not answer in between.
        options.cache_size = 0;
        match builder.build() {
            Ok(resolver) => System(Some(resolver)),
            Err(error) => {
                warn!("no resolver: {error}");
                System(None)
            }
        }
    }
}

impl Default for System {
    fn default() -> System {
        System::new()
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Looking<'a> {
        Box::pin(async move {
            if let Some(local) = localhost(name) {
                return Ok(local);
            }
            let resolver = self.0.as_ref();
            let resolver =
                resolver.ok_or_else(|| ResolveError::Failed("there is no resolver".to_owned()))?;
            match resolver.lookup_ip(name).await {
                Ok(found) => {
                    let addresses: Vec<_> = found.iter().collect();
                    let valid_for = found
                        .valid_until()
                        .saturating_duration_since(Instant::now().into_std());
                    Some(Answer {
                        addresses,
                        valid_for,
                    })
                    .filter(|answer| !answer.addresses.is_empty())
                    .ok_or(ResolveError::NotFound)
                }
                Err(error) if error.is_no_records_found() || error.is_nx_domain() => {
                    Err(ResolveError::NotFound)
                }
                Err(error) => Err(ResolveError::Failed(error.to_string())),
            }
        })
    }
}

/// `localhost` is this machine, whatever a name server says (RFC 6761 §6.3).
fn localhost(name: &str) -> Option<Answer> {
    let name = name.trim_end_matches('.');
    let local =
        name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    local.then(|| Answer {
        addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
        valid_for: Duration::from_secs(3600),
    })
}
