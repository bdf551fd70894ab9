//! Arbitrary things that a caller asks for.

use super::*;

pub(super) fn path() -> impl Strategy<Value = WorkspacePath> {
    "[a-zé ]{1,6}(/[a-z0-9]{1,6}){0,3}".prop_map(|text| WorkspacePath::parse(&text).unwrap())
}

pub(super) fn pattern() -> impl Strategy<Value = OutputPattern> {
    "(\\*\\*|[a-z?*]{1,6})(/[a-z*]{1,6}){0,2}".prop_map(|text| OutputPattern::parse(&text).unwrap())
}

pub(super) fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(|bytes| Content::Inline(Blob(bytes))),
        file_id().prop_map(Content::Stored),
    ]
}

pub(super) fn program() -> impl Strategy<Value = Program> {
    prop_oneof![
        (content(), of(path()), vec(text(), 0..4)).prop_map(|(code, file, args)| Program::Python {
            code,
            file,
            args
        }),
        vec(text(), 0..4).prop_map(|argv| Program::Command { argv }),
    ]
}

pub(super) fn env_entry() -> impl Strategy<Value = EnvEntry> {
    let value = prop_oneof![
        text().prop_map(EnvValue::Plain),
        text().prop_map(|text| EnvValue::Secret(Secret::new(text))),
    ];
    ("[A-Z_]{1,8}", value).prop_map(|(name, value)| EnvEntry { name, value })
}

pub(super) fn input() -> impl Strategy<Value = InputFile> {
    let mode = prop_oneof![Just(FileMode::Regular), Just(FileMode::Executable)];
    (path(), content(), mode).prop_map(|(path, content, mode)| InputFile { path, content, mode })
}

pub(super) fn level() -> impl Strategy<Value = IsolationLevel> {
    prop_oneof![Just(IsolationLevel::Strict), Just(IsolationLevel::Workstation)]
}

pub(super) fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Process), Just(Durability::PowerLoss)]
}

pub(crate) fn limits_request() -> impl Strategy<Value = LimitsRequest> {
    let counts = proptest::array::uniform5(of(any::<u32>()));
    let sizes = proptest::array::uniform7(of(size()));
    (of(span()), of(span()), counts, sizes).prop_map(|(wall, cpu_time, counts, sizes)| LimitsRequest {
        wall,
        cpu_time,
        cpu_millis: counts[0],
        memory: sizes[0],
        processes: counts[1],
        workspace: sizes[1],
        workspace_files: counts[2],
        tmp: sizes[2],
        tmp_files: counts[3],
        shm: sizes[3],
        file_size: sizes[4],
        open_files: counts[4],
        output_kept: sizes[5],
        output_produced: sizes[6],
    })
}

pub(crate) fn limits() -> impl Strategy<Value = Limits> {
    let counts = proptest::array::uniform5(any::<u32>());
    let sizes = proptest::array::uniform7(size());
    (span(), span(), counts, sizes).prop_map(|(wall, cpu_time, counts, sizes)| Limits {
        wall,
        cpu_time,
        cpu_millis: counts[0],
        memory: sizes[0],
        processes: counts[1],
        workspace: sizes[1],
        workspace_files: counts[2],
        tmp: sizes[2],
        tmp_files: counts[3],
        shm: sizes[3],
        file_size: sizes[4],
        open_files: counts[4],
        output_kept: sizes[5],
        output_produced: sizes[6],
    })
}

pub(crate) fn draft() -> impl Strategy<Value = JobDraft> {
    let lists = (vec(env_entry(), 0..3), vec(input(), 0..3), vec(pattern(), 0..3));
    let labels = btree_map(text(), text(), 0..3);
    let image = of("[a-z]{1,8}".prop_map(ImageName));
    let backend = of("[a-z]{1,8}".prop_map(BackendName));
    let places = (backend, image);
    let choices = (of(level()), places, of(durability()), any::<i32>(), any::<u32>());
    (
        program(),
        of(content()),
        lists,
        limits_request(),
        labels,
        of(span()),
        choices,
    )
        .prop_map(
            |(program, stdin, (env, inputs, outputs), limits, labels, queue_timeout, choices)| {
                let (isolation, (backend, image), durability, priority, max_attempts) = choices;
                JobDraft {
                    program,
                    stdin,
                    env,
                    inputs,
                    outputs,
                    limits,
                    isolation,
                    network: NetworkPolicy::None,
                    backend,
                    image,
                    labels,
                    queue_timeout,
                    priority,
                    retry: RetryPolicy { max_attempts },
                    durability,
                }
            },
        )
}

pub(super) fn spec() -> impl Strategy<Value = JobSpec> {
    (draft(), limits(), level(), durability(), span()).prop_map(
        |(draft, limits, isolation, durability, queue_timeout)| JobSpec {
            program: draft.program,
            stdin: draft.stdin,
            env: draft.env,
            inputs: draft.inputs,
            outputs: draft.outputs,
            limits,
            isolation,
            network: draft.network,
            backend: draft.backend.unwrap_or_else(BackendName::jail),
            image: draft.image.unwrap_or_else(ImageName::host),
            labels: draft.labels,
            queue_timeout,
            priority: draft.priority,
            retry: draft.retry,
            durability,
        },
    )
}

/// A spec with every default.
pub(crate) fn plain_spec() -> JobSpec {
    let defaults = SpecDefaults {
        limits: LimitsPolicy::default(),
        isolation: IsolationLevel::Strict,
        durability: Durability::Process,
    };
    JobDraft::new(Program::Command {
        argv: vec!["true".into()],
    })
    .validate(&defaults)
    .unwrap()
}
