//! A Consul that says what tests write down.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Call, Calling, Consul, ConsulError, Meta, Transport};

/// What one call gets: after this long, this.
pub(crate) type Line = (Duration, Result<Answer, ConsulError>);

/// Answers line by line; when there is none left, calls wait until they time out.
#[derive(Default)]
pub(crate) struct Script {
    lines: Mutex<VecDeque<Line>>,
    /// When what was asked.
    asked: Mutex<Vec<(Instant, String)>>,
}

impl Script {
    pub(crate) fn client(self: &Arc<Self>) -> Consul {
        Consul::new(self.clone())
    }

    pub(crate) fn say(&self, line: Line) {
        self.lines.lock().unwrap().push_back(line);
    }

    /// At once: this body under this index.
    pub(crate) fn body(&self, index: u64, body: &str) {
        self.say((Duration::ZERO, Ok(answer(index, body))));
    }

    pub(crate) fn error(&self, error: ConsulError) {
        self.say((Duration::ZERO, Err(error)));
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(_, target)| target.clone()).collect()
    }

    pub(crate) fn times(&self) -> Vec<Instant> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|(at, _)| *at)
            .collect()
    }
}

impl Transport for Script {
    fn call(&self, call: Call) -> Calling<'_> {
        let asked = (Instant::now(), call.target());
        self.asked.lock().unwrap().push(asked);
        let line = self.lines.lock().unwrap().pop_front();
        Box::pin(async move {
            match line {
                Some((after, answer)) if after < call.timeout => {
                    tokio::time::sleep(after).await;
                    answer
                }
                _ => {
                    tokio::time::sleep(call.timeout).await;
                    Err(ConsulError::TimedOut)
                }
            }
        })
    }
}

pub(crate) fn answer(index: u64, body: &str) -> Answer {
    Answer {
        status: 200,
        meta: Meta {
            index: Some(index),
            ..Meta::default()
        },
        body: body.into(),
    }
}

/// An entry of a health answer.
pub(crate) fn entry(id: &str, address: &str, port: u16, status: &str) -> String {
    format!(
        r#"{{"Node":{{"ID":"n","Address":"10.9.9.9"}},
            "Service":{{"ID":"{id}","Address":"{address}","Port":{port},"Tags":["{id}"],
                "Weights":{{"Passing":10,"Warning":3}}}},
            "Checks":[{{"CheckID":"c","Status":"{status}"}}]}}"#
    )
}

pub(crate) fn list(entries: &[String]) -> String {
    format!("[{}]", entries.join(","))
}
