//! What systemd is told over `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::gateway;

/// The manager's side of the socket.
struct Manager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self { socket, dir }
    }

    fn path(&self) -> String {
        self.dir.path().join("notify").display().to_string()
    }

    /// The next message.
    #[track_caller]
    fn hears(&self) -> String {
        let mut text = [0; 512];
        let length = self.socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    /// Waits for the word that a process serves; its number.
    #[track_caller]
    fn hears_ready(&self) -> i32 {
        let text = self.hears();
        assert!(text.starts_with("READY=1\n"), "{text}");
        let pid = text.lines().find_map(|line| line.strip_prefix("MAINPID="));
        pid.unwrap().parse().unwrap()
    }
}

const CONFIG: &str = "services: [{url: 'http://127.0.0.1:9', routes: [{paths: ['/']}]}]";

#[test]
fn start_and_stop_are_told() {
    let manager = Manager::new();
    let setup = gateway(CONFIG).env("NOTIFY_SOCKET", &manager.path());
    let mut gateway = setup.start();
    manager.hears_ready();
    assert_eq!(gateway.stop(), Some(0));
    assert!(manager.hears().starts_with("STOPPING=1\n"));
}

#[test]
fn a_copy_that_took_over_becomes_the_main_process() {
    let manager = Manager::new();
    let setup = gateway(CONFIG).env("NOTIFY_SOCKET", &manager.path());
    let mut gateway = setup.start();
    let first = manager.hears_ready();
    gateway.signal(Signal::USR2);
    let second = manager.hears_ready();
    assert_ne!(first, second);
    // The older process goes without a word: the service does not stop.
    gateway.exited();
    kill_process(Pid::from_raw(second).unwrap(), Signal::TERM).unwrap();
    assert!(manager.hears().starts_with("STOPPING=1\n"));
}

#[test]
fn a_manager_that_is_away_is_no_obstacle() {
    let setup = gateway(CONFIG).env("NOTIFY_SOCKET", "/nonexistent/notify");
    let mut gateway = setup.start();
    gateway.err.wait("NOTIFY_SOCKET: systemd cannot be told");
    assert_eq!(gateway.stop(), Some(0));
}
