//! YAML as most files are, without anchors, aliases, tags and merge keys, straight from the
//! parser's events: three times as fast as the general reader beside this one.
//!
//! Invariant: a tree that comes out equals the general reader's. Where there may be a doubt nothing
//! comes out, and what is wrong with a text is the general reader's to say.

use std::borrow::Cow;
use std::collections::HashSet;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::config::node::{Entry, MAX_DEPTH, MAX_NODES, Map, Node, Pos, Value};
use crate::util::background::give_way;

/// Reads a text; `None` leaves it to the general reader.
pub(super) fn parse(text: &str, scalar: impl Fn(&str) -> Option<Value>) -> Option<Node> {
    let options = granit_parser::options! { emit_comments: false };
    let mut tree = Tree {
        doubtful: scalar,
        open: Vec::new(),
        root: None,
        documents: 0,
        nodes: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.ok()?;
        tree.take(event, &span)?;
    }
    tree.root
}

/// What is read so far.
struct Tree<G> {
    /// Reads a scalar that may be a number.
    doubtful: G,
    /// The collections that are not at their end, outermost first.
    open: Vec<Open>,
    root: Option<Node>,
    documents: u32,
    nodes: usize,
}

enum Open {
    List(Pos, Vec<Node>),
    Map(Pos, Vec<Entry>, Option<(Pos, String)>),
}

impl<G: Fn(&str) -> Option<Value>> Tree<G> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        give_way();
        let at = pos(span);
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_, None) if self.documents == 0 => self.documents = 1,
            Event::Scalar(text, style, 0, None) => return self.scalar(at, text, style),
            Event::SequenceStart(_, 0, None) => return self.begin(Open::List(at, Vec::new())),
            Event::MappingStart(_, 0, None) => return self.begin(Open::Map(at, Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            _ => return None,
        }
        Some(())
    }

    fn begin(&mut self, collection: Open) -> Option<()> {
        if let Some(Open::Map(_, _, None)) = self.open.last() {
            // A key that is no scalar.
            return None;
        }
        self.open.push(collection);
        (self.open.len() < MAX_DEPTH).then_some(())
    }

    fn end(&mut self) -> Option<()> {
        let node = match self.open.pop()? {
            Open::List(at, list) => Node {
                at,
                value: Value::List(list),
            },
            Open::Map(at, entries, None) if are_distinct(&entries) => Node {
                at,
                value: Value::Map(Map::new(entries)),
            },
            Open::Map(..) => return None,
        };
        self.place(node)
    }

    fn scalar(&mut self, at: Pos, text: Cow<'_, str>, style: ScalarStyle) -> Option<()> {
        if let Some(Open::Map(_, _, key @ None)) = self.open.last_mut() {
            let is_simple = style != ScalarStyle::Plain || kind(&text) != Kind::Doubt;
            *key = is_simple.then(|| (at, text.into_owned()));
            return key.as_ref().map(|_| ());
        }
        let value = match style {
            ScalarStyle::Plain => self.plain(text)?,
            _ => Value::String(text.into_owned()),
        };
        self.place(Node { at, value })
    }

    fn plain(&self, text: Cow<'_, str>) -> Option<Value> {
        match kind(&text) {
            Kind::Text => Some(Value::String(text.into_owned())),
            Kind::Number => text.parse().ok().map(Value::Int),
            Kind::Doubt if text == "true" => Some(Value::Bool(true)),
            Kind::Doubt if text == "false" => Some(Value::Bool(false)),
            Kind::Doubt => (self.doubtful)(&text),
        }
    }

    fn place(&mut self, node: Node) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return None;
        }
        match self.open.last_mut() {
            Some(Open::List(_, list)) => list.push(node),
            Some(Open::Map(_, entries, key)) => {
                let (key_at, key) = key.take()?;
                entries.push(Entry { key, key_at, node });
            }
            None if self.root.is_none() => self.root = Some(node),
            None => return None,
        }
        Some(())
    }
}

fn pos(span: &Span) -> Pos {
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Pos::new(narrow(span.start.line()), narrow(span.start.col() + 1))
}

fn are_distinct(entries: &[Entry]) -> bool {
    if entries.len() <= 16 {
        let mut rest = entries;
        while let [first, others @ ..] = rest {
            if others.iter().any(|other| other.key == first.key) {
                return false;
            }
            rest = others;
        }
        return true;
    }
    let mut seen = HashSet::with_capacity(entries.len());
    entries.iter().all(|entry| seen.insert(&*entry.key))
}

