//! Stored files: uploads, inputs, outputs, quotas.

use crate::support::*;
use brig_api::pb;
use brig_api::pb::download_response::Part as DownloadPart;
use brig_api::pb::upload_request::Part;
use brig_core::Bytes;
use sha2::{Digest, Sha256};
use tonic::Code;

async fn upload(
    daemon: &Daemon,
    metadata: pb::UploadMetadata,
    content: &[u8],
) -> Result<pb::File, tonic::Status> {
    let mut parts = vec![Part::Metadata(metadata)];
    parts.extend(content.chunks(1000).map(|chunk| Part::Data(chunk.to_vec())));
    let messages = parts
        .into_iter()
        .map(|part| pb::UploadRequest { part: Some(part) });
    let stream = futures_util::stream::iter(messages.collect::<Vec<_>>());
    Ok(daemon.files().upload(stream).await?.into_inner().file.unwrap())
}

fn named(name: &str) -> pb::UploadMetadata {
    pb::UploadMetadata {
        name: name.to_owned(),
        ..Default::default()
    }
}

async fn download(daemon: &Daemon, file_id: &str) -> (pb::File, Vec<u8>) {
    let request = pb::DownloadRequest {
        file_id: file_id.to_owned(),
    };
    let mut stream = daemon.files().download(request).await.unwrap().into_inner();
    let mut file = None;
    let mut content = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        match message.part.unwrap() {
            DownloadPart::File(record) => file = Some(record),
            DownloadPart::Data(bytes) => content.extend(bytes),
        }
    }
    (file.unwrap(), content)
}

/// Files on disk, temporary ones included.
fn on_disk(daemon: &Daemon) -> usize {
    let folders = std::fs::read_dir(daemon.data.path().join("files")).unwrap();
    folders
        .map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count())
        .sum()
}

#[tokio::test]
async fn a_file_comes_back_as_it_was() {
    let daemon = Daemon::start().await;
    let directory = std::fs::metadata(daemon.data.path().join("files")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&directory.permissions()) & 0o777,
        0o700
    );
    let content: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    let digest = Sha256::digest(&content).to_vec();
    let metadata = pb::UploadMetadata {
        sha256: digest.clone(),
        durability: pb::Durability::PowerLoss.into(),
        ..named("../../a b.bin")
    };
    let file = upload(&daemon, metadata, &content).await.unwrap();
    assert_eq!((file.size_bytes, &file.sha256), (700_000, &digest));
    let (record, back) = download(&daemon, &file.file_id).await;
    assert_eq!((record, back), (file.clone(), content));
    let list = pb::FileServiceListRequest::default();
    assert_eq!(
        daemon.files().list(list).await.unwrap().into_inner().files,
        std::slice::from_ref(&file)
    );

    let remove = pb::RemoveRequest {
        file_id: file.file_id.clone(),
    };
    daemon.files().remove(remove.clone()).await.unwrap();
    assert_eq!(
        daemon.files().remove(remove).await.unwrap_err().code(),
        Code::NotFound
    );
    let stat = pb::StatRequest {
        file_id: file.file_id,
    };
    assert_eq!(
        daemon.files().stat(stat).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(on_disk(&daemon), 0);
}

#[tokio::test]
async fn files_without_content_use_up_the_quota_too() {
    let daemon = Daemon::start_with(|config| config.stored = Bytes::kib(10)).await;
    upload(&daemon, named("first"), b"").await.unwrap();
    let second = upload(&daemon, named("second"), b"").await.unwrap();
    let refused = upload(&daemon, named("third"), b"").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(on_disk(&daemon), 2);
    let file_id = second.file_id;
    daemon
        .files()
        .remove(pb::RemoveRequest { file_id })
        .await
        .unwrap();
    upload(&daemon, named("third"), b"").await.unwrap();
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing_behind() {
    let daemon = Daemon::start_with(|config| config.stored = Bytes::kib(100)).await;
    let wrong = pb::UploadMetadata {
        sha256: vec![0; 32],
        ..named("wrong")
    };
    let refused = upload(&daemon, wrong, b"content").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = upload(&daemon, named("large"), &[0; 200_000]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let nothing = futures_util::stream::iter([pb::UploadRequest { part: None }]);
    assert_eq!(
        daemon.files().upload(nothing).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(on_disk(&daemon), 0);
    upload(&daemon, named("fits"), &[0; 90_000]).await.unwrap();
    assert_eq!(
        upload(&daemon, named("fits not"), &[0; 90_000])
            .await
            .unwrap_err()
            .code(),
        Code::ResourceExhausted
    );
    assert_eq!(on_disk(&daemon), 1);
}

#[tokio::test]
async fn inputs_reach_the_program_and_outputs_come_back() {
    let daemon = Daemon::start().await;
    let stored = |file: &pb::File| pb::Content {
        source: Some(pb::content::Source::FileId(file.file_id.clone())),
    };
    let stdin = upload(&daemon, named("stdin"), b"from stdin ").await.unwrap();
    let table = upload(&daemon, named("table"), b"from a file").await.unwrap();
    let mut spec = script("stdin\nread in/table.csv\nwait go");
    spec.stdin = Some(stored(&stdin));
    spec.inputs.push(pb::InputFile {
        path: "in/table.csv".to_owned(),
        content: Some(stored(&table)),
        ..Default::default()
    });
    spec.outputs.push("in/table.csv".to_owned());
    let stream = daemon.execute(spec).await.unwrap();
    daemon.backend.next_start().await;
    let remove = pb::RemoveRequest {
        file_id: table.file_id.clone(),
    };
    assert_eq!(
        daemon.files().remove(remove).await.unwrap_err().code(),
        Code::FailedPrecondition,
        "a running job needs it"
    );
    daemon.backend.open_gate("go");
    let events = all_events(stream).await;
    assert_eq!(
        output(&events, pb::OutputStream::Stdout),
        b"from stdin from a file"
    );
    let job = ended(&events);
    let Some(pb::job::Result::Outcome(outcome)) = job.result else {
        panic!("an outcome")
    };
    let (record, content) = download(&daemon, &outcome.files[0].file_id).await;
    assert_eq!(
        (record.name.as_str(), record.job_id),
        ("in/table.csv", job.job_id)
    );
    assert_eq!(content, b"from a file");
}

#[tokio::test]
async fn a_job_that_names_a_missing_file_is_refused() {
    let daemon = Daemon::start().await;
    let mut spec = script("stdin");
    let unknown = brig_core::FileId::generate().to_string();
    spec.stdin = Some(pb::Content {
        source: Some(pb::content::Source::FileId(unknown)),
    });
    let refused = daemon.execute(spec).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
