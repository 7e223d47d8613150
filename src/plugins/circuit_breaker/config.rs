//! The configuration of a breaker, checked and typed.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use crate::config::schema::{
    Kind, Literal, Record, Rule, array, checked, either, field, integer, map_with_keys,
    milliseconds, number, record, text_or_empty, texts,
};
use crate::config::{Fields, Parsed, Report};
use crate::limits::breaker::Settings;
use crate::message::reply::JSON;
use crate::message::{Reply, ReplyBody};
use crate::util::codes::{Codes, range};

const STATUS: Kind = checked("status or range of statuses", status_text);
const STATUS_NUMBER: Kind = integer().between(100, 999);
const STATUSES: Kind = either(&[STATUS, STATUS_NUMBER]);
const VALUE: Kind = checked("header value", texts::header_value);

static FALLBACK: Record = Record::new(&[
    field("status", integer().between(200, 599))
        .required()
        .default(Literal::Int(200))
        .doc("Its status."),
    field(
        "headers",
        map_with_keys("header name", texts::header_name, &VALUE),
    )
    .doc("Its header fields."),
    field("body", text_or_empty()).doc("Its body, sent as it is."),
])
.rules(&[Rule::Check(framing)]);

pub(super) static CONFIG: Record = Record::new(&[
    field("timeout", milliseconds())
        .required()
        .default(Literal::Int(3000))
        .doc("Milliseconds until the response headers; 0: no bound of its own."),
    field("error_threshold_percentage", number().between(0, 100))
        .required()
        .default(Literal::Int(50))
        .doc("It opens when more than this share of the requests failed."),
    field("reset_timeout", milliseconds().between(1, 2_147_483_646))
        .required()
        .default(Literal::Int(30_000))
        .doc("Milliseconds from opening to a trial."),
    field("volume_threshold", integer().between(0, 1_000_000_000))
        .required()
        .default(Literal::Int(10))
        .doc("It stays closed with fewer requests than this in the window."),
    field("rolling_window", integer().between(10, 86_400_000))
        .required()
        .default(Literal::Int(10_000))
        .doc("Milliseconds for which a request counts; ten slices of it pass away one by one."),
    field("failure_statuses", array(&STATUSES))
        .required()
        .default(Literal::Strs(&["500-599"]))
        .doc("Statuses that are failures, `503` or `500-599`."),
    field("fallback", record(&FALLBACK)).doc("What to answer instead of a refusal or a failure."),
])
.rules(&[Rule::Check(pointless)]);

fn status_text(text: &str) -> Result<(), String> {
    let message =
        || format!("bad status '{text}'\nwrite one such as 503 or a range such as 500-599");
    range(text).map(|_| ()).ok_or_else(message)
}

/// Header fields that say how the body is sent are not the file's to set.
fn framing(fields: &Fields<'_>, report: &mut Report) {
    const OURS: [&str; 4] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "trailer",
    ];
    let is_ours = |name: &str| OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
    for (name, _) in fields
        .string_map("headers")
        .iter()
        .filter(|(name, _)| is_ours(name))
    {
        fields
            .error(report, "headers", format!("{name} cannot be set"))
            .hint("leave it out: it follows from the body and the connection");
    }
    let status: u16 = fields.int("status");
    if matches!(status, 204 | 205 | 304) && !fields.str("body").is_empty() {
        fields.error(
            report,
            "body",
            format!("an answer with {status} has no body"),
        );
    }
}

/// What is allowed but does nothing.
fn pointless(fields: &Fields<'_>, report: &mut Report) {
    if fields.number("error_threshold_percentage") >= 100.0 {
        let message = "never opens: no more than all requests can fail";
        fields
            .warning(report, "error_threshold_percentage", message)
            .hint("the share must be exceeded: write 99 to open when all fail");
    }
}

/// What an instance goes by.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Time until the response headers; `None`: no bound.
    pub(super) timeout: Option<Duration>,
    /// When the breaker opens, and for how long.
    pub(super) breaker: Settings,
    /// Statuses that are failures.
    pub(super) failures: Codes,
    /// The answer in place of refusals and failures.
    pub(super) fallback: Option<Reply>,
}

/// How long a trial without a time-out keeps its place.
const TRIAL: Duration = Duration::from_secs(30);
/// By how much a trial may be late: its own time-out is told a moment after it is over.
const GRACE: Duration = Duration::from_secs(1);

pub(super) fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let timeout = Some(fields.millis("timeout")).filter(|timeout| !timeout.is_zero());
    Some(Parsed::new(Config {
        timeout,
        breaker: Settings {
            percentage: fields.number("error_threshold_percentage"),
            volume: fields.int("volume_threshold"),
            window: fields.millis("rolling_window"),
            reset: fields.millis("reset_timeout"),
            trial: timeout.map_or(TRIAL, |timeout| timeout + GRACE),
        },
        failures: failures(&fields.json("failure_statuses")),
        fallback: fields.record("fallback").map(fallback),
    }))
}

fn failures(list: &serde_json::Value) -> Codes {
    let mut set = Codes::default();
    for item in list.as_array().into_iter().flatten() {
        let text = item
            .as_str()
            .map_or_else(|| item.to_string(), str::to_owned);
        if let Some(range) = range(&text) {
            set.insert(range);
        }
    }
    set
}

fn fallback(fields: &Fields<'_>) -> Reply {
    let status = fields.int("status");
    let body = fields.string("body");
    let mut reply = Reply::empty(status);
    let mut content_type = None;
    for (name, value) in fields.string_map("headers") {
        match name.eq_ignore_ascii_case("content-type") {
            true => content_type = Some(Cow::Owned(value)),
            false => reply = reply.with(name, value),
        }
    }
    if !body.is_empty() || content_type.is_some() {
        let content_type = content_type.unwrap_or(Cow::Borrowed(kind_of(&body)));
        reply.body = ReplyBody::Bytes(Bytes::from(body), Some(content_type));
    }
    // A status that means success would promise a message that there is not.
    reply.grpc_status = (status < 300).then_some(14);
    reply
}

fn kind_of(body: &str) -> &'static str {
    match serde_json::from_str::<serde::de::IgnoredAny>(body) {
        Ok(_) => JSON,
        Err(_) => "text/plain; charset=utf-8",
    }
}
