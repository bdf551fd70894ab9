use super::*;
use crate::stage::Stage;
use proptest::prelude::*;

prop_compose! {
    fn any_limits()(
        sizes in any::<[u64; 6]>(),
        counts in any::<[u32; 5]>(),
    ) -> CellLimits {
        let [memory_bytes, workspace_bytes, tmp_bytes, shm_bytes, file_size_bytes, cpu_time_nanos] = sizes;
        let [processes, cpu_millis, workspace_files, tmp_files, open_files] = counts;
        CellLimits {
            memory_bytes, processes, cpu_millis, workspace_bytes, workspace_files, tmp_bytes, tmp_files,
            shm_bytes, file_size_bytes, open_files, cpu_time_nanos,
        }
    }
}

prop_compose! {
    fn any_failure()(stage in prop::sample::select(Stage::ALL.to_vec()), item: u16, errno: i32) -> SetupFailure {
        SetupFailure { stage, item, errno }
    }
}

fn any_reason() -> impl Strategy<Value = KillReason> {
    use KillReason::{Abandoned, Cancelled, CpuTime, Lease, OutputLimit, WallTime};
    prop::sample::select(vec![Cancelled, OutputLimit, WallTime, CpuTime, Lease, Abandoned])
}

fn any_main() -> impl Strategy<Value = MainExit> {
    prop_oneof![
        any::<u8>().prop_map(MainExit::Exited),
        any::<u8>().prop_map(MainExit::Signalled),
        Just(MainExit::Unknown),
        any_failure().prop_map(MainExit::Setup),
    ]
}

prop_compose! {
    fn any_facts()(
        main in any_main(),
        killed in prop::option::of(any_reason()),
        times in any::<[u64; 4]>(),
        counts in any::<[u32; 4]>(),
        refused in any::<[(u32, u32); REFUSED_CALLS_MAX]>(),
        refused_len: u8,
        refused_truncated: bool,
    ) -> CellFacts {
        let [wall_nanos, cpu_nanos, cpu_throttled_nanos, memory_peak_bytes] = times;
        let [processes_peak, oom_kills, forks_refused, leftovers_killed] = counts;
        CellFacts {
            main, killed, wall_nanos, cpu_nanos, cpu_throttled_nanos, memory_peak_bytes, processes_peak,
            oom_kills, forks_refused, leftovers_killed,
            refused: refused.map(|(number, count)| RefusedCall { number, count }),
            refused_len, refused_truncated,
        }
    }
}

prop_compose! {
    fn any_receipt()(
        level in prop::sample::select(vec![Level::Strict, Level::Workstation]),
        uid_kind in prop::sample::select(vec![UidKind::Own, UidKind::RootRange, UidKind::Subordinate]),
        cgroup in prop::sample::select(vec![CgroupKind::None, CgroupKind::V1, CgroupKind::V2, CgroupKind::Hybrid]),
        landlock in prop::sample::select(vec![LayerState::Active, LayerState::Missing, LayerState::Partial]),
        numbers in any::<(u32, u32, u8, u8, u16)>(),
        filter_digest: [u8; 16],
        flags in any::<[bool; 4]>(),
    ) -> CellReceipt {
        let (namespaces, uid, controllers, landlock_abi, allowed_calls) = numbers;
        let [refusals_reported, own_proc, init_class_raised, prepared] = flags;
        CellReceipt {
            level, namespaces, uid, uid_kind, cgroup, controllers, landlock_abi, landlock, allowed_calls,
            filter_digest, refusals_reported, own_proc, init_class_raised, prepared,
        }
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    let level = prop::sample::select(vec![Level::Strict, Level::Workstation]);
    prop_oneof![
        (any::<u64>(), any::<[u8; 32]>(), level, any_limits()).prop_map(|(request, image, level, limits)| {
            Request::Open {
                request,
                image: ImageDigest(image),
                level,
                network: Network::None,
                limits,
            }
        }),
        any::<[u64; 4]>().prop_map(
            |[cell, wall_nanos, cpu_nanos, lease_until_nanos]| Request::Start {
                cell,
                wall_nanos,
                cpu_nanos,
                lease_until_nanos
            }
        ),
        any::<[u64; 2]>().prop_map(|[cell, lease_until_nanos]| Request::Renew {
            cell,
            lease_until_nanos
        }),
        (any::<u64>(), any_reason()).prop_map(|(cell, reason)| Request::Kill { cell, reason }),
        any::<[u64; 2]>().prop_map(|[request, cell]| Request::OpenFiles { request, cell }),
        any::<u64>().prop_map(|cell| Request::Release { cell }),
        any::<u64>().prop_map(|request| Request::Probe { request }),
        Just(Request::Drain),
    ]
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let failures = (prop::option::of(any_failure()), prop::option::of(any_failure()));
    prop_oneof![
        (any::<u64>(), any::<u64>(), any_receipt()).prop_map(|(request, cell, receipt)| Reply::Opened {
            request,
            cell,
            receipt
        }),
        any::<[u64; 2]>().prop_map(|[request, cell]| Reply::FilesOpened { request, cell }),
        (any::<u64>(), any_failure()).prop_map(|(request, failure)| Reply::Failed { request, failure }),
        (any::<u64>(), any_facts()).prop_map(|(cell, facts)| Reply::Ended { cell, facts }),
        any::<u64>().prop_map(|cell| Reply::Released { cell }),
        (any::<u64>(), any_receipt(), failures).prop_map(|(request, receipt, (strict, workstation))| {
            Reply::Probed {
                request,
                receipt,
                strict,
                workstation,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn a_request_survives_its_encoding(request in any_request()) {
        prop_assert_eq!(Request::decode(&request.encode()), Some(request));
    }

    #[test]
    fn a_reply_survives_its_encoding(reply in any_reply()) {
        prop_assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }

    #[test]
    fn any_bytes_give_a_record_with_exactly_these_bytes_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(request) = Request::decode(&bytes) {
            prop_assert_eq!(&request.encode()[..], &bytes[..]);
        }
        if let Some(reply) = Reply::decode(&bytes) {
            prop_assert_eq!(&reply.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn a_damaged_request_is_read_canonically_or_not_at_all(request in any_request(), at in 0..REQUEST_BYTES, value: u8) {
        let mut record = request.encode();
        record[at] = value;
        if let Some(read) = Request::decode(&record) {
            prop_assert_eq!(read.encode(), record);
        }
    }

    #[test]
    fn a_damaged_reply_is_read_canonically_or_not_at_all(reply in any_reply(), at in 0..REPLY_BYTES, value: u8) {
        let mut record = reply.encode();
        record[at] = value;
        if let Some(read) = Reply::decode(&record) {
            prop_assert_eq!(read.encode(), record);
        }
    }
}

#[test]
fn a_record_of_another_length_is_refused() {
    let record = Request::Drain.encode();
    assert_eq!(Request::decode(&record[..REQUEST_BYTES - 1]), None);
    assert_eq!(Request::decode(&[]), None);
}
