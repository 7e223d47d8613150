use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;
use crate::config::report::Report;
use crate::plugins;
use crate::snapshot::{self, Snapshot, Surroundings, UpstreamTls};
use crate::telemetry::{Check, Health, Weight};
use crate::upstream::{EndpointSpec, Resolution};
use crate::util::drain::Phase;
use crate::util::handles::Handles;
use crate::util::keep::Keeps;

const FILE: &str = r#"
_format_version: "3.0"
services:
  - name: orders
    host: orders-upstream
    routes:
      - name: list
        paths: [/orders]
  - name: direct
    url: http://127.0.0.1:9000/base
upstreams:
  - name: orders-upstream
    targets:
      - target: 10.0.0.1:80
      - target: down.example:8080
        weight: 50
consumers:
  - username: ann
    custom_id: a1
plugins:
  - name: cors
    instance_name: everywhere
    config: {origins: ["https://example.com"]}
"#;

fn checked(text: &str) -> (Option<snapshot::Checked>, Report) {
    snapshot::check(
        text,
        "gateway.yaml",
        &Surroundings::default(),
        plugins::TABLE,
    )
}

fn compiled(metrics: &Metrics) -> Arc<Snapshot> {
    let (checked, report) = checked(FILE);
    let checked = checked.unwrap_or_else(|| panic!("{}", report.to_text()));
    let parts = snapshot::Parts {
        table: plugins::TABLE,
        keeps: &Keeps::default(),
        handles: &Handles::default(),
        metrics,
        tls: &UpstreamTls::new().unwrap(),
        workers: 1,
        generation: 7,
    };
    Arc::new(snapshot::compile(checked, &parts))
}

/// Answers what it is told to and remembers what it was offered.
#[derive(Default)]
struct Script {
    answers: Mutex<Vec<Answer>>,
    offered: Mutex<Vec<Offer>>,
    last: Mutex<Option<LastReload>>,
}

impl Reloads for Script {
    fn offer(&self, offer: Offer) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        self.offered.lock().unwrap().push(offer);
        let answer = self.answers.lock().unwrap().pop();
        Box::pin(async move { answer.unwrap_or(Answer::Gone) })
    }

    fn last(&self) -> Option<LastReload> {
        self.last.lock().unwrap().clone()
    }
}

struct House {
    admin: Admin,
    script: Arc<Script>,
}

struct Seen {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text))
    }
}

impl House {
    /// Nothing is live yet.
    fn empty() -> House {
        let script = Arc::new(Script::default());
        let admin = Admin::new(Parts {
            cell: SnapshotCell::default(),
            metrics: Metrics::new(2),
            checks: Checks::default(),
            drain: Drain::new(),
            reloads: script.clone(),
            listeners: vec![ListenerInfo {
                role: "proxy",
                tls: false,
                address: SocketAddr::from(([127, 0, 0, 1], 43211)),
            }],
            discovered: Arc::new(|_| None),
            token: None,
        });
        House { admin, script }
    }

    fn new() -> House {
        let house = House::empty();
        let parts = house.admin.parts();
        parts.cell.publish(compiled(&parts.metrics));
        house
    }

    async fn send(&self, request: Request<Body>) -> Seen {
        send(self.admin.admin_routes(), request).await
    }

