//! Entries of lists such as `add.headers`: `name`, or `name:value`, as Kong splits them.

use super::fields::is_framing;
use super::template::Template;
use crate::config::schema::texts;
use crate::message::uri;

/// Name and value: the name ends at the first colon, the value begins behind all colons there.
pub(in crate::plugins) fn split(entry: &str) -> (&str, &str) {
    let (name, rest) = entry.split_at(entry.find(':').unwrap_or(entry.len()));
    (name, rest.trim_start_matches(':'))
}

/// Accepts a name alone; what stands behind a colon does not count.
pub(in crate::plugins) fn name(entry: &str) -> Result<(), String> {
    match split(entry).0 {
        "" => Err("the name is missing".to_owned()),
        _ => Ok(()),
    }
}

/// Accepts the name of a header that may be edited.
pub(in crate::plugins) fn header(entry: &str) -> Result<(), String> {
    let name = split(entry).0;
    texts::header_name(name).map_err(|_| format!("'{name}' is not a valid header"))?;
    match is_framing(name) {
        true => Err(format!(
            "{name} cannot be edited\nthe gateway writes it as the body needs it"
        )),
        false => Ok(()),
    }
}

/// Accepts `old:new`, both names of headers.
pub(in crate::plugins) fn header_rename(entry: &str) -> Result<(), String> {
    header(entry)?;
    header(split(entry).1)
}

/// Accepts `header:value`; the value may be missing, and then the entry does nothing.
pub(in crate::plugins) fn header_value(entry: &str) -> Result<(), String> {
    header(entry)?;
    match entry.contains(':') {
        true => Ok(()),
        false => Err(no_value(entry)),
    }
}

/// Accepts `header:template`.
pub(in crate::plugins) fn header_template(entry: &str) -> Result<(), String> {
    header_value(entry)?;
    template_of(entry)
}

/// Accepts `name:value`, the value perhaps empty.
pub(in crate::plugins) fn pair(entry: &str) -> Result<(), String> {
    name(entry)?;
    match entry.contains(':') {
        true => Ok(()),
        false => Err(no_value(entry)),
    }
}

/// Accepts `name:value`, the value not empty.
pub(in crate::plugins) fn pair_with_value(entry: &str) -> Result<(), String> {
    name(entry)?;
    match split(entry) {
        (_, "") => Err(no_value(entry)),
        _ => Ok(()),
    }
}

/// Accepts `name:template`, the template not empty.
pub(in crate::plugins) fn pair_template(entry: &str) -> Result<(), String> {
    pair_with_value(entry)?;
    template_of(entry)
}

/// Accepts a path with places.
pub(in crate::plugins) fn path_template(text: &str) -> Result<(), String> {
    let template = compiled(text, text)?;
    if template
        .start()
        .is_some_and(|start| !start.starts_with('/'))
    {
        return Err("should start with: /".to_owned());
    }
    let path = text.split('?').next().unwrap_or_default();
    let broken = template.literal().is_some() && uri::normalise(path.as_bytes()).is_err();
    if broken || template.texts().any(|text| text.contains('#')) {
        return Err("this is no path".to_owned());
    }
    Ok(())
}

fn no_value(entry: &str) -> String {
    format!("key '{}' has no value", split(entry).0)
}

fn template_of(entry: &str) -> Result<(), String> {
    compiled(entry, split(entry).1).map(|_| ())
}

/// Places are counted from the begin of the entry, so that they are found in the file.
fn compiled(entry: &str, value: &str) -> Result<Template, String> {
    Template::compile(value).map_err(|problem| {
        let before = &entry[..entry.len() - value.len() + problem.at];
        let character = before.chars().count() + 1;
        format!("{}, at character {character}\n{HINT}", problem.what)
    })
}

const HINT: &str = "a place is `$(headers.x)`, `$(query_params.x)`, `$(uri_captures.x)`, \
                    `$(uri_captures[1])` or `$(consumer.username)`; defaults follow by `or`";
