//! Rows to the model: one entity at a time, every mistake of each.
//!
//! Invariant: a row with a mistake is left out, its children are still looked at; the model is only
//! given away when the report holds no error, so indexes are always right.

mod upstream;

use std::time::Duration;

use super::known::{KONG_ENTERPRISE_PLUGINS, KONG_PLUGINS, Known, KnownCredential, Parsed};
use super::links::Links;
use super::model::*;
use super::node::Node;
use super::report::{Report, did_you_mean};
use super::rows::{Kind, Row};
use super::schema::{self, Fields};
use super::{route, target, top};
use crate::util::background::give_way;

/// Decodes every row.
pub(super) fn decode(rows: &[Row<'_>], known: &Known, model: &mut Model, report: &mut Report) {
    let links = Links::new(rows, known, report);
    let mut decoder = Decoder {
        known,
        links,
        model,
        report,
    };
    for (index, row) in rows.iter().enumerate() {
        decoder.row(index, row);
    }
    for (index, target) in model.targets.iter().enumerate() {
        if let Some(upstream) = model.upstreams.get_mut(target.upstream) {
            upstream.targets.push(index);
        }
    }
}

struct Decoder<'a, 'n> {
    known: &'a Known,
    links: Links<'a, 'n>,
    model: &'a mut Model,
    report: &'a mut Report,
}

impl<'n> Decoder<'_, 'n> {
    fn row(&mut self, index: usize, row: &Row<'n>) {
        give_way();
        let nested = row.kind.nested(self.known);
        let mut others: Vec<&str> = nested.iter().map(|(key, _, _)| *key).collect();
        if row.kind == Kind::Consumer {
            others.extend(top::KONG_CREDENTIALS);
            top::missing_tables(row.node, &row.path, self.known, self.report);
        }
        let record = row.kind.record(self.known);
        let fields = schema::inspect_among(row.node, record, &others, &row.path, self.report);
        let Some(fields) = fields else { return };
        // What a plugin's own fields say is added by who knows them.
        let except = if row.kind == Kind::Plugin {
            "config"
        } else {
            ""
        };
        let meta = meta(self.links.id(index), &fields, except);
        match row.kind {
            Kind::Service => self.service(row, &fields, meta),
            Kind::Route => self.route(row, &fields, meta),
            Kind::Upstream => self.upstream(row, &fields, meta),
            Kind::Target => self.target(row, &fields, meta),
            Kind::Consumer => self.model.consumers.push(Consumer {
                meta,
                username: fields.opt_string("username"),
                custom_id: fields.opt_string("custom_id"),
            }),
            Kind::Plugin => self.plugin(index, row, &fields, meta),
            Kind::Certificate => self.model.certificates.push(Certificate {
                meta,
                cert: fields.string("cert"),
                key: fields.string("key"),
                cert_alt: fields.opt_string("cert_alt"),
                key_alt: fields.opt_string("key_alt"),
            }),
            Kind::Sni => self.sni(row, &fields, meta),
            Kind::CaCertificate => self.model.ca_certificates.push(CaCertificate {
                meta,
                cert: fields.string("cert"),
                cert_digest: fields.opt_string("cert_digest"),
            }),
            Kind::Credential(table) => {
                if let Some(table) = self.known.credentials.get(table) {
                    self.credential(row, &fields, meta, table);
                }
            }
        }
    }

    fn refer(
        &mut self,
        row: &Row<'n>,
        fields: &Fields<'n>,
        field: &'static str,
        kind: Kind,
    ) -> Option<usize> {
        self.links.resolve(row, fields, field, kind, self.report)
    }

    /// A reference that must be there; its absence is reported.
    fn must_refer(
        &mut self,
        row: &Row<'n>,
        fields: &Fields<'n>,
        field: &'static str,
        kind: Kind,
    ) -> Option<usize> {
        if row.parent.is_none_or(|(implied, _)| implied != field) && !fields.is_written(field) {
            fields.error(self.report, field, "required field missing");
        }
        self.refer(row, fields, field, kind)
    }

    fn service(&mut self, row: &Row<'n>, fields: &Fields<'n>, meta: Meta) {
        let client_certificate = self.refer(row, fields, "client_certificate", Kind::Certificate);
        let trusted =
            self.links
                .resolve_ids(fields, "ca_certificates", Kind::CaCertificate, self.report);
        let protocol = Protocol::from_word(fields.str("protocol")).unwrap_or(Protocol::Http);
        if protocol == Protocol::Https && !fields.is_written("port") {
            fields
                .warning(
                    self.report,
                    "protocol",
                    "without 'port' an https service is called on port 80",
                )
                .hint("write port: 443, or url: https://..");
        }
        self.model.services.push(Service {
            meta,
            name: fields.opt_string("name"),
            protocol,
            host: fields.string("host"),
            port: fields.int("port"),
            path: fields.opt_string("path"),
            retries: fields.int("retries"),
            retry_on: fields
                .has("retry_on")
                .then(|| words(&fields.json("retry_on"))),
            retry_methods: fields.opt_strings("retry_methods"),
            deadline: fields.has("deadline").then(|| fields.millis("deadline")),
            connect_timeout: fields.millis("connect_timeout"),
            write_timeout: fields.millis("write_timeout"),
            read_timeout: fields.millis("read_timeout"),
            enabled: fields.bool("enabled"),
            client_certificate,
            tls_verify: fields.opt_bool("tls_verify"),
            tls_verify_depth: fields.opt_int("tls_verify_depth"),
            trusted,
            http2: fields.bool("http2"),
        });
    }

    fn route(&mut self, row: &Row<'n>, fields: &Fields<'n>, meta: Meta) {
        let service = self.refer(row, fields, "service", Kind::Service);
        let protocols = route::protocols(fields);
        let grpc = protocols.iter().any(|protocol| protocol.is_grpc());
        let v1 = fields.str("path_handling") == "v1";
        self.model.routes.push(Route {
            meta,
            name: fields.opt_string("name"),
            service,
            methods: fields.strings("methods"),
            hosts: fields.strings("hosts"),
            paths: fields.strings("paths"),
            headers: fields.strings_map("headers"),
            snis: fields.strings("snis"),
            https_redirect_status_code: fields.int("https_redirect_status_code"),
            strip_path: fields.bool("strip_path") && !grpc,
            preserve_host: fields.bool("preserve_host"),
            path_handling: if v1 {
                PathHandling::V1
            } else {
                PathHandling::V0
            },
            regex_priority: fields.int("regex_priority"),
            request_buffering: fields.bool("request_buffering"),
            response_buffering: fields.bool("response_buffering"),
            protocols,
        });
    }

    fn upstream(&mut self, row: &Row<'n>, fields: &Fields<'n>, meta: Meta) {
        let client_certificate = self.refer(row, fields, "client_certificate", Kind::Certificate);
        let upstream = upstream::decode(fields, meta, client_certificate);
        upstream::warn(fields, &upstream.healthchecks, self.report);
        self.model.upstreams.push(upstream);
    }

    fn target(&mut self, row: &Row<'n>, fields: &Fields<'n>, meta: Meta) {
        let upstream = self.must_refer(row, fields, "upstream", Kind::Upstream);
        let Some(upstream) = upstream else { return };
        let text = fields.str("target");
        let Some((host, port)) = target::parse(text) else {
            return;
        };
        let weight = fields.int("weight");
        self.model.targets.push(Target {
            meta,
            upstream,
            target: text.to_owned(),
            host,
            port,
            weight,
        });
    }

    fn sni(&mut self, row: &Row<'n>, fields: &Fields<'n>, meta: Meta) {
        let certificate = self.must_refer(row, fields, "certificate", Kind::Certificate);
        let Some(certificate) = certificate else {
            return;
        };
        self.model.snis.push(Sni {
            meta,
            name: fields.string("name"),
            certificate,
        });
    }

    fn credential(
        &mut self,
        row: &Row<'n>,
        fields: &Fields<'n>,
        meta: Meta,
        table: &KnownCredential,
    ) {
        let consumer = self.must_refer(row, fields, "consumer", Kind::Consumer);
        for field in table.generated.iter().filter(|field| !fields.has(field)) {
            let message = format!("no '{field}': a random one is made, which no client knows");
            fields
                .warning(self.report, "", message)
                .hint(format!("write {field}: .."));
        }
        if !fields.is_ok() || !self.stored_forms_fit(fields, table) {
            return;
        }
        let parsed = (table.parse)(fields, self.report);
        if let (Some(consumer), Some(row)) = (consumer, parsed) {
            self.model.credentials.push(Credential {
                meta,
                table: table.key,
                consumer,
                row,
            });
        }
    }

    /// Without transformation some values are written as they are stored.
    fn stored_forms_fit(&mut self, fields: &Fields<'_>, table: &KnownCredential) -> bool {
        let errors = self.report.error_count();
        let stored = table.stored.iter().filter(|_| !self.model.transform);
        for (field, judge) in stored {
            if let Some(Err(message)) = fields.opt_str(field).map(judge) {
                fields.error(self.report, field, message).hint(
                    "the file says _transform: false; without it the value itself stands here",
                );
            }
        }
        self.report.error_count() == errors
    }

    fn plugin(&mut self, index: usize, row: &Row<'n>, fields: &Fields<'n>, meta: Meta) {
        let route = self.refer(row, fields, "route", Kind::Route);
        let service = self.refer(row, fields, "service", Kind::Service);
        let consumer = self.refer(row, fields, "consumer", Kind::Consumer);
        if let Some(name) = row.text("name") {
            self.links
                .claim_scope(index, name, [route, service, consumer], self.report);
        }
        let configured = self.plugin_config(row, fields, [route, service, consumer]);
        let Some((config, shown, digest)) = configured else {
            return;
        };
        let meta = Meta {
            digest: meta.digest.rotate_left(1) ^ digest,
            ..meta
        };
        self.model.plugins.push(Plugin {
            meta,
            name: fields.string("name"),
            instance_name: fields.opt_string("instance_name"),
            route,
            service,
            consumer,
            protocols: route::protocols(fields),
            enabled: fields.bool("enabled"),
            config,
            shown,
        });
    }

    fn plugin_config(
        &mut self,
        row: &Row<'n>,
        fields: &Fields<'n>,
        [route, service, consumer]: [Option<usize>; 3],
    ) -> Option<(Parsed, serde_json::Value, u64)> {
        let name = fields.opt_str("name").filter(|name| !name.is_empty())?;
        let Some(plugin) = self.known.plugin(name) else {
            self.unknown_plugin(fields, name);
            return None;
        };
        if consumer.is_some() && !plugin.on_consumer {
            fields
                .error(self.report, "consumer", "value must be null")
                .hint(format!("{name} cannot be set on a consumer"));
        }
        if (route.is_some() || service.is_some()) && !plugin.on_routes {
            let field = if route.is_some() { "route" } else { "service" };
            fields
                .error(self.report, field, "value must be null")
                .hint(format!("{name} can only be set globally"));
        }
        self.protocols_meet(fields, route, service);
        // The record is read at the plugin's own place when it has no `config`.
        let absent = Node {
            at: row.node.at,
            value: Node::EMPTY_MAP.value,
        };
        let written = row.node.get("config").filter(|node| !node.is_null());
        let path = fields.path("config");
        let config = schema::check(
            written.unwrap_or(&absent),
            plugin.config,
            &path,
            self.report,
        )?;
        let (shown, digest) = (config.shown(), config.digest(""));
        Some(((plugin.parse)(&config, self.report)?, shown, digest))
    }

    /// A plugin shares a protocol with what it is set on.
    fn protocols_meet(
        &mut self,
        fields: &Fields<'_>,
        route: Option<usize>,
        service: Option<usize>,
    ) {
        if !fields.is_written("protocols") {
            return;
        }
        let own = route::protocols(fields);
        let route = route.and_then(|index| self.model.routes.get(index));
        let service = service.and_then(|index| self.model.services.get(index));
        let meets_route = route.is_none_or(|r| r.protocols.iter().any(|p| own.contains(p)));
        let meets_service = service.is_none_or(|s| own.contains(&s.protocol));
        if !meets_route {
            let message = "must match the associated route's protocols";
            fields.error(self.report, "protocols", message);
        } else if !meets_service {
            let message = "must match the associated service's protocol";
            fields.error(self.report, "protocols", message);
        }
    }

    fn unknown_plugin(&mut self, fields: &Fields<'_>, name: &str) {
        let message =
            format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property");
        let hint = if KONG_PLUGINS.contains(&name) {
            Some(format!(
                "{name} is a Kong plugin that sluicegate does not support yet"
            ))
        } else if KONG_ENTERPRISE_PLUGINS.contains(&name) {
            Some(format!("{name} is a plugin of Kong's commercial edition"))
        } else {
            did_you_mean(name, self.known.plugins.iter().map(|plugin| plugin.name))
        };
        fields.error(self.report, "name", message).hint = hint;
    }
}

fn meta(id: uuid::Uuid, fields: &Fields<'_>, except: &str) -> Meta {
    Meta {
        id,
        digest: fields.digest(except),
        tags: fields.strings("tags"),
        created_at: fields.opt_number("created_at"),
        at: fields.start(),
        path: fields.own_path().to_owned(),
        written: fields.all_written(),
    }
}

/// A number of seconds as a time.
fn seconds(fields: &Fields<'_>, name: &str) -> Duration {
    fields.seconds(name)
}

/// Texts and numbers as texts.
fn words(list: &serde_json::Value) -> Vec<String> {
    let word = |item: &serde_json::Value| {
        item.as_str()
            .map_or_else(|| item.to_string(), str::to_owned)
    };
    list.as_array().into_iter().flatten().map(word).collect()
}
