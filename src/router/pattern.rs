//! Regular expressions of routes: compiled, anchored, explained when they are wrong, and read for
//! the text that every match starts with, which is what the index sorts them by.
//!
//! Invariant: `literal` is a prefix of every path that the expression matches; where a simple
//! reading of the pattern leaves a doubt, it is empty.

use std::sync::Arc;

use regex::Regex;

use super::issue::Problem;

/// Names of capture groups, by number; group 0 has none.
pub(super) type GroupNames = Arc<[Option<Box<str>>]>;

/// A path expression (`~…` in the file).
#[derive(Debug)]
pub(super) struct PathRegex {
    /// Anchored at the start.
    pub(super) regex: Regex,
    /// Text that every matching path starts with.
    pub(super) literal: String,
    /// Every path that starts with `literal` matches: the expression is a prefix in disguise.
    pub(super) is_prefix: bool,
    /// Present when there are groups.
    pub(super) groups: Option<GroupNames>,
}

impl PathRegex {
    /// Compiles the pattern without its `~`.
    pub(super) fn new(pattern: &str) -> Result<Self, Problem> {
        if pattern.is_empty() {
            return Err(Problem::new("the regular expression after `~` is empty")
                .hint("write `/` for a prefix that every path has"));
        }
        let outline = Outline::of(pattern);
        let regex = anchored(pattern, &outline).map_err(|error| explain(pattern, &error))?;
        let (literal, rest) = literal_prefix(pattern, &outline);
        let names = regex.capture_names().map(|name| name.map(Box::from));
        let groups = (regex.captures_len() > 1).then(|| names.collect());
        Ok(Self {
            is_prefix: accepts_anything(&outline, rest),
            literal,
            groups,
            regex,
        })
    }

    /// Where the match at the start of the path ends.
    #[inline]
    pub(super) fn end_of_match(&self, path: &str) -> Option<usize> {
        self.regex.find(path).map(|found| found.end())
    }
}

/// Compiles a header expression; searched anywhere in the value.
pub(super) fn header_regex(pattern: &str) -> Result<regex::bytes::Regex, Problem> {
    regex::bytes::Regex::new(pattern).map_err(|error| explain(pattern, &error))
}

/// The pattern has to be valid by itself: `a)(b` must not be mended by the group around it.
fn anchored(pattern: &str, outline: &Outline) -> Result<Regex, regex::Error> {
    if outline.doubtful {
        Regex::new(pattern)?;
    }
    match Regex::new(&format!("^(?:{pattern})")) {
        // A comment at the end of an `x` pattern swallows the parenthesis.
        Err(_) if outline.doubtful => Regex::new(&format!("^(?:{pattern}\n)")),
        // Without our group the message shows what the file says.
        Err(error) => Err(Regex::new(pattern).err().unwrap_or(error)),
        done => done,
    }
}

fn explain(pattern: &str, error: &regex::Error) -> Problem {
    let text = error.to_string();
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        return Problem::new(format!("`{pattern}` compiles to too large a program"))
            .hint("use smaller counts in `{…}`");
    }
    let reason = text.rsplit("error: ").next().unwrap_or(&text).trim();
    let place = caret(&text).map_or(String::new(), |at| format!(" (at character {at})"));
    let problem = Problem::new(format!(
        "`{pattern}` is not a regular expression: {reason}{place}"
    ));
    if reason.contains("look-around") {
        problem.hint(
            "look-around is not available: match the wanted paths directly, and let a route with \
             a higher `regex_priority` take the exceptions",
        )
    } else if reason.contains("backreference") {
        problem.hint("back-references are not available: write the repeated part out")
    } else {
        problem.hint("the syntax is that of Rust's `regex` crate; a backslash escapes punctuation")
    }
}

/// The column, from 1, under which the error text draws its first caret.
fn caret(text: &str) -> Option<usize> {
    let line = text.lines().nth(2)?;
    let at = line.find('^')?;
    line[..at].trim().is_empty().then_some(at.checked_sub(3)?)
}

/// What a look over the whole pattern tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outline {
    /// There is a `|` outside of every group.
    alternatives: bool,
    /// Unbalanced, or in verbose mode (`x`), where text is not what it seems.
    doubtful: bool,
}

impl Outline {
    fn of(pattern: &str) -> Self {
        let mut outline = Self::default();
        let (mut depth, mut rest) = (0u32, pattern);
        while let Some(char) = rest.chars().next() {
            rest = &rest[char.len_utf8()..];
            match char {
                '\\' => rest = skip_char(rest),
                '[' => rest = skip_class(rest),
                '(' => {
                    depth += 1;
                    outline.doubtful |= sets_verbose(rest);
                }
                ')' if depth == 0 => outline.doubtful = true,
                ')' => depth -= 1,
                '|' if depth == 0 => outline.alternatives = true,
                _ => {}
            }
        }
        outline.doubtful |= depth > 0;
        outline
    }
}

fn skip_char(text: &str) -> &str {
    text.chars()
        .next()
        .map_or(text, |char| &text[char.len_utf8()..])
}

/// Skips the rest of a bracketed class; classes nest, and a `]` right at the start is literal.
fn skip_class(text: &str) -> &str {
    let mut rest = text.strip_prefix('^').unwrap_or(text);
    rest = rest.strip_prefix(']').unwrap_or(rest);
    while let Some(char) = rest.chars().next() {
        rest = &rest[char.len_utf8()..];
        match char {
            '\\' => rest = skip_char(rest),
            '[' => rest = skip_class(rest),
            ']' => return rest,
            _ => {}
        }
    }
    rest
}

/// Whether what follows a parenthesis is a flag group with `x` in it: `?x)`, `?i-x:`.
fn sets_verbose(text: &str) -> bool {
    let Some(flags) = text.strip_prefix('?') else {
        return false;
    };
    let end = flags
        .find(|c: char| !c.is_ascii_alphabetic() && c != '-')
        .unwrap_or(flags.len());
    flags[..end].contains('x') && flags[end..].starts_with([':', ')'])
}

/// The text that every match starts with, and the pattern behind it.
fn literal_prefix<'p>(pattern: &'p str, outline: &Outline) -> (String, &'p str) {
    let mut literal = String::new();
    if *outline != Outline::default() {
        return (literal, pattern);
    }
    let mut rest = pattern.strip_prefix('^').unwrap_or(pattern);
    while let Some((char, after)) = literal_char(rest) {
        if after.starts_with(['*', '+', '?', '{']) {
            break;
        }
        literal.push(char);
        rest = after;
    }
    (literal, rest)
}

/// A character that stands for itself, escaped or not.
fn literal_char(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    match chars.next()? {
        '\\' => match chars.next()? {
            '<' | '>' => None, // word boundaries
            char => char
                .is_ascii_punctuation()
                .then_some((char, chars.as_str())),
        },
        '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => None,
        char => Some((char, chars.as_str())),
    }
}

/// Whether the pattern behind the literal takes every rest of a path. A normalised path has no
/// line feed, so the dot takes any character.
fn accepts_anything(outline: &Outline, rest: &str) -> bool {
    const ANYTHING: [&str; 6] = ["", ".*", ".*$", "(.*)", "(.*)$", ".*?"];
    *outline == Outline::default() && ANYTHING.contains(&rest)
}

#[cfg(test)]
mod tests;
