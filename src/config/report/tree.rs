//! Errors as the tree that Kong's Admin API answers with.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Issue, Report};

/// One step of a path.
enum Step {
    Key(String),
    Index(usize),
}

/// The tree while it grows.
#[derive(Default)]
struct Branch {
    messages: Vec<String>,
    /// What concerns the whole of it: an entity, not a field.
    whole: bool,
    fields: BTreeMap<String, Branch>,
    items: BTreeMap<usize, Branch>,
}

impl Report {
    /// The errors in Kong's `fields` form: keys and lists as in the file, the message at the leaf,
    /// what concerns a whole entity in a list under `@entity`.
    #[must_use]
    pub fn fields_json(&self) -> Value {
        let mut root = Branch::default();
        for issue in self.errors() {
            root.add(issue);
        }
        match root.to_json() {
            Value::Null => Value::Object(Map::new()),
            tree => tree,
        }
    }
}

impl Branch {
    fn add(&mut self, issue: &Issue) {
        let mut branch = self;
        for step in steps(&issue.path) {
            branch = match step {
                Step::Key(key) => branch.fields.entry(key).or_default(),
                Step::Index(index) => branch.items.entry(index).or_default(),
            };
        }
        branch.whole |= issue.path.is_empty() || issue.path.ends_with(']');
        branch.messages.push(issue.message.clone());
    }

    fn to_json(&self) -> Value {
        let leaf = self.fields.is_empty() && self.items.is_empty() && !self.whole;
        if leaf {
            return match self.messages.as_slice() {
                [] => Value::Null,
                [one] => Value::from(one.as_str()),
                more => Value::from(more),
            };
        }
        if self.fields.is_empty() && self.messages.is_empty() {
            let length = self.items.keys().next_back().map_or(0, |last| last + 1);
            let item = |index| self.items.get(&index).map_or(Value::Null, Branch::to_json);
            return (0..length).map(item).collect();
        }
        let mut map: Map<String, Value> = self
            .fields
            .iter()
            .map(|(key, branch)| (key.clone(), branch.to_json()))
            .collect();
        for (index, branch) in &self.items {
            map.insert((index + 1).to_string(), branch.to_json());
        }
        if !self.messages.is_empty() {
            map.insert("@entity".to_owned(), Value::from(self.messages.as_slice()));
        }
        Value::Object(map)
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(inner) = rest.strip_prefix("[\"") {
            let end = inner.find("\"]").unwrap_or(inner.len());
            steps.push(Step::Key(inner[..end].to_owned()));
            rest = inner.get(end + 2..).unwrap_or_default();
        } else if let Some(inner) = rest.strip_prefix('[') {
            let (number, after) = inner.split_once(']').unwrap_or((inner, ""));
            steps.push(Step::Index(number.parse().unwrap_or(0)));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    steps
}
