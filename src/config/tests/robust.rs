use super::*;

fn many(services: usize) -> String {
    let mut text = String::from("_format_version: '3.0'\nservices:\n");
    for n in 0..services {
        let _ = write!(
            text,
            "- name: s{n}\n  url: http://h{n}:80\n  routes: [{{name: r{n}, paths: [/p{n}]}}]\n"
        );
    }
    text
}

#[test]
fn twenty_thousand_services_load() {
    // As JSON: reading YAML of this size takes an unoptimised build seconds.
    let services: Vec<_> = (0..20_000)
        .map(|n| {
            serde_json::json!({"name": format!("s{n}"), "url": format!("http://h{n}"),
            "routes": [{"name": format!("r{n}"), "paths": [format!("/p{n}")]}]})
        })
        .collect();
    let model = model(&serde_json::json!({"services": services}).to_string());
    assert_eq!((model.services.len(), model.routes.len()), (20_000, 20_000));
    assert_eq!(super::model(&many(500)).routes.len(), 500);
}

#[test]
fn a_file_of_mistakes_is_reported_in_bounded_time() {
    let mut text = many(100);
    text.push_str("routes:\n");
    for n in 0..1_500 {
        let _ = writeln!(text, "- {{paths: [/x], service: sx{n}, prts: 1}}");
    }
    let (model, report) = read_with(&text, &[]);
    assert!(model.is_none());
    assert_eq!(report.error_count(), 3_000);
}

/// Texts that are nearly right: pieces of files in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "services:\n",
        "- name: a\n",
        "  host: h\n",
        "  routes:\n",
        "  - paths: [/a]\n",
        "plugins:\n",
        "- {name: cors}\n",
        "  url: http://x\n",
        "consumers: ",
        "[",
        "]",
        "{",
        "}",
        ": ",
        ", ",
        "null",
        "~",
        "'",
        "\"",
        "&a ",
        "*a",
        "<<: *a\n",
        "\n",
        "  ",
        "upstreams: [{name: u}]\n",
        "{vault://env/x}",
        "${{ env \"DECK_X\" }}",
        "${{",
        "12:30:45",
        "_format_version: 1.1\n",
        "hash_on: ip\n",
        "gateway: {workers: 1}\n",
        "ä",
        "\u{0}",
        "\t",
        "- ",
        "? ",
        "| \n",
        "!!int ",
        "#",
        "_config: x\n",
        "_plugin_configs: {x: 1}\n",
        "tags: [a,b]\n",
        "paths: [/%zz]\n",
        "id: x\n",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_text_is_answered(text in prop_oneof![pieces(), ".{0,200}", "\\PC{0,200}"]) {
        let (model, report) = read_with(&text, &[]);
        prop_assert_eq!(model.is_some(), report.is_ok());
        let _ = (report.to_terminal(false), report.to_text(), report.to_json());
        for issue in report.errors() {
            prop_assert!(!issue.message.contains('\n'), "{}", issue.message);
        }
    }
}
