//! What is wrong in a file: every problem with its YAML path, its place, and a hint where one helps.
//!
//! Invariant: a report only grows; the file is refused when it holds one error. The same report
//! goes to the terminal, to logs, and to whoever posted the file.

mod tree;

use std::fmt::Write as _;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;

use super::node::Pos;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file loads, and perhaps not as its author thinks.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Whether it refuses the file.
    pub severity: Severity,
    /// Path of the value in the file, as in `services[1].routes[0].strip_path`; empty for the
    /// whole file. Indexes count from 0.
    pub path: String,
    /// Where the value, or what lacks it, is written.
    pub at: Pos,
    /// What is wrong, in Kong's words where Kong has some.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Issue {
    /// Adds advice.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// Path and message in one line, without the place.
    #[must_use]
    pub fn line(&self) -> String {
        if self.path.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.path, self.message)
        }
    }
}

/// All problems of one file.
#[derive(Clone, Debug, Default)]
pub struct Report {
    file: String,
    text: Arc<str>,
    issues: Vec<Issue>,
    errors: usize,
}

impl Report {
    /// An empty report on a text; `file` is what the lines of the report begin with.
    #[must_use]
    pub fn new(file: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
            issues: Vec::new(),
            errors: 0,
        }
    }

    /// Name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text that it is about.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// Adds a problem.
    pub fn push(&mut self, issue: Issue) {
        self.errors += usize::from(issue.severity == Severity::Error);
        self.issues.push(issue);
    }

    /// Adds an error; the answer takes a hint.
    pub fn error(
        &mut self,
        at: Pos,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Issue {
        self.add(Severity::Error, at, path.into(), message.into())
    }

    /// Adds a warning; the answer takes a hint.
    pub fn warning(
        &mut self,
        at: Pos,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Issue {
        self.add(Severity::Warning, at, path.into(), message.into())
    }

    fn add(&mut self, severity: Severity, at: Pos, path: String, message: String) -> &mut Issue {
        let index = self.issues.len();
        self.push(Issue {
            severity,
            path,
            at,
            message,
            hint: None,
        });
        &mut self.issues[index]
    }

    /// Takes over the issues of another report on the same text.
    pub fn absorb(&mut self, other: Report) {
        self.errors += other.errors;
        self.issues.extend(other.issues);
    }

    /// Puts the issues into the order of the text, errors before warnings at the same place.
    pub fn sort(&mut self) {
        self.issues.sort_by_key(|issue| (issue.at, issue.severity));
    }

    /// Every issue, in the order found or, after [`Self::sort`], of the text.
    #[must_use]
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Issue> {
        self.issues
            .iter()
            .filter(|issue| issue.severity == Severity::Error)
    }

    /// The warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Issue> {
        self.issues
            .iter()
            .filter(|issue| issue.severity == Severity::Warning)
    }

    /// Whether the file may be used: no error so far.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.errors == 0
    }

    /// Number of errors so far: a step compares before and after to know whether it failed.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// One line an issue, hints on lines of their own:
    /// `file:line:col: error: services[1].port: expected an integer, got "80"`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for issue in &self.issues {
            self.write_line(&mut out, issue);
            if let Some(hint) = &issue.hint {
                let _ = writeln!(out, "  hint: {hint}");
            }
        }
        out
    }

    fn write_line(&self, out: &mut String, issue: &Issue) {
        out.push_str(&self.file);
        if issue.at.is_known() {
            let _ = write!(out, ":{}", issue.at);
        }
        let _ = writeln!(out, ": {}: {}", issue.severity.word(), issue.line());
    }

    /// For people: the same lines, each with the piece of the file it is about.
    #[must_use]
    pub fn to_terminal(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let lines: Vec<&str> = self.text.lines().collect();
        let mut out = String::new();
        for issue in &self.issues {
            self.write_line(&mut out, issue);
            match snippet(&lines, issue) {
                Some((source, span)) => {
                    out.push_str(&render(&renderer, issue, source, span));
                    out.push('\n');
                }
                None => {
                    if let Some(hint) = &issue.hint {
                        let _ = writeln!(out, "  hint: {hint}");
                    }
                }
            }
        }
        out
    }

    /// For machines: `{file, ok, errors: [{path, line, column, message, hint}], warnings, counts}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let errors: Vec<_> = self.errors().map(issue_json).collect();
        let warnings: Vec<_> = self.warnings().map(issue_json).collect();
        json!({
            "file": self.file,
            "ok": errors.is_empty(),
            "counts": { "errors": errors.len(), "warnings": warnings.len() },
            "errors": errors,
            "warnings": warnings,
        })
    }

    /// The errors alone in the form of [`Self::to_json`].
    #[must_use]
    pub fn errors_json(&self) -> serde_json::Value {
        self.errors().map(issue_json).collect()
    }
}

