//! Where a value is written, by its path in the file.
//!
//! Invariant: the text is read again only when somebody asks, which is when something is wrong.

use crate::config::{Node, Pos, Value, yaml};

/// Finds places in one text.
pub(super) struct Places<'t> {
    text: &'t str,
    top: Option<Option<Node>>,
}

impl<'t> Places<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, top: None }
    }

    /// Where the value with that path (`services[1].paths[0]`) stands; `otherwise` when the text
    /// has none there.
    pub(super) fn of(&mut self, path: &str, otherwise: Pos) -> Pos {
        let text = self.text;
        let top = self.top.get_or_insert_with(|| yaml::parse(text).ok());
        let found = top.as_ref().and_then(|top| walk(top, path));
        found.map_or(otherwise, |node| node.at)
    }
}

fn walk<'n>(top: &'n Node, path: &str) -> Option<&'n Node> {
    let mut node = top;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        node = match (&node.value, step.strip_suffix(']')) {
            (Value::List(items), Some(index)) => items.get(index.parse::<usize>().ok()?)?,
            (Value::Map(map), None) => map.get(step)?,
            _ => return None,
        };
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_path() {
        let mut places = Places::new("a:\n- b: 1\n  c: [x, yy]\n");
        let nowhere = Pos::new(9, 9);
        assert_eq!(places.of("a[0].c[1]", nowhere), Pos::new(3, 10));
        assert_eq!(places.of("a[0].b", nowhere), Pos::new(2, 6));
        for absent in ["a[1]", "a[0].d", "a.b", "[0]", "a[0].c[x]"] {
            assert_eq!(places.of(absent, nowhere), nowhere, "{absent}");
        }
        assert_eq!(Places::new("a: [").of("a", nowhere), nowhere);
    }
}
