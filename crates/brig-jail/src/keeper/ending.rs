//! The end of a cell: its processes reaped, its end told, what it held freed.

use super::cell::{Cell, Phase, Purpose};
use super::clock::Moment;
use super::event_loop::Keeper;
use super::facts;
use super::progress::set_up;
use crate::protocol::{CellNumber, Reply};
use crate::remedy::item;
use crate::sys::parent::Reaped;
use nix::errno::Errno;

/// When to look again at a group that could not be removed.
const RETRY_NANOS: u64 = 2_000_000;

/// So long a removal makes room for moves of other cells.
const POLITE_NANOS: u64 = 200_000_000;

/// After this a group that cannot be removed is left to the next start of the keeper.
const GIVE_UP_NANOS: u64 = 2_000_000_000;

impl Keeper<'_> {
    /// A child of the keeper is reaped.
    pub(super) fn child_is_reaped(&mut self, reaped: Reaped) {
        let owner = |cell: &&mut Cell| {
            cell.launcher == Some(reaped.pid)
                || cell.init.as_ref().is_some_and(|(pid, _)| *pid == reaped.pid)
                || cell.helpers.contains(&reaped.pid)
        };
        // Nobody's: a clone whose P died before it could tell its pid.
        let Some(cell) = self.cells.values_mut().find(owner) else {
            return;
        };
        let number = cell.number;
        if cell.launcher == Some(reaped.pid) {
            cell.launcher = None;
        } else if cell.helpers.contains(&reaped.pid) {
            cell.helpers.retain(|helper| *helper != reaped.pid);
        } else {
            cell.init = None;
            cell.reaped = Some(reaped);
            return self.init_is_reaped(number);
        }
        self.try_to_forget(number);
    }

    /// PID 1 is gone, and with it its whole pid namespace. What it said last may still be in the socket.
    fn init_is_reaped(&mut self, number: CellNumber) {
        for _ in 0..4 {
            self.hear_init(number);
        }
        let Some(cell) = self.cells.get(&number) else {
            return;
        };
        if let Phase::Building(_) = cell.phase {
            self.set_up_failed(number, set_up(item::INIT_DIED, Errno::ECHILD));
        }
        self.try_to_end(number);
        self.try_to_forget(number);
    }

    /// Tells the end of a cell when no process of it is left.
    pub(super) fn try_to_end(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        // PID 1 says so before it ends itself: that takes long, because the files of the cell are freed with it.
        let over = cell.reaped.is_some() || cell.ended.is_some();
        if !over || matches!(cell.phase, Phase::Dead) {
            return;
        }
        if cell.is_populated() {
            // Not a process of the pid namespace, which is empty: one that was between fork and its first step.
            if let Some(groups) = &cell.groups {
                groups.kill();
            }
            cell.retry = Some(Moment::now().plus(RETRY_NANOS));
            return;
        }
        let facts = facts::gather(cell);
        cell.phase = Phase::Dead;
        let listener = cell.listener.take();
        if let Some(listener) = &listener {
            self.unwatch(listener);
        }
        let mine = self.cells.get(&number).map(|cell| cell.purpose);
        match mine {
            Some(Purpose::Opened) => self.outbox.push(Reply::Ended { cell: number, facts }, Vec::new()),
            Some(Purpose::Spare) => {
                // A spare that dies by itself would be replaced for ever.
                self.spares_paused = true;
                return self.discard(number);
            }
            Some(Purpose::Request(_) | Purpose::Probe(_) | Purpose::Discarded) | None => {}
        }
        self.try_to_forget(number);
    }

    /// Frees what a released cell still holds, when all of its processes are gone.
    pub(super) fn try_to_forget(&mut self, number: CellNumber) {
        let moving = self.cells.values().any(Cell::is_moving);
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        let Some(since) = cell.release else { return };
        if !cell.is_childless() || (cell.reaped.is_some() && !matches!(cell.phase, Phase::Dead)) {
            return;
        }
        let now = Moment::now();
        // A removal would wait for a move that is under way, up to 15 ms, and the whole loop with it.
        let removed = match &cell.groups {
            Some(_) if moving && now.since(since) < POLITE_NANOS => false,
            Some(groups) => groups.remove().is_ok(),
            None => true,
        };
        if !removed && now.since(since) < GIVE_UP_NANOS {
            // A clone that nobody knows may still be on its way out of the group.
            cell.retry = Some(now.plus(RETRY_NANOS));
            return;
        }
        let Some(cell) = self.cells.remove(&number) else {
            return;
        };
        self.unwatch(&cell.control);
        if let Phase::Building(building) = &cell.phase {
            self.unwatch(&building.report);
        }
        if cell.purpose == Purpose::Opened {
            self.files_wanted = cell.files_used;
            self.outbox.push(Reply::Released { cell: number }, Vec::new());
        }
        self.refill_spares();
    }
}
