use std::time::Duration;

use super::*;

fn vars(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn flags(pairs: &[(&str, &str)]) -> Layer {
    Layer::of_flags(pairs.iter().map(|(k, v)| (*k, (*v).to_owned()))).unwrap()
}

#[test]
fn defaults_are_those_of_the_contract() {
    let merged = merge(&Layer::default(), &Variables::new(), &Layer::default());
    assert_eq!(merged.errors, []);
    assert!(merged.notices.is_empty());
    let s = merged.settings;
    assert_eq!(s.proxy_listen.len(), 2);
    assert!(s.proxy_listen[1].tls && s.proxy_listen[1].addr.port() == 8443);
    assert_eq!(s.admin_listen[0].addr.to_string(), "127.0.0.1:8001");
    assert!(s.status_listen.is_empty());
    assert_eq!(s.client_max_uri_size, 8192);
    assert_eq!(s.client_body_timeout, Duration::from_secs(60));
    assert_eq!(s.drain_delay, Duration::ZERO);
    assert_eq!(s.real_ip_header, "X-Real-IP");
    assert!(s.headers.via && s.headers.request_id && !s.headers.upstream_status);
    assert_eq!((s.workers, s.max_connections), (None, None));
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let mut file = Layer::default();
    file.given
        .push(("drain_timeout", "1s".to_owned(), Pos::new(3, 4)));
    file.given.push(("workers", "2".to_owned(), Pos::new(4, 4)));
    file.given
        .push(("log_level", "debug".to_owned(), Pos::new(5, 4)));
    let env = vars(&[
        ("SLUICEGATE_DRAIN_TIMEOUT", "2s"),
        ("SLUICEGATE_WORKERS", "3"),
    ]);
    let merged = merge(&flags(&[("drain_timeout", "3s")]), &env, &file);
    assert_eq!(merged.settings.drain_timeout, Duration::from_secs(3));
    assert_eq!(merged.settings.workers, Some(3));
    assert_eq!(merged.settings.log_level, LogLevel::Debug);
    assert_eq!(
        merged.settings.effective["log_level"].1.to_string(),
        "gateway section, line 5"
    );
}

#[test]
fn kongs_variables_count_when_ours_are_absent_and_say_so() {
    let env = vars(&[
        (
            "KONG_PROXY_LISTEN",
            "[::]:80 reuseport backlog=16384, 127.0.0.1:443 http2 ssl",
        ),
        ("KONG_TRUSTED_IPS", "10.0.0.0/8, 192.168.1.1,unix:"),
        ("KONG_DATABASE", "off"),
        ("KONG_NGINX_WORKER_PROCESSES", "4"),
        ("SLUICEGATE_WORKRES", "4"),
        ("HOME", "/"),
    ]);
    let merged = merge(&Layer::default(), &env, &Layer::default());
    assert_eq!(merged.errors, []);
    assert_eq!(merged.settings.proxy_listen[0].backlog, Some(16384));
    assert!(merged.settings.proxy_listen[1].tls && merged.settings.proxy_listen[1].http2);
    assert_eq!(merged.settings.trusted_ips.len(), 2);
    assert!(merged.settings.trusted_unix);
    assert_eq!(
        merged.notices,
        [
            "KONG_PROXY_LISTEN is used; SLUICEGATE_PROXY_LISTEN would win over it",
            "KONG_TRUSTED_IPS is used; SLUICEGATE_TRUSTED_IPS would win over it",
            "KONG_NGINX_WORKER_PROCESSES is not understood",
            "SLUICEGATE_WORKRES is not understood; did you mean `workers`?",
        ]
    );
}

#[test]
fn consul_variables_are_the_last_resort() {
    let env = vars(&[
        ("CONSUL_HTTP_ADDR", "consul:8500"),
        ("CONSUL_HTTP_TOKEN", "t"),
    ]);
    let merged = merge(&flags(&[("consul_token", "mine")]), &env, &Layer::default());
    assert_eq!(
        merged.settings.consul.http_addr.as_deref(),
        Some("consul:8500")
    );
    assert_eq!(merged.settings.consul.token.as_deref(), Some("mine"));
}

#[test]
fn every_bad_value_is_named_with_a_hint() {
    let bad = flags(&[
        ("proxy_listen", "8000"),
        ("drain_timeout", "30"),
        ("client_max_body_size", "8x"),
        ("workers", "0"),
        ("log_level", "infos"),
        ("trusted_ips", "10.0.0.0/99"),
        ("headers", "X-Kong-Nothing"),
        ("ssl_cert", "/a.pem"),
    ]);
    let merged = merge(
        &bad,
        &vars(&[("SLUICEGATE_ACCESS_LOG_FORMAT", "x")]),
        &Layer::default(),
    );
    let lines: Vec<String> = merged.errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 9, "{lines:#?}");
    assert_eq!(
        lines[0],
        "--proxy-listen: '8000' is no address to listen on (write ADDR:PORT, IPv6 in brackets: [::]:8000)"
    );
    assert!(lines.contains(
        &"SLUICEGATE_ACCESS_LOG_FORMAT: expected one of: combined, json, kong".to_owned()
    ));
    assert!(
        lines.contains(&"--drain-timeout: '30' is no time (write 250ms, 10s or 1m)".to_owned())
    );
    assert!(
        lines.contains(
            &"--log-level: expected one of: error, warn, info, debug, trace (did you mean `info`?)"
                .to_owned()
        )
    );
    assert!(Layer::of_flags([("prxy_listen", String::new())]).is_err());
}

