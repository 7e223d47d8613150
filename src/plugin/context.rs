//! The only things that a plugin sees of a request, an outcome and a response.
//!
//! Invariant: a context borrows; nothing in it outlives the phase, so a plugin keeps no request.

use std::any::Any;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::identity::{Consumer, Credential, Identity};
use crate::message::{
    BodyError, ConnInfo, Entity, Known, Origin, Reply, RequestBody, RequestHead, ResponseHead,
};
use crate::router::Captures;
use crate::util::ids::ConsumerIx;

/// Text that ids are made of: 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// From 128 random bits.
    pub fn new(bits: u128) -> RequestId {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (at, byte) in bits.to_be_bytes().into_iter().enumerate() {
            text[2 * at] = HEX[(byte >> 4) as usize];
            text[2 * at + 1] = HEX[(byte & 15) as usize];
        }
        RequestId(text)
    }

    /// The digits as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What is known and decided of one request, beside its head. Reused from request to request.
#[derive(Debug)]
pub struct Facts {
    /// The client's address after trust was applied.
    pub client_ip: IpAddr,
    /// This request's id.
    pub request_id: RequestId,
    /// When the head was complete.
    pub started: Instant,
    /// The same in milliseconds since 1970.
    pub started_ms: u64,
    /// Which request of its connection this is, from 1.
    pub nth: u64,
    /// Who the client is, once a plugin found out.
    pub consumer: Option<ConsumerIx>,
    /// How it proved that; `None` for an anonymous consumer.
    pub credential: Option<Credential>,
    /// Memory for the next one.
    spare: Credential,
    /// Groups that came with the proof rather than from the file.
    pub groups: Option<Vec<String>>,
    /// What the route's regex captured.
    pub captures: Captures,
    /// Path, with query where it has one, to send instead of the computed one.
    pub upstream_path: Option<String>,
    /// Method to send instead of the client's.
    pub upstream_method: Option<String>,
    /// `Host` to send instead of the computed one.
    pub upstream_host: Option<String>,
    /// What the client is told when its body grows over the limit that a plugin set.
    pub oversize: Option<Box<Reply>>,
    /// Time until the upstream's head, over all attempts, when a plugin set one.
    pub head_timeout: Option<Duration>,
    /// The id that correlation-id gave the request; empty without. Its memory stays for the next.
    pub correlation_id: String,
    /// Header edits for the response, by slot.
    pub later: Later,
    /// Rare per-request state of plugins, by slot.
    slots: Vec<(u8, Box<dyn Any>)>,
    /// Two numbers that a plugin keeps for later, by slot: what costs no allocation.
    notes: Vec<(u8, [u64; 2])>,
}

impl Default for Facts {
    fn default() -> Facts {
        Facts {
            client_ip: IpAddr::from([0, 0, 0, 0]),
            request_id: RequestId([b'0'; 32]),
            started: Instant::now(),
            started_ms: 0,
            nth: 1,
            consumer: None,
            credential: None,
            spare: Credential::default(),
            groups: None,
            captures: Captures::default(),
            upstream_path: None,
            upstream_method: None,
            upstream_host: None,
            oversize: None,
            head_timeout: None,
            correlation_id: String::new(),
            later: Later::default(),
            slots: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl Facts {
    /// Forgets the request; keeps the memory.
    pub fn clear(&mut self) {
        self.consumer = None;
        self.set_credential(None);
        self.groups = None;
        self.captures = Captures::default();
        self.upstream_path = None;
        self.upstream_method = None;
        self.upstream_host = None;
        self.oversize = None;
        self.head_timeout = None;
        self.correlation_id.clear();
        self.later.clear();
        self.slots.clear();
        self.notes.clear();
    }

    /// Notes a credential without new memory: those of one connection are mostly the same.
    fn set_credential(&mut self, credential: Option<&Credential>) {
        if let Some(known) = self.credential.take() {
            self.spare = known;
        }
        self.credential = credential.map(|credential| {
            let mut own = std::mem::take(&mut self.spare);
            own.clone_from(credential);
            own
        });
    }

    fn slot<T: Default + 'static>(&mut self, slot: u8) -> Option<&mut T> {
        if !self
            .slots
            .iter()
            .any(|(at, any)| *at == slot && any.is::<T>())
        {
            self.slots.push((slot, Box::new(T::default())));
        }
        let found = self
            .slots
            .iter_mut()
            .find(|(at, any)| *at == slot && any.is::<T>());
        found.and_then(|(_, any)| any.downcast_mut())
    }
}

/// Edits of response fields, noted during the request and applied at the slot's rank.
#[derive(Debug, Default)]
pub struct Later {
    edits: Vec<LaterEdit>,
    text: String,
}

#[derive(Clone, Copy, Debug)]
struct LaterEdit {
    slot: u8,
    replace: bool,
    known: Known,
    name: (u32, u32),
    value: (u32, u32),
}

impl Later {
    fn clear(&mut self) {
        self.edits.clear();
        self.text.clear();
    }

    fn push(&mut self, slot: u8, replace: bool, name: &str, value: &str) {
        let known = Known::of(name.as_bytes());
        let name = self.keep(name);
        let value = self.keep(value);
        self.edits.push(LaterEdit {
            slot,
            replace,
            known,
            name,
            value,
        });
    }

    fn keep(&mut self, text: &str) -> (u32, u32) {
        let at = self.text.len() as u32;
        self.text.push_str(text);
        (at, self.text.len() as u32)
    }

    /// Applies what one slot noted.
    pub fn apply(&self, slot: u8, response: &mut ResponseHead) {
        for edit in self.edits.iter().filter(|edit| edit.slot == slot) {
            let (name, value) = (self.piece(edit.name), self.piece(edit.value));
            if edit.replace {
                response.headers.set_known(edit.known, name, value);
            } else {
                response.headers.append_known(edit.known, name, value);
            }
        }
    }

    fn piece(&self, (from, to): (u32, u32)) -> &str {
        self.text
            .get(from as usize..to as usize)
            .unwrap_or_default()
    }
}

/// Where a request goes, as far as plugins may know.
#[derive(Clone, Copy, Default)]
pub struct Place<'a> {
    /// The matched route.
    pub route: Option<&'a Entity>,
    /// Its service.
    pub service: Option<&'a Entity>,
}

/// A request in the hands of a plugin, before the upstream is contacted.
pub struct RequestCx<'a> {
    /// The head; edits of its fields go upstream.
    pub request: &'a mut RequestHead,
    /// The client connection.
    pub conn: &'a ConnInfo,
    /// What is known of the request.
    pub facts: &'a mut Facts,
    /// Every consumer.
    pub identity: &'a Identity,
    /// Route and service.
    pub place: Place<'a>,
    pub(super) body: &'a mut dyn RequestBody,
    pub(super) slot: u8,
}

