//! Named fields in request bodies: urlencoded forms, JSON objects, multipart forms.
//!
//! Invariant: taking a field out leaves every other field as it was, byte for byte.

pub(super) mod json;
pub(super) mod multipart;

use std::borrow::Cow;

use crate::message::{BodyError, Known, Reply, RequestHead, query};

/// Longest body that is searched for a field, in bytes.
pub(super) const LIMIT: usize = 1024 * 1024;

/// How a body holds its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/x-www-form-urlencoded`.
    Urlencoded,
    /// `application/json`: the members of an object.
    Json,
    /// `multipart/form-data`, with its boundary.
    Multipart(String),
}

/// What a body says under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// Nothing.
    Absent,
    /// A text.
    Text(Cow<'a, str>),
    /// Several values.
    Repeated,
    /// Something that is no text: a number, `null`.
    Other,
}

impl Form {
    /// The form that the content type names, if it is one of ours.
    pub(super) fn of(request: &RequestHead) -> Option<Form> {
        let value = request.headers.known(Known::ContentType)?;
        Form::named(std::str::from_utf8(value).ok()?)
    }

    fn named(content_type: &str) -> Option<Form> {
        let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Some(Form::Urlencoded),
            "application/json" => Some(Form::Json),
            "multipart/form-data" => Some(Form::Multipart(parameter(parameters, "boundary")?)),
            _ => None,
        }
    }

    /// What the body says under this name; a body that is broken says nothing.
    pub(super) fn field<'a>(&self, body: &'a [u8], name: &str) -> Field<'a> {
        match self {
            Form::Urlencoded => {
                let body = as_query(&String::from_utf8_lossy(body));
                let named = query::pairs(&body).filter(|(key, _)| query::decode(key) == name);
                one(named.map(|(_, value)| Field::Text(query::decode(value).into_owned().into())))
            }
            Form::Json => json::field(body, name),
            Form::Multipart(boundary) => {
                let parts = multipart::parts(body, boundary);
                let named = parts.into_iter().filter(|part| part.name == name);
                one(named.map(|part| Field::Text(String::from_utf8_lossy(&body[part.value]))))
            }
        }
    }

    /// The body without the fields of this name; `None` if it has none.
    pub(super) fn without(&self, body: &[u8], name: &str) -> Option<Vec<u8>> {
        if self.field(body, name) == Field::Absent {
            return None;
        }
        match self {
            Form::Urlencoded => {
                let kept = query::without(&as_query(std::str::from_utf8(body).ok()?), name);
                Some(
                    kept.strip_prefix('?')
                        .unwrap_or_default()
                        .as_bytes()
                        .to_vec(),
                )
            }
            Form::Json => json::without(body, name),
            Form::Multipart(boundary) => Some(multipart::without(body, boundary, name)),
        }
    }
}

/// A form as a query: with a question mark of its own, since one in the form is part of a name.
fn as_query(body: &str) -> String {
    format!("?{body}")
}

/// The only field, or how many there are.
fn one<'a>(mut fields: impl Iterator<Item = Field<'a>>) -> Field<'a> {
    match (fields.next(), fields.next()) {
        (None, _) => Field::Absent,
        (Some(field), None) => field,
        (Some(_), Some(_)) => Field::Repeated,
    }
}

/// A parameter of a header value: `; name=token` or `; name="quoted"` (RFC 9110 section 5.6.6).
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        // A flag without a value may stand before the name.
        let key = key.rsplit(';').next().unwrap_or_default();
        if key.trim().eq_ignore_ascii_case(name) {
            return (!value.is_empty()).then_some(value);
        }
        rest = after;
    }
}

/// A quoted string behind its first quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// What a client is told whose body could not be read.
pub(super) fn unreadable(error: BodyError) -> Reply {
    match error {
        BodyError::TooLarge => Reply::gateway(413, "Payload too large"),
        BodyError::Timeout => Reply::gateway(408, "Request timeout"),
        BodyError::Malformed | BodyError::Closed => Reply::gateway(400, "Bad request"),
    }
}

#[cfg(test)]
mod tests;
