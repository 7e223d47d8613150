//! What is measured: who plays, and under which load.

use crate::peers::Peer;
use crate::stage::Stage;
use crate::tokens::Algorithm;

/// One table of figures.
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    pub players: Vec<Player>,
    pub load: Load,
}

/// A proxy in one set-up.
pub struct Player {
    pub peer: Peer,
    pub stage: Stage,
    /// What it is called where the peer's name does not tell.
    pub label: Option<&'static str>,
}

/// How a proxy is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Keep-alive connections, each asking again once it has its answer.
    Get {
        path: &'static str,
        connections: usize,
        tls: bool,
    },
    /// The same with a body of so many bytes.
    Post { bytes: usize, connections: usize },
    /// The same with a token.
    Tokens { algorithm: Algorithm, of: Tokens },
    /// HTTP/2 over TLS, so many streams on each of eight connections.
    Http2 { streams: usize },
    /// Unary calls over HTTP/2, ten streams on each of eight connections.
    Grpc,
    /// A TLS 1.3 handshake without resumption for each request.
    Handshakes,
    /// A connection for each request.
    Churn,
    /// Messages that come back.
    WebSocket,
    /// Requests at their own times, at a share of what the slowest proxy can do.
    Open { share: f64 },
    /// Connections that have had an answer and wait.
    Idle { connections: usize, kind: Idle },
}

/// Which tokens are sent.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Tokens {
    One,
    Thousand,
    /// Each request has one that was never seen.
    Fresh,
}

/// What kind of connections wait.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Idle {
    Plain,
    Tls,
    Http2,
}

fn player(peer: Peer, stage: Stage) -> Player {
    Player {
        peer,
        stage,
        label: None,
    }
}

/// The gateway, and these beside it.
fn beside(peers: &[Peer], stage: Stage) -> Vec<Player> {
    let ours = player(Peer::Sluicegate, stage);
    let others = peers.iter().map(|peer| player(*peer, stage));
    [ours].into_iter().chain(others).collect()
}

