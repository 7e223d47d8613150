//! Whether a request keeps to the protocols of its route (Kong: after routing, before plugins).

use crate::message::{ConnInfo, Known, Reply, RequestHead, Version};
use crate::snapshot::Route;

/// The refusal, if there is one.
pub fn check(route: &Route, head: &RequestHead, conn: &ConnInfo) -> Option<Reply> {
    let protocols = route.protocols;
    let secure = is_https(head, conn);
    if protocols.https && !protocols.http && !secure {
        return Some(want_https(route, head));
    }
    if protocols.grpc || protocols.grpcs {
        return check_grpc(route, head, secure);
    }
    None
}

fn check_grpc(route: &Route, head: &RequestHead, secure: bool) -> Option<Reply> {
    if !head.is_grpc() {
        return Some(Reply::gateway(415, "Non-gRPC request matched gRPC route"));
    }
    if head.version != Version::Http2 {
        let reply = Reply::gateway(426, "Please use HTTP2 protocol");
        return Some(
            reply
                .with("Connection", "Upgrade")
                .with("Upgrade", "HTTP/2"),
        );
    }
    if route.protocols.grpcs && !route.protocols.grpc && !secure {
        let mut reply = Reply::message(200, "gRPC request matched gRPCs route");
        reply.grpc_status = Some(1);
        return Some(reply);
    }
    None
}

/// The scheme that counts: a trusted peer's word, else the connection's.
fn is_https(head: &RequestHead, conn: &ConnInfo) -> bool {
    let named = head
        .headers
        .known(Known::XForwardedProto)
        .filter(|_| conn.trusted);
    named.map_or(conn.tls.is_some(), |proto| {
        proto.eq_ignore_ascii_case(b"https")
    })
}

fn want_https(route: &Route, head: &RequestHead) -> Reply {
    if route.https_redirect == 426 {
        let reply = Reply::gateway(426, "Please use HTTPS protocol");
        return reply
            .with("Connection", "Upgrade")
            .with("Upgrade", "TLS/1.2, HTTP/1.1");
    }
    let host = super::rewrite::without_port(head.host());
    let location = format!("https://{host}{}", head.target());
    Reply::empty(route.https_redirect).with("Location", location)
}
