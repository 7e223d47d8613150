//! A plugin behind a wall: a panic in it ends its request with 500, and nothing else.
//!
//! Without one the panic would end the task, and with it the client's connection. The worker lives
//! either way. Every instance of a snapshot stands behind one; a wall costs one call a phase.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use super::context::{BodyCx, Instance, OutcomeCx, RequestCx, ResponseCx};
use super::{Flow, Plugin, Verdict};
use crate::message::{BodyWish, Record, Reply};
use crate::telemetry::Counter;

struct Guarded {
    plugin: Instance,
    panics: Counter,
}

/// Puts a wall around an instance; `panics` counts what it has stopped.
pub fn guarded(plugin: Instance, panics: Counter) -> Instance {
    Arc::new(Guarded { plugin, panics })
}

/// What a client is told in place of what the plugin might have said.
fn failed() -> Reply {
    Reply::gateway(500, "An unexpected error occurred")
}

impl Guarded {
    /// Does something of the plugin's; `None` where it panicked. What it was at is not used again but
    /// to answer, and its locks are let go of on the way out.
    fn try_to<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.panics.inc();
        }
        done.ok()
    }

    fn settle<'a>(&'a self, flow: Option<Flow<'a>>) -> Flow<'a> {
        let mut verdict = match flow {
            None => return failed().into(),
            Some(Flow::Wait(verdict)) => verdict,
            Some(flow) => return flow,
        };
        Flow::Wait(Box::pin(poll_fn(move |cx| {
            match self.try_to(|| verdict.as_mut().poll(cx)) {
                Some(polled) => polled,
                None => Poll::Ready(Verdict::Reply(Box::new(failed()))),
            }
        })))
    }
}

impl Plugin for Guarded {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let flow = self.try_to(move || self.plugin.on_request(cx));
        self.settle(flow)
    }

    fn before_upstream<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let flow = self.try_to(move || self.plugin.before_upstream(cx));
        self.settle(flow)
    }

    fn on_outcome(&self, cx: &mut OutcomeCx<'_>) {
        self.try_to(|| self.plugin.on_outcome(cx));
    }

    /// What the plugin would have taken out of the answer might still be in it: none of it is sent.
    fn on_response(&self, cx: &mut ResponseCx<'_>) -> BodyWish {
        if let Some(wish) = self.try_to(|| self.plugin.on_response(cx)) {
            return wish;
        }
        let reply = failed();
        cx.response.status = reply.status;
        cx.response.headers.retain(|_, _, _| false);
        if let Some(content_type) = reply.content_type() {
            cx.response.headers.append("Content-Type", content_type);
        }
        let body = reply.render(cx.facts.request_id.as_str());
        BodyWish::Replace(body.to_vec())
    }

    fn on_body<'a>(&'a self, cx: &'a mut BodyCx<'_>) -> Flow<'a> {
        let flow = self.try_to(move || self.plugin.on_body(cx));
        self.settle(flow)
    }

    fn on_log(&self, record: &Record<'_>) {
        self.try_to(|| self.plugin.on_log(record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Plugin for Nothing {}

    #[test]
    fn each_panic_is_counted() {
        let panics = Counter::default();
        let wall = Guarded {
            plugin: Arc::new(Nothing),
            panics: panics.clone(),
        };
        assert_eq!(wall.try_to(|| 1), Some(1));
        assert_eq!(wall.try_to(|| -> u8 { panic!("on purpose") }), None);
        assert_eq!(panics.get(), 1);
    }
}
