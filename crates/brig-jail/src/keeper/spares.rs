//! Prepared cells. They are made for the wishes of the last request, and never while a request waits: making one
//! competes with the job for the processors.

use super::cell::{Cell, CellKind, Phase, Purpose};
use super::event_loop::Keeper;
use crate::protocol::CellNumber;

impl Keeper<'_> {
    /// A spare of this kind that is complete.
    pub(super) fn ready_spare(&self, kind: CellKind) -> Option<CellNumber> {
        let ready = |cell: &&Cell| {
            cell.purpose == Purpose::Spare && cell.kind == kind && matches!(cell.phase, Phase::Idle)
        };
        self.cells.values().find(ready).map(|cell| cell.number)
    }

    /// A spare of this kind that is being built.
    pub(super) fn unfinished_spare(&mut self, kind: CellKind) -> Option<&mut Cell> {
        let building = |cell: &&mut Cell| {
            cell.purpose == Purpose::Spare
                && cell.kind == kind
                && cell.killed.is_none()
                && matches!(cell.phase, Phase::Building(_))
        };
        self.cells.values_mut().find(building)
    }

    fn spares(&self) -> impl Iterator<Item = &Cell> {
        self.cells.values().filter(|cell| cell.purpose == Purpose::Spare)
    }

    /// A spare never takes the place of a cell that somebody waits for.
    pub(super) fn make_room(&mut self) {
        if self.cells.len() < self.config.max_cells {
            return;
        }
        let spare = self.spares().next().map(|cell| cell.number);
        if let Some(spare) = spare {
            self.discard(spare);
        }
    }

    /// At the start: the spares, or the one cell that an embedded run says it will ask for. That one is not
    /// replaced, since no second job comes.
    pub(super) fn prewarm(&mut self) {
        match self.wishes {
            Some((image, level, limits)) if self.config.spares == 0 => {
                let limits = limits.clamped_to(&self.config.ceilings);
                // What is wrong with it is told to the request that asks for the same.
                self.build(Purpose::Spare, (image, level, limits)).ok();
            }
            Some(_) | None => self.refill_spares(),
        }
    }

    /// After a job has ended: as many spares as configured, of the kind that was asked for last.
    pub(super) fn refill_spares(&mut self) {
        let Some((image, level, limits)) = self.wishes else {
            return;
        };
        if self.draining || self.spares_paused {
            return;
        }
        let limits = limits.clamped_to(&self.config.ceilings);
        let kind = self.host.kind(self.config, image, &limits);
        let outdated: Vec<CellNumber> = self
            .spares()
            .filter(|cell| cell.kind != kind)
            .map(|cell| cell.number)
            .collect();
        let missing = self
            .config
            .spares
            .saturating_sub(self.spares().count() - outdated.len());
        for spare in outdated {
            self.discard(spare);
        }
        for _ in 0..missing {
            if self.cells.len() + 1 >= self.config.max_cells
                || self.build(Purpose::Spare, (image, level, limits)).is_err()
            {
                return;
            }
        }
    }
}