    async fn get(&self, path: &str) -> Seen {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Seen {
        self.send(Request::post(path).body(body.into()).unwrap())
            .await
    }

    /// Discovery answers for one of the upstream's two targets and for the plain host.
    fn discover(&self) {
        let snapshot = self.admin.parts().cell.load().unwrap();
        let spec = |target: &str, weight| EndpointSpec {
            address: target.parse().unwrap(),
            host: target.rsplit_once(':').unwrap().0.into(),
            target: target.into(),
            weight,
        };
        for cluster in &snapshot.clusters {
            let specs = match cluster.key().name().as_str() {
                "orders-upstream" => [spec("10.0.0.1:80", 100)],
                _ => [spec("127.0.0.1:9000", 100)],
            };
            cluster.set_endpoints(&specs, Resolution::Known);
        }
    }
}

async fn send(routes: Router, request: Request<Body>) -> Seen {
    let response = routes.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Seen {
        status: head.status.as_u16(),
        headers: head.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

#[tokio::test]
async fn entities_are_listed_and_found_by_name_and_id() {
    let house = House::new();
    let services = house.get("/services").await;
    assert_eq!(
        services.headers["content-type"],
        "application/json; charset=utf-8"
    );
    let services = services.json();
    assert_eq!(services["next"], Value::Null);
    assert_eq!(services["data"].as_array().unwrap().len(), 2);
    assert_eq!(services["data"][0]["name"], "orders");
    let id = services["data"][0]["id"].as_str().unwrap().to_string();
    for key in ["orders", &id] {
        let one = house.get(&format!("/services/{key}")).await;
        assert_eq!(
            (one.status, &one.json()["host"]),
            (200, &"orders-upstream".into())
        );
    }
    assert_eq!(
        house.get("/routes/list").await.json()["paths"],
        json!(["/orders"])
    );
    assert_eq!(house.get("/consumers/ann").await.json()["custom_id"], "a1");
    assert_eq!(
        house.get("/plugins/everywhere").await.json()["name"],
        "cors"
    );
    assert_eq!(house.get("/plugins/cors").await.status, 404);
    let missing = house.get("/services/nobody").await;
    assert_eq!(
        (missing.status, &*missing.text),
        (404, r#"{"message":"Not found"}"#)
    );
}

#[tokio::test]
async fn without_a_configuration_lists_are_empty() {
    let house = House::empty();
    assert_eq!(
        house.get("/routes").await.json(),
        json!({"data": [], "next": null})
    );
    assert_eq!(house.get("/routes/list").await.status, 404);
    assert_eq!(house.get("/config").await.status, 404);
}

#[tokio::test]
async fn what_does_not_exist_is_said_in_json() {
    let house = House::new();
    let missing = house.get("/nowhere").await;
    assert_eq!(
        (missing.status, &*missing.text),
        (404, r#"{"message":"Not found"}"#)
    );
    let wrong = house.post("/services", "").await;
    assert_eq!(wrong.status, 405);
    assert_eq!(wrong.text, r#"{"message":"Method not allowed"}"#);
    assert_eq!(wrong.headers["allow"], "GET,HEAD");
    let head = house
        .send(Request::head("/health").body(Body::empty()).unwrap())
        .await;
    assert_eq!((head.status, &*head.text), (200, ""));
}

#[tokio::test]
async fn health_is_the_sum_of_its_checks() {
    let house = House::empty();
    let health = house.get("/health").await;
    assert_eq!(health.status, 503);
    assert_eq!(
        health.json()["checks"]["configuration"]["status"],
        "unhealthy"
    );

    let house = House::new();
    house.discover();
    let health = house.get("/health?strict=1").await;
    let body = health.json();
    assert_eq!(
        (health.status, &body["status"]),
        (200, &"healthy".into()),
        "{body}"
    );
    assert_eq!(
        body["checks"]["configuration"]["message"],
        "2 services, 1 route"
    );
    assert_eq!(
        body["checks"]["upstream:orders-upstream"]["status"],
        "healthy"
    );
    assert_eq!(
        body["checks"]["host:127.0.0.1:9000"]["message"],
        "1 address"
    );
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn one_sick_upstream_degrades_and_all_of_them_are_the_end() {
    let house = House::new();
    house.discover();
    let clusters = house.admin.parts().cell.load().unwrap().clusters.clone();
    clusters[0].set_endpoints(&[], Resolution::NotFound);
    let health = house.get("/health").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &"degraded".into())
    );
    assert_eq!(house.get("/health?strict=1").await.status, 503);
    for cluster in &clusters {
        cluster.set_endpoints(&[], Resolution::NotFound);
    }
    let health = house.get("/health").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &"unhealthy".into())
    );
}

#[tokio::test]
async fn checks_of_others_are_walked() {
    let house = House::new();
    house.discover();
    house.admin.parts().checks.register(|out| {
        out.push(Check {
            name: "redis".into(),
            status: Health::Unhealthy,
            message: "connection refused".into(),
            weight: Weight::Part,
        });
    });
    let health = house.get("/health").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &"degraded".into())
    );
    assert_eq!(
        health.json()["checks"]["redis"]["message"],
        "connection refused"
    );
}

#[tokio::test]
async fn a_refused_reload_degrades_and_says_why() {
    let house = House::new();
    house.discover();
    let (_, report) = checked("_format_version: \"3.0\"\nservices:\n  - nam: x\n");
    *house.script.last.lock().unwrap() = Some(LastReload {
        at_ms: 784_111_777_042,
        source: "gateway.yaml".into(),
        result: "rejected",
        report: report.to_json(),
        restart: Vec::new(),
        outcome: Value::Null,
    });
    let health = house.get("/health").await;
    assert_eq!(health.status, 200);
    let check = health.json()["checks"]["configuration"].clone();
    assert_eq!(check["status"], "degraded");
    let message = check["message"].as_str().unwrap();
    assert!(
        message.starts_with("the configuration from gateway.yaml was refused: line 3: services[0]"),
        "{message}"
    );
    let status = house.get("/status").await.json();
    let last = &status["configuration"]["last_reload"];
    assert_eq!(last["at"], "1994-11-06T08:49:37.042Z");
    assert_eq!(last["result"], "rejected");
    assert_eq!(last["report"]["ok"], false);
}

#[tokio::test]
async fn draining_shows() {
    let house = House::new();
    house.discover();
    assert_eq!(house.get("/ready").await.status, 200);
    house.admin.parts().drain.advance(Phase::Closing);
    assert_eq!(house.get("/ready").await.status, 503);
    assert_eq!(house.get("/health").await.status, 503);
    assert_eq!(house.get("/status").await.json()["phase"], "draining");
}

#[tokio::test(start_paused = true)]
async fn readiness_waits_for_discovery_but_not_for_ever_and_never_goes_back() {
    let house = House::empty();
    assert_eq!(house.get("/ready").await.status, 503);
    let house = House::new();
    let clusters = house.admin.parts().cell.load().unwrap().clusters.clone();
    clusters[0].set_endpoints(&[], Resolution::Pending);
    assert_eq!(house.get("/ready").await.status, 503);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(house.get("/ready").await.status, 200);

    let house = House::new();
    house.discover();
    assert_eq!(house.get("/ready").await.status, 200);
    let clusters = house.admin.parts().cell.load().unwrap().clusters.clone();
    clusters[0].set_endpoints(&[], Resolution::Pending);
    assert_eq!(house.get("/ready").await.status, 200);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let house = House::new();
    house.admin.parts().metrics.worker(0).requests.add(3);
    let metrics = house.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4");
    assert!(
        metrics
            .text
            .contains("\nsluicegate_client_requests_total 3\n")
    );
    let status = house.get("/status").await.json();
    assert_eq!(status["server"]["total_requests"], 3);
}

#[tokio::test]
async fn status_tells_the_process_at_a_glance() {
    let house = House::new();
    house.discover();
    let status = house.get("/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["workers"], 2);
    assert_eq!(status["phase"], "ready");
    assert_eq!(
        status["listeners"][0]["listener"],
        "proxy http 127.0.0.1:43211"
    );
    assert_eq!(status["listeners"][0]["address"], "127.0.0.1:43211");
    assert_eq!(status["configuration"]["generation"], 7);
    assert_eq!(status["configuration"]["entities"]["services"], 2);
    assert_eq!(status["configuration"]["last_reload"], Value::Null);
    assert_eq!(status["configuration_hash"].as_str().unwrap().len(), 32);
    assert_eq!(status["health"]["status"], "healthy");
}

#[tokio::test]
async fn the_status_listener_shows_no_more_than_probes_need() {
    let house = House::new();
    house.discover();
    for (path, status) in [
        ("/health", 200),
        ("/ready", 200),
        ("/metrics", 200),
        ("/config", 404),
        ("/services", 404),
        ("/status", 404),
        ("/", 404),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let seen = send(house.admin.status_routes(), request).await;
        assert_eq!(seen.status, status, "{path}");
    }
}

#[tokio::test]
async fn targets_and_their_health_in_kongs_form() {
    let house = House::new();
    house.discover();
    let targets = house.get("/upstreams/orders-upstream/targets").await.json();
    assert_eq!(targets["data"][0]["target"], "10.0.0.1:80");
    assert_eq!(targets["data"][1]["weight"], 50);
    let id = house.get("/upstreams/orders-upstream").await.json()["id"].clone();
    let path = format!("/upstreams/{}/health", id.as_str().unwrap());
    let health = house.get(&path).await.json();
    assert_eq!(health["next"], Value::Null);
    let up = &health["data"][0];
    assert_eq!(up["target"], "10.0.0.1:80");
    assert_eq!(up["health"], "HEALTHCHECKS_OFF");
    assert_eq!(up["upstream"]["id"], id);
    assert_eq!(up["data"]["host"], "10.0.0.1");
    assert_eq!(up["data"]["port"], 80);
    assert_eq!(up["data"]["weight"]["total"], 100);
    assert_eq!(up["data"]["addresses"][0]["ip"], "10.0.0.1");
    let down = &health["data"][1];
    assert_eq!(
        (&down["target"], &down["health"]),
        (&"down.example:8080".into(), &"DNS_ERROR".into())
    );
    assert_eq!(house.get("/upstreams/nobody/health").await.status, 404);
}

#[tokio::test]
async fn the_live_file_is_shown() {
    let house = House::new();
    let yaml = house.get("/config").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.contains("orders-upstream"));
    let request = Request::get("/config").header("accept", "application/json");
    let json = house
        .send(request.body(Body::empty()).unwrap())
        .await
        .json();
    assert_eq!(json["config"], yaml.text);
}

#[tokio::test]
async fn a_posted_configuration_reaches_the_owner_of_reloads() {
    let house = House::new();
    house.script.answers.lock().unwrap().push(Answer::Loaded {
        report: Report::new("POST /config", ""),
        restart: vec!["workers".into()],
        outcome: json!({"changes": {"routes": {"added": ["a"]}}}),
    });
    let seen = house.post("/config", FILE).await;
    assert_eq!(seen.status, 201, "{}", seen.text);
    assert_eq!(seen.json()["generation"], 7);
    assert_eq!(seen.json()["restart_needed_for"], json!(["workers"]));
    assert_eq!(seen.json()["changes"]["routes"]["added"], json!(["a"]));
    let offered = house.script.offered.lock().unwrap().clone();
    assert_eq!(
        offered,
        [Offer {
            text: FILE.into(),
            dry_run: false
        }]
    );
}

#[tokio::test]
async fn each_outcome_of_a_post_has_its_status() {
    let house = House::new();
    let mut outcomes = vec![
        (Answer::Unchanged, "/config", 201),
        (Answer::Unchanged, "/config?check_hash=1", 304),
        (Answer::Superseded, "/config", 409),
        (Answer::Gone, "/config", 503),
        (
            Answer::Preview(json!({"routes": {"added": ["x"]}})),
            "/config?dry_run=1",
            200,
        ),
    ];
    for (answer, path, status) in outcomes.drain(..) {
        house.script.answers.lock().unwrap().push(answer);
        assert_eq!(house.post(path, FILE).await.status, status, "{path}");
    }
    let offered = house.script.offered.lock().unwrap();
    assert!(offered.last().unwrap().dry_run && !offered[0].dry_run);
}

#[tokio::test]
async fn a_refused_configuration_names_every_error_and_its_place() {
    let house = House::new();
    let text = "_format_version: \"3.0\"\nservices:\n  - name: a\n    prot: 5\n    host: b\n  - name: c\n    host: d\n    port: x\n";
    let (_, report) = checked(text);
    house
        .script
        .answers
        .lock()
        .unwrap()
        .push(Answer::Invalid(report));
    let seen = house.post("/config", text).await;
    assert_eq!(seen.status, 400);
    let body = seen.json();
    assert_eq!(body["name"], "invalid declarative configuration");
    assert_eq!(body["code"], 14);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .starts_with("declarative config is invalid: {")
    );
    assert!(body["fields"]["services"].is_array() || body["fields"]["services"].is_object());
    let errors = body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{body}");
    assert_eq!(
        (&errors[0]["path"], &errors[0]["line"]),
        (&"services[0].prot".into(), &4.into())
    );
    assert_eq!(errors[1]["line"], 8);
}

