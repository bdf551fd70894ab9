//! Files in pieces.

use super::scripted::{Daemon, Seen};
use brig_api::ApiError;
use brig_api::convert::request::UploadStart;
use brig_core::id::FileId;
use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

fn start() -> UploadStart {
    UploadStart {
        name: "a".into(),
        sha256: None,
        durability: None,
    }
}

#[tokio::test]
async fn an_upload_arrives_whole_whatever_its_size() {
    for size in [0, 1, 256 * 1024, 256 * 1024 + 1, 5 << 20] {
        let content: Vec<u8> = (0u32..size)
            .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
            .collect();
        let daemon = Daemon::with_turns([]);
        let (client, _running) = daemon.embedded().await;
        let stored = client
            .upload(start(), Cursor::new(content.clone()))
            .await
            .unwrap();
        assert_eq!(stored.size, u64::from(size));
        assert_eq!(daemon.seen(), [Seen::Upload(content)]);
    }
}

/// Gives some bytes, then fails.
struct Failing {
    left: usize,
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the disk is gone")));
        }
        let now = self.left.min(buf.remaining());
        buf.put_slice(&vec![1; now]);
        self.left -= now;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_upload_whose_source_fails_is_never_taken_for_complete() {
    let daemon = Daemon::with_turns([]);
    let (client, _running) = daemon.embedded().await;
    let error = client
        .upload(start(), Failing { left: 1 << 20 })
        .await
        .unwrap_err();
    assert!(matches!(error, ApiError::Local { .. }), "{error:?}");
    // Another call on the same connection comes after the reset.
    assert!(client.stat_file(FileId::generate()).await.is_ok());
    assert!(
        !daemon.seen().iter().any(|seen| matches!(seen, Seen::Upload(_))),
        "taken for complete"
    );
}

#[tokio::test]
async fn a_refused_upload_is_told_with_the_reason() {
    let full = brig_api::ServiceError::StorageFull {
        limit: brig_core::Bytes::mib(1),
    };
    let daemon = Daemon::with_turns([]).refusing([full.into()]);
    let (client, _running) = daemon.embedded().await;
    let error = client.upload(start(), tokio::io::repeat(1)).await.unwrap_err();
    assert_eq!(error.reason(), Some("STORAGE_FULL"), "{error:?}");
}

#[tokio::test]
async fn a_download_is_whole_or_an_error() {
    let parts = |parts: &[&[u8]]| parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>();
    for (sent, whole) in [
        (parts(&[b"01234", b"56789"]), true),
        (parts(&[b"01234", b"", b"567"]), false),
        (parts(&[b"01234", b"567890"]), false),
        (parts(&[]), false),
    ] {
        let daemon = Daemon::with_turns([]).downloading(sent);
        let (client, _running) = daemon.embedded().await;
        let mut sink = Vec::new();
        let result = client.download(FileId::generate(), &mut sink).await;
        if whole {
            assert_eq!((result.unwrap().size, sink.as_slice()), (10, &b"0123456789"[..]));
        } else {
            assert!(
                matches!(result, Err(ApiError::Transfer { announced: 10, .. })),
                "{result:?}"
            );
            assert!(sink.len() <= 10);
        }
    }
}
