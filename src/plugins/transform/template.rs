//! Values with places that a request fills: `$(headers.x)`, with defaults by `or`.
//!
//! Kong runs what stands in `$(…)` as Lua. Here it is read once, when the file is checked, into a
//! list of lookups; whatever else Lua could say is refused there, with the place.
//!
//! Invariant: rendering cannot fail.

use std::borrow::Cow;

use super::pairs;
use crate::identity::Consumer;
use crate::message::{RequestHead, query};
use crate::router::Captures;

/// A text with places, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plugins) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The first of these that has a value; nothing if none has.
    First(Vec<Term>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Header(String),
    Query(String),
    Group(usize),
    Capture(String),
    Consumer(Trait),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trait {
    Id,
    Username,
    CustomId,
}

/// Why a text is no template.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::plugins) struct Problem {
    /// Where, in bytes from the begin of the text.
    pub(in crate::plugins) at: usize,
    /// What is wrong.
    pub(in crate::plugins) what: String,
}

/// What fills the places: the request as it came to the plugin.
pub(in crate::plugins) struct Source<'a> {
    /// Its head.
    pub(in crate::plugins) request: &'a RequestHead,
    /// What the route's expression captured.
    pub(in crate::plugins) captures: &'a Captures,
    /// Who the client is.
    pub(in crate::plugins) consumer: Option<&'a Consumer>,
}

impl Template {
    /// Reads a text.
    pub(in crate::plugins) fn compile(text: &str) -> Result<Template, Problem> {
        let mut parts = Vec::new();
        let mut rest = 0;
        while let Some(found) = text[rest..].find("$(") {
            if found > 0 {
                parts.push(Part::Text(text[rest..rest + found].to_owned()));
            }
            let mut reader = Reader {
                text,
                at: rest + found + 2,
            };
            parts.push(Part::First(reader.terms()?));
            rest = reader.at;
        }
        if rest < text.len() {
            parts.push(Part::Text(text[rest..].to_owned()));
        }
        Ok(Template(parts))
    }

    /// The text of a template without places.
    pub(in crate::plugins) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text in front of the first place.
    pub(in crate::plugins) fn start(&self) -> Option<&str> {
        match self.0.first() {
            Some(Part::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The texts around the places.
    pub(in crate::plugins) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::First(_) => None,
        })
    }

    /// The text with its places filled.
    pub(in crate::plugins) fn render(&self, source: &Source<'_>) -> String {
        self.render_with(source, |value, out| out.push_str(value))
    }

    /// The text, a path with perhaps a query, with its places filled so that no value begins or
    /// ends either, and none in the query ends its pair.
    pub(in crate::plugins) fn render_target(&self, source: &Source<'_>) -> String {
        self.render_with(source, |value, out| match out.contains('?') {
            true => pairs::encode(value, out),
            false => push_in_path(value, out),
        })
    }

    fn render_with(&self, source: &Source<'_>, push: impl Fn(&str, &mut String)) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::First(terms) => {
                    let value = terms.iter().find_map(|term| term.value(source));
                    push(&value.unwrap_or_default(), &mut out);
                }
            }
        }
        out
    }
}

/// Escapes what ends a path, and what is no triplet.
fn push_in_path(value: &str, out: &mut String) {
    for (at, char) in value.char_indices() {
        let is_triplet = || {
            let digits = value.as_bytes().get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        match char {
            '?' | '#' => pairs::encode(char.encode_utf8(&mut [0; 4]), out),
            '%' if !is_triplet() => out.push_str("%25"),
            char if char.is_ascii_control() => pairs::encode(char.encode_utf8(&mut [0; 4]), out),
            other => out.push(other),
        }
    }
}

impl Term {
    fn value<'a>(&'a self, source: &Source<'a>) -> Option<Cow<'a, str>> {
        match self {
            Term::Header(name) => header(source.request, name).map(String::from_utf8_lossy),
            Term::Query(name) => parameter(source.request, name),
            Term::Group(number) => source.captures.get(*number).map(Cow::from),
            Term::Capture(name) => source.captures.name(name).map(Cow::from),
            Term::Consumer(what) => what.of(source.consumer?).map(Cow::from),
            Term::Text(text) => Some(text.into()),
        }
    }
}

/// The first value of a field; `_` in the name stands for `-` where no field has the name itself.
fn header<'a>(request: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let headers = &request.headers;
    let dashed = || headers.get(&name.replace('_', "-"));
    headers.get(name).or_else(dashed)
}

