//! What the daemon may ask for.

use super::cell::{Cell, Deadlines, Making, Phase, Purpose};
use super::clock::Moment;
use super::event_loop::{Keeper, Source};
use super::host::{Host, Prepared};
use crate::launch::{Template, launch};
use crate::protocol::{
    CellLimits, CellNumber, ImageDigest, KillReason, Level, Network, Reply, Request, RequestNumber,
};
use crate::remedy::item;
use crate::stage::{SetupFailure, Stage};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

pub(super) fn refusal(item: u16, errno: Errno) -> SetupFailure {
    SetupFailure {
        stage: Stage::Request,
        item,
        errno: errno as i32,
    }
}

fn in_stage(stage: Stage, item: u16) -> impl Fn(Errno) -> SetupFailure {
    move |errno| SetupFailure {
        stage,
        item,
        errno: errno as i32,
    }
}

/// A time that a request names, clamped. 0 asks for none, and there is always one.
fn at_most(nanos: u64, ceiling: u64) -> u64 {
    if nanos == 0 { ceiling } else { nanos.min(ceiling) }
}

/// The same for a moment: at most so far from now.
fn lease_end(named_nanos: u64, ceiling: u64) -> Moment {
    let latest = Moment::now().plus(ceiling);
    if named_nanos == 0 {
        latest
    } else {
        latest.min(Moment::named(named_nanos))
    }
}

