//! Values that come from the environment: `{vault://env/NAME}` and decK's `${{ env "DECK_NAME" }}`.
//!
//! Invariant: the environment is handed in; a variable that is missing refuses the file, so that no
//! gateway runs with an empty secret.

use super::node::{Node, Value};
use super::report::{Report, did_you_mean};
use super::schema::key_path;
use crate::util::background::give_way;

/// Looks a variable of the environment up.
pub type Env<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Names that a vault's prefix may not have.
const STRATEGIES: &[&str] = &["env", "aws", "azure", "gcp", "hcv", "conjur"];

/// A vault's prefix.
pub(super) fn prefix(text: &str) -> Result<(), String> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.bytes().all(letters) {
        return Err(format!("invalid value: {text}"));
    }
    if STRATEGIES.contains(&text) {
        return Err(format!("must not be one of: {}", STRATEGIES.join(", ")));
    }
    Ok(())
}

/// Replaces every reference in the tree; the answer names the variables that were used.
pub(super) fn resolve(top: &mut Node, env: &Env<'_>, report: &mut Report) -> Vec<String> {
    let vaults = vaults(top);
    let mut resolver = Resolver {
        env,
        vaults,
        report,
        used: Vec::new(),
    };
    resolver.walk(top, "", false);
    resolver.used.sort();
    resolver.used.dedup();
    resolver.used
}

/// Prefixes of the file's vaults with the prefixes of their variables.
fn vaults(top: &Node) -> Vec<(String, String)> {
    let list = top
        .get("vaults")
        .and_then(Node::as_list)
        .unwrap_or_default();
    let pair = |vault: &Node| {
        let prefix = vault.get("prefix")?.as_str()?.to_owned();
        let config = vault.get("config").and_then(|config| config.get("prefix"));
        Some((
            prefix,
            config.and_then(Node::as_str).unwrap_or_default().to_owned(),
        ))
    };
    list.iter().filter_map(pair).collect()
}

struct Resolver<'a, 'e> {
    env: &'a Env<'e>,
    vaults: Vec<(String, String)>,
    report: &'a mut Report,
    used: Vec<String>,
}

/// Why a reference has no value: message and hint.
type Unresolved = (String, Option<String>);

impl Resolver<'_, '_> {
    fn walk(&mut self, node: &mut Node, path: &str, in_config: bool) {
        give_way();
        match &mut node.value {
            Value::String(text) => {
                if let Some(value) = self.replace(text) {
                    match value {
                        Ok(value) => node.value = value,
                        Err((message, hint)) => {
                            self.report.error(node.at, path, message).hint = hint
                        }
                    }
                }
            }
            Value::List(list) => {
                for (index, item) in list.iter_mut().enumerate() {
                    self.walk(item, &format!("{path}[{index}]"), in_config);
                }
            }
            Value::Map(map) => {
                for entry in map.entries_mut() {
                    let literal = matches!(&*entry.key, "_comment" | "_ignore" | "_info")
                        || (entry.key == "tags" && !in_config);
                    if !literal {
                        let in_config = in_config || entry.key == "config";
                        self.walk(&mut entry.node, &key_path(path, &entry.key), in_config);
                    }
                }
            }
            _ => {}
        }
    }

    /// `None` when the text is no reference.
    fn replace(&mut self, text: &str) -> Option<Result<Value, Unresolved>> {
        if let Some(inner) = text
            .strip_prefix("{vault://")
            .and_then(|t| t.strip_suffix('}'))
        {
            return Some(self.vault(inner).map(Value::String));
        }
        text.contains("${{").then(|| self.templates(text))
    }

    fn variable(&mut self, name: &str) -> Result<String, Unresolved> {
        let value = (self.env)(name);
        self.used.push(name.to_owned());
        value.ok_or_else(|| (format!("environment variable '{name}' is not set"), None))
    }

