use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::message::{Blame, ConnInfo, Latencies, RequestHead, ResponseHead, Span, Try, Version};

/// Everything that a record borrows.
struct Exchange {
    request: RequestHead,
    response: ResponseHead,
    conn: ConnInfo,
    tries: Vec<Try>,
    route: Entity,
    service: Entity,
    consumer: Option<Entity>,
    origin: Origin,
}

fn entity(id: &str, name: Option<&str>) -> Entity {
    Entity {
        id: id.into(),
        name: name.map(Into::into),
        json: json!({"id": id}),
    }
}

fn exchange(method: &str, target: &[u8], fields: &[(&str, &[u8])]) -> Exchange {
    let mut request = RequestHead::default();
    request.version = Version::Http11;
    request.headers.raw.extend_from_slice(method.as_bytes());
    request.headers.raw.extend_from_slice(target);
    request.method = Span::new(0, method.len());
    request.target = Span::new(method.len(), method.len() + target.len());
    for (name, value) in fields {
        request.headers.append(name, value);
    }
    let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 8000));
    Exchange {
        request,
        response: ResponseHead::default(),
        conn: ConnInfo {
            number: 1,
            peer: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 5000)),
            local: address,
            trusted: false,
            listen_port: 8000,
            tls: None,
        },
        tries: vec![Try {
            address,
            failed: None,
            status: Some(200),
            started_ms: 0,
            balancer_ns: 0,
        }],
        route: entity("r1", Some("list")),
        service: entity("s1", None),
        consumer: None,
        origin: Origin::Upstream,
    }
}

impl Exchange {
    fn record(&self) -> Record<'_> {
        Record {
            request: &self.request,
            response: &self.response,
            status: 200,
            conn: &self.conn,
            client_ip: self.conn.peer.ip(),
            request_id: "0123456789abcdef0123456789abcdef",
            started_ms: 971_186_136_042,
            latencies: Latencies {
                request: 12,
                gateway: 2,
                upstream: Some(9),
                receive: 1,
            },
            request_size: 100,
            response_size: 2500,
            body_size: 2326,
            tries: &self.tries,
            upstream_uri: "/apache_pb.gif",
            route: Some(&self.route),
            service: Some(&self.service),
            consumer: self.consumer.as_ref(),
            credential_id: None,
            origin: self.origin,
            correlation_id: None,
        }
    }

    fn line(&self, format: Format) -> String {
        let mut out = Vec::new();
        write_line(format, &self.record(), &mut out);
        String::from_utf8(out).unwrap()
    }
}

#[test]
fn combined_is_what_log_tools_read() {
    let mut get = exchange(
        "GET",
        b"/apache_pb.gif?a=b",
        &[
            ("Host", b"example.com"),
            ("Referer", b"http://example.com/start.html"),
            ("User-Agent", b"Mozilla/4.08 [en] (Win98; I ;Nav)"),
        ],
    );
    assert_eq!(
        get.line(Format::Combined),
        "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif?a=b HTTP/1.1\" 200 2326 \
         \"http://example.com/start.html\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"\n"
    );
    get.consumer = Some(entity("c1", Some("john doe")));
    assert!(
        get.line(Format::Combined)
            .starts_with("192.0.2.7 - john\\x20doe [10/")
    );
}

#[test]
fn combined_without_referer_agent_or_even_a_request() {
    let mut bad = exchange("", b"", &[]);
    bad.request.version = Version::Http10;
    assert_eq!(
        bad.line(Format::Combined),
        "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"-\" 200 2326 \"-\" \"-\"\n"
    );
}

#[test]
fn a_client_cannot_forge_combined_lines_or_fields() {
    let evil = exchange(
        "GET",
        b"/\"x\\",
        &[("User-Agent", "a\" 200 \\x\tb\u{e4}".as_bytes())],
    );
    assert_eq!(
        evil.line(Format::Combined),
        "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /\\x22x\\x5C HTTP/1.1\" 200 2326 \
         \"-\" \"a\\x22 200 \\x5Cx\\x09b\\xC3\\xA4\"\n"
    );
}

#[test]
fn json_is_one_flat_line() {
    let mut get = exchange(
        "GET",
        b"/a?b=c",
        &[("Host", b"example.com"), ("User-Agent", b"curl/8")],
    );
    get.consumer = Some(entity("c1", Some("ann")));
    assert_eq!(
        get.line(Format::Json),
        concat!(
            r#"{"time":"2000-10-10T13:55:36.042Z","client_ip":"192.0.2.7","method":"GET","#,
            r#""host":"example.com","uri":"/a?b=c","protocol":"HTTP/1.1","status":200,"#,
            r#""bytes":2326,"duration_ms":12,"upstream_ms":9,"gateway_ms":2,"route":"list","#,
            r#""service":"s1","consumer":"ann","upstream":"10.0.0.1:8000","tries":1,"#,
            r#""source":"upstream","cause":null,"#,
            r#""request_id":"0123456789abcdef0123456789abcdef","user_agent":"curl/8","#,
            r#""referer":null}"#,
            "\n"
        )
    );
}

#[test]
fn json_says_who_answered_when_no_upstream_did() {
    let mut get = exchange("GET", b"/", &[]);
    get.tries.clear();
    get.origin = Origin::Gateway {
        label: "no_route",
        blame: Blame::Client,
    };
    let line: Value = serde_json::from_str(&get.line(Format::Json)).unwrap();
    assert_eq!(line["source"], "gateway");
    assert_eq!(line["cause"], "no_route");
    assert_eq!(line["upstream"], Value::Null);
    assert_eq!(line["tries"], 0);
    get.origin = Origin::Plugin("jwt");
    let line: Value = serde_json::from_str(&get.line(Format::Json)).unwrap();
    assert_eq!(
        (&line["source"], &line["cause"]),
        (&"plugin".into(), &"jwt".into())
    );
}

#[test]
fn kong_lines_are_the_records_of_its_log_plugins() {
    let get = exchange("GET", b"/a", &[("Host", b"example.com")]);
    let line = get.line(Format::Kong);
    assert!(line.ends_with("}\n") && line.lines().count() == 1);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line, get.record().to_json());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_client_sends_is_one_line_and_comes_back(
        target in "[ -~\u{e4}\u{2028}]{0,20}",
        agent in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let get = exchange("GET", target.as_bytes(), &[("User-Agent", &agent)]);
        let combined = get.line(Format::Combined);
        prop_assert_eq!(combined.matches('\n').count(), 1);
        prop_assert_eq!(combined.matches('"').count(), 6);
        let line = get.line(Format::Json);
        prop_assert_eq!(line.bytes().filter(|byte| *byte == b'\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&value["uri"], target.as_str());
        let sent = get.request.headers.get("user-agent").unwrap();
        prop_assert_eq!(&value["user_agent"], &*String::from_utf8_lossy(sent));
    }
}
