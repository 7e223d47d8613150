//! # acl
//!
//! Lets in consumers by their groups, which the rows of `acls` name. It runs after the
//! authentication plugins, one of which has to have found out who is asking.
//!
//! | Who asks | `allow` | `deny` |
//! | --- | --- | --- |
//! | nobody is known, no credential | 401 `Unauthorized` | 401 |
//! | no consumer, but a credential | 403 | 403 |
//! | a consumer in a listed group | passes | 403 |
//! | a consumer in other groups alone | 403 | passes |
//! | a consumer in no group | 403; 401 if anonymous | passes |
//!
//! The 403 says `You cannot consume this service`. What passes tells the upstream all groups of the
//! consumer as `X-Consumer-Groups: g1, g2`, unless `hide_groups_header`.
//!
//! Groups that came with the proof of identity rather than from the file count where there is no
//! consumer, for the anonymous consumer, and with `always_use_authenticated_groups` for all; the
//! upstream gets them as `X-Authenticated-Groups`. Without any, the consumer's own count.

use std::any::Any;
use std::sync::Arc;

use crate::config::known::{CredentialId, KnownCredential, KnownPlugin, credential};
use crate::config::schema::{Kind, Literal, Record, Rule, array, boolean, field, text};
use crate::config::{Fields, Parsed, Report};
use crate::identity::{ConsumerSet, Membership};
use crate::message::{Known, Reply};
use crate::plugin::{
    Build, CredentialDef, CredentialRow, Flow, Phases, Plugin, PluginDef, RequestCx, instance,
};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "acl",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 950,
    phases: Phases::REQUEST,
    credentials: Some(CredentialDef {
        known: KnownCredential {
            key: "acls",
            record: &MEMBERSHIP,
            parse: parse_membership,
            unique: &[],
            generated: &[],
            stored: &[],
            id: CredentialId::ConsumerAndField("group"),
        },
        index,
    }),
    anonymous: None,
    build,
};

const GROUP: Kind = text();

static CONFIG: Record = Record::new(&[
    field("allow", array(&GROUP))
        .aliases(&["whitelist"])
        .doc("Only consumers in one of these groups pass."),
    field("deny", array(&GROUP))
        .aliases(&["blacklist"])
        .doc("Consumers in one of these groups do not pass."),
    field("hide_groups_header", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Do not tell the upstream the groups."),
    field("always_use_authenticated_groups", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Groups that came with the proof of identity outrank those of the consumer."),
])
.rules(&[Rule::Check(one_list)]);

fn one_list(fields: &Fields<'_>, report: &mut Report) {
    let lists = ["allow", "deny"].map(|name| !fields.strings(name).is_empty());
    if lists[0] == lists[1] {
        let message = "exactly one of these fields must be non-empty: 'allow', 'deny'";
        fields
            .error(report, "", message)
            .hint("write allow: [group], or deny: [group]");
    }
}

static MEMBERSHIP: Record = credential(&[field("group", text())
    .required()
    .doc("A group that the consumer is in.")]);

fn parse_membership(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(Membership(fields.string("group"))))
}

/// The consumers know their groups; there is nothing to look up.
fn index(_: Vec<CredentialRow>) -> Arc<dyn Any + Send + Sync> {
    Arc::new(())
}

#[derive(Clone, Debug)]
struct Config {
    /// `deny` is given, not `allow`.
    denies: bool,
    /// The groups of either.
    listed: Vec<String>,
    hide_groups: bool,
    prefer_authenticated: bool,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let denies = fields.strings("allow").is_empty();
    Some(Parsed::new(Config {
        denies,
        listed: fields.strings(if denies { "deny" } else { "allow" }),
        hide_groups: fields.bool("hide_groups_header"),
        prefer_authenticated: fields.bool("always_use_authenticated_groups"),
    }))
}

struct Acl {
    config: Config,
    /// The consumers that are in a listed group.
    members: ConsumerSet,
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        Arc::new(Acl {
            members: build.identity.in_groups(&config.listed),
            config: config.clone(),
        })
    })
}

impl Plugin for Acl {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let anonymous = cx.facts.credential.is_none();
        let brought = cx.facts.groups.is_some();
        let known = cx.facts.consumer.is_some();
        if brought && (!known || anonymous || self.config.prefer_authenticated) {
            return self.judge_brought(cx);
        }
        match cx.consumer() {
            Some(consumer) if consumer.groups.is_empty() && anonymous && !self.config.denies => {
                unknown()
            }
            Some(_) => self.judge_consumer(cx),
            None if anonymous => unknown(),
            None => refused(),
        }
    }
}

impl Acl {
    fn passes(&self, is_listed: bool) -> bool {
        is_listed != self.config.denies
    }

    fn judge_consumer(&self, cx: &mut RequestCx<'_>) -> Flow<'static> {
        let is_listed = cx
            .facts
            .consumer
            .is_some_and(|ix| self.members.contains(ix));
        if !self.passes(is_listed) {
            return refused();
        }
        let groups = cx.consumer().map_or("", |consumer| &consumer.group_list);
        self.tell(cx, "X-Consumer-Groups", groups);
        Flow::Next
    }

    /// Judges by the groups that came with the proof.
    fn judge_brought(&self, cx: &mut RequestCx<'_>) -> Flow<'static> {
        let groups = cx.facts.groups.clone().unwrap_or_default();
        let is_listed = groups.iter().any(|name| self.config.listed.contains(name));
        if !self.passes(is_listed) {
            return refused();
        }
        self.tell(cx, "X-Authenticated-Groups", &groups.join(", "));
        Flow::Next
    }

    /// Tells the upstream under that name, and nothing that an edge before us has said.
    fn tell(&self, cx: &mut RequestCx<'_>, name: &str, groups: &str) {
        let headers = &mut cx.request.headers;
        headers.remove_known(Known::XConsumerGroups);
        headers.remove_known(Known::XAuthenticatedGroups);
        if !self.config.hide_groups && !groups.is_empty() {
            headers.append(name, groups);
        }
    }
}

fn unknown() -> Flow<'static> {
    Reply::message(401, "Unauthorized").into()
}

fn refused() -> Flow<'static> {
    Reply::message(403, "You cannot consume this service").into()
}

#[cfg(test)]
mod tests;
