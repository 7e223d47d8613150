//! What each fuzz target asserts, apart from that nothing panics.
//!
//! The first byte of most inputs is not text: it says in what pieces the rest arrives.

use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use flate2::Compression;
use flate2::write::GzEncoder;
use sluicegate::config::{self, consul_name};
use sluicegate::control::kv;
use sluicegate::http1::framing::{Decoder, FramingError};
use sluicegate::http1::limits::Limits;
use sluicegate::http1::parse::{self, ParseError};
use sluicegate::http1::write;
use sluicegate::identity::Identity;
use sluicegate::message::{
    BodyError, ConnInfo, Framing, Headers, Known, RequestBody, RequestHead, ResponseHead, Version,
    authorization, cookie, date, query, uri,
};
use sluicegate::plugin::{
    BodyCx, Build, Credentials, Facts, Flow, Place, Plugin, RequestCx, Scope,
};
use sluicegate::remote::consul::health;
use sluicegate::remote::jwks;
use sluicegate::util::handles::Handles;
use sluicegate::util::keep::Keeps;
use sluicegate::util::{base64, clock};

/// A target: what it is called and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Target; 16] = [
    ("request_head", request_head),
    ("response_head", response_head),
    ("chunked", chunked),
    ("uri", uri),
    ("config_text", config_text),
    ("header_edits", header_edits),
    ("basic_credentials", basic_credentials),
    ("hmac_signature", hmac_signature),
    ("cookie", cookie),
    ("query", query),
    ("body_edits", body_edits),
    ("key_set", key_set),
    ("token", token),
    ("consul_instances", consul_instances),
    ("consul_name", consul_name),
    ("stored_text", stored_text),
];

/// Splits off the byte that says how long the pieces are.
fn piece_len(data: &[u8]) -> (usize, &[u8]) {
    match data {
        [] => (1, data),
        [len, rest @ ..] => (usize::from(*len).max(1), rest),
    }
}

/// Requests: all ways of cutting come to one end, and what was read can be written and read again.
pub fn request_head(data: &[u8]) {
    let (len, text) = piece_len(data);
    let whole = read_request(text, text.len().max(1));
    assert_eq!(
        whole.as_ref().map(shown_request),
        read_request(text, len).as_ref().map(shown_request)
    );
    let Ok(Some(head)) = whole else { return };
    assert!(!head.method().is_empty() && !head.target().is_empty());
    if head.version != Version::Http11 {
        return;
    }
    let mut again = Vec::new();
    write::request_line(&mut again, head.method(), head.target());
    head.headers.write(&mut again);
    again.extend_from_slice(b"\r\n");
    let again = read_request(&again, again.len());
    let again = again.expect("what was accepted is accepted again");
    let again = again.expect("a whole head is complete");
    assert_eq!(
        head.headers.iter().collect::<Vec<_>>(),
        again.headers.iter().collect::<Vec<_>>()
    );
}

