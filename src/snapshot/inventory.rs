//! What a file consists of, entity by entity, and what another one would change.
//!
//! Invariant: a changed secret counts as a change, and no secret is in here: entities are compared
//! by numbers, and named by what is no secret.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::config::model::{Credential, Meta, Model, Plugin};
use crate::util::background::{self, give_way};

/// Every entity of a file, by the names of their lists.
#[derive(Clone, Debug, Default)]
pub struct Inventory(Vec<(&'static str, Vec<Item>)>);

#[derive(Clone, Debug)]
struct Item {
    id: Uuid,
    label: String,
    digest: u64,
}

/// What differs between two files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

/// What differs in one list; names of entities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The list: `routes`.
    pub kind: &'static str,
    /// They were not there.
    pub added: Vec<String>,
    /// They are gone.
    pub removed: Vec<String>,
    /// They say something else.
    pub changed: Vec<String>,
    /// Those that were there before stand in another order, which decides between equal routes.
    pub reordered: bool,
}

/// The only list whose order means something.
const ORDERED: &str = "routes";

impl Inventory {
    /// Takes stock of a file.
    pub fn of(model: &Model) -> Self {
        let id = |meta: &Meta| meta.id;
        let service = |ix: Option<usize>| model.services.get(ix?).map(|it| id(&it.meta));
        let certificate = |ix: Option<usize>| model.certificates.get(ix?).map(|it| id(&it.meta));
        let mut lists = vec![
            list("services", &model.services, |it| {
                let authorities = it.trusted.iter().flatten();
                let authorities = authorities.map(|ix| model.ca_certificates.get(*ix));
                let authorities = authorities.map(|it| it.map(|it| id(&it.meta)));
                let links = std::iter::once(certificate(it.client_certificate));
                item(&it.meta, it.name.as_deref(), links.chain(authorities))
            }),
            list("routes", &model.routes, |it| {
                item(&it.meta, it.name.as_deref(), [service(it.service)])
            }),
            list("upstreams", &model.upstreams, |it| {
                let link = certificate(it.client_certificate);
                item(&it.meta, Some(&it.name), [link])
            }),
            list("targets", &model.targets, |it| {
                let upstream = model.upstreams.get(it.upstream);
                let name = upstream.map_or("", |upstream| &upstream.name);
                let label = format!("{name} {}", it.target);
                item(&it.meta, Some(&label), [])
            }),
            list("consumers", &model.consumers, |it| {
                let name = it.username.as_deref().or(it.custom_id.as_deref());
                item(&it.meta, name, [])
            }),
            list("plugins", &model.plugins, |it| plugin(model, it)),
            certificates(model),
            list("snis", &model.snis, |it| {
                item(
                    &it.meta,
                    Some(&it.name),
                    [certificate(Some(it.certificate))],
                )
            }),
            list("ca_certificates", &model.ca_certificates, |it| {
                item(&it.meta, None, [])
            }),
        ];
        for credential in &model.credentials {
            let item = credential_item(model, credential);
            let known = lists.iter_mut().find(|(kind, _)| *kind == credential.table);
            match known {
                Some((_, items)) => items.push(item),
                None => lists.push((credential.table, vec![item])),
            }
        }
        Self(lists)
    }

    /// Frees it, entity by entity.
    pub(super) fn free(self) {
        let lists = self.0.into_iter();
        lists.for_each(|(_, items)| background::free(items));
    }

    /// How many there are of each kind; kinds without any are left out.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let counts = self.0.iter().map(|(kind, items)| (*kind, items.len()));
        counts.filter(|(_, count)| *count > 0)
    }

    /// What `new` would change.
    pub fn changes(&self, new: &Self) -> Changes {
        let kinds = new.0.iter().map(|(kind, _)| *kind);
        let gone = self.0.iter().map(|(kind, _)| *kind);
        let gone = gone.filter(|kind| new.items(kind).is_empty());
        let mut all: Vec<&'static str> = Vec::new();
        for kind in kinds.chain(gone) {
            if !all.contains(&kind) {
                all.push(kind);
            }
        }
        let changes = all
            .into_iter()
            .map(|kind| Change::between(kind, self.items(kind), new.items(kind)));
        Changes(changes.filter(|change| !change.is_empty()).collect())
    }

    fn items(&self, kind: &str) -> &[Item] {
        let found = self.0.iter().find(|(known, _)| *known == kind);
        found.map_or(&[], |(_, items)| items)
    }
}

fn list<T>(
    kind: &'static str,
    entities: &[T],
    item: impl Fn(&T) -> Item,
) -> (&'static str, Vec<Item>) {
    (kind, entities.iter().map(item).collect())
}

/// Certificates are named after the first server name that they are shown for.
fn certificates(model: &Model) -> (&'static str, Vec<Item>) {
    let mut names: HashMap<usize, &str> = HashMap::new();
    for sni in &model.snis {
        names.entry(sni.certificate).or_insert(&sni.name);
    }
    let all = model.certificates.iter().enumerate();
    let items = all.map(|(ix, it)| item(&it.meta, names.get(&ix).copied(), []));
    ("certificates", items.collect())
}

