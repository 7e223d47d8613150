//! Text to a tree in which every key and every value knows its line and column.
//!
//! Invariant: nothing here judges meaning, and the work is bounded by the size of the text: depth,
//! alias replay and node counts have limits, so hostile text costs an error and nothing else.
//!
//! Scalars are read as Kong's YAML 1.1 reader reads them: `yes`, `on`, `no`, `off` are booleans,
//! `014` is octal, `1_000` and `12:30:45` (base 60) are numbers. JSON is tried first.

mod plain;

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::json;
use super::node::{Entry, MAX_DEPTH, MAX_NODES, Map, Node, Pos, Value};
use super::scalars;
use crate::util::background::give_way;

/// Longest text that is read, in bytes.
pub const MAX_TEXT: usize = 64 * 1024 * 1024;
/// Nodes that aliases may add: a bomb costs about a second.
const MAX_REPLAYED: usize = 1_000_000;

/// Why a text is not YAML, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where the reader gave up.
    pub at: Pos,
    /// In one line, without the place.
    pub message: String,
}

/// Reads JSON or YAML.
///
/// # Errors
/// When the text is neither, has a key twice, or is beyond the limits of this module.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    if text.len() > MAX_TEXT {
        let message = format!("the text is longer than {MAX_TEXT} bytes");
        return Err(SyntaxError {
            at: Pos::new(1, 1),
            message,
        });
    }
    if json::looks_like(text) {
        match json::parse(text) {
            Ok(node) => return Ok(node),
            Err(json::Failure::Final(error)) => return Err(error),
            Err(json::Failure::NotJson) => {}
        }
    }
    parse_yaml(text, MAX_REPLAYED)
}

fn parse_yaml(text: &str, max_replayed: usize) -> Result<Node, SyntaxError> {
    let mut node = match plain::parse(text, scalar) {
        Some(node) => node,
        None => general(text, max_replayed)?,
    };
    scalars::settle(&mut node, text);
    Ok(node)
}

/// The reader for all of YAML, which knows what is wrong with a text.
fn general(text: &str, max_replayed: usize) -> Result<Node, SyntaxError> {
    serde_saphyr::from_str_with_options(text, options(max_replayed))
        .map_err(|error| syntax_error(&error))
}

/// What the general reader makes of a plain scalar.
fn scalar(text: &str) -> Option<Value> {
    let Raw(value) = serde_saphyr::from_str_with_options(text, options(0)).ok()?;
    let is_scalar = !matches!(value, Value::List(_) | Value::Map(_));
    is_scalar.then_some(value)
}

fn options(max_replayed: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_TEXT),
            max_events: 3 * MAX_NODES,
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_aliases: 1_000_000,
            max_anchors: 100_000,
            max_merge_keys: 1_000_000,
            max_recorded_anchor_events: max_replayed,
            max_total_scalar_bytes: MAX_TEXT,
            max_buffered_comment_events: 100_000,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: max_replayed,
        },
        emit_comments: false,
        duplicate_keys: DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
        strict_booleans: true,
        null_as_string: true,
        with_snippet: false,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
    }
}

fn pos(location: serde_saphyr::Location) -> Pos {
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Pos::new(narrow(location.line()), narrow(location.column()))
}

fn syntax_error(error: &serde_saphyr::Error) -> SyntaxError {
    use serde_saphyr::Error;
    use serde_saphyr::budget::BudgetBreach;
    let at = error.location().map_or(Pos::NOWHERE, pos);
    let mut innermost = error.without_snippet();
    while let Error::AliasError { error, .. } = innermost {
        innermost = error.without_snippet();
    }
    let message = match innermost {
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => {
            format!("nested deeper than {MAX_DEPTH} levels")
        }
        Error::Budget {
            breach: BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. },
            ..
        } => too_many(),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "the text is too large once its aliases are expanded".to_owned()
        }
        Error::MultipleDocuments { .. } => "more than one YAML document".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias inside its own anchor".into()
        }
        other => without_place(other.render().lines().next().unwrap_or_default()).to_owned(),
    };
    SyntaxError { at, message }
}

/// What is said of a text with too many values.
pub(super) fn too_many() -> String {
    format!("more than {MAX_NODES} values")
}

/// The reader's message without the place, which we print ourselves, and without its own advice.
fn without_place(message: &str) -> &str {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let message = match message
        .strip_prefix("line ")
        .and_then(|rest| rest.split_once(": "))
    {
        Some((_, rest)) => rest,
        None => message,
    };
    let message = message
        .find(" at line ")
        .map_or(message, |cut| &message[..cut]);
    message
        .split_once(", set DuplicateKeyPolicy")
        .map_or(message, |(kept, _)| kept)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        give_way();
        let Spanned {
            value: Raw(value),
            defined,
            ..
        } = Spanned::<Raw>::deserialize(deserializer)?;
        Ok(Self {
            at: pos(defined),
            value,
        })
    }
}

/// A value whose own place the surrounding [`Spanned`] knows.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw(Value::Bool(flag)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw(Value::Int(number)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw(
            i64::try_from(number).map_or(Value::Float(number as f64), Value::Int)
        ))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw(Value::Float(number)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw(Value::String(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Raw, E> {
        Ok(Raw(Value::String(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element::<Node>()? {
            list.push(node);
        }
        Ok(Raw(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node = access.next_value::<Node>()?;
            entries.push(Entry {
                key_at: pos(key.defined),
                key: key.value,
                node,
            });
        }
        Ok(Raw(Value::Map(Map::new(entries))))
    }
}

#[cfg(test)]
mod tests;
