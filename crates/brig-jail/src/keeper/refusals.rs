//! Refused system calls: taken from a cell's listener, counted, answered. Never let through, and never more than
//! one per turn of the loop and cell.

use crate::policy::is_known_call;
use crate::protocol::{REFUSED_CALLS_MAX, RefusedCall};
use crate::sys::parent as sys;
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Refusals that a cell may cause before the keeper stops listening to it.
const BUDGET: u32 = 4_096;

/// What became of the listener after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listening {
    /// More may come.
    On,
    /// The budget is used up or nobody uses the filter any more.
    Over,
}

/// The refusals of one cell.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    calls: [RefusedCall; REFUSED_CALLS_MAX],
    different: u8,
    truncated: bool,
    budget: u32,
}

impl Default for Refusals {
    fn default() -> Refusals {
        let none = RefusedCall { number: 0, count: 0 };
        Refusals {
            calls: [none; REFUSED_CALLS_MAX],
            different: 0,
            truncated: false,
            budget: BUDGET,
        }
    }
}

impl Refusals {
    /// Takes and answers one notification of a listener that is readable.
    pub(super) fn take_one(&mut self, listener: &OwnedFd) -> Listening {
        match sys::receive_notification(listener.as_fd()) {
            Ok(notification) => {
                let number = u32::try_from(notification.number).unwrap_or(u32::MAX);
                self.count(number);
                // ENOENT: the caller died while we counted; it needs no answer any more.
                sys::refuse_notification(listener.as_fd(), notification.id, answer(number)).ok();
                self.spend()
            }
            // The caller died between the report and our look.
            Err(Errno::ENOENT | Errno::EINTR | Errno::EAGAIN) => Listening::On,
            Err(_gone) => Listening::Over,
        }
    }

    fn spend(&mut self) -> Listening {
        self.budget = self.budget.saturating_sub(1);
        if self.budget == 0 {
            self.truncated = true;
            return Listening::Over;
        }
        Listening::On
    }

    fn count(&mut self, number: u32) {
        let used = usize::from(self.different);
        let known = self
            .calls
            .iter_mut()
            .take(used)
            .find(|call| call.number == number);
        if let Some(call) = known {
            call.count = call.count.saturating_add(1);
        } else if let Some(free) = self.calls.get_mut(used) {
            *free = RefusedCall { number, count: 1 };
            self.different += 1;
        } else {
            self.truncated = true;
        }
    }

    pub(super) fn calls(&self) -> ([RefusedCall; REFUSED_CALLS_MAX], u8) {
        (self.calls, self.different)
    }

    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }
}

/// Known calls are forbidden; unknown ones do not exist here, so that programs fall back to older ones.
fn answer(number: u32) -> Errno {
    if is_known_call(number) {
        Errno::EPERM
    } else {
        Errno::ENOSYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_calls_are_counted_together_and_too_many_kinds_are_marked() {
        let mut refusals = Refusals::default();
        for number in 0..20 {
            refusals.count(number);
            refusals.count(number);
        }
        let (calls, different) = refusals.calls();
        assert_eq!(usize::from(different), REFUSED_CALLS_MAX);
        assert!(calls.iter().all(|call| call.count == 2));
        assert!(refusals.truncated());
    }

    #[test]
    fn the_budget_ends_the_listening_and_is_told() {
        let mut refusals = Refusals::default();
        let last = (0..BUDGET).map(|_| refusals.spend()).last();
        assert_eq!(last, Some(Listening::Over));
        assert!(refusals.truncated());
    }

    #[test]
    fn known_calls_are_forbidden_and_unknown_ones_do_not_exist() {
        assert_eq!(answer(165), Errno::EPERM);
        assert_eq!(answer(400), Errno::ENOSYS);
        assert_eq!(answer(5_000), Errno::ENOSYS);
    }
}
