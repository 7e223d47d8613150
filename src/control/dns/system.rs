//! The names of this machine: `/etc/hosts`, then the servers of `/etc/resolv.conf` or those that
//! the settings name instead.
//!
//! Invariants: `localhost` needs nobody, a name of `/etc/hosts` no server. Of two families an IPv6
//! address counts only where this machine has a way to it: one without must not see every other
//! request fail.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{IntoName, Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::{Answer, Answering, Found, Lookup, LookupError, Service, Services};
use crate::config::settings::DnsKind;

/// Addresses are not kept waiting longer for a server that says nothing about services.
const SERVICES: Duration = Duration::from_secs(2);
/// Most targets of one name's services.
const MOST: usize = 256;

/// The resolver of the system.
pub struct System {
    resolver: Option<Resolver>,
    order: Vec<DnsKind>,
}

#[derive(Clone)]
struct Resolver {
    dns: TokioResolver,
    hosts: Arc<Hosts>,
}

impl System {
    /// Asks these servers for these kinds of records, the next only where the one before has none;
    /// without any, those of the system's configuration. Without a usable one, names are looked
    /// for in `/etc/hosts` alone.
    pub fn new(servers: &[SocketAddr], order: &[DnsKind]) -> Self {
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
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            warn!("/etc/hosts cannot be read: {error}");
            Hosts::default()
        });
        let hosts = Arc::new(hosts);
        let resolver = builder.build();
        let resolver = resolver.map_err(|error| warn!("names cannot be resolved: {error}"));
        Self {
            resolver: resolver.ok().map(|dns| Resolver { dns, hosts }),
            order: order.to_vec(),
        }
    }

    async fn ask(&self, name: &str, services: Services) -> Result<Answer, LookupError> {
        if is_localhost(name) {
            let found = Found::address(Ipv4Addr::LOCALHOST.into());
            return answer(vec![found], Duration::MAX);
        }
        let resolver = self.resolver.as_ref();
        let resolver = resolver.ok_or_else(|| LookupError::Failed("no resolver".to_owned()))?;
        let parsed = name.into_name();
        let parsed = parsed.map_err(|error| LookupError::Failed(error.to_string()))?;
        if let Some(written) = resolver.written(&parsed) {
            return written;
        }
        let mut trouble = None;
        for kind in &self.order {
            let asked = match (kind, services) {
                (DnsKind::Srv, Services::Skip) => continue,
                (DnsKind::Srv, _) => match resolver.offers(parsed.clone(), services).await {
                    // There are services, so that addresses of the name itself are no answer.
                    Ok(offers) => return resolver.hosts(offers, addresses(&self.order)).await,
                    Err(error) => Err(error),
                },
                (kind, _) => resolver.addresses(parsed.clone(), *kind).await,
            };
            match (asked, kind) {
                (Ok(answer), _) => return Ok(answer),
                (Err(LookupError::NotFound), _) => {}
                (Err(error), DnsKind::Srv) => return Err(error),
                (Err(error), _) => trouble = Some(error),
            }
        }
        Err(trouble.unwrap_or(LookupError::NotFound))
    }
}

impl Lookup for System {
    fn lookup<'a>(&'a self, name: &'a str, services: Services) -> Answering<'a> {
        Box::pin(self.ask(name, services))
    }
}

impl Resolver {
    /// What `/etc/hosts` says of a name; that is all, then.
    fn written(&self, name: &Name) -> Option<Result<Answer, LookupError>> {
        let of = |kind| {
            let query = Query::query(name.clone(), kind);
            let found = self.hosts.lookup_static_host(&query);
            found.map(|found| found.answers().to_vec())
        };
        let both = [of(RecordType::A), of(RecordType::AAAA)];
        let records: Vec<Record> = both.into_iter().flatten().flatten().collect();
        (!records.is_empty()).then(|| read(&records))
    }

    /// The addresses of a name.
    async fn addresses(&self, name: Name, kind: DnsKind) -> Result<Answer, LookupError> {
        let ask = |kind| self.records(name.clone(), kind);
        match kind {
            DnsKind::Aaaa => read(&ask(RecordType::AAAA).await?),
            DnsKind::Both => {
                let (four, six) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
                match (four, six) {
                    (Ok(four), Ok(six)) => read(&[four, six].concat()),
                    // Half an answer is one.
                    (Ok(some), Err(_)) | (Err(_), Ok(some)) => read(&some),
                    (Err(LookupError::NotFound), Err(error)) | (Err(error), Err(_)) => Err(error),
                }
            }
            DnsKind::A | DnsKind::Srv => read(&ask(RecordType::A).await?),
        }
    }

    async fn records(&self, name: Name, kind: RecordType) -> Result<Vec<Record>, LookupError> {
        let found = self
            .dns
            .lookup(name, kind)
            .await
            .map_err(LookupError::from)?;
        Ok(found.answers().to_vec())
    }

