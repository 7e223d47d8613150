//! Plain scalars that Kong's YAML 1.1 reader takes for booleans and numbers, and ours for text.
//!
//! Invariant: quoted, block and tagged scalars stay text; the source decides, and each look at it
//! takes constant time, however long its lines are.

use std::collections::HashMap;

use super::node::{Node, Pos, Value};
use crate::util::background::give_way;

/// Turns the scalars of a tree into what Kong's reader makes of them.
pub(super) fn settle(node: &mut Node, text: &str) {
    Settle {
        text,
        lines: Vec::new(),
        columns: HashMap::new(),
    }
    .walk(node);
}

struct Settle<'t> {
    text: &'t str,
    /// Offsets of the lines, worked out at the first scalar in question.
    lines: Vec<usize>,
    /// Offsets of the characters of the lines looked at that are not ASCII alone.
    columns: HashMap<usize, Option<Vec<usize>>>,
}

/// How far back a tag is looked for, in bytes.
const TAG_REACH: usize = 200;

impl Settle<'_> {
    fn walk(&mut self, node: &mut Node) {
        give_way();
        match &mut node.value {
            Value::String(text) => {
                if let Some(other) = word(text).or_else(|| base60(text))
                    && self.is_plain(node.at, text)
                {
                    node.value = other;
                }
            }
            Value::List(list) => list.iter_mut().for_each(|item| self.walk(item)),
            Value::Map(map) => {
                map.entries_mut()
                    .iter_mut()
                    .for_each(|entry| self.walk(&mut entry.node));
            }
            _ => {}
        }
    }

    fn is_plain(&mut self, at: Pos, scalar: &str) -> bool {
        let Some(offset) = self.offset(at) else {
            return false;
        };
        let Some(from) = self.text.get(offset..) else {
            return false;
        };
        from.starts_with(scalar) && !self.is_announced(offset)
    }

    /// Whether a tag or the head of a block scalar stands before an offset.
    fn is_announced(&self, offset: usize) -> bool {
        let before = self
            .text
            .as_bytes()
            .get(offset.saturating_sub(TAG_REACH)..offset);
        let before = before.unwrap_or_default().trim_ascii_end();
        let start = before
            .iter()
            .rposition(u8::is_ascii_whitespace)
            .map_or(0, |space| space + 1);
        matches!(before.get(start), Some(b'!' | b'|' | b'>'))
    }

    fn offset(&mut self, at: Pos) -> Option<usize> {
        if self.lines.is_empty() {
            let breaks = self.text.match_indices('\n').map(|(offset, _)| offset + 1);
            self.lines = std::iter::once(0).chain(breaks).collect();
        }
        let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
        let start = *self.lines.get(line)?;
        let end = self.lines.get(line + 1).copied().unwrap_or(self.text.len());
        let columns = self.columns.entry(line).or_insert_with(|| {
            let line = self.text.get(start..end).filter(|line| !line.is_ascii())?;
            Some(line.char_indices().map(|(offset, _)| offset).collect())
        });
        match columns {
            Some(columns) => columns.get(column).map(|offset| start + offset),
            None => Some(start + column),
        }
    }
}

/// The boolean words of Kong's reader; YAML 1.1's `y` and `n` are not among them.
fn word(text: &str) -> Option<Value> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(Value::Bool(true)),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// A number written in base 60, as in `12:30:45` or `12:30.5`: what Kong's reader takes for one.
fn base60(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, digits)) => (whole, Some(digits)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (first, rest) = whole.split_once(':')?;
    let begins = !first.is_empty() && rest.starts_with(|c: char| c.is_ascii_digit());
    if !begins
        || !whole.split(':').all(digits)
        || fraction.is_some_and(|f| f.is_empty() || !digits(f))
    {
        return None;
    }
    let mut total = 0.0;
    for part in whole.split(':').filter(|part| !part.is_empty()) {
        total = total * 60.0 + part.parse::<f64>().ok()?;
    }
    if let Some(fraction) = fraction {
        total += format!("0.{fraction}").parse::<f64>().ok()?;
    }
    let total = if text.starts_with('-') { -total } else { total };
    let is_whole = fraction.is_none() && total.abs() < 9e15;
    Some(if is_whole {
        Value::Int(total as i64)
    } else {
        Value::Float(total)
    })
}
