//! Who is who: ids, names, references, duplicates.
//!
//! Invariant: an id that is not written is derived, so that the same entity has the same id after a
//! reload; Kong's derivation where Kong has one, else from the content.

use std::collections::HashMap;

use uuid::Uuid;

use super::known::{CredentialId, Known};
use super::node::{Node, Value};
use super::report::{Report, did_you_mean};
use super::rows::{Kind, Row};
use super::schema::{Fields, key_path};
use crate::util::background::give_way;

/// Kong's namespace for ids that are derived in a declarative file.
const NAMESPACE: Uuid = Uuid::from_u128(0xfd02_801f_0957_4a15_a55a_c8d9_606f_30b5);

/// Names past which no near name is looked for, and how often it is done at all: what is wrong in
/// a huge file must not take long to say.
const MAX_CANDIDATES: usize = 2000;
const MAX_HINTS: usize = 50;

/// The id that Kong derives for a key of an entity table.
#[must_use]
pub fn derived_id(table: &str, key: &str) -> Uuid {
    Uuid::new_v5(&Uuid::new_v5(&NAMESPACE, table.as_bytes()), key.as_bytes())
}

/// Every entity by name and by id.
pub(super) struct Links<'r, 'n> {
    rows: &'r [Row<'n>],
    known: &'r Known,
    names: HashMap<(Kind, &'n str), usize>,
    ids: HashMap<(Kind, Uuid), usize>,
    row_ids: Vec<Uuid>,
    scopes: HashMap<(&'n str, [Option<usize>; 3]), usize>,
    hints: usize,
}

impl<'r, 'n> Links<'r, 'n> {
    /// Finds names and ids, and reports what is declared twice.
    pub(super) fn new(rows: &'r [Row<'n>], known: &'r Known, report: &mut Report) -> Self {
        let mut links = Self {
            rows,
            known,
            names: HashMap::new(),
            ids: HashMap::new(),
            row_ids: Vec::with_capacity(rows.len()),
            scopes: HashMap::new(),
            hints: 0,
        };
        let repeated = links.unique_fields(report);
        let mut contents = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            let id = links.id_of(row, &mut contents);
            links.row_ids.push(id);
            links.claim_id(index, id, repeated.contains(&index), report);
        }
        links
    }

    /// The id of a row.
    pub(super) fn id(&self, row: usize) -> Uuid {
        self.row_ids.get(row).copied().unwrap_or_default()
    }

    /// Claims names and other unique values; the answer lists rows whose value is taken.
    fn unique_fields(&mut self, report: &mut Report) -> std::collections::HashSet<usize> {
        let mut seen: HashMap<(Kind, &str, &str), usize> = HashMap::new();
        let mut repeated = std::collections::HashSet::new();
        for (index, row) in self.rows.iter().enumerate() {
            give_way();
            for field in unique_fields_of(row.kind, self.known) {
                let Some(value) = row.text(field) else {
                    continue;
                };
                if row.kind.name_field() == Some(field) {
                    self.names.entry((row.kind, value)).or_insert(index);
                }
                let first = *seen.entry((row.kind, field, value)).or_insert(index);
                if first != index {
                    repeated.insert(index);
                    self.taken(
                        index,
                        first,
                        &format!("{field} set to '{value}'"),
                        field,
                        report,
                    );
                }
            }
        }
        repeated
    }

    fn taken(&self, row: usize, first: usize, what: &str, field: &str, report: &mut Report) {
        let (Some(row), Some(first)) = (self.rows.get(row), self.rows.get(first)) else {
            return;
        };
        let table = row.kind.table(self.known);
        let at = row.node.get(field).map_or(row.node.at, |node| node.at);
        let path = if row.node.get(field).is_some() {
            key_path(&row.path, field)
        } else {
            row.path.clone()
        };
        let message =
            format!("uniqueness violation: '{table}' entity with {what} already declared");
        let place = format!("the first is {}, line {}", first.path, first.node.at.line);
        report.error(at, path, message).hint(place);
    }

    fn claim_id(&mut self, index: usize, id: Uuid, reported: bool, report: &mut Report) {
        let Some(row) = self.rows.get(index) else {
            return;
        };
        let first = *self.ids.entry((row.kind, id)).or_insert(index);
        if first != index && !reported {
            let what = format!("primary key set to '{id}'");
            let field = if row.kind == Kind::Target {
                "target"
            } else {
                "id"
            };
            self.taken(index, first, &what, field, report);
        }
    }

    fn id_of(&self, row: &Row<'n>, contents: &mut HashMap<Uuid, u32>) -> Uuid {
        give_way();
        if let Some(id) = row.text("id").and_then(|id| Uuid::try_parse(id).ok()) {
            return id;
        }
        let table = row.kind.table(self.known);
        if let Some(key) = self.key_of(row, table) {
            return derived_id(table, &key);
        }
        let parent = row.parent.map(|(_, parent)| self.id(parent).to_string());
        let content = format!(
            "{}:{}",
            parent.unwrap_or_default(),
            content(row, self.known)
        );
        let id = derived_id(table, &content);
        // Equal rows are told apart by their order.
        let count = contents.entry(id).or_default();
        *count += 1;
        if *count == 1 {
            id
        } else {
            derived_id(table, &format!("{content}#{count}"))
        }
    }

    /// What Kong derives an id from, where it does.
    fn key_of(&self, row: &Row<'n>, table: &str) -> Option<String> {
        match row.kind {
            Kind::Service | Kind::Route | Kind::Upstream | Kind::Sni | Kind::Consumer => {
                row.text(row.kind.name_field()?).map(str::to_owned)
            }
            Kind::Target => Some(format!(
                "{table}:*:{}:{}",
                self.scope(row, "upstream"),
                row.text("target")?
            )),
            Kind::Plugin => {
                let scope = |field| self.scope(row, field);
                let (route, service, consumer) =
                    (scope("route"), scope("service"), scope("consumer"));
                Some(format!(
                    "{table}:*:{}:{route}:{service}:{consumer}",
                    row.text("name")?
                ))
            }
            Kind::Credential(index) => match self.known.credentials.get(index)?.id {
                CredentialId::Field(field) => Some(format!("{table}:*:{}", row.text(field)?)),
                CredentialId::ConsumerAndField(field) => {
                    let consumer = self.find(row, "consumer", Kind::Consumer)?;
                    Some(format!(
                        "{table}:*:{}:{}",
                        self.id(consumer),
                        row.text(field)?
                    ))
                }
                CredentialId::Content => None,
            },
            Kind::Certificate | Kind::CaCertificate => None,
        }
    }

    /// The parent's id when nested in it, else the reference as written, else nothing.
    fn scope(&self, row: &Row<'n>, field: &str) -> String {
        match row.parent {
            Some((implied, parent)) if implied == field => self.id(parent).to_string(),
            _ => row
                .node
                .get(field)
                .and_then(written)
                .map_or("", |(_, text)| text)
                .to_owned(),
        }
    }

    /// The row that a field refers to, silently.
    fn find(&self, row: &Row<'n>, field: &str, kind: Kind) -> Option<usize> {
        match row.parent {
            Some((implied, parent)) if implied == field => Some(parent),
            _ => self.lookup(kind, row.node.get(field)?),
        }
    }

    /// Name lookup wins over id lookup.
    fn lookup(&self, kind: Kind, node: &'n Node) -> Option<usize> {
        let (form, text) = written(node)?;
        let by_name = || self.names.get(&(kind, text)).copied();
        let by_id = || self.ids.get(&(kind, Uuid::try_parse(text).ok()?)).copied();
        match form {
            Form::Either => by_name().or_else(by_id),
            Form::Name => by_name(),
            Form::Id => by_id(),
        }
    }

    /// The entity that a field refers to, as an index of the model. `None` without a reference, and
    /// after an error.
    pub(super) fn resolve(
        &mut self,
        row: &Row<'n>,
        fields: &Fields<'n>,
        field: &'static str,
        kind: Kind,
        report: &mut Report,
    ) -> Option<usize> {
        let implied = row
            .parent
            .filter(|(implied, _)| *implied == field)
            .map(|(_, parent)| parent);
        let node = row.node.get(field).filter(|node| !node.is_null());
        let Some(node) = node else {
            return implied.and_then(|parent| self.index(parent));
        };
        // A value that is no reference at all was reported by its field.
        let (_, text) = written(node)?;
        let found = self.lookup(kind, node);
        if let Some(parent) = implied {
            if found != Some(parent) {
                let message = format!("value must be null: it is nested in another {field}");
                fields.error(report, field, message);
            }
            return self.index(parent);
        }
        if found.is_none() {
            self.dangling(fields, field, kind, text, report);
        }
        found.and_then(|found| self.index(found))
    }

    fn index(&self, row: usize) -> Option<usize> {
        self.rows.get(row).map(|row| row.index)
    }

    /// A list of ids, as `ca_certificates` of a service.
    pub(super) fn resolve_ids(
        &mut self,
        fields: &Fields<'n>,
        field: &'static str,
        kind: Kind,
        report: &mut Report,
    ) -> Option<Vec<usize>> {
        let texts = fields.opt_strings(field)?;
        let mut found = Vec::with_capacity(texts.len());
        for (position, text) in texts.iter().enumerate() {
            let id = Uuid::try_parse(text).ok();
            match id
                .and_then(|id| self.ids.get(&(kind, id)))
                .and_then(|row| self.index(*row))
            {
                Some(index) => found.push(index),
                None if id.is_some() => {
                    let message = dangling_message(field, text, kind.table(self.known));
                    let at = fields.at_item(field, position);
                    report.error(at, fields.path_item(field, position), message);
                }
                None => {}
            }
        }
        Some(found)
    }

    fn dangling(
        &mut self,
        fields: &Fields<'_>,
        field: &str,
        kind: Kind,
        text: &str,
        report: &mut Report,
    ) {
        let message = dangling_message(field, text, kind.table(self.known));
        self.hints += 1;
        let hint = if self.hints <= MAX_HINTS {
            let names = self
                .names
                .keys()
                .filter(|(k, _)| *k == kind)
                .map(|(_, name)| *name);
            let mut names: Vec<&str> = names.take(MAX_CANDIDATES).collect();
            names.sort_unstable();
            did_you_mean(text, names)
        } else {
            None
        };
        fields.error(report, field, message).hint = hint;
    }

    /// Reports a plugin that stands twice at one scope.
    pub(super) fn claim_scope(
        &mut self,
        row: usize,
        name: &'n str,
        scope: [Option<usize>; 3],
        report: &mut Report,
    ) {
        let first = *self.scopes.entry((name, scope)).or_insert(row);
        let ids_differ = self.id(first) != self.id(row);
        if first != row && ids_differ {
            let what = format!("primary key set to '{}'", self.id(first));
            self.taken(row, first, &what, "name", report);
        }
    }
}

