use std::net::{IpAddr, Ipv4Addr};

use tokio::runtime::Handle;
use tokio::time::{Duration, advance};

use super::super::dns::{Answer as Addresses, Answering, Found, Lookup, Services};
use super::*;
use crate::remote::consul::testkit::{Script, answer, entry, list};
use crate::snapshot::TargetSpec;
use crate::upstream::EndpointSpec;

const SECOND: Duration = Duration::from_secs(1);

/// Every name is at 10.7.7.7.
struct One;

impl Lookup for One {
    fn lookup<'a>(&'a self, _: &'a str, _: Services) -> Answering<'a> {
        Box::pin(async {
            Ok(Addresses {
                found: vec![Found::address(IpAddr::V4(Ipv4Addr::new(10, 7, 7, 7)))],
                ttl: 60 * SECOND,
            })
        })
    }
}

/// Lets every task that can go on go on.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

struct House {
    script: Arc<Script>,
    discovery: Arc<Discovery>,
    task: Task<Service>,
}

impl House {
    /// A watcher of `web`; what is in the script already is answered.
    async fn new(script: Script) -> Self {
        let script = Arc::new(script);
        let settings = ConsulSettings::default();
        let on = Handle::current();
        let discovery = Discovery::new(script.client(), &settings, Arc::new(One), on);
        let query = discovery.query(&web());
        let task = discovery.watch(query, &mut HashMap::new());
        settle().await;
        Self {
            script,
            discovery,
            task,
        }
    }

    fn endpoints(&self, of: &ConsulDiscovery) -> Vec<String> {
        let shown = |spec: &EndpointSpec| format!("{} {}", spec.address, spec.weight);
        let found = self.task.of.found(&target(8080), of);
        found.endpoints.iter().map(shown).collect()
    }
}

fn web() -> ConsulDiscovery {
    ConsulDiscovery {
        service: "web".into(),
        ..ConsulDiscovery::default()
    }
}

fn target(port: u16) -> TargetSpec {
    TargetSpec {
        target: format!("web.service.consul:{port}"),
        host: "web.service.consul".into(),
        port,
        weight: 1,
        use_srv_name: false,
        consul: Some(web()),
    }
}

#[tokio::test(start_paused = true)]
async fn instances_become_endpoints() {
    let script = Script::default();
    let entries = [
        entry("a", "10.0.0.1", 80, "passing"),
        entry("b", "10.0.0.2", 0, "warning"),
        entry("c", "10.0.0.3", 80, "critical"),
        entry("d", "named.test", 81, "passing"),
        entry("e", "", 82, "passing"),
        // The same place once more.
        entry("f", "10.0.0.1", 80, "passing"),
    ];
    script.body(1, &list(&entries));
    let house = House::new(script).await;
    let all = [
        "10.0.0.1:80 10",
        "10.0.0.2:8080 3",
        "10.7.7.7:81 10",
        "10.9.9.9:82 10",
    ];
    assert_eq!(house.endpoints(&web()), all);
    let strict = ConsulDiscovery {
        passing_only: true,
        ..web()
    };
    assert_eq!(house.endpoints(&strict), [all[0], all[2], all[3]]);
    let tagged = ConsulDiscovery {
        tags: vec!["B".into()],
        ..web()
    };
    assert_eq!(house.endpoints(&tagged), [all[1]]);
    // Both share the one question.
    let query = house.discovery.query(&strict);
    assert_eq!(query, house.discovery.query(&tagged));
}

#[tokio::test(start_paused = true)]
async fn a_truthful_empty_list_counts_at_once() {
    let script = Script::default();
    script.body(5, &list(&[entry("a", "10.0.0.1", 80, "passing")]));
    script.body(6, "[]");
    let house = House::new(script).await;
    assert_eq!(house.endpoints(&web()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn failures_and_lost_states_keep_the_list() {
    let script = Script::default();
    script.body(500, &list(&[entry("a", "10.0.0.1", 80, "passing")]));
    script.error(ConsulError::Failed(500, "No cluster leader".into()));
    let house = House::new(script).await;
    let one = ["10.0.0.1:80 10"];
    assert_eq!(house.endpoints(&web()), one);
    assert!(!house.task.of.found(&target(1), &web()).failed);
    // It is back with a smaller index and nothing in it.
    for _ in 0..100 {
        house.script.say((SECOND, Ok(answer(3, "[]"))));
    }
    for _ in 0..20 {
        advance(SECOND).await;
        settle().await;
        assert_eq!(house.endpoints(&web()), one);
    }
    // What stays so for half a minute is the truth.
    for _ in 0..40 {
        advance(SECOND).await;
        settle().await;
    }
    assert_eq!(house.endpoints(&web()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_may_not_see_everything_empties_nothing() {
    let script = Script::default();
    script.body(5, &list(&[entry("a", "10.0.0.1", 80, "passing")]));
    let house = House::new(script).await;
    for index in 6..80 {
        let mut filtered = answer(index, "[]");
        filtered.meta.filtered = true;
        house.script.say((SECOND, Ok(filtered)));
    }
    for _ in 0..70 {
        advance(SECOND).await;
        settle().await;
        assert_eq!(house.endpoints(&web()), ["10.0.0.1:80 10"]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_the_first_answer() {
    let house = House::new(Script::default()).await;
    let found = house.task.of.found(&target(1), &web());
    assert!(found.pending && !found.failed);
    advance(11 * SECOND).await;
    settle().await;
    let found = house.task.of.found(&target(1), &web());
    assert!(!found.pending && found.failed);
}
