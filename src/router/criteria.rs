//! Reads one `RouteSpec` into tests and traits, and says what is wrong with it.
//!
//! Invariant: every element is either in the result or in an issue; texts that many routes share
//! (expressions, header and method names) are compiled and kept once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::guard::{ANY_METHOD, Guard, HeaderTest, Methods, ValueTest};
use super::host::{HostName, HostPattern, Shape};
use super::issue::{Problem, RouteField, RouteIssue};
use super::order::Traits;
use super::pattern::{PathRegex, header_regex};
use super::spec::{Flavor, RouteSpec};
use crate::message::uri;
use crate::util::background::give_way;
use crate::util::ids::RouteIx;

/// Hash maps whose keys come from the file.
pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A path criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathTest<'s> {
    Prefix(&'s str),
    /// An index into the expressions.
    Regex(u32),
}

/// The tests of one route.
#[derive(Debug)]
pub(super) struct Criteria<'s> {
    pub(super) hosts: Vec<HostPattern>,
    /// With their positions in the file; each text once.
    pub(super) paths: Vec<(usize, PathTest<'s>)>,
    pub(super) methods: u64,
    pub(super) guard: Guard,
}

impl Criteria<'_> {
    /// What the order looks at, for one of the paths or (no paths) for the route.
    pub(super) fn traits(
        &self,
        spec: &RouteSpec,
        place: usize,
        path: Option<(usize, PathTest<'_>)>,
    ) -> Traits {
        let bit = |used: bool, weight: u8| if used { weight } else { 0 };
        let plain = |host: &HostPattern| host.shape == Shape::Plain;
        let plain_hosts = !self.hosts.is_empty() && self.hosts.iter().all(plain);
        Traits {
            kinds: bit(!self.hosts.is_empty(), 16)
                | bit(!self.guard.headers.is_empty(), 8)
                | bit(path.is_some(), 4)
                | bit(self.methods != ANY_METHOD, 2)
                | bit(!self.guard.snis.is_empty(), 1),
            wildcard_port: self
                .hosts
                .iter()
                .any(|host| !plain(host) && host.port.is_some()),
            plain_hosts,
            literal_host: plain_hosts,
            regex: matches!(path, Some((_, PathTest::Regex(_)))),
            header_names: self.guard.headers.len(),
            regex_priority: spec.regex_priority,
            prefix_len: match path {
                Some((_, PathTest::Prefix(prefix))) => prefix.len(),
                _ => 0,
            },
            created_at: spec.created_at,
            place: (place, path.map_or(0, |(at, _)| at)),
        }
    }

    /// The paths one by one, or `None` once for a route that asks for none.
    pub(super) fn each_path(&self) -> impl Iterator<Item = Option<(usize, PathTest<'_>)>> {
        let none = self.paths.is_empty().then_some(None);
        self.paths.iter().copied().map(Some).chain(none)
    }

    /// How the host criterion is satisfied; `None` when it is not. A literal match comes first.
    pub(super) fn host_hit(&self, host: &HostName<'_>) -> Option<HostHit<'_>> {
        if self.hosts.is_empty() {
            return Some(HostHit {
                pattern: None,
                literal: false,
            });
        }
        let fits = |p: &&HostPattern| {
            p.accepts_name(host.name) && p.port.is_none_or(|port| port == host.effective_port)
        };
        let literal = |p: &&HostPattern| p.shape == Shape::Plain && p.port == host.port;
        let fitting = || self.hosts.iter().filter(fits);
        let pattern = fitting().find(literal).or_else(|| fitting().next())?;
        Some(HostHit {
            pattern: Some(pattern),
            literal: literal(&pattern),
        })
    }
}

/// The host pattern that accepted a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostHit<'c> {
    /// `None` for a route that asks for no host.
    pub(super) pattern: Option<&'c HostPattern>,
    /// It equals the header, port included.
    pub(super) literal: bool,
}

