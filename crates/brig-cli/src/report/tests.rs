//! The shape of the object, word for word.

use super::base64::base64;
use super::*;
use brig_core::exit::RefusedCall;
use brig_core::id::FileId;
use brig_core::outcome::{
    CollectedFile, Exception, Failure, Flags, Frame, SkippedFile, StreamSummary, TimeLimit, Usage, Verdict,
};
use brig_core::receipt::{Layer, LayerState, Receipt};
use serde_json::{Value, json};
use std::time::Duration;

fn outcome(verdict: Verdict) -> Outcome {
    Outcome {
        verdict,
        exception: None,
        value: Some("42".into()),
        stdout: StreamSummary {
            produced_bytes: 9,
            kept_bytes: 4,
        },
        stderr: StreamSummary::default(),
        usage: Usage {
            wall: Duration::from_micros(12_345),
            cpu: Duration::from_millis(9),
            queue: Duration::ZERO,
            memory_peak_bytes: Some(1_000),
            processes_peak: None,
        },
        flags: Flags {
            process_limit_hit: true,
            ..Flags::default()
        },
        refused_calls: vec![RefusedCall {
            name: "mount".into(),
            count: 2,
        }],
        files: vec![CollectedFile {
            path: "a.png".into(),
            file: FileId::from_bytes([1; 16]),
            size: 3,
        }],
        skipped_files: vec![SkippedFile {
            path: "b".into(),
            reason: "not a regular file".into(),
        }],
        hints: vec!["raise it".into()],
        receipt: Receipt {
            backend: "jail".into(),
            level: "strict".into(),
            image: "host".into(),
            cell: "prepared".into(),
            layers: vec![
                Layer {
                    name: "seccomp".into(),
                    state: LayerState::Active,
                    detail: "150 calls".into(),
                },
                Layer {
                    name: "cgroup".into(),
                    state: LayerState::Missing,
                    detail: "not delegated".into(),
                },
            ],
        },
    }
}

fn report(result: &JobResult, state: &str, stdout: &[u8]) -> Value {
    let output = KeptOutput {
        stdout: stdout.to_vec(),
        stderr: Vec::new(),
        gap_at: Some((2, 0)),
    };
    let saved = BTreeMap::from([("a.png".to_owned(), "out/a.png".to_owned())]);
    let ended = Ended {
        id: JobId::from_bytes([7; 16]),
        state,
        result,
        output: &output,
        saved: &saved,
    };
    serde_json::to_value(JobReport::new(&ended)).unwrap()
}

fn ran(verdict: Verdict) -> Value {
    report(&JobResult::Ran(Box::new(outcome(verdict))), "finished", b"text")
}

#[test]
fn the_whole_object_has_this_shape() {
    let expected = json!({
        "id": "07070707-0707-0707-0707-070707070707",
        "state": "finished",
        "verdict": {
            "kind": "exited", "code": 3, "signal": null, "signal_name": null, "limit": null, "call": null
        },
        "exception": null,
        "value": "42",
        "stdout": "text",
        "stderr": "",
        "truncated": true,
        "output": {
            "stdout": {"produced_bytes": 9, "kept_bytes": 4, "truncated": true, "gap_at": 2},
            "stderr": {"produced_bytes": 0, "kept_bytes": 0, "truncated": false, "gap_at": null}
        },
        "usage": {
            "wall_ms": 12.345, "cpu_ms": 9.0, "queue_ms": 0.0, "memory_peak_bytes": 1000, "processes_peak": null
        },
        "flags": {
            "process_limit_hit": true, "children_out_of_memory": 0, "leftover_processes_killed": 0,
            "refused_calls_truncated": false
        },
        "refused_calls": [{"name": "mount", "count": 2}],
        "files": [{
            "path": "a.png", "size": 3, "file_id": "01010101-0101-0101-0101-010101010101", "saved_as": "out/a.png"
        }],
        "skipped_files": [{"path": "b", "reason": "not a regular file"}],
        "hints": ["raise it"],
        "failure": null,
        "receipt": {
            "backend": "jail", "level": "strict", "image": "host", "cell": "prepared",
            "layers": [
                {"name": "seccomp", "active": true, "state": "active", "detail": "150 calls"},
                {"name": "cgroup", "active": false, "state": "missing", "detail": "not delegated"}
            ]
        }
    });
    assert_eq!(ran(Verdict::Exited { code: 3 }), expected);
}

#[test]
fn every_verdict_says_what_it_has_to_say() {
    let verdict = |verdict| ran(verdict)["verdict"].clone();
    assert_eq!(verdict(Verdict::Signalled { signal: 11 })["signal"], 11);
    assert_eq!(
        verdict(Verdict::Signalled { signal: 11 })["signal_name"],
        "SIGSEGV"
    );
    assert_eq!(
        verdict(Verdict::TimedOut {
            limit: TimeLimit::Wall
        })["limit"],
        "wall"
    );
    assert_eq!(
        verdict(Verdict::TimedOut {
            limit: TimeLimit::Cpu
        })["limit"],
        "cpu"
    );
    assert_eq!(verdict(Verdict::OutOfMemory)["limit"], "memory");
    assert_eq!(verdict(Verdict::OutputLimit)["limit"], "output");
    assert_eq!(verdict(Verdict::DiskLimit)["limit"], "file_size");
    assert_eq!(verdict(Verdict::RefusedCall { name: "x".into() })["call"], "x");
}

#[test]
fn an_exception_is_structured() {
    let mut outcome = outcome(Verdict::Exited { code: 1 });
    outcome.exception = Some(Exception {
        name: "ValueError".into(),
        message: "no".into(),
        frames: vec![Frame {
            file: "a.py".into(),
            line: 2,
            function: "f".into(),
        }],
        traceback: "Traceback".into(),
    });
    let exception = report(&JobResult::Ran(Box::new(outcome)), "finished", b"")["exception"].clone();
    let expected = json!({
        "name": "ValueError", "message": "no", "traceback": "Traceback",
        "frames": [{"file": "a.py", "line": 2, "function": "f"}]
    });
    assert_eq!(exception, expected);
}

#[test]
fn a_failure_is_told_with_its_remedy() {
    let failure = Failure::SetupError {
        stage: "clone".into(),
        item: "user namespace".into(),
        errno: 1,
        remedy: "sysctl -w x=0".into(),
    };
    let object = report(&JobResult::Failed(failure), "failed", b"");
    assert_eq!(object["verdict"]["kind"], "setup_error");
    assert_eq!(object["failure"]["stage"], "clone");
    assert_eq!(object["failure"]["remedy"], "sysctl -w x=0");
    assert_eq!(object["receipt"], Value::Null);
    assert_eq!(object["usage"]["memory_peak_bytes"], Value::Null);
}

#[test]
fn a_job_cancelled_in_the_queue_has_the_same_fields() {
    let object = report(&JobResult::CancelledInQueue, "cancelled", b"");
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&object), fields(&ran(Verdict::Cancelled)));
    assert_eq!(object["verdict"]["kind"], "cancelled");
}

#[test]
fn bytes_that_are_no_text_are_there_exactly() {
    let object = report(&JobResult::CancelledInQueue, "cancelled", b"a\xff\x00");
    assert_eq!(object["stdout"], "a\u{fffd}\0");
    assert_eq!(object["stdout_base64"], "Yf8A");
    assert_eq!(object.get("stderr_base64"), None);
}

#[test]
fn base64_is_the_usual_one() {
    let table = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
    ];
    for (bytes, text) in table {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}
