//! What clients send as proof of who they are.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let add = |word: u32, byte: &u8| word << 8 | u32::from(*byte);
        let word = group.iter().fold(0, add) << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at > group.len() { '=' } else { digit.into() });
        }
    }
    text
}

/// `Authorization` with a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

/// `Authorization` with a signature of a text that the test puts together.
pub fn signature(user: &str, secret: &str, algorithm: &str, headers: &str, text: &str) -> String {
    let hash = match algorithm {
        "hmac-sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        "hmac-sha256" => hmac::HMAC_SHA256,
        "hmac-sha384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    let tag = hmac::sign(&hmac::Key::new(hash, secret.as_bytes()), text.as_bytes());
    let signature = base64(tag.as_ref());
    format!(
        "hmac username=\"{user}\", algorithm=\"{algorithm}\", headers=\"{headers}\", signature=\"{signature}\""
    )
}

/// `Digest` of a body.
pub fn digest(body: &str) -> String {
    let digest = digest::digest(&digest::SHA256, body.as_bytes());
    format!("SHA-256={}", base64(digest.as_ref()))
}

/// The date so many seconds from now, as HTTP has it: counted year by year and month by month.
pub fn date(offset: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = now.as_secs().saturating_add_signed(offset);
    let (mut day, mut year) = (at / 86_400, 1970);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(day % 7) as usize];
    let every = |year: u64, count: u64| year.is_multiple_of(count);
    let leap = |year| every(year, 4) && (!every(year, 100) || every(year, 400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] + u64::from(month == 1 && leap(year)) {
        day -= lengths[month] + u64::from(month == 1 && leap(year));
        month += 1;
    }
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = &names[3 * month..3 * month + 3];
    let (hour, minute, second) = (at / 3600 % 24, at / 60 % 60, at % 60);
    let day = day + 1;
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}
