//! Writes the seeds that are made from values: `cargo run -p brig-fuzz-targets --example write_seeds`. Inputs which a
//! fuzzer found lie beside them and are left alone.

use brig_api::convert::request::{DisconnectPolicy, ExecuteCall, SubmitCall};
use brig_api::pb;
use brig_core::limits::{Limits, LimitsPolicy, LimitsRequest};
use brig_core::outcome::{Failure, Verdict};
use brig_core::spec::{
    Blob, Content, EnvEntry, EnvValue, FileMode, InputFile, JobDraft, OutputPattern, Program, Secret,
    WorkspacePath,
};
use brig_fuzz_targets::container::SEAL;
use brig_fuzz_targets::runner::{frame, text};
use brig_jail::container::wire::{
    Down, DownChannel, Ended, Killed, Main, Posture, Seal, Start, Up, UpChannel, VERSION,
};
use brig_jail::control::{FromInit, KilledBy, PlanMessage, ToInit};
use brig_jail::exec_spec::{ExecSpec, RunnerChannel, Text};
use brig_jail::files::{CellPath, CollectLimits, Entry, EntryKind, FileReply, FileRequest, SkipReason};
use brig_jail::plan::{
    CellShape, FilterInstruction, FilterStack, ImageEntry, JailPlan, LandlockPlan, Listener, ProcMount,
    Requirement,
};
use brig_jail::protocol::{
    CellFacts, CellLimits, CellReceipt, CgroupKind, ImageDigest, KillReason, LayerState, Level, MainExit,
    Network, REFUSED_CALLS_MAX, RefusedCall, Reply, Request, UidKind,
};
use brig_jail::stage::{SetupFailure, Stage};
use prost::Message;
use std::path::Path;

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (target, seeds) in [
        ("config", config()),
        ("container", container()),
        ("control", control()),
        ("exec_spec", exec_spec()),
        ("files", [files(), names()].concat()),
        ("keeper", keeper()),
        ("plan", plan()),
        ("policy", policy()),
        ("redact", redact()),
        ("runner", runner()),
        ("wire", wire()),
    ] {
        std::fs::create_dir_all(root.join(target))?;
        for (name, bytes) in seeds {
            std::fs::write(root.join(target).join(name), bytes)?;
        }
    }
    Ok(())
}

/// Both directions of a container's streams, each behind a byte that chooses and three cuts.
fn container() -> Seeds {
    let mut up = b"\x00\x05\x02\x40".to_vec();
    let mut seal = Seal::NONE;
    for frame in from_container() {
        if frame == Up::Started {
            seal = SEAL;
        }
        frame.encode(seal, &mut up);
    }
    let mut down = b"\x01\x05\x02\x40".to_vec();
    to_container().iter().for_each(|frame| frame.encode(&mut down));
    let too_long = b"\x00\x05\x02\x40\x83\x04\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00x";
    let flow = b"\x02\x00\x00\x00\x02\x00\x01\x00\x00\x02\x00\x02\x03\xff\xff\xff\xff";
    vec![
        ("up", up),
        ("down", down),
        ("up_too_long", too_long.to_vec()),
        ("flow", flow.to_vec()),
    ]
}

fn from_container() -> Vec<Up> {
    vec![
        Up::Hello {
            version: VERSION,
            posture: Posture {
                seccomp_mode: 2,
                init_closed: true,
                program_first_out: true,
            },
        },
        Up::Started,
        Up::Data {
            channel: UpChannel::Stdout,
            bytes: b"42\n".to_vec(),
        },
        Up::Credit {
            channel: DownChannel::Stdin,
            bytes: 65_536,
        },
        Up::Eof(UpChannel::Stdout),
        Up::Ended(Ended {
            main: Main::Signalled(9),
            killed: Killed::Wall,
            wall_nanos: 1_000_000_000,
            cpu_nanos: 1,
            leftovers_killed: 3,
        }),
        Up::Failed(SetupFailure {
            stage: Stage::Identity,
            item: 4,
            errno: 1,
        }),
    ]
}

