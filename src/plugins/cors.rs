//! # cors
//!
//! Answers browsers' preflight requests and adds the cross-origin fields to responses (the Fetch
//! standard, section 3.2).
//!
//! A **preflight** is an `OPTIONS` request with a non-empty `Origin` and
//! `Access-Control-Request-Method`. It is answered with 200 before any authentication; with
//! `preflight_continue` it is proxied and its response is left alone. Any other `OPTIONS` request
//! is an ordinary one.
//!
//! Every **other response** gets the fields, those that other plugins or the gateway make too.
//!
//! | `origins` | Request's `Origin` | `Access-Control-Allow-Origin` | `Vary: Origin` |
//! | --- | --- | --- | --- |
//! | none, or only `*` | any or none | `*` | no |
//! | one plain entry | any or none | that entry | yes |
//! | one pattern, or several entries | none | removed | yes |
//! | several, `*` among them | present | `*` | yes |
//! | several, or a pattern | matches | the request's, without a default port | yes |
//! | several, or a pattern | matches none | removed | yes |
//!
//! An entry with a character outside `A-Za-z0-9.:/-` is a regular expression. It is anchored at both
//! ends and case-sensitive; it is tested against the whole origin if it contains a colon, else
//! against the host alone. Plain entries must equal `scheme://host[:port]`.
//!
//! With `credentials`, an answer that would allow `*` allows the request's own origin instead.

mod origin;

use std::borrow::Cow;
use std::sync::Arc;

use self::origin::{Allow, Origins};
use crate::config::known::KnownPlugin;
use crate::config::schema::{
    Kind, Literal, Record, array, boolean, checked, field, number, one_of, text,
};
use crate::config::{Fields, Parsed, Report};
use crate::message::{BodyWish, Headers, Known, Reply, RequestHead};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, ResponseCx, instance};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "cors",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 2000,
    phases: Phases::REQUEST.and(Phases::RESPONSE),
    credentials: None,
    anonymous: None,
    build,
};

const METHODS: &[&str] = &[
    "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT",
];
const METHOD: Kind = one_of(METHODS);
const ORIGIN: Kind = checked("`*`, origin or regular expression", origin::judge);
const NAME: Kind = text();

