//! Replays every file of the fuzz corpora, so that what a fuzzer once found stays found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use proptest::prelude::*;

#[path = "../fuzz/targets.rs"]
mod targets;

#[test]
fn every_corpus_file_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        let mut files = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{name}: {}", path.display());
            target(&std::fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files > 0, "{name} has no corpus");
    }
}

proptest! {
    /// Whole tokens, their parts cut or mixed up, and any bytes: let in or not as a second reading
    /// says.
    #[test]
    fn tokens_are_judged_as_by_a_second_reading(
        choice in 0u8..3,
        header in prop::sample::select(&[
            r#"{"alg":"HS256"}"#, r#"{"alg":"HS384"}"#, r#"{"alg":"none"}"#, r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS256","iss":"issuer"}"#, r#"{"alg":["HS256"]}"#, "{}", "[]", "",
        ][..]),
        claims in prop::sample::select(&[
            r#"{"iss":"issuer","exp":4000000000}"#, r#"{"iss":"issuer","exp":1}"#,
            r#"{"iss":"issuer"}"#, r#"{"iss":false,"exp":4e9}"#, r#"{"iss":"other","exp":4e9}"#,
            r#"{"iss":null,"exp":4e9}"#, r#"{"iss":"issuer","exp":"4000000000"}"#, "{}", "1", "",
        ][..]),
        junk in prop::collection::vec(any::<u8>(), 0..3),
        at in any::<prop::sample::Index>(),
    ) {
        let mut input = vec![choice];
        input.extend_from_slice(header.as_bytes());
        input.push(b'\n');
        input.extend_from_slice(claims.as_bytes());
        let at = 1 + at.index(input.len());
        input.splice(at..at, junk);
        targets::token(&input);
    }

    /// Names of labels that mean something in some place.
    #[test]
    fn names_of_consul_are_read_in_one_way(
        labels in prop::collection::vec(prop::sample::select(&[
            "service", "consul", "web", "_web", "_tcp", "dc", "ns", "ap", "peer", "EU", "", "a_b",
        ][..]), 0..9),
        end in prop::sample::select(&["", ".consul", ".consul.", ".service.consul"][..]),
    ) {
        targets::consul_name(format!("{}{end}", labels.join(".")).as_bytes());
    }

    /// Entries with values of all kinds in all places.
    #[test]
    fn instances_of_consul_are_left_out_one_by_one(
        entries in prop::collection::vec((values(), values(), values(), values()), 0..6),
    ) {
        let entry = |(address, port, weight, status): &(_, _, _, _)| format!(
            r#"{{"Node":{{"Node":{status},"Address":{address}}},"Checks":[{{"Status":{status}}}],
            "Service":{{"ID":{status},"Address":{address},"Port":{port},"Tags":{weight},
            "Weights":{{"Passing":{weight},"Warning":{port}}}}}}}"#
        );
        let entries: Vec<String> = entries.iter().map(entry).collect();
        targets::consul_instances(format!("[{}]", entries.join(",")).as_bytes());
    }

    #[test]
    fn stored_values_are_text_or_refused(data in prop::collection::vec(any::<u8>(), 0..40)) {
        targets::stored_text(&data);
    }
}

fn values() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &[
            "null",
            "0",
            "80",
            "65535",
            "65536",
            "-1",
            "1.5",
            "1e3",
            "[]",
            "[\"a\",7]",
            "{}",
            "true",
            "\"\"",
            "\"10.0.0.1\"",
            "\"[::1]\"",
            "\"1.2.3\"",
            "\"Web\"",
            "\"a b\"",
            "\"passing\"",
        ][..],
    )
}
