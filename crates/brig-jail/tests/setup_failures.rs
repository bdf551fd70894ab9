//! Breaks each stage of the set-up on purpose: the keeper must be told that stage, that item and that errno.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test")]

mod cell;

#[cfg(test)]
mod tests {
    use super::cell::{Init, plan};
    use brig_jail::control::{FromInit, PLAN_INLINE};
    use brig_jail::plan::{DisabledLayer, FilterInstruction, ImageEntry, JailPlan, PlanError};
    use brig_jail::stage::{SetupFailure, Stage};
    use nix::sys::socket::{MsgFlags, send};
    use std::os::fd::AsRawFd;

    fn failure(plan: &JailPlan) -> SetupFailure {
        match Init::start().build(plan) {
            Err(FromInit::Failed(failure)) => failure,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("the cell was built"),
        }
    }

    fn failed(stage: Stage, item: u16, errno: i32) -> SetupFailure {
        SetupFailure { stage, item, errno }
    }

    #[test]
    fn bytes_that_are_no_plan() {
        let init = Init::start();
        assert_eq!(init.hear().0, Some(FromInit::Forked));
        let nonsense = [PLAN_INLINE, b'{', b'}'];
        send(init.control.as_raw_fd(), &nonsense, MsgFlags::MSG_NOSIGNAL).unwrap();
        let expected = failed(Stage::Plan, PlanError::Malformed as u16, libc::EINVAL);
        assert_eq!(init.hear().0, Some(FromInit::Failed(expected)));
    }

    #[test]
    fn a_plan_that_turns_a_layer_off() {
        if cfg!(feature = "control-arms") {
            return;
        }
        let mut plan = plan();
        plan.disabled = vec![DisabledLayer::Seccomp];
        assert_eq!(
            failure(&plan),
            failed(Stage::Plan, PlanError::DisabledLayer as u16, libc::EINVAL)
        );
    }

    #[test]
    fn a_source_that_is_missing_is_told_by_its_index() {
        let mut plan = plan();
        let index = u16::try_from(plan.image.len()).unwrap();
        let entry = ImageEntry::ReadOnlyBind {
            source: "/no/such/source".into(),
            target: "/mnt".into(),
        };
        plan.image.push(entry);
        assert_eq!(failure(&plan), failed(Stage::Mount, index, libc::ENOENT));
    }

    #[test]
    fn a_target_that_cannot_be_made() {
        let mut plan = plan();
        let index = u16::try_from(plan.image.len()).unwrap();
        plan.image.push(ImageEntry::Directory {
            target: "/usr/new".into(),
        });
        assert_eq!(failure(&plan), failed(Stage::Mount, index, libc::EROFS));
    }

    #[test]
    fn a_landlock_path_that_is_missing() {
        let mut plan = plan();
        plan.landlock.read_execute.insert(0, "/no/such/path".into());
        assert_eq!(failure(&plan), failed(Stage::Files, 1, libc::ENOENT));
    }

    #[test]
    fn a_filter_that_the_kernel_refuses() {
        let mut plan = plan();
        let nonsense = FilterInstruction {
            code: 0xffff,
            jt: 0,
            jf: 0,
            k: 0,
        };
        plan.filters.allow_list = vec![nonsense];
        assert_eq!(failure(&plan), failed(Stage::Syscalls, 3, libc::EINVAL));
    }

    #[test]
    fn a_filter_that_kills_the_stub_is_told_although_the_stub_cannot_speak() {
        let mut plan = plan();
        let kill = FilterInstruction {
            code: 6,
            jt: 0,
            jf: 0,
            k: 0x8000_0000,
        };
        plan.filters.allow_list = vec![kill];
        assert_eq!(failure(&plan), failed(Stage::Syscalls, 9, libc::EPIPE));
    }

    #[test]
    fn a_host_name_that_the_kernel_would_refuse() {
        let mut plan = plan();
        plan.host_name = "x".repeat(65);
        assert_eq!(
            failure(&plan),
            failed(Stage::Plan, PlanError::HostName as u16, libc::EINVAL)
        );
    }

    #[test]
    fn a_tmpfs_of_size_zero_would_be_one_without_limit_and_is_refused() {
        let mut plan = plan();
        plan.shape.workspace_bytes = 0;
        assert_eq!(
            failure(&plan),
            failed(Stage::Plan, PlanError::Zero as u16, libc::EINVAL)
        );
    }

    #[test]
    fn a_plan_too_long_for_a_message_arrives_through_a_memfd() {
        let mut plan = plan();
        let content = "x".repeat(300 * 1024);
        plan.image.push(ImageEntry::File {
            target: "/etc/large".into(),
            content,
        });
        assert!(Init::start().build(&plan).is_ok());
    }

    #[test]
    fn a_keeper_that_dies_before_the_plan_leaves_nothing() {
        let mut init = Init::start();
        assert_eq!(init.hear().0, Some(FromInit::Forked));
        nix::sys::socket::shutdown(init.control.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
        assert!(!init.process.wait().unwrap().success());
    }
}