fn read_request(text: &[u8], len: usize) -> Result<Option<RequestHead>, ParseError> {
    let (mut head, mut scan) = (RequestHead::default(), 0);
    for piece in text.chunks(len) {
        head.headers.raw.extend_from_slice(piece);
        if parse::request(&mut head, &mut scan, &Limits::default())?.is_some() {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn shown_request(head: &Option<RequestHead>) -> Option<String> {
    let head = head.as_ref()?;
    let flags = (
        head.keep_alive,
        head.expect_continue,
        head.upgrade_websocket,
    );
    let names = (head.te_trailers, head.connection_names, head.version);
    let text = (
        head.method(),
        head.target(),
        head.raw_path(),
        head.query(),
        head.host(),
    );
    let fields: Vec<_> = head.headers.iter_known().collect();
    Some(format!(
        "{text:?} {:?} {flags:?} {names:?} {fields:?}",
        head.framing
    ))
}

/// Responses, likewise. The second byte chooses the method that they answer.
pub fn response_head(data: &[u8]) {
    let (len, rest) = piece_len(data);
    let (method, text) = match rest {
        [] => ("GET", rest),
        [choice, text @ ..] => (["GET", "HEAD", "CONNECT"][usize::from(choice % 3)], text),
    };
    let whole = read_response(method, text, text.len().max(1));
    assert_eq!(
        whole.as_ref().map(shown_response),
        read_response(method, text, len)
            .as_ref()
            .map(shown_response)
    );
    let Ok(Some(head)) = whole else { return };
    assert!((100..1000).contains(&head.status));
    let mut again = Vec::new();
    write::status_line(&mut again, head.status, head.reason.of(&head.headers.raw));
    head.headers.write(&mut again);
    again.extend_from_slice(b"\r\n");
    if head.version == Version::Http11 {
        let again = read_response(method, &again, again.len());
        let again = again.expect("what was accepted is accepted again");
        let again = again.expect("a whole head is complete");
        assert_eq!(
            (again.framing, again.keep_alive),
            (head.framing, head.keep_alive)
        );
    }
}

fn read_response(
    method: &str,
    text: &[u8],
    len: usize,
) -> Result<Option<ResponseHead>, ParseError> {
    let (mut head, mut scan) = (ResponseHead::default(), 0);
    for piece in text.chunks(len) {
        head.headers.raw.extend_from_slice(piece);
        if parse::response(&mut head, &mut scan, method)?.is_some() {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn shown_response(head: &Option<ResponseHead>) -> Option<String> {
    let head = head.as_ref()?;
    let reason = head.reason.of(&head.headers.raw);
    let flags = (head.keep_alive, head.connection_names, head.version);
    let fields: Vec<_> = head.headers.iter_known().collect();
    Some(format!(
        "{} {reason:?} {:?} {flags:?} {fields:?}",
        head.status, head.framing
    ))
}

/// Chunked bodies: all ways of cutting come to one end, and what was read is read again as
/// written by us.
pub fn chunked(data: &[u8]) {
    let (len, text) = piece_len(data);
    let whole = read_body(text, text.len().max(1));
    assert_eq!(whole, read_body(text, len));
    let Ok((body, used, _)) = whole else { return };
    assert!(used <= text.len());
    let (mut encoder, mut out) = (write::Encoder::new(Framing::Chunked), Vec::new());
    for piece in body.chunks(len) {
        encoder.encode(piece, &mut out).expect("chunks have no end");
    }
    encoder
        .finish(None, &mut out)
        .expect("chunks may end anywhere");
    assert_eq!(read_body(&out, 7), Ok((body, out.len(), Vec::new())));
}

type Body = (Vec<u8>, usize, Vec<u8>);

fn read_body(text: &[u8], len: usize) -> Result<Body, FramingError> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut body, mut used) = (Vec::new(), 0);
    for piece in text.chunks(len) {
        let mut rest = piece;
        while !rest.is_empty() && !decoder.is_done() {
            let decoded = decoder.decode(rest)?;
            assert!(decoded.consumed > 0, "it must go on");
            body.extend_from_slice(&rest[decoded.data.clone()]);
            used += decoded.consumed;
            rest = &rest[decoded.consumed..];
        }
    }
    decoder.eof()?;
    let mut trailers = Vec::new();
    if let Some(fields) = decoder.trailers() {
        fields.write(&mut trailers);
    }
    Ok((body, used, trailers))
}

/// Paths: normalising twice is normalising once, and a normal path can be sent.
pub fn uri(data: &[u8]) {
    let raw = data.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Ok(path) = uri::normalise(raw) else {
        return;
    };
    if !raw.starts_with(b"/") {
        return;
    }
    assert!(path.starts_with('/') && !path.contains("//"), "{path:?}");
    assert!(!path.bytes().any(|byte| byte.is_ascii_control()));
    assert!(
        path.split('/')
            .all(|segment| segment != "." && segment != "..")
    );
    assert!(uri::is_normal(&path), "{path:?}");
    let mut sent = Vec::new();
    uri::escape_into(&mut sent, &path);
    assert!(sent.iter().all(u8::is_ascii_graphic));
    let again = uri::normalise(&sent).expect("what is sent is a path");
    assert_eq!(again, path);
}

/// Configuration texts: whatever they hold, there is a model or a reason, never both or neither.
pub fn config_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let known = config::Known::default();
    let (model, report) = config::read(text, "gateway.yaml", &|_| None, &known);
    assert_eq!(model.is_some(), report.is_ok());
    let lines = text.lines().count().max(1) as u32;
    for issue in report.issues() {
        assert!(!issue.line().is_empty());
        assert!(issue.at.line <= lines + 1, "{:?} of {lines}", issue.at);
    }
    assert!(report.to_text().lines().count() >= report.error_count());
    assert_eq!(
        report.to_terminal(true).is_empty(),
        report.issues().is_empty()
    );
    assert!(report.to_json().is_object() || report.to_json().is_array());
}

/// Edits of fields, beside a plain list that says what should come of them.
pub fn header_edits(data: &[u8]) {
    const RECEIVED: &[u8] =
        b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nVia:\t2 \r\nx-a: 3\r\nCookie: 4\r\n\r\n";
    const NAMES: [&str; 8] = [
        "Host",
        "x-a",
        "VIA",
        "cookie",
        "X-B",
        "x-real-ip",
        "TE",
        "Y",
    ];
    let Ok(Some(mut head)) = read_request(RECEIVED, RECEIVED.len()) else {
        unreachable!("the head is fine");
    };
    let headers = &mut head.headers;
    let mut list: Vec<(String, Vec<u8>)> = headers.iter().map(owned).collect();
    for edit in data.chunks(3) {
        let [action, name, value] = [
            edit[0],
            *edit.get(1).unwrap_or(&0),
            *edit.last().unwrap_or(&0),
        ];
        let name = NAMES[usize::from(name) % NAMES.len()];
        let text = format!("v{}", char::from(value));
        let clean = text
            .replace(|c: char| c.is_ascii_control() && c != '\t', " ")
            .into_bytes();
        let is_named = |(other, _): &(String, Vec<u8>)| other.eq_ignore_ascii_case(name);
        let had = list.iter().any(is_named);
        match action % 5 {
            0 => headers.append(name, &text),
            1 => headers.set(name, &text),
            2 => assert_eq!(headers.remove(name), had),
            3 => headers.retain(|_, other, _| !other.eq_ignore_ascii_case(name.as_bytes())),
            _ => headers.append_parts(name, &[&text.as_bytes()[..1], &text.as_bytes()[1..]]),
        }
        if matches!(action % 5, 1..=3) {
            list.retain(|field| !is_named(field));
        }
        if !matches!(action % 5, 2 | 3) {
            list.push((name.to_owned(), clean));
        }
        compare(headers, &list, name);
    }
}

fn owned((name, value): (&[u8], &[u8])) -> (String, Vec<u8>) {
    (String::from_utf8_lossy(name).into_owned(), value.to_vec())
}

fn compare(headers: &Headers, list: &[(String, Vec<u8>)], name: &str) {
    assert_eq!(headers.iter().map(owned).collect::<Vec<_>>(), list);
    assert_eq!(
        (headers.len(), headers.is_empty()),
        (list.len(), list.is_empty())
    );
    let named = || {
        list.iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let values: Vec<&[u8]> = named().map(|(_, value)| &value[..]).collect();
    assert_eq!(headers.all(name).collect::<Vec<_>>(), values);
    assert_eq!(headers.get(name), values.first().copied());
    assert_eq!(headers.contains(name), !values.is_empty());
    let known = Known::of(name.as_bytes());
    if known != Known::Other {
        assert_eq!(headers.has(known), !values.is_empty());
        assert_eq!(headers.all_known(known).collect::<Vec<_>>(), values);
    }
    let mut out = Vec::new();
    headers.write(&mut out);
    assert_eq!(out.len(), headers.text_len());
    let text = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(text.split_inclusive("\r\n").count(), list.len());
}

/// `Authorization: Basic`: what is read is the text that is there, cut at its first colon.
pub fn basic_credentials(data: &[u8]) {
    if let Some(basic) = authorization::basic(data) {
        assert!(authorization::is_scheme(data, "basic"));
        assert!(!authorization::is_scheme(data, "hmac"));
        assert!(!basic.user().is_empty() && !basic.user().contains(&b':'));
        assert!(basic.user().len() + basic.password().len() < data.len());
    }
    // Whatever bytes: written down they are read again.
    let written = format!("Basic {}", base64::encode_url(data));
    let again = authorization::basic(written.as_bytes());
    let colon = data.iter().position(|byte| *byte == b':');
    match colon.filter(|colon| *colon > 0) {
        Some(colon) => {
            let again = again.expect("a user is there");
            assert_eq!(again.user(), &data[..colon]);
            assert_eq!(again.password(), &data[colon + 1..]);
        }
        None => assert_eq!(again, None),
    }
}

/// `Authorization: hmac`: what is read can be written and is read as the same; so is the date that
/// stands in its place.
pub fn hmac_signature(data: &[u8]) {
    if let Some(secs) = date::parse(data) {
        assert_eq!(date::parse(&clock::imf_fixdate(secs)), Some(secs));
    }
    let Some(read) = authorization::hmac(data) else {
        return;
    };
    let values = [read.username, read.algorithm, read.headers, read.signature];
    for value in values {
        assert!(!value.is_empty() && !value.contains('"'), "{value:?}");
    }
    let [username, algorithm, headers, signature] = values;
    let again = format!(
        "hmac signature=\"{signature}\",username=\"{username}\",  headers=\"{headers}\", algorithm=\"{algorithm}\""
    );
    assert_eq!(authorization::hmac(again.as_bytes()), Some(read));
}

/// Sets of keys: none that holds a secret, or is for something else, comes out.
pub fn key_set(data: &[u8]) {
    let Ok(keys) = jwks::keys(data) else { return };
    assert!(keys.len() <= data.len());
    for key in keys {
        assert!(
            key.purpose
                .as_deref()
                .is_none_or(|purpose| purpose == "sig")
        );
    }
}

const TOKENS: &str = "
plugins: [{name: jwt, config: {claims_to_verify: [exp]}}]
consumers: [{username: c, jwt_secrets: [{key: issuer, secret: right}]}]";

/// Tokens: a client is let in exactly if a second reading of its token says so. The first byte
/// chooses whether the rest is a token, or header and claims, a line each, to be signed with the
/// right secret or with a wrong one.
pub fn token(data: &[u8]) {
    static MADE: OnceLock<Vec<Arc<dyn Plugin>>> = OnceLock::new();
    let [choice, rest @ ..] = data else { return };
    let text = match choice % 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => signed(rest, b"right"),
        _ => signed(rest, b"wrong"),
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return;
    }
    let mut head = RequestHead::default();
    head.headers
        .append("Authorization", format!("Bearer {text}"));
    let plugins = MADE.get_or_init(|| made(TOKENS));
    let (_, facts) = ask(plugins[0].as_ref(), head, Vec::new());
    assert_eq!(facts.credential.is_some(), is_good(&text), "{text}");
}

fn signed(lines: &[u8], secret: &[u8]) -> String {
    let mut lines = lines.splitn(2, |byte| *byte == b'\n');
    let mut part = || base64::encode_url(lines.next().unwrap_or_default());
    let (header, claims) = (part(), part());
    let signature = signature(&format!("{header}.{claims}"), secret);
    format!("{header}.{claims}.{signature}")
}

fn signature(text: &str, secret: &[u8]) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let made = jsonwebtoken::crypto::sign(text.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    made.expect("HS256 signs anything")
}

/// Whether [`TOKENS`] accept a token.
fn is_good(token: &str) -> bool {
    let Some((text, own)) = token.rsplit_once('.') else {
        return false;
    };
    let object = |part: &str| {
        let bytes = base64::decode(part.as_bytes())?;
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).ok()
    };
    let parts = text
        .split_once('.')
        .map(|(header, claims)| (object(header), object(claims)));
    let Some((Some(header), Some(claims))) = parts else {
        return false;
    };
    let key = |from: &serde_json::Map<String, serde_json::Value>| {
        let key = from.get("iss").cloned().unwrap_or_default();
        (!key.is_null() && key != false).then_some(key)
    };
    let expires = claims.get("exp").and_then(serde_json::Value::as_f64);
    header.get("alg").is_some_and(|alg| alg == "HS256")
        && key(&claims)
            .or_else(|| key(&header))
            .is_some_and(|key| key == "issuer")
        && expires.is_some_and(|exp| exp > clock::unix_secs() as f64)
        && base64::decode(own.as_bytes()) == base64::decode(signature(text, b"right").as_bytes())
}

/// Cookies: every pair that is read is found under its name, and no text is made up.
pub fn cookie(data: &[u8]) {
    let bounds = data.as_ptr_range();
    for (name, value) in cookie::pairs(data) {
        assert!(bounds.start <= value.as_ptr() && value.as_ptr_range().end <= bounds.end);
        assert!(!name.contains(&b';') && !name.contains(&b'=') && !value.contains(&b';'));
        if let Ok(text) = std::str::from_utf8(name) {
            let mut named =
                cookie::pairs(data).filter(|(other, _)| other.eq_ignore_ascii_case(name));
            assert_eq!(
                cookie::find(data, text),
                named.next().map(|(_, value)| value)
            );
        }
    }
}

/// Queries: what is cut out is gone, and everything else stays as it was.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for (key, value) in query::pairs(text) {
        let name = query::decode(key);
        assert!(query::decode(value).len() <= 3 * value.len());
        let rest = query::without(text, &name);
        let kept: Vec<_> = query::pairs(text)
            .filter(|(other, _)| query::decode(other) != name)
            .collect();
        assert_eq!(query::pairs(&rest).collect::<Vec<_>>(), kept);
        assert!(rest.len() <= text.len() + 1);
    }
}

