//! What runs beside the data plane (floor 6): reloads, signals, and who feeds the clusters.
//!
//! Must not know: workers, listeners, requests.

pub mod discovery;
pub mod dns;
pub mod exposed;
pub mod kv;
pub mod loader;
pub mod outcome;
pub mod outliers;
pub mod probes;
pub mod supervisor;
#[cfg(test)]
mod testkit;
pub mod watch;

pub use discovery::Discovery;
pub use dns::Dns;
pub use loader::{Loader, Loading};
pub use outcome::Outcome;
pub use probes::Probes;
pub use supervisor::{Applied, Origin, ReloadError, Reloads};
