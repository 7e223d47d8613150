//! JSON text to the same tree as YAML, with places.
//!
//! Invariant: strict RFC 8259 in, except that a text which is not JSON is left to the YAML reader.
//! JSON is nearly YAML, but not in tabs, surrogate pairs and long keys, hence a reader of its own.

use std::collections::HashSet;

use super::node::{Entry, MAX_DEPTH, MAX_NODES, Map, Node, Pos, Value};
use super::yaml::{SyntaxError, too_many};
use crate::util::background::give_way;

/// Why [`parse`] gave no tree.
pub enum Failure {
    /// Not JSON: it may be YAML.
    NotJson,
    /// JSON, but refused: YAML would refuse it as well.
    Final(SyntaxError),
}

/// Whether the text could be a JSON object or list.
pub fn looks_like(text: &str) -> bool {
    text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n'])
        .starts_with(['{', '['])
}

/// Reads one JSON value.
pub fn parse(text: &str) -> Result<Node, Failure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        next: 0,
        known: Pos::new(1, 1),
        known_at: 0,
        nodes: 0,
    };
    let node = reader.value(0)?;
    reader.skip_space();
    if reader.next == text.len() {
        Ok(node)
    } else {
        Err(Failure::NotJson)
    }
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    next: usize,
    /// A place that was worked out, and its offset: the next one is counted from there.
    known: Pos,
    known_at: usize,
    nodes: usize,
}

/// The keys of a map, to find one that is there already.
#[derive(Default)]
struct Seen(HashSet<String>);

/// So many are looked through one by one.
const FEW: usize = 16;

impl Seen {
    fn has(&mut self, entries: &[Entry], key: &str) -> bool {
        if entries.len() < FEW {
            return entries.iter().any(|entry| entry.key == key);
        }
        if self.0.is_empty() {
            self.0.extend(entries.iter().map(|entry| entry.key.clone()));
        }
        !self.0.insert(key.to_owned())
    }
}

type Read<T> = Result<T, Failure>;

impl Reader<'_> {
    fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.bytes.get(self.next) {
            self.next += 1;
            if *byte == b'\n' {
                self.known = Pos::new(self.known.line + 1, 1);
                self.known_at = self.next;
            }
        }
    }

    fn pos(&mut self) -> Pos {
        let passed = self.text.get(self.known_at..self.next).unwrap_or_default();
        let columns = u32::try_from(passed.chars().count()).unwrap_or(u32::MAX);
        self.known.column = self.known.column.saturating_add(columns);
        self.known_at = self.next;
        self.known
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.next) == Some(&byte);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(Failure::NotJson)
        }
    }

    fn value(&mut self, depth: usize) -> Read<Node> {
        give_way();
        self.skip_space();
        let at = self.pos();
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = too_many();
            return Err(Failure::Final(SyntaxError { at, message }));
        }
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Failure::Final(SyntaxError { at, message }));
        }
        let value = match self.bytes.get(self.next) {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(Failure::NotJson),
        };
        Ok(Node { at, value })
    }

    fn map(&mut self, depth: usize) -> Read<Value> {
        self.next += 1;
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = Seen::default();
        self.skip_space();
        if self.eat(b'}') {
            return Ok(Value::Map(Map::default()));
        }
        loop {
            self.skip_space();
            let key_at = self.pos();
            let key = self.string()?;
            if seen.has(&entries, &key) {
                let message = format!("duplicate mapping key: {key}");
                return Err(Failure::Final(SyntaxError {
                    at: key_at,
                    message,
                }));
            }
            self.skip_space();
            self.expect(b':')?;
            entries.push(Entry {
                key,
                key_at,
                node: self.value(depth + 1)?,
            });
            self.skip_space();
            if self.eat(b'}') {
                return Ok(Value::Map(Map::new(entries)));
            }
            self.expect(b',')?;
        }
    }

    fn list(&mut self, depth: usize) -> Read<Value> {
        self.next += 1;
        let mut list = Vec::new();
        self.skip_space();
        if self.eat(b']') {
            return Ok(Value::List(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            self.skip_space();
            if self.eat(b']') {
                return Ok(Value::List(list));
            }
            self.expect(b',')?;
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Read<Value> {
        if !self
            .text
            .get(self.next..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            return Err(Failure::NotJson);
        }
        self.next += word.len();
        Ok(value)
    }

    /// The raw token is found here; escapes are serde_json's to judge.
    fn string(&mut self) -> Read<String> {
        let start = self.next;
        self.expect(b'"')?;
        let mut escapes = false;
        loop {
            let rest = self.bytes.get(self.next..).unwrap_or_default();
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(Failure::NotJson)?;
            self.next += found + 1;
            if rest[found] == b'"' {
                break;
            }
            escapes = true;
            self.next += 1;
        }
        let token = self.text.get(start..self.next).ok_or(Failure::NotJson)?;
        if escapes {
            return serde_json::from_str(token).map_err(|_| Failure::NotJson);
        }
        match token.bytes().any(|byte| byte < 0x20) {
            true => Err(Failure::NotJson),
            false => Ok(token[1..token.len() - 1].to_owned()),
        }
    }

    fn number(&mut self) -> Read<Value> {
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|b| is_part(b)).count();
        let token = self
            .text
            .get(self.next..self.next + length)
            .ok_or(Failure::NotJson)?;
        self.next += length;
        // What needs no judging: most numbers are small and whole.
        let is_plain = token.bytes().all(|byte| byte.is_ascii_digit()) && !token.starts_with('0');
        if let (true, Ok(whole)) = (is_plain, token.parse()) {
            return Ok(Value::Int(whole));
        }
        let number: serde_json::Number =
            serde_json::from_str(token).map_err(|_| Failure::NotJson)?;
        match number.as_i64() {
            Some(whole) => Ok(Value::Int(whole)),
            None => number.as_f64().map(Value::Float).ok_or(Failure::NotJson),
        }
    }
}