fn issue_json(issue: &Issue) -> serde_json::Value {
    let place = |n: u32| issue.at.is_known().then_some(n);
    json!({
        "path": issue.path,
        "line": place(issue.at.line),
        "column": place(issue.at.column),
        "message": issue.message,
        "hint": issue.hint,
    })
}

/// Longest line that is shown, in bytes: a minified file has only one line.
const MAX_LINE: usize = 400;

/// The line of an issue and the span of the value in it, in bytes.
fn snippet<'t>(lines: &[&'t str], issue: &Issue) -> Option<(&'t str, std::ops::Range<usize>)> {
    let index = usize::try_from(issue.at.line).ok()?.checked_sub(1)?;
    let line = *lines.get(index)?;
    let column = usize::try_from(issue.at.column).ok()?.saturating_sub(1);
    let start = line
        .char_indices()
        .nth(column)
        .map_or(line.len(), |(at, _)| at);
    let short = line.len() <= MAX_LINE;
    short.then(|| (line, start..start + token_len(&line[start..])))
}

/// Length in bytes of the scalar, or of the first character of what is not one.
fn token_len(rest: &str) -> usize {
    let Some(first) = rest.chars().next() else {
        return 0;
    };
    if first == '"' || first == '\'' {
        let inner = &rest[1..];
        return inner.find(first).map_or(rest.len(), |end| end + 2);
    }
    if matches!(first, '[' | '{' | '|' | '>' | '&' | '*') {
        return 1;
    }
    let end = rest.find([',', ']', '}', '#']).unwrap_or(rest.len());
    let end = rest.find(": ").map_or(end, |colon| end.min(colon));
    rest[..end]
        .trim_end()
        .trim_end_matches(':')
        .len()
        .max(first.len_utf8())
}

fn render(
    renderer: &Renderer,
    issue: &Issue,
    source: &str,
    span: std::ops::Range<usize>,
) -> String {
    let annotation = AnnotationKind::Primary
        .span(span)
        .label(issue.message.clone());
    let line = usize::try_from(issue.at.line).unwrap_or(usize::MAX);
    let snippet = Snippet::source(source)
        .line_start(line)
        .annotation(annotation);
    let mut group = annotate_snippets::Group::with_level(level(issue.severity)).element(snippet);
    if let Some(hint) = &issue.hint {
        group = group.element(Level::HELP.message(hint.clone()));
    }
    renderer.render(&[group])
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    }
}

/// The name among `candidates` that somebody who wrote `name` most likely meant.
#[must_use]
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).take(64).collect();
    let allowed = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, drop, replace, swap neighbours) that lead from one word to the other; `-` and
/// `_` count as the same letter.
fn distance(name: &[char], candidate: &str) -> usize {
    let fold = |c: char| if c == '-' { '_' } else { c };
    let a: Vec<char> = name.iter().copied().map(fold).collect();
    let b: Vec<char> = candidate
        .chars()
        .flat_map(char::to_lowercase)
        .map(fold)
        .collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

/// `did you mean ...?` for a name that is not among the candidates.
#[must_use]
pub fn did_you_mean<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    nearest(name, candidates).map(|found| format!("did you mean `{found}`?"))
}

#[cfg(test)]
mod tests;
