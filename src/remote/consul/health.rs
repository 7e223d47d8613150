//! The instances of a service and how they are: `GET /v1/health/service/:name`.
//!
//! Invariants: an entry that makes no sense is left out alone and counted. Two equal lists mean that
//! nothing changed that traffic could notice: outputs of checks and indexes are not in them.

use std::net::IpAddr;

use serde_json::Value;

use super::{Answer, Call, ConsulError, Query, Secret, encoded};

/// What is asked for: one list of instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceQuery {
    /// Name of the service.
    pub service: String,
    /// Datacenter, if not the agent's.
    pub datacenter: Option<String>,
    /// Filter expression.
    pub filter: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Admin partition.
    pub partition: Option<String>,
    /// Cluster peer that exports the service.
    pub peer: Option<String>,
    /// Token, if not the client's.
    pub token: Option<Secret>,
}

/// The worst that the checks of an instance and its node say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All is well, or nothing is checked.
    Passing,
    /// Some check warns.
    Warning,
    /// Some check fails.
    Critical,
    /// Somebody took the instance or its node out.
    Maintenance,
}

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its node: by id, else by name.
    pub node: String,
    /// Its id there.
    pub id: String,
    /// Its own address, else its node's: an IP address or a name.
    pub address: String,
    /// Its port; 0 is none.
    pub port: u16,
    /// Tags.
    pub tags: Vec<String>,
    /// Weight while all is well, and while some check warns.
    pub weights: (u32, u32),
    /// How it is.
    pub state: State,
}

impl Instance {
    /// Its weight in its state; instances that may get no traffic have none.
    pub fn weight(&self) -> Option<u32> {
        match self.state {
            State::Passing => Some(self.weights.0),
            State::Warning => Some(self.weights.1),
            State::Critical | State::Maintenance => None,
        }
    }

    /// Whether it has all of these tags, as Consul's DNS compares them.
    pub fn has_tags(&self, tags: &[String]) -> bool {
        tags.iter().all(|tag| {
            let mut own = self.tags.iter();
            own.any(|own| own.eq_ignore_ascii_case(tag))
        })
    }
}

/// All instances, whatever their state, in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// By node, then id.
    pub list: Vec<Instance>,
    /// Entries that were left out.
    pub malformed: usize,
}

/// Bound for a list: some ten thousand instances.
const MOST: usize = 32 << 20;

impl Query for ServiceQuery {
    type Answer = Instances;

    fn call(&self) -> Call {
        let optional = [
            ("dc", &self.datacenter),
            ("filter", &self.filter),
            ("ns", &self.namespace),
            ("partition", &self.partition),
            ("peer", &self.peer),
        ];
        let given = optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)));
        Call {
            query: given.collect(),
            token: self.token.clone(),
            most: MOST,
            ..Call::get(format!("/v1/health/service/{}", encoded(&self.service)))
        }
    }

    fn read(&self, answer: Answer) -> Result<Instances, ConsulError> {
        decode(&answer.body)
    }

    fn is_empty(answer: &Instances) -> bool {
        answer.list.is_empty()
    }
}

/// Reads a list of entries.
pub fn decode(body: &[u8]) -> Result<Instances, ConsulError> {
    let entries: Option<Vec<Value>> =
        serde_json::from_slice(body).map_err(|error| ConsulError::Malformed(error.to_string()))?;
    let mut found = Instances::default();
    for entry in entries.unwrap_or_default() {
        match instance(&entry) {
            Some(instance) => found.list.push(instance),
            None => found.malformed += 1,
        }
    }
    found
        .list
        .sort_by(|a, b| (&a.node, &a.id).cmp(&(&b.node, &b.id)));
    Ok(found)
}

fn instance(entry: &Value) -> Option<Instance> {
    let (node, service) = (entry.get("Node"), entry.get("Service")?);
    let node_text = |name: &str| node.map(|node| text(node, name)).unwrap_or_default();
    let own = text(service, "Address");
    let address = if own.is_empty() {
        node_text("Address")
    } else {
        own
    };
    let node_id = match node_text("ID") {
        "" => node_text("Node"),
        id => id,
    };
    let id = match text(service, "ID") {
        "" => text(service, "Service"),
        id => id,
    };
    Some(Instance {
        node: node_id.to_owned(),
        id: id.to_owned(),
        address: bare_address(address)?,
        port: port(service.get("Port"))?,
        tags: strings(service.get("Tags")),
        weights: weights(service.get("Weights")),
        state: state(entry.get("Checks")),
    })
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).map(Vec::as_slice);
    let texts = list.unwrap_or_default().iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// An address without brackets, or a host name.
fn bare_address(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_name = !bare.is_empty() && bare.len() < 254 && bare.chars().all(fits);
    // Numbers and dots that are no address are no name either.
    let named = bare.contains(|c: char| c.is_ascii_alphabetic());
    (is_name && named).then(|| bare.to_ascii_lowercase())
}

/// A port that is absent is none; one that cannot be is wrong.
fn port(value: Option<&Value>) -> Option<u16> {
    match value {
        None | Some(Value::Null) => Some(0),
        Some(port) => port.as_u64().and_then(|port| u16::try_from(port).ok()),
    }
}

