//! # request-size-limiting
//!
//! Refuses requests whose body is longer than `allowed_payload_size`.
//!
//! | Answer | When |
//! | --- | --- |
//! | 413 `Request size limit exceeded` | the body is too long |
//! | 417 `Request size limit exceeded` | the same, and the client waits for `100 Continue` |
//! | 411 `A valid Content-Length header is required` | with `require_content_length`: the client names no length and sends no chunks; over HTTP/2 whenever it names none |
//!
//! With `Content-Length` the answer comes before a byte of the body was read. A body without a
//! length (chunks, HTTP/2 frames) streams to the upstream and is cut off as soon as it is too long:
//! what the upstream got of it is broken off, never a whole body. The limit counts the body as the
//! client sends it, before other plugins change it.
//!
//! Units: megabytes are 1048576 bytes, kilobytes 1024.

use std::sync::Arc;

use crate::config::known::KnownPlugin;
use crate::config::schema::{Literal, Record, boolean, field, integer, one_of};
use crate::config::{Fields, Parsed, Report};
use crate::message::{Framing, Known, Reply, RequestHead};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, instance};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "request-size-limiting",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 951,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build,
};

static CONFIG: Record = Record::new(&[
    field("allowed_payload_size", integer().at_least(0))
        .required()
        .default(Literal::Int(128))
        .doc("Longest body, in `size_unit`."),
    field("size_unit", one_of(&["megabytes", "kilobytes", "bytes"]))
        .required()
        .default(Literal::Str("megabytes"))
        .doc("Unit of `allowed_payload_size`."),
    field("require_content_length", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Refuse requests without `Content-Length`, unless they send chunks."),
]);

#[derive(Clone, Debug)]
struct SizeLimit {
    bytes: u64,
    require_length: bool,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let factor = match fields.str("size_unit") {
        "bytes" => 1,
        "kilobytes" => 1024,
        _ => 1024 * 1024,
    };
    let size = fields.int::<u64>("allowed_payload_size");
    Some(Parsed::new(SizeLimit {
        bytes: size.saturating_mul(factor),
        require_length: fields.bool("require_content_length"),
    }))
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &SizeLimit| Arc::new(config.clone()))
}

impl Plugin for SizeLimit {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let framing = cx.request.framing;
        if self.require_length && !names_length(cx.request) && framing != Framing::Chunked {
            return Reply::message(411, "A valid Content-Length header is required").into();
        }
        // Another plugin may have read it already.
        let read = cx.read_length().map(|length| length as u64);
        match framing.length().or(read) {
            Some(length) if length > self.bytes => too_long(cx.request).into(),
            Some(_) => Flow::Next,
            None => {
                cx.limit_body(self.bytes);
                cx.facts.oversize = Some(Box::new(too_long(cx.request)));
                Flow::Next
            }
        }
    }
}

fn names_length(request: &RequestHead) -> bool {
    request.headers.has(Known::ContentLength)
}

fn too_long(request: &RequestHead) -> Reply {
    let status = if request.expect_continue { 417 } else { 413 };
    Reply::message(status, "Request size limit exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testkit::{Kit, config_issues};

    fn answer(config: &str, request: &str) -> (u16, String) {
        let answer = Kit::of(&PLUGIN, config).send(request);
        (answer.status, answer.body)
    }

    #[test]
    fn units_are_powers_of_1024() {
        for (config, fits) in [
            ("{allowed_payload_size: 3, size_unit: bytes}", 3),
            ("{allowed_payload_size: 2, size_unit: kilobytes}", 2048),
            ("{allowed_payload_size: 1, size_unit: megabytes}", 1_048_576),
            ("{allowed_payload_size: 1}", 1_048_576),
        ] {
            let ask = |length| {
                let body = "x".repeat(length);
                answer(config, &format!("POST / HTTP/1.1\n\n{body}"))
            };
            assert_eq!(ask(fits).0, 200, "{config}");
            let refused = r#"{"message":"Request size limit exceeded"}"#.to_owned();
            assert_eq!(ask(fits + 1), (413, refused), "{config}");
        }
        let most = "{allowed_payload_size: 9223372036854775807}";
        assert_eq!(answer(most, "POST / HTTP/1.1\n\nx").0, 200);
    }

    #[test]
    fn a_length_can_be_asked_for() {
        let config = "{require_content_length: true}";
        let words = r#"{"message":"A valid Content-Length header is required"}"#;
        assert_eq!(
            answer(config, "GET / HTTP/1.1"),
            (411, words.to_owned()),
            "as Kong: a request without a body too"
        );
        assert_eq!(answer(config, "GET / HTTP/1.1\nContent-Length: 0").0, 200);
        assert_eq!(answer("{}", "GET / HTTP/1.1").0, 200);
    }

    #[test]
    fn wrong_values_are_refused() {
        for (config, want) in [
            (
                "{allowed_payload_size: -1}",
                "f:3:34: error: plugins[0].config.allowed_payload_size: value must be greater than -1",
            ),
            (
                "{allowed_payload_size: '5'}",
                "f:3:34: error: plugins[0].config.allowed_payload_size: expected an integer, got \"5\"",
            ),
            (
                "{size_unit: mb}",
                "f:3:23: error: plugins[0].config.size_unit: expected one of: megabytes, kilobytes, bytes",
            ),
            (
                "{require_content_length: 1}",
                "f:3:36: error: plugins[0].config.require_content_length: expected a boolean, got 1",
            ),
        ] {
            assert_eq!(config_issues(&PLUGIN, config)[0], want);
        }
    }
}
