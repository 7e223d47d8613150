use super::*;
use crate::tls::io::tests::{handshake, server, server_with_auth};
use crate::tls::server::ClientAuth;
use crate::tls::testing::{
    Made, authority, expired_authority, intermediate, leaf, leaf_of_years, self_signed_server,
};

fn identity(verify: Verify) -> TlsIdentity {
    TlsIdentity {
        verify,
        client_cert: None,
        alpn: Alpn::Http1,
    }
}

fn trusting(ca: &Made, depth: u8) -> TlsIdentity {
    identity(Verify::On {
        cas: Some(ca.ca_set()),
        depth,
    })
}

/// Whether a client of that identity takes a server with that certificate for `name`; else why.
async fn takes(identity: TlsIdentity, certificate: Certificate, name: &str) -> Result<(), String> {
    let client = TlsClients::new().unwrap().get(identity);
    let name = PeerName::of_host(name).unwrap();
    let (_, client) = handshake(&server(certificate), &client, &name).await;
    client.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn without_verification_any_certificate_will_do() {
    let made = leaf_of_years(&expired_authority(), &["other.test"], 2001, 2002);
    assert_eq!(
        takes(identity(Verify::Off), made.certificate(), "a.test").await,
        Ok(())
    );
}

#[tokio::test]
async fn with_verification_chain_time_and_name_must_be_right() {
    let (ca, other) = (authority("Root"), authority("Other"));
    let good = leaf(&ca, &["a.test", "*.b.test", "10.0.0.1"]);
    for name in ["a.test", "A.test:8443", "x.b.test", "10.0.0.1:443"] {
        assert_eq!(
            takes(trusting(&ca, 1), good.certificate(), name).await,
            Ok(()),
            "{name}"
        );
    }
    for (identity, made, name, want) in [
        (trusting(&other, 1), &good, "a.test", "unknown authority"),
        (
            trusting(&ca, 1),
            &good,
            "c.test",
            "it is for another name than ",
        ),
        (
            trusting(&ca, 1),
            &good,
            "10.0.0.2",
            "it is for another name than ",
        ),
        (
            trusting(&ca, 1),
            &leaf_of_years(&ca, &["a.test"], 2001, 2002),
            "a.test",
            "expired",
        ),
        (
            trusting(&ca, 1),
            &leaf_of_years(&ca, &["a.test"], 2901, 2902),
            "a.test",
            "not valid yet",
        ),
        (
            identity(Verify::On {
                cas: None,
                depth: 1,
            }),
            &good,
            "a.test",
            "unknown authority",
        ),
    ] {
        let error = takes(identity, made.certificate(), name).await.unwrap_err();
        assert!(error.contains(want), "{error} has no {want}");
    }
}

#[tokio::test]
async fn the_depth_counts_intermediate_certificates() {
    let root = authority("Root");
    let one = intermediate(&root, "One");
    let two = intermediate(&one, "Two");
    let near = leaf(&one, &["a.test"]).chained(&[&one]);
    let far_made = leaf(&two, &["a.test"]);
    let far = far_made.chained(&[&two, &one]);
    let mixed = far_made.chained(&[&root, &one, &two]);
    let direct = leaf(&root, &["a.test"]).chained(&[&one, &two]);
    for (certificate, needs) in [(direct, 0), (near, 1), (far, 2), (mixed, 2)] {
        for depth in 0..4 {
            let result = takes(trusting(&root, depth), certificate.clone(), "a.test").await;
            assert_eq!(
                result.is_ok(),
                depth >= needs,
                "{depth} of {needs}: {result:?}"
            );
            if let Err(error) = result {
                assert!(error.contains("tls_verify_depth"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_listed_certificate_is_trusted_as_a_server_s_own() {
    let made = self_signed_server(&["a.test"]);
    let takes = |name| takes(trusting(&made, 0), made.certificate(), name);
    assert_eq!(takes("a.test").await, Ok(()));
    assert!(
        takes("b.test")
            .await
            .unwrap_err()
            .contains("it is for another name than ")
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_it_is_asked_for() {
    let ca = authority("Root");
    let certificate = leaf(&ca, &["a.test"]).certificate();
    let name = PeerName::of_host("a.test").unwrap();
    let clients = TlsClients::new().unwrap();
    let with = |client_cert| TlsIdentity {
        client_cert,
        ..identity(Verify::Off)
    };
    let mine = leaf(&ca, &["client"]).certificate();
    let other = leaf(&authority("Other"), &["client"]).certificate();
    let optional = server_with_auth(certificate.clone(), ClientAuth::Optional(ca.ca_set()));
    let required = server_with_auth(certificate, ClientAuth::Required(ca.ca_set()));
    for (server, client_cert, want) in [
        (&optional, None, Some("NONE")),
        (&optional, Some(mine.clone()), Some("SUCCESS")),
        (&optional, Some(other.clone()), None),
        (&required, None, None),
        (&required, Some(mine), Some("SUCCESS")),
        (&required, Some(other), None),
    ] {
        let (server, _client) = handshake(server, &clients.get(with(client_cert)), &name).await;
        let got = server
            .ok()
            .and_then(|io| io.tls_info())
            .map(|info| info.client_verify);
        assert_eq!(got, want);
    }
}

#[test]
fn equal_identities_share_one_configuration() {
    let (one, two) = (authority("One"), authority("Two"));
    let clients = TlsClients::new().unwrap();
    let first = clients.get(trusting(&one, 1));
    assert_eq!(first, clients.get(trusting(&one, 1)));
    let show = leaf(&one, &["client"]).certificate();
    for other in [
        trusting(&two, 1),
        trusting(&one, 2),
        identity(Verify::Off),
        TlsIdentity {
            alpn: Alpn::Http2,
            ..trusting(&one, 1)
        },
        TlsIdentity {
            client_cert: Some(show),
            ..trusting(&one, 1)
        },
    ] {
        assert_ne!(first, clients.get(other));
    }
}

#[test]
fn peer_names_come_out_of_hosts() {
    for (host, want) in [
        ("a.test", "a.test"),
        ("A.Test.:443", "a.test"),
        ("under_score.test", "under_score.test"),
        ("10.0.0.1:80", "10.0.0.1"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
    ] {
        assert_eq!(PeerName::of_host(host).unwrap().text(), want);
    }
    for host in ["", ":80", "a b", "a..b", "[::1", "a:b:c"] {
        assert!(PeerName::of_host(host).is_err(), "{host}");
    }
}
