//! The broker with an engine that the test plays: one that hangs, talks nonsense, refuses, or forgets what it was told.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test starts the broker in a process of its own"
    )
)]

#[cfg(test)]
#[expect(dead_code, reason = "what is for a real engine is not used here")]
mod engine;

#[cfg(test)]
mod tests {
    use super::engine::{Daemon, Place};
    use brig_backend::docker::protocol::{HealthState, Reply, Trouble};
    use brig_jail::protocol::CellLimits;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    /// What the engine answers to a request: a status and a body; `None`: nothing, ever.
    type Script = dyn Fn(&str, &str) -> Option<(u16, String)> + Send + Sync;

    /// An engine whose answers come from the test.
    struct Played {
        socket: PathBuf,
        asked: Arc<Mutex<Vec<String>>>,
    }

    fn play(place: &Place, script: Box<Script>) -> Played {
        let socket = place.directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, notes): (Arc<Script>, _) = (Arc::from(script), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, notes) = (Arc::clone(&script), Arc::clone(&notes));
                std::thread::spawn(move || answer(stream, &*script, &notes));
            }
        });
        Played { socket, asked }
    }

    fn answer(stream: UnixStream, script: &Script, notes: &Mutex<Vec<String>>) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok();
        let mut words = head.split_whitespace();
        let request = format!("{} {}", words.next().unwrap_or(""), words.next().unwrap_or(""));
        let path = request.split('?').next().unwrap_or("").to_owned();
        notes.lock().unwrap().push(path.clone());
        match script(&path, &String::from_utf8_lossy(&body)) {
            Some((status, text)) => {
                let length = text.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                (&stream).write_all(format!("{head}{text}").as_bytes()).ok();
            }
            // Until the broker gives up.
            None => drop(reader.read(&mut [0])),
        }
    }

    /// What a good engine says, up to the point where a container is made.
    fn good(place: &Place) -> impl Fn(&str) -> Option<(u16, String)> + use<> {
        let digest = place.digest;
        let init = sha256(super::engine::INIT.as_bytes());
        move |path| {
            let text = match path {
                "GET /version" => r#"{"Version": "20.10.24", "ApiVersion": "1.41"}"#.to_owned(),
                "GET /info" => r#"{"Runtimes": {"runc": {"path": "runc"}}, "CgroupVersion": "2", "CgroupDriver": "systemd"}"#.to_owned(),
                "GET /_ping" => "OK".to_owned(),
                "GET /containers/json" => "[]".to_owned(),
                "GET /images/json" => format!(
                    r#"[{{"Id": "sha256:abc", "ParentId": "", "RepoTags": [], "RepoDigests": [], "Created": 1, "Size": 1, "SharedSize": 1, "Containers": 0, "Labels": {{"dev.brig.rootfs": "{digest}", "dev.brig.init": "{init}"}}}}]"#
                ),
                "GET /events" => return None,
                "POST /containers/create" => r#"{"Id": "0123456789abcdef", "Warnings": []}"#.to_owned(),
                _ => return Some((404, r#"{"message": "no such thing"}"#.to_owned())),
            };
            Some((if path.starts_with("POST") { 201 } else { 200 }, text))
        }
    }

    fn sha256(bytes: &[u8]) -> String {
        use sha2::Digest;
        sha2::Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn start(name: &str, script: impl FnOnce(&Place) -> Box<Script>) -> Option<(Place, Played, Daemon)> {
        let place = Place::new(name)?;
        let played = play(&place, script(&place));
        let mut config = place.config(&played.socket);
        config.warm.count = 0;
        let daemon = Daemon::start(&config, &place.directory.path().join("init"));
        Some((place, played, daemon))
    }

    fn refused(daemon: &mut Daemon, place: &Place) -> Trouble {
        let reply = daemon.open_with(place, CellLimits::DEFAULT, false).err().unwrap();
        let Reply::Refused { trouble, .. } = *reply else {
            panic!("not refused");
        };
        assert!(!trouble.remedy.is_empty(), "{trouble:?}");
        trouble
    }

    #[test]
    fn a_container_that_is_not_as_it_was_asked_for_is_removed_and_never_started() {
        let made = |place: &Place| -> Box<Script> {
            let good = good(place);
            let asked = Mutex::new(String::new());
            Box::new(move |path, body| match path {
                "POST /containers/create" => {
                    *asked.lock().unwrap() = body.to_owned();
                    good(path)
                }
                // An old engine: it never heard of read-only paths.
                "GET /containers/0123456789abcdef/json" => {
                    let body: serde_json::Value = serde_json::from_str(&asked.lock().unwrap()).unwrap();
                    let mut host = body["HostConfig"].clone();
                    host.as_object_mut().unwrap().remove("ReadonlyPaths");
                    let answer =
                        serde_json::json!({"Image": "sha256:abc", "HostConfig": host, "Config": body});
                    Some((200, answer.to_string()))
                }
                "DELETE /containers/0123456789abcdef" => Some((204, String::new())),
                other => good(other),
            })
        };
        let Some((place, played, mut daemon)) = start("ignores", made) else {
            return;
        };
        let trouble = refused(&mut daemon, &place);
        assert_eq!(trouble.stage, "verify");
        assert!(trouble.item.contains("ReadonlyPaths"), "{trouble:?}");
        let asked = played.asked.lock().unwrap().clone();
        assert!(
            asked.contains(&"DELETE /containers/0123456789abcdef".to_owned()),
            "{asked:?}"
        );
        assert!(!asked.iter().any(|path| path.ends_with("/start")), "{asked:?}");
        daemon.end();
    }

    #[test]
    fn what_the_engine_refuses_is_told_in_its_words() {
        for (status, message) in [
            (500, "no space left on device"),
            (400, "unknown or invalid runtime"),
        ] {
            let made = |place: &Place| -> Box<Script> {
                let good = good(place);
                Box::new(move |path, _| match path {
                    "POST /containers/create" => Some((status, format!(r#"{{"message": "{message}"}}"#))),
                    other => good(other),
                })
            };
            let Some((place, _played, mut daemon)) = start("refuses", made) else {
                return;
            };
            let trouble = refused(&mut daemon, &place);
            assert_eq!(trouble.stage, "create");
            assert!(trouble.item.contains(message), "{trouble:?}");
            daemon.end();
        }
    }

    #[test]
    fn nonsense_is_no_answer() {
        let made = |place: &Place| -> Box<Script> {
            let good = good(place);
            Box::new(move |path, _| match path {
                "POST /containers/create" => Some((201, "{\"Id\": 7".to_owned())),
                other => good(other),
            })
        };
        let Some((place, _played, mut daemon)) = start("nonsense", made) else {
            return;
        };
        let trouble = refused(&mut daemon, &place);
        assert_eq!(trouble.stage, "create");
        daemon.end();
    }

    #[test]
    fn a_missing_runtime_is_named_with_those_that_there_are() {
        let made = |place: &Place| -> Box<Script> {
            let good = good(place);
            Box::new(move |path, _| match path {
                "GET /info" => Some((200, r#"{"Runtimes": {"crun": {"path": "crun"}}}"#.to_owned())),
                other => good(other),
            })
        };
        let Some((place, _played, mut daemon)) = start("runtime", made) else {
            return;
        };
        let trouble = refused(&mut daemon, &place);
        assert!(
            trouble.item.contains("no runtime runc") && trouble.item.contains("crun"),
            "{trouble:?}"
        );
        daemon.end();
    }

    #[test]
    fn an_engine_that_never_answers_costs_one_deadline_and_then_refusals_at_once() {
        let made = |_: &Place| -> Box<Script> { Box::new(|_, _| None) };
        let Some((place, _played, mut daemon)) = start("hangs", made) else {
            return;
        };
        let trouble = refused(&mut daemon, &place);
        assert_eq!(trouble.stage, "engine");
        // Three deadlines of the question whether it is there.
        let down = |reply: &Reply| matches!(reply, Reply::Health { state: HealthState::Unavailable, why, .. } if why.contains("did not answer"));
        daemon.until(down);
        let begun = Instant::now();
        refused(&mut daemon, &place);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        daemon.end();
    }

    #[test]
    fn an_engine_that_is_not_there_is_named_and_found_when_it_comes() {
        let Some(place) = Place::new("absent") else { return };
        let socket = place.directory.path().join("engine.sock");
        let mut config = place.config(&socket);
        config.warm.count = 0;
        let mut daemon = Daemon::start(&config, &place.directory.path().join("init"));
        let trouble = refused(&mut daemon, &place);
        assert_eq!(trouble.stage, "engine");
        assert!(trouble.item.contains("engine.sock"), "{trouble:?}");
        let good = good(&place);
        let _played = play(&place, Box::new(move |path, _| good(path)));
        let back = |reply: &Reply| {
            matches!(
                reply,
                Reply::Health {
                    state: HealthState::Serving,
                    ..
                }
            )
        };
        daemon.until(back);
        daemon.end();
    }
}
