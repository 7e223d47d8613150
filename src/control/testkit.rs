//! What tests of this floor have in common.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::dns::{Answer, Answering, Dns, Found, Lookup, LookupError, Services};
use super::loader::{Loader, Loading, Origin};
use super::probes::Probes;
use crate::snapshot::{Snapshot, Surroundings, UpstreamTls};
use crate::telemetry::Metrics;

/// Answers that tests write down; every question is counted. A name without an answer never gets
/// one.
#[derive(Default)]
pub(super) struct Names {
    answers: Mutex<HashMap<String, Result<Answer, LookupError>>>,
    asked: Mutex<Vec<(String, Services)>>,
}

impl Names {
    pub(super) fn set(&self, name: &str, addresses: &[&str], ttl: u64) {
        let found = addresses
            .iter()
            .map(|ip| Found::address(ip.parse().unwrap()));
        let (found, ttl) = (found.collect(), Duration::from_secs(ttl));
        self.put(name, Ok(Answer { found, ttl }));
    }

    pub(super) fn put(&self, name: &str, answer: Result<Answer, LookupError>) {
        self.answers.lock().unwrap().insert(name.to_owned(), answer);
    }

    pub(super) fn last(&self) -> Option<Services> {
        self.asked.lock().unwrap().last().map(|asked| asked.1)
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Lookup for Names {
    fn lookup<'a>(&'a self, name: &'a str, services: Services) -> Answering<'a> {
        self.asked.lock().unwrap().push((name.to_owned(), services));
        let answer = self.answers.lock().unwrap().get(name).cloned();
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

pub(super) fn loader(names: Arc<Names>) -> Arc<Loader> {
    Arc::new(Loader::new(Loading {
        table: &[],
        around: Surroundings::default(),
        keeps: Arc::default(),
        handles: Default::default(),
        metrics: Metrics::new(1),
        tls: UpstreamTls::new().unwrap(),
        workers: 1,
        cell: Default::default(),
        dns: Dns::new(names, Handle::current()),
        probes: Probes::new(Handle::current()),
        background: crate::util::background::Background::start("test").unwrap(),
    }))
}

/// Loads a text at once.
pub(super) fn load(loader: &Loader, text: &str) -> Arc<Snapshot> {
    let (checked, report) = loader.check(text, "f");
    let compiled = loader.compile(checked.unwrap_or_else(|| panic!("{}", report.to_text())));
    loader.publish(compiled, Origin::Post);
    loader.snapshot().unwrap()
}
