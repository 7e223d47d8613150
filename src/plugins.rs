//! The table of plugins (floor 4).

use crate::plugin::PluginDef;

/// Every plugin there is.
pub static TABLE: &[&PluginDef] = &[];
