//! The entities of the live configuration, in Kong's forms.

use std::future::{Future, ready};
use std::pin::Pin;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::{Admin, answer, blocking, message};
use crate::message::Entity;
use crate::snapshot::Snapshot;

/// A kind of entity that can be looked at.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Its path: `services`.
    pub name: &'static str,
    list: fn(&Snapshot) -> Vec<&Entity>,
}

/// Every kind.
pub(super) const KINDS: [Kind; 5] = [
    Kind {
        name: "services",
        list: |snapshot| snapshot.services.iter().map(|of| &of.entity).collect(),
    },
    Kind {
        name: "routes",
        list: |snapshot| snapshot.routes.iter().map(|of| &of.entity).collect(),
    },
    Kind {
        name: "upstreams",
        list: |snapshot| snapshot.upstreams.iter().map(|of| &of.entity).collect(),
    },
    Kind {
        name: "plugins",
        list: |snapshot| snapshot.plugins.iter().collect(),
    },
    Kind {
        name: "consumers",
        list: |snapshot| {
            snapshot
                .identity
                .all()
                .iter()
                .map(|of| &of.entity)
                .collect()
        },
    },
];

/// How many there are of each kind.
pub(super) fn counts(snapshot: &Snapshot) -> Value {
    let count = |kind: &Kind| (kind.name.to_string(), (kind.list)(snapshot).len().into());
    Value::Object(KINDS.iter().map(count).collect())
}

/// A list as Kong shows it: all of it on one page.
pub(super) fn page(data: Vec<Value>) -> Value {
    json!({ "data": data, "next": null })
}

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The handler of `GET /{kind}`.
pub(super) fn all(kind: Kind) -> impl Fn(State<Admin>) -> Answering + Clone + Send + 'static {
    move |State(admin)| {
        let Some(snapshot) = admin.parts().cell.load() else {
            return Box::pin(ready(answer(StatusCode::OK, &page(Vec::new()))));
        };
        Box::pin(async move {
            let list = move || {
                let data = (kind.list)(&snapshot);
                let data = data.into_iter().map(|entity| entity.json.clone());
                answer(StatusCode::OK, &page(data.collect()))
            };
            blocking(list).await.unwrap_or_else(|failed| failed)
        })
    }
}

/// The handler of `GET /{kind}/{name or id}`.
pub(super) fn one(
    kind: Kind,
) -> impl Fn(State<Admin>, Path<String>) -> std::future::Ready<Response> + Clone + Send + 'static {
    move |State(admin), Path(key)| {
        let snapshot = admin.parts().cell.load();
        let found = snapshot.as_ref().and_then(|snapshot| {
            let list = (kind.list)(snapshot);
            list.into_iter().find(|entity| is_named(entity, &key))
        });
        ready(match found {
            Some(entity) => answer(StatusCode::OK, &entity.json),
            None => not_found(),
        })
    }
}

/// Whether a key of a path means this entity. A plugin's name is not unique: only its id and its
/// instance name are keys.
fn is_named(entity: &Entity, key: &str) -> bool {
    if entity.id == key {
        return true;
    }
    match entity.json.get("instance_name") {
        Some(instance) => instance.as_str() == Some(key),
        None => entity.name.as_deref() == Some(key),
    }
}

/// Kong's answer for what does not exist.
pub(super) fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Not found")
}
