//! Who may send how much: a window of [`WINDOW`] bytes for each channel and direction.
//!
//! A sender spends [`Credit`] and stops where it has none; the receiver keeps a [`Window`] and gives credit back as *its*
//! consumer takes the bytes. So whoever does not read holds up its own channel, in at most `WINDOW` bytes of memory, and
//! frames of control and of other channels pass.
//!
//! Credit comes back in portions of at least a quarter of the window. That cannot stall: a receiver whose consumer has
//! taken everything owes less than a quarter, so the sender has more than three quarters left.

use thiserror::Error;

/// Bytes of one channel and direction that may be under way.
pub const WINDOW: u32 = 256 * 1024;

/// Less than this is not worth a frame.
const PORTION: u32 = WINDOW / 4;

/// The other side does not keep to the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlowError {
    /// It sent more than it had credit for.
    #[error("more bytes than there was credit for")]
    Overrun,
    /// It gave back more credit than was spent.
    #[error("more credit than was spent")]
    Gift,
}

/// What a sender may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    left: u32,
}

impl Default for Credit {
    fn default() -> Self {
        Credit { left: WINDOW }
    }
}

impl Credit {
    /// So many bytes.
    pub fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(0)
    }

    /// They are sent.
    pub fn spend(&mut self, bytes: usize) -> Result<(), FlowError> {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.left.checked_sub(bytes));
        self.left = left.ok_or(FlowError::Overrun)?;
        Ok(())
    }

    /// The receiver gave some back.
    pub fn give(&mut self, bytes: u32) -> Result<(), FlowError> {
        let left = self.left.checked_add(bytes).filter(|left| *left <= WINDOW);
        self.left = left.ok_or(FlowError::Gift)?;
        Ok(())
    }
}

/// What a receiver holds and owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    held: u32,
    owed: u32,
}

impl Window {
    /// Bytes came.
    pub fn receive(&mut self, bytes: usize) -> Result<(), FlowError> {
        let held = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.held.checked_add(bytes));
        let fits = held.filter(|held| held.saturating_add(self.owed) <= WINDOW);
        self.held = fits.ok_or(FlowError::Overrun)?;
        Ok(())
    }

    /// The consumer took bytes (never more than came).
    pub fn consume(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.held);
        self.held -= bytes;
        self.owed += bytes;
    }

    /// Credit that is due, once: send it. 0: none yet.
    pub fn settle(&mut self) -> u32 {
        if self.owed < PORTION {
            return 0;
        }
        std::mem::take(&mut self.owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sender_stops_where_its_credit_ends_and_goes_on_when_some_came_back() {
        let mut credit = Credit::default();
        credit.spend(WINDOW as usize).unwrap();
        assert_eq!((credit.left(), credit.spend(1)), (0, Err(FlowError::Overrun)));
        credit.give(10).unwrap();
        assert_eq!(credit.left(), 10);
        assert_eq!(credit.give(WINDOW), Err(FlowError::Gift));
        assert_eq!(credit.give(u32::MAX), Err(FlowError::Gift));
    }

    #[test]
    fn a_receiver_holds_no_more_than_the_window() {
        let mut window = Window::default();
        window.receive(WINDOW as usize).unwrap();
        assert_eq!(window.receive(1), Err(FlowError::Overrun));
        window.consume(PORTION as usize - 1);
        assert_eq!(window.settle(), 0);
        // What was taken and not given back is not free yet.
        assert_eq!(window.receive(1), Err(FlowError::Overrun));
        window.consume(1);
        assert_eq!((window.settle(), window.settle()), (PORTION, 0));
        window.receive(PORTION as usize).unwrap();
        assert_eq!(window.receive(usize::MAX), Err(FlowError::Overrun));
    }

    proptest! {
        /// Sizes of what is sent and of what is taken, in turn: every byte arrives, and nobody breaks the rules.
        #[test]
        fn an_honest_pair_never_stalls(
            total in 0usize..2_000_000,
            sends in proptest::collection::vec(1usize..300_000, 1..8),
            takes in proptest::collection::vec(1usize..300_000, 1..8),
        ) {
            let (mut credit, mut window) = (Credit::default(), Window::default());
            let (mut left, mut held, mut turns) = (total, 0usize, 0usize);
            while left > 0 || held > 0 {
                let part = left.min(sends[turns % sends.len()]).min(credit.left());
                credit.spend(part).unwrap();
                window.receive(part).unwrap();
                left -= part;
                held += part;
                prop_assert!(held <= WINDOW as usize);
                let taken = held.min(takes[turns % takes.len()]);
                window.consume(taken);
                held -= taken;
                credit.give(window.settle()).unwrap();
                prop_assert!(part > 0 || taken > 0, "nothing moves");
                turns += 1;
            }
        }
    }
}
