//! Fields found and cut, in the three forms.

use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Field<'_> {
    Field::Text(text.into())
}

fn cut(form: &Form, body: &str, name: &str) -> Option<String> {
    let cut = form.without(body.as_bytes(), name)?;
    Some(String::from_utf8(cut).unwrap())
}

#[test]
fn content_types_name_the_form() {
    assert_eq!(
        Form::named("application/json; charset=utf-8"),
        Some(Form::Json)
    );
    assert_eq!(
        Form::named("Application/X-WWW-Form-Urlencoded"),
        Some(Form::Urlencoded)
    );
    let multipart = |text: &str| Some(Form::Multipart(text.to_owned()));
    assert_eq!(
        Form::named("multipart/form-data; boundary=ab"),
        multipart("ab")
    );
    assert_eq!(
        Form::named("multipart/form-data; x=1; Boundary=\"a;\\\"b\""),
        multipart("a;\"b")
    );
    for other in [
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=\"a",
        "application/jsonp",
        "",
    ] {
        assert_eq!(Form::named(other), None, "{other}");
    }
}

#[test]
fn fields_of_urlencoded_forms() {
    let form = Form::Urlencoded;
    assert_eq!(form.field(b"a=1&k=x+%20y", "k"), text("x  y"));
    assert_eq!(form.field(b"a=1&k=1&%6b=2", "k"), Field::Repeated);
    assert_eq!(form.field(b"a=1", "k"), Field::Absent);
    assert_eq!(
        cut(&form, "a=%31&k=1&k=2&b", "k").as_deref(),
        Some("a=%31&b")
    );
    assert_eq!(cut(&form, "k=1", "k").as_deref(), Some(""));
    assert_eq!(cut(&form, "a=1", "k"), None);
}

#[test]
fn members_of_json_objects() {
    let form = Form::Json;
    assert_eq!(form.field(br#"{"k":"a\"b"}"#, "k"), text("a\"b"));
    assert_eq!(form.field(br#"{"\u006b":"x"}"#, "k"), text("x"));
    assert_eq!(form.field(br#"{"k":1}"#, "k"), Field::Other);
    assert_eq!(form.field(br#"{"k":["a"]}"#, "k"), Field::Repeated);
    assert_eq!(form.field(br#"{"k":"a","k":"b"}"#, "k"), text("b"));
    assert_eq!(form.field(br#"{"o":{"k":"x"}}"#, "k"), Field::Absent);
    for broken in [&b"{\"k\":\"x\""[..], b"[\"k\"]", b"\"k\"", b"", b"{"] {
        assert_eq!(form.field(broken, "k"), Field::Absent);
    }
    let body = r#" { "big": 12345678901234567890.50 , "k" : "x", "o":{"k":[1,"}"]},"k":2 } "#;
    let want = r#"{"big": 12345678901234567890.50,"o":{"k":[1,"}"]}}"#;
    assert_eq!(cut(&form, body, "k").as_deref(), Some(want));
    assert_eq!(cut(&form, r#"{"k":1}"#, "k").as_deref(), Some("{}"));
    assert_eq!(cut(&form, r#"{"a":1}"#, "k"), None);
}

#[test]
fn parts_of_multipart_forms() {
    let form = Form::Multipart("XX".to_owned());
    let part = |name: &str, value: &str| {
        format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let (a, k) = (part("a", "1\r\n--XY"), part("k", "sec\r\nret"));
    let body = format!("{a}{k}--XX--\r\n");
    assert_eq!(form.field(body.as_bytes(), "k"), text("sec\r\nret"));
    assert_eq!(form.field(body.as_bytes(), "a"), text("1\r\n--XY"));
    assert_eq!(form.field(body.as_bytes(), "b"), Field::Absent);
    assert_eq!(cut(&form, &body, "k").unwrap(), format!("{a}--XX--\r\n"));
    let twice = format!("{k}{a}{k}--XX--");
    assert_eq!(form.field(twice.as_bytes(), "k"), Field::Repeated);
    assert_eq!(cut(&form, &twice, "k").unwrap(), format!("{a}--XX--"));
    let file = "--XX\r\ncontent-disposition: form-data; filename=\"name=k;\"; name=f\r\nContent-Type: a/b\r\n\r\nx\r\n--XX--";
    assert_eq!(form.field(file.as_bytes(), "f"), text("x"));
    assert_eq!(form.field(file.as_bytes(), "k"), Field::Absent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_read_without_harm(body in proptest::collection::vec(any::<u8>(), 0..64), piece in "[-X\r\n:;=\"{}\\[\\],kname ]{0,40}") {
        let mut mixed = piece.into_bytes();
        mixed.extend(body);
        for form in [Form::Urlencoded, Form::Json, Form::Multipart("X".to_owned())] {
            form.field(&mixed, "k");
            form.without(&mixed, "k");
        }
    }

    #[test]
    fn what_is_cut_is_gone_and_the_rest_stays(pairs in proptest::collection::vec(("[a-c]", "[a-z {}\"\\\\,]{0,6}"), 0..6)) {
        let members: Vec<String> = pairs.iter().map(|(k, v)| format!("{}: {}", serde_json::json!(k), serde_json::json!(v))).collect();
        let body = format!("{{{}}}", members.join(" , "));
        let cut = Form::Json.without(body.as_bytes(), "a").unwrap_or(body.clone().into_bytes());
        prop_assert_eq!(Form::Json.field(&cut, "a"), Field::Absent);
        for name in ["b", "c"] {
            prop_assert_eq!(Form::Json.field(&cut, name), Form::Json.field(body.as_bytes(), name));
        }
    }
}
