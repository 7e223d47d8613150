//! `sluicegate explain METHOD URL`: which route wins and why, what the upstream would receive,
//! which plugins run with which configuration. Nothing is sent.

mod request;

use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command};

use self::request::Request;
use super::{Console, Exit, config_arg, flags, say, source, text, texts};
use crate::config::model::{Model, Plugin, Protocol, Route, Service};
use crate::plugins;
use crate::router::{self, Contender, Explanation, PathHandling, UpstreamPath};
use crate::snapshot::{self, Checked, Surroundings};

pub(super) fn command() -> Command {
    let command = Command::new("explain")
        .about("Say which route a request takes and why, without sending anything")
        .arg(config_arg())
        .arg(
            Arg::new("header")
                .short('H')
                .long("header")
                .value_name("NAME: VALUE")
                .action(ArgAction::Append)
                .help("a header field of the request"),
        )
        .arg(Arg::new("method").value_name("METHOD").required(true))
        .arg(
            Arg::new("url")
                .value_name("URL")
                .required(true)
                .help("http://host/path, https://host/path, or a path alone"),
        );
    flags::add(command)
}

pub(super) fn run(matches: &ArgMatches, console: &mut Console<'_>) -> Exit {
    let around = Surroundings {
        flags: flags::layer(matches),
        variables: console.variables.clone(),
    };
    let method = text(matches, "method").unwrap_or_default();
    let url = text(matches, "url").unwrap_or_default();
    let request = match Request::read(method, url, &texts(matches, "header")) {
        Ok(request) => request,
        Err(message) => {
            say(console.err, &format!("error: {message}\n"));
            return Exit::Usage;
        }
    };
    let file = source::choose(text(matches, "config"), console);
    let (checked, report) = source::check(&file, &around);
    let Some(checked) = checked else {
        source::print(&report, console);
        return Exit::Bad;
    };
    say(console.out, &explain(&checked, &file, &request));
    Exit::Fine
}

/// The whole answer.
fn explain(checked: &Checked, file: &str, request: &Request) -> String {
    let specs = checked.route_specs();
    let lookup = request.lookup();
    let explanation = router::explain(&specs, checked.table(), &lookup);
    let mut out = format!("request   {}\n", request.line());
    let mut told = Told {
        checked,
        file,
        out: &mut out,
    };
    told.routes(&explanation);
    let found = checked.table().find(&lookup);
    let route = found.as_ref().and_then(|found| checked.route(found.route));
    let route = route.and_then(|ix| Some((ix, checked.model().routes.get(ix)?)));
    if let (Some(found), Some((ix, route))) = (found, route) {
        told.protocols(route, request);
        told.plugins(ix, route.service);
        told.upstream(route, request, found.prefix_len);
    }
    out
}

/// Writes the parts of the answer.
struct Told<'a> {
    checked: &'a Checked,
    file: &'a str,
    out: &'a mut String,
}

