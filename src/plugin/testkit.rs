//! A chain of plugins around a scripted upstream, for tests: text in, text out.
//!
//! The kit reads a whole declarative file, attaches every plugin of it to one route, and lets each
//! request run through the phases as the gateway would.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::config::{self, Report, model};
use crate::identity::{Consumer, Identity};
use crate::message::{
    Blame, BodyError, ConnInfo, Entity, Framing, Origin, RequestBody, RequestHead, ResponseHead,
    Span,
};
use crate::util::handles::Handles;
use crate::util::keep::Keeps;

/// The plugins of a file, attached to one route.
pub struct Kit {
    plan: Plan,
    identity: Identity,
    route: Entity,
    service: Entity,
    /// The client connection of every request.
    pub conn: ConnInfo,
    /// What the upstream answers: status, then a field a line, an empty line, the body.
    pub upstream: String,
}

/// What became of a request.
pub struct Answer {
    /// Status sent to the client.
    pub status: u16,
    /// The head sent to the client.
    pub head: ResponseHead,
    /// The body sent to the client.
    pub body: String,
    /// What the upstream received, if it was asked.
    pub sent: Option<Sent>,
    /// What was known in the end.
    pub facts: Facts,
}

/// A request as the upstream received it.
pub struct Sent {
    /// The head with the plugins' edits.
    pub head: RequestHead,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a response field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(text)
    }

    /// All response fields as lines, in order.
    pub fn lines(&self) -> Vec<String> {
        lines(self.head.headers.iter())
    }

    /// The first value of a field that the upstream received.
    pub fn upstream(&self, name: &str) -> Option<&str> {
        self.sent.as_ref()?.head.headers.get(name).map(text)
    }

    /// Whether the upstream was asked.
    pub fn passed(&self) -> bool {
        self.sent.is_some()
    }
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap()
}

fn lines<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<String> {
    fields
        .map(|(name, value)| format!("{}: {}", text(name), text(value)))
        .collect()
}

