//! The words that descriptions are written in: every function is `const`.

use super::{Judge, Kind, Record, Text, texts};

/// `true` or `false`.
#[must_use]
pub const fn boolean() -> Kind {
    Kind::Boolean
}

/// A whole number; bound it with [`Kind::between`] or [`Kind::at_least`].
#[must_use]
pub const fn integer() -> Kind {
    Kind::Integer {
        min: i64::MIN,
        max: i64::MAX,
    }
}

/// A port, 0 to 65535.
#[must_use]
pub const fn port() -> Kind {
    integer().between(0, 65535)
}

/// Milliseconds, 0 to 2^31 - 2.
#[must_use]
pub const fn milliseconds() -> Kind {
    integer().between(0, 2_147_483_646)
}

/// A number; bound it with [`Kind::between`], [`Kind::at_least`] or [`Kind::above`].
#[must_use]
pub const fn number() -> Kind {
    Kind::Number {
        min: f64::NEG_INFINITY,
        max: f64::INFINITY,
        above: None,
    }
}

/// A text of at least one character.
#[must_use]
pub const fn text() -> Kind {
    Kind::Text(Text::ANY)
}

/// A text that may be empty.
#[must_use]
pub const fn text_or_empty() -> Kind {
    Kind::Text(Text {
        min: 0,
        ..Text::ANY
    })
}

/// One of these texts.
#[must_use]
pub const fn one_of(values: &'static [&'static str]) -> Kind {
    Kind::Text(Text {
        one_of: values,
        ..Text::ANY
    })
}

/// A text that a function accepts; `what` names it in the documentation.
#[must_use]
pub const fn checked(what: &'static str, check: Judge) -> Kind {
    Kind::Text(Text {
        what,
        check: Some(check),
        ..Text::ANY
    })
}

/// An absolute URL with scheme and host.
#[must_use]
pub const fn url() -> Kind {
    checked("URL", texts::url)
}

/// A host name, IPv4 or IPv6 address, without a port.
#[must_use]
pub const fn host() -> Kind {
    checked("host", texts::host)
}

/// The name of a header.
#[must_use]
pub const fn header_name() -> Kind {
    checked("header name", texts::header_name)
}

/// An IP address, or a range of them as `10.0.0.0/8`.
#[must_use]
pub const fn ip_or_cidr() -> Kind {
    checked("IP address or CIDR range", texts::ip_or_cidr)
}

/// A UUID.
#[must_use]
pub const fn uuid() -> Kind {
    checked("UUID", texts::uuid)
}

/// A regular expression of the `regex` crate.
#[must_use]
pub const fn regex() -> Kind {
    checked("regular expression", texts::regex)
}

/// A list.
#[must_use]
pub const fn array(of: &'static Kind) -> Kind {
    Kind::Array { of, min: 0 }
}

/// A list without order and repetition.
#[must_use]
pub const fn set(of: &'static Kind) -> Kind {
    Kind::Set { of, min: 0 }
}

/// A map whose keys are any texts.
#[must_use]
pub const fn map(of: &'static Kind) -> Kind {
    Kind::Map {
        keys: Text::ANY,
        of,
    }
}

/// A map whose keys a function accepts.
#[must_use]
pub const fn map_with_keys(what: &'static str, check: Judge, of: &'static Kind) -> Kind {
    Kind::Map {
        keys: Text {
            what,
            check: Some(check),
            ..Text::ANY
        },
        of,
    }
}

/// A nested record.
#[must_use]
pub const fn record(record: &'static Record) -> Kind {
    Kind::Record(record)
}

/// The first of these whose type fits.
#[must_use]
pub const fn either(kinds: &'static [Kind]) -> Kind {
    Kind::Either(kinds)
}

/// Anything.
#[must_use]
pub const fn any() -> Kind {
    Kind::Any
}

impl Kind {
    /// Bounds a number, both ends included.
    #[must_use]
    pub const fn between(self, min: i64, max: i64) -> Self {
        match self {
            Self::Number { above, .. } => Self::Number {
                min: min as f64,
                max: max as f64,
                above,
            },
            Self::Integer { .. } => Self::Integer { min, max },
            other => other,
        }
    }

    /// Bounds a number from below, or the length of a list or text.
    #[must_use]
    pub const fn at_least(self, min: i64) -> Self {
        let length = if min < 0 { 0 } else { min as usize };
        match self {
            Self::Number { max, above, .. } => Self::Number {
                min: min as f64,
                max,
                above,
            },
            Self::Integer { max, .. } => Self::Integer { min, max },
            Self::Array { of, .. } => Self::Array { of, min: length },
            Self::Set { of, .. } => Self::Set { of, min: length },
            Self::Text(text) => Self::Text(Text {
                min: length,
                ..text
            }),
            other => other,
        }
    }

    /// Bounds a number from below, the bound excluded.
    #[must_use]
    pub const fn above(self, bound: i64) -> Self {
        match self {
            Self::Number { min, max, .. } => Self::Number {
                min,
                max,
                above: Some(bound as f64),
            },
            Self::Integer { max, .. } => Self::Integer {
                min: bound + 1,
                max,
            },
            other => other,
        }
    }

    /// A regular expression that editors may check a text by.
    #[must_use]
    pub const fn pattern(self, pattern: &'static str) -> Self {
        match self {
            Self::Text(text) => Self::Text(Text {
                pattern: Some(pattern),
                ..text
            }),
            other => other,
        }
    }
}

impl Text {
    /// Any text of at least one character.
    pub const ANY: Self = Self {
        one_of: &[],
        min: 1,
        check: None,
        pattern: None,
        what: "string",
    };
}
