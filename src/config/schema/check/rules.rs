//! What must hold between the fields of a record.

use crate::config::report::Report;
use crate::config::schema::{Fields, Is, Rule};

/// Reports a rule that does not hold.
pub(super) fn holds_or_report(rule: &Rule, fields: &Fields<'_>, report: &mut Report) {
    let given = |names: &[&str]| names.iter().filter(|name| fields.has(name)).count();
    let broken = |report: &mut Report, message: &str, names: &[&str]| {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        fields.error(report, "", format!("{message}: {}", quoted.join(", ")));
    };
    match rule {
        Rule::AtLeastOne(names) if given(names) == 0 => {
            broken(
                report,
                "at least one of these fields must be non-empty",
                names,
            );
        }
        Rule::ExactlyOne(names) if given(names) != 1 => {
            broken(
                report,
                "exactly one of these fields must be non-empty",
                names,
            );
        }
        Rule::AtMostOne(names) if given(names) > 1 => {
            broken(report, "only one of these fields must be non-empty", names);
        }
        Rule::AllOrNone(names) if given(names) != 0 && given(names) != names.len() => {
            broken(report, "all or none of these fields must be set", names);
        }
        Rule::Distinct(names) if repeated(fields, names) => {
            broken(report, "values of these fields must be distinct", names);
        }
        Rule::When {
            field,
            is,
            then,
            must,
        } => conditional(fields, (field, is), (then, must), report),
        Rule::Check(run) if fields.is_ok() => run(fields, report),
        _ => {}
    }
}

fn repeated(fields: &Fields<'_>, names: &[&str]) -> bool {
    let values: Vec<_> = names
        .iter()
        .map(|name| fields.json(name))
        .filter(|v| !v.is_null())
        .collect();
    values
        .iter()
        .enumerate()
        .any(|(index, value)| values[..index].contains(value))
}

fn conditional(
    fields: &Fields<'_>,
    (field, is): (&str, &Is),
    (then, must): (&str, &Is),
    report: &mut Report,
) {
    if !holds(fields, field, is) || holds(fields, then, must) {
        return;
    }
    let message = match must {
        Is::Null => "value must be null".to_owned(),
        Is::Given => "required field missing".to_owned(),
        Is::OneOf(values) => format!("expected one of: {}", values.join(", ")),
        Is::NoneOf(values) => format!("value must not be one of: {}", values.join(", ")),
        Is::Bool(flag) => format!("value must be {flag}"),
        Is::Above(bound) => format!("value must be greater than {bound}"),
    };
    let why = format!("failed conditional validation given value of field '{field}'");
    fields.error(report, then, format!("{message} ({why})"));
}

/// Whether a field is so. Texts of a list count as a whole: none of them may, or each must, fit.
fn holds(fields: &Fields<'_>, name: &str, is: &Is) -> bool {
    let value = fields.json(name);
    let texts = || match &value {
        serde_json::Value::Array(items) => items.iter().filter_map(|item| item.as_str()).collect(),
        other => other.as_str().into_iter().collect::<Vec<_>>(),
    };
    match is {
        Is::Null => !fields.has(name),
        Is::Given => fields.has(name),
        Is::OneOf(values) => {
            let texts = texts();
            !texts.is_empty() && texts.iter().all(|text| values.contains(text))
        }
        Is::NoneOf(values) => !texts().iter().any(|text| values.contains(text)),
        Is::Bool(flag) => value.as_bool() == Some(*flag),
        Is::Above(bound) => value.as_f64().is_some_and(|number| number > *bound as f64),
    }
}
