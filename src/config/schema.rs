//! One description of what a record may hold: it checks files, fills defaults, and becomes the JSON
//! Schema and the tables of the documentation.
//!
//! Invariant: descriptions are `static` data made by the `const` functions of this module; a value
//! that passed [`check`] can be read from its [`Fields`] without any way to fail.
//!
//! ```
//! use sluicegate::config::schema::{Literal, Record, Rule, field, integer, one_of, text};
//!
//! static CONFIG: Record = Record::new(&[
//!     field("minute", integer().at_least(1)).doc("Requests a minute."),
//!     field("policy", one_of(&["local", "redis"])).required().default(Literal::Str("local")),
//!     field("header_name", text()).doc("Header to count by."),
//! ])
//! .rules(&[Rule::AtLeastOne(&["minute", "header_name"])]);
//! ```

mod check;
mod digest;
mod export;
mod fields;
mod kinds;
mod slots;
pub mod texts;

pub(super) use check::inspect_among;
pub use check::{check, inspect, key_path};
pub use export::{json_schema, markdown_table};
pub use fields::{Fields, MASK};
pub use kinds::*;

use super::report::Report;

/// What one map may hold.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its fields, in the order of the documentation.
    pub fields: &'static [Field],
    /// What must hold between fields.
    pub rules: &'static [Rule],
    /// Further fields and rules that it shares with other records.
    pub base: Option<&'static Record>,
}

impl Record {
    /// A record of these fields.
    #[must_use]
    pub const fn new(fields: &'static [Field]) -> Self {
        Self {
            fields,
            rules: &[],
            base: None,
        }
    }

    /// Adds what must hold between the fields.
    #[must_use]
    pub const fn rules(mut self, rules: &'static [Rule]) -> Self {
        self.rules = rules;
        self
    }

    /// Adds the fields and rules of another record.
    #[must_use]
    pub const fn with(mut self, base: &'static Record) -> Self {
        self.base = Some(base);
        self
    }

    /// Its own fields and those it shares.
    pub fn all_fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        let base: &'static [Field] = self.base.map_or(&[], |base| base.fields);
        self.fields.iter().chain(base)
    }

    /// The description of one field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.all_fields().find(|field| field.name == name)
    }
}

/// One field of a [`Record`]; made by [`field`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// Must have a value, from the file or from the default. A required record that is absent is
    /// read as an empty one.
    pub required: bool,
    /// Value when the key is absent.
    pub default: Literal,
    /// One or two sentences for the reader of the documentation, Markdown allowed.
    pub doc: &'static str,
    /// Older names that are still understood, with a warning.
    pub aliases: &'static [&'static str],
    /// For a record: older keys beside it that mean a field inside it, `("redis_host", "host")`.
    pub flat: &'static [(&'static str, &'static str)],
    /// The value is not to be shown in messages.
    pub secret: bool,
    /// Why any value but the default is refused, if it is.
    pub unsupported: Option<&'static str>,
    /// What to tell whoever sets any value but the default.
    pub note: Option<&'static str>,
}

/// A field with this name that is optional and has no default.
#[must_use]
pub const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
        default: Literal::None,
        doc: "",
        aliases: &[],
        flat: &[],
        secret: false,
        unsupported: None,
        note: None,
    }
}

impl Field {
    /// Must have a value: `null` is refused, absent too unless there is a default.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The value when the key is absent.
    #[must_use]
    pub const fn default(mut self, value: Literal) -> Self {
        self.default = value;
        self
    }

    /// What the documentation says.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Older names, understood with a warning.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Older keys beside a record that mean a field inside it.
    #[must_use]
    pub const fn flat(mut self, flat: &'static [(&'static str, &'static str)]) -> Self {
        self.flat = flat;
        self
    }

    /// Never show the value.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Refuse every value but the default, and say why.
    #[must_use]
    pub const fn unsupported(mut self, why: &'static str) -> Self {
        self.unsupported = Some(why);
        self
    }

    /// Warn about every value but the default.
    #[must_use]
    pub const fn note(mut self, what: &'static str) -> Self {
        self.note = Some(what);
        self
    }
}

/// A default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal {
    /// No value.
    None,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Number(f64),
    /// A text.
    Str(&'static str),
    /// A list or set of texts.
    Strs(&'static [&'static str]),
    /// A list or set of whole numbers.
    Ints(&'static [i64]),
}

/// What may stand in a field; made by the functions below.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number between two bounds, both included.
    Integer {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A number between two bounds, both included, or above one that is not.
    Number {
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
        /// The value must be greater than this.
        above: Option<f64>,
    },
    /// A text.
    Text(Text),
    /// A list.
    Array {
        /// What its items are.
        of: &'static Kind,
        /// Fewest items.
        min: usize,
    },
    /// A list without order; repeated texts and numbers count once.
    Set {
        /// What its items are.
        of: &'static Kind,
        /// Fewest items.
        min: usize,
    },
    /// A map with keys of the author's choice.
    Map {
        /// What its keys are.
        keys: Text,
        /// What its values are.
        of: &'static Kind,
    },
    /// A map with known keys.
    Record(&'static Record),
    /// The first of these whose type fits.
    Either(&'static [Kind]),
    /// Another entity: its name or id as a text, or `{id: ..}`, `{name: ..}`, `{username: ..}`.
    Reference,
    /// Anything at all, unchecked.
    Any,
}

/// Accepts a text, or says what is wrong with it; a second line of that is a hint.
pub type Judge = fn(&str) -> Result<(), String>;

/// What a text must look like.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The allowed values; empty for any.
    pub one_of: &'static [&'static str],
    /// Fewest characters. Kong's texts are never empty unless said so.
    pub min: usize,
    /// A further check.
    pub check: Option<Judge>,
    /// A regular expression for editors (JSON Schema `pattern`); `check` decides.
    pub pattern: Option<&'static str>,
    /// What it is, for the documentation: `URL`, `UUID`.
    pub what: &'static str,
}

/// What must hold between the fields of a record.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// One of these at least has a value.
    AtLeastOne(&'static [&'static str]),
    /// Exactly one of these has a value.
    ExactlyOne(&'static [&'static str]),
    /// No more than one of these has a value.
    AtMostOne(&'static [&'static str]),
    /// All of these have a value, or none.
    AllOrNone(&'static [&'static str]),
    /// Those of these that have a value have different ones.
    Distinct(&'static [&'static str]),
    /// Kong's conditional: when one field is so, another must be so.
    When {
        /// The field that decides.
        field: &'static str,
        /// When it is this
        is: Is,
        /// then this other field
        then: &'static str,
        /// must be this.
        must: Is,
    },
    /// Anything else; runs only when every field is right by itself.
    Check(fn(&Fields<'_>, &mut Report)),
}

/// A condition on one field.
#[derive(Clone, Copy, Debug)]
pub enum Is {
    /// Without a value.
    Null,
    /// With a value.
    Given,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// None of these texts.
    NoneOf(&'static [&'static str]),
    /// This boolean.
    Bool(bool),
    /// A number greater than this.
    Above(i64),
}

#[cfg(test)]
mod tests;
