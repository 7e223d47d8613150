//! Where requests go: clusters, endpoints, balancers, connections (floor 3).
//!
//! Must not know: routes, plugins, where endpoints come from.

pub mod balance;
pub mod capacity;
pub mod cluster;
pub mod connect;
pub mod error;
pub mod hash;
pub mod health;
pub mod latency;
pub mod outlier;
pub mod policy;
pub mod pool;
pub mod probe;
pub mod retry;

pub use balance::{Balancer, Picked};
pub use capacity::{Capacity, Limit, Load, Permit, Wanted};
pub use cluster::{Cluster, ClusterKey, Endpoint, EndpointSet, EndpointSpec, Resolution, Witness};
pub use error::{UpstreamError, UpstreamErrorKind};
pub use health::{Checks, Counts};
pub use outlier::Outliers;
pub use policy::{Algorithm, Policy};
pub use pool::{Pool, PoolKey, Reused};
pub use probe::{ProbeKind, Probing};
pub use retry::{Retry, is_idempotent};