/// The largest weight that Consul takes.
const HEAVIEST: u64 = 65_535;

fn weights(value: Option<&Value>) -> (u32, u32) {
    let weight = |name: &str| {
        let given = value.and_then(|weights| weights.get(name)?.as_u64());
        given.map_or(1, |weight| weight.min(HEAVIEST) as u32)
    };
    (weight("Passing"), weight("Warning"))
}

fn state(checks: Option<&Value>) -> State {
    let checks = checks.and_then(Value::as_array).map(Vec::as_slice);
    let states = checks.unwrap_or_default().iter().map(|check| {
        let id = text(check, "CheckID");
        match text(check, "Status") {
            _ if id == "_node_maintenance" || id.starts_with("_service_maintenance") => {
                State::Maintenance
            }
            "passing" => State::Passing,
            "warning" => State::Warning,
            // What is not known is no reason to send traffic.
            _ => State::Critical,
        }
    });
    states.max().unwrap_or(State::Passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> Instances {
        decode(json.as_bytes()).unwrap()
    }

    fn entry(service: &str, checks: &str) -> Instance {
        let json = format!(
            r#"[{{"Node":{{"ID":"n","Node":"host","Address":"10.0.0.1"}},
                "Service":{{"ID":"web-1","Service":"web",{service}}},"Checks":{checks}}}]"#
        );
        one(&json).list.remove(0)
    }

    #[test]
    fn addresses_fall_back_to_the_node_and_may_be_names() {
        for (given, want) in [
            ("", "10.0.0.1"),
            ("10.1.1.1", "10.1.1.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[::1]", "::1"),
            ("Web.Internal", "web.internal"),
        ] {
            let service = format!(r#""Address":"{given}","Port":80"#);
            assert_eq!(entry(&service, "[]").address, want);
        }
        assert_eq!(entry(r#""Tags":null"#, "null").port, 0);
    }

    #[test]
    fn the_worst_check_is_the_state() {
        let check = |id: &str, status: &str| format!(r#"{{"CheckID":"{id}","Status":"{status}"}}"#);
        let state = |checks: &[String]| {
            let checks = format!("[{}]", checks.join(","));
            entry(r#""Port":1,"Weights":{"Passing":10,"Warning":2}"#, &checks)
        };
        let (good, warns) = (check("serfHealth", "passing"), check("x", "warning"));
        let bad = check("y", "critical");
        let out = check("_service_maintenance:web-1", "critical");
        let node_out = check("_node_maintenance", "critical");
        for (checks, want, weight) in [
            (vec![], State::Passing, Some(10)),
            (vec![good.clone()], State::Passing, Some(10)),
            (vec![good.clone(), warns.clone()], State::Warning, Some(2)),
            (vec![warns, bad.clone()], State::Critical, None),
            (vec![bad, out], State::Maintenance, None),
            (vec![good, node_out], State::Maintenance, None),
        ] {
            let instance = state(&checks);
            assert_eq!((instance.state, instance.weight()), (want, weight));
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out_alone() {
        let list = r#"[
            {"Node":{"Node":"b","Address":"10.0.0.2"},"Service":{"ID":"b","Port":80}},
            {"Node":{"Node":"x","Address":"10.0.0.3"},"Service":{"ID":"x","Port":70000}},
            {"Node":{"Node":"x","Address":""},"Service":{"ID":"x","Port":80}},
            {"Node":{"Node":"x","Address":"300.1.1.1"},"Service":{"ID":"x","Port":80}},
            {"Node":{"Node":"x","Address":"a b"},"Service":{"ID":"x","Port":80}},
            {"Node":{"Node":"x"}}, null, 7,
            {"Node":{"Node":"a","Address":"10.0.0.1"},"Service":{"ID":"a","Port":80,"New":{}}}
        ]"#;
        let found = one(list);
        let nodes: Vec<_> = found.list.iter().map(|of| of.node.as_str()).collect();
        assert_eq!((nodes.as_slice(), found.malformed), (&["a", "b"][..], 7));
        assert_eq!(one("null"), Instances::default());
        assert_eq!(decode(b"{}").unwrap_err().kind(), "malformed");
        assert_eq!(decode(b"[").unwrap_err().kind(), "malformed");
    }

    #[test]
    fn every_tag_must_be_there_whatever_its_case() {
        let instance = entry(r#""Tags":["Primary","v1.2"]"#, "[]");
        let has = |tags: &[&str]| {
            let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            instance.has_tags(&tags)
        };
        assert!(has(&[]) && has(&["primary"]) && has(&["v1.2", "PRIMARY"]));
        assert!(!has(&["primary", "v2"]));
    }

    #[test]
    fn what_is_asked_for_is_encoded_and_hides_its_token() {
        let query = ServiceQuery {
            service: "a b/c".into(),
            filter: Some(r#""x" in Service.Tags"#.into()),
            namespace: Some("team".into()),
            token: Some(Secret::new("s3cret")),
            ..ServiceQuery::default()
        };
        assert_eq!(
            query.call().target(),
            "/v1/health/service/a%20b%2Fc?filter=%22x%22%20in%20Service.Tags&ns=team"
        );
        assert!(!format!("{query:?}{:?}", query.call()).contains("s3cret"));
    }
}