fn to_container() -> Vec<Down> {
    vec![
        Down::Start(Start {
            wall_nanos: 60_000_000_000,
            cpu_nanos: 30_000_000_000,
            lease_nanos: 15_000_000_000,
            file_size_bytes: 1 << 28,
            open_files: 1024,
            seal: SEAL,
        }),
        Down::Data {
            channel: DownChannel::Job,
            bytes: b"\x02\x00\x00\x00{}".to_vec(),
        },
        Down::Credit {
            channel: UpChannel::Stdout,
            bytes: 65_536,
        },
        Down::Renew {
            lease_nanos: 15_000_000_000,
        },
        Down::Eof(DownChannel::Stdin),
        Down::Shut(UpChannel::Runner),
        Down::OpenFiles,
    ]
}

/// `bytes` behind one that chooses.
fn chosen(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

fn runner() -> Seeds {
    let place = [7u32.to_le_bytes().to_vec(), text(b"/workspace/a.py"), text(b"f")].concat();
    let head = [text(b""), text(b"ValueError"), text(b"no"), text(b"Traceback")].concat();
    let exception = frame(0x84, &[head, 1u32.to_le_bytes().to_vec(), place].concat());
    let started = frame(0x81, b"\xa7\r\r\n\x013.11.2");
    let compiled = frame(
        0x82,
        &[b"\xa7\r\r\n".to_vec(), text(b"code"), text(b"report")].concat(),
    );
    let all = [
        b"\x01\x20\x00".to_vec(),
        started.clone(),
        frame(0x83, b"\x0142"),
        exception.clone(),
        frame(0x85, b"no source"),
        frame(0xf0, b"later"),
    ];
    let cut = |bytes: &[u8]| [b"\x00\x05\x02", bytes].concat();
    vec![
        ("started", cut(&started)),
        ("compiled", cut(&compiled)),
        ("exception", cut(&exception)),
        ("all", all.concat()),
        ("too_long", cut(&[0xff, 0xff, 0xff, 0x7f, 0x83])),
    ]
}

fn plan() -> Seeds {
    let instruction = FilterInstruction {
        code: 6,
        jt: 0,
        jf: 0,
        k: 0x7fff_0000,
    };
    let mut plan = JailPlan {
        shape: CellShape {
            workspace_bytes: 1 << 28,
            workspace_files: 16_384,
            tmp_bytes: 1,
            tmp_files: 1,
            shm_bytes: 1,
            file_size_bytes: 1,
            open_files: 64,
            processes: 64,
            process_memory_bytes: Some(1 << 30),
            cpu_seconds: 60,
        },
        image: Vec::new(),
        proc_mount: ProcMount::Own,
        host_name: "cell".to_owned(),
        landlock: LandlockPlan {
            read_execute: vec!["/usr".into()],
            read_write: vec!["/workspace".into()],
            requirement: Requirement::Required,
        },
        filters: FilterStack {
            foreign_abi: vec![instruction],
            probed: vec![vec![instruction]],
            allow_list: vec![instruction],
            listener: Listener::Keeper,
        },
        disabled: Vec::new(),
    };
    let bare = json(&plan);
    let (source, target) = (|| "/usr".into(), || "/usr/lib".into());
    plan.image = vec![
        ImageEntry::ReadOnlyBind {
            source: source(),
            target: target(),
        },
        ImageEntry::Device {
            source: "/dev/null".into(),
            target: "/dev/null".into(),
        },
        ImageEntry::Symlink {
            link: "/bin".into(),
            points_to: "usr/bin".into(),
        },
        ImageEntry::File {
            target: "/etc/passwd".into(),
            content: "agent:x:10001\n".to_owned(),
        },
        ImageEntry::Directory { target: target() },
    ];
    plan.proc_mount = ProcMount::Synthetic;
    plan.shape.process_memory_bytes = None;
    vec![("bare", bare), ("whole", json(&plan))]
}

fn json(plan: &JailPlan) -> Vec<u8> {
    let message = PlanMessage::pack(plan)
        .map(|message| message.head)
        .unwrap_or_default();
    message.get(1..).unwrap_or_default().to_vec()
}

fn keeper() -> Seeds {
    let limits = CellLimits {
        memory_bytes: 1 << 29,
        processes: 64,
        cpu_millis: 1000,
        workspace_bytes: 1 << 28,
        workspace_files: 16_384,
        tmp_bytes: 1 << 26,
        tmp_files: 4096,
        shm_bytes: 1 << 26,
        file_size_bytes: 1 << 28,
        open_files: 1024,
        cpu_time_nanos: 60_000_000_000,
    };
    let requests = [
        Request::Open {
            request: 1,
            image: ImageDigest::HOST,
            level: Level::Strict,
            network: Network::None,
            limits,
        },
        Request::Start {
            cell: 1,
            wall_nanos: 60_000_000_000,
            cpu_nanos: 60_000_000_000,
            lease_until_nanos: 15_000_000_000,
        },
        Request::Renew {
            cell: 1,
            lease_until_nanos: 15_000_000_000,
        },
        Request::Kill {
            cell: 1,
            reason: KillReason::OutputLimit,
        },
        Request::OpenFiles { request: 2, cell: 1 },
        Request::Release { cell: 1 },
        Request::Probe { request: 3 },
        Request::Drain,
    ];
    let names = [
        "open",
        "start",
        "renew",
        "kill",
        "open_files",
        "release",
        "probe",
        "drain",
    ];
    let mut seeds: Seeds = names
        .into_iter()
        .zip(requests.iter().map(|request| request.encode().to_vec()))
        .collect();
    seeds.extend(replies());
    seeds
}

fn replies() -> Seeds {
    let failure = SetupFailure {
        stage: Stage::Mount,
        item: 3,
        errno: 95,
    };
    let receipt = CellReceipt {
        level: Level::Strict,
        namespaces: 0x7e02_0000,
        uid: 0x3000_0001,
        uid_kind: UidKind::RootRange,
        cgroup: CgroupKind::Hybrid,
        controllers: 7,
        landlock_abi: 7,
        landlock: LayerState::Active,
        allowed_calls: 150,
        filter_digest: [0x5a; 16],
        refusals_reported: true,
        own_proc: true,
        init_class_raised: false,
        prepared: true,
    };
    let facts = facts(failure);
    let replies = [
        (
            "opened",
            Reply::Opened {
                request: 1,
                cell: 1,
                receipt,
            },
        ),
        ("files_opened", Reply::FilesOpened { request: 2, cell: 1 }),
        ("failed", Reply::Failed { request: 1, failure }),
        ("ended", Reply::Ended { cell: 1, facts }),
        ("released", Reply::Released { cell: 1 }),
        (
            "probed",
            Reply::Probed {
                request: 3,
                receipt,
                strict: Some(failure),
                workstation: None,
            },
        ),
    ];
    replies
        .map(|(name, reply)| (name, reply.encode().to_vec()))
        .to_vec()
}

fn facts(failure: SetupFailure) -> CellFacts {
    CellFacts {
        main: MainExit::Setup(failure),
        killed: Some(KillReason::WallTime),
        wall_nanos: 1,
        cpu_nanos: 2,
        cpu_throttled_nanos: 3,
        memory_peak_bytes: 4,
        processes_peak: 5,
        oom_kills: 6,
        forks_refused: 7,
        leftovers_killed: 8,
        refused: [RefusedCall { number: 9, count: 10 }; REFUSED_CALLS_MAX],
        refused_len: 16,
        refused_truncated: true,
    }
}

fn control() -> Seeds {
    let failure = SetupFailure {
        stage: Stage::Syscalls,
        item: 1,
        errno: 22,
    };
    let start = ToInit::Start {
        wall_nanos: 60_000_000_000,
        lease_until_nanos: 15_000_000_000,
    };
    let ready = FromInit::Ready {
        landlock_abi: 7,
        landlock_full: true,
        listener: true,
        main_pid: 2,
    };
    let ended = FromInit::Ended {
        wait_status: 9,
        cpu_nanos: 1,
        max_rss_bytes: 2,
        leftovers: 3,
        killed_by: KilledBy::Lease,
    };
    vec![
        ("start", start.encode().to_vec()),
        ("renew", ToInit::Renew { lease_until_nanos: 7 }.encode().to_vec()),
        ("kill", ToInit::Kill.encode().to_vec()),
        ("forked", FromInit::Forked.encode().to_vec()),
        ("ready", ready.encode().to_vec()),
        ("failed", FromInit::Failed(failure).encode().to_vec()),
        ("ended", ended.encode().to_vec()),
    ]
}

fn exec_spec() -> Seeds {
    let spec = ExecSpec {
        argv: vec![
            Text::from("python3"),
            Text::from("-c"),
            Text::from(vec![0xff, 0xfe]),
        ],
        env: vec![
            (Text::from("PATH"), Text::from("/usr/bin::/bin")),
            (Text::from("A"), Text::from("=b")),
        ],
        cwd: Text::from("/workspace"),
        runner_channel: RunnerChannel::Keep,
    };
    let message = spec.encode().unwrap_or_default();
    let other = br#"{"argv":["./a"],"env":[],"cwd":"/","runner_channel":"close"}"#;
    vec![
        ("python", message.get(4..).unwrap_or_default().to_vec()),
        ("other", other.to_vec()),
    ]
}

fn files() -> Seeds {
    let Ok(path) = CellPath::new(b"dir/a.txt") else {
        return Vec::new();
    };
    let limits = CollectLimits {
        files: 10,
        file_bytes: 1 << 20,
        total_bytes: 1 << 22,
        depth: 32,
        entries: 1000,
        millis: 5000,
    };
    let put = FileRequest::Put {
        path: path.clone(),
        size: 3,
        mode: brig_jail::files::FileMode::Executable,
    };
    let collect = FileRequest::Collect {
        patterns: vec![b"*.txt".to_vec(), b"**".to_vec()],
        limits,
    };
    let list = FileRequest::List {
        path: None,
        max_entries: 10,
    };
    let entry = FileReply::Entry(Entry {
        path: b"a\xff".to_vec(),
        kind: EntryKind::Link,
        size: 1,
        mode: 0o644,
        modified: -1,
    });
    let skipped = FileReply::Skipped {
        path: b"x".to_vec(),
        reason: SkipReason::SeveralLinks,
    };
    let end = FileReply::FileEnd {
        bytes: 3,
        truncated: true,
    };
    let body = |frame: Vec<u8>| frame.get(4..).unwrap_or_default().to_vec();
    let stream = [
        FileReply::Ready.encode(),
        FileReply::Data(b"abc".to_vec()).encode(),
        end.encode(),
    ]
    .concat();
    vec![
        ("stream", [b"\x00\x02\x07\x01".to_vec(), stream].concat()),
        ("put", chosen(1, &body(put.encode()))),
        ("collect", chosen(1, &body(collect.encode()))),
        ("list", chosen(1, &body(list.encode()))),
        (
            "get",
            chosen(1, &body(FileRequest::Get { path, max_bytes: 9 }.encode())),
        ),
        ("entry", chosen(2, &body(entry.encode()))),
        ("skipped", chosen(2, &body(skipped.encode()))),
    ]
}

/// Paths, and patterns with paths.
fn names() -> Seeds {
    vec![
        ("path", chosen(3, b"a/b/\xc3\xa9.txt")),
        ("dots", chosen(3, b"a/../b")),
        ("glob", chosen(4, b"a/**/*.t?t\na/b/c.txt")),
        ("glob_below", chosen(4, b"out/\nout/a/b")),
    ]
}

fn redact() -> Seeds {
    vec![
        ("overlap", b"abab\xffbabab\n\x02xababababx abab".to_vec()),
        ("mark", b"redacted\xff[red\n\x00the redacted [red redac".to_vec()),
        ("none", b"\n\x05plain text".to_vec()),
    ]
}

fn config() -> Seeds {
    let all = "listen = [\"unix:/run/brig/brig.sock\", \"tcp:127.0.0.1:7444\"]\nsocket_mode = \"0660\"\n\
        data = \"/var/lib/brig\"\nmax_concurrent = 4\nmax_queued = 10000\nmetrics = \"127.0.0.1:9464\"\n\
        isolation = \"strict\"\noptional_layers = [\"landlock\"]\ndrain = \"30s\"\nlease = \"15s\"\nspares = 2\n\
        log = \"json\"\n[limits.default]\nwall_time = \"60s\"\nmemory = \"512MiB\"\n[limits.ceiling]\n\
        processes = 512\n[retention]\njobs_for = \"24h\"\njobs = 1000\nkeys_for = \"24h\"\nstored = \"1GiB\"\n\
        [images.host]\npython = \"/usr/bin/python3\"\nread_only = [\"/usr\"]\n[root_ids]\nfirst = 805306368\n\
        count = 65536\n";
    vec![
        ("all", all.as_bytes().to_vec()),
        ("open", b"listen = [\"tcp:0.0.0.0:1\"]\n".to_vec()),
    ]
}

fn policy() -> Seeds {
    let text = br#"{"about":[],"allow":[{"call":"read","comment":"c"},{"call":"clone","comment":"c","any":[[{"arg":0,
"op":"masked_eq","value":0,"mask":2114060288,"means":"m"}],[{"arg":1,"op":"lt","value":9,"means":"m"}]]}],"probed":[{"call":
"clone3","errno":"ENOSYS","comment":"c"},{"call":"socket","errno":"EPERM","comment":"c","only":"x86_64","any":[[{"arg":0,
"op":"ne","value":1,"means":"m"}]]}]}"#;
    vec![("keeper", chosen(0, text)), ("none", chosen(1, text))]
}