#[tokio::test]
async fn bodies_that_are_no_configuration_are_refused_here() {
    let house = House::new();
    let empty = house.post("/config", "").await;
    assert_eq!(
        (empty.status, &*empty.text),
        (400, r#"{"message":"expected a declarative configuration"}"#)
    );
    let long = Request::post("/config").header("content-length", "999999999");
    assert_eq!(
        house.send(long.body(Body::empty()).unwrap()).await.status,
        413
    );
    assert!(house.script.offered.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_arrives_is_given_up() {
    let house = House::new();
    let (_sender, receiver) = tokio::io::duplex(64);
    let stream = tokio_util::io::ReaderStream::new(receiver);
    let slow = house.post("/config", Body::from_stream(stream)).await;
    assert_eq!(slow.status, 408);
}

#[tokio::test]
async fn drive_by_pages_are_refused() {
    let house = House::new();
    let page = |origin| {
        let request = Request::post("/config")
            .header("host", "gw:8001")
            .header("origin", origin);
        request.body(Body::from(FILE)).unwrap()
    };
    assert_eq!(house.send(page("http://evil.example")).await.status, 403);
    assert!(house.script.offered.lock().unwrap().is_empty());
    assert_eq!(house.send(page("http://gw:8001")).await.status, 503);
    assert_eq!(house.script.offered.lock().unwrap().len(), 1);
    let rebound = Request::get("/config")
        .header("host", "evil.example:8001")
        .extension(serve::Local(SocketAddr::from(([127, 0, 0, 1], 8001))));
    assert_eq!(
        house
            .send(rebound.body(Body::empty()).unwrap())
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn the_root_is_a_dashboard_for_browsers_and_an_index_for_others() {
    let house = House::new();
    let request = Request::get("/").header("accept", "text/html,*/*");
    let page = house.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert!(!page.text.contains("src=") && !page.text.contains("https://"));
    let index = house.get("/").await.json();
    assert_eq!(index["name"], "sluicegate");
    assert_eq!(index["listeners"][0], "proxy http 127.0.0.1:43211");
}

/// Serves on an ephemeral port; the sender ends it.
async fn serving(house: &House) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let routes = house.admin.admin_routes();
    let task = tokio::spawn(serve::serve(listener, None, routes, async move {
        let _ = ended.await;
    }));
    (address, end, task)
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn connections_are_kept_alive_and_end_with_the_listener() {
    let house = House::new();
    house.discover();
    let (address, end, task) = serving(&house).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        socket
            .write_all(b"HEAD /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        assert!(
            read_head(&mut socket)
                .await
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
    }
    socket
        .write_all(b"HEAD /ready HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut socket).await.starts_with("HTTP/1.1 403 "));
    end.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_its_head_is_dropped() {
    let house = House::new();
    let (address, _end, _task) = serving(&house).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /ready HTTP/1.1\r\nHo")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn the_document_has_every_path() {
    let document: Value = serde_json::from_str(index::OPENAPI).unwrap();
    let documented = document["paths"].as_object().unwrap().keys();
    let documented: BTreeSet<String> = documented.cloned().collect();
    let served: BTreeSet<String> = table().into_iter().map(|(path, _)| path).collect();
    assert_eq!(documented, served);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}
