use super::*;
use crate::tls::testing::{authority, expired_authority, leaf, leaf_rsa};

const NOW: u64 = 1_700_000_000;

#[test]
fn a_certificate_and_its_key_fit() {
    let ca = authority("Root");
    for made in [leaf(&ca, &["a.test"]), leaf_rsa(&ca, &["a.test"])] {
        assert!(KeyPair::parse(made.pem(), made.key_pem()).is_ok());
        assert!(KeyPair::parse(made.pem() + &ca.pem(), made.key_pem()).is_ok());
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let ca = authority("Root");
    let (one, two) = (leaf(&ca, &["a.test"]), leaf(&ca, &["a.test"]));
    let error = |cert: &str, key: &str| KeyPair::parse(cert, key).unwrap_err().to_string();
    assert_eq!(
        error(&one.pem(), &two.key_pem()),
        "certificate does not match key"
    );
    // The leaf comes first: the authority's key is not the chain's.
    assert_eq!(
        error(&(one.pem() + &ca.pem()), &ca.key_pem()),
        "certificate does not match key"
    );
    assert_eq!(
        error("x", &one.key_pem()),
        "invalid certificate: no PEM block found, expected -----BEGIN CERTIFICATE-----"
    );
    assert_eq!(
        error(&one.pem(), &one.pem()),
        "invalid key: expected a PRIVATE KEY block, found CERTIFICATE"
    );
    let broken = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let text = error(&one.pem(), broken);
    assert!(
        text.starts_with("invalid key: unsupported private key: "),
        "{text}"
    );
}

#[test]
fn an_alternative_is_of_another_kind() {
    let ca = authority("Root");
    let (ecdsa, rsa) = (
        leaf(&ca, &["a.test"]).pair(),
        leaf_rsa(&ca, &["a.test"]).pair(),
    );
    assert_eq!(
        Certificate::with_alt(ecdsa.clone(), leaf(&ca, &["a.test"]).pair()),
        Err(CertError::SameType)
    );
    for certificate in [
        Certificate::with_alt(ecdsa.clone(), rsa.clone()).unwrap(),
        Certificate::with_alt(rsa.clone(), ecdsa.clone()).unwrap(),
    ] {
        let chosen = |schemes: &[SignatureScheme]| KeyPair(certificate.choose(schemes));
        let both = [
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ];
        assert_eq!(chosen(&both), ecdsa);
        assert_eq!(chosen(&both[..1]), rsa);
        assert_eq!(chosen(&both[1..]), ecdsa);
        assert_eq!(chosen(&[]), ecdsa);
    }
}

#[test]
fn pairs_are_equal_by_their_chain_and_keep_their_key_to_themselves() {
    let ca = authority("Root");
    let made = leaf(&ca, &["a.test"]);
    assert_eq!(made.pair(), made.pair());
    assert_ne!(made.certificate(), made.chained(&[&ca]));
    assert_eq!(
        format!("{:?}", made.pair()),
        "KeyPair(ECDSA, 1 certificates)"
    );
}

#[test]
fn an_authority_is_one_valid_ca_certificate() {
    let ca = authority("Root");
    let error = |text: String| CaCert::parse(text, NOW).unwrap_err().to_string();
    assert!(CaCert::parse(ca.pem(), NOW).is_ok());
    assert_eq!(
        error(ca.pem() + &ca.pem()),
        "please submit only one certificate at a time"
    );
    assert_eq!(
        error(expired_authority().pem()),
        "certificate expired, \"Not After\" time is in the past"
    );
    assert_eq!(
        error(leaf(&ca, &["a.test"]).pem()),
        "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint"
    );
    assert_eq!(
        error(String::new()),
        "invalid certificate: no PEM block found, expected -----BEGIN CERTIFICATE-----"
    );
}

#[test]
fn a_digest_is_sha256_in_hex() {
    let ca = authority("Root");
    let want = digest::digest(&digest::SHA256, ca.der());
    let digest = ca.ca().digest();
    assert_eq!(digest.len(), 64);
    assert_eq!(digest[..2], format!("{:02x}", want.as_ref()[0]));
}

#[test]
fn a_set_of_authorities_has_no_order() {
    let (one, two) = (authority("One").ca(), authority("Two").ca());
    let set = |cas: [&CaCert; 3]| cas.into_iter().cloned().collect::<CaSet>();
    assert_eq!(set([&one, &two, &one]), set([&two, &two, &one]));
    assert_ne!(set([&one, &one, &one]), set([&one, &two, &one]));
    assert_eq!(set([&one, &two, &one]).store().len(), 2);
}
