//! Header fields: received text, an index over it, and edits beside it.
//!
//! A received head stays where it was read (`raw`); every field is a [`Line`] of offsets into it.
//! An edit marks a line dead and writes the new text into `extra`, so an untouched field costs
//! nothing and runs of untouched lines are copied out whole. Heads that arrive over HTTP/2 are
//! written into `extra` as lines, so nobody above this file sees two kinds of header.
//!
//! Invariant: no text in here holds CR, LF or NUL inside a name or value.

use std::ops::Range;

/// Fields that the gateway itself looks at, found without comparing text twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the field of that name")]
pub enum Known {
    Other,
    AcceptEncoding,
    Accept,
    AccessControlRequestMethod,
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Host,
    KeepAlive,
    Origin,
    Proxy,
    ProxyAuthorization,
    ProxyConnection,
    Server,
    SetCookie,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Vary,
    Via,
    XAnonymousConsumer,
    XAuthenticatedGroups,
    XConsumerCustomId,
    XConsumerGroups,
    XConsumerId,
    XConsumerUsername,
    XCredentialIdentifier,
    XForwardedFor,
    XForwardedHost,
    XForwardedPath,
    XForwardedPort,
    XForwardedPrefix,
    XForwardedProto,
    XKongRequestId,
    XRealIp,
    Http2Settings,
}

/// Every known name in lower case, in the order of [`Known`].
const NAMES: [&str; 42] = [
    "",
    "accept-encoding",
    "accept",
    "access-control-request-method",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "server",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "x-anonymous-consumer",
    "x-authenticated-groups",
    "x-consumer-custom-id",
    "x-consumer-groups",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-kong-request-id",
    "x-real-ip",
    "http2-settings",
];

impl Known {
    /// Classifies a field name, a token, whatever its case: by a hash without collisions, so that
    /// it is compared with one candidate.
    pub fn of(name: &[u8]) -> Known {
        let ends = ends(name);
        let known = SLOTS[slot(ends, name.len())];
        let place = known as usize;
        let found = LENGTHS[place] as usize == name.len() && ENDS[place] == ends;
        match found && known.has_middle_of(name) {
            true => known,
            false => Known::Other,
        }
    }

    /// Whether the bytes that [`ends`] leaves out of a name of the same length are equal.
    fn has_middle_of(self, name: &[u8]) -> bool {
        name.len() <= 16 || name.eq_ignore_ascii_case(self.name().as_bytes())
    }

    /// The field's name in lower case; empty for [`Known::Other`].
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Every known field, in order.
const ALL: [Known; NAMES.len()] = {
    use Known::*;
    [
        Other,
        AcceptEncoding,
        Accept,
        AccessControlRequestMethod,
        Authorization,
        Connection,
        ContentLength,
        ContentType,
        Cookie,
        Date,
        Expect,
        Host,
        KeepAlive,
        Origin,
        Proxy,
        ProxyAuthorization,
        ProxyConnection,
        Server,
        SetCookie,
        Te,
        Trailer,
        TransferEncoding,
        Upgrade,
        UserAgent,
        Vary,
        Via,
        XAnonymousConsumer,
        XAuthenticatedGroups,
        XConsumerCustomId,
        XConsumerGroups,
        XConsumerId,
        XConsumerUsername,
        XCredentialIdentifier,
        XForwardedFor,
        XForwardedHost,
        XForwardedPath,
        XForwardedPort,
        XForwardedPrefix,
        XForwardedProto,
        XKongRequestId,
        XRealIp,
        Http2Settings,
    ]
};

/// Where a name with these [`ends`] is looked for. The factor was searched for: no two known names
/// share a place, or this would not compile.
const fn slot((first, last): (u64, u64), len: usize) -> usize {
    let mixed = first ^ (last << 1) ^ len as u64;
    (mixed.wrapping_mul(0x4b63_e0ef_b62a_c1ff) >> 57) as usize
}

/// Known fields by [`slot`].
static SLOTS: [Known; 128] = {
    let mut table = [Known::Other; 128];
    let mut at = 1;
    while at < NAMES.len() {
        let name = NAMES[at].as_bytes();
        let place = slot(ends(name), name.len());
        assert!(
            matches!(table[place], Known::Other),
            "two names at one place"
        );
        table[place] = ALL[at];
        at += 1;
    }
    table
};

/// Lengths of the known names, in the order of [`Known`].
static LENGTHS: [u8; NAMES.len()] = {
    let mut table = [0; NAMES.len()];
    let mut at = 1;
    while at < NAMES.len() {
        table[at] = NAMES[at].len() as u8;
        at += 1;
    }
    table
};

/// [`ends`] of every known name, in the order of [`Known`].
static ENDS: [(u64, u64); NAMES.len()] = {
    let mut table = [(0, 0); NAMES.len()];
    let mut at = 0;
    while at < NAMES.len() {
        table[at] = ends(NAMES[at].as_bytes());
        at += 1;
    }
    table
};

/// The first and the last eight bytes of a name in lower case; they overlap in a shorter one. Of
/// two names of one length, up to sixteen bytes, equal ends mean equal names.
const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return (
            lower(u64::from_le_bytes(*first)),
            lower(u64::from_le_bytes(*last)),
        );
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return (lower(first as u64 | (last as u64) << 32), 0);
    }
    let word = match *name {
        [a] => [a, 0, 0, 0, 0, 0, 0, 0],
        [a, b] => [a, b, 0, 0, 0, 0, 0, 0],
        [a, b, c] => [a, b, c, 0, 0, 0, 0, 0],
        _ => [0; 8],
    };
    (lower(u64::from_le_bytes(word)), 0)
}

