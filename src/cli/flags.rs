//! Settings as flags: every line of [`SETTINGS`] is one.
//!
//! Invariant: the table of settings is the only list of them; a new one is a flag by itself.

use std::sync::LazyLock;

use clap::{Arg, ArgMatches, Command};

use crate::config::settings::{Layer, SETTINGS, Setting};

/// Names of the flags, in the order of the table.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = SETTINGS.iter().map(|setting| setting.name);
    names.map(|name| name.replace('_', "-")).collect()
});

/// Adds a flag per setting.
pub(super) fn add(command: Command) -> Command {
    let flag = |(setting, name): (&'static Setting, &'static String)| {
        let default = match setting.default {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        Arg::new(setting.name)
            .long(name.as_str())
            .value_name("VALUE")
            .help(format!("{}{default}", setting.doc))
            .help_heading("Settings (also SLUICEGATE_<NAME>, and `gateway:` in the file)")
            .allow_hyphen_values(true)
    };
    command.args(SETTINGS.iter().zip(NAMES.iter()).map(flag))
}

/// The flags that were given.
pub(super) fn layer(matches: &ArgMatches) -> Layer {
    let given = SETTINGS.iter().filter_map(|setting| {
        let text = matches.get_one::<String>(setting.name)?;
        Some((setting.name, text.clone()))
    });
    // Every name is one of the table's.
    Layer::of_flags(given).unwrap_or_default()
}
