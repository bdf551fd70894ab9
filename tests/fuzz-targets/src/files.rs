//! Files of a cell: frames from a helper that looked at hostile files, paths, patterns, names for people.

use brig_jail::files::{
    CellPath, DATA_MAX, FRAME_MAX, FileReply, FileRequest, FrameReader, Glob, GlobSet, PATTERNS_MAX, escaped,
};

/// A byte that says what it is, then the bytes.
pub fn target(data: &[u8]) {
    let (kind, rest) = crate::choice(data);
    match kind % 5 {
        0 => frames(rest),
        1 => request(rest),
        2 => reply(rest),
        3 => path(rest),
        _ => glob(rest),
    }
}

/// However the stream is cut, the same frames come out, and no more than one is ever held.
fn frames(data: &[u8]) {
    let (cuts, stream) = data.split_at(data.len().min(3));
    let read = |pieces: Vec<&[u8]>| {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, None)
    };
    let whole = read(vec![stream]);
    assert_eq!(
        whole,
        read(crate::pieces(stream, cuts)),
        "the cut into pieces matters"
    );
    for frame in &whole.0 {
        assert!((1..=FRAME_MAX).contains(&frame.len()));
        reply(frame);
    }
    let bytes: usize = whole.0.iter().map(|frame| frame.len() + 4).sum();
    assert!(bytes <= stream.len(), "more bytes than came");
}

fn request(frame: &[u8]) {
    let Ok(request) = FileRequest::decode(frame) else {
        return;
    };
    match &request {
        FileRequest::Put { path, .. }
        | FileRequest::Mkdir { path }
        | FileRequest::Get { path, .. }
        | FileRequest::Remove { path }
        | FileRequest::Stat { path }
        | FileRequest::List { path: Some(path), .. } => stays_below(path),
        FileRequest::Collect { patterns, .. } => assert!(patterns.len() <= PATTERNS_MAX),
        FileRequest::Data(_) | FileRequest::List { path: None, .. } => {}
    }
    same(&request.encode(), frame);
}

fn reply(frame: &[u8]) {
    if let Ok(reply) = FileReply::decode(frame) {
        same(&reply.encode(), frame);
    }
}

/// An encoding is a length and then what was read.
fn same(encoded: &[u8], frame: &[u8]) {
    let (length, body) = encoded.split_first_chunk::<4>().expect("a length");
    assert_eq!(body, frame, "it has two encodings");
    assert_eq!(u32::from_le_bytes(*length) as usize, frame.len());
    // A frame of data as long as the reader takes is longer than a part that a sender makes.
    assert!(frame.len() > DATA_MAX || frame.len() <= FRAME_MAX);
}

fn path(data: &[u8]) {
    if let Ok(path) = CellPath::new(data) {
        stays_below(&path);
        assert_eq!(path.as_bytes(), data);
        let (directory, name) = path.split();
        let joined = directory.map_or_else(|| name.to_vec(), |directory| [directory, b"/", name].concat());
        assert_eq!(joined, data, "cut and joined it is another path");
    }
    let shown = escaped(data);
    assert!(
        !shown.chars().any(char::is_control),
        "a control character is shown: {shown:?}"
    );
    assert!(
        shown.len() <= 10 * data.len(),
        "{} bytes are shown for {}",
        shown.len(),
        data.len()
    );
}

fn stays_below(path: &CellPath) {
    let bytes = path.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= brig_jail::files::PATH_MAX);
    assert!(
        !bytes.starts_with(b"/") && !bytes.contains(&0),
        "{path:?} leaves the workspace"
    );
    for name in bytes.split(|byte| *byte == b'/') {
        assert!(
            !matches!(name, b"" | b"." | b".."),
            "{path:?} leaves the workspace"
        );
    }
}

/// A pattern, a newline, a path: the stepwise answer is the one of the definition.
fn glob(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let pattern = parts.next().unwrap_or_default();
    let Ok(glob) = Glob::new(pattern) else {
        return;
    };
    let Ok(path) = CellPath::new(parts.next().unwrap_or_default()) else {
        return;
    };
    let set = GlobSet::new(&[pattern.to_vec()]).expect("a good pattern alone");
    let names: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
    let mut state = set.start();
    let mut hopeful = true;
    for name in &names {
        hopeful = hopeful && set.may_match_below(&state);
        state = set.step(&state, name);
    }
    let matched = set.matches(&state);
    assert!(
        hopeful || !matched,
        "{glob:?} matches where nothing can be matched"
    );
    // The definition is exponential, and looks at bytes where `?` stands for a character.
    if pattern.len() <= 24 && data.len() <= 64 && data.is_ascii() {
        let normal = pattern_names(pattern);
        assert_eq!(matched, matches_path(&normal, &names), "{glob:?} and {names:?}");
    }
}

/// The names of a pattern; one that ends with a slash or `**` means every file below.
fn pattern_names(pattern: &[u8]) -> Vec<&[u8]> {
    let open = pattern.ends_with(b"/");
    let mut names: Vec<&[u8]> = pattern
        .strip_suffix(b"/")
        .unwrap_or(pattern)
        .split(|byte| *byte == b'/')
        .collect();
    if open {
        names.push(b"**");
    }
    if names.last() == Some(&b"**".as_slice()) {
        names.push(b"*");
    }
    names
}

fn matches_path(pattern: &[&[u8]], names: &[&[u8]]) -> bool {
    match (pattern.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((&b"**", rest)), Some((name, below))) => {
            matches_path(rest, names) || (!name.starts_with(b".") && matches_path(pattern, below))
        }
        (Some((&b"**", rest)), None) => matches_path(rest, names),
        (Some((one, rest)), Some((name, below))) => matches_dotted(one, name) && matches_path(rest, below),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn matches_dotted(pattern: &[u8], name: &[u8]) -> bool {
    (!name.starts_with(b".") || pattern.starts_with(b".")) && matches_name(pattern, name)
}

fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches_name(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, more)| matches_name(pattern, more))
        }
        (Some((b'?', rest)), Some((_, more))) => matches_name(rest, more),
        (Some((one, rest)), Some((byte, more))) => one == byte && matches_name(rest, more),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
