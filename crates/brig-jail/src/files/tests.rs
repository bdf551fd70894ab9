#![cfg(test)]

use super::*;
use proptest::prelude::*;

fn path(text: &str) -> CellPath {
    CellPath::new(text.as_bytes()).unwrap()
}

fn round_trip_request(request: FileRequest) {
    let mut reader = FrameReader::new();
    reader.push(&request.encode());
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(FileRequest::decode(&frame), Ok(request));
    assert_eq!(reader.next_frame(), Ok(None));
}

fn round_trip_reply(reply: FileReply) {
    let mut reader = FrameReader::new();
    reader.push(&reply.encode());
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(FileReply::decode(&frame), Ok(reply));
}

#[test]
fn every_request_survives_the_wire() {
    let limits = CollectLimits {
        files: 1,
        file_bytes: 2,
        total_bytes: u64::MAX,
        depth: 4,
        entries: 5,
        millis: 6,
    };
    for request in [
        FileRequest::Put {
            path: path("a/b"),
            size: 1 << 40,
            mode: FileMode::Executable,
        },
        FileRequest::Data(vec![0; DATA_MAX]),
        FileRequest::Data(Vec::new()),
        FileRequest::Mkdir { path: path("a") },
        FileRequest::Collect {
            patterns: vec![b"*.png".to_vec(), b"**".to_vec()],
            limits,
        },
        FileRequest::Get {
            path: path("x"),
            max_bytes: 9,
        },
        FileRequest::List {
            path: None,
            max_entries: 3,
        },
        FileRequest::List {
            path: Some(path("d")),
            max_entries: 3,
        },
        FileRequest::Remove { path: path("x") },
        FileRequest::Stat { path: path("x") },
    ] {
        round_trip_request(request);
    }
}

#[test]
fn every_reply_survives_the_wire() {
    for reply in [
        FileReply::Ready,
        FileReply::Done,
        FileReply::Failed { errno: 28 },
        FileReply::Refused {
            reason: SkipReason::SeveralLinks,
        },
        FileReply::Entry(Entry {
            path: vec![0xff, b'/', b'x'],
            kind: EntryKind::Link,
            size: u64::MAX,
            mode: 0o644,
            modified: -1,
        }),
        FileReply::FileStart {
            path: b"x".to_vec(),
            mode: FileMode::Plain,
        },
        FileReply::Data(vec![1, 2, 3]),
        FileReply::FileEnd {
            bytes: 3,
            truncated: true,
        },
        FileReply::Skipped {
            path: b"s".to_vec(),
            reason: SkipReason::Unreadable,
        },
        FileReply::Finished {
            files: 1,
            skipped: 2,
            truncated: false,
        },
    ] {
        round_trip_reply(reply);
    }
}

#[test]
fn a_stream_is_cut_into_frames_wherever_it_breaks() {
    let stream = [
        FileRequest::Mkdir { path: path("a") }.encode(),
        FileRequest::Data(vec![7; 100]).encode(),
        FileRequest::Stat { path: path("b") }.encode(),
    ]
    .concat();
    for step in [1, 2, 3, 5, 64, stream.len()] {
        let mut reader = FrameReader::new();
        let mut frames = 0;
        for part in stream.chunks(step) {
            reader.push(part);
            while reader.next_frame().unwrap().is_some() {
                frames += 1;
            }
        }
        assert_eq!(frames, 3, "in parts of {step} bytes");
    }
}

#[test]
fn a_frame_that_is_too_long_or_empty_is_refused_before_it_is_buffered() {
    for length in [0, u32::try_from(FRAME_MAX).unwrap() + 1, u32::MAX] {
        let mut reader = FrameReader::new();
        reader.push(&length.to_le_bytes());
        assert_eq!(reader.next_frame(), Err(FrameError::Length { length }));
    }
}