fn draft() -> JobDraft {
    let inline = |bytes: &[u8]| Content::Inline(Blob(bytes.to_vec()));
    let mut draft = JobDraft::new(Program::Python {
        code: inline(b"print(1)"),
        file: WorkspacePath::parse("main.py").ok(),
        args: vec!["a".to_owned()],
    });
    draft.stdin = Some(inline(b"in"));
    draft.env = vec![
        EnvEntry {
            name: "A".to_owned(),
            value: EnvValue::Plain("b".to_owned()),
        },
        EnvEntry {
            name: "TOKEN".to_owned(),
            value: EnvValue::Secret(Secret::new("hunter2".to_owned())),
        },
    ];
    draft.inputs = WorkspacePath::parse("data/in.csv")
        .map(|path| InputFile {
            path,
            content: inline(b"1,2"),
            mode: FileMode::Regular,
        })
        .into_iter()
        .collect();
    draft.outputs = OutputPattern::parse("*.png").into_iter().collect();
    draft.labels.insert("k".to_owned(), "v".to_owned());
    draft
}

fn wire() -> Seeds {
    let draft = draft();
    let execute = ExecuteCall {
        draft: draft.clone(),
        idempotency_key: Some("key".to_owned()),
        on_disconnect: DisconnectPolicy::Detach,
    };
    let submit = SubmitCall {
        draft: JobDraft::new(Program::Command {
            argv: vec!["true".to_owned()],
        }),
        idempotency_key: None,
    };
    let limits: Limits = LimitsPolicy::default().default;
    let failure = Failure::SetupError {
        stage: "mount".to_owned(),
        item: "3".to_owned(),
        errno: 1,
        remedy: "r".to_owned(),
    };
    let refused = Verdict::RefusedCall {
        name: "mount".to_owned(),
    };
    let many = pb::ExecuteRequest {
        spec: Some(pb::JobSpec {
            env: vec![pb::EnvEntry::default(); 200],
            ..pb::JobSpec::default()
        }),
        ..pb::ExecuteRequest::default()
    };
    vec![
        (
            "execute",
            chosen(0, &pb::ExecuteRequest::from(&execute).encode_to_vec()),
        ),
        ("many_mistakes", chosen(0, &many.encode_to_vec())),
        (
            "submit",
            chosen(1, &pb::SubmitRequest::from(&submit).encode_to_vec()),
        ),
        ("verdict", chosen(9, &pb::Verdict::from(&refused).encode_to_vec())),
        (
            "failure",
            chosen(10, &pb::Failure::from(&failure).encode_to_vec()),
        ),
        ("limits", chosen(12, &pb::Limits::from(&limits).encode_to_vec())),
        (
            "limits_request",
            chosen(15, &pb::Limits::from(&LimitsRequest::default()).encode_to_vec()),
        ),
        ("id", chosen(15, b"01890a5d-ac96-774b-bcce-b302099a8057")),
    ]
}
