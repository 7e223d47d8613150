//! Routes compiled into an index (floor 2): which route a request belongs to, in Kong's order.
//!
//! `RouteSpec` says what a route asks for, `order` who goes first, `RouteTable::compile` builds the
//! index (host, then path, then short candidate lists), `RouteTable::find` walks it. `explain` and
//! `shadow` say the same in words: why a route won, and which route never can.
//!
//! Invariant: a look-up allocates nothing unless a regular expression with groups matched, and its
//! cost does not grow with the number of routes. Must not know: plugins, upstreams, YAML.

mod captures;
mod compile;
mod criteria;
mod explain;
mod fan;
mod find;
mod guard;
mod host;
mod issue;
mod order;
mod path;
mod pattern;
mod roots;
mod shadow;
mod sieve;
mod spec;
mod tree;

pub use captures::Captures;
pub use compile::RouteTable;
pub use explain::{Contender, Explanation, explain};
pub use find::{HeaderValues, Lookup, Match};
pub use issue::{RouteField, RouteIssue};
pub use path::{PathHandling, UpstreamPath};
pub use shadow::{Shadow, shadowed};
pub use spec::{Flavor, RouteSpec};

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
