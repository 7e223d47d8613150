//! The keys of the top level that are no entities.
//!
//! Invariant: a key is used, refused, or named in a warning; none is passed over in silence, but for
//! `_comment` and `_ignore`, whose meaning that is.

use super::entities;
use super::known::Known;
use super::model::Model;
use super::node::Node;
use super::report::Report;
use super::rows::TABLES;
use super::schema::{self, Literal, Record, any, array, boolean, field, key_path, record};
use super::settings;

const DECK: &str = "a key of decK, which Kong itself refuses: ignored";
const NO_KEYS: &str = "no plugin here uses keys";

pub(super) static TOP: Record = Record::new(&[
    field("_format_version", any()).doc("`\"3.0\"`, `\"2.1\"` or `\"1.1\"`; 3.0 when absent."),
    field("_transform", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("`false`: passwords of basic-auth are hashes already."),
    field("_comment", any()).doc("Ignored."),
    field("_ignore", any()).doc("Ignored: a place for YAML anchors."),
    field("_info", any()).note(DECK),
    field("_workspace", any()).note(DECK),
    field("_konnect", any()).note(DECK),
    field("_plugin_configs", any())
        .note("a key of decK, which Kong itself refuses")
        .doc("Configurations that plugins share by `_config`."),
    field("gateway", record(&settings::SECTION)).doc("Ours: settings of the process."),
    field("vaults", array(&record(&entities::VAULT))).doc("Prefixes of environment variables."),
    field("parameters", any()).note("parameters of Kong's database: ignored"),
    field("workspaces", any()).doc("Only the default one."),
    field("filter_chains", any()).unsupported("filter chains"),
    field("keys", any()).unsupported(NO_KEYS),
    field("key_sets", any()).unsupported(NO_KEYS),
    field("consumer_groups", any()).unsupported("groups are a feature of the commercial edition"),
]);

/// Tables of credentials that Kong's plugins bring.
pub(super) const KONG_CREDENTIALS: &[&str] = &[
    "keyauth_credentials",
    "basicauth_credentials",
    "jwt_secrets",
    "hmacauth_credentials",
    "acls",
    "oauth2_credentials",
    "oauth2_tokens",
    "oauth2_authorization_codes",
    "keyauth_enc_credentials",
    "mtls_auth_credentials",
];

/// Reads the top level into the model.
pub(super) fn check(top: &Node, known: &Known, model: &mut Model, report: &mut Report) {
    let mut others: Vec<&str> = TABLES.iter().map(|(key, _)| *key).collect();
    others.extend(known.credentials.iter().map(|table| table.key));
    others.extend(KONG_CREDENTIALS);
    let Some(fields) = schema::inspect_among(top, &TOP, &others, "", report) else {
        return;
    };
    model.transform = fields.bool("_transform");
    if let Some(section) = fields.record("gateway") {
        model.settings = settings::Layer::of_section(section, report);
    }
    workspaces(top, report);
    missing_tables(top, "", known, report);
}

fn workspaces(top: &Node, report: &mut Report) {
    let list = top
        .get("workspaces")
        .and_then(Node::as_list)
        .unwrap_or_default();
    for (index, workspace) in list.iter().enumerate() {
        if workspace.get("name").and_then(Node::as_str) != Some("default") {
            let path = format!("workspaces[{index}]");
            report.error(
                workspace.at,
                path,
                "not supported: workspaces other than 'default'",
            );
        }
    }
}

/// Reports tables of credentials whose plugin is not there.
pub(super) fn missing_tables(holder: &Node, path: &str, known: &Known, report: &mut Report) {
    for key in KONG_CREDENTIALS
        .iter()
        .filter(|key| known.credential(key).is_none())
    {
        let entry = holder.as_map().and_then(|map| map.entry(key));
        let Some(entry) = entry.filter(|entry| !entry.node.is_null()) else {
            continue;
        };
        let message = "not supported: the plugin that these credentials belong to is not built in";
        report.error(entry.key_at, key_path(path, key), message);
    }
}
