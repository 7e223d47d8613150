//! # redirect
//!
//! Sends every client elsewhere: the answer has `Location` and the body `redirecting`.
//!
//! With `keep_incoming_path`, path and query of `location` are those of the request: its path in
//! normal form, its query as it came. Scheme and host of `location` are then written in lower case
//! and without the scheme's own port, as browsers read them; a fragment stays.
//!
//! It runs after authentication, rate limits and transformations: what request-transformer did to
//! the query is in `Location`, while a `replace.uri` is about the upstream alone.

use std::sync::Arc;

use crate::config::known::KnownPlugin;
use crate::config::schema::{Literal, Record, Rule, boolean, field, integer, url};
use crate::config::{Fields, Parsed, Report};
use crate::message::{Reply, ReplyBody, RequestHead, uri};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, instance};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "redirect",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 779,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build,
};

static CONFIG: Record = Record::new(&[
    field("status_code", integer().between(100, 599))
        .required()
        .default(Literal::Int(301))
        .doc("Status of the answer."),
    field("location", url())
        .required()
        .doc("Where clients are sent."),
    field("keep_incoming_path", boolean())
        .default(Literal::Bool(false))
        .doc("Keep the request's path and query instead of those of `location`."),
])
.rules(&[Rule::Check(final_status)]);

fn final_status(fields: &Fields<'_>, report: &mut Report) {
    let status = fields.int::<u16>("status_code");
    if status < 200 {
        let message = "a 1xx status ends no request: clients go on waiting";
        fields.warning(report, "status_code", message);
    } else if !(300..400).contains(&status) {
        let message = "clients follow `Location` only with a 3xx status";
        fields.warning(report, "status_code", message);
    }
}

#[derive(Clone, Debug)]
struct Redirect {
    /// The answer without `Location`, rendered once.
    reply: Reply,
    to: To,
}

#[derive(Clone, Debug)]
enum To {
    /// The whole of it.
    Location(String),
    /// What stands before and behind the request's path and query.
    Around { origin: String, fragment: String },
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let location = fields.str("location");
    let to = match fields.bool("keep_incoming_path") {
        true => around(location),
        false => To::Location(location.to_owned()),
    };
    let reply = Reply {
        body: ReplyBody::Bytes("redirecting".into(), None),
        ..Reply::empty(fields.int("status_code"))
    };
    Some(Parsed::new(Redirect { reply, to }))
}

/// The check has seen that there is a scheme.
fn around(location: &str) -> To {
    let (scheme, rest) = location.split_once("://").unwrap_or(("http", location));
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    let own_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => ":",
    };
    let host = host.strip_suffix(own_port).unwrap_or(host);
    To::Around {
        origin: format!("{scheme}://{user}{}", host.to_ascii_lowercase()),
        fragment: tail
            .find('#')
            .map(|at| tail[at..].to_owned())
            .unwrap_or_default(),
    }
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Redirect| Arc::new(config.clone()))
}

impl Plugin for Redirect {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let location = self.to.location(cx.request);
        self.reply.clone().with("Location", location).into()
    }
}

impl To {
    fn location(&self, request: &RequestHead) -> String {
        match self {
            To::Location(location) => location.clone(),
            To::Around { origin, fragment } => {
                let mut path = Vec::with_capacity(request.path().len());
                uri::escape_into(&mut path, request.path());
                let path = String::from_utf8_lossy(&path);
                format!("{origin}{path}{}{fragment}", request.query())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testkit::{Kit, config_issues};

    fn location(config: &str, target: &str) -> String {
        let request = format!("GET {target} HTTP/1.1");
        let answer = Kit::of(&PLUGIN, config).send(&request);
        assert!(!answer.passed());
        assert_eq!(answer.body, "redirecting");
        assert_eq!(answer.header("Content-Type"), None);
        answer.header("Location").unwrap().to_owned()
    }

    #[test]
    fn the_location_is_what_the_file_says() {
        let config = "{location: 'https://Example.com/path?foo=bar#top'}";
        assert_eq!(
            location(config, "/a?b=c"),
            "https://Example.com/path?foo=bar#top"
        );
        let kit = Kit::of(&PLUGIN, "{location: 'https://a.test'}");
        assert_eq!(kit.send("POST / HTTP/1.1").status, 301);
        let kit = Kit::of(&PLUGIN, "{location: 'https://a.test', status_code: 308}");
        assert_eq!(kit.send("POST / HTTP/1.1").status, 308);
    }

    #[test]
    fn path_and_query_of_the_request_can_be_kept() {
        for (to, target, want) in [
            (
                "https://example.com/some?foo=bar",
                "/s/200?keep=this",
                "https://example.com/s/200?keep=this",
            ),
            ("HTTP://A.Test:80", "/", "http://a.test/"),
            (
                "https://u:p@a.test:8443/x#frag",
                "/y?q=%20",
                "https://u:p@a.test:8443/y?q=%20#frag",
            ),
            ("https://[::1]:443?x", "/y", "https://[::1]/y"),
        ] {
            let config = format!("{{location: '{to}', keep_incoming_path: true}}");
            assert_eq!(location(&config, target), want);
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for (config, want) in [
            (
                "{}",
                "f:3:11: error: plugins[0].config.location: required field missing",
            ),
            (
                "{location: /there}",
                "f:3:22: error: plugins[0].config.location: missing host in url",
            ),
            (
                "{location: a.test}",
                "f:3:22: error: plugins[0].config.location: missing scheme in url",
            ),
            (
                "{location: 'http://a', status_code: 99}",
                "f:3:47: error: plugins[0].config.status_code: value should be between 100 and 599",
            ),
            (
                "{location: 'http://a', keep_incoming_path: 1}",
                "f:3:54: error: plugins[0].config.keep_incoming_path: expected a boolean, got 1",
            ),
            (
                "{location: 'http://a', status_code: 200}",
                "f:3:47: warning: plugins[0].config.status_code: clients follow `Location` only with a 3xx status",
            ),
            (
                "{location: 'http://a', status_code: 100}",
                "f:3:47: warning: plugins[0].config.status_code: a 1xx status ends no request: clients go on waiting",
            ),
        ] {
            assert_eq!(config_issues(&PLUGIN, config)[0], want);
        }
    }
}
