//! What comes from cells: reports of the helper that clones them, records of PID 1, refused calls, deaths.

use super::cell::{Cell, Phase, Progress, Purpose, Ready};
use super::clock::Moment;
use super::event_loop::{Keeper, Source};
use super::host::Prepared;
use super::refusals::Listening;
use crate::control::{FROM_INIT_BYTES, FromInit, READY_DESCRIPTORS};
use crate::launch::{REPORT_BYTES, Report, only_child, say_move};
use crate::protocol::{CellNumber, KillReason, Reply};
use crate::remedy::item;
use crate::stage::{SetupFailure, Stage};
use crate::sys::parent as sys;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Descriptors for the daemon in PID 1's Ready: job, stdin, stdout, stderr, runner.
const DAEMON_ENDS: usize = 5;

pub(super) fn set_up(item: u16, errno: Errno) -> SetupFailure {
    SetupFailure {
        stage: Stage::Clone,
        item,
        errno: errno as i32,
    }
}

impl Keeper<'_> {
    /// P or C has something to say.
    pub(super) fn hear_report(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        let Phase::Building(building) = &cell.phase else {
            return;
        };
        let mut record = [0; REPORT_BYTES];
        match sys::receive_record(building.report.as_fd(), &mut record, 0) {
            Ok((0, _)) => self.report_ended(number),
            Ok((length, _)) => {
                let report = record.get(..length).and_then(Report::decode);
                match report {
                    Some(Report::Cloned { init }) => self.init_is_cloned(number, init),
                    Some(Report::Moved) => self.send_plan(number),
                    Some(Report::Failed(failure)) => self.set_up_failed(number, failure),
                    None => self.set_up_failed(number, set_up(item::HELPER, Errno::EPROTO)),
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => self.set_up_failed(number, set_up(item::HELPER, errno)),
        }
    }

    /// Both P and C are done with the socket: nothing more to hear there.
    fn report_ended(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get(&number) else {
            return;
        };
        let Phase::Building(building) = &cell.phase else {
            return;
        };
        self.unwatch(&building.report);
        if cell.init.is_none() {
            self.set_up_failed(number, set_up(item::HELPER, Errno::ECHILD));
        }
    }

    fn init_is_cloned(&mut self, number: CellNumber, init: nix::unistd::Pid) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        match sys::pidfd_open(init) {
            Ok(pidfd) => {
                cell.init = Some((init, pidfd));
                if cell.killed.is_some() {
                    // It was given up before it had a name.
                    cell.kill(KillReason::Abandoned);
                }
            }
            Err(errno) => return self.set_up_failed(number, set_up(item::CLONE, errno)),
        }
        self.after_fork(number);
    }

    /// PID 1 has forked the stub, and P has told who PID 1 is: now the stub can be moved, or, without groups, the plan
    /// be sent.
    fn after_fork(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        let Phase::Building(building) = &mut cell.phase else {
            return;
        };
        if building.progress != Progress::Forked || cell.init.is_none() {
            return;
        }
        if cell.groups.is_none() {
            return self.send_plan(number);
        }
        building.progress = Progress::Moving;
        let stub = cell.init.as_ref().and_then(|(init, _)| only_child(*init));
        let asked = stub
            .ok_or(Errno::ESRCH)
            .and_then(|stub| say_move(building.report.as_fd(), stub));
        if let Err(errno) = asked {
            self.set_up_failed(number, set_up(item::HELPER, errno));
        }
    }

    fn send_plan(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        if let Phase::Building(building) = &mut cell.phase {
            building.progress = Progress::Planned;
        }
        let sent = self.host.packed_plan(self.config, cell.kind).and_then(|plan| {
            let memfd: Vec<i32> = plan.memfd.iter().map(|memfd| memfd.as_raw_fd()).collect();
            let sent = sys::send_record(cell.control.as_fd(), plan.head, &memfd);
            sent.map_err(|errno| SetupFailure {
                stage: Stage::Plan,
                item: 0,
                errno: errno as i32,
            })
        });
        if let Err(failure) = sent {
            self.set_up_failed(number, failure);
        }
    }

    /// PID 1 has something to say.
    pub(super) fn hear_init(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        let mut record = [0; FROM_INIT_BYTES];
        match sys::receive_record(cell.control.as_fd(), &mut record, READY_DESCRIPTORS + 1) {
            // Its end is told by the kernel's SIGCHLD.
            Ok((0, _)) => self.stop_hearing_init(number),
            Ok((length, descriptors)) => match record.get(..length).and_then(FromInit::decode) {
                Some(said) => self.init_says(number, said, descriptors),
                None => self.give_up(number),
            },
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => self.stop_hearing_init(number),
            Err(_malformed) => self.give_up(number),
        }
    }

    fn stop_hearing_init(&mut self, number: CellNumber) {
        if let Some(cell) = self.cells.get(&number) {
            self.unwatch(&cell.control);
        }
    }

    /// PID 1 does not speak the protocol: kill it.
    fn give_up(&mut self, number: CellNumber) {
        self.stop_hearing_init(number);
        if let Some(cell) = self.cells.get_mut(&number) {
            cell.kill(KillReason::Abandoned);
        }
    }

    fn init_says(&mut self, number: CellNumber, said: FromInit, descriptors: Vec<OwnedFd>) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        match said {
            FromInit::Forked => match &mut cell.phase {
                Phase::Building(building) if building.progress == Progress::Cloning => {
                    building.progress = Progress::Forked;
                    self.after_fork(number);
                }
                // Said once, and first.
                Phase::Building(_) | Phase::Idle | Phase::Running(_) | Phase::Dead => self.give_up(number),
            },
            FromInit::Ready { .. } => self.cell_is_ready(number, said, descriptors),
            FromInit::Failed(failure) => self.set_up_failed(number, failure),
            FromInit::Ended { .. } if cell.ended.is_none() && !matches!(cell.phase, Phase::Building(_)) => {
                cell.ended = Some(said);
                cell.expect_end();
                self.try_to_end(number);
            }
            FromInit::Ended { .. } => self.give_up(number),
        }
    }

    fn cell_is_ready(&mut self, number: CellNumber, said: FromInit, mut descriptors: Vec<OwnedFd>) {
        let FromInit::Ready {
            landlock_abi,
            landlock_full,
            listener,
            ..
        } = said
        else {
            return;
        };
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        let Phase::Building(building) = &cell.phase else {
            return self.give_up(number);
        };
        if descriptors.len() < DAEMON_ENDS {
            return self.give_up(number);
        }
        // The helper is done; its socket may already be at its end.
        let report = building.report.as_fd().try_clone_to_owned();
        let rest = descriptors.split_off(DAEMON_ENDS);
        let ready = Ready {
            daemon: descriptors,
            landlock_abi,
            landlock_full,
        };
        let complete = cell.complete(ready, rest, listener);
        drop(report);
        if !complete {
            return self.give_up(number);
        }
        let watched = match self.cells.get(&number).and_then(|cell| cell.listener.as_ref()) {
            Some(listener) => self.watch(Source::Listener, number, listener),
            None => Ok(()),
        };
        if watched.is_err() {
            return self.give_up(number);
        }
        self.deliver(number);
    }

    /// A complete cell goes to who wanted it.
    fn deliver(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get(&number) else {
            return;
        };
        let (level, limits) = (cell.level, cell.wanted);
        match cell.purpose {
            Purpose::Spare => {
                self.spares_paused = false;
                self.prepare_helper(number);
            }
            Purpose::Request(request) => {
                let handed = self.hand_over(number, request, (level, limits, Prepared::OnDemand));
                if let Err(failure) = handed {
                    self.outbox.push(Reply::Failed { request, failure }, Vec::new());
                }
            }
            Purpose::Probe(request) => {
                self.answer_probe(request, Some(number), None);
                self.discard(number);
            }
            Purpose::Opened | Purpose::Discarded => {}
        }
    }

    /// The set-up failed. The first failure is the cause; what follows are consequences.
    pub(super) fn set_up_failed(&mut self, number: CellNumber, failure: SetupFailure) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        let Phase::Building(building) = &mut cell.phase else {
            return;
        };
        if building.failure.is_some() {
            return;
        }
        building.failure = Some(failure);
        let (purpose, wishes) = (cell.purpose, (cell.kind.image, cell.level, cell.limits));
        self.discard(number);
        let again = self.host.fall_back(self.config, &failure);
        match purpose {
            Purpose::Request(_) | Purpose::Probe(_) if again => {
                if let Err(failure) = self.build(purpose, wishes) {
                    self.tell_failure(purpose, failure);
                }
            }
            Purpose::Request(_) | Purpose::Probe(_) => self.tell_failure(purpose, failure),
            Purpose::Spare => self.spares_paused = true,
            Purpose::Opened | Purpose::Discarded => {}
        }
    }

    fn tell_failure(&mut self, purpose: Purpose, failure: SetupFailure) {
        match purpose {
            Purpose::Request(request) => self.outbox.push(Reply::Failed { request, failure }, Vec::new()),
            Purpose::Probe(request) => self.answer_probe(request, None, Some(failure)),
            Purpose::Spare | Purpose::Opened | Purpose::Discarded => {}
        }
    }

    /// One refused call.
    pub(super) fn hear_listener(&mut self, number: CellNumber) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        let Some(listener) = &cell.listener else { return };
        if cell.refusals.take_one(listener) == Listening::Over {
            self.close_listener(number);
        }
    }

    /// From here on the kernel itself refuses.
    pub(super) fn close_listener(&mut self, number: CellNumber) {
        let listener = self.cells.get_mut(&number).and_then(|cell| cell.listener.take());
        if let Some(listener) = listener {
            self.unwatch(&listener);
        }
    }

    /// Deadlines and second looks.
    pub(super) fn look_at_clocks(&mut self) {
        let now = Moment::now();
        let due = |cell: &&Cell| cell.next_look().is_some_and(|moment| moment <= now);
        let numbers: Vec<CellNumber> = self.cells.values().filter(due).map(|cell| cell.number).collect();
        for number in numbers {
            self.look_at(number, now);
        }
    }

    fn look_at(&mut self, number: CellNumber, now: Moment) {
        let Some(cell) = self.cells.get_mut(&number) else {
            return;
        };
        if cell.retry.is_some_and(|moment| moment <= now) {
            cell.retry = None;
        }
        if let Some(reason) = cell.overdue(now) {
            cell.kill(reason);
        }
        if cell.kill_init.is_some_and(|moment| moment <= now) {
            cell.kill_first_process();
        }
        let late = matches!(&cell.phase, Phase::Building(building) if building.deadline <= now);
        if late {
            self.set_up_failed(number, set_up(item::SETUP_TIMEOUT, Errno::ETIMEDOUT));
        }
        self.try_to_end(number);
        self.try_to_forget(number);
    }
}
