//! A server that speaks as much of Consul's API as a watcher of services needs, and misbehaves on
//! command.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::{Value, json};

use super::eventually;
use super::upstream::{Received, Serving, Upstream, reply};

/// What it does with a question.
#[derive(Clone, Debug)]
pub enum Does {
    /// Answers as Consul does.
    Answer,
    /// This status, in words that nobody may repeat.
    Status(u16),
    /// Ends the connection without a word.
    Close,
    /// This body, with an index and status 200.
    Body(String),
    /// Announces more than it sends.
    Cut,
}

struct State {
    does: Does,
    /// The index that it says; nothing: none at all.
    index: Option<u64>,
    list: String,
    /// Grows with each change of these: whoever waits is answered.
    turn: u64,
    /// Questions that wait for a change.
    waiting: usize,
    over: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The server; gone when dropped.
pub struct FakeConsul {
    /// Its side of the wire.
    pub server: Upstream,
    shared: Shared,
}

impl std::fmt::Display for FakeConsul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.server)
    }
}

/// An instance with an id, as `/v1/health/service/` has it.
pub fn instance(id: &str, address: &str, port: u16) -> Value {
    json!({
        "Node": {"Node": "n", "Address": "127.0.0.1", "Datacenter": "dc1"},
        "Service": {"ID": id, "Service": "web", "Address": address, "Port": port, "Tags": []},
        "Checks": [],
    })
}

impl FakeConsul {
    /// Starts one that knows of nobody, behind TLS or not.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let shared: Shared = Arc::new((
            Mutex::new(State {
                does: Does::Answer,
                index: Some(10),
                list: "[]".to_owned(),
                turn: 0,
                waiting: 0,
                over: false,
            }),
            Condvar::new(),
        ));
        let ours = shared.clone();
        let script = move |mut serving: Serving| {
            while let Some(request) = serving.request() {
                if !answer(&mut serving, &request, &ours) {
                    return;
                }
            }
        };
        let server = match tls {
            Some(tls) => Upstream::raw_tls(tls, script),
            None => Upstream::raw(script),
        };
        Self { server, shared }
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        let mut state = self.shared.0.lock().unwrap();
        how(&mut state);
        state.turn += 1;
        self.shared.1.notify_all();
    }

    /// What it does from now on; whoever waits is treated so, too.
    pub fn does(&self, does: Does) {
        self.change(|state| state.does = does);
    }

    /// The instances from now on, and the index that goes with them.
    pub fn list(&self, index: Option<u64>, list: &[Value]) {
        self.change(|state| {
            state.index = index;
            state.list = json!(list).to_string();
        });
    }

    /// Waits until a question waits for a change.
    #[track_caller]
    pub fn waited_for(&self) {
        let waiting = || self.shared.0.lock().unwrap().waiting > 0;
        eventually("a question that waits", waiting);
    }

    /// Waits for so many further questions.
    #[track_caller]
    pub fn asked_again(&self, times: usize) {
        let before = self.server.requests().len();
        let what = "it is asked again";
        self.server
            .wait(what, |seen| seen.requests.len() >= before + times);
    }
}

impl Drop for FakeConsul {
    fn drop(&mut self) {
        self.change(|state| state.over = true);
    }
}

/// Whether the connection lives on.
fn answer(serving: &mut Serving, request: &Received, shared: &Shared) -> bool {
    let asked = request.target().split(['?', '&']).find_map(|pair| {
        let index = pair.strip_prefix("index=")?;
        index.parse::<u64>().ok()
    });
    let (mutex, changed) = &**shared;
    let mut state = mutex.lock().unwrap();
    let turn = state.turn;
    // A call with the index of the moment waits for another moment.
    state.waiting += 1;
    while matches!(state.does, Does::Answer)
        && asked.is_some()
        && asked == state.index
        && turn == state.turn
        && !state.over
    {
        let waited = changed.wait_timeout(state, Duration::from_secs(1));
        state = waited.unwrap().0;
    }
    state.waiting -= 1;
    if state.over {
        return false;
    }
    let index = state.index.map(|index| index.to_string());
    let mut fields = vec![
        ("X-Consul-KnownLeader", "true"),
        ("X-Consul-LastContact", "0"),
    ];
    fields.extend(index.iter().map(|index| ("X-Consul-Index", index.as_str())));
    let (does, list) = (state.does.clone(), state.list.clone());
    drop(state);
    match does {
        Does::Answer => serving.reply(200, &fields, list.as_bytes()),
        Does::Status(status) => serving.reply(status, &[], b"words of a stranger"),
        Does::Body(body) => serving.reply(200, &fields, body.as_bytes()),
        Does::Close => false,
        Does::Cut => {
            let whole = reply(200, &fields, list.as_bytes());
            serving.write(&whole[..whole.len() - 1]);
            false
        }
    }
}