/// Eight bytes of a token with its capitals in lower case. The dash and the digits have that bit
/// already, and no other byte of a token turns into one of theirs or into a letter.
const fn lower(word: u64) -> u64 {
    word | u64::from_ne_bytes([0x20; 8])
}

/// A set of known fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(u64);

impl Mask {
    /// No field.
    pub const NONE: Mask = Mask(0);

    /// These fields.
    pub const fn of(fields: &[Known]) -> Mask {
        let mut bits = 0;
        let mut at = 0;
        while at < fields.len() {
            bits |= fields[at].bit();
            at += 1;
        }
        Mask(bits)
    }

    /// The same set with one more field.
    pub const fn with(self, known: Known) -> Mask {
        Mask(self.0 | known.bit())
    }

    /// Whether the field is in the set.
    pub const fn has(self, known: Known) -> bool {
        self.0 & known.bit() != 0
    }
}

/// One field: offsets into the received text or into the text added later.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Offset of the first byte of the name.
    pub start: u32,
    /// Offset of the first byte of the value, blanks around it left out.
    pub value: u32,
    /// Length of the value in bytes.
    pub value_len: u32,
    /// Offset behind the line's CR LF.
    pub end: u32,
    /// Length of the name in bytes.
    pub name_len: u16,
    /// What field it is.
    pub known: Known,
    home: Home,
}

/// A field in a block of several.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// What [`Known::of`] says of the name.
    pub known: Known,
    /// The name.
    pub name: &'static str,
    /// Length of the value in bytes.
    pub value_len: usize,
}

impl Field {
    /// One whose name is no [`Known`] one.
    pub const fn other(name: &'static str, value_len: usize) -> Field {
        Field {
            known: Known::Other,
            name,
            value_len,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Raw,
    Extra,
    Dead,
}

const fn length_bit(length: usize) -> u64 {
    1 << (length & 63)
}

/// Makes control bytes blanks. Looks first, eight at a time: there is next to never one.
fn blank_controls(text: &mut [u8]) {
    let is_control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7f;
    let mut chunks = text.chunks_exact(8);
    let found = chunks.by_ref().any(|chunk| {
        let found = chunk.iter().map(|byte| is_control(*byte));
        found.fold(false, |any, one| any | one)
    });
    if !found && !chunks.remainder().iter().any(|byte| is_control(*byte)) {
        return;
    }
    for byte in text.iter_mut().filter(|byte| is_control(**byte)) {
        *byte = b' ';
    }
}

/// The fields of one message. Reused from message to message: clearing keeps the memory.
#[derive(Debug, Default)]
pub struct Headers {
    /// The bytes as received: start line, fields, and whatever was read behind the head.
    pub raw: Vec<u8>,
    extra: Vec<u8>,
    lines: Vec<Line>,
    mask: u64,
    /// A bit for the length of each name that was ever added, modulo 64: what tells that a name is
    /// not there without a look at the lines.
    lengths: u64,
}

impl Headers {
    /// Forgets every field and all text; keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.clear_lines();
    }

    /// Forgets the fields but keeps the received text, for a parser that starts over.
    pub fn clear_lines(&mut self) {
        self.extra.clear();
        self.lines.clear();
        self.mask = 0;
        self.lengths = 0;
    }

    /// Gives back memory beyond what an ordinary message needs.
    pub fn shrink(&mut self) {
        const KEEP: usize = 8 * 1024;
        if self.raw.capacity() > 4 * KEEP {
            self.raw = Vec::new();
        }
        if self.extra.capacity() > KEEP {
            self.extra = Vec::new();
        }
        if self.lines.capacity() > 128 {
            self.lines = Vec::new();
        }
    }

    /// Records a field whose text stands in `raw`; the parser has checked it.
    pub fn push_raw(&mut self, start: u32, name_len: u16, value: u32, value_len: u32, end: u32) {
        let known = Known::of(&self.raw[start as usize..start as usize + name_len as usize]);
        self.push_known(known, start, name_len, value, value_len, end);
    }

    /// [`Headers::push_raw`] for a parser that knows already what field it is.
    pub fn push_known(
        &mut self,
        known: Known,
        start: u32,
        name_len: u16,
        value: u32,
        value_len: u32,
        end: u32,
    ) {
        self.mask |= known.bit();
        self.lengths |= length_bit(name_len as usize);
        self.lines.push(Line {
            start,
            value,
            value_len,
            end,
            name_len,
            known,
            home: Home::Raw,
        });
    }

    /// Offset in `raw` behind the last recorded field, for a parser that goes on from there.
    pub fn received_end(&self) -> Option<usize> {
        self.lines.last().map(|line| line.end as usize)
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.lines
            .iter()
            .filter(|line| line.home != Home::Dead)
            .count()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a field that the gateway knows is present.
    pub fn has(&self, known: Known) -> bool {
        self.mask & known.bit() != 0
            && self
                .lines
                .iter()
                .any(|line| line.known == known && line.home != Home::Dead)
    }

    /// The first value of a known field.
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        if self.mask & known.bit() == 0 {
            return None;
        }
        self.live()
            .find(|line| line.known == known)
            .map(|line| self.value(line))
    }

    /// Every value of a known field, in order.
    pub fn all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let present = self.mask & known.bit() != 0;
        self.live()
            .filter(move |line| present && line.known == known)
            .map(|line| self.value(line))
    }