const EDITS: &str = "
plugins:
- name: request-transformer
  config: {remove: {body: [a]}, rename: {body: ['b:c']}, replace: {body: ['d:1']},
    add: {body: ['e:2']}, append: {body: ['f:3']}}
- name: response-transformer
  config: {remove: {json: [a]}, rename: {json: ['b:c']}, replace: {json: ['d:1']},
    add: {json: ['e:2']}, append: {json: ['f:3']}}";

/// Bodies that transforming plugins edit. The first byte chooses what the body is; what was JSON
/// stays JSON, and what was removed is gone.
pub fn body_edits(data: &[u8]) {
    let [choice, body @ ..] = data else { return };
    let plugins = transformers();
    let mut body = body.to_vec();
    let was = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).ok();
    let kind = match choice % 4 {
        0 => "application/json",
        1 => "application/x-www-form-urlencoded",
        2 => "multipart/form-data; boundary=X",
        _ => "",
    };
    if kind.is_empty() {
        edit_response(plugins[1].as_ref(), &mut body);
    } else {
        body = edit_request(plugins[0].as_ref(), kind, body);
    }
    let is = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body);
    match (choice % 4, was) {
        (0 | 3, Some(was)) => {
            let is = is.expect("an object stays one");
            assert!(is.contains_key("e") && is["f"].is_array() && !is.contains_key("a"));
            assert_eq!(is.contains_key("d"), was.contains_key("d"));
        }
        (1, _) => assert!(
            !body
                .split(|b| *b == b'&')
                .any(|pair| pair.starts_with(b"a="))
        ),
        _ => {}
    }
}

