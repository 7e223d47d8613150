//! # correlation-id
//!
//! Gives every request an id in a header, so that the log lines of all services that one request
//! passes through can be brought together.
//!
//! A request that brings a non-empty value keeps it; any other gets a new one. The id goes to the
//! upstream, into log records as `correlation_id`, and with `echo_downstream` back to the client:
//! on errors too, and, when the plugin is global, on requests that match no route.
//!
//! | `generator` | Looks like |
//! | --- | --- |
//! | `uuid#counter` | one UUID per worker thread, then the number of ids it has made: `a3c1…-…#42` |
//! | `uuid` | a UUID (version 4) for each request |
//! | `tracker` | `<gateway ip>-<port>-<process>-<connection>-<request on it>-<seconds.milliseconds>` |

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use uuid::Uuid;

use crate::config::known::KnownPlugin;
use crate::config::schema::{Literal, Record, boolean, field, header_name, one_of};
use crate::config::{Fields, Parsed, Report};
use crate::message::{BodyWish, ConnInfo, Headers};
use crate::plugin::{
    Build, Facts, Flow, Phases, Plugin, PluginDef, RequestCx, ResponseCx, instance,
};
use crate::util::clock;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "correlation-id",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 100_001,
    phases: Phases::REQUEST.and(Phases::RESPONSE),
    credentials: None,
    anonymous: None,
    build,
};

static CONFIG: Record = Record::new(&[
    field("header_name", header_name())
        .required()
        .default(Literal::Str("Kong-Request-ID"))
        .doc("Header that carries the id."),
    field("generator", one_of(&["uuid", "uuid#counter", "tracker"]))
        .required()
        .default(Literal::Str("uuid#counter"))
        .doc("How new ids are made."),
    field("echo_downstream", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Also send the id to the client."),
]);

#[derive(Clone, Debug)]
struct CorrelationId {
    header: String,
    generator: Generator,
    echo: bool,
}

#[derive(Clone, Copy, Debug)]
enum Generator {
    Uuid,
    Counter,
    Tracker,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(CorrelationId {
        header: fields.string("header_name"),
        generator: match fields.str("generator") {
            "uuid" => Generator::Uuid,
            "tracker" => Generator::Tracker,
            _ => Generator::Counter,
        },
        echo: fields.bool("echo_downstream"),
    }))
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &CorrelationId| Arc::new(config.clone()))
}

impl Plugin for CorrelationId {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        if !self.received(&cx.request.headers, cx.facts) {
            self.generator.make(cx.conn, cx.facts);
            cx.request
                .headers
                .set(&self.header, &cx.facts.correlation_id);
        }
        Flow::Next
    }

    fn on_response(&self, cx: &mut ResponseCx<'_>) -> BodyWish {
        if !self.echo {
            return BodyWish::Pass;
        }
        // Without a route, or behind the answer of an earlier plugin, the request phase never ran.
        if cx.facts.correlation_id.is_empty() && !self.received(&cx.request.headers, cx.facts) {
            self.generator.make(cx.conn, cx.facts);
        }
        let id = &cx.facts.correlation_id;
        cx.response.headers.set(&self.header, id);
        BodyWish::Pass
    }
}

impl CorrelationId {
    /// Notes the id that the request brings, if it brings one.
    fn received(&self, headers: &Headers, facts: &mut Facts) -> bool {
        let value = headers.get(&self.header).unwrap_or_default();
        facts.correlation_id.clear();
        let text = String::from_utf8_lossy(value);
        facts.correlation_id.push_str(&text);
        !value.is_empty()
    }
}

impl Generator {
    /// Notes a new id.
    fn make(self, conn: &ConnInfo, facts: &mut Facts) {
        facts.correlation_id.clear();
        // Writing to a text does not fail.
        let _ = match self {
            Generator::Uuid => write!(facts.correlation_id, "{}", Uuid::new_v4()),
            Generator::Counter => counted(&mut facts.correlation_id),
            Generator::Tracker => tracker(conn, facts),
        };
    }
}

thread_local! {
    /// This worker's UUID, and how many ids it has made.
    static COUNTER: (Uuid, Cell<u64>) = (Uuid::new_v4(), Cell::new(0));
}

