//! What the log plugins share: the record as bytes, the queue's fields, and what they refuse.

use std::sync::Arc;

use crate::config::schema::{Kind, Literal, Record as Fieldset, Rule, any, field, integer, number};
use crate::config::{Fields, Report};
use crate::message::Record;
use crate::plugin::{Build, Plugin};
use crate::remote::ship::{Destination, Queue, Queueing, Shippers};

/// One line of JSON, without its line break.
pub(super) fn line(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    record.write_json(&mut out);
    out
}

/// An instance that queues each record. The queue outlives reloads while neither destination nor
/// settings change.
pub(super) fn shipping(build: &Build<'_>, to: &Destination, how: &Queueing) -> Arc<dyn Plugin> {
    let shippers = build.handles.get::<Shippers>();
    Arc::new(Shipping(shippers.map(|shippers| {
        shippers.queue(&build.scope.id, to.clone(), how.clone())
    })))
}

/// Nothing to ship to where a file is only checked.
struct Shipping(Option<Arc<Queue>>);

impl Plugin for Shipping {
    fn on_log(&self, record: &Record<'_>) {
        if let Some(queue) = &self.0 {
            queue.push(line(record));
        }
    }
}

/// Kong's `queue`.
pub(super) static QUEUE: Fieldset = Fieldset::new(&[
    field("max_batch_size", integer().between(1, 1_000_000))
        .required()
        .default(Literal::Int(1))
        .doc("Most records that are sent at once."),
    field("max_coalescing_delay", number().between(0, 3600))
        .required()
        .default(Literal::Int(1))
        .doc("Seconds that a record waits for others to fill a batch."),
    field("max_entries", integer().between(1, 1_000_000))
        .required()
        .default(Literal::Int(10_000))
        .doc("Most records that wait; beyond that the oldest are dropped."),
    field("max_bytes", integer().at_least(1)).doc("Most bytes that wait; none: no bound."),
    field("max_retry_time", number().between(0, 86_400))
        .required()
        .default(Literal::Int(60))
        .doc("Seconds after which a batch that cannot be delivered is dropped."),
    field("initial_retry_delay", PAUSE)
        .required()
        .default(Literal::Number(0.01))
        .doc("Seconds before the second attempt; each later pause is twice as long."),
    field("max_retry_delay", PAUSE)
        .required()
        .default(Literal::Int(60))
        .doc("Longest pause between attempts in seconds."),
    field("concurrency_limit", integer())
        .required()
        .default(Literal::Int(1))
        .doc("Batches under way at once: `1`, or `-1` for as many as needed (at most 256)."),
])
.rules(&[Rule::Check(concurrency)]);

const PAUSE: Kind = Kind::Number {
    min: 0.001,
    max: 1_000_000.0,
    above: None,
};

fn concurrency(fields: &Fields<'_>, report: &mut Report) {
    let limit: i64 = fields.int("concurrency_limit");
    if !matches!(limit, 1 | -1) {
        fields.error(report, "concurrency_limit", "expected one of: 1, -1");
    }
}

/// Batches under way at once where there is no limit: each holds a connection.
const UNLIMITED: usize = 256;

/// What [`QUEUE`] says.
pub(super) fn queueing(fields: &Fields<'_>) -> Queueing {
    Queueing {
        batch: fields.int("max_batch_size"),
        coalesce: fields.seconds("max_coalescing_delay"),
        entries: fields.int("max_entries"),
        bytes: fields.opt_int("max_bytes"),
        first_pause: fields.seconds("initial_retry_delay"),
        longest_pause: fields.seconds("max_retry_delay"),
        patience: fields.seconds("max_retry_time"),
        concurrent: match fields.int::<i64>("concurrency_limit") {
            1 => 1,
            _ => UNLIMITED,
        },
    }
}

/// Kong's `custom_fields_by_lua`, which [`no_lua`] refuses.
pub(super) const LUA: crate::config::schema::Field =
    field("custom_fields_by_lua", any()).doc("Not supported: there is no Lua here.");

/// Refuses fields that only Lua could fill.
pub(super) fn no_lua(fields: &Fields<'_>, report: &mut Report) {
    let Some(written) = fields.written("custom_fields_by_lua") else {
        return;
    };
    if written
        .to_json()
        .as_object()
        .is_none_or(|map| !map.is_empty())
        && !written.is_null()
    {
        fields
            .error(
                report,
                "custom_fields_by_lua",
                "not supported: there is no Lua here",
            )
            .hint("leave it out: headers, consumer, route and service are in the record already");
    }
}

/// A host as sockets take it: an IPv6 address without its brackets.
pub(super) fn bare_host(fields: &Fields<'_>) -> String {
    fields.str("host").trim_matches(['[', ']']).to_owned()
}