/// The plugins of [`EDITS`], made once.
fn transformers() -> &'static [Arc<dyn Plugin>] {
    static MADE: OnceLock<Vec<Arc<dyn Plugin>>> = OnceLock::new();
    MADE.get_or_init(|| made(EDITS))
}

/// The plugins of a file.
fn made(text: &str) -> Vec<Arc<dyn Plugin>> {
    let known = sluicegate::plugins::known();
    let (model, report) = config::read(text, "f", &|_| None, &known);
    let mut model = model.unwrap_or_else(|| panic!("{}", report.to_text()));
    let credentials = Credentials::take(&mut model, sluicegate::plugins::TABLE);
    let (identity, keeps) = (Identity::default(), Keeps::default());
    let build = Build {
        scope: &Scope::default(),
        route: None,
        services: &[],
        identity: &identity,
        credentials: &credentials,
        keeps: &keeps,
        handles: &Handles::default(),
        workers: 1,
    };
    let make = |plugin: &config::model::Plugin| {
        let mut table = sluicegate::plugins::TABLE.iter();
        let def = table.find(|def| def.known.name == plugin.name);
        (def.expect("it is known").build)(&plugin.config, &build)
    };
    model.plugins.iter().map(make).collect()
}

fn edit_request(plugin: &dyn Plugin, kind: &str, bytes: Vec<u8>) -> Vec<u8> {
    let mut head = RequestHead::default();
    head.headers.append("Content-Type", kind);
    head.framing = Framing::Length(bytes.len() as u64);
    ask(plugin, head, bytes).0
}