/// The first value of a parameter, decoded; a flag without `=` is `true`, as in Kong.
fn parameter<'a>(request: &'a RequestHead, name: &str) -> Option<Cow<'a, str>> {
    let query = request.query();
    let mut pairs = query.strip_prefix('?').unwrap_or(query).split('&');
    let named = |raw: &&str| {
        let name_of = raw.split_once('=').map_or(*raw, |(name, _)| name);
        !raw.is_empty() && query::decode(name_of) == name
    };
    let raw = pairs.find(named)?;
    Some(
        raw.split_once('=')
            .map_or("true".into(), |(_, value)| query::decode(value)),
    )
}

impl Trait {
    fn of(self, consumer: &Consumer) -> Option<&str> {
        match self {
            Trait::Id => Some(&consumer.id),
            Trait::Username => consumer.username.as_deref(),
            Trait::CustomId => consumer.custom_id.as_deref(),
        }
    }
}

/// Reads what stands in one place.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// Terms with `or` between them, up to and with the closing bracket.
    fn terms(&mut self) -> Result<Vec<Term>, Problem> {
        let mut terms = vec![self.term()?];
        loop {
            self.skip_blanks();
            let before = self.at;
            if self.take(")") {
                return Ok(terms);
            }
            match self.word() {
                "or" => terms.push(self.term()?),
                _ if before == self.text.len() => {
                    return Err(problem(before, "the place is not closed by `)`"));
                }
                _ => return Err(self.unsupported(before)),
            }
        }
    }

    fn term(&mut self) -> Result<Term, Problem> {
        self.skip_blanks();
        let start = self.at;
        if self.rest().starts_with(['"', '\'']) {
            return Ok(Term::Text(self.string()?));
        }
        match self.word() {
            "headers" => Ok(Term::Header(self.key(start)?.text())),
            "query_params" => Ok(Term::Query(self.key(start)?.text())),
            "uri_captures" => Ok(match self.key(start)? {
                Key::Number(number) => Term::Group(number),
                Key::Text(name) => Term::Capture(name),
            }),
            "consumer" => self.consumer(start),
            "shared" => Err(problem(start, "no plugin here fills `shared`")),
            number if number.parse::<u64>().is_ok() => Ok(Term::Text(number.to_owned())),
            _ => Err(self.unsupported(start)),
        }
    }

    fn consumer(&mut self, start: usize) -> Result<Term, Problem> {
        let key = self.key(start)?.text();
        let what = match key.as_str() {
            "id" => Trait::Id,
            "username" => Trait::Username,
            "custom_id" => Trait::CustomId,
            _ => {
                let what = format!("a consumer has id, username and custom_id, not `{key}`");
                return Err(problem(start, what));
            }
        };
        Ok(Term::Consumer(what))
    }

    /// `.name`, `["name"]` or `[1]`.
    fn key(&mut self, start: usize) -> Result<Key, Problem> {
        if self.take(".") {
            return match self.word() {
                "" => Err(self.unsupported(start)),
                name => Ok(Key::Text(name.to_owned())),
            };
        }
        if !self.take("[") {
            return Err(self.unsupported(start));
        }
        self.skip_blanks();
        let key = match self.rest().starts_with(['"', '\'']) {
            true => Key::Text(self.string()?),
            false => match self.word().parse() {
                Ok(number) => Key::Number(number),
                Err(_) => return Err(self.unsupported(start)),
            },
        };
        self.skip_blanks();
        match self.take("]") {
            true => Ok(key),
            false => Err(self.unsupported(start)),
        }
    }

    /// A quoted text of Lua, on one line, with the escapes that need no number.
    fn string(&mut self) -> Result<String, Problem> {
        let start = self.at;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, quote)| quote);
        while let Some((offset, char)) = chars.next() {
            match char {
                _ if Some(char) == quote => {
                    self.at = start + offset + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, kept @ ('\\' | '"' | '\''))) => out.push(kept),
                    _ => return Err(problem(start + offset, "this escape is not supported")),
                },
                other => out.push(other),
            }
        }
        Err(problem(start, "the quote is not closed"))
    }

    /// A run of letters, digits and underscores.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn take(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Lua that is no lookup.
    fn unsupported(&self, at: usize) -> Problem {
        let shown: String = self.text[at..].chars().take(24).collect();
        problem(at, format!("not supported in a template: `{shown}`"))
    }
}

enum Key {
    Number(usize),
    Text(String),
}

impl Key {
    fn text(self) -> String {
        match self {
            Key::Number(number) => number.to_string(),
            Key::Text(text) => text,
        }
    }
}

fn problem(at: usize, what: impl Into<String>) -> Problem {
    Problem {
        at,
        what: what.into(),
    }
}

#[cfg(test)]
mod tests;
