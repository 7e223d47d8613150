use std::sync::Arc;
use std::task::Waker;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::tls::cert::Certificate;
use crate::tls::client::{Alpn, TlsClients, TlsIdentity, Verify};
use crate::tls::default_cert::DefaultCert;
use crate::tls::server::{CertResolver, ClientAuth};
use crate::tls::sni::{CertTable, SniName};
use crate::tls::testing::{authority, leaf, leaf_rsa};
use crate::util::keep::Keeps;

/// A listener's configuration with one certificate for every name.
pub(in crate::tls) fn server(certificate: Certificate) -> ServerTls {
    server_with_auth(certificate, ClientAuth::Off)
}

pub(in crate::tls) fn server_with_auth(certificate: Certificate, auth: ClientAuth) -> ServerTls {
    let default = Arc::new(DefaultCert::holding(certificate));
    let table = Arc::new(CertTable::new());
    let resolver = CertResolver::new(move || Arc::clone(&table), default);
    ServerTls::new(resolver, &auth, true, &Keeps::default()).unwrap()
}

fn resolver<const N: usize>(names: [(&str, Certificate); N]) -> CertResolver {
    let mut table = CertTable::new();
    for (name, certificate) in names {
        table.insert(SniName::parse(name).unwrap(), certificate);
    }
    let table = Arc::new(table);
    CertResolver::new(
        move || Arc::clone(&table),
        Arc::new(DefaultCert::self_signed().unwrap()),
    )
}

/// Both parts of a handshake over a pipe in memory.
pub(in crate::tls) async fn handshake(
    server: &ServerTls,
    client: &ClientTls,
    name: &PeerName,
) -> (Result<Io, HandshakeError>, Result<Io, HandshakeError>) {
    let (one, two) = Io::pair(16 << 10);
    tokio::join!(
        async {
            let mut io = accept(one, server).await?;
            // Session tickets go out with the first flush.
            io.flush().await?;
            Ok(io)
        },
        connect(two, client, name)
    )
}

fn client(alpn: Alpn) -> ClientTls {
    let identity = TlsIdentity {
        verify: Verify::Off,
        client_cert: None,
        alpn,
    };
    TlsClients::new().unwrap().get(identity)
}

fn name(host: &str) -> PeerName {
    PeerName::of_host(host).unwrap()
}

async fn established(server: &ServerTls, client: &ClientTls, host: &str) -> (Io, Io) {
    let (server, client) = handshake(server, client, &name(host)).await;
    (server.unwrap(), client.unwrap())
}

/// The certificate that a client was shown.
fn shown(client: &Io) -> Vec<u8> {
    let Io::Tls(stream) = client else {
        panic!("not TLS")
    };
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_end_is_seen() {
    let certificate = leaf(&authority("Root"), &["a.test"]).certificate();
    let (mut one, mut two) =
        established(&server(certificate), &client(Alpn::Http1), "a.test").await;
    one.write_all(b"hello").await.unwrap();
    one.shutdown().await.unwrap();
    let mut got = Vec::new();
    two.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"hello");
    two.write_all(b"good bye").await.unwrap();
    two.shutdown().await.unwrap();
    got.clear();
    one.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"good bye");
}

#[tokio::test]
async fn the_connection_says_what_was_agreed_on() {
    let certificate = leaf(&authority("Root"), &["a.test"]).certificate();
    let server = server(certificate);
    for (alpn, want) in [(Alpn::Http1, b"http/1.1".as_slice()), (Alpn::Http2, b"h2")] {
        let (one, two) = established(&server, &client(alpn), "A.test").await;
        assert_eq!((one.alpn(), two.alpn()), (Some(want), Some(want)));
        assert_eq!((one.sni(), two.sni()), (Some("a.test"), None));
        let info = one.tls_info().unwrap();
        assert_eq!(info, two.tls_info().unwrap());
        assert_eq!((info.version, info.client_verify), ("TLSv1.3", "NONE"));
        assert!(info.cipher.starts_with("TLS_"), "{}", info.cipher);
        assert!(one.is_tls() && one.peer_addr().is_none());
    }
    let (one, _two) = established(&server, &client(Alpn::Http1), "10.0.0.1").await;
    assert_eq!(one.sni(), None);
}

