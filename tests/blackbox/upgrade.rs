//! SIGUSR2: a fresh copy takes the sockets and the live configuration over.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Gateway, Request, Upstream, eventually, gateway};

/// The copy, ended when dropped.
struct Copy(Pid);

impl Copy {
    /// Asks the gateway to hand over, and waits until it has.
    #[track_caller]
    fn of(gateway: &Gateway) -> Self {
        gateway.signal(Signal::USR2);
        let line = gateway.err.wait("handed over to process");
        let (_, rest) = line.split_once("handed over to process ").unwrap();
        let pid = rest.split(':').next().unwrap().parse().unwrap();
        Self(Pid::from_raw(pid).unwrap())
    }

    /// Asks it to drain, and waits until nobody listens any more.
    fn stop(self, gateway: &Gateway) {
        kill_process(self.0, Signal::TERM).unwrap();
        eventually("the copy ends", || {
            TcpStream::connect(gateway.proxy()).is_err()
        });
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn proxy(upstream: &Upstream, workers: usize) -> Gateway {
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", upstream);
    setup.flag("--workers", workers).start()
}

#[test]
fn nobody_notices() {
    let upstream = Upstream::saying("hello");
    let mut gateway = proxy(&upstream, 2);
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Whatever ends the scope ends the load.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let copy = thread::scope(|scope| {
        let _over = Over(&over);
        for nth in 0..4 {
            let (gateway, over, served) = (&gateway, &over, &served);
            scope.spawn(move || {
                let mut conn = gateway.connect();
                while !over.load(Ordering::SeqCst) {
                    let response = conn.ask(&Request::get("/"));
                    assert_eq!(response.text(), "hello");
                    served.fetch_add(1, Ordering::SeqCst);
                    let closes = response.header("Connection") == Some("close");
                    // One of them connects for every request; another one is mostly idle.
                    if closes || nth == 0 {
                        conn = gateway.connect();
                    }
                    if nth == 1 {
                        thread::park_timeout(Duration::from_millis(30));
                    }
                }
            });
        }
        let some = |more: usize| {
            let now = served.load(Ordering::SeqCst);
            eventually("requests are served", || {
                served.load(Ordering::SeqCst) > now + more
            });
        };
        some(100);
        let copy = Copy::of(&gateway);
        some(100);
        gateway.err.wait("drained");
        some(100);
        copy
    });
    assert!(gateway.ended().success());
    copy.stop(&gateway);
}

#[test]
fn what_was_posted_stays_live_with_another_number_of_workers() {
    with_workers(3, 1);
    with_workers(1, 3);
}

fn with_workers(before: usize, after: usize) {
    let (old, new) = (Upstream::saying("old"), Upstream::saying("new"));
    let config = "
gateway: {workers: <before>}
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let mut gateway = gateway(config)
        .fill("up", &old)
        .fill("before", before)
        .start();
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    let posted = text.replace(&old.to_string(), &new.to_string());
    gateway.load(&posted.replace(&format!("workers: {before}"), &format!("workers: {after}")));
    let copy = Copy::of(&gateway);
    assert!(gateway.ended().success());
    for _ in 0..40 {
        assert_eq!(gateway.get("/").text(), "new");
    }
    assert_eq!(gateway.ask("/status").json()["workers"], after);
    // The file has its say again when it changes.
    std::fs::write(gateway.file(), text.replace("'/'", "'/', '/x'")).unwrap();
    eventually("the file is live", || gateway.get("/").text() == "old");
    copy.stop(&gateway);
}

#[test]
fn a_copy_that_does_not_get_ready_changes_nothing() {
    let upstream = Upstream::saying("hello");
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", &upstream);
    let mut gateway = setup.flag("--upgrade-timeout", "1ms").start();
    let pid = gateway.ask("/status").json()["pid"].clone();
    gateway.signal(Signal::USR2);
    gateway.err.wait("does not take over");
    assert_eq!(gateway.get("/").text(), "hello");
    assert_eq!(gateway.ask("/status").json()["pid"], pid);
    assert_eq!(gateway.stop(), Some(0));
}
