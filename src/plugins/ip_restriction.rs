//! # ip-restriction
//!
//! Lets in clients by their IP address.
//!
//! An address in `deny` is refused; with `allow`, so is one that is not in it. The lists hold
//! addresses and ranges of IPv4 and IPv6; an IPv4 address written as `::ffff:10.0.0.1` is that IPv4
//! address, in a list and on the wire. The client's address is the one that the settings
//! `trusted_ips` and `real_ip_header` make out.
//!
//! The answer is `status` with `message`, by default 403 `IP address not allowed: <address>`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::known::KnownPlugin;
use crate::config::schema::{Kind, Literal, Record, Rule, array, checked, field, integer, text};
use crate::config::{Fields, Parsed, Report};
use crate::message::Reply;
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, instance};
use crate::util::cidr::{AddrBlock, AddrSet};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "ip-restriction",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 990,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build,
};

const RANGE: Kind = checked("IP address or CIDR range", judge);

static CONFIG: Record = Record::new(&[
    field("allow", array(&RANGE))
        .aliases(&["whitelist"])
        .doc("Only these pass."),
    field("deny", array(&RANGE))
        .aliases(&["blacklist"])
        .doc("These do not pass, whatever `allow` says."),
    field("status", integer().between(200, 599))
        .default(Literal::Int(403))
        .doc("Status of the refusal."),
    field("message", text())
        .doc("Words of the refusal; `IP address not allowed: <address>` if absent."),
])
.rules(&[Rule::Check(some_list)]);

fn some_list(fields: &Fields<'_>, report: &mut Report) {
    if fields.strings("allow").is_empty() && fields.strings("deny").is_empty() {
        let message = "at least one of these fields must be non-empty: 'allow', 'deny'";
        fields
            .error(report, "", message)
            .hint("write allow: [10.0.0.0/8], or deny: [..]");
    }
}

fn judge(text: &str) -> Result<(), String> {
    match AddrBlock::parse(text) {
        Ok(AddrBlock::V4(..) | AddrBlock::V6(..)) => Ok(()),
        Ok(AddrBlock::Unix) => Err(format!("invalid ip or cidr range: '{text}'")),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Clone, Debug)]
struct IpRestriction {
    allow: Option<AddrSet>,
    deny: AddrSet,
    status: u16,
    message: Option<String>,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let set = |name: &str| AddrSet::parse(fields.strings(name)).ok();
    let allow = set("allow")?;
    Some(Parsed::new(IpRestriction {
        allow: (!allow.is_empty()).then_some(allow),
        deny: set("deny")?,
        status: fields.int("status"),
        message: fields.opt_string("message"),
    }))
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &IpRestriction| Arc::new(config.clone()))
}

impl Plugin for IpRestriction {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let address = cx.facts.client_ip;
        if self.passes(address) {
            return Flow::Next;
        }
        let message = match &self.message {
            Some(message) => message.clone(),
            None => format!("IP address not allowed: {}", address.to_canonical()),
        };
        Reply::message(self.status, message).into()
    }
}

impl IpRestriction {
    fn passes(&self, address: IpAddr) -> bool {
        let allowed = || self.allow.as_ref().is_none_or(|set| set.contains(address));
        !self.deny.contains(address) && allowed()
    }
}

#[cfg(test)]
mod tests;