    /// `<vault>/<resource>[/<key>][?prefix=P][#<version>]`
    fn vault(&mut self, reference: &str) -> Result<String, Unresolved> {
        let (rest, version) = match reference.split_once('#') {
            Some((rest, version)) => (rest, version),
            None => (reference, "1"),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = rest.splitn(3, '/');
        let (vault, resource) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let key = parts.next();
        if resource.is_empty() {
            return Err((format!("invalid reference '{{vault://{reference}}}'"), None));
        }
        let own = self.vault_prefix(vault)?;
        let prefix = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("prefix="))
            .unwrap_or(&own);
        let mut name = format!("{prefix}{resource}")
            .replace('-', "_")
            .to_uppercase();
        if version == "2" {
            name.push_str("_PREVIOUS");
        }
        let value = self.variable(&name)?;
        match key {
            Some(key) => pick(&name, &value, key),
            None => Ok(value),
        }
    }

    fn vault_prefix(&self, vault: &str) -> Result<String, Unresolved> {
        if vault == "env" {
            return Ok(String::new());
        }
        let found = self.vaults.iter().find(|(prefix, _)| prefix == vault);
        found.map(|(_, prefix)| prefix.clone()).ok_or_else(|| {
            let known = self
                .vaults
                .iter()
                .map(|(prefix, _)| &**prefix)
                .chain(["env"]);
            (
                format!("vault not found ({vault})"),
                did_you_mean(vault, known),
            )
        })
    }

    fn templates(&mut self, text: &str) -> Result<Value, Unresolved> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (body, tail) = after.split_once("}}").ok_or_else(|| unreadable(text))?;
            let value = self.template(body).ok_or_else(|| unreadable(text))??;
            if before.is_empty() && tail.is_empty() && out.is_empty() {
                return Ok(value);
            }
            out.push_str(before);
            out.push_str(&scalar_text(&value));
            rest = tail;
        }
        out.push_str(rest);
        Ok(Value::String(out))
    }

    /// ` env "DECK_NAME" | helper `; `None` when it is something else.
    fn template(&mut self, body: &str) -> Option<Result<Value, Unresolved>> {
        let mut steps = body.split('|').map(str::trim);
        let quoted = steps.next()?.strip_prefix("env")?.trim();
        let name = quoted.strip_prefix('"')?.strip_suffix('"')?;
        if !name.starts_with("DECK_") {
            let hint = Some(format!("call it DECK_{name}"));
            return Some(Err((
                format!("environment variable '{name}' must begin with DECK_"),
                hint,
            )));
        }
        let text = match self.variable(name) {
            Ok(text) => text,
            Err(error) => return Some(Err(error)),
        };
        let mut value = Value::String(text);
        for step in steps {
            value = match convert(&value, step)? {
                Some(value) => value,
                None => {
                    let message = format!("environment variable '{name}' does not fit '{step}'");
                    return Some(Err((message, None)));
                }
            };
        }
        Some(Ok(value))
    }
}

fn unreadable(text: &str) -> Unresolved {
    let hint = "only ${{ env \"DECK_NAME\" }} with toInt, toFloat, toBool or indent is understood";
    (
        format!("invalid expression '{text}'"),
        Some(hint.to_owned()),
    )
}

/// Outer `None`: no such helper; inner: the text is not of that type.
fn convert(value: &Value, helper: &str) -> Option<Option<Value>> {
    let text = scalar_text(value);
    let text = text.trim();
    match helper.split_whitespace().next()? {
        "toInt" => Some(text.parse().ok().map(Value::Int)),
        "toFloat" => Some(text.parse().ok().map(Value::Float)),
        "toBool" => Some(text.parse().ok().map(Value::Bool)),
        // The tree has no indentation to keep.
        "indent" => Some(Some(value.clone())),
        _ => None,
    }
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// A text field of the JSON object that a variable holds.
fn pick(name: &str, value: &str, key: &str) -> Result<String, Unresolved> {
    let object: Option<serde_json::Value> = serde_json::from_str(value).ok();
    let field = object
        .as_ref()
        .and_then(|object| object.get(key))
        .and_then(|field| field.as_str());
    field.map(str::to_owned).ok_or_else(|| {
        (
            format!("environment variable '{name}' is no JSON object with a text '{key}'"),
            None,
        )
    })
}
