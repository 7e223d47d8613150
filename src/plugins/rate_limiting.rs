//! # rate-limiting
//!
//! Lets each client make so many requests a second, minute, hour, day, month or year.
//!
//! A request passes while every period's limit leaves room for it; a refused one is not counted.
//! The limits hold exactly, however many threads of however many gateways serve.
//!
//! | `limit_by` | Counted by | Without that |
//! | --- | --- | --- |
//! | `consumer` | consumer | credential, else client address |
//! | `credential` | credential | client address |
//! | `ip` | client address | |
//! | `service` | service | client address |
//! | `header` | value of `header_name` | client address |
//! | `path` | requests to exactly `path` together | client address |
//!
//! An instance counts for all it is attached to: a global one over all routes, one of a service over
//! the routes of that service.
//!
//! | `window_type` | How time is cut |
//! | --- | --- |
//! | `fixed` | windows of the calendar in UTC, as in Kong |
//! | `sliding` | windows that end now: what counts is the current window and as much of the last one as is still inside; a month has 30 days and a year 365 |
//! | `token-bucket` | one period only: a bucket of as many tokens as the limit, refilled evenly; a request takes one |
//!
//! Responses, refusals too, say where the client stands: `X-RateLimit-Limit-Minute` and
//! `X-RateLimit-Remaining-Minute` for each period, and `RateLimit-Limit`, `RateLimit-Remaining`,
//! `RateLimit-Reset` (seconds) for the period with the fewest remaining, of equals the longest. A
//! refusal is `{"message":"API rate limit exceeded"}` with 429 and `Retry-After`. `RateLimit-Reset`
//! of fixed windows is the time to their end, for which a month has 30 days and a year 365, as in
//! Kong; otherwise it is the time until one more request would pass. It is 1 at least.
//!
//! ## Where counters are
//!
//! `policy: local`: in this process. They outlive reloads as long as the instance, `limit_by`,
//! `window_type` and the set of periods stay, also when a limit changes. An instance counts up to
//! 1048576 clients at once in bounded memory. Beyond that, counters that are over give way first;
//! none in use is ever reset, and further clients share counters.
//!
//! `policy: redis`: on a Redis server (6 or later) or cluster, shared by all gateways that use it.
//! Each request is decided there by one script in one round trip; the clocks of the gateways should
//! agree. While Redis is away, and no request waits for an answer longer than `redis.timeout`, a local
//! counter takes over where the shared one stood, headers included (`fault_tolerant: true`), or
//! requests get 500 (`false`). After three failures in a row nobody waits any more until a probe has
//! reached Redis again. `/health` has a check `redis`; it is degraded meanwhile.
//!
//! Keys are `{ratelimit:<route>:<service>:<client>}:<begin of the window in ms>:<period>`, with the
//! ids of what the instance is attached to. `ssl_verify` trusts the system's authorities, or those
//! in the file that `SSL_CERT_FILE` names.
//!
//! With a `sync_rate`, requests are decided locally and counts are exchanged with Redis that often:
//! no request waits, and between two exchanges gateways together may let more through. Not for
//! token buckets.

mod answer;
mod config;
mod counters;
mod identity;
mod shared;
mod sync;

use std::sync::Arc;
use std::time::Duration;

use self::config::{CONFIG, Config, parse};
use self::counters::Counters;
use self::identity::LimitBy;
use self::shared::Shared;
use self::sync::Synced;
use crate::config::Parsed;
use crate::config::known::KnownPlugin;
use crate::limits::{Key, Period, Shape, Taken};
use crate::message::{BodyWish, Reply};
use crate::plugin::{
    Build, Flow, Phases, Plugin, PluginDef, RequestCx, ResponseCx, Scope, Verdict, instance,
};
use crate::remote::redis::{RedisClients, Target};
use crate::telemetry::Metrics;
use crate::util::clock;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "rate-limiting",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 910,
    phases: Phases::REQUEST.and(Phases::RESPONSE),
    credentials: None,
    anonymous: None,
    build,
};

/// What counters are kept under over a reload: instance, what is counted, how, in which periods.
type Kept = (String, LimitBy, Shape, Vec<Period>);

