use std::sync::Arc;

use super::super::testkit::{self, Names};
use super::*;

fn text(name: &str) -> String {
    format!("services: [{{name: {name}, url: 'http://127.0.0.1:1'}}]\n")
}

struct Watched {
    folder: tempfile::TempDir,
    file: PathBuf,
    reloads: Reloads,
}

/// A watched file that is live.
async fn start() -> Watched {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, text("one")).unwrap();
    let reloads = Reloads::start(testkit::loader(Arc::new(Names::default())));
    reread(&file, &reloads).await;
    tokio::spawn(watch(file.clone(), text("one"), reloads.clone()));
    let watched = Watched {
        folder,
        file,
        reloads,
    };
    watched.becomes("one").await;
    watched
}

impl Watched {
    fn live(&self) -> Option<String> {
        let snapshot = self.reloads.loader().snapshot()?;
        snapshot.services[0].entity.name.clone()
    }

    async fn becomes(&self, name: &str) {
        let wait = async {
            while self.live().as_deref() != Some(name) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), wait).await.expect(name);
    }
}

#[tokio::test]
async fn edits_in_place_and_renames_are_seen() {
    let watched = start().await;
    std::fs::write(&watched.file, text("two")).unwrap();
    watched.becomes("two").await;
    let beside = watched.folder.path().join("new");
    std::fs::write(&beside, text("three")).unwrap();
    std::fs::rename(&beside, &watched.file).unwrap();
    watched.becomes("three").await;
    std::fs::remove_file(&watched.file).unwrap();
    std::fs::write(&watched.file, text("four")).unwrap();
    watched.becomes("four").await;
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_seen() {
    let watched = start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let (one, two) = (elsewhere.path().join("one"), elsewhere.path().join("two"));
    std::fs::write(&one, text("linked")).unwrap();
    std::fs::write(&two, text("swapped")).unwrap();
    let link = |to: &Path| {
        let beside = watched.folder.path().join("link");
        std::os::unix::fs::symlink(to, &beside).unwrap();
        std::fs::rename(&beside, &watched.file).unwrap();
    };
    link(&one);
    watched.becomes("linked").await;
    link(&two);
    watched.becomes("swapped").await;
    // No event is told of the folder behind the link: the clock finds it.
    std::fs::write(&two, text("behind")).unwrap();
    watched.becomes("behind").await;
}

#[tokio::test]
async fn a_moment_without_text_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let mut seen = Seen::new("a");
    assert!(seen.look(&file, || false).await.is_none());
    std::fs::write(&file, "b").unwrap();
    assert_eq!(seen.look(&file, || false).await.unwrap().unwrap(), "b");
    assert!(seen.look(&file, || false).await.is_none());
    std::fs::write(&file, "").unwrap();
    assert!(seen.look(&file, || false).await.is_none());
    sleep(POLL).await;
    let empty = seen.look(&file, || false).await.unwrap();
    assert_eq!(empty.unwrap(), "", "it stays empty");
    std::fs::remove_file(&file).unwrap();
    assert!(seen.look(&file, || false).await.is_none());
    sleep(POLL).await;
    assert!(
        seen.look(&file, || false).await.unwrap().is_err(),
        "it stays away"
    );
    assert!(seen.look(&file, || false).await.is_none(), "said once");
}

#[tokio::test]
async fn half_a_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    std::fs::write(&file, "").unwrap();
    let writes = file.clone();
    let writing = tokio::spawn(async move {
        let mut out = std::fs::File::options().append(true).open(&writes).unwrap();
        for _ in 0..20 {
            std::io::Write::write_all(&mut out, b"half ").unwrap();
            sleep(QUIET / 4).await;
        }
    });
    let mut seen = Seen::new("");
    let text = seen.look(&file, || false).await.unwrap().unwrap();
    assert!(writing.is_finished());
    assert_eq!(text, "half ".repeat(20));
}
