//! Services of the local agent: registering one and taking it out again.
//!
//! Invariant: registering is idempotent; whoever does it again after a lost state changes nothing
//! else.

use std::time::Duration;

use serde_json::json;

use super::{Call, Consul, ConsulError, encoded};

/// A service to register, with a check that the agent makes over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Unique on its agent.
    pub id: String,
    /// Name of the service.
    pub name: String,
    /// Address; empty is the agent's.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Tags.
    pub tags: Vec<String>,
    /// Version, in its metadata.
    pub version: &'static str,
    /// URL that the agent checks; none is no check.
    pub check: Option<String>,
}

/// How often the agent checks, and how long it waits.
const CHECK: (&str, &str) = ("5s", "2s");
/// When a service that stays critical is forgotten.
const FORGOTTEN: &str = "10m";
/// Bound for each call.
const PATIENCE: Duration = Duration::from_secs(5);

impl Consul {
    /// Registers a service, or changes its registration.
    pub async fn register(&self, service: &Registration) -> Result<(), ConsulError> {
        let mut body = json!({
            "ID": service.id,
            "Name": service.name,
            "Address": service.address,
            "Port": service.port,
            "Tags": service.tags,
            "Meta": {"version": service.version},
            "EnableTagOverride": false,
        });
        if let Some(url) = &service.check {
            body["Check"] = json!({
                "Name": "ready",
                "HTTP": url,
                "Interval": CHECK.0,
                "Timeout": CHECK.1,
                "DeregisterCriticalServiceAfter": FORGOTTEN,
                "TLSSkipVerify": true,
            });
        }
        let path = "/v1/agent/service/register".to_owned();
        let mut call = Call::put(path, body.to_string().into_bytes());
        call.query
            .push(("replace-existing-checks", "true".to_owned()));
        call.timeout = PATIENCE;
        self.call(call).await.map(drop)
    }

    /// Whether the agent knows a service of that id.
    pub async fn is_registered(&self, id: &str) -> Result<bool, ConsulError> {
        let mut call = Call::get(format!("/v1/agent/service/{}", encoded(id)));
        call.timeout = PATIENCE;
        match self.call(call).await {
            Ok(_) => Ok(true),
            Err(ConsulError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a service out. One that is not there is no error.
    pub async fn deregister(&self, id: &str) -> Result<(), ConsulError> {
        let path = format!("/v1/agent/service/deregister/{}", encoded(id));
        let mut call = Call::put(path, Vec::new());
        call.timeout = PATIENCE;
        match self.call(call).await {
            Ok(_) | Err(ConsulError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