/// Runs the request phase; the body that is left and what is known then.
fn ask(plugin: &dyn Plugin, mut head: RequestHead, bytes: Vec<u8>) -> (Vec<u8>, Facts) {
    let conn = ConnInfo {
        number: 1,
        peer: ([127, 0, 0, 1], 1).into(),
        local: ([127, 0, 0, 1], 2).into(),
        trusted: false,
        listen_port: 2,
        tls: None,
    };
    let (mut facts, identity) = (Facts::default(), Identity::default());
    let mut body = InHand(bytes);
    let place = Place::default();
    let mut cx = RequestCx::new(&mut head, &conn, &mut facts, &identity, place, &mut body);
    finish(plugin.on_request(&mut cx));
    (body.0, facts)
}

fn edit_response(plugin: &dyn Plugin, body: &mut Vec<u8>) {
    let mut cx = BodyCx {
        body,
        response: &mut ResponseHead::default(),
        facts: &mut Facts::default(),
        place: Place::default(),
    };
    finish(plugin.on_body(&mut cx));
}

/// Runs what never has to wait.
fn finish(flow: Flow<'_>) {
    if let Flow::Wait(mut verdict) = flow {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(verdict.as_mut().poll(&mut cx).is_ready());
    }
}

/// A body that is there at once.
struct InHand(Vec<u8>);

