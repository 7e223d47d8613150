//! The compiled chain of one route: an array per phase, walked in Kong's priority order.
//!
//! A slot is one plugin name: the instance for everybody and those of single consumers. Which one
//! runs is decided when the slot's turn comes first and holds for the rest of the request.

use std::collections::HashMap;
use std::sync::Arc;

use super::context::{BodyCx, Instance, OutcomeCx, RequestCx, ResponseCx};
use super::{Flow, Phases, PluginDef, Verdict};
use crate::message::{BodyWish, Record, Reply};
use crate::util::ids::ConsumerIx;

/// One plugin name in a route's chain.
pub struct Slot {
    /// The plugin.
    pub def: &'static PluginDef,
    /// The instance for requests without a consumer of their own.
    pub base: Option<Instance>,
    /// Instances of single consumers that outrank the base. Routes without instances of their own
    /// share one map.
    pub by_consumer: Arc<HashMap<ConsumerIx, Instance>>,
}

/// What a slot runs for this request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Choice {
    #[default]
    Open,
    Base,
    Consumer(ConsumerIx),
}

/// Which instance each slot runs for one request. Reused from request to request.
#[derive(Debug, Default)]
pub struct Choices(Vec<Choice>);

impl Choices {
    /// Opens every choice again, for a plan of so many slots.
    pub fn reset(&mut self, plan: &Plan) {
        self.0.clear();
        self.0.resize(plan.slots.len(), Choice::Open);
    }
}

/// What the slots of a response want of its body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Bytes to send instead of the body.
    pub replace: Option<Vec<u8>>,
    /// Hold the head until the body is in, up to so many bytes; 0: nobody asks.
    pub collect: usize,
    /// Copy the body while it streams, up to so many bytes; 0: nobody asks.
    pub tee: usize,
    collectors: Vec<u8>,
    watchers: Vec<u8>,
}

impl Wishes {
    /// Nobody wants anything: the body streams through.
    pub fn is_pass(&self) -> bool {
        self.replace.is_none() && self.collect == 0 && self.tee == 0
    }

    fn add(&mut self, slot: u8, wish: BodyWish) {
        match wish {
            BodyWish::Pass => {}
            BodyWish::Tee(limit) => {
                self.tee = self.tee.max(limit);
                self.watchers.push(slot);
            }
            BodyWish::Collect(limit) => {
                self.collect = self.collect.max(limit);
                self.collectors.push(slot);
            }
            BodyWish::Replace(body) => self.replace = Some(body),
        }
    }
}

/// The chain of one route, or of requests without a route.
#[derive(Default)]
pub struct Plan {
    slots: Vec<Slot>,
    request: Vec<u8>,
    gate: Vec<u8>,
    outcome: Vec<u8>,
    response: Vec<u8>,
    log: Vec<u8>,
}

impl Plan {
    /// Sorts slots into the arrays of the phases they take part in. At most 255 slots.
    pub fn new(mut slots: Vec<Slot>) -> Plan {
        slots.sort_by_key(|slot| (-slot.def.priority, slot.def.known.name));
        slots.truncate(usize::from(u8::MAX));
        let pick = |phases: Phases| -> Vec<u8> {
            let has = |(_, slot): &(usize, &Slot)| slot.def.phases.intersects(phases);
            slots
                .iter()
                .enumerate()
                .filter(has)
                .map(|(ix, _)| ix as u8)
                .collect()
        };
        Plan {
            request: pick(Phases::REQUEST),
            gate: pick(Phases::GATE),
            outcome: pick(Phases::OUTCOME),
            response: pick(Phases::RESPONSE.and(Phases::REQUEST).and(Phases::GATE)),
            log: pick(Phases::LOG),
            slots,
        }
    }

    /// The slots in the order in which they run.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether a gate waits before the upstream.
    pub fn has_gates(&self) -> bool {
        !self.gate.is_empty()
    }

    /// Whether anybody waits for the outcome.
    pub fn hears_outcome(&self) -> bool {
        !self.outcome.is_empty()
    }

    /// Whether there is a log phase at all.
    pub fn has_log(&self) -> bool {
        !self.log.is_empty()
    }

    /// The request phase; an answer and the plugin that gave it, if one did.
    pub async fn run_request(
        &self,
        cx: &mut RequestCx<'_>,
        choices: &mut Choices,
    ) -> Option<(Reply, &'static str)> {
        for &ix in &self.request {
            cx.slot = ix;
            let Some(instance) = self.instance(ix, cx.facts.consumer, choices) else {
                continue;
            };
            if let Some(reply) = settle(instance.on_request(cx)).await {
                return Some((reply, self.slots[ix as usize].def.known.name));
            }
        }
        None
    }

