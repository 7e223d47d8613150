//! The names of this machine: `/etc/hosts`, then the servers of `/etc/resolv.conf` or those that
//! the settings name instead.
//!
//! Invariant: `localhost` needs nobody. IPv6 addresses are asked for only when there is no IPv4
//! address (Kong's order): a host without IPv6 must not see every other request fail.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tracing::warn;

use super::{Answer, Answering, Lookup, LookupError};

/// The resolver of the system.
pub struct System {
    resolver: Option<TokioResolver>,
}

impl System {
    /// Asks these servers; without any, those of the system's configuration. Without a usable one,
    /// names are looked for in `/etc/hosts` alone.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let with =
            |config| TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let mut builder = match servers {
            [] => TokioResolver::builder_tokio().unwrap_or_else(|error| {
                warn!("no DNS server is known, so only /etc/hosts is looked into: {error}");
                with(these(&[]))
            }),
            servers => with(these(servers)),
        };
        options(builder.options_mut());
        let resolver = builder.build();
        Self {
            resolver: resolver
                .map_err(|error| warn!("names cannot be resolved: {error}"))
                .ok(),
        }
    }

    async fn ask(&self, name: &str) -> Result<Answer, LookupError> {
        if is_localhost(name) {
            return Ok(Answer {
                addresses: vec![Ipv4Addr::LOCALHOST.into()],
                ttl: Duration::MAX,
            });
        }
        let resolver = self.resolver.as_ref();
        let resolver = resolver.ok_or_else(|| LookupError::Failed("no resolver".to_owned()))?;
        let found =
            resolver
                .lookup_ip(name)
                .await
                .map_err(|error| match error.is_no_records_found() {
                    true => LookupError::NotFound,
                    false => LookupError::Failed(error.to_string()),
                })?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        let ttl = found.as_lookup().answers().iter().map(|record| record.ttl);
        let ttl = Duration::from_secs(ttl.min().unwrap_or_default().into());
        match addresses.is_empty() {
            true => Err(LookupError::NotFound),
            false => Ok(Answer { addresses, ttl }),
        }
    }
}

impl Lookup for System {
    fn lookup<'a>(&'a self, name: &'a str) -> Answering<'a> {
        Box::pin(self.ask(name))
    }
}

/// Exactly these servers, and no domains to search in.
fn these(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.iter().map(|server| {
        let at = |mut way: ConnectionConfig| {
            way.port = server.port();
            way
        };
        let ways = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
        NameServerConfig::new(server.ip(), true, ways)
    });
    ResolverConfig::from_parts(None, Vec::new(), servers.collect())
}

fn options(options: &mut ResolverOpts) {
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    // Who asks remembers; a second memory would only make answers older.
    options.cache_size = 0;
}

/// RFC 6761 section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name
            .rsplit_once('.')
            .is_some_and(|(_, last)| last.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_needs_nobody() {
        let nobody = System { resolver: None };
        let answer = nobody.ask("api.LOCALHOST.").await.unwrap();
        assert_eq!(answer.addresses, [IpAddr::from([127, 0, 0, 1])]);
        assert!(nobody.ask("localhost.test").await.is_err());
    }
}