    /// The first value of a field by name, whatever the case of either side.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.live()
            .find(|line| self.is_named(line, name))
            .map(|line| self.value(line))
    }

    /// Every value of a field by name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.live()
            .filter(move |line| self.is_named(line, name))
            .map(|line| self.value(line))
    }

    /// Whether a field of that name is present.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All fields in order: name as received, value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.live().map(|line| (self.name(line), self.value(line)))
    }

    /// All fields in order with what they are known as.
    pub fn iter_known(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.live()
            .map(|line| (line.known, self.name(line), self.value(line)))
    }

    /// The fields of a set, in order.
    pub fn iter_of(&self, set: Mask) -> impl Iterator<Item = (Known, &[u8])> {
        self.live()
            .filter(move |line| set.has(line.known))
            .map(|line| (line.known, self.value(line)))
    }

    /// Replaces every field of that name by one.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.append(name, value);
    }

    /// Adds a field behind all others. Control bytes in the value become blanks, so that no value
    /// can end its own line.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.append_parts(name, &[value.as_ref()]);
    }

    /// [`Headers::append`] with the value given in pieces, to save the caller a buffer.
    pub fn append_parts(&mut self, name: &str, parts: &[&[u8]]) {
        let value = self.append_line(Known::of(name.as_bytes()), name, parts);
        blank_controls(&mut self.extra[value]);
    }

    /// [`Headers::set`] for a caller that knows what field it is. `known` is what [`Known::of`]
    /// says of the name.
    pub fn set_known(&mut self, known: Known, name: &str, value: &str) {
        match known {
            Known::Other => self.remove_other(name),
            known => self.remove_known(known),
        };
        self.append_known(known, name, value);
    }

    /// [`Headers::append`] for a caller that knows what field it is, as [`Headers::set_known`].
    pub fn append_known(&mut self, known: Known, name: &str, value: &str) {
        debug_assert_eq!(known, Known::of(name.as_bytes()));
        let value = self.append_line(known, name, &[value.as_bytes()]);
        blank_controls(&mut self.extra[value]);
    }

    /// A field of the gateway's own making, which needs no look at its value. `known` is what
    /// [`Known::of`] says of the name.
    pub fn append_own(&mut self, known: Known, name: &'static str, parts: &[&[u8]]) {
        debug_assert_eq!(known, Known::of(name.as_bytes()));
        self.append_line(known, name, parts);
    }

    /// Replaces every field of these names, which are no [`Known`] ones, by
    /// [`Headers::append_block`].
    pub fn set_block(&mut self, fields: &[Field], write: impl FnOnce(&mut Vec<u8>)) {
        for field in fields {
            debug_assert_eq!(field.known, Known::Other);
            self.remove_other(field.name);
        }
        self.append_block(fields, write);
    }

    /// Adds fields of the gateway's own making that `write` writes in one piece: a line
    /// `NAME: VALUE` with CR LF for each, in order.
    pub fn append_block(&mut self, fields: &[Field], write: impl FnOnce(&mut Vec<u8>)) {
        let mut start = self.extra.len();
        write(&mut self.extra);
        self.lines.reserve(fields.len());
        for field in fields {
            let Field {
                known,
                name,
                value_len,
            } = *field;
            debug_assert_eq!(known, Known::of(name.as_bytes()));
            let value = start + name.len() + ": ".len();
            let end = value + value_len + "\r\n".len();
            debug_assert_eq!(self.extra.get(value + value_len..end), Some(&b"\r\n"[..]));
            self.lengths |= length_bit(name.len());
            self.mask |= known.bit();
            self.lines.push(Line {
                start: start as u32,
                value: value as u32,
                value_len: value_len as u32,
                end: end as u32,
                name_len: name.len() as u16,
                known,
                home: Home::Extra,
            });
            start = end;
        }
        debug_assert_eq!(start, self.extra.len());
    }

    /// Where the value stands in `extra`.
    fn append_line(&mut self, known: Known, name: &str, parts: &[&[u8]]) -> Range<usize> {
        let start = self.extra.len();
        self.extra.extend_from_slice(name.as_bytes());
        self.extra.extend_from_slice(b": ");
        let value = self.extra.len();
        for part in parts {
            self.extra.extend_from_slice(part);
        }
        let value_len = self.extra.len() - value;
        self.extra.extend_from_slice(b"\r\n");
        self.mask |= known.bit();
        self.lengths |= length_bit(name.len());
        self.lines.push(Line {
            start: start as u32,
            value: value as u32,
            value_len: value_len as u32,
            end: self.extra.len() as u32,
            name_len: name.len() as u16,
            known,
            home: Home::Extra,
        });
        value..value + value_len
    }

    /// Removes every field of that name; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        match Known::of(name.as_bytes()) {
            Known::Other => self.remove_other(name),
            known => self.remove_known(known),
        }
    }

    /// Removes every field of a name that is not a known one.
    fn remove_other(&mut self, name: &str) -> bool {
        if self.lengths & length_bit(name.len()) == 0 {
            return false;
        }
        let mut found = false;
        for line in &mut self.lines {
            // Lengths first: most fields are told apart by them, without a look at their text.
            if line.name_len as usize != name.len() || line.home == Home::Dead {
                continue;
            }
            let text = match line.home {
                Home::Extra => &self.extra,
                _ => &self.raw,
            };
            let start = line.start as usize;
            if text[start..start + name.len()].eq_ignore_ascii_case(name.as_bytes()) {
                line.home = Home::Dead;
                found = true;
            }
        }
        found
    }

    /// Removes every field of that kind; whether there was one.
    pub fn remove_known(&mut self, known: Known) -> bool {
        if self.mask & known.bit() == 0 || known == Known::Other {
            return false;
        }
        let mut found = false;
        for line in self.lines.iter_mut().filter(|line| line.known == known) {
            found |= line.home != Home::Dead;
            line.home = Home::Dead;
        }
        self.mask &= !known.bit();
        found
    }

    /// Keeps the fields that the test accepts: it sees kind, name and value.
    pub fn retain(&mut self, mut keep: impl FnMut(Known, &[u8], &[u8]) -> bool) {
        for at in 0..self.lines.len() {
            let line = self.lines[at];
            if line.home != Home::Dead && !keep(line.known, self.name(&line), self.value(&line)) {
                self.lines[at].home = Home::Dead;
            }
        }
    }

    /// Writes every field as an HTTP/1.1 line; runs of untouched lines are copied whole.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_except(Mask::NONE, out);
    }

    /// [`Headers::write`] without the fields of some kinds. They stay in here, so that logs see
    /// what was received.
    pub fn write_except(&self, skip: Mask, out: &mut Vec<u8>) {
        // The run of lines in hand: where it stands, and from where to where.
        let (mut home, mut from, mut to) = (Home::Dead, 0, 0);
        for line in &self.lines {
            if line.home == Home::Dead || skip.has(line.known) {
                continue;
            }
            if line.home != home || line.start != to {
                out.extend_from_slice(&self.text(home)[from as usize..to as usize]);
                (home, from) = (line.home, line.start);
            }
            to = line.end;
        }
        out.extend_from_slice(&self.text(home)[from as usize..to as usize]);
    }

    /// Bytes of all fields as lines: what log records call the size of a head.
    pub fn text_len(&self) -> usize {
        self.live()
            .map(|line| (line.end - line.start) as usize)
            .sum()
    }

    fn live(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.home != Home::Dead)
    }

    fn text(&self, home: Home) -> &[u8] {
        if home == Home::Extra {
            &self.extra
        } else {
            &self.raw
        }
    }

    fn name(&self, line: &Line) -> &[u8] {
        let start = line.start as usize;
        &self.text(line.home)[start..start + line.name_len as usize]
    }

    fn value(&self, line: &Line) -> &[u8] {
        let start = line.value as usize;
        &self.text(line.home)[start..start + line.value_len as usize]
    }

    fn is_named(&self, line: &Line, name: &str) -> bool {
        line.name_len as usize == name.len()
            && self.name(line).eq_ignore_ascii_case(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(text: &str) -> Headers {
        let mut headers = Headers {
            raw: text.as_bytes().to_vec(),
            ..Headers::default()
        };
        let mut at = 0;
        for line in text.split_inclusive("\r\n") {
            let (name, value) = line.split_once(':').unwrap();
            let lead = value.len() - value.trim_start_matches(' ').len();
            let value_at = at + name.len() + 1 + lead;
            let end = at + line.len();
            headers.push_raw(
                at as u32,
                name.len() as u16,
                value_at as u32,
                value.trim().len() as u32,
                end as u32,
            );
            at = end;
        }
        headers
    }

    fn written(headers: &Headers) -> String {
        let mut out = Vec::new();
        headers.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for name in NAMES.iter().skip(1) {
            assert_eq!(Known::of(name.as_bytes()).name(), *name);
            assert_eq!(Known::of(name.to_uppercase().as_bytes()).name(), *name);
        }
        assert_eq!(Known::of(b"x-other"), Known::Other);
        assert_eq!(Known::of(b"x-consumer-xxxxname"), Known::Other);
        assert_eq!(Known::of(b"x-consu\x0der-id"), Known::Other);
        assert_eq!(Known::of(b"h\xefst"), Known::Other);
        assert_eq!(Known::of(b"@ost"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
    }

    #[test]
    fn untouched_fields_are_written_as_they_came() {
        let text = "Host: a\r\nX-One:1\r\nx-two:  2 \r\n";
        assert_eq!(written(&received(text)), text);
    }

    #[test]
    fn edits_stand_behind_and_dead_lines_are_gone() {
        let mut headers = received("Host: a\r\nX-One: 1\r\nx-one: 2\r\nAccept: */*\r\n");
        headers.set("X-ONE", "3");
        headers.append("Via", "1.1 x");
        assert!(headers.remove("accept"));
        assert!(!headers.remove("accept"));
        assert_eq!(written(&headers), "Host: a\r\nX-ONE: 3\r\nVia: 1.1 x\r\n");
        assert_eq!(headers.get("x-one"), Some(&b"3"[..]));
        assert_eq!(headers.known(Known::Via), Some(&b"1.1 x"[..]));
        assert!(!headers.has(Known::Accept));
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn kinds_left_out_of_the_text_stay_in_the_head() {
        let headers = received("Host: a\r\nTE: x\r\nX-One: 1\r\n");
        let mut out = Vec::new();
        headers.write_except(Mask::of(&[Known::Te]), &mut out);
        assert_eq!(out, b"Host: a\r\nX-One: 1\r\n");
        assert!(headers.has(Known::Te));
    }

    #[test]
    fn a_block_replaces_its_fields_and_stands_behind_all() {
        let mut headers = received("Host: a\r\nX-ONE: 1\r\nX-Two: 2\r\nx-one: 3\r\n");
        headers.append("X-Tri", "4");
        let fields = [Field::other("X-One", 2), Field::other("X-Tri", 1)];
        headers.set_block(&fields, |out| {
            out.extend_from_slice(b"X-One: 10\r\nX-Tri: 5\r\n");
        });
        let block = "Host: a\r\nX-Two: 2\r\nX-One: 10\r\nX-Tri: 5\r\n";
        assert_eq!(written(&headers), block);
        assert_eq!(headers.get("x-one"), Some(&b"10"[..]));
        headers.set("X-Tri", "6");
        assert_eq!(headers.all("x-tri").collect::<Vec<_>>(), [b"6"]);
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn a_value_cannot_end_its_own_line() {
        let mut headers = Headers::default();
        headers.append("X-Name", "a\r\nX-Forged: 1");
        assert_eq!(written(&headers), "X-Name: a  X-Forged: 1\r\n");
    }

    #[test]
    fn repeated_fields_keep_their_order() {
        let headers = received("A: 1\r\nB: x\r\na: 2\r\n");
        assert_eq!(headers.all("A").collect::<Vec<_>>(), [b"1", b"2"]);
    }
}
