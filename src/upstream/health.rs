//! Whether an endpoint is fit for requests, told by probes and by the traffic itself: a state
//! machine without a clock, and the word that it is kept in.
//!
//! Invariant: no state is for ever. What probes can heal, so many good ones in a row heal; what
//! only the traffic has condemned gets a trial request after its probation, again and again. Only
//! what an operator has taken out stays out until an operator, or a probe, says otherwise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is to be counted how often, of probes or of the traffic; zero switches a counter off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Statuses that are successes.
    pub healthy_statuses: Vec<u16>,
    /// Successes in a row until healthy.
    pub successes: u32,
    /// Statuses that are failures.
    pub unhealthy_statuses: Vec<u16>,
    /// Failures to connect, or broken connections, until unhealthy.
    pub tcp_failures: u32,
    /// Time-outs until unhealthy.
    pub timeouts: u32,
    /// Failure statuses until unhealthy.
    pub http_failures: u32,
}

/// `healthchecks` of an upstream, as far as counting goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    /// The upstream is usable while its available weight, in percent, is greater than this.
    pub threshold: f64,
    /// With less available weight than this, in percent, all get requests, whatever their health.
    pub panic_threshold: f64,
    /// How probes count; `None` when nothing is probed.
    pub active: Option<Counts>,
    /// How the traffic counts; `None` when it cannot make anything unhealthy.
    pub passive: Option<Counts>,
    /// What the traffic counts as where it is looked at for one trial only.
    pub trial: Counts,
    /// The traffic is judged by its connections alone, whatever the statuses (type `tcp`).
    pub connections_only: bool,
    /// How long an endpoint that no probe heals waits for a trial request.
    pub probation: Duration,
}

impl Checks {
    /// Whether anything can make an endpoint unhealthy.
    pub fn is_on(&self) -> bool {
        self.active.is_some() || self.passive.is_some()
    }

    /// Whether probes bring an unhealthy endpoint back.
    pub fn are_healing(&self) -> bool {
        self.active.as_ref().is_some_and(|of| of.successes > 0)
    }

    /// What a status of the traffic means.
    pub fn judge(&self, counts: &Counts, status: u16) -> Option<Event> {
        match self.connections_only {
            true => Some(Event::Success),
            false => counts.judge(status),
        }
    }
}

impl Counts {
    /// What a status means; nothing where neither list has it.
    pub fn judge(&self, status: u16) -> Option<Event> {
        if self.healthy_statuses.contains(&status) {
            Some(Event::Success)
        } else if self.unhealthy_statuses.contains(&status) {
            Some(Event::HttpFailure)
        } else {
            None
        }
    }

    fn limit(&self, event: Event) -> u32 {
        match event {
            Event::Success => self.successes,
            Event::TcpFailure => self.tcp_failures,
            Event::Timeout => self.timeouts,
            Event::HttpFailure => self.http_failures,
        }
    }
}

/// What was seen of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It did as it should.
    Success,
    /// No connection, or one that broke.
    TcpFailure,
    /// It was too slow.
    Timeout,
    /// Its answer says that it is not well, or is no answer.
    HttpFailure,
}

impl Event {
    /// For logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Event::Success => "success",
            Event::TcpFailure => "tcp_failure",
            Event::Timeout => "timeout",
            Event::HttpFailure => "http_failure",
        }
    }
}

/// A moment on an endpoint's own clock, in steps of [`STEP`]; wraps in two years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment(u32);

/// Milliseconds in a step.
const STEP: u128 = 64;
/// Bits of a moment.
const BITS: u32 = 30;
const MASK: u32 = (1 << BITS) - 1;

impl Moment {
    /// So long after the clock began; a step that has begun does not count yet.
    pub fn after(time: Duration) -> Moment {
        Moment((time.as_millis() / STEP) as u32 & MASK)
    }

    /// As a number of [`BITS`] bits.
    pub(super) fn word(self) -> u32 {
        self.0
    }

    /// From such a number.
    pub(super) fn of_word(word: u32) -> Moment {
        Moment(word & MASK)
    }

    /// So much later, rounded up.
    #[must_use]
    pub fn plus(self, time: Duration) -> Moment {
        let steps = time.as_millis().div_ceil(STEP) as u32;
        Moment(self.0.wrapping_add(steps) & MASK)
    }

    /// Whether this moment has come.
    pub fn has_come(self, now: Moment) -> bool {
        now.0.wrapping_sub(self.0) & MASK < 1 << (BITS - 1)
    }

    /// How long ago it was.
    pub fn ago(self, now: Moment) -> Duration {
        let steps = now.0.wrapping_sub(self.0) & MASK;
        Duration::from_millis(u64::from(steps) * STEP as u64)
    }
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    unhealthy: bool,
    /// An operator took it out.
    held: bool,
    /// Healthy: since when. Unhealthy: when a trial is due.
    at: Moment,
    successes: u8,
    tcp_failures: u8,
    timeouts: u8,
    http_failures: u8,
}

