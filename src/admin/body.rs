//! The configuration out of the body of `POST /config`: bare, in a form or in a JSON field.

use crate::message::query;

/// Finds the configuration's text; the error is for the client.
pub(super) fn text(content_type: &str, body: &[u8]) -> Result<String, &'static str> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let text = match kind.trim().to_ascii_lowercase().as_str() {
        "multipart/form-data" => {
            let boundary = boundary(parameters).ok_or("the form has no boundary")?;
            let field = part(body, boundary).ok_or("the form has no field \"config\"")?;
            utf8(field)?.to_string()
        }
        "application/x-www-form-urlencoded" => form(utf8(body)?),
        "application/json" => json_field(utf8(body)?),
        _ => utf8(body)?.to_string(),
    };
    match text.trim().is_empty() {
        true => Err("expected a declarative configuration"),
        false => Ok(text),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|_| "the configuration is not UTF-8")
}

/// The field of an encoded form. Tools that send a file as it is often claim to send a form (curl
/// without a word on the type), so what cannot be one is the configuration itself.
fn form(text: &str) -> String {
    let encoded = !text.contains('\n');
    let field = text
        .split('&')
        .find_map(|pair| pair.strip_prefix("config="));
    match field {
        Some(value) if encoded => query::decode(value).into_owned(),
        _ => text.to_string(),
    }
}

/// The field of a JSON object, unless the object is the configuration itself. What is no JSON goes
/// on to the reader of configurations, who can say where it is wrong.
fn json_field(text: &str) -> String {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    let Ok(serde_json::Value::Object(object)) = parsed else {
        return text.to_string();
    };
    match object.get("config") {
        _ if object.contains_key("_format_version") => text.to_string(),
        Some(serde_json::Value::String(config)) => config.clone(),
        Some(config @ serde_json::Value::Object(_)) => config.to_string(),
        _ => text.to_string(),
    }
}

fn boundary(parameters: &str) -> Option<&str> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        let value = value.trim_matches('"');
        (name.eq_ignore_ascii_case("boundary") && !value.is_empty()).then_some(value)
    })
}

/// The body of the part that is named `config` (RFC 7578).
fn part<'a>(body: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let delimiter = format!("\r\n--{boundary}");
    let first = &delimiter.as_bytes()[2..];
    let mut rest = body.strip_prefix(first).or_else(|| {
        let at = memchr::memmem::find(body, delimiter.as_bytes())?;
        Some(&body[at + delimiter.len()..])
    })?;
    // Behind each delimiter: a line break and a part, or two dashes and the end.
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        let end = memchr::memmem::find(after, delimiter.as_bytes())?;
        // A part without fields begins with the empty line at once.
        let (head, content) = match memchr::memmem::find(&after[..end], b"\r\n\r\n") {
            Some(at) => (&after[..at], &after[at + 4..end]),
            None => (&after[..0], &after[..end]),
        };
        if is_config(head) {
            return Some(content);
        }
        rest = &after[end + delimiter.len()..];
    }
    None
}

fn is_config(head: &[u8]) -> bool {
    String::from_utf8_lossy(head).lines().any(|line| {
        let Some((name, value)) = line.split_once(':') else {
            return false;
        };
        name.eq_ignore_ascii_case("content-disposition")
            && value.split(';').any(|parameter| {
                let parameter = parameter.trim();
                parameter == "name=\"config\"" || parameter == "name=config"
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "_format_version: \"3.0\"\nservices: []\n";

    #[test]
    fn the_body_itself() {
        for kind in [
            "",
            "application/yaml",
            "text/plain; charset=utf-8",
            "application/x-yaml",
        ] {
            assert_eq!(text(kind, YAML.as_bytes()).unwrap(), YAML, "{kind}");
        }
        let json = r#"{"_format_version":"3.0","config":"x"}"#;
        assert_eq!(text("application/json", json.as_bytes()).unwrap(), json);
        assert_eq!(text("application/json", b"{broken").unwrap(), "{broken");
    }

    #[test]
    fn a_json_field() {
        let body = serde_json::json!({"config": YAML}).to_string();
        assert_eq!(text("application/json", body.as_bytes()).unwrap(), YAML);
        let body = br#"{"config":{"_format_version":"3.0"}}"#;
        let want = r#"{"_format_version":"3.0"}"#;
        assert_eq!(text("Application/JSON; charset=utf-8", body).unwrap(), want);
    }

    #[test]
    fn a_form_and_a_file_that_claims_to_be_one() {
        let kind = "application/x-www-form-urlencoded";
        let body = b"a=b&config=_format_version%3A+%223.0%22%0Aservices%3A+%5B%5D%0A";
        assert_eq!(text(kind, body).unwrap(), YAML);
        assert_eq!(text(kind, YAML.as_bytes()).unwrap(), YAML);
    }

    #[test]
    fn a_multipart_form() {
        let body = format!(
            "--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--xx\r\n\
             content-disposition: form-data; name=\"config\"; filename=\"kong.yml\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{YAML}\r\n--xx--\r\n"
        );
        for kind in [
            "multipart/form-data; boundary=xx",
            "multipart/form-data; boundary=\"xx\"",
        ] {
            assert_eq!(text(kind, body.as_bytes()).unwrap(), YAML);
        }
        for broken in [
            "",
            "--xx",
            "--xx--",
            "--xx\r\n",
            "--xx\r\n\r\n--xx--",
            "--xx\r\n\r\n\r\n--xx--",
        ] {
            let found = text("multipart/form-data; boundary=xx", broken.as_bytes());
            assert!(found.is_err(), "{broken:?}");
        }
        assert!(text("multipart/form-data", body.as_bytes()).is_err());
    }

    #[test]
    fn nothing_is_not_a_configuration() {
        assert!(text("", b" \n").is_err());
        assert!(text("", b"\xff").is_err());
    }
}