    /// The gates, directly before the first attempt.
    pub async fn run_before_upstream(
        &self,
        cx: &mut RequestCx<'_>,
        choices: &mut Choices,
    ) -> Option<(Reply, &'static str)> {
        for &ix in &self.gate {
            cx.slot = ix;
            let Some(instance) = self.instance(ix, cx.facts.consumer, choices) else {
                continue;
            };
            if let Some(reply) = settle(instance.before_upstream(cx)).await {
                return Some((reply, self.slots[ix as usize].def.known.name));
            }
        }
        None
    }

    /// Tells the outcome; an answer to give instead, and whose it is.
    pub fn run_outcome(
        &self,
        cx: &mut OutcomeCx<'_>,
        choices: &mut Choices,
    ) -> Option<(Reply, &'static str)> {
        let mut answer = None;
        for &ix in &self.outcome {
            cx.slot = ix;
            let Some(instance) = self.instance(ix, cx.facts.consumer, choices) else {
                continue;
            };
            instance.on_outcome(cx);
            if let Some(reply) = cx.reply.take() {
                answer = Some((reply, self.slots[ix as usize].def.known.name));
            }
        }
        answer
    }

    /// The response phase: noted edits at each slot's rank, then the slot itself.
    pub fn run_response(&self, cx: &mut ResponseCx<'_>, choices: &mut Choices) -> Wishes {
        let mut wishes = Wishes::default();
        for &ix in &self.response {
            cx.slot = ix;
            cx.facts.later.apply(ix, cx.response);
            if !self.slots[ix as usize]
                .def
                .phases
                .intersects(Phases::RESPONSE)
            {
                continue;
            }
            let Some(instance) = self.instance(ix, cx.facts.consumer, choices) else {
                continue;
            };
            wishes.add(ix, instance.on_response(cx));
        }
        wishes
    }

    /// Hands a collected body to everybody who asked for it; an answer to give instead.
    pub async fn run_collected(
        &self,
        wishes: &Wishes,
        cx: &mut BodyCx<'_>,
        choices: &mut Choices,
    ) -> Option<(Reply, &'static str)> {
        self.run_body(&wishes.collectors, cx, choices).await
    }

    /// Hands a copied body to everybody who asked for a copy.
    pub async fn run_copied(&self, wishes: &Wishes, cx: &mut BodyCx<'_>, choices: &mut Choices) {
        self.run_body(&wishes.watchers, cx, choices).await;
    }

    async fn run_body(
        &self,
        slots: &[u8],
        cx: &mut BodyCx<'_>,
        choices: &mut Choices,
    ) -> Option<(Reply, &'static str)> {
        for &ix in slots {
            let Some(instance) = self.instance(ix, cx.facts.consumer, choices) else {
                continue;
            };
            if let Some(reply) = settle(instance.on_body(cx)).await {
                return Some((reply, self.slots[ix as usize].def.known.name));
            }
        }
        None
    }

    /// The log phase.
    pub fn run_log(
        &self,
        record: &Record<'_>,
        consumer: Option<ConsumerIx>,
        choices: &mut Choices,
    ) {
        for &ix in &self.log {
            if let Some(instance) = self.instance(ix, consumer, choices) {
                instance.on_log(record);
            }
        }
    }

    /// What a slot runs: chosen now if this is its first turn.
    fn instance(
        &self,
        ix: u8,
        consumer: Option<ConsumerIx>,
        choices: &mut Choices,
    ) -> Option<&Arc<dyn super::Plugin>> {
        let slot = &self.slots[ix as usize];
        let choice = choices.0.get_mut(ix as usize)?;
        if *choice == Choice::Open {
            *choice = match consumer {
                Some(consumer) if slot.by_consumer.contains_key(&consumer) => {
                    Choice::Consumer(consumer)
                }
                _ => Choice::Base,
            };
        }
        match *choice {
            Choice::Consumer(consumer) => slot.by_consumer.get(&consumer),
            Choice::Base | Choice::Open => slot.base.as_ref(),
        }
    }
}

/// Waits only for the plugin that asks for it.
async fn settle(flow: Flow<'_>) -> Option<Reply> {
    match flow {
        Flow::Next => None,
        Flow::Reply(reply) => Some(*reply),
        Flow::Wait(verdict) => match verdict.await {
            Verdict::Next => None,
            Verdict::Reply(reply) => Some(*reply),
        },
    }
}
