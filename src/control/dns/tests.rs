use std::sync::Mutex;

use super::*;

/// Answers what the test says, and counts questions.
#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<String, Result<Answer, ResolveError>>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn say(&self, name: &str, answer: Result<&str, ResolveError>) {
        let answer = answer.map(|addresses| Answer {
            addresses: addresses.split(' ').map(|ip| ip.parse().unwrap()).collect(),
            valid_for: Duration::from_secs(10),
        });
        self.answers.lock().unwrap().insert(name.into(), answer);
    }

    fn asked(&self, name: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| *asked == name)
            .count()
    }
}

impl Resolve for Script {
    fn resolve<'a>(&'a self, name: &'a str) -> Looking<'a> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(name.to_owned());
            if name == "hangs" {
                std::future::pending::<()>().await;
            }
            let answers = self.answers.lock().unwrap();
            answers
                .get(name)
                .cloned()
                .unwrap_or(Err(ResolveError::NotFound))
        })
    }
}

fn target(host: &str, port: u16, weight: u32) -> TargetSpec {
    TargetSpec {
        host: host.into(),
        port,
        weight,
        target: format!("{host}:{port}"),
    }
}

fn cluster() -> Arc<Cluster> {
    Arc::new(Cluster::new(ClusterKey::Upstream("u".into())))
}

fn seen(cluster: &Cluster) -> Vec<(String, u32)> {
    let set = cluster.endpoints();
    set.endpoints
        .iter()
        .map(|e| (e.address.to_string(), e.weight()))
        .collect()
}

async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn every_address_gets_the_full_weight_and_ttls_are_honoured() {
    let script = Arc::new(Script::default());
    script.say("a", Ok("10.0.0.2 10.0.0.1"));
    let mut feeder = Feeder::new(script.clone());
    let cluster = cluster();
    let _fed = feeder.feed(&cluster, &[target("a", 80, 7), target("10.1.1.1", 81, 1)]);
    cluster.resolved().await;
    let both = [
        ("10.0.0.1:80".into(), 7),
        ("10.0.0.2:80".into(), 7),
        ("10.1.1.1:81".into(), 1),
    ];
    assert_eq!(seen(&cluster), both);

    script.say("a", Ok("10.0.0.3"));
    sleep(Duration::from_secs(9)).await;
    assert_eq!(script.asked("a"), 1, "the answer is still valid");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(seen(&cluster)[0], ("10.0.0.3:80".into(), 7));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_keeps_the_last_good_answer() {
    let script = Arc::new(Script::default());
    script.say("a", Ok("10.0.0.1"));
    let mut feeder = Feeder::new(script.clone());
    let cluster = cluster();
    let _fed = feeder.feed(&cluster, &[target("a", 80, 1)]);
    cluster.resolved().await;
    script.say("a", Err(ResolveError::Failed("down".into())));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(seen(&cluster), [("10.0.0.1:80".to_owned(), 1)]);
    assert!(script.asked("a") > 3, "it goes on asking");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_hangs_delays_nobody_else() {
    let script = Arc::new(Script::default());
    script.say("a", Ok("10.0.0.1"));
    let mut feeder = Feeder::new(script.clone());
    let (good, bad, gone) = (cluster(), cluster(), cluster());
    let _fed = [
        feeder.feed(&bad, &[target("hangs", 80, 1)]),
        feeder.feed(&good, &[target("a", 80, 1)]),
        feeder.feed(&gone, &[target("nowhere", 80, 1)]),
    ];
    settle().await;
    assert_eq!(good.endpoints().resolution, Resolution::Known);
    assert_eq!(bad.endpoints().resolution, Resolution::Pending);
    assert_eq!(gone.endpoints().resolution, Resolution::NotFound);
}

#[tokio::test(start_paused = true)]
async fn clusters_share_a_name_and_its_task_ends_with_them() {
    let script = Arc::new(Script::default());
    script.say("a", Ok("10.0.0.1"));
    let mut feeder = Feeder::new(script.clone());
    let (one, two) = (cluster(), cluster());
    let fed = [
        feeder.feed(&one, &[target("a", 80, 1)]),
        feeder.feed(&two, &[target("A", 81, 1)]),
    ];
    settle().await;
    assert_eq!(script.asked("a"), 1);
    assert_eq!(seen(&two), [("10.0.0.1:81".to_owned(), 1)]);
    drop(fed);
    sleep(Duration::from_secs(60)).await;
    assert!(script.asked("a") <= 2, "nobody uses it any more");
}
