//! The few fields of an X.509 certificate that the checks of the configuration ask for.
//!
//! Invariant: nothing here decides about trust; chains and signatures are rustls's business. Any
//! input gives a value or `None`, never a panic.

use crate::util::clock::Civil;

/// What is read of a certificate (RFC 5280 section 4.1), in the order of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct X509<'a> {
    /// The issuer's name as encoded.
    pub(super) issuer: &'a [u8],
    /// Validity, first second, since the Unix epoch.
    pub(super) not_before: u64,
    /// Validity, last second, since the Unix epoch.
    pub(super) not_after: u64,
    /// The subject's name as encoded.
    pub(super) subject: &'a [u8],
    /// The bits of the public key, without the algorithm.
    pub(super) public_key: &'a [u8],
    /// Whether the basic constraints say that this is a certificate authority.
    pub(super) is_ca: bool,
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.19
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

impl<'a> X509<'a> {
    /// Reads a certificate; `None` if it is none.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(der);
        let mut certificate = Reader(outer.take(SEQUENCE)?);
        let mut fields = Reader(certificate.take(SEQUENCE)?);
        fields.take_if(VERSION);
        fields.take(INTEGER)?;
        fields.take(SEQUENCE)?;
        let issuer = fields.take(SEQUENCE)?;
        let mut validity = Reader(fields.take(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = fields.take(SEQUENCE)?;
        let public_key = Reader(fields.take(SEQUENCE)?).key_bits()?;
        let is_ca = fields.is_ca()?;
        outer.0.is_empty().then_some(Self {
            issuer,
            not_before,
            not_after,
            subject,
            public_key,
            is_ca,
        })
    }
}

/// The bits of the public key in a SubjectPublicKeyInfo.
pub(super) fn public_key(spki: &[u8]) -> Option<&[u8]> {
    Reader(Reader(spki).take(SEQUENCE)?).key_bits()
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element if it has that tag, else nothing is read.
    fn take_if(&mut self, tag: u8) -> Option<&'a [u8]> {
        (self.0.first() == Some(&tag))
            .then(|| self.any())?
            .map(|(_, content)| content)
    }

    /// The next element, which must have that tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| content)
    }

    /// The next element: its tag (of one byte) and its content (of definite length).
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, length, rest @ ..] = self.0 else {
            return None;
        };
        // The long form gives the number of bytes that the length takes; none is the indefinite
        // length of BER.
        let (length, rest) = match length & 0x7f {
            short if *length == short => (usize::from(short), rest),
            long @ 1..=4 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long))?;
                (
                    bytes
                        .iter()
                        .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                    rest,
                )
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (tag & 0x1f != 0x1f).then_some((*tag, content))
    }

    /// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280 section 4.1.2.5).
    fn time(&mut self) -> Option<u64> {
        let (tag, text) = self.any()?;
        let (year, rest) = match tag {
            UTC_TIME => text.split_at_checked(2)?,
            GENERALIZED_TIME => text.split_at_checked(4)?,
            _ => return None,
        };
        let year = match (tag, number(year)?) {
            (UTC_TIME, year) if year < 50 => 2000 + year,
            (UTC_TIME, year) => 1900 + year,
            (_, year) => year,
        };
        let (rest, zone) = rest.split_at_checked(10)?;
        let part = |at: usize, least, most| {
            number(&rest[at..at + 2]).filter(|part| (least..=most).contains(part))
        };
        let at = Civil {
            year: year.max(1),
            month: part(0, 1, 12)?,
            day: part(2, 1, 31)?,
            hour: part(4, 0, 23)?,
            minute: part(6, 0, 59)?,
            second: part(8, 0, 60)?,
        };
        (zone == b"Z").then(|| at.unix_secs())
    }

    /// Inside a SubjectPublicKeyInfo: what follows the algorithm.
    fn key_bits(&mut self) -> Option<&'a [u8]> {
        self.take(SEQUENCE)?;
        // The first byte counts unused bits.
        self.take(BIT_STRING)?.get(1..)
    }

    /// Behind the public key: whether the extensions make this an authority.
    fn is_ca(&mut self) -> Option<bool> {
        while let Some((tag, content)) = self.any() {
            if tag != EXTENSIONS {
                continue;
            }
            let mut list = Reader(Reader(content).take(SEQUENCE)?);
            while let Some(extension) = list.take_if(SEQUENCE) {
                let mut extension = Reader(extension);
                if extension.take(OBJECT_ID)? == BASIC_CONSTRAINTS {
                    extension.take_if(BOOLEAN);
                    let mut value = Reader(extension.take(OCTET_STRING)?);
                    let mut constraints = Reader(value.take(SEQUENCE)?);
                    return Some(constraints.take_if(BOOLEAN).is_some_and(|flag| flag != [0]));
                }
            }
        }
        self.0.is_empty().then_some(false)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::{authority, leaf};

    #[test]
    fn the_fields_of_a_real_certificate() {
        let ca = authority("Root");
        let leaf = leaf(&ca, &["a.test"]);
        let (root, read) = (
            X509::read(ca.der()).unwrap(),
            X509::read(leaf.der()).unwrap(),
        );
        assert!(root.is_ca && !read.is_ca);
        assert_eq!(root.subject, root.issuer);
        assert_eq!(read.issuer, root.subject);
        assert_ne!(read.subject, root.subject);
        assert!(read.not_before < read.not_after);
        assert_eq!(Some(read.public_key), public_key(&leaf.spki()));
    }

    #[test]
    fn times_are_read_in_both_forms() {
        let time = |tag: u8, text: &str| {
            Reader(&[&[tag, text.len() as u8], text.as_bytes()].concat()).time()
        };
        assert_eq!(time(UTC_TIME, "941106084937Z"), Some(784_111_777));
        assert_eq!(
            time(GENERALIZED_TIME, "20240229235959Z"),
            Some(1_709_251_199)
        );
        assert_eq!(
            time(UTC_TIME, "490101000000Z"),
            time(GENERALIZED_TIME, "20490101000000Z")
        );
        for wrong in [
            "941306084937Z",
            "940006084937Z",
            "941106084937",
            "9411060849Z",
            "94x106084937Z",
        ] {
            assert_eq!(time(UTC_TIME, wrong), None, "{wrong}");
        }
        assert_eq!(time(GENERALIZED_TIME, "00000101000000Z"), Some(0));
    }

    #[test]
    fn a_certificate_cut_anywhere_is_none() {
        let ca = authority("Root");
        for length in 0..ca.der().len() {
            assert_eq!(X509::read(&ca.der()[..length]), None);
        }
        assert_eq!(X509::read(&[ca.der().as_ref(), &[0]].concat()), None);
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..2_000, byte in any::<u8>()) {
            thread_local!(static DER: Vec<u8> = authority("Root").der().to_vec());
            let mut der = DER.with(Clone::clone);
            let at = at % der.len();
            der[at] = byte;
            let _ = X509::read(&der);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = X509::read(&noise);
            let _ = public_key(&noise);
        }
    }
}
