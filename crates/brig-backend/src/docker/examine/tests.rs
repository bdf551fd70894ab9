//! What an operator is told.

use super::*;

fn good() -> EngineFacts {
    EngineFacts {
        product: "Docker Engine - Community".into(),
        version: "28.5.2".into(),
        api: "1.51".into(),
        components: vec![("runc".into(), "1.3.3".into(), "v1.3.3-0-gd842d771".into())],
        runtimes: ["runc", "runsc", "io.containerd.runc.v2"]
            .map(String::from)
            .into(),
        storage: "overlay2".into(),
        cgroup_driver: "systemd".into(),
        cgroup_version: "2".into(),
        security: vec![
            "name=apparmor".into(),
            "name=seccomp,profile=builtin".into(),
            "name=userns".into(),
        ],
        missing_limits: vec![],
    }
}

fn wishes() -> Wishes {
    Wishes {
        runtimes: [("docker", "runc"), ("gvisor", "runsc")]
            .map(|(name, runtime)| (name.to_owned(), runtime.to_owned()))
            .into(),
        default_image: "python".into(),
        images: ["python"].map(String::from).into(),
    }
}

/// The one thing that is not fine, its grade and the words for it.
fn only(facts: &EngineFacts, wishes: &Wishes) -> (&'static str, Grade, String) {
    let findings = judge::findings(facts, wishes);
    let mut bad: Vec<Finding> = findings
        .into_iter()
        .filter(|one| one.grade != Grade::Fine)
        .collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    let one = bad.remove(0);
    assert!(!one.remedy.is_empty(), "{one:?}");
    (one.what, one.grade, format!("{} {}", one.detail, one.remedy))
}

#[test]
fn a_good_engine_is_fine_in_every_point() {
    let findings = judge::findings(&good(), &wishes());
    assert!(
        findings.iter().all(|one| one.grade == Grade::Fine),
        "{findings:?}"
    );
    assert_eq!(findings.iter().filter(|one| one.what == "runtime").count(), 2);
}

type Change = fn(&mut EngineFacts, &mut Wishes);

fn found_alone(cases: &[(Change, &str, &str)], grade: Grade) {
    for (change, what, word) in cases {
        let (mut facts, mut wishes) = (good(), wishes());
        change(&mut facts, &mut wishes);
        let found = only(&facts, &wishes);
        assert_eq!((found.0, found.1), (*what, grade), "{}", found.2);
        assert!(found.2.contains(word), "{}", found.2);
    }
}

#[test]
fn each_trouble_is_found_alone_and_comes_with_its_remedy() {
    let cases: [(Change, &str, &str); 7] = [
        (|facts, _| facts.api = "1.40".into(), "engine", "1.41"),
        (|facts, _| facts.api = "".into(), "engine", "1.41"),
        (
            |facts, _| facts.components[0].1 = "1.1.5".into(),
            "runc",
            "CVE-2024-21626",
        ),
        (
            |_, wishes| drop(wishes.runtimes.insert("micro".into(), "kata".into())),
            "runtime",
            "it has: runc, runsc",
        ),
        (
            |facts, _| facts.missing_limits = vec!["memory"],
            "limits",
            "Delegate",
        ),
        (|facts, _| drop(facts.security.remove(1)), "seccomp", "seccomp"),
        (
            |_, wishes| wishes.images.clear(),
            "images",
            "brig image build python",
        ),
    ];
    found_alone(&cases, Grade::Trouble);
}

#[test]
fn what_could_be_better_is_no_trouble_and_comes_with_its_remedy_too() {
    let cases: [(Change, &str, &str); 6] = [
        (
            |facts, _| facts.components[0].1 = "1.1.5+ds1".into(),
            "runc",
            "apt changelog runc",
        ),
        (|facts, _| facts.components.clear(), "runc", "runc --version"),
        (
            |facts, _| facts.missing_limits = vec!["swap"],
            "limits",
            "swapaccount=1",
        ),
        (
            |facts, _| drop(facts.security.remove(0)),
            "mandatory access",
            "apparmor",
        ),
        (
            |facts, _| drop(facts.security.remove(2)),
            "user ids",
            "userns-remap",
        ),
        (|facts, _| facts.storage = "vfs".into(), "storage", "overlay2"),
    ];
    found_alone(&cases, Grade::Note);
}

#[test]
fn a_socket_that_cannot_be_opened_says_what_to_do() {
    for (kind, word) in [
        (io::ErrorKind::NotFound, "apt install docker.io"),
        (io::ErrorKind::PermissionDenied, "usermod -aG docker"),
        (io::ErrorKind::ConnectionRefused, "systemctl start docker"),
        (io::ErrorKind::InvalidInput, "[docker]"),
    ] {
        let finding = cannot_open(Path::new("/run/x.sock"), &kind.into());
        assert_eq!(finding.grade, Grade::Trouble);
        assert!(finding.detail.contains("/run/x.sock"), "{finding:?}");
        assert!(finding.remedy.contains(word), "{finding:?}");
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_absent_and_does_not_work() {
    let report = examine(Path::new("/nonexistent/engine.sock"), &wishes()).await;
    assert!(report.is_absent() && !report.works());
    assert_eq!(report.findings.len(), 1);
}

/// An engine that says something on every connection.
async fn scripted(answer: &'static str) -> (tempfile::TempDir, PathBuf) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio_util::task::TaskTracker::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // What is asked does not matter.
            let _asked = stream.read(&mut request).await.unwrap_or(0);
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    (directory, path)
}

#[tokio::test]
async fn something_else_that_listens_is_no_engine_and_is_told_as_that() {
    for answer in [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ] {
        let (_directory, path) = scripted(answer).await;
        let report = examine(&path, &wishes()).await;
        assert!(!report.works() && !report.is_absent(), "{answer:?}");
        assert!(
            report.findings[0].detail.contains("no usable answer"),
            "{report:?}"
        );
    }
}
