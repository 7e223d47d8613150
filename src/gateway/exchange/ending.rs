//! The end of an exchange: metrics, the record, the log phase.
//!
//! Invariant: once per exchange, however it went.

use tokio::time::Instant;

use super::attempts::Permits;
use super::{Exchange, millis, place};
use crate::gateway::error::ProxyError;
use crate::gateway::live::Worker;
use crate::message::{ConnInfo, Latencies, Record};
use crate::plugin::Outcome;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::Sample;

impl Exchange {
    /// The client left before the answer was complete.
    pub fn client_gone(&mut self) {
        self.status = 499;
        self.origin = ProxyError::ClientGone.origin();
    }

    /// The exchange is over, however it went: plugins that still wait hear of it, the endpoint is
    /// released, metrics, log phase and access log are written. Once per `begin`.
    pub fn end(&mut self, worker: &Worker, conn: &ConnInfo) {
        if !std::mem::take(&mut self.running) {
            return;
        }
        self.outcome(Outcome::Abandoned, false);
        if self.status == 0 {
            // Dropped before there was an answer: only the client's leaving does that.
            self.client_gone();
        }
        let over = self.over();
        self.permits = Permits::default();
        if let Some(endpoint) = self.endpoint.take() {
            if self.head_in.is_none() {
                endpoint.abandoned(self.upstream_since(over), over);
            }
            endpoint.end(false);
        }
        self.over.get_or_insert(over);
        let Some(live) = self.live.take() else { return };
        let route = self.route.and_then(|ix| live.snapshot.route(ix));
        let plan = route.map_or(&live.snapshot.global, |route| &route.plan);
        worker.metrics.requests.inc();
        self.measure(worker, &live.snapshot, route);
        if plan.has_log() || worker.access.is_some() {
            let mut choices = std::mem::take(&mut self.choices);
            let record = self.record(&live.snapshot, route, conn);
            plan.run_log(&record, self.facts.consumer, &mut choices);
            if let Some(access) = &worker.access {
                access.write(&record);
            }
            self.choices = choices;
        }
    }

    /// The answer is out: the moment counts as the end of the exchange.
    pub fn set_over(&mut self) -> Instant {
        *self.over.insert(Instant::now())
    }

    /// When the exchange was over, as far as it is.
    pub fn over(&self) -> Instant {
        self.over.unwrap_or_else(Instant::now)
    }

    pub(super) fn measure(&self, worker: &Worker, snapshot: &Snapshot, route: Option<&Route>) {
        let metrics = route.map_or(&snapshot.unrouted, |route| &route.metrics);
        let total = self.over() - self.facts.started;
        let handed_over = self.handed_over.is_some();
        metrics.observe(
            worker.ix,
            &Sample {
                method: self.request.method(),
                status: self.status,
                source: self.origin.label(),
                total,
                upstream: self.took.upstream,
                gateway: if handed_over {
                    self.took.gateway
                } else {
                    total
                },
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
            },
        );
    }

    pub(super) fn record<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        route: Option<&'a Route>,
        conn: &'a ConnInfo,
    ) -> Record<'a> {
        let times = self.times();
        let consumer = self
            .facts
            .consumer
            .and_then(|ix| snapshot.identity.consumer(ix));
        let place = place(snapshot, route);
        Record {
            request: &self.request,
            response: &self.response,
            status: self.status,
            conn,
            client_ip: self.facts.client_ip,
            request_id: self.facts.request_id.as_str(),
            started_ms: self.facts.started_ms,
            latencies: Latencies {
                request: millis(self.over() - self.facts.started),
                gateway: times.gateway_ms,
                upstream: self.head_in.and(times.upstream_ms),
                receive: self.head_in.map_or(0, |head| millis(self.over() - head)),
            },
            request_size: self.bytes_in,
            response_size: self.bytes_out,
            body_size: self.body_out,
            tries: &self.tries,
            upstream_uri: std::str::from_utf8(&self.upstream_uri).unwrap_or_default(),
            route: place.route,
            service: place.service,
            consumer: consumer.map(|consumer| &consumer.entity),
            credential_id: self
                .facts
                .credential
                .as_ref()
                .map(|found| found.id.as_str()),
            origin: self.origin,
            correlation_id: Some(&*self.facts.correlation_id).filter(|id| !id.is_empty()),
        }
    }
}
