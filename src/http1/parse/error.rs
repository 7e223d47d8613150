//! Why a head was refused.
//!
//! Invariant: a head that was refused is never read on; the connection closes behind the answer.

use thiserror::Error;

/// Why a head was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// The first line is no request line (RFC 9112 §3), an HTTP/0.9 one included.
    #[error("malformed request line")]
    RequestLine,
    /// The method is no token.
    #[error("method is not a token")]
    Method,
    /// The method is longer than any in use.
    #[error("method is too long")]
    MethodTooLong,
    /// The request target has none of the four forms of RFC 9112 §3.2, or bytes it may not have.
    #[error("malformed request target")]
    Target,
    /// The request target is longer than allowed.
    #[error("request target is too long")]
    UriTooLong,
    /// Where the version should be stands something else.
    #[error("malformed protocol version")]
    Version,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    #[error("unsupported protocol version")]
    UnsupportedVersion,
    /// The first line is no status line (RFC 9112 §4).
    #[error("malformed status line")]
    StatusLine,
    /// A CR without LF.
    #[error("CR without LF")]
    BareCr,
    /// An LF without CR.
    #[error("LF without CR")]
    BareLf,
    /// A control byte in a value or reason phrase.
    #[error("control byte in a field value")]
    ControlByte,
    /// A field name with a byte that no token has, or a line without a colon.
    #[error("malformed field name")]
    FieldName,
    /// A line that begins with its colon.
    #[error("empty field name")]
    EmptyName,
    /// A blank between field name and colon (RFC 9112 §5.1).
    #[error("blank before a colon")]
    SpaceBeforeColon,
    /// A line that begins with a blank (RFC 9112 §5.2).
    #[error("folded field line")]
    ObsFold,
    /// More field lines than allowed.
    #[error("too many fields")]
    TooManyFields,
    /// A larger header section than allowed.
    #[error("header section is too large")]
    HeadTooLarge,
    /// No `Host` in an HTTP/1.1 request.
    #[error("Host is missing")]
    HostMissing,
    /// More than one `Host`.
    #[error("Host is repeated")]
    HostRepeated,
    /// `Host` is not `uri-host [":" port]`, or empty where the target needs it.
    #[error("Host is malformed")]
    HostMalformed,
    /// `Host` and an absolute-form target name different authorities.
    #[error("Host differs from the request target")]
    HostDiffers,
    /// `Content-Length` is not 1 to 18 digits.
    #[error("malformed Content-Length")]
    LengthMalformed,
    /// More than one `Content-Length`, equal or not.
    #[error("Content-Length is repeated")]
    LengthRepeated,
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("Content-Length beside Transfer-Encoding")]
    LengthAndCoding,
    /// `Transfer-Encoding` is no list of codings, or `chunked` is not last or not alone.
    #[error("malformed Transfer-Encoding")]
    CodingMalformed,
    /// A transfer coding other than `chunked`.
    #[error("unknown transfer coding")]
    CodingUnknown,
    /// `Transfer-Encoding` where the message may not have one: in HTTP/1.0 and in 1xx answers.
    #[error("Transfer-Encoding where there can be none")]
    CodingMisplaced,
    /// A `Content-Length` in a 1xx answer.
    #[error("Content-Length in an informational answer")]
    LengthMisplaced,
    /// `Connection` is no list of tokens.
    #[error("malformed Connection")]
    ConnectionMalformed,
    /// `Connection` names a field that is never hop by hop.
    #[error("Connection names an end-to-end field")]
    ConnectionNames,
}

impl ParseError {
    /// The status that answers a request with this fault. A fault in an upstream's answer is a
    /// 502 whatever this says.
    pub fn status(self) -> u16 {
        match self {
            ParseError::UriTooLong => 414,
            ParseError::TooManyFields | ParseError::HeadTooLarge => 431,
            ParseError::MethodTooLong | ParseError::CodingUnknown => 501,
            ParseError::UnsupportedVersion => 505,
            _ => 400,
        }
    }

    /// A stable word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            ParseError::RequestLine => "request_line",
            ParseError::Method => "method",
            ParseError::MethodTooLong => "method_too_long",
            ParseError::Target => "target",
            ParseError::UriTooLong => "uri_too_long",
            ParseError::Version => "version",
            ParseError::UnsupportedVersion => "unsupported_version",
            ParseError::StatusLine => "status_line",
            ParseError::BareCr => "bare_cr",
            ParseError::BareLf => "bare_lf",
            ParseError::ControlByte => "control_byte",
            ParseError::FieldName => "field_name",
            ParseError::EmptyName => "empty_name",
            ParseError::SpaceBeforeColon => "space_before_colon",
            ParseError::ObsFold => "obs_fold",
            ParseError::TooManyFields => "too_many_fields",
            ParseError::HeadTooLarge => "head_too_large",
            ParseError::HostMissing => "host_missing",
            ParseError::HostRepeated => "host_repeated",
            ParseError::HostMalformed => "host_malformed",
            ParseError::HostDiffers => "host_differs",
            ParseError::LengthMalformed => "length_malformed",
            ParseError::LengthRepeated => "length_repeated",
            ParseError::LengthAndCoding => "length_and_coding",
            ParseError::CodingMalformed => "coding_malformed",
            ParseError::CodingUnknown => "coding_unknown",
            ParseError::CodingMisplaced => "coding_misplaced",
            ParseError::LengthMisplaced => "length_misplaced",
            ParseError::ConnectionMalformed => "connection_malformed",
            ParseError::ConnectionNames => "connection_names",
        }
    }
}
