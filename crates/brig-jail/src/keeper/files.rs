//! Enter-helpers. Starting one takes a move between control groups, which can take 15 ms; so where the last job
//! used files, a spare gets its helper when it is built.

use super::cell::{Cell, FilesUse, IdleHelper, Purpose};
use super::clock::Moment;
use super::event_loop::Keeper;
use super::requests::refusal;
use crate::enter_launch::{EnterPlace, launch_enter};
use crate::protocol::{CellNumber, Reply, RequestNumber};
use crate::remedy::item;
use crate::stage::{SetupFailure, Stage};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::{AsFd, OwnedFd};

/// A helper that waited this long is not handed out any more: its own alarm would soon end it.
const IDLE_NANOS: u64 = 30_000_000_000;

/// Helpers of one cell at once. A daemon needs one; one that was taken over gets no fork bomb.
const HELPERS_MAX: usize = 4;

impl Keeper<'_> {
    pub(super) fn open_files(&mut self, request: RequestNumber, number: CellNumber) {
        let (reply, descriptors) = match self.helper_for(number) {
            Ok(socket) => (
                Reply::FilesOpened {
                    request,
                    cell: number,
                },
                vec![socket],
            ),
            Err(failure) => (Reply::Failed { request, failure }, Vec::new()),
        };
        self.outbox.push(reply, descriptors);
    }

    fn helper_for(&mut self, number: CellNumber) -> Result<OwnedFd, SetupFailure> {
        let opened = |cell: &&mut Cell| cell.purpose == Purpose::Opened && cell.release.is_none();
        let no_cell = refusal(item::NO_SUCH_CELL, Errno::ENOENT);
        let cell = self.cells.get_mut(&number).filter(opened).ok_or(no_cell)?;
        cell.files_used = FilesUse::Used;
        self.files_wanted = FilesUse::Used;
        if let Some(idle) = cell.idle_helper.take() {
            if cell.helpers.contains(&idle.process) && Moment::now().since(idle.since) < IDLE_NANOS {
                return Ok(idle.socket);
            }
            dismiss(cell, idle.process);
        }
        if cell.helpers.len() >= HELPERS_MAX {
            return Err(refusal(item::TOO_MANY_HELPERS, Errno::EAGAIN));
        }
        let (process, socket) = self.start_helper(number)?;
        if let Some(cell) = self.cells.get_mut(&number) {
            cell.helpers.push(process);
        }
        Ok(socket)
    }

    /// Gives a spare its helper. Without one the first use of its files is slower, nothing else.
    pub(super) fn prepare_helper(&mut self, number: CellNumber) {
        if self.files_wanted == FilesUse::NotYet {
            return;
        }
        if let (Ok((process, socket)), since) = (self.start_helper(number), Moment::now())
            && let Some(cell) = self.cells.get_mut(&number)
        {
            cell.helpers.push(process);
            cell.idle_helper = Some(IdleHelper {
                process,
                socket,
                since,
            });
        }
    }

    fn start_helper(&self, number: CellNumber) -> Result<(Pid, OwnedFd), SetupFailure> {
        let no_cell = refusal(item::NO_SUCH_CELL, Errno::ENOENT);
        let outer = match &self.host.outer {
            Ok(outer) => outer,
            Err(failure) => return Err(*failure),
        };
        let cell = self.cells.get(&number).ok_or(no_cell)?;
        let kept = cell.kept.as_ref().ok_or(no_cell)?;
        let place = EnterPlace {
            groups: cell.groups.as_ref(),
            outer: outer.namespace().as_fd(),
            uid_kind: outer.kind(),
            user_namespace: kept.user_namespace.as_fd(),
            workspace: kept.workspace.as_fd(),
            init: self.host.init.as_fd(),
        };
        launch_enter(&place).map_err(|errno| SetupFailure {
            stage: Stage::Enter,
            item: 0,
            errno: errno as i32,
        })
    }
}

/// Ends a helper that waited too long.
fn dismiss(cell: &Cell, helper: Pid) {
    if cell.helpers.contains(&helper) {
        // Not reaped, so the pid is still the helper's.
        kill(helper, Signal::SIGKILL).ok();
    }
}