#[test]
fn paths_that_leave_the_workspace_are_refused() {
    for (bad, error) in [
        (&b""[..], PathError::Empty),
        (b"/etc/passwd", PathError::Absolute),
        (b"../x", PathError::Dots),
        (b"a/../../x", PathError::Dots),
        (b"a//b", PathError::Dots),
        (b"a/", PathError::Dots),
        (b"./a", PathError::Dots),
        (b"a\0b", PathError::NulByte),
    ] {
        assert_eq!(CellPath::new(bad), Err(error), "{bad:?}");
    }
    assert_eq!(CellPath::new(&[b'a'; 256]), Err(PathError::NameTooLong));
    assert_eq!(CellPath::new(&[b'a'; 1025]), Err(PathError::TooLong));
    assert_eq!(
        CellPath::new("a/".repeat(65).trim_end_matches('/').as_bytes()),
        Err(PathError::TooDeep)
    );
    assert_eq!(path("a/b/c").split(), (Some(&b"a/b"[..]), &b"c"[..]));
    assert_eq!(path("c").split(), (None, &b"c"[..]));
}

#[test]
fn hostile_names_are_shown_harmless() {
    assert_eq!(escaped("plain näme.txt".as_bytes()), "plain näme.txt");
    assert_eq!(escaped(b"a\x1b[31mb\n\xff\\"), "a\\u{1b}[31mb\\n\\xff\\\\");
    assert_eq!(escaped("x\u{202e}gpj".as_bytes()), "x\\u{202e}gpj");
}

fn matched(pattern: &str, file: &str) -> bool {
    let set = GlobSet::new(&[pattern.as_bytes().to_vec()]).unwrap();
    let state = file
        .split('/')
        .fold(set.start(), |state, name| set.step(&state, name.as_bytes()));
    set.matches(&state)
}

#[test]
fn patterns_match_what_a_shell_would() {
    for (pattern, file, expected) in [
        ("*.png", "a.png", true),
        ("*.png", "d/a.png", false),
        ("**/*.png", "a.png", true),
        ("**/*.png", "d/e/a.png", true),
        ("d/*", "d/a", true),
        ("d/*", "d/e/a", false),
        ("d/", "d/e/a", true),
        ("d/", "d", false),
        ("d/**", "d/e/a", true),
        ("**", "a/b/c", true),
        ("d/**/x", "d/x", true),
        ("d/**/x", "d/1/2/x", true),
        ("?.txt", "ä.txt", true),
        ("?.txt", "ab.txt", false),
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "abcb", false),
        ("*", ".hidden", false),
        ("**", ".cache/x", false),
        (".*", ".hidden", true),
        ("out.csv", "out.csv", true),
    ] {
        assert_eq!(matched(pattern, file), expected, "{pattern} on {file}");
    }
}

#[test]
fn bad_patterns_are_refused_with_their_place() {
    for (bad, error) in [
        ("", GlobError::Empty),
        ("/x", GlobError::Absolute),
        ("../*", GlobError::Dots),
        ("a//b", GlobError::Dots),
        ("a\0", GlobError::NulByte),
    ] {
        let set = GlobSet::new(&[b"*".to_vec(), bad.as_bytes().to_vec()]);
        assert_eq!(set, Err((1, error)), "{bad:?}");
    }
}

#[test]
fn a_walk_is_cut_off_where_nothing_can_match() {
    let set = GlobSet::new(&[b"a/b/*.txt".to_vec()]).unwrap();
    let start = set.start();
    assert!(set.may_match_below(&set.step(&start, b"a")));
    assert!(!set.may_match_below(&set.step(&start, b"other")));
}

#[test]
fn a_pattern_made_to_explode_does_not() {
    let pattern = format!("{}b", "*a".repeat(120));
    let name = "a".repeat(250);
    assert!(!matched(&pattern, &name));
    let deep = vec!["**/x"; 30].join("/");
    let path = vec!["x"; 60].join("/");
    assert!(matched(&deep, &path));
}

/// The textbook definition, exponential and obviously right.
fn plain_match(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| plain_match(rest, &name[skipped..])),
        (Some((b'?', pattern)), Some((_, name))) => plain_match(pattern, name),
        (Some((p, pattern)), Some((n, name))) => p == n && plain_match(pattern, name),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

proptest! {
    #[test]
    fn one_name_matches_as_the_definition_says(pattern in "[ab*?]{1,8}", name in "[ab]{1,8}") {
        prop_assume!(pattern != "**");
        prop_assert_eq!(matched(&pattern, &name), plain_match(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(FileRequest::decode(&bytes));
        drop(FileReply::decode(&bytes));
        let mut reader = FrameReader::new();
        reader.push(&bytes);
        while let Ok(Some(_)) = reader.next_frame() {}
    }
}