/// Reads specs; shares what they have in common.
#[derive(Debug)]
pub(super) struct Reader<'s> {
    flavor: Flavor,
    pub(super) regexes: Vec<PathRegex>,
    /// The expressions are compiled already: they are only numbered again.
    numbers_only: bool,
    regex_of: Map<&'s str, Result<u32, Problem>>,
    header_regex_of: Map<&'s str, Result<regex::bytes::Regex, Problem>>,
    /// Header names that some route asks for, lower case.
    pub(super) header_names: Map<String, Arc<str>>,
    pub(super) methods: Methods,
    pub(super) issues: Vec<RouteIssue>,
    route: RouteIx,
}

impl<'s> Reader<'s> {
    pub(super) fn new(flavor: Flavor) -> Self {
        Self {
            flavor,
            regexes: Vec::new(),
            numbers_only: false,
            regex_of: Map::default(),
            header_regex_of: Map::default(),
            header_names: Map::default(),
            methods: Methods::default(),
            issues: Vec::new(),
            route: RouteIx(0),
        }
    }

    /// For specs from which a table was made: path expressions get the table's numbers.
    pub(super) fn again(flavor: Flavor) -> Self {
        Self {
            numbers_only: true,
            ..Self::new(flavor)
        }
    }

    /// Reads all routes in their order.
    pub(super) fn read_all(&mut self, specs: &'s [RouteSpec]) -> Vec<Criteria<'s>> {
        specs
            .iter()
            .enumerate()
            .map(|(at, spec)| self.read(at.into(), spec))
            .collect()
    }

    fn read(&mut self, route: RouteIx, spec: &'s RouteSpec) -> Criteria<'s> {
        give_way();
        self.route = route;
        Criteria {
            hosts: self.names(&spec.hosts, HostPattern::host, RouteField::Host),
            paths: self.paths(&spec.paths),
            methods: self.methods(&spec.methods),
            guard: Guard {
                headers: self.headers(&spec.headers),
                snis: self
                    .names(&spec.snis, sni_of(self.flavor), RouteField::Sni)
                    .into(),
            },
        }
    }

    fn issue(&mut self, field: RouteField, problem: Problem) {
        let Problem { message, hint } = problem;
        self.issues.push(RouteIssue {
            route: self.route,
            field,
            message,
            hint,
        });
    }

    /// The value, or an issue.
    fn keep<T>(&mut self, field: RouteField, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.issue(field, problem)).ok()
    }

    fn names(
        &mut self,
        texts: &[String],
        read: impl Fn(&str) -> Result<HostPattern, Problem>,
        field: impl Fn(usize) -> RouteField,
    ) -> Vec<HostPattern> {
        let mut names: Vec<HostPattern> = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            if let Some(name) = self.keep(field(at), read(text))
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }

    fn paths(&mut self, texts: &'s [String]) -> Vec<(usize, PathTest<'s>)> {
        let mut paths: Vec<(usize, PathTest<'s>)> = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let path = self.path(text);
            if let Some(path) = self.keep(RouteField::Path(at), path)
                && !paths.iter().any(|(_, known)| *known == path)
            {
                paths.push((at, path));
            }
        }
        paths
    }

    fn path(&mut self, text: &'s str) -> Result<PathTest<'s>, Problem> {
        let Some(pattern) = text.strip_prefix('~') else {
            return check_prefix(text).map(|()| PathTest::Prefix(text));
        };
        let number = self.regex_of.len() as u32;
        let known = self.regex_of.entry(pattern).or_insert_with(|| {
            if !self.numbers_only {
                self.regexes.push(PathRegex::new(pattern)?);
            }
            Ok(number)
        });
        known.clone().map(PathTest::Regex)
    }

    fn methods(&mut self, names: &[String]) -> u64 {
        let mut set = 0;
        for (at, name) in names.iter().enumerate() {
            let bit = method_name(name)
                .and_then(|()| self.methods.intern(name).ok_or_else(too_many_methods));
            set |= self.keep(RouteField::Method(at), bit).unwrap_or(0);
        }
        if names.is_empty() { ANY_METHOD } else { set }
    }

    fn headers(&mut self, headers: &'s [(String, Vec<String>)]) -> Box<[HeaderTest]> {
        let mut seen = HashSet::new();
        let mut tests = Vec::with_capacity(headers.len());
        for (name, values) in headers {
            let lower = name.to_ascii_lowercase();
            let checked = check_header(name, values, !seen.insert(lower.clone()));
            if self
                .keep(RouteField::Header(name.clone()), checked)
                .is_none()
            {
                continue;
            }
            let values = self.values(name, values);
            let shared = self
                .header_names
                .entry(lower)
                .or_insert_with_key(|key| key.as_str().into());
            tests.push(HeaderTest {
                name: shared.clone(),
                values,
            });
        }
        tests.into()
    }

    fn values(&mut self, name: &str, values: &'s [String]) -> Box<[ValueTest]> {
        let patterns = self.flavor == Flavor::TraditionalCompatible || values.len() == 1;
        let mut tests = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            let test = match value.strip_prefix("~*").filter(|_| patterns) {
                Some(pattern) => self.header_pattern(pattern).map(ValueTest::Pattern),
                None => Ok(ValueTest::Text(value.to_ascii_lowercase().into())),
            };
            tests.extend(self.keep(RouteField::HeaderValue(name.to_owned(), at), test));
        }
        tests.into()
    }

    fn header_pattern(&mut self, pattern: &'s str) -> Result<regex::bytes::Regex, Problem> {
        self.header_regex_of
            .entry(pattern)
            .or_insert_with(|| header_regex(pattern))
            .clone()
    }
}

fn sni_of(flavor: Flavor) -> impl Fn(&str) -> Result<HostPattern, Problem> {
    move |text| match HostPattern::sni(text)? {
        pattern if pattern.shape != Shape::Plain && flavor == Flavor::Traditional => {
            Err(Problem::new(format!(
                "`{text}` is a wildcard, which this router flavor compares literally"
            ))
            .hint("list the names, or use `router_flavor: traditional_compatible`"))
        }
        pattern => Ok(pattern),
    }
}

fn check_prefix(text: &str) -> Result<(), Problem> {
    if !text.starts_with('/') {
        return Err(Problem::new(format!("`{text}` is not a path"))
            .hint("a path starts with `/`, a regular expression with `~/`"));
    }
    match uri::normalise(text.as_bytes()) {
        Ok(normal) if normal == text => Ok(()),
        Ok(normal) => Err(Problem::new(format!(
            "`{text}` is not normalised, so no request can match it"
        ))
        .hint(format!("write `{normal}`"))),
        Err(error) => Err(
            Problem::new(format!("`{text}` is not a path: {error}")).hint(
                "a literal percent sign is written `%25`, a regular expression starts with `~/`",
            ),
        ),
    }
}

fn method_name(name: &str) -> Result<(), Problem> {
    let upper = name.to_ascii_uppercase();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return Err(Problem::new(format!("`{name}` is not a method")).hint("for example `GET`"));
    }
    if name != upper {
        return Err(Problem::new(format!(
            "`{name}` is not upper-case; methods are compared exactly"
        ))
        .hint(format!("write `{upper}`")));
    }
    Ok(())
}

fn too_many_methods() -> Problem {
    Problem::new("the routes name more than 63 different methods")
        .hint("leave `methods` out where any method will do")
}

fn check_header(name: &str, values: &[String], repeated: bool) -> Result<(), Problem> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Problem::new(format!("`{name}` is not a header name")));
    }
    if name.eq_ignore_ascii_case("host") {
        return Err(Problem::new("the Host header is not matched here").hint("use `hosts`"));
    }
    if repeated {
        return Err(
            Problem::new(format!("`{name}` stands there twice (names have no case)"))
                .hint("put all values into one list"),
        );
    }
    if values.is_empty() {
        return Err(Problem::new(format!(
            "`{name}` has no values, so no request can match"
        )));
    }
    Ok(())
}
