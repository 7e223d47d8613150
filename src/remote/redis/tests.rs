//! The client against real servers, dead ones, and ones that talk nonsense.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::server::{Cluster as Servers3, Redis, free_port};
use super::*;

/// Adds up what it is given and counts how often it was called.
const SUM: &str = "redis.call('INCR', KEYS[1])
return { tonumber(ARGV[1]) + tonumber(ARGV[2]), 7 }";

const PATIENCE: Duration = Duration::from_secs(20);

struct Kit {
    clients: Arc<RedisClients>,
    metrics: Arc<Metrics>,
    script: Script,
}

impl Kit {
    fn new() -> Self {
        let metrics = Metrics::new(1);
        Self {
            clients: RedisClients::new(
                Handle::current(),
                metrics.clone(),
                TlsClients::new().unwrap(),
            ),
            metrics,
            script: Script::new(SUM),
        }
    }

    async fn sum(&self, client: &RedisClient, key: &str) -> Result<Vec<i64>, Away> {
        client.run(&self.script, &[key.to_owned()], &[40, 2]).await
    }

    /// Asks again until it works.
    async fn works(&self, client: &RedisClient) {
        let begin = Instant::now();
        while let Err(away) = self.sum(client, "k").await {
            assert!(begin.elapsed() < PATIENCE, "{away}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks again until nobody is asked any more.
    async fn opens(&self, client: &RedisClient) {
        let begin = Instant::now();
        while self.sum(client, "k").await != Err(Away::Open) {
            assert!(begin.elapsed() < PATIENCE, "the circuit does not open");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn health(&self) -> (Health, String) {
        let check = self.clients.check().unwrap();
        (check.status, check.message)
    }

    /// The value of a series.
    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series} in {text}"))
            .trim()
            .parse()
            .unwrap()
    }
}

fn target(port: u16) -> Target {
    Target {
        nodes: vec![local(port)],
        cluster: false,
        timeout: Duration::from_secs(1),
        username: None,
        password: None,
        database: 0,
        tls: None,
    }
}

fn local(port: u16) -> Address {
    Address {
        host: "127.0.0.1".into(),
        port,
    }
}

#[tokio::test(flavor = "local")]
async fn scripts_run_by_their_digest_once_they_are_known() {
    let server = Redis::start(&[]);
    let kit = Kit::new();
    let client = kit.clients.client(target(server.port()));
    for _ in 0..5 {
        assert_eq!(kit.sum(&client, "k").await, Ok(vec![42, 7]));
    }
    assert_eq!((server.calls("eval"), server.calls("evalsha")), (1, 5));
    // A server that has forgotten is told again.
    server.ask("SCRIPT FLUSH");
    assert_eq!(kit.sum(&client, "k").await, Ok(vec![42, 7]));
    assert_eq!(server.ask("GET k"), "6");
    let ok = format!(
        "sluicegate_ratelimit_redis_calls_total{{redis=\"127.0.0.1:{}\",result=\"ok\"}}",
        server.port()
    );
    assert_eq!(kit.metric(&ok), 6.0);
    // Two users of one target share a client.
    assert!(Arc::ptr_eq(
        &client,
        &kit.clients.client(target(server.port()))
    ));
}

#[tokio::test(flavor = "local")]
async fn users_passwords_and_databases_are_those_of_the_target() {
    let server = Redis::start(&["--requirepass", "s3cret"]);
    let admin = |command: &str| server.ask_all(&["AUTH s3cret", command]).pop().unwrap();
    admin("ACL SETUSER gateway on >w0rd ~* +@all");
    let kit = Kit::new();
    let of = |username: Option<&str>, password: Option<&str>, database| Target {
        username: username.map(str::to_owned),
        password: password.map(str::to_owned),
        database,
        ..target(server.port())
    };
    for right in [
        of(None, Some("s3cret"), 0),
        of(None, Some("s3cret"), 3),
        of(Some("gateway"), Some("w0rd"), 3),
    ] {
        let client = kit.clients.client(right);
        assert_eq!(kit.sum(&client, "k").await, Ok(vec![42, 7]));
    }
    let in_3 = server.ask_all(&["AUTH s3cret", "SELECT 3", "GET k"]);
    assert_eq!((admin("GET k").as_str(), in_3[2].as_str()), ("1", "2"));
    for wrong in [
        of(None, None, 0),
        of(None, Some("s3cre"), 0),
        of(Some("nobody"), Some("w0rd"), 0),
        of(None, Some("s3cret"), 99),
    ] {
        let client = kit.clients.client(wrong);
        let away = kit.sum(&client, "k").await.unwrap_err();
        assert!(matches!(away, Away::Refused(_)), "{away:?}");
        assert!(!away.to_string().contains("s3cre"), "{away}");
        kit.opens(&client).await;
        let (health, message) = kit.health();
        assert_eq!(health, Health::Degraded);
        assert!(message.contains("it says"), "{message}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_dead_server_costs_nothing_after_the_first_failures_and_comes_back() {
    let mut server = Redis::start(&[]);
    let kit = Kit::new();
    let client = kit.clients.client(target(server.port()));
    kit.works(&client).await;
    assert_eq!(kit.health(), (Health::Healthy, "1 server".to_owned()));
    server.kill();
    kit.opens(&client).await;
    assert!(client.is_open("k"));
    let begin = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(kit.sum(&client, "k").await, Err(Away::Open));
    }
    assert!(begin.elapsed() < Duration::from_millis(500));
    let (health, message) = kit.health();
    assert_eq!(health, Health::Degraded);
    assert!(
        message.contains(&format!("127.0.0.1:{}", server.port())),
        "{message}"
    );
    let up = format!(
        "sluicegate_ratelimit_redis_up{{redis=\"127.0.0.1:{}\"}}",
        server.port()
    );
    assert_eq!(kit.metric(&up), 0.0);
    server.start_again();
    kit.works(&client).await;
    assert_eq!((kit.health().0, kit.metric(&up)), (Health::Healthy, 1.0));
}

#[tokio::test(flavor = "local")]
async fn a_server_that_hangs_costs_each_request_its_time_out_at_most() {
    let server = Redis::start(&[]);
    let kit = Kit::new();
    let client = kit.clients.client(Target {
        timeout: Duration::from_millis(200),
        ..target(server.port())
    });
    kit.works(&client).await;
    server.hang();
    let longest = Rc::new(Cell::new(Duration::ZERO));
    let kit = Rc::new(kit);
    let ask = || {
        let (kit, client, longest) = (kit.clone(), client.clone(), longest.clone());
        tokio::task::spawn_local(async move {
            let begin = Instant::now();
            assert!(kit.sum(&client, "k").await.is_err());
            longest.set(longest.get().max(begin.elapsed()));
        })
    };
    let asking: Vec<_> = (0..50).map(|_| ask()).collect();
    for asked in asking {
        asked.await.unwrap();
    }
    let longest = longest.get();
    assert!((190..1_500).contains(&longest.as_millis()), "{longest:?}");
    assert_eq!(kit.sum(&client, "k").await, Err(Away::Open));
    assert!(kit.health().1.contains("no answer within 200 ms"));
    server.go_on();
    kit.works(&client).await;
}

#[tokio::test(flavor = "local")]
async fn nobody_there_is_known_before_the_first_request() {
    let kit = Kit::new();
    let port = free_port();
    let client = kit.clients.client(target(port));
    let begin = Instant::now();
    while !client.is_open("k") {
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(5)).await;
    }
    let (_, message) = kit.health();
    assert!(message.contains("cannot connect"), "{message}");
    drop(client);
    // With its last user the check goes too.
    assert_eq!(kit.clients.check(), None);
}

/// A server that answers everything with these bytes, again and again if it is asked to.
async fn talking(bytes: &'static [u8], endless: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut read = [0; 1024];
                while socket.read(&mut read).await.is_ok_and(|len| len > 0) {
                    while socket.write_all(bytes).await.is_ok() && endless {}
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "local")]
async fn nonsense_is_bounded_counted_and_named() {
    static ZEROS: [u8; 65_536] = [b'0'; 65_536];
    for (bytes, endless) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false),
        (b"+OK\r\n", false),
        (b"$3\r\nabc\r\n", false),
        (b"*2\r\n:1\r\n$1\r\nx\r\n", false),
        (b"*2\r\n:1\r\n*1\r\n:1\r\n", false),
        (b":99999999999999999999\r\n", false),
        (b"\xff\xfe\r\n", false),
        (b"*1\r\n", true),
        (b"*2147483647\r\n:1\r\n", true),
        (&ZEROS, true),
        (
            b"$2000000000\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            true,
        ),
    ] {
        let port = talking(bytes, endless).await;
        let kit = Kit::new();
        let client = kit.clients.client(Target {
            timeout: Duration::from_millis(400),
            ..target(port)
        });
        let away = kit.sum(&client, "k").await.unwrap_err();
        // Half an answer is none either.
        let fits = matches!(
            away,
            Away::Garbage(_) | Away::Timeout(_) | Away::Closed(_) | Away::Open
        );
        assert!(fits, "{away:?} {}", bytes.escape_ascii());
        kit.opens(&client).await;
        let garbage = format!(
            "sluicegate_ratelimit_redis_calls_total{{redis=\"127.0.0.1:{port}\",result=\"garbage\"}}"
        );
        let timeouts = garbage.replace("garbage", "timeout");
        assert!(kit.metric(&garbage) + kit.metric(&timeouts) >= 1.0);
    }
}

#[tokio::test(flavor = "local")]
async fn a_server_that_answers_probes_alone_is_asked_less_and_less() {
    let server = Redis::start(&[]);
    server.ask("ACL SETUSER default -evalsha");
    let kit = Kit::new();
    let client = kit.clients.client(target(server.port()));
    let begin = Instant::now();
    let mut asked = 0;
    while begin.elapsed() < Duration::from_millis(1_500) {
        match kit.sum(&client, "k").await {
            Err(Away::Open) => sleep(Duration::from_millis(1)).await,
            Err(away) => {
                assert!(away.to_string().contains("no permissions"), "{away}");
                asked += 1;
            }
            Ok(sum) => panic!("{sum:?}"),
        }
    }
    assert!((6..=15).contains(&asked), "{asked}");
    server.ask("ACL SETUSER default +evalsha");
    kit.works(&client).await;
}

#[tokio::test(flavor = "local")]
async fn a_server_that_closes_idle_connections_loses_no_request() {
    let server = Redis::start(&[]);
    let kit = Kit::new();
    let client = kit.clients.client(target(server.port()));
    kit.works(&client).await;
    for _ in 0..3 {
        server.ask("CLIENT KILL TYPE normal");
        // The end of the connection is seen before the next request.
        sleep(Duration::from_millis(50)).await;
        assert_eq!(kit.sum(&client, "k").await, Ok(vec![42, 7]));
    }
}

#[tokio::test(flavor = "local")]
async fn connections_end_with_their_last_user() {
    let server = Redis::start(&[]);
    let kit = Kit::new();
    let client = kit.clients.client(target(server.port()));
    kit.works(&client).await;
    let others = || server.ask("CLIENT LIST").matches("name=").count() - 1;
    assert!(others() >= 1);
    drop(client);
    let begin = Instant::now();
    while others() > 0 {
        assert!(begin.elapsed() < PATIENCE, "{}", server.ask("CLIENT LIST"));
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_cluster_is_asked_where_the_keys_are() {
    let servers = Servers3::start();
    let kit = Kit::new();
    let client = kit.clients.client(Target {
        cluster: true,
        nodes: vec![local(servers.0[0].port())],
        ..target(0)
    });
    for nth in 0..60 {
        let sum = kit.sum(&client, &format!("{{k{nth}}}:x")).await;
        assert_eq!(sum, Ok(vec![42, 7]));
    }
    // Each server has its share, and none sends away any more.
    let sizes: Vec<u64> = servers
        .0
        .iter()
        .map(|of| of.ask("DBSIZE").parse().unwrap())
        .collect();
    assert_eq!(sizes.iter().sum::<u64>(), 60);
    assert!(sizes.iter().all(|size| *size > 5), "{sizes:?}");
    let begin = Instant::now();
    let calls = || -> u64 { servers.0.iter().map(|of| of.calls("evalsha")).sum() };
    loop {
        let before = calls();
        for nth in 0..60 {
            kit.sum(&client, &format!("{{k{nth}}}:x")).await.unwrap();
        }
        if calls() == before + 60 {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "still sent away");
    }
    assert_eq!(kit.health(), (Health::Healthy, "3 servers".to_owned()));
}

#[tokio::test(flavor = "local")]
async fn a_slot_that_moves_is_followed() {
    let servers = Servers3::start();
    let kit = Kit::new();
    let client = kit.clients.client(Target {
        cluster: true,
        nodes: servers.0.iter().map(|of| local(of.port())).collect(),
        ..target(0)
    });
    // "foo" lies in slot 12182, the third server's.
    assert_eq!(kit.sum(&client, "{foo}").await, Ok(vec![42, 7]));
    let [to, _, from] = servers.0.as_slice() else {
        unreachable!();
    };
    let (to_id, from_id) = (to.ask("CLUSTER MYID"), from.ask("CLUSTER MYID"));
    to.ask(&format!("CLUSTER SETSLOT 12182 IMPORTING {from_id}"));
    from.ask(&format!("CLUSTER SETSLOT 12182 MIGRATING {to_id}"));
    let moved = format!("MIGRATE 127.0.0.1 {} {{foo}} 0 5000", to.port());
    assert_eq!(from.ask(&moved), "OK");
    // On its way: the old server answers ASK for each call.
    assert_eq!(kit.sum(&client, "{foo}").await, Ok(vec![42, 7]));
    for server in &servers.0 {
        server.ask(&format!("CLUSTER SETSLOT 12182 NODE {to_id}"));
    }
    // There: MOVED once, then never again.
    assert_eq!(kit.sum(&client, "{foo}").await, Ok(vec![42, 7]));
    assert_eq!(to.ask("GET {foo}"), "3");
}

#[tokio::test(flavor = "local")]
async fn one_dead_server_of_a_cluster_leaves_the_others_alone() {
    let mut servers = Servers3::start();
    let kit = Kit::new();
    let client = kit.clients.client(Target {
        cluster: true,
        nodes: servers.0.iter().map(|of| local(of.port())).collect(),
        ..target(0)
    });
    let keys = ["{foo}", "{bar}", "{b}"];
    for key in keys {
        assert_eq!(kit.sum(&client, key).await, Ok(vec![42, 7]));
    }
    // A cluster goes on with what it has.
    for server in &servers.0 {
        server.ask("CONFIG SET cluster-require-full-coverage no");
    }
    servers.0[2].kill();
    let begin = Instant::now();
    while kit.sum(&client, "{foo}").await != Err(Away::Open) {
        assert!(begin.elapsed() < PATIENCE);
    }
    assert_eq!(kit.sum(&client, "{bar}").await, Ok(vec![42, 7]));
    assert!(!client.is_open("{bar}") && client.is_open("{foo}"));
    assert_eq!(kit.health().0, Health::Degraded);
}

#[test]
fn addresses_are_read_and_written() {
    for (text, host, port) in [
        ("redis:6379", "redis", 6379),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("[::1]:6379", "::1", 6379),
    ] {
        let address = Address::parse(text).unwrap();
        assert_eq!((address.host.as_str(), address.port), (host, port));
        assert_eq!(address.to_string(), text);
    }
    for wrong in [
        "redis",
        ":1",
        "h:0",
        "h:65536",
        "h:",
        "::1:6379",
        "a b:1",
        "redis://h:1",
    ] {
        assert_eq!(Address::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn digests_are_those_that_servers_compute() {
    let sha = Script::new("return 1").sha;
    assert_eq!(sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
}
