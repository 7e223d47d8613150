//! The parts of a multipart form as named values.
//!
//! Invariant: a part that no edit names stays as it was, byte for byte, and no value can end its own
//! part.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use super::Named;
use crate::plugins::form::multipart;

/// A multipart form in the five steps. As in Kong, nothing is ever appended to one.
pub(in crate::plugins) struct Parts<'a> {
    boundary: &'a str,
    pieces: Vec<Piece<'a>>,
    changed: bool,
}

/// A piece of the body, from one delimiter to the next. Those without a name are left alone.
struct Piece<'a> {
    name: Option<String>,
    value: Range<usize>,
    raw: Cow<'a, [u8]>,
}

impl<'a> Parts<'a> {
    /// The parts of a body that [`closed`] has ended; `None` if it does not keep to its boundary.
    pub(in crate::plugins) fn read(body: &'a [u8], boundary: &'a str) -> Option<Parts<'a>> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for part in multipart::parts(body, boundary) {
            if from < part.whole.start {
                pieces.push(Piece::other(&body[from..part.whole.start]));
            }
            from = part.whole.end;
            let start = part.whole.start;
            pieces.push(Piece {
                name: Some(part.name),
                value: part.value.start - start..part.value.end - start,
                raw: body[part.whole].into(),
            });
        }
        let rest = &body[from..];
        let end = memmem::rfind(rest, format!("--{boundary}--").as_bytes())?;
        if end > 0 {
            pieces.push(Piece::other(&rest[..end]));
        }
        pieces.push(Piece::other(&rest[end..]));
        Some(Parts {
            boundary,
            pieces,
            changed: false,
        })
    }

    /// The body, if it is another one now.
    pub(in crate::plugins) fn changed(&self) -> Option<Vec<u8>> {
        let raw: Vec<&[u8]> = self.pieces.iter().map(|piece| &*piece.raw).collect();
        self.changed.then(|| raw.concat())
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.is(name))
    }

    /// A part that holds a text and nothing else.
    fn simple(&self, name: &str, value: &str) -> Piece<'a> {
        let name = name.to_owned();
        let quoted = one_line(&name).replace('"', "%22");
        let mut raw = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{quoted}\"\r\n\r\n",
            self.boundary
        );
        let start = raw.len();
        // Delimiters begin lines: a value of one line holds none.
        match value.contains(self.boundary) {
            true => raw.push_str(&one_line(value)),
            false => raw.push_str(value),
        }
        let value = start..raw.len();
        raw.push_str("\r\n");
        Piece {
            name: Some(name),
            value,
            raw: raw.into_bytes().into(),
        }
    }
}

/// A body with its last delimiter: a client that left it out hides no part from an edit.
pub(in crate::plugins) fn closed<'a>(body: &'a [u8], boundary: &str) -> Cow<'a, [u8]> {
    let end = format!("--{boundary}--");
    let begins = memmem::find(body, &end.as_bytes()[..end.len() - 2]).is_some();
    let ends = memmem::find(body, end.as_bytes()).is_some();
    if ends || !begins && !body.is_empty() {
        return body.into();
    }
    let line: &[u8] = match body.is_empty() || body.ends_with(b"\r\n") {
        true => b"",
        false => b"\r\n",
    };
    [body, line, end.as_bytes(), b"\r\n"].concat().into()
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

impl<'a> Piece<'a> {
    fn other(raw: &'a [u8]) -> Piece<'a> {
        Piece {
            name: None,
            value: 0..0,
            raw: raw.into(),
        }
    }

    fn is(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    /// The same part under another name: its head is kept, file name and content type too.
    fn renamed(&self, from: &str, to: &str) -> Option<Piece<'a>> {
        let head = std::str::from_utf8(&self.raw[..self.value.start]).ok()?;
        let quoted = format!("name=\"{from}\"");
        let mut places = head.match_indices(&quoted);
        let (at, _) = places.find(|(at, _)| !head[..*at].ends_with('e'))?;
        let to_quoted = format!("name=\"{}\"", one_line(to).replace('"', "%22"));
        let rest = at + quoted.len();
        let raw = [
            &head.as_bytes()[..at],
            to_quoted.as_bytes(),
            &self.raw[rest..],
        ]
        .concat();
        let moved = |place: usize| place + to_quoted.len() - quoted.len();
        Some(Piece {
            name: Some(to.to_owned()),
            value: moved(self.value.start)..moved(self.value.end),
            raw: raw.into(),
        })
    }
}

impl Named for Parts<'_> {
    fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    fn remove(&mut self, name: &str) {
        let before = self.pieces.len();
        self.pieces.retain(|piece| !piece.is(name));
        self.changed |= self.pieces.len() < before;
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.remove(to);
        for at in 0..self.pieces.len() {
            let piece = &self.pieces[at];
            if piece.is(from) {
                let value = String::from_utf8_lossy(&piece.raw[piece.value.clone()]);
                let renamed = piece.renamed(from, to);
                self.pieces[at] = renamed.unwrap_or_else(|| self.simple(to, &value));
            }
        }
        self.changed = true;
    }

    fn set(&mut self, name: &str, value: &str) {
        let place = self.place(name);
        let at = place.unwrap_or(self.pieces.len().saturating_sub(1));
        self.remove(name);
        self.pieces.insert(at, self.simple(name, value));
        self.changed = true;
    }

    fn append(&mut self, _: &str, _: &str) {}
}