impl Health {
    fn healthy(since: Moment) -> Health {
        Health {
            at: since,
            ..Health::default()
        }
    }

    fn unhealthy(due: Moment) -> Health {
        Health {
            unhealthy: true,
            at: due,
            ..Health::default()
        }
    }

    /// Whether it is fit for requests.
    pub fn is_healthy(self) -> bool {
        !self.unhealthy
    }

    /// Whether an operator took it out.
    pub fn is_held(self) -> bool {
        self.held
    }

    /// Since when it is healthy; `None` when it is not.
    pub fn since(self) -> Option<Moment> {
        (!self.unhealthy).then_some(self.at)
    }

    /// Something was seen; a counter at its limit turns the state.
    #[must_use]
    pub fn report(self, event: Event, counts: &Counts, probation: Duration, now: Moment) -> Health {
        let limit = counts.limit(event);
        match (self.unhealthy, event) {
            // Even where `successes` is 0, or failures would add up over days.
            (false, Event::Success) => Health::healthy(self.at),
            _ if limit == 0 => self,
            (true, Event::Success) => {
                let successes = self.successes.saturating_add(1);
                match u32::from(successes) >= limit {
                    true => Health::healthy(now),
                    false => Health { successes, ..self },
                }
            }
            (true, _) => Health {
                successes: 0,
                ..self
            },
            (false, _) => {
                let mut next = self;
                let counter = next.counter(event);
                *counter = counter.saturating_add(1);
                match u32::from(*counter) >= limit {
                    true => Health::unhealthy(now.plus(probation)),
                    false => next,
                }
            }
        }
    }

    fn counter(&mut self, event: Event) -> &mut u8 {
        match event {
            Event::Success => &mut self.successes,
            Event::TcpFailure => &mut self.tcp_failures,
            Event::Timeout => &mut self.timeouts,
            Event::HttpFailure => &mut self.http_failures,
        }
    }

    /// Whether it waits for a trial request that may be sent now.
    pub fn is_due(self, now: Moment) -> bool {
        self.unhealthy && !self.held && self.at.has_come(now)
    }

    /// A trial request is sent. One that is never heard of again counts as failed.
    #[must_use]
    pub fn begin_trial(self, probation: Duration, now: Moment) -> Health {
        Health::unhealthy(now.plus(probation))
    }

    /// A trial request went well, or not.
    #[must_use]
    pub fn end_trial(self, well: bool, probation: Duration, now: Moment) -> Health {
        match (self.unhealthy && !self.held, well) {
            // Somebody else has decided meanwhile.
            (false, _) => self,
            (true, true) => Health::healthy(now),
            (true, false) => Health::unhealthy(now.plus(probation)),
        }
    }

    /// A trial request was never sent: it is due again.
    #[must_use]
    pub fn undo_trial(self, now: Moment) -> Health {
        match self.unhealthy && !self.held {
            true => Health::unhealthy(now),
            false => self,
        }
    }

    /// What an operator says.
    #[must_use]
    pub fn set(self, healthy: bool, now: Moment) -> Health {
        match healthy {
            true if !self.unhealthy => Health::healthy(self.at),
            true => Health::healthy(now),
            false => Health {
                held: true,
                ..Health::unhealthy(now)
            },
        }
    }

    fn pack(self) -> u64 {
        let counters = [
            self.successes,
            self.tcp_failures,
            self.timeouts,
            self.http_failures,
        ];
        u64::from(u32::from_le_bytes(counters))
            | u64::from(self.unhealthy) << 32
            | u64::from(self.held) << 33
            | u64::from(self.at.0) << 34
    }

    fn unpack(word: u64) -> Health {
        let [successes, tcp_failures, timeouts, http_failures] = (word as u32).to_le_bytes();
        Health {
            unhealthy: word >> 32 & 1 == 1,
            held: word >> 33 & 1 == 1,
            at: Moment((word >> 34) as u32),
            successes,
            tcp_failures,
            timeouts,
            http_failures,
        }
    }
}

/// A [`Health`] that all threads share.
#[derive(Debug, Default)]
pub struct HealthCell(AtomicU64);

impl HealthCell {
    /// How it is now.
    pub fn get(&self) -> Health {
        Health::unpack(self.0.load(Ordering::Acquire))
    }

    /// Changes it; before and after, when that is not the same. Exactly one caller sees each
    /// change.
    pub fn change(&self, how: impl Fn(Health) -> Option<Health>) -> Option<(Health, Health)> {
        let next = |word| {
            let next = how(Health::unpack(word))?.pack();
            (next != word).then_some(next)
        };
        let old = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .ok()?;
        let old = Health::unpack(old);
        Some((old, how(old)?))
    }
}

#[cfg(test)]
mod tests;
