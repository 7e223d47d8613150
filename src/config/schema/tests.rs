use super::texts;
use super::*;
use crate::config::yaml;

static REDIS: Record = Record::new(&[
    field("host", host()),
    field("port", port()).required().default(Literal::Int(6379)),
    field("password", text()).secret(),
    field("ssl", boolean())
        .required()
        .default(Literal::Bool(false)),
])
.rules(&[Rule::When {
    field: "ssl",
    is: Is::Bool(true),
    then: "password",
    must: Is::Given,
}]);

const STATUS: Kind = integer().between(100, 999);
const NAME: Kind = text();
const HEADER_VALUES: Kind = array(&text()).at_least(1);

static SAMPLE: Record = Record::new(&[
    field("minute", number().above(0)).doc("Requests a minute."),
    field("hour", number().above(0)).doc("Requests an hour."),
    field("policy", one_of(&["local", "redis"]))
        .required()
        .default(Literal::Str("local")),
    field("retries", integer().between(0, 32767)).default(Literal::Int(5)),
    field("factor", number().between(0, 1)).default(Literal::Number(0.5)),
    field("statuses", set(&STATUS)).default(Literal::Ints(&[429, 500])),
    field("names", set(&NAME))
        .required()
        .default(Literal::Strs(&["apikey"])),
    field(
        "headers",
        map_with_keys("header name", texts::header_name, &HEADER_VALUES),
    ),
    field("redis", record(&REDIS))
        .required()
        .flat(&[("redis_host", "host")]),
    field("allow", array(&ip_or_cidr()).at_least(1)).aliases(&["whitelist"]),
    field("code", either(&[STATUS, text()])),
    field("shm", text()).unsupported("there is no shared memory"),
    field("buffering", boolean())
        .default(Literal::Bool(true))
        .note("changes nothing"),
    field("extra", any()),
])
.rules(&[
    Rule::AtLeastOne(&["minute", "hour", "allow"]),
    Rule::AtMostOne(&["code", "shm"]),
    Rule::Check(|fields, report| {
        if fields.opt_number("hour") < fields.opt_number("minute") && fields.has("hour") {
            fields.error(report, "hour", "must not be lower than 'minute'");
        }
    }),
]);

fn issues(text: &str) -> Vec<String> {
    let node = yaml::parse(text).unwrap();
    let mut report = Report::new("f", text);
    let checked = check(&node, &SAMPLE, "config", &mut report);
    assert_eq!(checked.is_some(), report.is_ok());
    report.sort();
    report.to_text().lines().map(str::to_owned).collect()
}

