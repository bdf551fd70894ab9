//! Where the set-up of a cell failed: *(stage, item, errno)*, in a fixed encoding.
//!
//! The record crosses from `brig-jail-init` to the keeper and from the keeper to the daemon. It is fixed-size
//! on purpose: no text and no length ever comes out of a cell before its program runs.

use std::fmt;

/// A step of building a cell, in the order in which the steps happen. Discriminants are part of the wire: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Stage {
    /// The keeper's request itself: unknown image, level that the host cannot give, no free slot.
    Request = 1,
    /// The cell's control groups.
    Cgroup = 2,
    /// Cloning PID 1 into its namespaces.
    Clone = 3,
    /// Writing the one-line id maps.
    IdMap = 4,
    /// Receiving the plan.
    Plan = 5,
    /// Private mounts, image, pivot, masks.
    Mount = 6,
    /// Loopback interface, host name, limits of the namespaces.
    Namespace = 7,
    /// Resource limits.
    Rlimit = 8,
    /// User id, groups, capabilities, securebits, `no_new_privs`.
    Identity = 9,
    /// Landlock.
    Files = 10,
    /// Seccomp and the notification listener.
    Syscalls = 11,
    /// Pipes and sockets between the cell and the daemon.
    Channels = 12,
    /// Receiving the program to start.
    Spec = 13,
    /// `execve` of the program.
    Exec = 14,
    /// The enter-helper.
    Enter = 15,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 15] = [
        Stage::Request,
        Stage::Cgroup,
        Stage::Clone,
        Stage::IdMap,
        Stage::Plan,
        Stage::Mount,
        Stage::Namespace,
        Stage::Rlimit,
        Stage::Identity,
        Stage::Files,
        Stage::Syscalls,
        Stage::Channels,
        Stage::Spec,
        Stage::Exec,
        Stage::Enter,
    ];

    /// The stage with this wire number.
    pub fn from_wire(number: u8) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| *stage as u8 == number)
    }

    /// The word for this stage in errors and receipts.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Request => "request",
            Stage::Cgroup => "cgroup",
            Stage::Clone => "clone",
            Stage::IdMap => "id_map",
            Stage::Plan => "plan",
            Stage::Mount => "mount",
            Stage::Namespace => "namespace",
            Stage::Rlimit => "rlimit",
            Stage::Identity => "identity",
            Stage::Files => "files",
            Stage::Syscalls => "syscalls",
            Stage::Channels => "channels",
            Stage::Spec => "spec",
            Stage::Exec => "exec",
            Stage::Enter => "enter",
        }
    }
}

/// What failed while a cell was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetupFailure {
    /// The step.
    pub stage: Stage,
    /// Which item of that step (the index in the plan's list; 0 where the step has one item).
    pub item: u16,
    /// The kernel's error number; 0 when none applies.
    pub errno: i32,
}

/// Bytes of an encoded [`SetupFailure`].
pub const SETUP_FAILURE_BYTES: usize = 7;

impl SetupFailure {
    /// The fixed encoding: stage, item and errno, little-endian.
    pub fn encode(self) -> [u8; SETUP_FAILURE_BYTES] {
        let item = self.item.to_le_bytes();
        let errno = self.errno.to_le_bytes();
        [
            self.stage as u8,
            item[0],
            item[1],
            errno[0],
            errno[1],
            errno[2],
            errno[3],
        ]
    }

    /// Reads the fixed encoding; an unknown stage is `None`.
    pub fn decode(bytes: [u8; SETUP_FAILURE_BYTES]) -> Option<SetupFailure> {
        let [stage, item_low, item_high, e0, e1, e2, e3] = bytes;
        Some(SetupFailure {
            stage: Stage::from_wire(stage)?,
            item: u16::from_le_bytes([item_low, item_high]),
            errno: i32::from_le_bytes([e0, e1, e2, e3]),
        })
    }
}

impl fmt::Display for SetupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stage {}, item {}: {}",
            self.stage.word(),
            self.item,
            std::io::Error::from_raw_os_error(self.errno)
        )
    }
}

impl std::error::Error for SetupFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_above_63_survives_the_encoding() {
        let failure = SetupFailure {
            stage: Stage::Mount,
            item: 4,
            errno: 95,
        };
        assert_eq!(SetupFailure::decode(failure.encode()), Some(failure));
    }

    #[test]
    fn an_unknown_stage_is_not_decoded() {
        assert_eq!(SetupFailure::decode([0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(SetupFailure::decode([200, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn every_stage_has_its_own_number_and_word() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_wire(stage as u8), Some(stage));
            assert_eq!(
                Stage::ALL
                    .into_iter()
                    .filter(|other| other.word() == stage.word())
                    .count(),
                1
            );
        }
    }
}
