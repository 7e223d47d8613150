//! The table of plugins (floor 4): one file each, one line each.
//!
//! A plugin file holds its reference page (the comment at its top, from which
//! `docs/plugins/<name>.md` is made), its config table, its credentials, its behaviour and its
//! tests. Invariant: every file here that defines a plugin is in [`TABLE`].
//!
//! Must not know: each other, the gateway, the snapshot.

mod acl;
mod auth;
mod basic_auth;
mod bot_detection;
mod circuit_breaker;
mod correlation_id;
mod cors;
mod file_log;
mod form;
mod hmac_auth;
mod http_log;
mod ip_restriction;
mod jwt;
mod key_auth;
mod logs;
mod prometheus;
mod rate_limiting;
mod redirect;
mod request_size_limiting;
mod request_termination;
mod request_transformer;
mod response_transformer;
mod tcp_log;
mod transform;
mod udp_log;

use crate::config::Known;
use crate::plugin::PluginDef;

/// Every plugin there is, highest priority first.
pub static TABLE: &[&PluginDef] = &[
    &correlation_id::PLUGIN,
    &bot_detection::PLUGIN,
    &cors::PLUGIN,
    &jwt::PLUGIN,
    &key_auth::PLUGIN,
    &basic_auth::PLUGIN,
    &hmac_auth::PLUGIN,
    &ip_restriction::PLUGIN,
    &request_size_limiting::PLUGIN,
    &acl::PLUGIN,
    &rate_limiting::PLUGIN,
    &request_transformer::PLUGIN,
    &response_transformer::PLUGIN,
    &redirect::PLUGIN,
    &circuit_breaker::PLUGIN,
    &prometheus::PLUGIN,
    &http_log::PLUGIN,
    &file_log::PLUGIN,
    &udp_log::PLUGIN,
    &tcp_log::PLUGIN,
    &request_termination::PLUGIN,
];

/// What the reader of files must know of the plugins.
pub fn known() -> Known {
    crate::plugin::known(TABLE)
}

#[cfg(test)]
mod tests;
