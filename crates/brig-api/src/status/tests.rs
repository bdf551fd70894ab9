//! The table, walked in both directions.

use super::*;
use brig_core::limits::FieldViolation;

fn every_error() -> Vec<ServiceError> {
    vec![
        ServiceError::Invalid(InvalidFields::one(
            "spec.limits.memory_bytes",
            "must be greater than zero",
        )),
        ServiceError::NotFound { what: "job" },
        ServiceError::KeyReused,
        ServiceError::InvalidPageToken,
        ServiceError::Refused(Refused::AlreadyTerminal),
        ServiceError::FileInUse,
        ServiceError::FileTooLarge { limit: Bytes::gib(1) },
        ServiceError::MessageTooLarge { limit: Bytes::mib(4) },
        ServiceError::DigestMismatch,
        ServiceError::UnknownImage { name: "x".into() },
        ServiceError::QueueFull {
            queued: 10,
            limit: 10,
        },
        ServiceError::StorageFull { limit: Bytes::gib(1) },
        ServiceError::DiskFull,
        ServiceError::Draining,
        ServiceError::Unavailable {
            what: "the keeper".into(),
        },
        ServiceError::Setup {
            problem: "no landlock".into(),
            remedy: "update the kernel".into(),
        },
        ServiceError::Internal {
            correlation_id: "abc".into(),
        },
    ]
}

fn answer(error: ServiceError) -> ErrorAnswer {
    let seen = ApiError::from(Status::from(error));
    let ApiError::Answer(answer) = seen else {
        panic!("{seen:?}")
    };
    *answer
}

#[test]
fn every_error_reaches_the_client_with_its_code_reason_and_text() {
    for error in every_error() {
        let answer = answer(error.clone());
        assert_eq!(answer.code, error.code());
        assert_eq!(answer.reason.as_deref(), Some(error.reason().word()));
        assert_eq!(answer.to_string(), error.to_string());
    }
}

#[test]
fn blame_is_the_same_on_both_sides() {
    for error in every_error() {
        let seen = ApiError::from(Status::from(error.clone())).fault();
        match error.fault() {
            // The caller need not know which of the two it is: both are ours.
            Fault::Host | Fault::Bug => assert_eq!(seen, Fault::Bug, "{error}"),
            fault @ (Fault::Caller | Fault::Busy | Fault::Transient) => assert_eq!(seen, fault, "{error}"),
        }
    }
}

#[test]
fn only_what_may_pass_later_says_when_to_try_again() {
    for error in every_error() {
        let retry = answer(error.clone()).retry_after.is_some();
        assert_eq!(
            retry,
            matches!(error.fault(), Fault::Busy | Fault::Transient),
            "{error}"
        );
    }
    let full = answer(ServiceError::QueueFull { queued: 1, limit: 1 });
    assert_eq!(full.quotas, ["queued_jobs"]);
    assert_eq!(full.retry_after, Some(QUEUE_RETRY));
}

#[test]
fn bad_fields_arrive_one_by_one() {
    let bad = vec![
        FieldViolation::new("spec.limits.wall_time", "must not be negative"),
        FieldViolation::new("spec.env[0].name", "is given twice"),
    ];
    let answer = answer(ServiceError::Invalid(InvalidFields(bad.clone())));
    assert_eq!((answer.code, answer.fields), (Code::InvalidArgument, bad));
}

#[test]
fn a_thousand_bad_fields_still_fit_into_a_header() {
    let bad = (0..1_000).map(|n| FieldViolation::new(format!("spec.env[{n}].name"), "é".repeat(2_000)));
    let status = Status::from(ServiceError::Invalid(InvalidFields(bad.collect())));
    assert!(!ApiError::from(status.clone()).fields().is_empty());
    let headers = status
        .into_http::<()>()
        .headers()
        .iter()
        .map(|(k, v)| k.as_str().len() + v.len() + 32)
        .sum::<usize>();
    assert!(headers < 7 * 1024, "{headers}");
}

#[test]
fn the_details_of_a_fault_stay_in_the_log() {
    let source = std::io::Error::other("disk /dev/sda1 is on fire");
    let error = StoreError::Database {
        act: "read a job",
        source: Box::new(source),
    };
    let answer = answer(ServiceError::of_store(&error, "job", || "id-7".into()));
    assert_eq!(answer.code, Code::Internal);
    assert_eq!(answer.correlation_id.as_deref(), Some("id-7"));
    assert!(
        answer.message.contains("id-7") && !answer.message.contains("sda1"),
        "{}",
        answer.message
    );
}

#[test]
fn the_store_and_the_backend_keep_their_blame() {
    let store = [
        StoreError::Refused(Refused::StaleAttempt),
        StoreError::NotFound,
        StoreError::KeyReused,
        StoreError::InvalidPageToken,
        StoreError::QueueFull { queued: 1, limit: 1 },
    ];
    for error in store {
        let service = ServiceError::of_store(&error, "job", || panic!("not a fault of ours: {error}"));
        assert_eq!(service.fault(), error.fault(), "{error}");
    }
    let setup = BackendError::Setup {
        stage: "a".into(),
        item: "b".into(),
        errno: 1,
        remedy: "c".into(),
    };
    for error in [
        setup,
        BackendError::UnknownImage("x".into()),
        BackendError::Lost("the keeper"),
    ] {
        let service = ServiceError::of_backend(&error, || panic!("not a fault of ours: {error}"));
        assert_eq!(service.fault(), error.fault(), "{error}");
    }
}

#[test]
fn a_broken_connection_is_told_from_an_answer() {
    let broken = Status::from_error(Box::new(std::io::Error::from(
        std::io::ErrorKind::ConnectionReset,
    )));
    let error = ApiError::from(broken);
    assert!(matches!(error, ApiError::Lost(_)), "{error:?}");
    assert_eq!(error.fault(), Fault::Transient);
    let answered = ApiError::from(Status::unknown("from a proxy"));
    assert!(matches!(answered, ApiError::Answer(_)), "{answered:?}");
}
