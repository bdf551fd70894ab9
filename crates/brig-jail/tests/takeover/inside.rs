//! Straight into a cell: the waiting stub and the enter-helper.

use crate::rounds;
use crate::support::residue::{Residue, until_as_before};
use crate::support::{Keeper, SECOND, config, read_file, small};
use brig_jail::exec_spec::EXEC_SPEC_MAX;
use brig_jail::files::{CellPath, FileMode, FileReply, FileRequest, FrameReader};
use brig_jail::protocol::{Level, MainExit, Reply, Request};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

fn framed(length: u32, body: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), body].concat()
}

fn json(body: &str) -> Vec<u8> {
    framed(u32::try_from(body.len()).unwrap(), body.as_bytes())
}

/// What a stub may be told instead of a program.
fn nonsense() -> Vec<Vec<u8>> {
    let most = u32::try_from(EXEC_SPEC_MAX).unwrap();
    let spec = |argv: &str, env: &str, cwd: &str| {
        json(&format!(
            r#"{{"argv":{argv},"env":{env},"cwd":"{cwd}","runner_channel":"close"}}"#
        ))
    };
    let many = |count: usize| format!("[{}]", vec![r#""x""#; count].join(","));
    vec![
        Vec::new(),
        vec![1],
        framed(u32::MAX, b"{}"),
        framed(most + 1, b"{}"),
        framed(most, b"{"),
        framed(0, b""),
        json("{}"),
        json("[[[[[[[[[["),
        json(&"[".repeat(200_000)),
        spec("[]", "[]", "/"),
        spec(r#"["a\u0000b"]"#, "[]", "/"),
        spec(r#"["/bin/true"]"#, r#"[["A=B","c"],["","d"]]"#, "/"),
        spec(r#"["/bin/true"]"#, "[]", "../../../.."),
        spec(r#"["/proc/1/exe"]"#, "[]", "/workspace"),
        spec(&many(600_000), "[]", "/"),
        spec(
            &format!(r#"["/bin/true","{}"]"#, "a".repeat(3_000_000)),
            "[]",
            "/",
        ),
    ]
}

pub fn nonsense_instead_of_a_program_ends_its_own_cell() {
    let mut keeper = Keeper::start(&config("stub"));
    keeper.probe();
    let before = Residue::idle(&keeper);
    for (index, bytes) in nonsense().into_iter().enumerate() {
        let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
        keeper.start_deadlines(&cell, 5 * SECOND, 5 * SECOND);
        // A stub that has heard enough closes its end.
        cell.job.write_all(&bytes).ok();
        let (number, mut stdout) = (cell.number, cell.stdout);
        drop((cell.job, cell.stdin));
        stdout.read_to_end(&mut Vec::new()).unwrap();
        let facts = keeper.await_end(number);
        let expected = matches!(facts.main, MainExit::Exited(254 | 126 | 127 | 0));
        assert!(expected && facts.killed.is_none(), "{index}: {facts:?}");
        keeper.release(number);
    }
    until_as_before(&keeper, &before, || {});
}

/// A helper for this cell's files.
fn helper(keeper: &Keeper, cell: u64) -> File {
    keeper
        .link
        .send(&Request::OpenFiles { request: 5, cell })
        .unwrap();
    let (reply, descriptors): (Reply, Vec<OwnedFd>) = keeper.reply();
    assert_eq!(reply, Reply::FilesOpened { request: 5, cell });
    descriptors.into_iter().map(File::from).next().unwrap()
}

/// Frames that the helper sends until it hangs up or has answered with something final.
fn answers(socket: &mut File) -> Vec<FileReply> {
    let mut frames = FrameReader::new();
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.read(&mut buffer).unwrap_or(0);
        if length == 0 {
            return heard;
        }
        frames.push(&buffer[..length]);
        while let Some(frame) = frames.next_frame().unwrap() {
            let reply = FileReply::decode(&frame).unwrap();
            let is_last = !matches!(
                reply,
                FileReply::Ready | FileReply::Data(_) | FileReply::FileStart { .. }
            );
            heard.push(reply);
            if is_last {
                return heard;
            }
        }
    }
}

/// A good request whose path is replaced by one of the same length that no honest daemon can send.
fn bent(request: &FileRequest, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = request.encode();
    let place = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    bytes[place..place + to.len()].copy_from_slice(to);
    bytes
}

/// Paths that lead out, each with a good one of its length.
const WAYS_OUT: [&[u8]; 9] = [
    b"../../../../../../etc/passwd",
    b"/etc/passwd",
    b"out/passwd",
    b"out/../passwd",
    b"file/../../../etc/passwd",
    b"./.",
    b"proc/self/root/etc/passwd",
    b"a//etc/passwd",
    b"out\0/passwd",
];

pub fn file_requests_stay_in_the_workspace() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "untouched").unwrap();
    let mut keeper = Keeper::start(&config("paths"));
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    let links = format!(
        "cd /workspace && echo kept > file && ln -s /etc out && ln -s {} leak && ln -s /proc/self/root root",
        secret.path().display()
    );
    keeper.begin(&mut cell, &["/bin/sh", "-c", &links], 20 * SECOND, 0);
    assert_eq!(keeper.await_end(cell.number).main, MainExit::Exited(0));
    let honest = |length: usize| CellPath::new(&vec![b'z'; length]).unwrap();
    let links: [&[u8]; 2] = [b"leak", b"root/etc/passwd"];
    for way in WAYS_OUT.iter().chain(&links) {
        let stand_in = vec![b'z'; way.len()];
        let path = honest(way.len());
        let requests = [
            FileRequest::Get {
                path: path.clone(),
                max_bytes: u64::MAX,
            },
            FileRequest::Put {
                path: path.clone(),
                size: 3,
                mode: FileMode::Plain,
            },
            FileRequest::Remove { path: path.clone() },
            FileRequest::Mkdir { path: path.clone() },
            FileRequest::Stat { path: path.clone() },
        ];
        for request in requests {
            let mut socket = helper(&keeper, cell.number);
            socket.write_all(&bent(&request, &stand_in, way)).ok();
            if matches!(request, FileRequest::Put { .. }) {
                socket
                    .write_all(&FileRequest::Data(b"zzz".to_vec()).encode())
                    .ok();
            }
            let heard = answers(&mut socket);
            let content = heard.iter().any(|reply| matches!(reply, FileReply::Data(_)));
            assert!(!content, "{} gave {heard:?} for {request:?}", way.escape_ascii());
            drop(socket);
        }
    }
    assert_eq!(std::fs::read_to_string(secret.path()).unwrap(), "untouched");
    keeper
        .link
        .send(&Request::OpenFiles {
            request: 6,
            cell: cell.number,
        })
        .unwrap();
    let (_, descriptors) = keeper.reply();
    assert_eq!(read_file(descriptors, b"file"), b"kept\n");
    keeper.release(cell.number);
}

pub fn nonsense_for_the_helper_ends_the_helper() {
    let mut keeper = Keeper::start(&config("frames"));
    let cell = keeper.open_at(Level::Workstation, small()).unwrap();
    let sizes = [0_u32, 1, 255, 1 << 16, 1 << 24, u32::MAX];
    for round in 0..rounds(4) {
        for size in sizes {
            let mut socket = helper(&keeper, cell.number);
            let kind = u8::try_from(round * 37 % 256).unwrap();
            let body = vec![kind; usize::try_from(size.min(70_000)).unwrap()];
            socket.write_all(&framed(size, &body)).ok();
            nix::sys::socket::shutdown(
                std::os::fd::AsRawFd::as_raw_fd(&socket),
                nix::sys::socket::Shutdown::Write,
            )
            .unwrap();
            // It says that it is there, perhaps that it refuses, and ends.
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).ok();
            assert!(rest.len() < 4096, "{}", rest.len());
        }
    }
    keeper.link.send(&Request::Release { cell: cell.number }).unwrap();
    keeper.await_end(cell.number);
    assert_eq!(keeper.reply().0, Reply::Released { cell: cell.number });
    keeper.await_no_cells();
}