/// An entity with what it refers to, which its own number leaves out.
fn item(meta: &Meta, name: Option<&str>, links: impl IntoIterator<Item = Option<Uuid>>) -> Item {
    give_way();
    let fold = |digest: u64, link: Option<Uuid>| {
        let (high, low) = link.unwrap_or_default().as_u64_pair();
        digest.rotate_left(1) ^ high.rotate_left(17) ^ low
    };
    Item {
        id: meta.id,
        label: name.map_or_else(|| meta.id.to_string(), str::to_owned),
        digest: links.into_iter().fold(meta.digest, fold),
    }
}

/// `cors on route list`, `cors` where it is set globally.
fn plugin(model: &Model, plugin: &Plugin) -> Item {
    let route = plugin.route.and_then(|ix| model.routes.get(ix));
    let service = plugin.service.and_then(|ix| model.services.get(ix));
    let consumer = plugin.consumer.and_then(|ix| model.consumers.get(ix));
    let scopes = [
        ("route", route.map(|it| (&it.meta, &it.name))),
        ("service", service.map(|it| (&it.meta, &it.name))),
        ("consumer", consumer.map(|it| (&it.meta, &it.username))),
    ];
    let mut label = plugin.name.clone();
    for (word, scope) in &scopes {
        if let Some((meta, name)) = scope {
            let id = meta.id.to_string();
            let joint = if label.contains(" on ") {
                " and"
            } else {
                " on"
            };
            label += &format!("{joint} {word} {}", name.as_ref().unwrap_or(&id));
        }
    }
    let links = scopes.map(|(_, scope)| scope.map(|(meta, _)| meta.id));
    item(&plugin.meta, Some(&label), links)
}

/// A credential is named after its consumer: its own names may be secrets.
fn credential_item(model: &Model, credential: &Credential) -> Item {
    let consumer = model.consumers.get(credential.consumer);
    let name = consumer.and_then(|it| it.username.as_deref().or(it.custom_id.as_deref()));
    let id = consumer.map(|it| it.meta.id);
    let label = name.map_or_else(|| id.unwrap_or_default().to_string(), str::to_owned);
    item(&credential.meta, Some(&label), [id])
}

impl Change {
    fn between(kind: &'static str, old: &[Item], new: &[Item]) -> Self {
        let before: HashMap<Uuid, u64> = old.iter().map(|it| (it.id, it.digest)).collect();
        let after: HashMap<Uuid, u64> = new.iter().map(|it| (it.id, it.digest)).collect();
        let labels = |items: &[Item], fits: &dyn Fn(&Item) -> bool| {
            let fitting = items.iter().filter(|item| fits(item));
            fitting.map(|item| item.label.clone()).collect::<Vec<_>>()
        };
        let stayed = |items: &[Item], other: &HashMap<Uuid, u64>| {
            let stayed = items.iter().filter(|item| other.contains_key(&item.id));
            stayed.map(|item| item.id).collect::<Vec<_>>()
        };
        Self {
            kind,
            added: labels(new, &|item| !before.contains_key(&item.id)),
            removed: labels(old, &|item| !after.contains_key(&item.id)),
            changed: labels(new, &|item| {
                before.get(&item.id).is_some_and(|was| *was != item.digest)
            }),
            reordered: kind == ORDERED && stayed(old, &after) != stayed(new, &before),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.count() == 0 && !self.reordered
    }

    fn count(&self) -> usize {
        self.added.len() + self.removed.len() + self.changed.len()
    }

    fn json(&self, most: usize) -> Value {
        let short = |names: &[String]| json!(names.iter().take(most).collect::<Vec<_>>());
        let left_out = |names: &[String]| names.len().saturating_sub(most);
        let lists = [&self.added, &self.removed, &self.changed];
        let mut json = json!({
            "added": short(&self.added),
            "removed": short(&self.removed),
            "changed": short(&self.changed),
        });
        if self.reordered {
            json["reordered"] = true.into();
        }
        let left_out: usize = lists.into_iter().map(|names| left_out(names)).sum();
        if left_out > 0 {
            json["left_out"] = left_out.into();
        }
        json
    }
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lists in which something differs.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// By kind; of each sort of change at most so many names.
    pub fn json(&self, most: usize) -> Value {
        let pair = |change: &Change| (change.kind.to_owned(), change.json(most));
        Value::Object(self.0.iter().map(pair).collect::<Map<_, _>>())
    }

    /// In one line: `routes +2 -1 ~3 (a, b, c, ..), consumers +1 (ann)`.
    pub fn summary(&self) -> String {
        const NAMES: usize = 3;
        if self.is_empty() {
            return "nothing but its text has changed".to_owned();
        }
        let parts = self.0.iter().map(|change| {
            let mut part = change.kind.to_owned();
            for (sign, names) in [
                ('+', &change.added),
                ('-', &change.removed),
                ('~', &change.changed),
            ] {
                if !names.is_empty() {
                    part += &format!(" {sign}{}", names.len());
                }
            }
            if change.reordered {
                part += " in another order";
            }
            let lists = [&change.added, &change.removed, &change.changed];
            let mut names: Vec<&str> = lists.into_iter().flatten().map(String::as_str).collect();
            if names.len() > NAMES {
                names.truncate(NAMES);
                names.push("..");
            }
            if !names.is_empty() {
                part += &format!(" ({})", names.join(", "));
            }
            part
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests;
