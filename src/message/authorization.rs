//! What stands in `Authorization` and `Proxy-Authorization`: the schemes `Basic` (RFC 7617) and
//! `hmac` (Kong's form of signed HTTP messages).
//!
//! Invariant: a value that could be read in two ways is not read at all.

use crate::util::base64;

/// Whether a value is of this scheme, whatever the case of either side.
pub fn is_scheme(value: &[u8], scheme: &str) -> bool {
    rest_of(value, scheme).is_some()
}

/// What follows the scheme and its blanks.
fn rest_of<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let (name, rest) = value.trim_ascii().split_at_checked(scheme.len())?;
    let fits = name.eq_ignore_ascii_case(scheme.as_bytes())
        && rest.first().is_some_and(|byte| b" \t".contains(byte));
    fits.then(|| rest.trim_ascii_start())
}

/// A user and what is said to be the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    text: Vec<u8>,
    colon: usize,
}

impl Basic {
    /// The user: what stands before the first colon; never empty.
    pub fn user(&self) -> &[u8] {
        &self.text[..self.colon]
    }

    /// The password: everything behind the first colon.
    pub fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}

/// Reads `Basic <base64 of user:password>`.
pub fn basic(value: &[u8]) -> Option<Basic> {
    let text = base64::decode(rest_of(value, "basic")?)?;
    let colon = memchr::memchr(b':', &text).filter(|colon| *colon > 0)?;
    Some(Basic { text, colon })
}

/// A signature and what it is said to be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'v> {
    /// Whose secret was used.
    pub username: &'v str,
    /// How: `hmac-sha256`.
    pub algorithm: &'v str,
    /// What was signed: names with blanks between them.
    pub headers: &'v str,
    /// The signature in base64.
    pub signature: &'v str,
}

/// Reads `hmac username="…", algorithm="…", headers="…", signature="…"`: each parameter once, in
/// any order, none empty, and no other. A value ends at the next quote.
pub fn hmac(value: &[u8]) -> Option<Signature<'_>> {
    let mut rest = std::str::from_utf8(rest_of(value, "hmac")?).ok()?;
    let mut found = [None; 4];
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = after
            .split_once('"')
            .filter(|(value, _)| !value.is_empty())?;
        let names = ["username", "algorithm", "headers", "signature"];
        let place = names.iter().position(|known| *known == name)?;
        if found[place].replace(value).is_some() {
            return None;
        }
        if after.is_empty() {
            break;
        }
        rest = after.trim_start().strip_prefix(',')?.trim_start();
    }
    let [username, algorithm, headers, signature] = found;
    Some(Signature {
        username: username?,
        algorithm: algorithm?,
        headers: headers?,
        signature: signature?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords() {
        for (value, want) in [
            ("Basic YWxpY2U6czNjcmV0", Some(("alice", "s3cret"))),
            ("basic YTpiOmM=", Some(("a", "b:c"))),
            ("BASIC \t YTpiOmM", Some(("a", "b:c"))),
            ("Basic YTo=", Some(("a", ""))),
            // `:b`, `a`, nothing, no base64, no blank, another scheme.
            ("Basic OmI=", None),
            ("Basic YQ==", None),
            ("Basic ", None),
            ("Basic", None),
            ("Basic !", None),
            ("BasicYTpiOmM=", None),
            ("Bearer YTpiOmM=", None),
            ("", None),
        ] {
            let basic = basic(value.as_bytes());
            let found = basic.as_ref().map(|basic| (basic.user(), basic.password()));
            let want = want.map(|(user, password)| (user.as_bytes(), password.as_bytes()));
            assert_eq!(found, want, "{value}");
        }
        // Neither needs to be UTF-8.
        assert_eq!(basic(b"Basic /zr+").unwrap().password(), b"\xfe");
    }

    #[test]
    fn parameters_of_signatures() {
        let whole = r#"hmac username="u v", algorithm="hmac-sha256", headers="date @request-target", signature="c2ln""#;
        let want = Signature {
            username: "u v",
            algorithm: "hmac-sha256",
            headers: "date @request-target",
            signature: "c2ln",
        };
        assert_eq!(hmac(whole.as_bytes()), Some(want));
        let other = r#"HMAC signature="c2ln",headers="date @request-target" ,	username="u v",algorithm="hmac-sha256""#;
        assert_eq!(hmac(other.as_bytes()), Some(want));
        for wrong in [
            "hmac",
            "hmac ",
            "hmac username",
            r#"hmac username="u""#,
            &whole.replace("u v", ""),
            &whole.replace("c2ln", ""),
            &whole.replace("hmac ", "Basic "),
            &whole.replace("hmac ", "hmac"),
            &whole.replace(", ", " "),
            &whole.replace("algorithm", "Algorithm"),
            &whole.replace("algorithm", "username"),
            &format!("{whole},"),
            &format!("{whole}, "),
            &format!(r#"{whole}, realm="r""#),
            &format!(r#"{whole}, username="w""#),
            &whole.replace("\"c2ln\"", "c2ln"),
        ] {
            assert_eq!(hmac(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(hmac(b"hmac username=\"\xff\""), None);
    }
}