#[tokio::test]
async fn an_older_client_gets_tls_1_2_and_an_openssl_name_of_its_cipher() {
    let rsa = leaf_rsa(&authority("Root"), &["a.test"]).certificate();
    let tls12 = rustls::ClientConfig::builder_with_provider(Arc::clone(crate::tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(crate::tls::verify::AcceptAny))
        .with_no_client_auth();
    let (one, two) = Io::pair(16 << 10);
    let tls = server(rsa);
    let connector = TlsConnector::from(Arc::new(tls12));
    let (one, two) = tokio::join!(accept(one, &tls), connector.connect(name("a.test").0, two));
    let info = one.unwrap().tls_info().unwrap();
    assert_eq!(info.version, "TLSv1.2");
    assert!(info.cipher.starts_with("ECDHE-RSA-"), "{}", info.cipher);
    two.unwrap();
}

#[tokio::test]
async fn the_name_chooses_the_certificate_and_a_swap_works_at_once() {
    let ca = authority("Root");
    let (one, two, three) = (leaf(&ca, &["1"]), leaf(&ca, &["2"]), leaf(&ca, &["3"]));
    let table = |exact: Certificate| {
        let mut table = CertTable::new();
        table.insert(SniName::parse("a.b.test").unwrap(), exact);
        table.insert(SniName::parse("*.b.test").unwrap(), two.certificate());
        Arc::new(table)
    };
    let current = Arc::new(std::sync::Mutex::new(table(one.certificate())));
    let theirs = Arc::clone(&current);
    let default = Arc::new(DefaultCert::self_signed().unwrap());
    let resolver = CertResolver::new(move || theirs.lock().unwrap().clone(), default);
    let server = ServerTls::new(resolver, &ClientAuth::Off, true, &Keeps::default()).unwrap();
    let shown_for = async |host: &str| {
        // A client of its own each time: a resumed session shows no certificate.
        shown(&established(&server, &client(Alpn::Http1), host).await.1)
    };
    assert_eq!(shown_for("a.b.test").await, one.der().as_ref());
    assert_eq!(shown_for("x.b.test").await, two.der().as_ref());
    let default = shown_for("other.test").await;
    assert_eq!(shown_for("10.0.0.1").await, default);
    assert!(default != one.der().as_ref() && default != two.der().as_ref());
    *current.lock().unwrap() = table(three.certificate());
    assert_eq!(shown_for("a.b.test").await, three.der().as_ref());
}

/// Whether the second of two connections of one client resumed the first one's session.
async fn resumes(first: &ServerTls, second: &ServerTls) -> bool {
    let client = client(Alpn::Http1);
    for server in [first, second] {
        let (mut one, mut two) = established(server, &client, "a.test").await;
        one.write_all(b"x").await.unwrap();
        // Reading takes the tickets in.
        two.read_u8().await.unwrap();
        if std::ptr::eq(server, second) {
            let Io::Tls(stream) = &one else {
                panic!("not TLS")
            };
            return stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        }
    }
    false
}

#[tokio::test]
async fn sessions_resume_over_a_new_configuration_but_not_over_a_new_policy() {
    let ca = authority("Root");
    let certificate = leaf(&ca, &["a.test"]).certificate();
    let keeps = Keeps::default();
    let make = |auth: ClientAuth| {
        ServerTls::new(resolver([("*", certificate.clone())]), &auth, true, &keeps).unwrap()
    };
    let (first, second) = (make(ClientAuth::Off), make(ClientAuth::Off));
    assert!(resumes(&first, &second).await);
    assert!(!resumes(&first, &make(ClientAuth::Optional(ca.ca_set()))).await);
    let other = ClientAuth::Optional(authority("Other").ca_set());
    assert!(!resumes(&make(ClientAuth::Optional(ca.ca_set())), &make(other)).await);
}

#[tokio::test]
async fn an_idle_connection_is_dead_after_an_end_or_unasked_bytes() {
    let certificate = leaf(&authority("Root"), &["a.test"]).certificate();
    let server = server(certificate);
    let cx = &mut Context::from_waker(Waker::noop());
    for unasked in [b"".as_slice(), b"x"] {
        let (mut one, mut two) = established(&server, &client(Alpn::Http1), "a.test").await;
        // Tickets that wait to be read are no reason.
        assert!(!two.is_dead(cx));
        assert!(!two.is_dead(cx));
        match unasked {
            b"" => one.shutdown().await.unwrap(),
            bytes => one.write_all(bytes).await.unwrap(),
        }
        one.flush().await.unwrap();
        assert!(two.is_dead(cx));
    }
    let (one, mut two) = Io::pair(64);
    assert!(!two.is_dead(cx));
    drop(one);
    assert!(two.is_dead(cx));
}

async fn sockets() -> (Io, Io) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    (accepted.unwrap().0.into(), connected.unwrap().into())
}

#[tokio::test]
async fn clear_text_on_a_tls_port_can_still_be_answered() {
    let tls = server(leaf(&authority("Root"), &["a.test"]).certificate());
    let (one, mut two) = sockets().await;
    assert_eq!(one.peer_addr(), two.local_addr());
    two.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let Err(HandshakeError::ClearText(mut io)) = accept(one, &tls).await else {
        panic!("clear text was taken for TLS");
    };
    let mut got = [0; 4];
    io.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"GET ");
}

#[tokio::test]
async fn tls_over_sockets_and_peers_that_go_away() {
    let tls = server(leaf(&authority("Root"), &["a.test"]).certificate());
    let (one, two) = sockets().await;
    let client = client(Alpn::Http1);
    let name = name("a.test");
    let (one, two) = tokio::join!(accept(one, &tls), connect(two, &client, &name));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.peer_addr(), two.local_addr());
    let (one, two) = sockets().await;
    drop(two);
    assert!(matches!(
        accept(one, &tls).await,
        Err(HandshakeError::Closed)
    ));
    let (one, mut two) = Io::pair(64);
    two.write_all(b"\x00\x01\x02\x03\x04\x05").await.unwrap();
    assert!(matches!(
        accept(one, &tls).await,
        Err(HandshakeError::Tls(_))
    ));
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Io>() <= 40, "{}", size_of::<Io>());
    let (tls, client, name) = (server_dummy(), client(Alpn::Http1), name("a.test"));
    let (one, two) = Io::pair(64);
    assert!(size_of_val(&accept(one, &tls)) <= 256);
    assert!(size_of_val(&connect(two, &client, &name)) <= 256);
}

fn server_dummy() -> ServerTls {
    server(leaf(&authority("Root"), &["a.test"]).certificate())
}
