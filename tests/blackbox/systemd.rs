//! Under systemd: what it is told over `NOTIFY_SOCKET`, and the sockets that it passes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Request, Setup, Upstream, eventually, gateway};

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
    gateway.ended();
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

const TO: &str = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";

fn listener(address: &str) -> (TcpListener, String) {
    let socket = TcpListener::bind(address).unwrap();
    let at = socket.local_addr().unwrap().to_string();
    (socket, at)
}

#[test]
fn a_socket_that_was_passed_is_served_by_all_workers() {
    let upstream = Upstream::saying("hello");
    let (socket, at) = listener("127.0.0.1:0");
    // Connects before the gateway is there, as a client of an activated service may.
    let early = TcpStream::connect(&at).unwrap();
    let setup = gateway(TO).fill("up", &upstream).listen(&at);
    let mut gateway = setup.flag("--workers", 2).pass(socket, "$$").start();
    assert_eq!(gateway.proxy().to_string(), at);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").text(), "hello");
    }
    drop(early);
    // A copy takes it over; the variables do not confuse it.
    gateway.signal(Signal::USR2);
    let copy = gateway.handed_over(1);
    gateway.ended();
    assert_eq!(gateway.get("/").text(), "hello");
    kill_process(copy, Signal::TERM).unwrap();
    eventually("the copy ends", || TcpStream::connect(&at).is_err());
}

#[test]
fn a_socket_of_both_families_serves_both() {
    both_families("0.0.0.0:<port>", 1);
    both_families("0.0.0.0:<port>, [::]:<port>", 2);
    both_families("[::]:<port>, 0.0.0.0:<port>", 2);
}

fn both_families(listeners: &str, count: usize) {
    let upstream = Upstream::saying("hello");
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    let any: SocketAddr = "[::]:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(16).unwrap();
    let socket = TcpListener::from(socket);
    let port = socket.local_addr().unwrap().port();
    let setup = gateway(TO).fill("up", &upstream);
    let setup = setup.listen(&listeners.replace("<port>", &port.to_string()));
    let gateway = setup.pass(socket, "$$").start();
    let line = format!("proxy http [::]:{port}");
    let told = gateway.out.several(count, |said| said == line);
    assert_eq!(told.len(), count, "{:?}", gateway.out.all());
    let response = Request::get("/").send(([127, 0, 0, 1], port).into());
    assert_eq!(response.text(), "hello");
}

/// The start ends and says that.
#[track_caller]
fn is_refused(setup: Setup, why: &str) {
    let output = setup.output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains(why), "{text}");
}

#[test]
fn what_cannot_be_served_is_refused() {
    let pass = |socket, pid| gateway(CONFIG).pass(socket, pid);
    let (socket, at) = listener("127.0.0.1:0");
    let unasked = format!("no listener is configured at {at}");
    is_refused(pass(socket.try_clone().unwrap(), "$$"), &unasked);
    // The shell reads it as two assignments: the later one counts.
    let many = "LISTEN_FDS: 'many' is no number of sockets";
    is_refused(pass(socket, "$$ LISTEN_FDS=many"), many);
    let dir = tempfile::tempdir().unwrap();
    let unix = OwnedFd::from(UnixListener::bind(dir.path().join("s")).unwrap());
    let kind = "LISTEN_FDS: socket 1 of 1: fd 3 is not a valid tcp socket";
    is_refused(pass(unix.into(), "$$"), kind);
    let (_server, at) = listener("127.0.0.1:0");
    let connected = OwnedFd::from(TcpStream::connect(&at).unwrap());
    let accepted = "LISTEN_FDS: socket 1 of 1: it does not listen (Accept=yes?)";
    is_refused(pass(connected.into(), "$$"), accepted);
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let upstream = Upstream::saying("hello");
    let (socket, at) = listener("127.0.0.1:0");
    for pid in ["1", "''", "no-number"] {
        let socket = socket.try_clone().unwrap();
        let setup = gateway(TO).fill("up", &upstream).pass(socket, pid);
        let gateway = setup.start();
        assert_ne!(gateway.proxy().to_string(), at);
        assert_eq!(gateway.get("/").text(), "hello");
    }
}
