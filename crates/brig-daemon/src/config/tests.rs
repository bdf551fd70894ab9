//! What a configuration may say.

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("brig.toml")).map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(parse(""), Ok(Config::default()));
}

#[test]
fn what_a_file_does_not_name_stays_as_it_was() {
    let base = Config {
        isolation: IsolationLevel::Workstation,
        ..Config::default()
    };
    let over = |text| Config::parse_over(base.clone(), text, Path::new("brig.toml")).unwrap();
    assert_eq!(over("max_concurrent = 2").isolation, IsolationLevel::Workstation);
    assert_eq!(over("isolation = \"strict\"").isolation, IsolationLevel::Strict);
}

#[test]
fn every_section_is_read() {
    let text = r#"
        listen = ["unix:/run/brig/brig.sock", "tcp:127.0.0.1:7070"]
        data = "/srv/brig"
        max_concurrent = 8
        metrics = "127.0.0.1:9464"
        isolation = "workstation"
        optional_layers = ["landlock"]
        drain = "2m"
        socket_mode = "0660"
        log = "json"
        images_dirs = ["/srv/images"]
        [limits.default]
        wall_time = "10s"
        memory = "1GiB"
        [limits.ceiling]
        wall_time = "1h"
        [retention]
        jobs_for = "1d"
        stored = "1GiB"
        [docker]
        socket = "unix:///run/podman/podman.sock"
        runtime = "crun"
        image = "python-data"
        warm = 5
        warm_idle = "1m"
        warm_memory = "4GiB"
        [docker.backends.gvisor]
        runtime = "runsc"
        [images.host]
        python = "/opt/venv/bin/python3"
        read_only = ["/opt/venv"]
    "#;
    let config = parse(text).unwrap();
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.limits.default.wall, Duration::from_secs(10));
    assert_eq!(config.limits.default.memory, Bytes::gib(1));
    assert_eq!(config.limits.ceiling.wall, Duration::from_secs(3600));
    assert_eq!(config.drain, Duration::from_secs(120));
    assert_eq!(config.socket_mode, 0o660);
    assert_eq!(config.images_dirs, [PathBuf::from("/srv/images")]);
    let docker = config.docker.unwrap();
    assert_eq!(docker.socket, Path::new("/run/podman/podman.sock"));
    assert_eq!((docker.image.as_str(), docker.warm), ("python-data", 5));
    assert_eq!(docker.warm_idle, Duration::from_secs(60));
    assert_eq!(docker.warm_memory, Bytes::gib(4));
    let runtimes = docker
        .runtimes
        .iter()
        .map(|(name, runtime)| (name.as_str(), runtime.as_str()));
    assert_eq!(
        runtimes.collect::<Vec<_>>(),
        [("docker", "crun"), ("gvisor", "runsc")]
    );
    assert_eq!(config.host_image.read_only, [PathBuf::from("/opt/venv")]);
}

#[test]
fn a_mistake_names_its_field() {
    for (text, field) in [
        ("max_concurrent = 0", "max_concurrent"),
        ("max_concurent = 1", "max_concurent"),
        ("listen = [\"tcp:0.0.0.0:1\"]", "listen"),
        ("listen = [\"tcp:example.org:1\"]", "listen"),
        ("listen = [\"/run/x\"]", "listen"),
        ("optional_layers = [\"seccomp\"]", "optional_layers"),
        ("drain = \"soon\"", "drain"),
        ("[limits.default]\nwall_time = \"1h\"", "limits.default.wall_time"),
        ("[limits.default]\nprocesses = 0", "limits.default.processes"),
        ("[images.host]\npython = \"python3\"", "images.host.python"),
        ("[retention]\nkeys_for = \"1h\"", "retention.keys_for"),
        ("images_dirs = [\"images\"]", "images_dirs"),
        ("[docker]\nsocket = \"tcp://127.0.0.1:2375\"", "docker.socket"),
        ("[docker]\nsocket = \"docker.sock\"", "docker.socket"),
        ("[docker]\nruntime = \"\"", "docker.runtime"),
        ("[docker]\nimage = \"../x\"", "docker.image"),
        ("[docker]\nimage = \"host\"", "docker.image"),
        ("[docker]\nwarm = 1000", "docker.warm"),
        ("[docker]\nwarm_idle = \"1ms\"", "docker.warm_idle"),
        ("[docker]\nwarm_memory = \"1KiB\"", "docker.warm_memory"),
        ("[docker]\nnetwork = \"host\"", "network"),
        (
            "[docker.backends.jail]\nruntime = \"runc\"",
            "docker.backends.jail",
        ),
        (
            "[docker.backends.docker]\nruntime = \"runc\"",
            "docker.backends.docker",
        ),
        (
            "[docker.backends.gvisor]\nruntime = \"a b\"",
            "docker.backends.gvisor.runtime",
        ),
        (
            "[docker.backends.\"g v\"]\nruntime = \"runsc\"",
            "docker.backends.g v",
        ),
        ("[docker.backends.gvisor]\n", "runtime"),
        ("socket_mode = \"0666\"", "socket_mode"),
        ("[root_ids]\nfirst = 0", "root_ids"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(field), "{text}: {error}");
    }
}

#[test]
fn an_empty_section_is_an_engine_with_every_default() {
    assert_eq!(parse("").unwrap().docker, None);
    assert_eq!(parse("[docker]").unwrap().docker, Some(DockerConfig::default()));
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_the_reason() {
    let refused = "tcp:192.168.1.1:7070"
        .parse::<ListenAddress>()
        .unwrap_err()
        .to_string();
    assert!(refused.contains("without keys"), "{refused}");
    assert!("tcp:127.0.0.1:7070".parse::<ListenAddress>().is_ok());
    assert!("tcp:[::1]:7070".parse::<ListenAddress>().is_ok());
}

#[test]
fn the_example_that_is_shipped_says_what_the_defaults_are() {
    let example = include_str!("../../../../deploy/brig.toml");
    assert_eq!(parse(example), Ok(Config::default()));
    let uncommented = example.replace("# metrics =", "metrics =");
    assert!(parse(&uncommented).unwrap().metrics.is_some());
    let engine = example.replace("\n#! ", "\n");
    let mut docker = DockerConfig::default();
    docker.runtimes.insert("gvisor".to_owned(), "runsc".to_owned());
    assert_eq!(parse(&engine).unwrap().docker, Some(docker));
}
