//! What a route asks for: the input of the route table.
//!
//! Invariant: plain data in the words of the file; nothing is checked here.

/// Which of Kong's routers is followed where the two differ (`router_flavor`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// Kong's default: the number of criteria, plain hosts, header names, regex, length.
    #[default]
    TraditionalCompatible,
    /// Kong's older order: at an equal number of criteria hosts > headers > paths > methods > snis.
    Traditional,
}

/// The criteria of one route. An empty list means that the route does not ask.
///
/// The position in the slice given to [`super::RouteTable::compile`] is the route's
/// [`RouteIx`](crate::util::ids::RouteIx) and the last tie-breaker, so the slice has to be in file
/// order (services in file order with their nested routes, then top-level routes) and without the
/// routes of disabled services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSpec {
    /// `a.test`, `a.test:8080`, `*.a.test`, `a.*`, IPv4, `[::1]`, `::1`; any port where none is given.
    pub hosts: Vec<String>,
    /// Prefixes (`/v1`, normalised) and regular expressions (`~/v\d+`, anchored at the start).
    pub paths: Vec<String>,
    /// Upper-case names; compared exactly.
    pub methods: Vec<String>,
    /// Name and accepted values: every name must be there with one of its values, compared
    /// without case; `~*…` is a regular expression searched in the lower-cased value.
    pub headers: Vec<(String, Vec<String>)>,
    /// TLS server names, `*.x` and `x.*` too (default flavour); not looked at on plain HTTP.
    pub snis: Vec<String>,
    /// Kong's `regex_priority`: among regex paths the higher goes first.
    pub regex_priority: i64,
    /// Kong's `created_at` (seconds): the older goes first; `None` is younger than any.
    pub created_at: Option<i64>,
    /// Nothing reads this route's captures, so that `find` need not keep them.
    pub ignore_captures: bool,
}
