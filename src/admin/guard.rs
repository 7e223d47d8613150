//! Keeps web pages away from the admin API: a browser on the operator's machine reaches it, and
//! every page that the browser shows would like to.
//!
//! Two checks. A request that names an `Origin` must come from the page of this very host: that
//! stops cross-site requests. And on a loopback address the `Host` must be an address or
//! `localhost`: that stops names which a stranger's DNS lets point here (rebinding), whose pages
//! would pass the first check.
//!
//! With `admin_token` a request must carry that as well, but for what tells nothing: whether the
//! gateway is healthy and ready, and the dashboard's page, which asks for the token.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::warn;

use super::serve::Local;
use super::{Admin, index, message};
use crate::telemetry::log::{Pace, log_once_per};

/// Lets a request through or answers 403.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let loopback = request
        .extensions()
        .get::<Local>()
        .is_some_and(|local| local.0.ip().to_canonical().is_loopback());
    if let Err(words) = allowed(request.headers(), loopback) {
        return message(StatusCode::FORBIDDEN, words);
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Lets a request through that carries the token, or answers 401.
pub(super) async fn authorize(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Response {
    static COMPLAINT: Pace = log_once_per(Duration::from_secs(60));
    let Some(token) = &admin.parts().token else {
        return next.run(request).await;
    };
    if is_open(&request) || presented(request.headers()).is_some_and(|text| token.is(text)) {
        return next.run(request).await;
    }
    admin.0.denied.fetch_add(1, Ordering::Relaxed);
    if let Some(hidden) = COMPLAINT.ready() {
        let (method, path) = (request.method(), request.uri().path());
        warn!(%method, path, hidden, "a request to the admin API without its token");
    }
    let mut response = message(
        StatusCode::UNAUTHORIZED,
        "The admin API asks for its token: Authorization: Bearer TOKEN",
    );
    let challenge = HeaderValue::from_static("Bearer realm=\"sluicegate\"");
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn is_open(request: &Request) -> bool {
    match request.uri().path() {
        "/health" | "/ready" => true,
        "/" => index::wants_page(request.headers()),
        _ => false,
    }
}

/// The one token of a request; several are none.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
    });
    let kongs = headers.get_all("kong-admin-token").iter();
    let mut all = bearer.chain(kongs.map(|value| Some(value.as_bytes())));
    let first = all.next()?;
    first.filter(|_| all.next().is_none())
}

fn allowed(headers: &HeaderMap, loopback: bool) -> Result<(), &'static str> {
    let host = text(headers, header::HOST);
    if let Some(origin) = text(headers, header::ORIGIN) {
        let page = origin.split_once("://").map(|(_, authority)| authority);
        let same =
            matches!((page, host), (Some(page), Some(host)) if page.eq_ignore_ascii_case(host));
        if !same {
            return Err("Cross-origin requests are not allowed");
        }
    }
    match host {
        Some(host) if loopback && !is_local_name(host) => {
            Err("This name is not one of the admin listener's: use localhost or its address")
        }
        _ => Ok(()),
    }
}

/// The only value of a field; several or unreadable ones are as good as a wrong one.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    match values.next() {
        None => Some(first.to_str().unwrap_or_default()),
        Some(_) => Some(""),
    }
}

fn is_local_name(authority: &str) -> bool {
    let host = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, _)) => address,
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn pages_of_other_hosts_are_refused() {
        let from = |origin, host| {
            allowed(
                &fields(&[(header::ORIGIN, origin), (header::HOST, host)]),
                false,
            )
            .is_ok()
        };
        assert!(from("http://gw:8001", "gw:8001"));
        assert!(from("https://GW", "gw"));
        assert!(!from("http://evil.example", "gw:8001"));
        assert!(!from("http://gw:9000", "gw:8001"));
        assert!(!from("null", "gw:8001"));
        assert!(!from("", "gw:8001"));
        assert!(allowed(&fields(&[(header::ORIGIN, "http://gw")]), false).is_err());
    }

    #[test]
    fn one_token_is_presented_or_none() {
        let of = |list: &[(HeaderName, &str)]| {
            let fields = fields(list);
            presented(&fields).map(|text| String::from_utf8_lossy(text).into_owned())
        };
        let kongs = HeaderName::from_static("kong-admin-token");
        assert_eq!(of(&[(header::AUTHORIZATION, "Bearer t")]).unwrap(), "t");
        assert_eq!(of(&[(header::AUTHORIZATION, "bearer t")]).unwrap(), "t");
        assert_eq!(of(&[(kongs.clone(), "t")]).unwrap(), "t");
        for none in [
            &[][..],
            &[(header::AUTHORIZATION, "Basic t")],
            &[(header::AUTHORIZATION, "Bearer")],
            &[(header::AUTHORIZATION, "Bearer t"), (kongs.clone(), "t")],
            &[(kongs.clone(), "t"), (kongs, "t")],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn two_hosts_are_none() {
        let twice = [(header::HOST, "localhost"), (header::HOST, "evil")];
        assert!(allowed(&fields(&twice), true).is_err());
    }

    #[test]
    fn on_loopback_a_name_must_be_localhost() {
        let to = |host| allowed(&fields(&[(header::HOST, host)]), true).is_ok();
        for host in [
            "localhost:8001",
            "LocalHost",
            "a.localhost:1",
            "127.0.0.1:8001",
            "[::1]:8001",
            "[::1]",
        ] {
            assert!(to(host), "{host}");
        }
        for host in [
            "evil.example:8001",
            "localhost.evil.example",
            "",
            "127.0.0.1.evil:8001",
        ] {
            assert!(!to(host), "{host}");
        }
        assert!(allowed(&fields(&[]), true).is_ok());
        assert!(allowed(&fields(&[(header::HOST, "gateway.lan:8001")]), false).is_ok());
    }
}