struct RateLimiting {
    config: Config,
    /// The limits alone, for the counters.
    numbers: Vec<u64>,
    counters: Arc<Counters>,
    store: Store,
}

/// Who decides.
enum Store {
    /// The counters of this process.
    Local,
    /// They too, but counts are exchanged.
    Synced(Arc<Synced>),
    /// A server.
    Shared(Shared),
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        let periods: Vec<Period> = config.limits.iter().map(|limit| limit.period).collect();
        let id = build.scope.id.clone();
        let kept: Kept = (id, config.by.clone(), config.shape, periods);
        let counters = counters(&kept, build);
        Arc::new(RateLimiting {
            numbers: config.limits.iter().map(|limit| limit.limit).collect(),
            store: store(config, kept, &counters, build),
            counters,
            config: config.clone(),
        })
    })
}

fn counters(kept: &Kept, build: &Build<'_>) -> Arc<Counters> {
    let keep = build.keeps.of::<Kept, Counters>();
    let mut is_new = false;
    let counters = keep.adopt(kept.clone(), || {
        is_new = true;
        Counters::new(&kept.0, kept.2, &kept.3)
    });
    if let Some(metrics) = build.handles.get::<Metrics>().filter(|_| is_new) {
        counters.show(&metrics);
    }
    counters
}

fn store(config: &Config, kept: Kept, counters: &Arc<Counters>, build: &Build<'_>) -> Store {
    let Some(target) = config.redis.clone() else {
        return Store::Local;
    };
    let clients = build.handles.get::<RedisClients>();
    let clients = clients.unwrap_or_else(RedisClients::detached);
    let client = clients.client(target.clone());
    let shared = Shared::new(client, build.scope, kept.2, &kept.3);
    let Some(rate) = config.sync else {
        return Store::Shared(shared);
    };
    let keep = build.keeps.of::<(Kept, Scope, Target, Duration), Synced>();
    let start = || Synced::start(shared, counters.clone(), rate, &clients);
    Store::Synced(keep.adopt((kept, build.scope.clone(), target, rate), start))
}

impl Plugin for RateLimiting {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let now = clock::unix();
        let who = self.config.by.who(cx);
        let key = self.counters.local.key(who);
        match &self.store {
            Store::Local => {
                let taken = self.counters.local.take(key, now, &self.numbers);
                self.verdict(cx, &taken).into()
            }
            Store::Synced(synced) => {
                let taken = self.counters.local.take(key, now, &self.numbers);
                if taken.allowed {
                    synced.note(key, who, now);
                }
                self.verdict(cx, &taken).into()
            }
            Store::Shared(shared) => {
                let name = shared.name(who);
                if shared.is_away(&name) {
                    return self.without(cx, key, now).into();
                }
                Flow::Wait(Box::pin(self.ask(shared, cx, name, key, now)))
            }
        }
    }

    fn on_response(&self, cx: &mut ResponseCx<'_>) -> BodyWish {
        answer::tell(cx, &self.config.limits);
        BodyWish::Pass
    }
}

impl RateLimiting {
    async fn ask(
        &self,
        shared: &Shared,
        cx: &mut RequestCx<'_>,
        name: String,
        key: Key,
        now: Duration,
    ) -> Verdict {
        match shared.take(&name, now, &self.numbers).await {
            Ok((taken, counts)) => {
                let local = &self.counters.local;
                local.raise(key, now, &counts, Some(taken.allowed));
                self.verdict(cx, &taken)
            }
            Err(_) => self.without(cx, key, now),
        }
    }

    /// Decides without the server. Why it is away is in the log, in metrics and in `/health`.
    fn without(&self, cx: &mut RequestCx<'_>, key: Key, now: Duration) -> Verdict {
        self.counters.fell_back();
        if !self.config.fault_tolerant {
            return Reply::message(500, "An unexpected error occurred").into();
        }
        let taken = self.counters.local.take(key, now, &self.numbers);
        self.verdict(cx, &taken)
    }

    fn verdict(&self, cx: &mut RequestCx<'_>, taken: &Taken) -> Verdict {
        if !self.config.hide {
            answer::note(cx, &self.config.limits, taken);
        }
        match taken.allowed {
            true => Verdict::Next,
            false => self.config.refusal.clone().into(),
        }
    }
}

#[cfg(test)]
mod tests;
