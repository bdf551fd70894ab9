//! The daemon's side against a helper that the test plays, well-behaved and not.

use super::*;
use async_trait::async_trait;
use brig_core::id::FileId;
use brig_core::spec::WorkspacePath;
use brig_jail::files::SkipReason;
use tokio::net::UnixStream;

#[derive(Default)]
struct Kept {
    files: Vec<(String, Vec<u8>)>,
    discarded: usize,
}

#[async_trait]
impl FileSink for Kept {
    async fn begin(&mut self, path: &str) -> Result<(), io::Error> {
        self.files.push((path.to_owned(), Vec::new()));
        Ok(())
    }
    async fn data(&mut self, bytes: &[u8]) -> Result<(), io::Error> {
        self.files.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }
    async fn end(&mut self) -> Result<FileId, io::Error> {
        Ok(FileId::generate())
    }
    async fn discard(&mut self) {
        self.files.pop();
        self.discarded += 1;
    }
}

/// A helper that says all this at once and then hangs up when the daemon does.
async fn helper_that_says(
    replies: &[FileReply],
    patterns: &[&str],
    limits: CollectLimits,
) -> (Result<Collected, FilesError>, Kept) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let said: Vec<u8> = replies.iter().flat_map(FileReply::encode).collect();
    let mut kept = Kept::default();
    let patterns: Vec<_> = patterns
        .iter()
        .map(|text| OutputPattern::parse(text).unwrap())
        .collect();
    let speak = async {
        // The daemon may hang up at the first nonsense.
        let _how = ours.write_all(&said).await;
        let _how = ours.shutdown().await;
    };
    let (collected, ()) = tokio::join!(collect(Box::new(theirs), &patterns, limits, &mut kept), speak);
    (collected, kept)
}

fn start(path: &[u8]) -> FileReply {
    FileReply::FileStart {
        path: path.to_vec(),
        mode: wire::FileMode::Plain,
    }
}

fn end(bytes: u64) -> FileReply {
    FileReply::FileEnd {
        bytes,
        truncated: false,
    }
}

const FINISHED: FileReply = FileReply::Finished {
    files: 1,
    skipped: 0,
    truncated: false,
};

#[tokio::test]
async fn files_and_reasons_are_told_with_hostile_names_escaped() {
    let skipped = FileReply::Skipped {
        path: b"link".to_vec(),
        reason: SkipReason::NotARegularFile,
    };
    let replies = [
        FileReply::Ready,
        start(b"a\xff\n"),
        FileReply::Data(b"12".to_vec()),
        FileReply::Data(b"3".to_vec()),
        end(3),
        skipped,
        FINISHED,
    ];
    let (collected, kept) = helper_that_says(&replies, &["*"], CollectLimits::default()).await;
    let collected = collected.unwrap();
    assert_eq!(kept.files, [("a\\xff\\n".to_owned(), b"123".to_vec())]);
    assert_eq!(collected.files[0].size, 3);
    let reason = "not a regular file".to_owned();
    assert_eq!(
        collected.skipped,
        [SkippedFile {
            path: "link".to_owned(),
            reason
        }]
    );
}

#[tokio::test]
async fn more_bytes_than_were_asked_for_end_the_conversation() {
    let limits = CollectLimits {
        bytes: Bytes(4),
        ..CollectLimits::default()
    };
    let replies = [
        FileReply::Ready,
        start(b"a"),
        FileReply::Data(vec![0; 5]),
        end(5),
        FINISHED,
    ];
    let (collected, kept) = helper_that_says(&replies, &["*"], limits).await;
    assert!(matches!(collected, Err(FilesError::Nonsense)));
    assert_eq!((kept.files.len(), kept.discarded), (0, 1));
}

#[tokio::test]
async fn more_files_than_were_asked_for_end_the_conversation() {
    let limits = CollectLimits {
        files: 1,
        ..CollectLimits::default()
    };
    let replies = [
        FileReply::Ready,
        start(b"a"),
        end(0),
        start(b"b"),
        FileReply::Data(vec![0]),
        end(1),
        FINISHED,
    ];
    let (collected, kept) = helper_that_says(&replies, &["*"], limits).await;
    assert!(matches!(collected, Err(FilesError::Nonsense)));
    assert_eq!(kept.files.len(), 1);
}

#[tokio::test]
async fn a_helper_that_dies_or_babbles_is_an_error_and_nothing_is_kept_half() {
    let replies = [FileReply::Ready, start(b"a"), FileReply::Data(b"1".to_vec())];
    let (collected, kept) = helper_that_says(&replies, &["*"], CollectLimits::default()).await;
    assert!(matches!(collected, Err(FilesError::Helper(_))));
    assert_eq!((kept.files.len(), kept.discarded), (0, 1));
    let (collected, _) = helper_that_says(&[FileReply::Done], &["*"], CollectLimits::default()).await;
    assert!(matches!(collected, Err(FilesError::Nonsense)));
}

#[tokio::test]
async fn a_file_that_cannot_be_placed_is_named_with_its_reason() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let full = FileReply::Failed { errno: 28 };
    let said = [FileReply::Ready.encode(), full.encode()].concat();
    let upload = Upload {
        path: WorkspacePath::parse("big.bin").unwrap(),
        content: Bulk::Memory(vec![1; 300_000]),
        mode: FileMode::Regular,
    };
    let speak = async {
        ours.write_all(&said).await.unwrap();
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.unwrap();
        heard.len()
    };
    let (placed, heard) = tokio::join!(place(Box::new(theirs), vec![upload]), speak);
    let Err(FilesError::Place { path, source }) = placed else {
        panic!("{placed:?}")
    };
    assert_eq!((path.as_str(), source.raw_os_error()), ("big.bin", Some(28)));
    assert!(heard > 300_000);
}