fn counted(id: &mut String) -> fmt::Result {
    COUNTER.with(|(uuid, count)| {
        count.set(count.get() + 1);
        write!(id, "{uuid}#{}", count.get())
    })
}

fn tracker(conn: &ConnInfo, facts: &mut Facts) -> fmt::Result {
    let now = clock::unix_ms();
    write!(
        facts.correlation_id,
        "{}-{}-{}-{}-{}-{}.{:03}",
        conn.local.ip(),
        conn.local.port(),
        std::process::id(),
        conn.number,
        facts.nth,
        now / 1000,
        now % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testkit::{Kit, config_issues};

    #[test]
    fn a_request_without_an_id_gets_one() {
        let kit = Kit::of(&PLUGIN, "{}");
        let one = kit.send("GET / HTTP/1.1");
        let two = kit.send("GET / HTTP/1.1\nKong-Request-ID:");
        let (one_id, two_id) = (
            one.upstream("kong-request-id"),
            two.upstream("Kong-Request-Id"),
        );
        let split = |id: Option<&str>| {
            let (uuid, count) = id.unwrap().split_once('#').unwrap();
            (uuid.parse::<Uuid>().unwrap(), count.parse::<u64>().unwrap())
        };
        assert_eq!(split(one_id).0, split(two_id).0);
        assert_eq!(split(one_id).1 + 1, split(two_id).1);
        assert_eq!(Some(&*one.facts.correlation_id), one_id);
        assert_eq!(one.header("kong-request-id"), None);
    }

    #[test]
    fn a_received_id_is_kept_and_echoed() {
        let kit = Kit::of(&PLUGIN, "{header_name: X-Id, echo_downstream: true}");
        let answer = kit.send("GET / HTTP/1.1\nx-id: abc");
        assert_eq!(answer.upstream("X-Id"), Some("abc"));
        assert_eq!(answer.header("X-Id"), Some("abc"));
        assert_eq!(answer.facts.correlation_id, "abc");
    }

    #[test]
    fn an_id_of_the_upstream_gives_way() {
        let mut kit = Kit::of(&PLUGIN, "{header_name: X-Id, echo_downstream: true}");
        kit.upstream = "200\nX-Id: other".to_owned();
        assert_eq!(kit.send("GET / HTTP/1.1\nx-id: abc").lines(), ["X-Id: abc"]);
    }

    #[test]
    fn requests_without_a_route_get_an_id_of_their_own() {
        let config = "{header_name: X-Id, echo_downstream: true, generator: uuid}";
        let answer = Kit::of(&PLUGIN, config).not_found("GET / HTTP/1.1");
        let id = answer.header("X-Id").unwrap();
        assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 4);
        assert_eq!(answer.facts.correlation_id, id);
        let silent = Kit::of(&PLUGIN, "{}").not_found("GET / HTTP/1.1");
        assert_eq!(silent.header("Kong-Request-ID"), None);
    }

    #[test]
    fn a_tracker_says_where_and_when() {
        clock::set_wall(1_700_000_000_042);
        let kit = Kit::of(&PLUGIN, "{generator: tracker}");
        let answer = kit.send("GET / HTTP/1.1");
        let id = answer.upstream("Kong-Request-ID").unwrap();
        let start = format!("127.0.0.1-8000-{}-1-1-1700000000.", std::process::id());
        assert!(id.starts_with(&start), "{id}");
        assert_eq!(id.len(), start.len() + 3);
    }

    #[test]
    fn wrong_values_are_refused() {
        for (config, want) in [
            (
                "{generator: uid}",
                "f:3:23: error: plugins[0].config.generator: expected one of: uuid, uuid#counter, tracker",
            ),
            (
                "{header_name: 'a b'}",
                "f:3:25: error: plugins[0].config.header_name: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
            ),
            (
                "{echo_downstream: 1}",
                "f:3:29: error: plugins[0].config.echo_downstream: expected a boolean, got 1",
            ),
        ] {
            assert_eq!(config_issues(&PLUGIN, config)[0], want);
        }
    }
}
