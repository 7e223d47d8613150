//! The clients that Kong's bot-detection refuses by itself, as expressions of our own.
//!
//! Invariant: what one of the general words finds is not named a second time below.

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::bytes::Regex;

/// Whether a `User-Agent` is that of a known crawler.
pub(super) fn is_one(agent: &[u8]) -> bool {
    CRAWLERS.as_ref().is_some_and(|all| all.is_match(agent))
}

/// `None` never is: a test sees to it that the expression compiles.
pub(super) static CRAWLERS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&expression()).ok());

/// What crawlers call themselves. A phone's name is why `bot` may not follow `Cu`; with a number
/// behind it, it may.
const WORDS: &str = r"(?i:spider|crawl)|[Ss]crape|(?s:[^C][^Uu])[Bb]ot|(?:[Bb]ot|[Aa]rchiver|[Ii]ndexer|[Ss]craper)[/ ][0-9]";

/// What takes more than a name.
const SHAPES: &str = r"Google.*/\+/web/snippet|MSIE [0-9]+\.[0-9]+(?:[a-z][0-9]?)?;.* MSIECrawler|Y!J-BR[A-Z]/[0-9]|Accoona-[A-Za-z]+-Agent|Yahoo[a-z]*Seeker|WeSEE:[A-Za-z_]|Xenu(?:.s)? Link Sleuth|Yandex\w|50\.nu|\bYeti|jbot\b|/[A-Za-z]+[Bb]ot-[0-9]|[Cc]harlotte";

/// Names that stand at the very beginning.
const FIRST: &[&str] = &["NING", "Zao", "vortex", "voyager"];

/// Names that a slash and a number follow.
const WITH_VERSION: &[&str] = &[
    "008",
    "Altresium",
    "Argus",
    "BaiduMobaider",
    "DNSGroup",
    "DataparkSearch",
    "EDI",
    "Goodzer",
    "Grub",
    "INGRID",
    "Infohelfer",
    "LOOQ",
    "PathDefender",
    "Peew",
    "PostPost",
    "Steeler",
    "VSE",
    "WebCrunch",
    "WebZIP",
    "envolk",
    "facebookexternalhit",
    "sproose",
    "wminer",
];

/// Names between a slash and a number.
const BEHIND_SLASH: &[&str] = &["Axtaris", "Isara", "ShopSalad", "Tailsweep", "fetchurl"];

/// Names that say enough wherever they stand.
const NAMES: &[&str] = &[
    "Aboundex",
    "AdsBot-Google",
    "Apache-HttpClient",
    "AppEngine-Google",
    "Ask Jeeves",
    "BingPreview",
    "BlogBridge",
    "BoardReader",
    "BotSeer",
    "Checklinks",
    "Daumoa",
    "Flamingo_SearchEngine",
    "Genieo",
    "GomezAgent",
    "Google SketchUp",
    "Google-HTTP-Java-Client",
    "HiddenMarket",
    "HooWWWer",
    "HttpMonitor",
    "Icarus6j",
    "IconSurf",
    "IlTrovatore",
    "InfuzApp",
    "InternetArchive",
    "JNLP",
    "Kraken",
    "Kurzor",
    "LEIA",
    "LinkAider",
    "Llaut",
    "Mediapartners-Google",
    "Netvibes",
    "NewsGator",
    "Nutch",
    "Nymesis",
    "OOZBOT",
    "ObjectsSearch",
    "Orbiter",
    "PagePeeker",
    "PagesInventory",
    "PaxleFramework",
    "Pompos",
    "Python-urllib",
    "Read%20Later",
    "Reaper",
    "RedCarpet",
    "Retreiver",
    "Riddler",
    "Rival IQ",
    "SEOstats",
    "Scrapy",
    "Scrubby",
    "SimplePie",
    "SimpleRSS",
    "Simpy",
    "SiteCon",
    "Slurp",
    "Squrl Java",
    "TLSProber",
    "Thumbshots.ru",
    "URL2PNG",
    "Vagabondo",
    "WIRE",
    "Web-sniffer",
    "WebThumb",
    "WhatWeb",
    "WinHTTP",
    "WordPress",
    "Wotbox",
    "YottaaMonitor",
    "Yowedo",
    "ZooShot",
    "ZyBorg",
    "altavista",
    "archiver",
    "boitho.com-dc",
    "clumboot",
    "favicon",
    "findlinks",
    "gonzo1",
    "grub-client",
    "heritrix",
    "holmes",
    "htdig",
    "http%20client",
    "ia_archiver",
    "ichiro",
    "larbin",
    "lycos",
    "mogimogi",
    "mozDex",
    "netresearch",
    "scooter",
    "searchsight",
    "semanticdiscovery",
    "snappy",
    "www.almaden.ibm.com",
    "yacy",
];

/// All of it as one expression, of bytes rather than letters.
fn expression() -> String {
    let any = |names: &[&str]| {
        let escaped: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
        escaped.join("|")
    };
    let mut all = format!("(?-u){WORDS}|{SHAPES}");
    let _ = write!(all, "|^(?:{})", any(FIRST));
    let _ = write!(all, "|(?:{})/[0-9]", any(WITH_VERSION));
    let _ = write!(all, "|/(?:{})[ -][0-9]", any(BEHIND_SLASH));
    let _ = write!(all, "|{}", any(NAMES));
    all
}