/// The gateway in several set-ups; the first is what the others are compared with.
fn among_ours<const N: usize>(stages: [(&'static str, Stage); N]) -> Vec<Player> {
    let ours = |(label, stage)| Player {
        label: Some(label),
        ..player(Peer::Sluicegate, stage)
    };
    stages.into_iter().map(ours).collect()
}

const PROXIES: [Peer; 5] = [
    Peer::Nginx,
    Peer::Haproxy,
    Peer::Envoy,
    Peer::Caddy,
    Peer::Pingora,
];
/// With what bounds them.
const ALL: [Peer; 7] = [
    Peer::Direct,
    Peer::Splice,
    Peer::Nginx,
    Peer::Haproxy,
    Peer::Envoy,
    Peer::Caddy,
    Peer::Pingora,
];
const TLS: [Peer; 4] = [Peer::Nginx, Peer::Haproxy, Peer::Envoy, Peer::Caddy];

fn get(path: &'static str, connections: usize) -> Load {
    Load::Get {
        path,
        connections,
        tls: false,
    }
}

/// Every case, in the order of the report.
pub fn all() -> Vec<Case> {
    let case = |name, title, players, load| Case {
        name,
        title,
        players,
        load,
    };
    let tokens = |algorithm, of| Load::Tokens { algorithm, of };
    let plain = |peers: &[Peer]| beside(peers, Stage::Plain);
    let small = || get("/small", 64);
    let chain = |of| beside(&[Peer::Haproxy], Stage::Chain(of));
    let (hs, rs, es) = (Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256);
    let tls = Load::Get {
        path: "/small",
        connections: 64,
        tls: true,
    };
    let idle = |connections, kind| Load::Idle { connections, kind };
    let routes = |count| Stage::Routes(count);
    vec![
        case("small", "Small GET, 64 connections", plain(&ALL), small()),
        case(
            "small-8",
            "Small GET, 8 connections",
            plain(&ALL),
            get("/small", 8),
        ),
        case(
            "log",
            "Small GET, access log to a file",
            among_ours([
                ("without a log", Stage::Plain),
                ("json log", Stage::JsonLog),
            ]),
            small(),
        ),
        case(
            "chain-one",
            "JWT (HS256), rate limit, CORS; one repeated token",
            chain(hs),
            tokens(hs, Tokens::One),
        ),
        case(
            "chain-thousand",
            "The same, 1,000 tokens in turn",
            chain(hs),
            tokens(hs, Tokens::Thousand),
        ),
        case(
            "chain-fresh",
            "The same, each token never seen before",
            chain(hs),
            tokens(hs, Tokens::Fresh),
        ),
        case(
            "rs256",
            "The same with RS256, one repeated token",
            chain(rs),
            tokens(rs, Tokens::One),
        ),
        case(
            "es256",
            "The same with ES256, one repeated token",
            chain(es),
            tokens(es, Tokens::One),
        ),
        case(
            "es256-fresh",
            "The same with ES256, never seen",
            chain(es),
            tokens(es, Tokens::Fresh),
        ),
        case("100k", "GET of 100 KiB", plain(&ALL), get("/large", 64)),
        case("10m", "GET of 10 MiB", plain(&ALL), get("/huge", 8)),
        case(
            "100k-up",
            "POST of 100 KiB",
            beside(&ALL, Stage::Uploads),
            Load::Post {
                bytes: 100 * 1024,
                connections: 64,
            },
        ),
        case(
            "10m-up",
            "POST of 10 MiB",
            beside(&ALL, Stage::Uploads),
            Load::Post {
                bytes: 10 * 1024 * 1024,
                connections: 8,
            },
        ),
        case(
            "tls",
            "Small GET over TLS 1.3, kept connections",
            plain(&TLS),
            tls,
        ),
        case(
            "handshakes",
            "A full TLS 1.3 handshake (P-256, x25519) and a small GET",
            plain(&TLS),
            Load::Handshakes,
        ),
        case(
            "h2-1",
            "HTTP/2 over TLS in, 1 stream",
            plain(&TLS),
            Load::Http2 { streams: 1 },
        ),
        case(
            "h2-10",
            "HTTP/2 over TLS in, 10 streams",
            plain(&TLS),
            Load::Http2 { streams: 10 },
        ),
        case(
            "h2-100",
            "HTTP/2 over TLS in, 100 streams",
            plain(&TLS),
            Load::Http2 { streams: 100 },
        ),
        case("grpc", "gRPC unary, end to end", plain(&TLS), Load::Grpc),
        case(
            "websocket",
            "WebSocket messages of 128 bytes, there and back",
            plain(&TLS),
            Load::WebSocket,
        ),
        case(
            "churn",
            "A connection for each small GET",
            plain(&PROXIES),
            Load::Churn,
        ),
        case(
            "routes",
            "Small GET, the deepest of many routes",
            among_ours([
                ("10 routes", routes(10)),
                ("10,000 routes", routes(10_000)),
                ("100,000 routes", routes(100_000)),
            ]),
            get("/deepest", 64),
        ),
        case(
            "targets",
            "Small GET, an upstream of many targets",
            among_ours([
                ("one target", Stage::Targets(1)),
                ("1,000 targets", Stage::Targets(1_000)),
            ]),
            small(),
        ),
        case(
            "scraped",
            "Small GET, metrics read every second",
            among_ours([("not read", Stage::Admin), ("read", Stage::Scraped)]),
            small(),
        ),
        case(
            "reloads",
            "Small GET, another configuration every second",
            among_ours([
                ("one", Stage::Admin),
                ("another each second", Stage::Reloaded),
            ]),
            small(),
        ),
        case(
            "redis",
            "Small GET, a rate limit kept in Redis",
            among_ours([("local", Stage::Limited), ("redis", Stage::Redis)]),
            small(),
        ),
        case(
            "open-50",
            "Open loop, half of what the slowest can do",
            plain(&PROXIES),
            Load::Open { share: 0.5 },
        ),
        case(
            "open-80",
            "Open loop, 80 % of what the slowest can do",
            plain(&PROXIES),
            Load::Open { share: 0.8 },
        ),
        case(
            "idle",
            "2,000 idle connections",
            plain(&PROXIES),
            idle(2_000, Idle::Plain),
        ),
        case(
            "idle-20k",
            "20,000 idle connections",
            plain(&PROXIES),
            idle(20_000, Idle::Plain),
        ),
        case(
            "idle-tls",
            "2,000 idle TLS connections",
            plain(&TLS),
            idle(2_000, Idle::Tls),
        ),
        case(
            "idle-h2",
            "2,000 idle HTTP/2 connections",
            plain(&TLS),
            idle(2_000, Idle::Http2),
        ),
    ]
}
