//! Why a request goes where it goes, in words: the winner, those that matched and lost, and those
//! that failed by one criterion.
//!
//! Invariant: tests every route one by one, without the index, and names the same winner as
//! `RouteTable::find`.

use super::compile::RouteTable;
use super::criteria::{Criteria, HostHit, PathTest, Reader};
use super::find::Lookup;
use super::guard::{ANY_METHOD, HeaderTest, ValueTest};
use super::host::{HostName, HostPattern, Shape};
use super::order::{Step, Traits};
use super::pattern::PathRegex;
use super::spec::{Flavor, RouteSpec};
use crate::util::ids::RouteIx;

/// What a look-up found, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The route that gets the request; its reasons say how each criterion matched.
    pub winner: Option<Contender>,
    /// Routes that matched too, the best first; the last reason says what decided against it.
    pub beaten: Vec<Contender>,
    /// Routes of which one criterion alone did not match, in file order; the reason says which.
    pub near: Vec<Contender>,
}

/// A route and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The route.
    pub route: RouteIx,
    /// The element of its `paths` that did best; `None` for a route without paths.
    pub path: Option<usize>,
    /// Sentences without a full stop.
    pub reasons: Vec<String>,
}

/// Explains a look-up. `table` is what `specs` were compiled into.
pub fn explain(specs: &[RouteSpec], table: &RouteTable, lookup: &Lookup<'_>) -> Explanation {
    let flavor = table.flavor;
    let mut reader = Reader::again(flavor);
    let criteria = reader.read_all(specs);
    let (mut host_buf, mut sni_buf) = (None, None);
    let lookup = &lookup.lowered(&mut sni_buf);
    let host = HostName::read(lookup.host, lookup.tls, &mut host_buf);
    let method = table.methods.bit(lookup.method);
    let asked = Asked {
        lookup,
        host,
        method,
        regexes: &table.regexes,
        flavor,
    };
    let mut explanation = Explanation::default();
    let mut matched = Vec::new();
    for (at, (spec, one)) in specs.iter().zip(&criteria).enumerate() {
        match asked.verdict(at, spec, one) {
            Verdict::Matched(traits, contender) => matched.push((traits, contender)),
            Verdict::Near(contender) => explanation.near.push(contender),
            Verdict::Far => {}
        }
    }
    matched.sort_by_cached_key(|(traits, _)| traits.key(flavor));
    explanation.rank(matched, flavor);
    explanation
}

impl Explanation {
    fn rank(&mut self, matched: Vec<(Traits, Contender)>, flavor: Flavor) {
        let mut matched = matched.into_iter();
        let Some((best, winner)) = matched.next() else {
            return;
        };
        self.winner = Some(winner);
        self.beaten.extend(matched.map(|(traits, mut contender)| {
            let step = best.beats(&traits, flavor);
            contender
                .reasons
                .extend(step.map(|step| defeat(step, &best, &traits)));
            contender
        }));
    }
}

/// What one route makes of the request.
enum Verdict {
    Matched(Traits, Contender),
    Near(Contender),
    Far,
}

/// The path of a route that did best.
#[derive(Clone, Copy)]
struct Best<'c> {
    traits: Traits,
    path: Option<(usize, PathTest<'c>)>,
    end: usize,
}

/// How a criterion matched (nothing to say where it is not asked for), or why it did not.
type Finding = Result<Option<String>, String>;

/// The request, as far as it is the same for all routes.
struct Asked<'a> {
    lookup: &'a Lookup<'a>,
    host: HostName<'a>,
    method: u64,
    regexes: &'a [PathRegex],
    flavor: Flavor,
}