#[test]
fn listeners_can_be_off_and_changes_are_named() {
    let off = merge(
        &flags(&[("admin_listen", "off")]),
        &Variables::new(),
        &Layer::default(),
    );
    assert!(off.settings.admin_listen.is_empty());
    assert_eq!(
        Settings::defaults().changed(&off.settings),
        ["admin_listen"]
    );
}

#[test]
fn the_file_is_found() {
    assert_eq!(config_source(None, &Variables::new()).0, "gateway.yaml");
    let both = vars(&[("KONG_DECLARATIVE_CONFIG", "/k.yaml")]);
    assert!(config_source(None, &both).1.is_some());
    assert_eq!(config_source(Some("x"), &both), ("x".to_owned(), None));
}

#[test]
fn what_a_listener_cannot_be_is_said() {
    let asked = flags(&[("proxy_listen", "127.0.0.1:80 reuseport deferred backlog=9")]);
    let merged = merge(&asked, &Variables::new(), &Layer::default());
    assert_eq!(merged.errors, []);
    let [notice] = &merged.notices[..] else {
        panic!("{:?}", merged.notices);
    };
    assert!(notice.starts_with("proxy_listen: 'deferred' does nothing here"));
}

#[test]
fn dns_servers_with_and_without_ports() {
    let read = |text| {
        values::servers(text).map(|all| {
            let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
            texts.join(" ")
        })
    };
    let some = "10.0.0.1, 10.0.0.2:5353,::1, [::2]:54";
    let expected = "10.0.0.1:53 10.0.0.2:5353 [::1]:53 [::2]:54";
    assert_eq!(read(some).as_deref(), Ok(expected));
    assert_eq!(read("").as_deref(), Ok(""));
    assert!(read("dns.test").is_err() && read("10.0.0.1:x").is_err());
}

#[test]
fn sizes_and_times() {
    for (text, bytes) in [
        ("0", 0),
        ("32KiB", 32768),
        ("8m", 8 << 20),
        ("1 GB", 1 << 30),
    ] {
        assert_eq!(values::size(text), Ok(bytes));
    }
    assert!(values::size("99999999999999999999").is_err() && values::size("-1").is_err());
    for (text, ms) in [("250ms", 250), ("1.5s", 1500), ("1m", 60_000), ("0", 0)] {
        assert_eq!(values::duration(text), Ok(Duration::from_millis(ms)));
    }
    assert!(values::duration("1e400s").is_err() && values::duration("-1s").is_err());
}