impl<'a> RequestCx<'a> {
    /// A context for the request phases; each slot is entered by the plan.
    pub fn new(
        request: &'a mut RequestHead,
        conn: &'a ConnInfo,
        facts: &'a mut Facts,
        identity: &'a Identity,
        place: Place<'a>,
        body: &'a mut dyn RequestBody,
    ) -> RequestCx<'a> {
        RequestCx {
            request,
            conn,
            facts,
            identity,
            place,
            body,
            slot: 0,
        }
    }

    /// The consumer, if one is known.
    pub fn consumer(&self) -> Option<&'a Consumer> {
        self.facts
            .consumer
            .and_then(|ix| self.identity.consumer(ix))
    }

    /// Keeps two numbers for this plugin's later phases.
    pub fn note(&mut self, numbers: [u64; 2]) {
        self.facts.notes.push((self.slot, numbers));
    }

    /// Sets this field on the response, whoever makes it.
    pub fn set_later(&mut self, name: &str, value: &str) {
        self.facts.later.push(self.slot, true, name, value);
    }

    /// Adds this field to the response, whoever makes it.
    pub fn append_later(&mut self, name: &str, value: &str) {
        self.facts.later.push(self.slot, false, name, value);
    }

    /// The whole request body. Only inside [`super::Flow::Wait`]; longer than `limit` bytes is
    /// [`BodyError::TooLarge`]. Dropping the future keeps what was read.
    pub async fn body(&mut self, limit: usize) -> Result<&[u8], BodyError> {
        poll_fn(|cx| self.body.poll_collect(cx, limit)).await?;
        Ok(self.body.collected().unwrap_or_default())
    }

    /// Sends these bytes instead of a body that was read before.
    pub fn replace_body(&mut self, body: Vec<u8>) {
        self.body.replace(body);
    }

    /// The length of the body, if it was read already.
    pub fn read_length(&self) -> Option<usize> {
        self.body.collected().map(<[u8]>::len)
    }

    /// Ends the body behind so many bytes while it streams: the client gets 413, or
    /// [`Facts::oversize`].
    pub fn limit_body(&mut self, bytes: u64) {
        self.body.limit(bytes);
    }

    /// This plugin's own state for this request, made on first use.
    pub fn slot<T: Default + 'static>(&mut self) -> Option<&mut T> {
        self.facts.slot(self.slot)
    }

    /// Makes that consumer the client, and tells the upstream (Kong's identity fields).
    pub fn authenticate(&mut self, consumer: Option<ConsumerIx>, credential: &Credential) {
        self.identify(consumer);
        let headers = &mut self.request.headers;
        headers.remove_known(Known::XAnonymousConsumer);
        headers.set_known(
            Known::XCredentialIdentifier,
            "X-Credential-Identifier",
            &credential.identifier,
        );
        self.facts.set_credential(Some(credential));
    }

    /// Makes the anonymous consumer the client.
    pub fn stay_anonymous(&mut self, consumer: ConsumerIx) {
        self.identify(Some(consumer));
        let headers = &mut self.request.headers;
        headers.remove_known(Known::XCredentialIdentifier);
        headers.set("X-Anonymous-Consumer", "true");
        self.facts.set_credential(None);
    }

    fn identify(&mut self, consumer: Option<ConsumerIx>) {
        self.facts.consumer = consumer;
        let consumer = consumer.and_then(|ix| self.identity.consumer(ix));
        let headers = &mut self.request.headers;
        let fields = [
            (
                Known::XConsumerId,
                "X-Consumer-ID",
                consumer.map(|consumer| consumer.id.as_str()),
            ),
            (
                Known::XConsumerCustomId,
                "X-Consumer-Custom-ID",
                consumer.and_then(|consumer| consumer.custom_id.as_deref()),
            ),
            (
                Known::XConsumerUsername,
                "X-Consumer-Username",
                consumer.and_then(|consumer| consumer.username.as_deref()),
            ),
        ];
        for (known, name, value) in fields {
            match value {
                Some(value) => headers.set_known(known, name, value),
                None => {
                    headers.remove_known(known);
                }
            }
        }
    }
}

