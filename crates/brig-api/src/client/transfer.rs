//! Files, of any size, in pieces.

use super::BrigClient;
use crate::convert::file::StoredFile;
use crate::convert::request::UploadStart;
use crate::convert::{At, InvalidFields, required};
use crate::pb;
use crate::pb::download_response::Part as Downloaded;
use crate::pb::upload_request::Part as Uploaded;
use crate::status::ApiError;
use brig_core::id::FileId;
use futures_util::stream::{self, Stream};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

/// Bytes per message: large enough that the envelope does not matter, small enough to keep memory low.
const PIECE: usize = 256 * 1024;

impl BrigClient {
    /// Stores what `content` gives up to its end.
    ///
    /// # Errors
    /// [`ApiError`]; nothing is stored then, also when reading fails midway.
    pub async fn upload<R>(&self, start: UploadStart, content: R) -> Result<StoredFile, ApiError>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        let (failed, reading_failed) = oneshot::channel();
        let mut client = self.files();
        let sending = client.upload(pieces(&start, content, failed));
        let answer = tokio::select! {
            biased;
            Ok(source) = reading_failed => {
                // Dropping the call resets its stream: the daemon sees a break and not an end.
                return Err(ApiError::Local { act: "read what is to be uploaded", source });
            }
            answer = sending => answer?,
        };
        let pb::UploadResponse { file } = answer.into_inner();
        Ok(required(file).and_then(StoredFile::try_from).at("file")?)
    }

    /// Writes a stored file to `sink`.
    ///
    /// # Errors
    /// [`ApiError`]; `sink` may have got a part of the file then.
    pub async fn download<W>(&self, file: FileId, sink: &mut W) -> Result<StoredFile, ApiError>
    where
        W: AsyncWrite + Send + Unpin,
    {
        let request = pb::DownloadRequest {
            file_id: file.to_string(),
        };
        let mut parts = self.files().download(request).await?.into_inner();
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(Downloaded::File(record)) = first else {
            return Err(InvalidFields::one("file", "must come first in a download").into());
        };
        let record = StoredFile::try_from(record).at("file")?;
        let mut received: u64 = 0;
        while let Some(pb::DownloadResponse { part }) = parts.message().await? {
            let Some(Downloaded::Data(data)) = part else {
                return Err(InvalidFields::one("data", "must follow the record in a download").into());
            };
            received = received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if received > record.size {
                break;
            }
            sink.write_all(&data).await.map_err(writing)?;
        }
        if received != record.size {
            return Err(ApiError::Transfer {
                received,
                announced: record.size,
            });
        }
        sink.flush().await.map_err(writing)?;
        Ok(record)
    }
}

fn writing(source: io::Error) -> ApiError {
    ApiError::Local {
        act: "write what was downloaded",
        source,
    }
}

/// Where an upload stands.
enum Sending<R> {
    Metadata(pb::UploadMetadata, R, oneshot::Sender<io::Error>),
    Data(R, oneshot::Sender<io::Error>),
}

/// The messages of an upload. When reading fails it tells so through `failed` and never ends: the end of the
/// stream would say that the file is complete.
fn pieces<R>(
    start: &UploadStart,
    content: R,
    failed: oneshot::Sender<io::Error>,
) -> impl Stream<Item = pb::UploadRequest> + Send + use<R>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let first = Sending::Metadata(pb::UploadMetadata::from(start), content, failed);
    stream::unfold(first, |state| async move {
        let (mut content, failed) = match state {
            Sending::Metadata(metadata, content, failed) => {
                let message = pb::UploadRequest {
                    part: Some(Uploaded::Metadata(metadata)),
                };
                return Some((message, Sending::Data(content, failed)));
            }
            Sending::Data(content, failed) => (content, failed),
        };
        match piece(&mut content).await {
            Ok(data) if data.is_empty() => None,
            Ok(data) => {
                let message = pb::UploadRequest {
                    part: Some(Uploaded::Data(data)),
                };
                Some((message, Sending::Data(content, failed)))
            }
            Err(error) => {
                // Nobody listens any more when the call has already been answered: then it does not matter.
                drop(failed.send(error));
                std::future::pending().await
            }
        }
    })
}

/// The next bytes, at most a piece; none at the end.
async fn piece<R: AsyncRead + Unpin>(content: &mut R) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(PIECE);
    while data.len() < PIECE {
        let room = u64::try_from(PIECE - data.len()).unwrap_or(0);
        if (&mut *content).take(room).read_buf(&mut data).await? == 0 {
            break;
        }
    }
    Ok(data)
}