impl Keeper<'_> {
    pub(super) fn carry_out(&mut self, request: Request) {
        match request {
            Request::Open {
                request,
                image,
                level,
                network,
                limits,
            } => {
                let Network::None = network;
                if let Err(failure) = self.open(request, (image, level, limits)) {
                    self.outbox.push(Reply::Failed { request, failure }, Vec::new());
                }
            }
            Request::Start {
                cell,
                wall_nanos,
                cpu_nanos,
                lease_until_nanos,
            } => {
                let config = self.config;
                if let Some(cell) = self.opened(cell).filter(|cell| matches!(cell.phase, Phase::Idle)) {
                    cell.start(Deadlines {
                        wall_nanos: at_most(wall_nanos, config.wall_ceiling_nanos),
                        cpu_nanos: at_most(cpu_nanos, config.ceilings.cpu_time_nanos),
                        lease_until: lease_end(lease_until_nanos, config.lease_ceiling_nanos),
                    });
                }
            }
            Request::Renew {
                cell,
                lease_until_nanos,
            } => {
                let ceiling = self.config.lease_ceiling_nanos;
                if let Some(cell) = self.opened(cell) {
                    cell.renew(lease_end(lease_until_nanos, ceiling));
                }
            }
            Request::Kill { cell, reason } => {
                if let Some(cell) = self
                    .opened(cell)
                    .filter(|cell| !matches!(cell.phase, Phase::Dead))
                {
                    cell.kill(reason);
                }
            }
            Request::OpenFiles { request, cell } => self.open_files(request, cell),
            Request::Release { cell } => {
                if self.opened(cell).is_some() {
                    self.release(cell);
                }
            }
            Request::Probe { request } => self.probe(request),
            Request::Drain => self.drain(),
        }
    }

    /// A cell that belongs to the daemon. Spares and cells that are being built are not its business.
    fn opened(&mut self, cell: CellNumber) -> Option<&mut Cell> {
        self.cells
            .get_mut(&cell)
            .filter(|cell| cell.purpose == Purpose::Opened)
    }

    fn open(
        &mut self,
        request: RequestNumber,
        wishes: (ImageDigest, Level, CellLimits),
    ) -> Result<(), SetupFailure> {
        let (image, level, limits) = wishes;
        if self.draining {
            return Err(refusal(item::DRAINING, Errno::ESHUTDOWN));
        }
        let level = level.at_least(self.config.minimum_level);
        if let Some(obstacle) = self.host.obstacle(self.config, level) {
            return Err(obstacle);
        }
        // Before anything is made for it, and before spares are given up for it.
        drop(Host::image_root(self.config, image)?);
        let limits = limits.clamped_to(&self.config.ceilings);
        self.wishes = Some((image, level, limits));
        let kind = self.host.kind(self.config, image, &limits);
        if let Some(spare) = self.ready_spare(kind) {
            return self.hand_over(spare, request, (level, limits, Prepared::Before));
        }
        if let Some(spare) = self.unfinished_spare(kind) {
            spare.purpose = Purpose::Request(request);
            spare.level = level;
            spare.wanted = limits;
            return Ok(());
        }
        self.make_room();
        self.build(Purpose::Request(request), (image, level, limits))
            .map(drop)
    }

    /// Gives a complete cell to the daemon, with the limits of this request.
    pub(super) fn hand_over(
        &mut self,
        number: CellNumber,
        request: RequestNumber,
        (level, limits, prepared): (Level, CellLimits, Prepared),
    ) -> Result<(), SetupFailure> {
        let no_cell = refusal(item::NO_SUCH_CELL, Errno::ENOENT);
        let cell = self.cells.get_mut(&number).ok_or(no_cell)?;
        // A cell that was built for this very request has its limits already.
        let limited = match &cell.groups {
            Some(groups) if cell.limits != limits => groups.limit(&limits),
            Some(_) | None => Ok(()),
        };
        if let Err(errno) = limited {
            self.release(number);
            return Err(in_stage(Stage::Cgroup, item::CGROUP_LIMIT)(errno));
        }
        cell.level = level;
        cell.limits = limits;
        cell.purpose = Purpose::Opened;
        cell.idle_deadline = Some(Moment::now().plus(self.config.wall_ceiling_nanos));
        cell.raise_class();
        let descriptors = std::mem::take(&mut cell.daemon_ends);
        let Some(cell) = self.cells.get(&number) else {
            return Err(no_cell);
        };
        let receipt = self.host.receipt(self.config, cell, prepared);
        self.spares_paused = false;
        self.outbox.push(
            Reply::Opened {
                request,
                cell: number,
                receipt,
            },
            descriptors,
        );
        Ok(())
    }

    /// Starts to build a cell.
    pub(super) fn build(
        &mut self,
        purpose: Purpose,
        (image, level, limits): (ImageDigest, Level, CellLimits),
    ) -> Result<CellNumber, SetupFailure> {
        if self.cells.len() >= self.config.max_cells {
            return Err(refusal(item::TOO_MANY_CELLS, Errno::EAGAIN));
        }
        let root = Host::image_root(self.config, image)?;
        let cells = &self.cells;
        let outer = match &mut self.host.outer {
            Ok(outer) => outer,
            Err(failure) => return Err(*failure),
        };
        let slot = outer
            .free_slot(|slot| cells.values().any(|cell| cell.slot == slot))
            .ok_or(in_stage(Stage::IdMap, item::NO_FREE_ID)(Errno::EAGAIN))?;
        let number = self.next_number;
        let groups = self.host.cgroups.as_ref().map(|host| host.cell(number));
        let template = Template {
            groups: groups.as_ref(),
            limits: &limits,
            outer: outer.namespace().as_fd(),
            image: root.as_ref().map(OwnedFd::as_fd),
            uid_kind: outer.kind(),
            slot,
            init: self.host.init.as_fd(),
            namespaces: Host::namespaces(self.config),
        };
        let launched = launch(&template).map_err(in_stage(Stage::Clone, item::HELPER))?;
        let kind = self.host.kind(self.config, image, &limits);
        self.next_number += 1;
        let watched = self
            .watch(Source::Report, number, &launched.report)
            .and_then(|()| self.watch(Source::Control, number, &launched.control));
        let making = Making {
            number,
            kind,
            level,
            limits,
            purpose,
            slot,
            groups,
        };
        self.cells.insert(number, Cell::new(making, launched));
        watched.map(|()| number).map_err(|errno| {
            self.discard(number);
            in_stage(Stage::Clone, item::HELPER)(errno)
        })
    }

    /// Answers at once where the host cannot do it at all, else builds (or finds) a cell and tells what it is.
    fn probe(&mut self, request: RequestNumber) {
        if let Some(failure) = self.host.obstacle(self.config, Level::Workstation) {
            return self.answer_probe(request, None, Some(failure));
        }
        let level = self.best_level();
        let limits = CellLimits::DEFAULT.clamped_to(&self.config.ceilings);
        let kind = self.host.kind(self.config, ImageDigest::HOST, &limits);
        if let Some(spare) = self.ready_spare(kind) {
            return self.answer_probe(request, Some(spare), None);
        }
        self.make_room();
        if let Err(failure) = self.build(Purpose::Probe(request), (ImageDigest::HOST, level, limits)) {
            self.answer_probe(request, None, Some(failure));
        }
    }

    fn best_level(&self) -> Level {
        let strict = self.host.obstacle(self.config, Level::Strict).is_none();
        if strict { Level::Strict } else { Level::Workstation }
    }

    /// Tells what was found: a cell, or what failed.
    pub(super) fn answer_probe(
        &mut self,
        request: RequestNumber,
        cell: Option<CellNumber>,
        failure: Option<SetupFailure>,
    ) {
        let level = self.best_level();
        if let Some(cell) = cell.and_then(|number| self.cells.get_mut(&number)) {
            cell.raise_class();
        }
        let found = cell.and_then(|number| self.cells.get(&number));
        let mut receipt = match found {
            Some(cell) => self.host.receipt(self.config, cell, Prepared::OnDemand),
            None => self.host.bare_receipt(self.config, level),
        };
        receipt.level = level;
        let strict = failure.or_else(|| self.host.obstacle(self.config, Level::Strict));
        self.outbox.push(
            Reply::Probed {
                request,
                receipt,
                strict,
                workstation: failure,
            },
            Vec::new(),
        );
    }

    fn drain(&mut self) {
        self.draining = true;
        let spares: Vec<CellNumber> = self
            .cells
            .values()
            .filter(|cell| cell.purpose == Purpose::Spare)
            .map(|cell| cell.number)
            .collect();
        for spare in spares {
            self.discard(spare);
        }
    }

    /// Ends and forgets a cell. Its last words (`Ended`, then `Released`) go to the daemon if it is the daemon's.
    pub(super) fn release(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        cell.release.get_or_insert(Moment::now());
        if matches!(cell.phase, Phase::Dead) {
            // It is ending by itself, or should be.
            cell.kill_first_process();
        } else {
            cell.kill(KillReason::Abandoned);
        }
        cell.kill_helpers();
        self.try_to_forget(number);
    }

    /// The same for a cell that never was the daemon's.
    pub(super) fn discard(&mut self, number: CellNumber) {
        if let Some(cell) = self.cells.get_mut(&number) {
            cell.purpose = Purpose::Discarded;
        }
        self.release(number);
    }
}
