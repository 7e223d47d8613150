//! Which route gets a request: Kong's worked examples, every statement about criteria and hosts,
//! and random tables against the oracle.

mod examples;
mod random;

use super::oracle::Request;
use super::{Flavor, Match, RouteSpec, RouteTable};

const BOTH: [Flavor; 2] = [Flavor::Traditional, Flavor::TraditionalCompatible];

/// A route in words: `hosts=a,b paths=/x,~/y methods=GET snis=s x-name:v1,v2 prio=1 at=10`.
pub(super) fn route(text: &str) -> RouteSpec {
    let mut spec = RouteSpec::default();
    for word in text.split_whitespace() {
        let at = word.find(['=', ':']).unwrap();
        let (key, value) = (&word[..at], &word[at + 1..]);
        let list = value.split(',').map(str::to_owned).collect();
        match key {
            "hosts" => spec.hosts = list,
            "paths" => spec.paths = list,
            "methods" => spec.methods = list,
            "snis" => spec.snis = list,
            "prio" => spec.regex_priority = value.parse().unwrap(),
            "at" => spec.created_at = Some(value.parse().unwrap()),
            name => spec.headers.push((name.to_owned(), list)),
        }
    }
    spec
}

/// Routes in words, one a line or separated by ` · `.
pub(super) fn routes(text: &str) -> Vec<RouteSpec> {
    text.split(" · ").map(route).collect()
}

/// A request in words: `GET a.test/path name:value sni=x` (`sni` makes it TLS, `tls=` too).
pub(super) fn request(text: &str) -> Request {
    let mut words = text.split_whitespace();
    let method = words.next().unwrap().to_owned();
    let url = words.next().unwrap();
    let slash = url.find('/').unwrap();
    let mut request = Request {
        method,
        host: url[..slash].to_owned(),
        tls: false,
        sni: None,
        path: url[slash..].to_owned(),
        headers: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("sni", sni)) => (request.tls, request.sni) = (true, Some(sni.to_owned())),
            Some(("tls", _)) => request.tls = true,
            _ => {
                let (name, value) = word.split_once(':').unwrap();
                request.headers.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    request
}

pub(super) fn find(specs: &[RouteSpec], flavor: Flavor, text: &str) -> Option<Match> {
    RouteTable::compile(specs, flavor)
        .unwrap()
        .find(&request(text).lookup())
}

/// The winner as a letter, `-` for none.
fn winner(specs: &[RouteSpec], flavor: Flavor, text: &str) -> char {
    find(specs, flavor, text).map_or('-', |found| (b'A' + found.route.0 as u8) as char)
}