/// What a plain scalar is at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Surely text.
    Text,
    /// Surely a whole number.
    Number,
    /// Perhaps something else.
    Doubt,
}

fn kind(text: &str) -> Kind {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else {
        return Kind::Doubt;
    };
    if bytes.iter().all(u8::is_ascii_digit) {
        let is_short = bytes.len() < 18 && (*first != b'0' || bytes.len() == 1);
        return if is_short { Kind::Number } else { Kind::Doubt };
    }
    // Every number and every word with a meaning is made of these.
    let is_number_like = |byte: &u8| byte.is_ascii_digit() || b"+-._:".contains(byte);
    let is_short_word = bytes.len() <= 9 && first.is_ascii_alphabetic();
    let doubtful = match first {
        // No number goes on like this, but a mark between documents would.
        b'+' | b'-' if !matches!(bytes.get(1), Some(b'0'..=b'9' | b'.')) => false,
        b'.' if bytes.get(1) == Some(&b'.') => false,
        b'0'..=b'9' | b'+' | b'-' | b'.' => bytes
            .iter()
            .all(|byte| is_number_like(byte) || byte.is_ascii_alphabetic()),
        b'~' => bytes.len() == 1,
        b'<' => text == "<<",
        _ if is_short_word => is_word(text),
        _ => false,
    };
    if doubtful { Kind::Doubt } else { Kind::Text }
}

/// Words that some reader or other takes for more than text.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "true", "false", "null", "none", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.eq_ignore_ascii_case("infinity")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{MAX_REPLAYED, general, scalar};
    use super::*;

    /// Whether the text was read here; it must then be what the general reader says.
    fn agrees(text: &str) -> bool {
        let Some(node) = parse(text, scalar) else {
            return false;
        };
        assert_eq!(general(text, MAX_REPLAYED), Ok(node), "{text:?}");
        true
    }

    #[test]
    fn ordinary_files_are_read_here() {
        for text in [
            "a: 1\nb: [x, 'y', \"z\\n\", 1.5, -3, 0x1f, 017, ~, null, true, yes, 12:30:45]\n",
            "services:\n- name: a\n  url: http://a:80\n  routes: [{paths: [/a, ~/b$]}]\n",
            "a:\nb: \nc: {d: , e: ~}\nf:\n- \n-\n",
            "text: |\n  two\n  lines\nfolded: >-\n  one\n  line\n",
            "--- # a comment\n\"quoted key\": .inf\n1: x\nip: 10.0.0.1\nport: 10.0.0.1:80\n...\n",
            "plain over\n two lines",
            // What looks like a mark between documents, or like a block, and is neither.
            " ---",
            ":>\n\n>",
            "a: 1_000\nb: +12\nc: 1e3\nd: 99999999999999999999\ne: 0.10\nf: 1.2.3\ng: 0o17\n",
        ] {
            assert!(agrees(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_ordinary_is_left_to_the_general_reader() {
        for text in [
            "",
            "a: &x 1\nb: *x\n",
            "a: !!str 1\n",
            "<<: {a: 1}\nb: 2\n",
            "a: 1\na: 2\n",
            "? [a]\n: 1\n",
            "--- 1\n--- 2\n",
            "a: [1\n",
            "a: 'x\n",
            "null: 1\n",
            "a: b: c\n",
        ] {
            assert!(!agrees(text), "{text}");
        }
        let deep = "[".repeat(40) + &"]".repeat(40);
        assert!(!agrees(&deep));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn both_readers_agree(text in "[ab10:,&*!|>'\"%~#\\-\\[\\]{}. \n]{0,40}") {
            agrees(&text);
        }

        #[test]
        fn both_readers_agree_on_scalars(word in "[0-9a-fA-FxXoO_.:+~ -]{1,9}|[tTfFyYnNoO][a-zA-Z]{0,4}") {
            agrees(&word);
            agrees(&format!("- {word}\n- [{word}]\n- k: {word}\n- {{{word}: 1}}\n"));
        }

        #[test]
        fn both_readers_agree_on_trees(lines in prop::collection::vec(("(  |- |    ){0,3}", "[abc]{1,2}", "(: ?|: [0-9]{1,3}|: '[a:]*'| )"), 0..12)) {
            let text: String = lines.iter().map(|(indent, key, value)| format!("{indent}{key}{value}\n")).collect();
            agrees(&text);
        }
    }
}
