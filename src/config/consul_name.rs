//! Hosts that are services of Consul: `[tag.]name.service[.datacenter].consul`.
//!
//! Invariant: a name under `.service.` and `.consul` either means a service or is refused; any other
//! is a name like all names, and asked of DNS.

use super::model::{ConsulDiscovery, Model};
use super::report::Report;

/// Why a name means no service.
pub const HINT: &str = "write [tag.]name.service.consul or [tag.]name.service.DATACENTER.consul";

/// Reads a host. `None`: it is none of Consul's services.
///
/// # Errors
/// When it looks like one and is not.
pub fn parse(host: &str) -> Option<Result<ConsulDiscovery, String>> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let labels: Vec<&str> = host.strip_suffix(".consul")?.split('.').collect();
    let mut marks = (0..labels.len())
        .rev()
        .filter(|ix| labels[*ix] == "service");
    // A service, a tag or a datacenter may be called `service`: the last reading that fits counts.
    let first = marks.next()?;
    let fits = std::iter::once(first)
        .chain(marks)
        .find_map(|at| read(&labels[..at], &labels[at + 1..]));
    let problem = || format!("'{host}' is no service of Consul");
    Some(fits.ok_or_else(problem))
}

fn read(before: &[&str], after: &[&str]) -> Option<ConsulDiscovery> {
    let (name, tags) = before.split_last()?;
    if before.iter().chain(after).any(|label| label.is_empty()) {
        return None;
    }
    let mut found = ConsulDiscovery {
        service: (*name).to_owned(),
        ..ConsulDiscovery::default()
    };
    if !tags.is_empty() {
        found.tags.push(tags.join("."));
    }
    if let [service, tag] = before
        && let (Some(service), Some(tag)) = (service.strip_prefix('_'), tag.strip_prefix('_'))
    {
        // RFC 2782; `_tcp` is a protocol and no tag.
        found.service = service.to_owned();
        found.tags = (tag != "tcp").then(|| tag.to_owned()).into_iter().collect();
    }
    match after {
        [] => {}
        [datacenter] => found.datacenter = Some((*datacenter).to_owned()),
        pairs => {
            for pair in pairs.chunks(2) {
                let [value, kind] = pair else { return None };
                let place = match *kind {
                    "dc" => &mut found.datacenter,
                    "ns" => &mut found.namespace,
                    "ap" => &mut found.partition,
                    "peer" => &mut found.peer,
                    _ => return None,
                };
                if place.replace((*value).to_owned()).is_some() {
                    return None;
                }
            }
        }
    }
    Some(found)
}

/// Reports what cannot be discovered.
pub(super) fn check(model: &Model, report: &mut Report) {
    for service in &model.services {
        if let Some(Err(problem)) = parse(&service.host) {
            let (at, path) = (
                service.meta.at_field("host"),
                service.meta.field_path("host"),
            );
            report.error(at, path, problem).hint(HINT);
        }
    }
    for target in &model.targets {
        if let Some(Err(problem)) = parse(&target.host) {
            let (at, path) = (
                target.meta.at_field("target"),
                target.meta.field_path("target"),
            );
            report.error(at, path, problem).hint(HINT);
        }
    }
    for upstream in &model.upstreams {
        if upstream.discovery.is_some() && !upstream.targets.is_empty() {
            let at = upstream.meta.at_field("discovery");
            let path = upstream.meta.field_path("discovery");
            report
                .error(at, path, "an upstream has either targets or discovery")
                .hint(
                    "leave one out; a target of the form name.service.consul is discovered beside \
                     other targets",
                );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(host: &str) -> Option<String> {
        let found = parse(host)?;
        Some(found.map_or_else(
            |_| "refused".to_owned(),
            |of| {
                let or = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
                let places = [&of.datacenter, &of.namespace, &of.partition, &of.peer].map(or);
                format!(
                    "{} [{}] {}",
                    of.service,
                    of.tags.join(","),
                    places.join(" ")
                )
            },
        ))
    }

    #[test]
    fn names_of_services() {
        for (host, want) in [
            ("web.service.consul", "web [] - - - -"),
            ("Web.SERVICE.consul.", "web [] - - - -"),
            ("primary.web.service.consul", "web [primary] - - - -"),
            ("v1.2.web.service.consul", "web [v1.2] - - - -"),
            ("web.service.eu-1.consul", "web [] eu-1 - - -"),
            ("a.web.service.eu.consul", "web [a] eu - - -"),
            ("_web._tcp.service.consul", "web [] - - - -"),
            ("_web._a.service.eu.consul", "web [a] eu - - -"),
            ("web.service.eu.dc.consul", "web [] eu - - -"),
            (
                "web.service.eu.dc.team.ns.p.ap.consul",
                "web [] eu team p -",
            ),
            ("web.service.other.peer.consul", "web [] - - - other"),
            ("service.service.consul", "service [] - - - -"),
            ("web.service.service.consul", "service [web] - - - -"),
        ] {
            assert_eq!(read(host).as_deref(), Some(want), "{host}");
        }
    }

    #[test]
    fn leftovers_are_refused() {
        for host in [
            "service.consul",
            "web.service.a.b.consul",
            "web.service.a.dc.b.dc.consul",
            "web.service.a.dc.b.consul",
            "web..service.consul",
            "web.service.eu.zone.consul",
        ] {
            assert_eq!(read(host).as_deref(), Some("refused"), "{host}");
        }
    }

    #[test]
    fn other_names_are_left_to_dns() {
        for host in [
            "consul",
            "web.consul",
            "host.node.consul",
            "geo.query.consul",
            "web.service.example",
            "consul.service",
            "10.0.0.1",
        ] {
            assert_eq!(parse(host), None, "{host}");
        }
    }
}
