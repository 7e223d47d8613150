//! Every entity of the file in one flat list, whether it is written flat or nested.
//!
//! Invariant: a parent stands before its children, and the entities of one kind stand in the order
//! that decides between otherwise equal routes: nested ones, parent by parent, before flat ones.

use super::entities;
use super::known::Known;
use super::node::{Node, Value};
use super::report::Report;
use super::schema::{Record, key_path};
use crate::util::background::give_way;

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Certificate,
    CaCertificate,
    Service,
    Route,
    Upstream,
    Target,
    Consumer,
    Plugin,
    Sni,
    /// Index into [`Known::credentials`].
    Credential(usize),
}

/// A list inside an entity: its key, what its items are, the field of theirs that it implies.
type Nested = (&'static str, Kind, &'static str);

/// The lists of the top level, in the order in which they are read.
pub(super) const TABLES: [(&str, Kind); 9] = [
    ("certificates", Kind::Certificate),
    ("ca_certificates", Kind::CaCertificate),
    ("services", Kind::Service),
    ("routes", Kind::Route),
    ("upstreams", Kind::Upstream),
    ("targets", Kind::Target),
    ("consumers", Kind::Consumer),
    ("plugins", Kind::Plugin),
    ("snis", Kind::Sni),
];

impl Kind {
    /// Its key at the top level, which is its name in messages.
    pub(super) fn table(self, known: &Known) -> &'static str {
        if let Self::Credential(index) = self {
            return known.credentials.get(index).map_or("", |table| table.key);
        }
        TABLES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(key, _)| key)
    }

    /// What it may hold.
    pub(super) fn record(self, known: &Known) -> &'static Record {
        match self {
            Self::Certificate => &entities::CERTIFICATE,
            Self::CaCertificate => &entities::CA_CERTIFICATE,
            Self::Service => &entities::SERVICE,
            Self::Route => &entities::ROUTE,
            Self::Upstream => &entities::UPSTREAM,
            Self::Target => &entities::TARGET,
            Self::Consumer => &entities::CONSUMER,
            Self::Plugin => &entities::PLUGIN,
            Self::Sni => &entities::SNI,
            Self::Credential(index) => known
                .credentials
                .get(index)
                .map_or(&entities::CONSUMER, |table| table.record),
        }
    }

    /// The field by which others refer to it, besides `id`.
    pub(super) fn name_field(self) -> Option<&'static str> {
        match self {
            Self::Service | Self::Route | Self::Upstream | Self::Sni => Some("name"),
            Self::Consumer => Some("username"),
            _ => None,
        }
    }

    /// The lists inside it.
    pub(super) fn nested(self, known: &Known) -> Vec<Nested> {
        match self {
            Self::Service => {
                vec![
                    ("routes", Self::Route, "service"),
                    ("plugins", Self::Plugin, "service"),
                ]
            }
            Self::Route => vec![("plugins", Self::Plugin, "route")],
            Self::Upstream => vec![("targets", Self::Target, "upstream")],
            Self::Certificate => vec![
                ("snis", Self::Sni, "certificate"),
                ("services", Self::Service, "client_certificate"),
                ("upstreams", Self::Upstream, "client_certificate"),
            ],
            Self::Consumer => {
                let tables = known.credentials.iter().enumerate();
                let credential = |(index, table): (usize, &super::known::KnownCredential)| {
                    (table.key, Self::Credential(index), "consumer")
                };
                let mut nested: Vec<Nested> = tables.map(credential).collect();
                nested.push(("plugins", Self::Plugin, "consumer"));
                nested
            }
            _ => Vec::new(),
        }
    }
}

/// One entity as written.
#[derive(Debug)]
pub(super) struct Row<'n> {
    /// What it is.
    pub(super) kind: Kind,
    /// Its text.
    pub(super) node: &'n Node,
    /// Its path in the file.
    pub(super) path: String,
    /// The entity it is nested in, and the field of its own that this implies.
    pub(super) parent: Option<(&'static str, usize)>,
    /// Its position among the rows of its kind: its index in the model.
    pub(super) index: usize,
}

impl<'n> Row<'n> {
    /// A text field as written.
    pub(super) fn text(&self, field: &str) -> Option<&'n str> {
        self.node.get(field)?.as_str()
    }
}

/// Lists every entity.
pub(super) fn gather<'n>(top: &'n Node, known: &Known, report: &mut Report) -> Vec<Row<'n>> {
    let mut gatherer = Gatherer {
        known,
        report,
        rows: Vec::new(),
        counts: Default::default(),
    };
    for (key, kind) in TABLES {
        gatherer.list(top, key, kind, None, "");
    }
    for (index, table) in known.credentials.iter().enumerate() {
        gatherer.list(top, table.key, Kind::Credential(index), None, "");
    }
    gatherer.rows
}

struct Gatherer<'a, 'n> {
    known: &'a Known,
    report: &'a mut Report,
    rows: Vec<Row<'n>>,
    counts: std::collections::HashMap<Kind, usize>,
}

impl<'n> Gatherer<'_, 'n> {
    fn list(
        &mut self,
        holder: &'n Node,
        key: &str,
        kind: Kind,
        parent: Option<(&'static str, usize)>,
        path: &str,
    ) {
        let Some(node) = holder.get(key).filter(|node| !node.is_null()) else {
            return;
        };
        let path = key_path(path, key);
        let list = match &node.value {
            Value::List(list) => list,
            Value::Map(map) if map.is_empty() => return,
            _ => {
                self.report
                    .error(node.at, path, "expected an array")
                    .hint("put a list here");
                return;
            }
        };
        for (index, node) in list.iter().enumerate() {
            self.entity(node, kind, parent, format!("{path}[{index}]"));
        }
    }

    fn entity(
        &mut self,
        node: &'n Node,
        kind: Kind,
        parent: Option<(&'static str, usize)>,
        path: String,
    ) {
        give_way();
        // Credentials of all tables share one list of the model.
        let group = match kind {
            Kind::Credential(_) => Kind::Credential(0),
            other => other,
        };
        let count = self.counts.entry(group).or_default();
        let index = *count;
        *count += 1;
        let row = self.rows.len();
        self.rows.push(Row {
            kind,
            node,
            path: path.clone(),
            parent,
            index,
        });
        for (key, child, field) in kind.nested(self.known) {
            self.list(node, key, child, Some((field, row)), &path);
        }
    }
}

/// Runs over every entity of the tree, parents first.
pub(super) fn each_mut(top: &mut Node, known: &Known, run: &mut impl FnMut(Kind, &mut Node, &str)) {
    for (key, kind) in TABLES {
        each_in(top, key, kind, "", known, run);
    }
}

fn each_in(
    holder: &mut Node,
    key: &str,
    kind: Kind,
    path: &str,
    known: &Known,
    run: &mut impl FnMut(Kind, &mut Node, &str),
) {
    let Value::Map(map) = &mut holder.value else {
        return;
    };
    let Some(Value::List(list)) = map.get_mut(key).map(|node| &mut node.value) else {
        return;
    };
    let path = key_path(path, key);
    for (index, node) in list.iter_mut().enumerate() {
        give_way();
        let path = format!("{path}[{index}]");
        run(kind, node, &path);
        for (key, kind, _) in kind.nested(known) {
            each_in(node, key, kind, &path, known, run);
        }
    }
}