/// Reads a file with these plugins.
pub fn read(table: &[&'static PluginDef], yaml: &str) -> (Option<model::Model>, Report) {
    config::read(yaml, "f", &|_| None, &known(table))
}

/// What `check` says of a file: a line an issue, hints on lines of their own.
pub fn issues(table: &[&'static PluginDef], yaml: &str) -> Vec<String> {
    let text = read(table, yaml).1.to_text();
    text.lines().map(str::to_owned).collect()
}

/// What `check` says of one plugin's configuration, a flow map such as `{minute: 5}`.
pub fn config_issues(def: &'static PluginDef, config: &str) -> Vec<String> {
    let name = def.known.name;
    issues(
        &[def],
        &format!("plugins:\n- name: {name}\n  config: {config}\n"),
    )
}

impl Kit {
    /// The plugins of a file.
    pub fn new(table: &[&'static PluginDef], yaml: &str) -> Kit {
        Kit::adopting(table, yaml, &Keeps::default())
    }

    /// One plugin, attached globally, with this configuration as a flow map.
    pub fn of(def: &'static PluginDef, config: &str) -> Kit {
        let name = def.known.name;
        Kit::new(
            &[def],
            &format!("plugins:\n- name: {name}\n  config: {config}\n"),
        )
    }

    /// The plugins of a file, with state that outlives it.
    pub fn adopting(table: &[&'static PluginDef], yaml: &str, keeps: &Keeps) -> Kit {
        let (model, report) = read(table, yaml);
        let mut model = model.unwrap_or_else(|| panic!("{}", report.to_text()));
        let mut consumers: Vec<Consumer> = model.consumers.iter().map(consumer).collect();
        join_groups(&mut consumers, &model.credentials);
        let identity = Identity::new(consumers);
        let credentials = Credentials::take(&mut model, table);
        let handles = Handles::default();
        let mut slots: Vec<Slot> = Vec::new();
        for plugin in &model.plugins {
            let def = table.iter().find(|def| def.known.name == plugin.name);
            let scope = Scope {
                id: plugin.meta.id.to_string(),
                ..Scope::default()
            };
            let build = Build {
                scope: &scope,
                route: None,
                services: &[],
                identity: &identity,
                credentials: &credentials,
                keeps,
                handles: &handles,
                workers: 2,
            };
            let instance = (def.unwrap().build)(&plugin.config, &build);
            attach(&mut slots, def.unwrap(), plugin.consumer, instance);
        }
        Kit {
            plan: Plan::new(slots),
            identity,
            route: entity("route"),
            service: entity("service"),
            conn: ConnInfo {
                number: 1,
                peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
                local: SocketAddr::from(([127, 0, 0, 1], 8000)),
                trusted: false,
                listen_port: 8000,
                tls: None,
            },
            upstream: "200".to_owned(),
        }
    }

    /// Lets a request run through: request line, fields, an empty line, the body.
    pub fn send(&self, request: &str) -> Answer {
        self.send_from([127, 0, 0, 1].into(), request)
    }

    /// The same from another address.
    pub fn send_from(&self, client_ip: IpAddr, request: &str) -> Answer {
        let (head, body) = parse(request);
        now(self.run(client_ip, head, body))
    }

    /// A request with a body that is no text.
    pub fn send_bytes(&self, head: &str, body: &[u8]) -> Answer {
        let (mut head, _) = parse(head);
        head.framing = Framing::Length(body.len() as u64);
        now(self.run([127, 0, 0, 1].into(), head, body.to_vec()))
    }

    /// A request that matches no route: only the response phase runs.
    pub fn not_found(&self, request: &str) -> Answer {
        let (head, _) = parse(request);
        let origin = Origin::Gateway {
            label: "no_route",
            blame: Blame::Client,
        };
        let reply = Reply::gateway(404, "no Route matched with those values");
        let mut choices = Choices::default();
        choices.reset(&self.plan);
        self.answer(&head, Facts::default(), &mut choices, Ok((reply, origin)))
    }

    async fn run(&self, client_ip: IpAddr, mut head: RequestHead, body: Vec<u8>) -> Answer {
        let mut body = Body {
            bytes: body,
            collected: false,
        };
        let mut facts = Facts::default();
        facts.client_ip = client_ip;
        let mut choices = Choices::default();
        choices.reset(&self.plan);
        let mut cx = RequestCx::new(
            &mut head,
            &self.conn,
            &mut facts,
            &self.identity,
            self.place(),
            &mut body,
        );
        let mut reply = self.plan.run_request(&mut cx, &mut choices).await;
        if reply.is_none() {
            reply = self.plan.run_before_upstream(&mut cx, &mut choices).await;
        }
        match reply {
            Some((reply, name)) => self.answer(
                &head,
                facts,
                &mut choices,
                Ok((reply, Origin::Plugin(name))),
            ),
            None => {
                let mut answer = self.answer(&head, facts, &mut choices, Err(()));
                answer.sent = Some(Sent {
                    head,
                    body: body.bytes,
                });
                answer
            }
        }
    }

    fn answer(
        &self,
        request: &RequestHead,
        mut facts: Facts,
        choices: &mut Choices,
        reply: Result<(Reply, Origin), ()>,
    ) -> Answer {
        let (mut head, origin, body) = match reply {
            Ok((reply, origin)) => (rendered(&reply), origin, reply.render("id")),
            Err(()) => {
                let (head, body) = self
                    .upstream
                    .split_once("\n\n")
                    .unwrap_or((&self.upstream, ""));
                (upstream(head), Origin::Upstream, body.to_owned().into())
            }
        };
        let mut body = body.to_vec();
        let mut cx = ResponseCx::new(
            &mut head,
            request,
            &self.conn,
            &mut facts,
            &self.identity,
            self.place(),
            origin,
        );
        let wishes = self.plan.run_response(&mut cx, choices);
        if (1..=wishes.collect).contains(&body.len()) {
            let mut cx = BodyCx {
                body: &mut body,
                response: &mut head,
                facts: &mut facts,
                place: self.place(),
            };
            let answered = now(self.plan.run_collected(&wishes, &mut cx, choices));
            assert!(
                answered.is_none(),
                "a body that is answered is not modelled here"
            );
        }
        Answer {
            status: head.status,
            head,
            body: String::from_utf8(body).unwrap(),
            sent: None,
            facts,
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            route: Some(&self.route),
            service: Some(&self.service),
        }
    }
}

/// Runs what never has to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits"),
    }
}

fn entity(name: &str) -> Entity {
    Entity {
        id: format!("{name}-id"),
        name: Some(name.to_owned()),
        json: serde_json::json!({ "name": name }),
    }
}

fn consumer(consumer: &model::Consumer) -> Consumer {
    Consumer {
        id: consumer.meta.id.to_string(),
        username: consumer.username.clone(),
        custom_id: consumer.custom_id.clone(),
        ..Consumer::default()
    }
}

fn attach(
    slots: &mut Vec<Slot>,
    def: &'static PluginDef,
    consumer: Option<usize>,
    instance: Instance,
) {
    let at = slots
        .iter()
        .position(|s| s.def.known.name == def.known.name);
    let at = at.unwrap_or_else(|| {
        slots.push(Slot {
            def,
            base: None,
            by_consumer: Arc::default(),
        });
        slots.len() - 1
    });
    match consumer {
        Some(ix) => {
            Arc::make_mut(&mut slots[at].by_consumer).insert(ix.into(), instance);
        }
        None => slots[at].base = Some(instance),
    }
}

/// A head from text; a query in it is split off, the path is taken as normal.
fn parse(request: &str) -> (RequestHead, Vec<u8>) {
    let (top, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = top.lines();
    let start = lines.next().unwrap();
    let mut words = start.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let mut head = RequestHead::default();
    head.headers.raw = start.as_bytes().to_vec();
    let at = method.len() + 1;
    let path = target.find('?').unwrap_or(target.len());
    head.method = Span::new(0, method.len());
    head.target = Span::new(at, at + target.len());
    head.raw_path = Span::new(at, at + path);
    head.query = Span::new(at + path, at + target.len());
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        head.headers.append(name, value.trim());
    }
    if !body.is_empty() {
        head.framing = Framing::Length(body.len() as u64);
    }
    (head, body.as_bytes().to_vec())
}

fn rendered(reply: &Reply) -> ResponseHead {
    let mut head = ResponseHead {
        status: reply.status,
        ..ResponseHead::default()
    };
    if let Some(content_type) = reply.content_type() {
        head.headers.set("Content-Type", content_type);
    }
    for (name, value) in &reply.headers {
        head.headers.append(name, value.as_bytes());
    }
    head
}

fn upstream(script: &str) -> ResponseHead {
    let mut lines = script.lines();
    let mut head = ResponseHead {
        status: lines.next().unwrap().trim().parse().unwrap(),
        ..ResponseHead::default()
    };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        head.headers.append(name, value.trim());
    }
    head
}

/// A body that is there at once.
struct Body {
    bytes: Vec<u8>,
    collected: bool,
}

impl RequestBody for Body {
    fn poll_collect(&mut self, _: &mut Context<'_>, limit: usize) -> Poll<Result<(), BodyError>> {
        if self.bytes.len() > limit {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        self.collected = true;
        Poll::Ready(Ok(()))
    }

    fn collected(&self) -> Option<&[u8]> {
        self.collected.then_some(&self.bytes)
    }

    fn replace(&mut self, body: Vec<u8>) {
        self.bytes = body;
    }

    fn limit(&mut self, _: u64) {}
}
