//! Each layer that PID 1 and the stub build, turned off alone: what it prevents must then be possible, or the tests
//! of the layer prove nothing. Needs the feature `control-arms`; without it there is nothing to turn off.
#![cfg(feature = "control-arms")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test")]

mod cell;

#[cfg(test)]
mod tests {
    use super::cell::{Ran, plan, run};
    use brig_jail::plan::{DisabledLayer, JailPlan};

    fn without(layers: &[DisabledLayer], script: &str) -> Ran {
        let mut plan = plan();
        plan.disabled = layers.to_vec();
        in_cell(&plan, script)
    }

    fn in_cell(plan: &JailPlan, script: &str) -> Ran {
        run(plan, &["/bin/sh", "-c", script])
    }

    #[test]
    fn seccomp_is_what_refuses_a_call_that_the_kernel_gives_everyone() {
        let script = "python3 -c 'import ctypes; print(ctypes.CDLL(None).personality(0xffffffff) >= 0)'; \
                      grep Seccomp: /proc/self/status";
        assert_eq!(without(&[], script).stdout, "False\nSeccomp:\t2\n");
        assert_eq!(
            without(&[DisabledLayer::Seccomp], script).stdout,
            "True\nSeccomp:\t0\n"
        );
    }

    #[test]
    fn landlock_is_what_hides_a_file_that_the_mounts_show() {
        let mut plan = plan();
        plan.landlock
            .read_execute
            .retain(|path| path != std::path::Path::new("/etc"));
        let script = "cat /etc/hosts 2>/dev/null | wc -l";
        assert_eq!(in_cell(&plan, script).stdout, "0\n");
        plan.disabled = vec![DisabledLayer::Landlock];
        assert_eq!(in_cell(&plan, script).stdout, "2\n");
    }

    #[test]
    fn the_read_only_root_is_what_refuses_to_write_the_image() {
        let script = "(echo x > /etc/new) 2>/dev/null && echo written";
        let landlock_off = [DisabledLayer::Landlock];
        assert_eq!(without(&landlock_off, script).stdout, "");
        let both = [DisabledLayer::Landlock, DisabledLayer::ReadOnlyRoot];
        assert_eq!(without(&both, script).stdout, "written\n");
    }

    #[test]
    fn capabilities_are_there_unless_they_are_dropped() {
        let script = "grep CapBnd /proc/self/status";
        assert_eq!(without(&[], script).stdout, "CapBnd:\t0000000000000000\n");
        assert_ne!(
            without(&[DisabledLayer::Capabilities], script).stdout,
            "CapBnd:\t0000000000000000\n"
        );
    }

    #[test]
    fn limits_of_resources_are_ours() {
        let script = "ulimit -c; ulimit -n";
        assert_eq!(without(&[], script).stdout, "0\n256\n");
        assert_ne!(without(&[DisabledLayer::Rlimits], script).stdout, "0\n256\n");
    }

    #[test]
    fn the_size_of_the_workspace_is_ours() {
        let script = "for i in 1 2 3 4 5 6; do head -c 4000000 /dev/zero > f$i || exit 1; done; echo fits";
        assert_eq!(without(&[], script).exit_code(), Some(1));
        assert_eq!(without(&[DisabledLayer::TmpfsLimits], script).stdout, "fits\n");
    }

    #[test]
    fn masks_are_what_hides_pid_1_and_the_hosts_command_line() {
        let script = "cat /proc/1/status 2>/dev/null | wc -l; cat /proc/cmdline | wc -c";
        assert_eq!(without(&[], script).stdout, "0\n0\n");
        let open = without(&[DisabledLayer::ProcMasks], script);
        let counts: Vec<u32> = open.stdout.lines().map(|line| line.parse().unwrap()).collect();
        assert!(counts.iter().all(|count| *count > 0), "{open:?}");
    }
}
