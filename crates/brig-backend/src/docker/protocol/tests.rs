use super::*;
use proptest::prelude::*;

pub(in crate::docker) fn digest() -> RootDigest {
    RootDigest::try_from("0123456789abcdef".repeat(4)).unwrap()
}

pub(in crate::docker) fn backend() -> BackendName {
    BackendName::try_from("docker".to_owned()).unwrap()
}

pub(crate) fn receipt() -> ContainerReceipt {
    ContainerReceipt {
        backend: backend(),
        image: digest(),
        engine: EngineName {
            name: "Docker".to_owned(),
            version: "20.10.24".to_owned(),
            api: "1.41".to_owned(),
            runtime: "runc".to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
        },
        limits: CellLimits::DEFAULT,
        user: "10001:10001".to_owned(),
        read_only_root: true,
        no_capabilities: true,
        no_new_privileges: true,
        network: "none".to_owned(),
        apparmor: Some("docker-default".to_owned()),
        seccomp: SeccompReceipt {
            allowed_calls: 160,
            digest: "ab".repeat(32),
        },
        cgroup: CgroupLimits {
            version: "v2".to_owned(),
            memory_bytes: 1 << 29,
            memory_overhead_bytes: 0,
            processes: 66,
            processes_overhead: 2,
            cpu_millis: 1_000,
            swap_off: true,
        },
        namespaces: vec!["pid".to_owned(), "mount".to_owned()],
        own_kernel: false,
    }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Open {
            request: 1,
            image: digest(),
            backend: backend(),
            limits: CellLimits::DEFAULT,
            job: Uuid::nil(),
            fresh: true,
        },
        Request::Start {
            cell: u64::MAX,
            wall_nanos: 1,
            cpu_nanos: 2,
            lease_nanos: 3,
        },
        Request::Renew {
            cell: 2,
            lease_nanos: 4,
        },
        Request::Kill {
            cell: 2,
            reason: KillReason::OutputLimit,
        },
        Request::Facts { cell: 2 },
        Request::Release { cell: 2 },
        Request::Probe {
            request: 9,
            backend: backend(),
        },
    ]
}

fn replies() -> Vec<Reply> {
    let facts = ContainerFacts {
        oom_kills: 1,
        oom_killed: Some(true),
        exit_code: Some(137),
        ..ContainerFacts::default()
    };
    let trouble = Trouble {
        stage: "verify".to_owned(),
        item: "ReadonlyRootfs".to_owned(),
        errno: 0,
        remedy: "use a newer engine".to_owned(),
    };
    vec![
        Reply::Hello { version: VERSION },
        Reply::Opened {
            request: 1,
            cell: 2,
            how: How::Warm,
            receipt: receipt(),
        },
        Reply::Refused {
            request: 1,
            trouble: trouble.clone(),
        },
        Reply::Facts { cell: 2, facts },
        Reply::Overrun {
            cell: 2,
            reason: KillReason::CpuTime,
        },
        Reply::Gone {
            cell: 2,
            why: WhyGone::Killed {
                reason: KillReason::WallTime,
            },
            facts,
        },
        Reply::Released { cell: 2 },
        Reply::Probed {
            request: 9,
            receipt: Some(receipt()),
            trouble: Some(trouble),
        },
        Reply::Health {
            backend: backend(),
            state: HealthState::Degraded,
            why: "the engine does not answer".to_owned(),
            counts: PoolCounts::default(),
        },
    ]
}

#[test]
fn every_message_is_read_as_it_was_written() {
    for request in requests() {
        assert_eq!(decode::<Request>(&encode(&request).unwrap()).unwrap(), request);
    }
    for reply in replies() {
        assert_eq!(decode::<Reply>(&encode(&reply).unwrap()).unwrap(), reply);
    }
}

#[test]
fn the_broker_takes_nothing_that_the_protocol_does_not_name() {
    let good = String::from_utf8(encode(&requests()[0]).unwrap()).unwrap();
    assert!(decode::<Request>(good.as_bytes()).is_ok());
    let more = [
        (r#""fresh":true"#, r#""fresh":true,"env":["A=b"]"#),
        (
            r#""fresh":true"#,
            r#""fresh":true,"HostConfig":{"Privileged":true}"#,
        ),
        (r#""processes":64"#, r#""processes":64,"privileged":1"#),
        (r#""backend":"docker""#, r#""backend":"../docker""#),
        (r#""backend":"docker""#, r#""backend":"""#),
        ("0123456789abcdef", "0123456789ABCDEF"),
        ("0123456789abcdef", "../../../../../."),
        ("0123456789abcdef", ""),
        (r#"{"open""#, r#"{"exec""#),
    ];
    for (old, new) in more {
        let bad = good.replacen(old, new, 1);
        assert_ne!(bad, good, "{old} is not in the record");
        assert!(decode::<Request>(bad.as_bytes()).is_err(), "accepted: {bad}");
    }
    let two = r#"{"facts":{"cell":1},"release":{"cell":1}}"#;
    assert!(
        decode::<Request>(two.as_bytes()).is_err(),
        "two requests in one record"
    );
}

#[test]
fn a_record_that_is_too_long_is_neither_sent_nor_taken() {
    let long = Reply::Health {
        backend: backend(),
        state: HealthState::Unavailable,
        why: "x".repeat(RECORD_BYTES),
        counts: PoolCounts::default(),
    };
    assert!(encode(&long).is_err());
    let text = serde_json::to_vec(&long).unwrap();
    assert!(decode::<Reply>(&text).is_err());
}

#[test]
fn a_reply_arrives_with_its_descriptor() {
    let (broker, daemon) = RecordSocket::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let [opened, hello] = [replies().swap_remove(1), replies().swap_remove(0)];
    send(&broker, &opened, Some(&OwnedFd::from(writer))).unwrap();
    send(&broker, &hello, None).unwrap();
    let (first, descriptor) = receive::<Reply>(&daemon).unwrap();
    assert_eq!(first, opened);
    assert!(descriptor.is_some());
    let (second, none) = receive::<Reply>(&daemon).unwrap();
    assert_eq!((second, none.is_none()), (hello, true));
    drop(reader);
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused_and_what_is_taken_reads_the_same_again(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(request) = decode::<Request>(&bytes) {
            prop_assert_eq!(decode::<Request>(&encode(&request).unwrap()).unwrap(), request);
        }
    }

    #[test]
    fn a_changed_record_never_panics(which in 0_usize..7, at in 0_usize..600, byte: u8) {
        let mut record = encode(&requests()[which]).unwrap();
        let at = at % record.len();
        record[at] = byte;
        if let Ok(request) = decode::<Request>(&record) {
            prop_assert_eq!(decode::<Request>(&encode(&request).unwrap()).unwrap(), request);
        }
    }
}
