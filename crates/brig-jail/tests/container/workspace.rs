//! Files before the program and after it, and never beside it.

use super::guest::{Guest, limits, shell, spec};
use brig_jail::container::wire::{Down, DownChannel, Main, Up, UpChannel};
use brig_jail::exec_spec::RunnerChannel;
use brig_jail::files::{CellPath, CollectLimits, FileMode, FileReply, FileRequest, SkipReason};

pub const TESTS: &[(&str, fn())] = &[
    ("files_go_in_before_the_program_and_come_out_after_it", in_and_out),
    ("large_files_pass_through_the_windows", large),
    ("what_a_program_arranged_is_not_followed", hostile),
    ("there_are_no_files_while_the_program_runs", beside),
    ("a_start_waits_for_the_end_of_a_conversation", start_waits),
    (
        "nonsense_for_the_helper_ends_the_conversation_and_nothing_else",
        nonsense,
    ),
    ("nothing_of_a_conversation_is_left_for_the_program", nothing_left),
];

fn path(text: &str) -> CellPath {
    CellPath::new(text.as_bytes()).unwrap()
}

fn put(name: &str, bytes: &[u8]) -> Vec<FileRequest> {
    let mut requests = vec![FileRequest::Put {
        path: path(name),
        size: bytes.len() as u64,
        mode: FileMode::Plain,
    }];
    requests.extend(bytes.chunks(100_000).map(|part| FileRequest::Data(part.to_vec())));
    requests
}

fn collect(pattern: &str) -> FileRequest {
    FileRequest::Collect {
        patterns: vec![pattern.as_bytes().to_vec()],
        limits: CollectLimits {
            files: 100,
            file_bytes: 16 << 20,
            total_bytes: 32 << 20,
            depth: 8,
            entries: 10_000,
            millis: 20_000,
        },
    }
}

/// The files of a collection, and what was skipped.
fn collected(replies: &[FileReply]) -> (Vec<(String, Vec<u8>)>, Vec<(String, SkipReason)>) {
    let (mut files, mut skipped) = (Vec::<(String, Vec<u8>)>::new(), Vec::new());
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    for reply in replies {
        match reply {
            FileReply::FileStart { path, .. } => files.push((text(path), Vec::new())),
            FileReply::Data(bytes) => files.last_mut().unwrap().1.extend(bytes),
            FileReply::Skipped { path, reason } => skipped.push((text(path), *reason)),
            _ => {}
        }
    }
    (files, skipped)
}

fn run(guest: &mut Guest, script: &str) -> String {
    guest.begin(limits(), &["/bin/sh", "-c", script]);
    let ran = guest.finish();
    assert_eq!(ran.ended.main, Main::Exited(0), "{ran:?}");
    ran.stdout
}

fn in_and_out() {
    let mut guest = Guest::start();
    let replies = guest.files(&[put("in/a.txt", b"first"), put("b.txt", b"")].concat());
    assert_eq!(replies, [FileReply::Ready, FileReply::Done, FileReply::Done]);
    // Another conversation, which replaces what the first made.
    let replies = guest.files(&put("in/a.txt", b"second"));
    assert_eq!(replies, [FileReply::Ready, FileReply::Done]);
    let out = run(
        &mut guest,
        "cat in/a.txt; [ -w b.txt ] && [ ! -x b.txt ] && echo ' plain'; mkdir out; echo result > out/r.txt",
    );
    assert_eq!(out, "second plain\n");
    for _ in 0..2 {
        let replies = guest.files(&[collect("out/*.txt")]);
        assert_eq!(
            collected(&replies).0,
            [("out/r.txt".to_owned(), b"result\n".to_vec())]
        );
    }
}

fn large() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 % 253) as u8).collect();
    let mut guest = Guest::start();
    guest.say(&Down::OpenFiles);
    let mut frames: Vec<u8> = put("big", &bytes).iter().flat_map(FileRequest::encode).collect();
    while !frames.is_empty() {
        let part = guest
            .credit
            .entry(DownChannel::Files)
            .or_default()
            .left()
            .min(frames.len());
        let rest = frames.split_off(part);
        if frames.is_empty() {
            assert!(!matches!(guest.next(), Up::Eof(_)));
        } else {
            guest.data(DownChannel::Files, &frames);
        }
        frames = rest;
    }
    guest.say(&Down::Eof(DownChannel::Files));
    while guest.next() != Up::Eof(UpChannel::Files) {}
    assert_eq!(
        run(&mut guest, "cp big copy; cmp big copy; wc -c < copy"),
        "3000000\n"
    );
    let (files, _) = collected(&guest.files(&[collect("copy")]));
    assert_eq!(files.len(), 1);
    assert!(files[0].1 == bytes, "other bytes came back");
}