impl Told<'_> {
    fn line(&mut self, head: &str, text: &str) {
        let _ = writeln!(self.out, "{head:<9} {text}");
    }

    fn model(&self) -> &Model {
        self.checked.model()
    }

    fn place(&self, contender: &Contender) -> String {
        let ix = self.checked.route(contender.route);
        match ix.and_then(|ix| self.model().routes.get(ix)) {
            Some(route) => {
                let name = route.name.as_deref().unwrap_or("(without a name)");
                let meta = &route.meta;
                format!("{name}  {}:{}  {}", self.file, meta.at, meta.path)
            }
            None => String::new(),
        }
    }

    fn routes(&mut self, explanation: &Explanation) {
        match &explanation.winner {
            Some(winner) => {
                let place = self.place(winner);
                self.line("route", &place);
                if winner.reasons.is_empty() {
                    self.line("", "it asks for nothing, so it takes everything");
                }
                self.reasons(winner);
            }
            None => self.line(
                "route",
                "none: 404 {\"message\":\"no Route matched with those values\"}",
            ),
        }
        self.others("beaten", &explanation.beaten);
        self.others("near", &explanation.near);
    }

    fn others(&mut self, head: &str, others: &[Contender]) {
        const SHOWN: usize = 10;
        for other in others.iter().take(SHOWN) {
            let place = self.place(other);
            self.line(head, &place);
            self.reasons(other);
        }
        if let Some(more) = others.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            self.line(head, &format!("and {more} more"));
        }
    }

    fn reasons(&mut self, contender: &Contender) {
        for reason in &contender.reasons {
            self.line("", &format!("- {reason}"));
        }
    }

    /// What is answered before any plugin when the route does not speak the request's protocol.
    fn protocols(&mut self, route: &Route, request: &Request) {
        let speaks = |protocol| route.protocols.contains(&protocol);
        let grpc = speaks(Protocol::Grpc) || speaks(Protocol::Grpcs);
        if speaks(Protocol::Https) && !speaks(Protocol::Http) && !request.tls {
            let status = route.https_redirect_status_code;
            self.line("answer", &format!("{status}: the route wants https"));
        } else if grpc && !request.is_grpc() {
            self.line("answer", "415: the route takes gRPC alone");
        }
    }

    fn plugins(&mut self, route: usize, service: Option<usize>) {
        let checked = self.checked;
        let model = checked.model();
        let chain = snapshot::chosen(model, plugins::TABLE, route, service);
        if chain.is_empty() {
            self.line("plugins", "none");
        }
        for (place, chosen) in chain.iter().enumerate() {
            let head = if place == 0 { "plugins" } else { "" };
            let name = chosen.def.known.name;
            if let Some(plugin) = chosen.base.and_then(|ix| model.plugins.get(ix)) {
                self.line(
                    head,
                    &format!("{name} ({}) {}", scope(model, plugin), plugin.shown),
                );
            } else {
                self.line(head, &format!("{name}, for some consumers only:"));
            }
            for (_, ix) in &chosen.by_consumer {
                if let Some(plugin) = model.plugins.get(*ix) {
                    self.line("", &format!("  {}: {}", scope(model, plugin), plugin.shown));
                }
            }
        }
    }

    fn upstream(&mut self, route: &Route, request: &Request, prefix_len: usize) {
        let checked = self.checked;
        let model = checked.model();
        let service = route.service.and_then(|ix| model.services.get(ix));
        let Some(service) = service else {
            let none = "none: 503 {\"message\":\"no Service found with those values\"} \
                        unless a plugin answers";
            return self.line("service", none);
        };
        let name = service.name.as_deref().unwrap_or("(without a name)");
        let meta = &service.meta;
        self.line(
            "service",
            &format!("{name}  {}:{}  {}", self.file, meta.at, meta.path),
        );
        let handling = match route.path_handling {
            crate::config::model::PathHandling::V0 => PathHandling::V0,
            crate::config::model::PathHandling::V1 => PathHandling::V1,
        };
        let join = UpstreamPath {
            base: service.path.as_deref().unwrap_or_default(),
            strip: route.strip_path,
            handling: handling.under(checked.table().flavor()),
        };
        let mut path = Vec::new();
        join.write(&mut path, &request.path, prefix_len);
        let path = String::from_utf8_lossy(&path).into_owned() + &request.query;
        self.line("upstream", &format!("{} {path}", request.method));
        let hosts = hosts(model, service);
        if route.preserve_host && !request.host.is_empty() {
            self.line("", &format!("Host: {}", request.host));
        } else if let Some((_, host)) = hosts.first() {
            self.line("", &format!("Host: {host}"));
        }
        let scheme = if request.tls { "https" } else { "http" };
        self.line("", &format!("X-Forwarded-Proto: {scheme}"));
        self.line("", &format!("X-Forwarded-Host: {}", request.bare_host()));
        self.line("", &format!("X-Forwarded-Path: {}", request.raw_path));
        if let Some(prefix) = join.forwarded_prefix(&request.path, prefix_len) {
            self.line("", &format!("X-Forwarded-Prefix: {prefix}"));
        }
        let spoken = service.protocol.word();
        for (target, _) in &hosts {
            self.line("to", &format!("{spoken}://{target}"));
        }
        if hosts.is_empty() {
            self.line(
                "to",
                "nobody: the upstream has no target with a weight, so 503",
            );
        }
    }
}

/// Where an instance is attached, in words.
fn scope(model: &Model, plugin: &Plugin) -> String {
    let named = |what: &str, name: Option<&String>, id: uuid::Uuid| match name {
        Some(name) => format!("{what} {name}"),
        None => format!("{what} {id}"),
    };
    let route = plugin.route.and_then(|ix| model.routes.get(ix));
    let service = plugin.service.and_then(|ix| model.services.get(ix));
    let consumer = plugin.consumer.and_then(|ix| model.consumers.get(ix));
    let parts: Vec<String> = [
        route.map(|it| named("route", it.name.as_ref(), it.meta.id)),
        service.map(|it| named("service", it.name.as_ref(), it.meta.id)),
        consumer.map(|it| named("consumer", it.username.as_ref(), it.meta.id)),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.is_empty() {
        true => "global".to_owned(),
        false => parts.join(", "),
    }
}

/// Targets in use as `host:port`, each with the Host header that it would be sent.
fn hosts(model: &Model, service: &Service) -> Vec<(String, String)> {
    let usual = if service.protocol.is_tls() { 443 } else { 80 };
    let host_and_port = |host: &str, port: u16| {
        let bare = host.trim_matches(['[', ']']);
        let host = match bare.contains(':') {
            true => format!("[{bare}]"),
            false => bare.to_owned(),
        };
        let sent = match port == usual {
            true => host.clone(),
            false => format!("{host}:{port}"),
        };
        (format!("{host}:{port}"), sent)
    };
    let upstream = model.upstreams.iter().find(|u| u.name == service.host);
    let Some(upstream) = upstream else {
        return vec![host_and_port(&service.host, service.port)];
    };
    let targets = upstream
        .targets
        .iter()
        .filter_map(|ix| model.targets.get(*ix));
    targets
        .filter(|target| target.weight > 0)
        .map(|target| {
            let (to, sent) = host_and_port(&target.host, target.port);
            match &upstream.host_header {
                Some(prescribed) if prescribed.contains(':') => (to, prescribed.clone()),
                Some(prescribed) => (to, host_and_port(prescribed, target.port).1),
                None => (to, sent),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
