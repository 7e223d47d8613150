//! A checked configuration compiled into what requests use: immutable, indices for pointers
//! (floor 4).
//!
//! Must not know: the plugins (their table is handed in), tokio.

pub mod cell;
pub mod compile;
mod entities;
mod health;
mod inventory;
mod plans;
mod services;
#[cfg(test)]
mod testing;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;

pub use crate::config::model::{ConsulDiscovery, HashInput};
use crate::identity::Identity;
use crate::message::Entity;
use crate::plugin::{Plan, PluginDef};
use crate::router::{PathHandling, RouteTable};
use crate::telemetry::RouteMetrics;
use crate::tls::{CertTable, ClientTls};
use crate::upstream::{Cluster, Policy, Retry};
use crate::util::background;
use crate::util::ids::{RouteIx, ServiceIx};
pub use compile::{Parts, compile};
pub use inventory::{Change, Changes, Inventory};
pub use plans::{Chosen, chosen};
pub use services::{UpstreamTls, fixed_endpoints};
pub use verify::{Checked, Surroundings, Took, check};

/// Everything that requests of one generation use.
pub struct Snapshot {
    /// Grows by one with each configuration that goes live; the first is 1.
    pub generation: u64,
    /// Hash of the configuration's text, 32 hex digits.
    pub hash: String,
    /// Routes, in the file's order.
    pub routes: Vec<Route>,
    /// Services, in the file's order.
    pub services: Vec<Service>,
    /// Upstream entities, in the file's order.
    pub upstreams: Vec<Upstream>,
    /// Consumers.
    pub identity: Identity,
    /// Every plugin instance, for views.
    pub plugins: Vec<Entity>,
    /// The index over the routes.
    pub table: RouteTable,
    /// The chain of requests that match no route: global plugins.
    pub global: Plan,
    /// Counts requests that match no route.
    pub unrouted: Arc<RouteMetrics>,
    /// One per distinct upstream or host; services point in here.
    pub clusters: Vec<Arc<Cluster>>,
    /// How each cluster is used.
    pub policies: Vec<Arc<Policy>>,
    /// The targets of each cluster, as the file has them.
    pub targets: Vec<Vec<TargetSpec>>,
    /// Certificates by server name.
    pub certs: Arc<CertTable>,
    /// What it was made of, entity by entity, to be compared with what comes next.
    pub inventory: Inventory,
    /// The text that it was made of.
    pub text: Arc<str>,
    /// The plugins that the text was read with.
    pub plugin_table: &'static [&'static PluginDef],
}

/// A route, compiled.
pub struct Route {
    /// As logs and views show it.
    pub entity: Entity,
    /// Its service; without one only plugins can answer.
    pub service: Option<ServiceIx>,
    /// Protocols that it accepts.
    pub protocols: Protocols,
    /// Status for plain requests to an https-only route: 426, 301, 302, 307, 308.
    pub https_redirect: u16,
    /// The matched prefix is cut from the path.
    pub strip_path: bool,
    /// The client's `Host` goes upstream.
    pub preserve_host: bool,
    /// How service path and rest are joined, under the router's flavor.
    pub path_handling: PathHandling,
    /// Its chain of plugins.
    pub plan: Plan,
    /// Its counters.
    pub metrics: Arc<RouteMetrics>,
}

/// The protocols of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the protocol of that name")]
pub struct Protocols {
    pub http: bool,
    pub https: bool,
    pub grpc: bool,
    pub grpcs: bool,
}

/// A service, compiled.
pub struct Service {
    /// As logs and views show it.
    pub entity: Entity,
    /// `https` or `grpcs`: TLS settings and the index of their identity in pool keys.
    pub tls: Option<(ClientTls, u32)>,
    /// HTTP/2 goes upstream: grpc, grpcs, or `http2: true`.
    pub http2: bool,
    /// The service itself speaks gRPC.
    pub grpc: bool,
    /// Host as configured: an address, a DNS name or an upstream's name.
    pub host: String,
    /// Port as configured.
    pub port: u16,
    /// Path that every request is joined to; `/` where none is configured.
    pub path: String,
    /// What is tried again, how often, in what time.
    pub retry: Retry,
    /// Time for connecting, TLS included.
    pub connect_timeout: Duration,
    /// Longest pause between two writes.
    pub write_timeout: Duration,
    /// Longest pause between two reads.
    pub read_timeout: Duration,
    /// Position of its cluster in [`Snapshot::clusters`].
    pub cluster: usize,
    /// The upstream entity behind it, if one is.
    pub upstream: Option<usize>,
}

/// An upstream entity, compiled.
pub struct Upstream {
    /// As views show it.
    pub entity: Entity,
    /// `Host` to send, where the entity says one.
    pub host_header: Option<String>,
    /// Position of its cluster in [`Snapshot::clusters`].
    pub cluster: usize,
    /// What its requests are hashed by, where they are.
    pub hashing: Option<Hashing>,
    /// Its targets, as views show them.
    pub targets: Vec<Entity>,
}

/// What requests are hashed by.
pub struct Hashing {
    /// Asked first.
    pub on: HashInput,
    /// Asked when the first gives nothing.
    pub fallback: HashInput,
}

/// One target of a cluster: an address or a name that is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetSpec {
    /// Address or name, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Share of the traffic of each of its addresses, 0-65535.
    pub weight: u32,
    /// As written, `host:port`; empty for what an upstream discovers.
    pub target: String,
    /// The hosts of its services (SRV records) are named to it, not `host`.
    pub use_srv_name: bool,
    /// The service of Consul that it stands for. Port and weight are then those of the instances:
    /// `port` is for those without one, `weight` multiplies theirs.
    pub consul: Option<ConsulDiscovery>,
}

impl Snapshot {
    /// Frees it, entity by entity: not to be left to a data-plane thread.
    pub fn free(self) {
        background::free(self.routes);
        background::free(self.services);
        background::free(self.plugins);
        self.inventory.free();
    }

    /// The route at that index.
    pub fn route(&self, ix: RouteIx) -> Option<&Route> {
        self.routes.get(ix.ix())
    }

    /// The configuration with its secrets masked, for `GET /config`. Takes as long as reading it.
    pub fn masked(&self) -> String {
        verify::masked(&self.text, self.plugin_table)
    }

    /// The service of a route.
    pub fn service_of(&self, route: &Route) -> Option<&Service> {
        route.service.and_then(|ix| self.services.get(ix.ix()))
    }

    /// What the requests of a service are hashed by.
    pub fn hashing(&self, service: &Service) -> Option<&Hashing> {
        self.upstreams.get(service.upstream?)?.hashing.as_ref()
    }

    /// `Host` that an upstream entity prescribes for a service.
    pub fn host_header(&self, service: &Service) -> Option<&str> {
        self.upstreams
            .get(service.upstream?)?
            .host_header
            .as_deref()
    }
}
