//! Callers that do not keep to the contract: wrong messages, wrong methods, sizes without end, ids that lead elsewhere.

use crate::support::*;
use brig_api::pb;
use std::str::FromStr;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

const METHODS: [&str; 9] = [
    "/brig.v1.ExecutionService/Submit",
    "/brig.v1.ExecutionService/Get",
    "/brig.v1.ExecutionService/List",
    "/brig.v1.ExecutionService/Cancel",
    "/brig.v1.FileService/Stat",
    "/brig.v1.FileService/List",
    "/brig.v1.FileService/Remove",
    "/brig.v1.ExecutionService/Nothing",
    "/brig.v1.NoService/Get",
];

/// Bytes in the place of a message: field 1 to 15 as text, whatever the contract says.
#[derive(Clone, PartialEq, prost::Message)]
struct Anything {
    #[prost(bytes = "vec", tag = "1")]
    one: Vec<u8>,
    #[prost(uint64, tag = "2")]
    two: u64,
    #[prost(bytes = "vec", tag = "15")]
    unknown: Vec<u8>,
}

async fn call(daemon: &Daemon, method: &str, message: Anything) -> Result<(), Status> {
    let mut caller = tonic::client::Grpc::new(daemon.channel()).max_encoding_message_size(64 << 20);
    caller
        .ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let path = PathAndQuery::from_str(method).unwrap();
    let codec: ProstCodec<Anything, Anything> = ProstCodec::default();
    caller.unary(Request::new(message), path, codec).await.map(drop)
}

#[tokio::test]
async fn what_is_no_message_of_the_contract_is_refused_and_starts_nothing() {
    let daemon = Daemon::start().await;
    for (number, method) in (0_u64..).zip(METHODS) {
        for one in [vec![0xff; 40], vec![0x0a; 4096], Vec::new(), vec![0x80; 11]] {
            let message = Anything {
                one,
                two: number,
                unknown: vec![7; 100],
            };
            let Err(status) = call(&daemon, method, message).await else {
                continue;
            };
            let unknown = method.contains("No");
            let expected: &[Code] = if unknown {
                &[Code::Unimplemented]
            } else {
                &[Code::InvalidArgument, Code::NotFound]
            };
            assert!(expected.contains(&status.code()), "{method}: {status:?}");
            if !unknown {
                let details = status.get_error_details();
                let reason = details.error_info().map(|info| info.reason.clone());
                assert!(reason.is_some(), "{method}: no reason in {status:?}");
            }
        }
    }
    assert_eq!(daemon.backend.runs(), 0);
    daemon
        .end_of(&daemon.submit(script("out still here")).await)
        .await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_its_name() {
    let daemon = Daemon::start().await;
    for method in ["/brig.v1.ExecutionService/Submit", "/brig.v1.FileService/Stat"] {
        let message = Anything {
            one: vec![b'x'; 5 << 20],
            ..Anything::default()
        };
        let status = call(&daemon, method, message).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{method}: {status:?}");
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "MESSAGE_TOO_LARGE");
        assert!(status.message().contains("4 MiB"), "{status:?}");
    }
    // A stream of requests has the same limit for each of its messages, and none of them is kept.
    let parts = futures_util::stream::iter([pb::UploadRequest {
        part: Some(pb::upload_request::Part::Data(vec![0; 5 << 20])),
    }]);
    let mut files = daemon.files().max_encoding_message_size(64 << 20);
    let status = files.upload(parts).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(daemon.backend.runs(), 0);
}

#[tokio::test]
async fn ids_that_lead_elsewhere_are_not_valid() {
    let daemon = Daemon::start().await;
    std::fs::write(daemon.data.path().join("secret"), "a secret").unwrap();
    for id in [
        "../secret",
        "..%2fsecret",
        "/etc/passwd",
        "",
        ".",
        "secret\0",
        "01890a5d-ac96-774b-bcce-b302099a8057/../secret",
        "01890A5D-AC96-774B-BCCE-B302099A805",
        "' OR 1=1 --",
        &"9".repeat(10_000),
    ] {
        let download = pb::DownloadRequest {
            file_id: id.to_owned(),
        };
        let download = daemon.files().download(download).await.map(drop);
        let stat = pb::StatRequest {
            file_id: id.to_owned(),
        };
        let stat = daemon.files().stat(stat).await.map(drop);
        let remove = pb::RemoveRequest {
            file_id: id.to_owned(),
        };
        let remove = daemon.files().remove(remove).await.map(drop);
        let get = pb::GetRequest {
            job_id: id.to_owned(),
        };
        let get = daemon.client().get(get).await.map(drop);
        for (what, answer) in [
            ("download", download),
            ("stat", stat),
            ("remove", remove),
            ("get", get),
        ] {
            let code = answer.unwrap_err().code();
            assert!(
                [Code::InvalidArgument, Code::NotFound].contains(&code),
                "{what} {id:.40}: {code:?}"
            );
        }
    }
    assert!(daemon.data.path().join("secret").exists());
}