impl Asked<'_> {
    fn verdict(&self, at: usize, spec: &RouteSpec, criteria: &Criteria<'_>) -> Verdict {
        let hit = criteria.host_hit(&self.host);
        let best = self.best(at, spec, criteria, hit.is_some_and(|hit| hit.literal));
        let mut findings = vec![
            self.host(spec, hit),
            self.path(spec, best),
            self.method(spec, criteria),
            self.sni(spec, criteria),
        ];
        findings.extend(criteria.guard.headers.iter().map(|test| self.header(test)));
        let path = best.and_then(|best| best.path).map(|(at, _)| at);
        let contender = |reasons| Contender {
            route: at.into(),
            path,
            reasons,
        };
        let (matched, failed): (Vec<_>, Vec<_>) = findings.into_iter().partition(Result::is_ok);
        let matched: Vec<String> = matched.into_iter().flatten().flatten().collect();
        let failed: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
        match (failed.len(), best) {
            (0, Some(best)) => Verdict::Matched(best.traits, contender(matched)),
            (1, _) if !matched.is_empty() => Verdict::Near(contender(failed)),
            _ => Verdict::Far,
        }
    }

    /// Of the paths that match, the one that goes first.
    fn best<'c>(
        &self,
        place: usize,
        spec: &RouteSpec,
        criteria: &'c Criteria<'_>,
        literal: bool,
    ) -> Option<Best<'c>> {
        let matching = criteria.each_path().filter_map(|path| {
            let end = path.map_or(Some(0), |(_, test)| self.end_of_match(test))?;
            let traits = criteria.traits(spec, place, path);
            let traits = Traits {
                literal_host: literal && traits.plain_hosts,
                ..traits
            };
            Some(Best { traits, path, end })
        });
        matching.min_by_key(|best| best.traits.key(self.flavor))
    }

    fn end_of_match(&self, test: PathTest<'_>) -> Option<usize> {
        match test {
            PathTest::Prefix(prefix) => {
                self.lookup.path.starts_with(prefix).then_some(prefix.len())
            }
            PathTest::Regex(at) => self.regexes[at as usize].end_of_match(self.lookup.path),
        }
    }

    fn host(&self, spec: &RouteSpec, hit: Option<HostHit<'_>>) -> Finding {
        let sent = self.lookup.host;
        match hit.map(|hit| hit.pattern) {
            Some(None) => Ok(None),
            Some(Some(pattern)) => Ok(Some(format!(
                "host `{sent}` matches `{}`",
                spelled(pattern)
            ))),
            None => Err(format!(
                "host `{sent}` matches none of {}",
                list(&spec.hosts)
            )),
        }
    }

    fn path(&self, spec: &RouteSpec, best: Option<Best<'_>>) -> Finding {
        let sent = self.lookup.path;
        let Some(best) = best else {
            return Err(format!(
                "path `{sent}` matches none of {}",
                list(&spec.paths)
            ));
        };
        let Some((at, test)) = best.path else {
            return Ok(None);
        };
        let (text, end) = (&spec.paths[at], &sent[..best.end]);
        Ok(Some(match test {
            PathTest::Prefix(_) => format!("path `{sent}` starts with `{text}`"),
            PathTest::Regex(_) => format!("path `{sent}` matches `{text}` as far as `{end}`"),
        }))
    }

    fn method(&self, spec: &RouteSpec, criteria: &Criteria<'_>) -> Finding {
        let sent = self.lookup.method;
        match criteria.methods {
            ANY_METHOD => Ok(None),
            set if set & self.method != 0 => Ok(Some(format!("method `{sent}` is listed"))),
            _ => Err(format!(
                "method `{sent}` is none of {}",
                list(&spec.methods)
            )),
        }
    }

    fn header(&self, test: &HeaderTest) -> Finding {
        let (name, headers) = (&test.name, self.lookup.headers);
        if test.admits(headers) {
            return Ok(Some(format!("header `{name}` has an accepted value")));
        }
        let texts: Vec<String> = test.values.iter().map(text_of).collect();
        Err(match headers.any(name, &mut |_| true) {
            true => format!("header `{name}` has none of the values {}", list(&texts)),
            false => format!("header `{name}` is missing"),
        })
    }

    fn sni(&self, spec: &RouteSpec, criteria: &Criteria<'_>) -> Finding {
        if spec.snis.is_empty() {
            return Ok(None);
        }
        let sent = self.lookup.sni.unwrap_or("");
        match criteria.guard.admits_sni(self.lookup) {
            true if self.lookup.tls => Ok(Some(format!("SNI `{sent}` is listed"))),
            true => Ok(Some("SNI is not looked at without TLS".into())),
            false => Err(format!("SNI `{sent}` matches none of {}", list(&spec.snis))),
        }
    }
}

fn spelled(pattern: &HostPattern) -> String {
    let name = match pattern.shape {
        Shape::Plain => pattern.name.to_string(),
        Shape::Suffix => format!("*{}", pattern.name),
        Shape::Prefix => format!("{}*", pattern.name),
    };
    pattern
        .port
        .map_or(name.clone(), |port| format!("{name}:{port}"))
}

fn text_of(value: &ValueTest) -> String {
    match value {
        ValueTest::Text(text) => text.to_string(),
        ValueTest::Pattern(regex) => format!("~*{}", regex.as_str()),
    }
}

/// The first few, in backticks.
fn list(texts: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = texts
        .iter()
        .take(SHOWN)
        .map(|text| format!("`{text}`"))
        .collect();
    match texts.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What the deciding question says against the loser.
fn defeat(step: Step, best: &Traits, loser: &Traits) -> String {
    let (more, less) = (best.answer(step), loser.answer(step));
    let reason = match step {
        Step::Criteria => format!("{less} criteria against {more}"),
        Step::Kind => format!("{} rank below {}", kinds(loser.kinds), kinds(best.kinds)),
        Step::WildcardPort => "the winner has a wildcard host with a port".into(),
        Step::PlainHosts => "the winner has hosts, and none is a wildcard".into(),
        Step::LiteralHost => "the winner's host equals the Host header, port included".into(),
        Step::Regex => "the winner's path is a regular expression".into(),
        Step::HeaderNames => format!("{less} header names against {more}"),
        Step::RegexPriority => format!("regex_priority {less} against {more}"),
        Step::PrefixLength => format!("a path prefix of {less} bytes against {more}"),
        Step::Age => "the winner is older by created_at".into(),
        Step::Place => "the winner stands earlier in the file".into(),
    };
    format!("loses: {reason}")
}

fn kinds(bits: u8) -> String {
    let names = [
        (16, "hosts"),
        (8, "headers"),
        (4, "paths"),
        (2, "methods"),
        (1, "snis"),
    ];
    let used = names
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| *name);
    match used.collect::<Vec<_>>() {
        none if none.is_empty() => "no criteria".into(),
        used => used.join(" + "),
    }
}

#[cfg(test)]
mod tests;
