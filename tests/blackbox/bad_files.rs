//! Files that are bad in every way: the configuration that is live stays, and what is wrong is told.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Gateway, Request, Upstream, eventually, gateway};

const GOOD: &str = "services: [{url: 'http://<up>', routes: [{paths: [/good]}]}]\n";

fn good() -> (Gateway, Upstream) {
    let upstream = Upstream::saying("hello");
    let gateway = gateway(GOOD).fill("up", &upstream).start();
    (gateway, upstream)
}

/// What `/status` says of the last reload.
fn last(gateway: &Gateway) -> (String, String) {
    let status = gateway.ask("/status").json();
    let last = &status["configuration"]["last_reload"];
    (last["result"].to_string(), last["report"].to_string())
}

/// Makes it load its file, and waits until it says that of it.
#[track_caller]
fn is_refused(gateway: &Gateway, why: &str) {
    gateway.signal(Signal::HUP);
    eventually(why, || {
        let (result, report) = last(gateway);
        result == "\"rejected\"" && report.contains(why)
    });
    gateway.err.wait(why);
    let metrics = gateway.ask("/metrics").text();
    assert!(metrics.contains("sluicegate_config_last_reload_successful 0"));
    assert_eq!(gateway.get("/good").text(), "hello");
}

#[track_caller]
fn recovers(gateway: &Gateway, upstream: &Upstream) {
    let good = GOOD.replace("<up>", &upstream.to_string()) + "# again\n";
    fs::write(gateway.file(), good).unwrap();
    eventually("it recovers", || {
        matches!(&*last(gateway).0, "\"loaded\"" | "\"unchanged\"")
    });
    let metrics = gateway.ask("/metrics").text();
    assert!(metrics.contains("sluicegate_config_last_reload_successful 1"));
    assert_eq!(gateway.get("/good").text(), "hello");
}

/// `a` stands ten times in `b`, that ten times in `c`, and so on.
fn bomb() -> String {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for letter in b'b'..=b'k' {
        let before = format!("*{},", char::from(letter - 1));
        let letter = char::from(letter);
        text += &format!("{letter}: &{letter} [{}]\n", before.repeat(10));
    }
    text
}

#[test]
fn hostile_texts_cost_little() {
    let (gateway, upstream) = good();
    let before = gateway.memory();
    let begin = Instant::now();
    fs::write(gateway.file(), bomb()).unwrap();
    is_refused(&gateway, "too large once its aliases are expanded");
    let long = fs::File::create(gateway.file()).unwrap();
    long.set_len(100 << 20).unwrap();
    is_refused(&gateway, "longer than 67108864 bytes");
    let deep = "[".repeat(100) + &"]".repeat(100);
    fs::write(gateway.file(), format!("a: {deep}")).unwrap();
    is_refused(&gateway, "nested deeper than 32 levels");
    fs::write(
        gateway.file(),
        "[1".to_owned() + &",1".repeat(5_500_000) + "]",
    )
    .unwrap();
    is_refused(&gateway, "more than 5000000 values");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(40), "{took:?}");
    let grown = gateway.memory().saturating_sub(before) / 1024;
    assert!(grown < 1024, "grew by {grown} MiB");
    recovers(&gateway, &upstream);
}

#[test]
fn the_same_texts_posted() {
    let (gateway, _upstream) = good();
    for (text, why) in [
        (bomb(), "too large once its aliases are expanded"),
        ("[".repeat(100), "nested deeper than 32 levels"),
    ] {
        let response = gateway.post("/config", &text);
        assert_eq!(response.status, 400);
        assert!(response.text().contains(why), "{}", response.text());
        assert_eq!(gateway.get("/good").text(), "hello");
    }
}

#[test]
fn no_text_is_an_error_that_is_told() {
    let (gateway, upstream) = good();
    fs::remove_file(gateway.file()).unwrap();
    is_refused(&gateway, "No such file");
    recovers(&gateway, &upstream);
    fs::write(gateway.file(), "").unwrap();
    is_refused(&gateway, "expected a declarative configuration");
    fs::write(gateway.file(), b"services: []\nx: \xff\n").unwrap();
    is_refused(&gateway, "not UTF-8 at line 2, column 4");
    fs::remove_file(gateway.file()).unwrap();
    fs::create_dir(gateway.file()).unwrap();
    is_refused(&gateway, "Is a directory");
    fs::remove_dir(gateway.file()).unwrap();
    recovers(&gateway, &upstream);
}

#[test]
fn a_file_that_goes_away_is_told_without_a_signal() {
    let (gateway, upstream) = good();
    fs::remove_file(gateway.file()).unwrap();
    gateway.err.wait("cannot be read");
    assert_eq!(gateway.get("/good").text(), "hello");
    // The very same text ends the trouble.
    fs::write(gateway.file(), GOOD.replace("<up>", &upstream.to_string())).unwrap();
    eventually("it recovers", || last(&gateway).0 == "\"unchanged\"");
}

/// Every beginning of the file is a configuration as well, but for its last route.
#[test]
fn half_a_file_never_goes_live() {
    let (gateway, upstream) = good();
    let mut conn = gateway.connect();
    let mut file = fs::File::create(gateway.file()).unwrap();
    let mut write = |text: &str| {
        file.write_all(text.as_bytes()).unwrap();
        file.flush().unwrap();
    };
    write(&format!("services:\n- url: http://{upstream}\n  routes:\n"));
    for route in 0..30 {
        write(&format!("  - {{paths: [/route-{route}]}}\n"));
        thread::sleep(Duration::from_millis(40));
        if route == 15 {
            gateway.signal(Signal::HUP);
        }
        assert_eq!(conn.ask(&Request::get("/good")).status, 200, "{route}");
    }
    write("  - {paths: [/good, /all]}\n");
    eventually("all of it", || gateway.get("/all").status == 200);
    assert_eq!(conn.ask(&Request::get("/good")).status, 200);
}