impl RequestBody for InHand {
    fn poll_collect(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Result<(), BodyError>> {
        Poll::Ready(Ok(()))
    }

    fn collected(&self) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn replace(&mut self, body: Vec<u8>) {
        self.0 = body;
    }

    fn limit(&mut self, _: u64) {}
}

/// Lists of Consul's: whatever is in them, what comes out can be gone to and is in one order.
pub fn consul_instances(data: &[u8]) {
    let Ok(found) = health::decode(data) else {
        return;
    };
    let entries: Option<Vec<serde_json::Value>> =
        serde_json::from_slice(data).expect("what was read is JSON");
    let entries = entries.unwrap_or_default();
    assert_eq!(found.list.len() + found.malformed, entries.len());
    for of in &found.list {
        let address = of.address.as_str();
        let name = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_');
        let is_name = address.chars().all(name) && !address.is_empty();
        assert!(address.parse::<IpAddr>().is_ok() || is_name, "{address}");
        assert!(of.weight().is_none_or(|weight| weight <= 65_535));
    }
    assert!(found.list.is_sorted_by_key(|of| (&of.node, &of.id)));
    let backwards: Vec<_> = entries.into_iter().rev().collect();
    let backwards = serde_json::to_vec(&backwards).expect("JSON can be written");
    let again = health::decode(&backwards).expect("the same entries can be read");
    assert_eq!(again.malformed, found.malformed);
}

/// Hosts: a service, refused, or a name for DNS; case and a dot at the end change nothing.
pub fn consul_name(data: &[u8]) {
    let Ok(host) = std::str::from_utf8(data) else {
        return;
    };
    let read = consul_name::parse(host);
    if !host.ends_with('.') {
        assert_eq!(read, consul_name::parse(&format!("{host}.")));
    }
    assert_eq!(
        read.as_ref().map(Result::is_ok),
        consul_name::parse(&host.to_ascii_uppercase()).map(|read| read.is_ok())
    );
    let Some(Ok(found)) = read else { return };
    let lower = host.to_ascii_lowercase();
    assert!(lower.trim_end_matches('.').ends_with(".consul"), "{host}");
    assert!(!found.service.is_empty() && !found.service.contains('.'));
    assert!(lower.contains(&found.service));
    assert!(found.tags.iter().all(|tag| lower.contains(tag.as_str())));
}

/// Values of Consul's store: text as it is or compressed, else refused.
pub fn stored_text(data: &[u8]) {
    let as_it_is = kv::text(data);
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(data).expect("memory takes all");
    let zipped = zipped.finish().expect("memory takes all");
    match std::str::from_utf8(data) {
        Ok(text) => {
            assert_eq!(kv::text(&zipped).as_deref(), Ok(text));
            assert_eq!(as_it_is.as_deref(), Ok(text));
        }
        Err(_) => {
            assert!(kv::text(&zipped).is_err());
            assert!(as_it_is.is_err() || data.starts_with(&[0x1f, 0x8b]));
        }
    }
}
