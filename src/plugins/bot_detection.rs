//! # bot-detection
//!
//! Refuses clients whose `User-Agent` says that they are crawlers.
//!
//! `allow` is asked first, then `deny`, then the list that is built in: Kong's, as regular
//! expressions of our own. It knows what calls itself bot, spider, crawler or scraper, a few
//! libraries and monitors (`Apache-HttpClient`, `Python-urllib`, `WinHTTP`, …) and more than a hundred
//! crawlers by name. `curl` and browsers are not in it.
//!
//! | `User-Agent` | Answer |
//! | --- | --- |
//! | none, or an empty one | passes |
//! | more than one | 400 `Only one User-Agent header allowed` |
//! | matches an entry of `allow` | passes |
//! | matches an entry of `deny`, or the list | 403 `Forbidden` |
//! | anything else | passes |
//!
//! Expressions are those of the `regex` crate, unanchored and case-sensitive; `(?i)` makes one
//! ignore case.

mod crawlers;
mod memory;

use std::sync::Arc;

use regex::bytes::{RegexSet, RegexSetBuilder};

use self::memory::Memory;
use crate::config::known::KnownPlugin;
use crate::config::schema::{Kind, Literal, Record, array, field, regex, texts};
use crate::config::{Fields, Parsed, Report};
use crate::message::{Known, Reply};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, instance};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "bot-detection",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 2500,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build,
};

const PATTERN: Kind = regex();

static CONFIG: Record = Record::new(&[
    field("allow", array(&PATTERN))
        .default(Literal::Strs(&[]))
        .aliases(&["whitelist"])
        .doc("Expressions of clients that pass, whatever else fits them."),
    field("deny", array(&PATTERN))
        .default(Literal::Strs(&[]))
        .aliases(&["blacklist"])
        .doc("Expressions of clients that do not pass."),
]);

/// The lists of one configuration.
#[derive(Clone, Debug)]
struct Lists {
    allow: RegexSet,
    deny: RegexSet,
}

/// Bytes that the automaton of one list may take.
const SIZE_LIMIT: usize = 10 << 20;

fn parse(fields: &Fields<'_>, report: &mut Report) -> Option<Parsed> {
    let allow = set(fields, "allow", report);
    let deny = set(fields, "deny", report);
    Some(Parsed::new(Lists {
        allow: allow?,
        deny: deny?,
    }))
}

/// One automaton for a list; each entry by itself was found right before.
fn set(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<RegexSet> {
    let set = RegexSetBuilder::new(fields.strings(name))
        .size_limit(SIZE_LIMIT)
        .build();
    set.map_err(|error| {
        fields
            .error(report, name, texts::regex_message(&error))
            .hint("the expressions of a list are compiled together: write fewer or simpler ones");
    })
    .ok()
}

struct BotDetection {
    lists: Lists,
    memory: Memory,
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |lists: &Lists| {
        Arc::new(BotDetection {
            lists: lists.clone(),
            memory: Memory::new(),
        })
    })
}

impl Plugin for BotDetection {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let mut agents = cx.request.headers.all_known(Known::UserAgent);
        match (agents.next(), agents.next()) {
            (None, _) => Flow::Next,
            (Some(agent), None) if self.passes(agent) => Flow::Next,
            (Some(_), None) => Reply::message(403, "Forbidden").into(),
            (Some(_), Some(_)) => Reply::message(400, "Only one User-Agent header allowed").into(),
        }
    }
}

impl BotDetection {
    fn passes(&self, agent: &[u8]) -> bool {
        self.memory.recall(agent, || self.lists.pass(agent))
    }
}

impl Lists {
    fn pass(&self, agent: &[u8]) -> bool {
        self.allow.is_match(agent) || !(self.deny.is_match(agent) || crawlers::is_one(agent))
    }
}

#[cfg(test)]
mod tests;