fn hostile() {
    let mut guest = Guest::start();
    let out = run(
        &mut guest,
        "mkdir d; ln -s /etc/passwd d/link; ln -s / root; mkfifo d/pipe; echo x > d/one; ln d/one d/two; \
         ln -s /proc/1 d/proc; echo fine > d/fine; echo hidden > d/secret; chmod 0 d/secret; echo ok",
    );
    assert_eq!(out, "ok\n");
    let (files, skipped) = collected(&guest.files(&[collect("d/*")]));
    assert_eq!(files, [("d/fine".to_owned(), b"fine\n".to_vec())]);
    let names: Vec<&str> = skipped.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["d/link", "d/one", "d/pipe", "d/proc", "d/secret", "d/two"]
    );
    for (name, expected) in [
        ("root/etc/passwd", libc::ELOOP),
        ("d/proc/environ", libc::ELOOP),
        ("d/link", 0),
    ] {
        let replies = guest.files(&[FileRequest::Get {
            path: path(name),
            max_bytes: 1000,
        }]);
        let refused = match replies.last().unwrap() {
            FileReply::Failed { errno } => {
                *errno == expected || *errno == libc::ENOTDIR || *errno == libc::EXDEV
            }
            FileReply::Refused { reason } => *reason == SkipReason::NotARegularFile,
            other => panic!("{other:?}"),
        };
        assert!(refused, "{name}: {replies:?}");
    }
}

fn beside() {
    let mut guest = Guest::start();
    guest.begin(limits(), &["/bin/sh", "-c", "echo up; read line; echo $line"]);
    let mut out = Vec::new();
    while out != b"up\n" {
        match guest.next() {
            Up::Data { bytes, .. } => out.extend(bytes),
            Up::Eof(UpChannel::Runner) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(guest.files(&[]), []);
    assert_eq!(guest.files(&put("x", b"y")), []);
    guest.data(DownChannel::Stdin, b"on\n");
    assert_eq!(guest.finish().stdout, "on\n");
    assert_eq!(guest.files(&[]), [FileReply::Ready]);
}

fn start_waits() {
    let mut guest = Guest::start();
    guest.say(&Down::OpenFiles);
    for request in put("script", b"echo from a file") {
        guest.data(DownChannel::Files, &request.encode());
    }
    guest.say(&Down::Eof(DownChannel::Files));
    // Without hearing what became of it.
    guest.order(limits());
    let spec = spec(&["/bin/sh", "script"], RunnerChannel::Close);
    guest.data(DownChannel::Job, &spec.encode().unwrap());
    let mut closed = false;
    loop {
        match guest.next() {
            Up::Eof(UpChannel::Files) => closed = true,
            Up::Started => break,
            Up::Data { .. } | Up::Credit { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(closed, "the program starts beside the conversation");
    assert_eq!(guest.finish().stdout, "from a file\n");
}

fn nonsense() {
    let mut guest = Guest::start();
    guest.say(&Down::OpenFiles);
    guest.data(DownChannel::Files, b"\0\0\0\0\0\0\0\0");
    while guest.next() != Up::Eof(UpChannel::Files) {}
    // The daemon has more, and then it has said so: only then is the conversation over.
    guest.data(DownChannel::Files, b"more");
    guest.say(&Down::Eof(DownChannel::Files));
    assert_eq!(guest.files(&put("a", b"b")), [FileReply::Ready, FileReply::Done]);
    assert_eq!(run(&mut guest, "cat a"), "b");
}

fn nothing_left() {
    let mut guest = Guest::start();
    guest.files(&put("a", b"b"));
    let out = run(&mut guest, "cd /proc; set -- [0-9]*; echo $#");
    // PID 1 and the shell.
    assert_eq!(out, "2\n");
    assert_eq!(shell("umask").stdout, "0022\n");
}