static CONFIG: Record = Record::new(&[
    field("origins", array(&ORIGIN)).doc("Origins that may read responses; none: all."),
    field("methods", array(&METHOD))
        .default(Literal::Strs(METHODS))
        .doc("`Access-Control-Allow-Methods` of preflights."),
    field("headers", array(&NAME))
        .doc("`Access-Control-Allow-Headers` of preflights; none: those that were asked for."),
    field("exposed_headers", array(&NAME)).doc("`Access-Control-Expose-Headers` of responses."),
    field("credentials", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Send `Access-Control-Allow-Credentials: true`."),
    field("max_age", number()).doc("Seconds that a browser may remember a preflight."),
    field("preflight_continue", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Let the upstream answer preflights."),
    field("private_network", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Allow pages from public networks that ask for it."),
    field("allow_origin_absent", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("Add the fields to responses whose request had no `Origin` too."),
]);

#[derive(Clone, Debug)]
struct Cors {
    origins: Origins,
    /// Lists as they are sent, joined by commas.
    methods: String,
    headers: Option<String>,
    exposed: Option<String>,
    max_age: Option<String>,
    credentials: bool,
    preflight_continue: bool,
    private_network: bool,
    allow_origin_absent: bool,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let joined = |name: &str| {
        let list = fields.strings(name);
        (!list.is_empty()).then(|| list.join(","))
    };
    Some(Parsed::new(Cors {
        origins: Origins::new(&fields.strings("origins")),
        methods: joined("methods").unwrap_or_else(|| METHODS.join(",")),
        headers: joined("headers"),
        exposed: joined("exposed_headers"),
        max_age: fields.opt_number("max_age").map(|age| age.to_string()),
        credentials: fields.bool("credentials"),
        preflight_continue: fields.bool("preflight_continue"),
        private_network: fields.bool("private_network"),
        allow_origin_absent: fields.bool("allow_origin_absent"),
    }))
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Cors| Arc::new(config.clone()))
}

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_PRIVATE_NETWORK: &str = "Access-Control-Allow-Private-Network";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";
const REQUEST_HEADERS: &str = "Access-Control-Request-Headers";
const REQUEST_PRIVATE_NETWORK: &str = "Access-Control-Request-Private-Network";

/// Marks a preflight, whose response is complete or the upstream's own.
#[derive(Default)]
struct Preflight(bool);

impl Plugin for Cors {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        if !is_preflight(cx.request) {
            return Flow::Next;
        }
        if let Some(preflight) = cx.slot::<Preflight>() {
            preflight.0 = true;
        }
        if self.preflight_continue {
            return Flow::Next;
        }
        self.preflight(cx.request).into()
    }

    fn on_response(&self, cx: &mut ResponseCx<'_>) -> BodyWish {
        // Only an OPTIONS request can have been one: others need no slot.
        if cx.request.method() == "OPTIONS" && cx.slot::<Preflight>().is_some_and(|mark| mark.0) {
            return BodyWish::Pass;
        }
        let origin = origin_of(cx.request);
        if origin.is_some() || self.allow_origin_absent {
            self.decide(origin).apply(&mut cx.response.headers);
            if let Some(exposed) = &self.exposed {
                cx.response.headers.set(EXPOSE_HEADERS, exposed);
            }
        }
        BodyWish::Pass
    }
}

fn origin_of(request: &RequestHead) -> Option<&str> {
    let origin = std::str::from_utf8(request.headers.known(Known::Origin)?).ok()?;
    (!origin.is_empty()).then_some(origin)
}

fn is_preflight(request: &RequestHead) -> bool {
    request.method() == "OPTIONS"
        && request.headers.has(Known::AccessControlRequestMethod)
        && origin_of(request).is_some()
}

/// What a response says about its origin.
struct Decision<'a> {
    allow: Option<Cow<'a, str>>,
    /// How often `Vary: Origin` is added.
    vary: u8,
    credentials: bool,
}

impl Decision<'_> {
    /// Onto a response that others have written to.
    fn apply(self, headers: &mut Headers) {
        for _ in 0..self.vary {
            headers.append("Vary", "Origin");
        }
        match self.allow {
            Some(origin) => headers.set(ALLOW_ORIGIN, origin.as_bytes()),
            None => {
                headers.remove(ALLOW_ORIGIN);
            }
        }
        if self.credentials {
            headers.set(ALLOW_CREDENTIALS, "true");
        }
    }

    /// Onto an answer of our own.
    fn put(self, mut reply: Reply) -> Reply {
        if self.vary > 0 {
            reply = reply.with("Vary", "Origin");
        }
        if let Some(origin) = self.allow {
            reply = reply.with(ALLOW_ORIGIN, origin.into_owned());
        }
        if self.credentials {
            reply = reply.with(ALLOW_CREDENTIALS, "true");
        }
        reply
    }
}

impl Cors {
    fn decide<'a>(&'a self, origin: Option<&'a str>) -> Decision<'a> {
        let (allow, vary) = self.origins.allow(origin);
        let vary = u8::from(vary);
        let allow = match (allow, origin) {
            // A browser takes no `*` together with credentials.
            (Allow::All, Some(origin)) if self.credentials => {
                return Decision {
                    allow: Some(origin.into()),
                    vary: vary + 1,
                    credentials: true,
                };
            }
            (Allow::All, _) => {
                return Decision {
                    allow: Some("*".into()),
                    vary,
                    credentials: false,
                };
            }
            (Allow::One(origin), _) => Some(origin),
            (Allow::No, _) => None,
        };
        Decision {
            allow,
            vary,
            credentials: self.credentials,
        }
    }

    fn preflight(&self, request: &RequestHead) -> Reply {
        let asked = |name: &str| {
            let value = request.headers.get(name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let mut reply = self.decide(origin_of(request)).put(Reply::empty(200));
        if let Some(headers) = self.headers.clone().or_else(|| asked(REQUEST_HEADERS)) {
            reply = reply.with(ALLOW_HEADERS, headers);
        }
        reply = reply.with(ALLOW_METHODS, self.methods.clone());
        if let Some(age) = &self.max_age {
            reply = reply.with(MAX_AGE, age.clone());
        }
        let private =
            self.private_network && asked(REQUEST_PRIVATE_NETWORK).as_deref() == Some("true");
        if private {
            reply = reply.with(ALLOW_PRIVATE_NETWORK, "true");
        }
        reply
    }
}

#[cfg(test)]
mod tests;