fn with<T>(text: &str, read: impl FnOnce(&Fields<'_>) -> T) -> T {
    let node = yaml::parse(text).unwrap();
    let mut report = Report::new("f", text);
    let fields = check(&node, &SAMPLE, "config", &mut report);
    read(&fields.unwrap_or_else(|| panic!("{}", report.to_text())))
}

#[test]
fn defaults_and_values_are_read_by_type() {
    with("minute: 5\n", |f| {
        assert_eq!(f.number("minute"), 5.0);
        assert_eq!(f.opt_number("hour"), None);
        assert_eq!(f.str("policy"), "local");
        assert_eq!(f.int::<u16>("retries"), 5);
        assert_eq!(f.opt_int::<u32>("retries"), Some(5));
        assert_eq!(f.number("factor"), 0.5);
        assert_eq!(f.ints::<u16>("statuses"), [429, 500]);
        assert_eq!(f.strings("names"), ["apikey"]);
        assert_eq!(f.record("redis").unwrap().int::<u16>("port"), 6379);
        assert_eq!(f.opt_strings("allow"), None);
        assert!(f.bool("buffering") && !f.has("headers") && !f.is_written("policy"));
    });
}

#[test]
fn written_values_win() {
    let text = "minute: 1.5\nhour: 60\nretries: 0\nnames: [a, b, a]\nheaders: {X-A: [1, 2]}\nredis: {host: r, port: 1}\ncode: teapot\n";
    let text = text.replace("[1, 2]", "['1', '2']");
    with(&text, |f| {
        assert_eq!(f.number("minute"), 1.5);
        assert_eq!(f.int::<u8>("retries"), 0);
        assert_eq!(f.strings("names"), ["a", "b"]);
        assert_eq!(
            f.strings_map("headers"),
            [("X-A".into(), vec!["1".into(), "2".into()])]
        );
        assert_eq!(f.record("redis").unwrap().str("host"), "r");
        assert_eq!(f.str("code"), "teapot");
        assert_eq!(f.at("retries").line, 3);
        assert_eq!(f.path("retries"), "config.retries");
        assert_eq!(f.at_item("names", 1).column, 12);
        assert_eq!(f.to_json()["redis"]["ssl"], false);
    });
}

#[test]
fn null_means_no_value_and_no_default() {
    with("minute: 1\nretries: null\nstatuses: ~\n", |f| {
        assert_eq!(f.opt_int::<u16>("retries"), None);
        assert_eq!(
            f.int::<u16>("retries"),
            5,
            "run-time code falls back to its own default"
        );
        assert!(!f.has("retries"));
        assert!(f.to_json()["retries"].is_null());
    });
    assert_eq!(
        issues("minute: 1\npolicy: null\n"),
        [
            "f:2:9: error: config.policy: required field missing",
            "  hint: leave the key out for the default, \"local\"",
        ]
    );
}

#[test]
fn every_mistake_is_found_at_once() {
    let text = "\
minute: \"60\"
hour: 0
policy: rdis
retries: 40000
statuses: 500
names: [yes, 1, '']
headers: {'bad name': [], x: v}
redis: {prt: 1, ssl: 'true', host: 'h:80'}
shm: x
extra: {a: 1}
";
    assert_eq!(
        issues(text),
        [
            "f:1:9: error: config.minute: expected a number, got \"60\"",
            "  hint: remove the quotes",
            "f:2:7: error: config.hour: value must be greater than 0",
            "f:3:9: error: config.policy: expected one of: local, redis",
            "  hint: did you mean `redis`?",
            "f:4:10: error: config.retries: value should be between 0 and 32767",
            "f:5:11: error: config.statuses: expected a set, got 500",
            "f:6:9: error: config.names[0]: expected a string, got true",
            "  hint: put it in quotes: YAML reads yes, no, on, off as booleans",
            "f:6:14: error: config.names[1]: expected a string, got 1",
            "  hint: put it in quotes",
            "f:6:17: error: config.names[2]: length must be at least 1",
            "f:7:11: error: config.headers[\"bad name\"]: bad header name 'bad name', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
            "f:7:23: error: config.headers[\"bad name\"]: length must be at least 1",
            "f:7:30: error: config.headers.x: expected an array, got \"v\"",
            "  hint: put it in brackets: [value]",
            "f:8:9: error: config.redis.prt: unknown field",
            "  hint: did you mean `port`?",
            "f:8:22: error: config.redis.ssl: expected a boolean, got \"true\"",
            "  hint: remove the quotes",
            "f:8:36: error: config.redis.host: must not have a port",
            "f:9:6: error: config.shm: not supported: there is no shared memory",
        ]
    );
}

#[test]
fn rules_speak_kongs_words() {
    assert_eq!(
        issues("retries: 1\n"),
        [
            "f:1:1: error: config: at least one of these fields must be non-empty: 'minute', 'hour', 'allow'"
        ]
    );
    assert_eq!(
        issues("minute: 5\nhour: 3\n"),
        ["f:2:7: error: config.hour: must not be lower than 'minute'"]
    );
    assert_eq!(
        issues("minute: 5\nredis: {ssl: true}\n"),
        [
            "f:2:8: error: config.redis.password: required field missing (failed conditional validation given value of field 'ssl')"
        ]
    );
    assert_eq!(
        issues("[1]\n"),
        ["f:1:1: error: config: expected a record, got a list"]
    );
}

#[test]
fn secrets_are_not_repeated_in_messages() {
    let lines = issues("minute: 1\nredis: {password: 12345}\n");
    assert_eq!(
        lines,
        ["f:2:19: error: config.redis.password: expected a string, got a number"]
    );
}

#[test]
fn older_names_work_with_a_warning() {
    let text = "minute: 1\nwhitelist: [10.0.0.0/8]\nredis_host: r\nbuffering: false\n";
    with(text, |f| {
        assert_eq!(f.strings("allow"), ["10.0.0.0/8"]);
        assert_eq!(f.record("redis").unwrap().str("host"), "r");
    });
    assert_eq!(
        issues(text),
        [
            "f:2:1: warning: config.whitelist: an older name of `allow`",
            "  hint: write `allow`",
            "f:3:1: warning: config.redis_host: an older name of `redis.host`",
            "  hint: write `redis.host`",
            "f:4:12: warning: config.buffering: changes nothing",
        ]
    );
}

#[test]
fn what_is_missing_in_an_absent_record_is_placed_at_its_parent() {
    static INNER: Record = Record::new(&[field("key", text()).required()]);
    static OUTER: Record = Record::new(&[field("inner", record(&INNER)).required()]);
    let node = yaml::parse("\n  {}\n").unwrap();
    let mut report = Report::new("f", "");
    assert!(check(&node, &OUTER, "", &mut report).is_none());
    assert_eq!(
        report.to_text(),
        "f:2:3: error: inner.key: required field missing\n"
    );
}

#[test]
fn texts_are_judged_as_kong_does() {
    for good in [
        "example.com",
        "a_b.test",
        "10.0.0.1",
        "::1",
        "[::1]",
        "host.",
    ] {
        assert_eq!(texts::host(good), Ok(()), "{good}");
    }
    for bad in [
        "example.com:80",
        "10.0.0.1:80",
        "[::1]:80",
        "a b",
        "",
        "-a",
        "http://x",
    ] {
        assert!(texts::host(bad).is_err(), "{bad}");
    }
    assert_eq!(texts::path("v1").unwrap_err(), "should start with: /");
    assert_eq!(
        texts::path("/a//b").unwrap_err(),
        "must not have empty segments"
    );
    assert!(texts::path("/a%2").is_err() && texts::path("/a b").is_err());
    assert_eq!(texts::path("/a%2Fb;v=1"), Ok(()));
    assert!(texts::url("https://h:8443/x?y").is_ok());
    assert!(texts::url("h/x").is_err() && texts::url("http://").is_err());
    assert!(texts::tag("a,b").is_err());
    assert!(texts::name("a b").is_err() && texts::name("größe_1.x~").is_ok());
    assert!(
        texts::regex("(?=x)")
            .unwrap_err()
            .starts_with("invalid regex: look-around")
    );
    let parts = texts::url_parts("https://u:p@[::1]:8443/a/b?c#d").unwrap();
    assert_eq!(
        (parts.scheme, parts.host, parts.port),
        (Some("https"), "[::1]", Some(8443))
    );
    assert_eq!(parts.path, Some("/a/b"));
}

#[test]
fn json_schema_agrees_with_the_check() {
    let schema = json_schema(&SAMPLE);
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (text, good) in [
        ("minute: 1", true),
        ("minute: 1\nretries: null", true),
        ("minute: 1\npolicy: null", false),
        ("minute: 0", false),
        ("minute: 1\nx: 1", false),
        ("minute: 1\nredis: {port: 70000}", false),
        ("minute: 1\nredis: {port: 70}", true),
        ("minute: 1\ncode: 404", true),
        ("minute: 1\ncode: 4", false),
    ] {
        let value = yaml::parse(text).unwrap().to_json();
        assert_eq!(validator.is_valid(&value), good, "{text}");
        assert_eq!(
            issues(text).iter().all(|line| !line.contains("error")),
            good,
            "{text}"
        );
    }
}

#[test]
fn the_table_lists_nested_fields() {
    let table = markdown_table(&SAMPLE);
    assert!(
        table.contains("| `policy` | `local`, `redis` | `\"local\"` |"),
        "{table}"
    );
    assert!(
        table.contains("| `redis.port` | integer 0–65535 | `6379` |"),
        "{table}"
    );
}
