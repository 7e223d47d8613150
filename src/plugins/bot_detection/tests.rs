//! Clients by what they call themselves.

use super::*;
use crate::plugin::testkit::{Kit, config_issues};

fn outcome(config: &str, agents: &[&str]) -> (u16, String) {
    let mut request = "GET / HTTP/1.1".to_owned();
    for agent in agents {
        request += &format!("\nUser-Agent: {agent}");
    }
    let answer = Kit::of(&PLUGIN, config).send(&request);
    (answer.status, answer.body)
}

const BROWSERS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36",
    "curl/8.14.1",
    "Wget/1.25.0",
    "okhttp/4.12.0",
    "Go-http-client/1.1",
    "python-requests/2.32.3",
    "PostmanRuntime/7.43.0",
    "",
    "é ü",
];

const CRAWLING: &[&str] = &[
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (compatible; YandexImages/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0)",
    "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
    "Mozilla/5.0 (compatible; MSIE 7.0; Windows NT 6.0; MSIECrawler)",
    "Mozilla/4.0 (compatible; MSIE 7.0b2; Windows NT 6.0; MSIECrawler)",
    "Apache-HttpClient/4.5.13 (Java/17)",
    "Python-urllib/3.12",
    "Scrapy/2.11 (+https://scrapy.org)",
    "WordPress/6.4; https://example.org",
    "Mozilla/5.0 (compatible; archive.org_bot)",
    "SuperCRAWLer",
    "price-scraper 3",
    "Bot/1",
    "Indexer 2.0",
    "Argus/1.1",
    "Mozilla/5.0 (compatible) /Axtaris-2",
    "NING/1.0",
    "Y!J-BRI/0.0.1 crawler",
    "Xenu Link Sleuth/1.3.8",
    "Xenu's Link Sleuth",
    "Google (x +/web/snippet) /+/web/snippet",
    "my favicon fetcher",
    "Yeti-Mobile",
    "WebCrunch/1.2",
    "charlotte/1.1",
    "/Cubot-1",
];

#[test]
fn the_list_knows_crawlers_from_browsers() {
    assert!(crawlers::CRAWLERS.is_some());
    for agent in BROWSERS {
        assert_eq!(outcome("{}", &[agent]).0, 200, "{agent}");
    }
    for agent in CRAWLING {
        let want = (403, r#"{"message":"Forbidden"}"#.to_owned());
        assert_eq!(outcome("{}", &[agent]), want, "{agent}");
    }
    assert!(!crawlers::is_one(b"\xff\xfe"));
    assert!(crawlers::is_one(b"\xff\xfebot"));
}

#[test]
fn none_passes_and_two_are_one_too_many() {
    assert_eq!(outcome("{}", &[]).0, 200);
    let (status, body) = outcome("{}", &["curl/8", "curl/8"]);
    assert_eq!(status, 400);
    assert_eq!(body, r#"{"message":"Only one User-Agent header allowed"}"#);
}

#[test]
fn own_lists_come_first() {
    for (config, agent, status) in [
        ("{deny: ['^curl/[0-7]\\.']}", "curl/7.88.1", 403),
        ("{deny: ['^curl/[0-7]\\.']}", "curl/8.14.1", 200),
        ("{deny: [a, b, c]}", "xbx", 403),
        ("{deny: ['(?i)CURL']}", "curl/8", 403),
        ("{deny: [CURL]}", "curl/8", 200),
        ("{allow: [Googlebot]}", "Googlebot/2.1", 200),
        ("{allow: [Googlebot]}", "bingbot/2.0", 403),
        ("{allow: [curl], deny: [curl]}", "curl/8", 200),
        ("{allow: null, deny: null}", "curl/8", 200),
        ("{whitelist: [Googlebot], blacklist: [curl]}", "curl/8", 403),
        ("{whitelist: [Googlebot]}", "Googlebot/2.1", 200),
    ] {
        assert_eq!(outcome(config, &[agent]).0, status, "{config} {agent}");
    }
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        ("{allow: curl}", "allow: expected an array"),
        ("{allow: [1]}", "allow[0]: expected a string"),
        ("{deny: ['']}", "deny[0]: length must be at least 1"),
        (
            "{deny: [ok, '(']}",
            "deny[1]: invalid regex: unclosed group",
        ),
        ("{deny: ['a(?=b)']}", "deny[0]: invalid regex: look-around"),
        ("{deny: ['(a{1000}){1000}']}", "deny[0]: invalid regex: "),
        ("{denied: [a]}", "denied: unknown field"),
    ] {
        let found = config_issues(&PLUGIN, config);
        let want = format!("error: plugins[0].config.{want}");
        assert!(found[0].contains(&want), "{found:?}");
    }
    let many: Vec<String> = (0..10).map(|n| format!("'{n}(?-u:a{{40000}})'")).collect();
    let found = config_issues(&PLUGIN, &format!("{{deny: [{}]}}", many.join(", ")));
    assert!(found[0].contains("config.deny: invalid regex"), "{found:?}");
    assert!(found[1].contains("fewer or simpler"), "{found:?}");
}