fn dangling_message(field: &str, text: &str, table: &str) -> String {
    format!("invalid reference '{field}: {text}' (no such entry in '{table}')")
}

/// In which form a reference is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Either,
    Id,
    Name,
}

fn written(node: &Node) -> Option<(Form, &str)> {
    match &node.value {
        Value::String(text) => Some((Form::Either, text)),
        Value::Map(map) if map.len() == 1 => {
            let entry = map.entries().first()?;
            let form = if entry.key == "id" {
                Form::Id
            } else {
                Form::Name
            };
            Some((form, entry.node.as_str()?))
        }
        _ => None,
    }
}

fn unique_fields_of(kind: Kind, known: &Known) -> &'static [&'static str] {
    match kind {
        Kind::Service | Kind::Route | Kind::Upstream | Kind::Sni => &["name"],
        Kind::Consumer => &["username", "custom_id"],
        Kind::Plugin => &["instance_name"],
        Kind::CaCertificate => &["cert_digest"],
        Kind::Credential(index) => known
            .credentials
            .get(index)
            .map_or(&[], |table| table.unique),
        Kind::Target | Kind::Certificate => &[],
    }
}

/// What makes a row without a name itself: its own fields, without its children and its times.
fn content(row: &Row<'_>, known: &Known) -> serde_json::Value {
    let mut json = row.node.to_json();
    if let Some(object) = json.as_object_mut() {
        for (key, _, _) in row.kind.nested(known) {
            object.remove(key);
        }
        for key in ["created_at", "updated_at", "tags", "_comment", "_ignore"] {
            object.remove(key);
        }
    }
    json
}