/// How an exchange with the upstream ended, over all attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A head came back with that status.
    Status(u16),
    /// gRPC's own status: in the head, or in the trailers.
    Grpc(u32),
    /// No head came back: stable short name of the cause.
    Failed(&'static str),
    /// The client left first: neither success nor failure.
    Abandoned,
}

/// The one outcome of a request that reached the gates.
pub struct OutcomeCx<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// Time since the gates were passed.
    pub elapsed: Duration,
    /// What is known of the request.
    pub facts: &'a mut Facts,
    /// Where it went.
    pub place: Place<'a>,
    /// Whether the answer can still be replaced (not behind trailers).
    pub replaceable: bool,
    pub(super) reply: Option<Reply>,
    pub(super) slot: u8,
}

impl<'a> OutcomeCx<'a> {
    /// A context for the outcome.
    pub fn new(
        outcome: Outcome,
        elapsed: Duration,
        facts: &'a mut Facts,
        place: Place<'a>,
        replaceable: bool,
    ) -> OutcomeCx<'a> {
        OutcomeCx {
            outcome,
            elapsed,
            facts,
            place,
            replaceable,
            reply: None,
            slot: 0,
        }
    }

    /// What this plugin noted last during the request.
    pub fn noted(&self) -> Option<[u64; 2]> {
        let mut notes = self.facts.notes.iter().rev();
        let found = notes.find(|(slot, _)| *slot == self.slot);
        found.map(|(_, numbers)| *numbers)
    }

    /// Answers this instead of what the upstream said; ignored where nothing can be replaced.
    pub fn replace(&mut self, reply: Reply) {
        if self.replaceable {
            self.reply = Some(reply);
        }
    }

    /// This plugin's own state for this request.
    pub fn slot<T: Default + 'static>(&mut self) -> Option<&mut T> {
        self.facts.slot(self.slot)
    }
}

/// A response on its way to the client.
pub struct ResponseCx<'a> {
    /// The head; edits go to the client.
    pub response: &'a mut ResponseHead,
    /// The request, with the edits that were made.
    pub request: &'a RequestHead,
    /// The client connection.
    pub conn: &'a ConnInfo,
    /// What is known of the request.
    pub facts: &'a mut Facts,
    /// Every consumer.
    pub identity: &'a Identity,
    /// Route and service.
    pub place: Place<'a>,
    /// Who answered.
    pub origin: Origin,
    pub(super) slot: u8,
}

impl<'a> ResponseCx<'a> {
    /// A context for the response phase.
    pub fn new(
        response: &'a mut ResponseHead,
        request: &'a RequestHead,
        conn: &'a ConnInfo,
        facts: &'a mut Facts,
        identity: &'a Identity,
        place: Place<'a>,
        origin: Origin,
    ) -> ResponseCx<'a> {
        ResponseCx {
            response,
            request,
            conn,
            facts,
            identity,
            place,
            origin,
            slot: 0,
        }
    }

    /// What this plugin noted during the request, in order.
    pub fn noted(&self) -> impl Iterator<Item = [u64; 2]> {
        let notes = self.facts.notes.iter();
        let own = notes.filter(|(slot, _)| *slot == self.slot);
        own.map(|(_, numbers)| *numbers)
    }

    /// This plugin's own state for this request.
    pub fn slot<T: Default + 'static>(&mut self) -> Option<&mut T> {
        self.facts.slot(self.slot)
    }
}

/// A response body that a plugin asked for.
pub struct BodyCx<'a> {
    /// The body; after `Collect` what stands here afterwards is sent.
    pub body: &'a mut Vec<u8>,
    /// The head; after `Tee` it has been sent already and edits change nothing.
    pub response: &'a mut ResponseHead,
    /// What is known of the request.
    pub facts: &'a mut Facts,
    /// Route and service.
    pub place: Place<'a>,
}

/// A kept plugin instance.
pub type Instance = Arc<dyn super::Plugin>;
