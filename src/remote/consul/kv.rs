//! One key of the store: `GET /v1/kv/:key`.
//!
//! Invariant: bytes as they are stored; a key that does not exist is [`ConsulError::NotFound`].

use super::{Answer, Call, Consul, ConsulError, Query, encoded};

/// What is asked for: the value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    /// The key; slashes part it.
    pub key: String,
    /// Datacenter, if not the agent's.
    pub datacenter: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Admin partition.
    pub partition: Option<String>,
}

/// Bound for a value: Consul's own is 512 KiB where nobody raised it.
const MOST: usize = 16 << 20;

impl Query for KeyQuery {
    type Answer = Vec<u8>;

    fn call(&self) -> Call {
        let parts: Vec<String> = self.key.split('/').map(encoded).collect();
        let optional = [
            ("dc", &self.datacenter),
            ("ns", &self.namespace),
            ("partition", &self.partition),
        ];
        let given = optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)));
        let raw = ("raw", String::new());
        Call {
            query: std::iter::once(raw).chain(given).collect(),
            most: MOST,
            ..Call::get(format!("/v1/kv/{}", parts.join("/")))
        }
    }

    fn read(&self, answer: Answer) -> Result<Vec<u8>, ConsulError> {
        Ok(answer.body)
    }

    fn is_empty(answer: &Vec<u8>) -> bool {
        answer.is_empty()
    }
}

impl Consul {
    /// The value of a key, now.
    pub async fn value(&self, query: &KeyQuery) -> Result<Vec<u8>, ConsulError> {
        Ok(self.call(query.call()).await?.body)
    }
}