    /// Who offers the services of a name: all that have the best priority (RFC 2782).
    async fn offers(&self, name: Name, services: Services) -> Result<Offers, LookupError> {
        let asked = timeout(SERVICES, self.records(name, RecordType::SRV)).await;
        let late = || Err(LookupError::Failed("no answer in time".to_owned()));
        let records = match (asked.unwrap_or_else(|_| late()), services) {
            (Ok(records), _) => records,
            // Whoever says nothing about services may still know addresses.
            (Err(_), Services::Try) => return Err(LookupError::NotFound),
            (Err(error), _) => return Err(error),
        };
        let offers = records.iter().filter_map(|record| match &record.data {
            // A root as its target: there is no such service.
            RData::SRV(offer) => (!offer.target.is_root()).then_some(offer),
            _ => None,
        });
        let best = offers.clone().map(|offer| offer.priority).min();
        let best = best.ok_or(LookupError::NotFound)?;
        let offers = offers.filter(|offer| offer.priority == best);
        Ok(Offers {
            of: offers.take(MOST).cloned().collect(),
            ttl: shortest(&records),
        })
    }

    /// The addresses of the hosts of services, each with its service's port and weight. Hosts
    /// without one are left out, if not all are.
    async fn hosts(&self, offers: Offers, kind: DnsKind) -> Result<Answer, LookupError> {
        // Several may be on one host.
        let names: HashSet<&Name> = offers.of.iter().map(|offer| &offer.target).collect();
        let mut asking = JoinSet::new();
        for host in names {
            let (us, host) = (self.clone(), host.clone());
            asking.spawn(async move {
                let answer = match us.written(&host) {
                    Some(written) => written,
                    None => us.addresses(host.clone(), kind).await,
                };
                (host, answer)
            });
        }
        let mut known = HashMap::new();
        let mut trouble = LookupError::NotFound;
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok((host, Ok(answer))) => _ = known.insert(host, answer),
                Ok((_, Err(error))) => trouble = error,
                Err(_) => {}
            }
        }
        let mut ttl = offers.ttl;
        let mut found = Vec::new();
        for offer in &offers.of {
            let Some(answer) = known.get(&offer.target) else {
                continue;
            };
            ttl = ttl.min(answer.ttl);
            let service = Service::from(offer);
            found.extend(answer.found.iter().map(|it| Found {
                ip: it.ip,
                service: Some(service.clone()),
            }));
        }
        answer(found, ttl).map_err(|_| {
            LookupError::Failed(format!("no host of its services has an address: {trouble}"))
        })
    }
}

/// The services of a name.
struct Offers {
    /// At least one.
    of: Vec<SRV>,
    ttl: Duration,
}

/// The addresses that hosts of services are asked for: the first kind of the order that is one.
fn addresses(order: &[DnsKind]) -> DnsKind {
    let kind = order.iter().find(|kind| **kind != DnsKind::Srv);
    kind.copied().unwrap_or(DnsKind::Both)
}

impl From<&SRV> for Service {
    fn from(offer: &SRV) -> Self {
        let host = offer.target.to_utf8();
        Self {
            host: host.trim_end_matches('.').to_ascii_lowercase().into(),
            port: offer.port,
            // Kong's reading: the least, not none.
            weight: offer.weight.max(1),
        }
    }
}

impl From<NetError> for LookupError {
    fn from(error: NetError) -> Self {
        match error.is_no_records_found() {
            true => Self::NotFound,
            false => Self::Failed(error.to_string()),
        }
    }
}

/// The addresses among records.
fn read(records: &[Record]) -> Result<Answer, LookupError> {
    let address = |record: &Record| match &record.data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    };
    let mut ips: Vec<IpAddr> = records.iter().filter_map(address).collect();
    if ips.iter().any(IpAddr::is_ipv4) {
        ips.retain(|ip| ip.is_ipv4() || has_way(*ip));
    }
    answer(
        ips.into_iter().map(Found::address).collect(),
        shortest(records),
    )
}

fn answer(found: Vec<Found>, ttl: Duration) -> Result<Answer, LookupError> {
    match found.is_empty() {
        true => Err(LookupError::NotFound),
        false => Ok(Answer { found, ttl }),
    }
}

fn shortest(records: &[Record]) -> Duration {
    let ttl = records.iter().map(|record| record.ttl).min();
    Duration::from_secs(ttl.unwrap_or_default().into())
}

/// Whether this machine knows a way to an address. Nothing is sent for that.
fn has_way(ip: IpAddr) -> bool {
    // The port does not matter, but must not be 0.
    let found = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(SocketAddr::new(ip, 9)));
    found.is_ok()
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

    #[test]
    fn hosts_of_services_are_asked_for_the_first_kind_that_is_an_address() {
        use DnsKind::{A, Aaaa, Both, Srv};
        assert_eq!(addresses(&[Srv, A, Aaaa]), A);
        assert_eq!(addresses(&[Aaaa, Srv]), Aaaa);
        assert_eq!(addresses(&[Srv]), Both);
    }

    #[tokio::test]
    async fn localhost_needs_nobody() {
        let nobody = System {
            resolver: None,
            order: vec![DnsKind::Srv, DnsKind::Both],
        };
        let answer = nobody.ask("api.LOCALHOST.", Services::Try).await.unwrap();
        let here = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(answer.found, [Found::address(here)]);
        assert!(nobody.ask("localhost.test", Services::Try).await.is_err());
    }
}
