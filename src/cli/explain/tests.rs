use crate::cli::Exit;
use crate::cli::tests::{file, sluicegate};

const FILE: &str = "services:
- name: users
  url: http://users.test:3000/base
  routes:
  - name: one
    hosts: [api.test]
    paths: [/v1]
  - name: other
    paths: [/v1]
    preserve_host: true
- name: pool
  host: pool.internal
  routes:
  - name: posts
    paths: [/v1/posts]
    methods: [POST]
upstreams:
- name: pool.internal
  targets:
  - {target: '10.0.0.1:80'}
  - {target: '10.0.0.2:81'}
  - {target: '10.0.0.3:81', weight: 0}
routes:
- {name: alone, paths: [/alone], protocols: [https]}
";

fn explained(args: &[&str]) -> String {
    let (_held, path) = file(FILE);
    let all: Vec<&str> = ["explain", "-c", &path]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    let (exit, out, err) = sluicegate(&all, &[]);
    assert_eq!((exit, err.as_str()), (Exit::Fine, ""));
    out.replace(&path, "FILE")
}

#[test]
fn the_winner_the_beaten_and_what_goes_upstream() {
    assert_eq!(
        explained(&["GET", "http://api.test/v1//x?q=1"]),
        "request   GET http://api.test/v1//x?q=1  (matched as /v1/x)
route     one  FILE:5:5  services[0].routes[0]
          - host `api.test` matches `api.test`
          - path `/v1/x` starts with `/v1`
beaten    other  FILE:8:5  services[0].routes[1]
          - path `/v1/x` starts with `/v1`
          - loses: 1 criteria against 2
plugins   none
service   users  FILE:2:3  services[0]
upstream  GET /base/x?q=1
          Host: users.test:3000
          X-Forwarded-Proto: http
          X-Forwarded-Host: api.test
          X-Forwarded-Path: /v1//x
          X-Forwarded-Prefix: /v1
to        http://users.test:3000
"
    );
}

#[test]
fn targets_and_near_misses() {
    let found = explained(&["POST", "http://x/v1/posts"]);
    assert!(
        found.contains("to        http://10.0.0.1:80\nto        http://10.0.0.2:81\n"),
        "{found}"
    );
    assert!(!found.contains("10.0.0.3"), "{found}");
    assert!(found.contains("near      one  FILE:5:5"), "{found}");
    let kept = explained(&["GET", "/v1", "-H", "Host: kept.test:99"]);
    assert!(kept.contains("          Host: kept.test:99\n"), "{kept}");
}

#[test]
fn no_route_no_service_and_the_wrong_protocol() {
    let none = explained(&["GET", "/nothing"]);
    assert!(none.contains("route     none: 404"), "{none}");
    let alone = explained(&["GET", "http://x/alone"]);
    assert!(
        alone.contains("answer    426: the route wants https"),
        "{alone}"
    );
    assert!(alone.contains("service   none: 503"), "{alone}");
    let secure = explained(&["GET", "https://x/alone"]);
    assert!(!secure.contains("\nanswer"), "{secure}");
}

#[test]
fn a_bad_file_is_reported_and_a_bad_request_refused() {
    let (_held, path) = file("services: 5\n");
    let (exit, _, err) = sluicegate(&["explain", "-c", &path, "GET", "/"], &[]);
    assert_eq!(exit, Exit::Bad);
    assert!(err.contains("services: "), "{err}");
    let (exit, _, err) = sluicegate(&["explain", "-c", &path, "GET", "ftp://x"], &[]);
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Usage, "error: 'ftp' is neither http nor https\n")
    );
}
