//! `brig-jail-init --container`: PID 1 of a container. One thread, one loop, which waits for nothing but `poll`.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::conversation::Conversation;
use super::job::{Job, Phase, kill_everything};
use super::pipes::{DownPipe, Found, UpPipe, Writers};
use super::streams::{Input, Output, PART, StreamError, Trouble};
use super::surroundings;
use super::wire::{Down, DownChannel, Posture, Start, Up, UpChannel, VERSION};
use crate::boot_time::now_nanos;
use crate::child::at;
use crate::stage::{SetupFailure, Stage};
use crate::sys::child::reap_one;

/// So many children are reaped before anything else is looked at again.
const REAPED_PER_TURN: usize = 64;

/// For how long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(5);

/// `main`. The result is the exit code, which nobody believes: what happened went through the stream.
pub fn run() -> u8 {
    let Some(given) = surroundings::take_streams() else {
        return 2;
    };
    let trouble = Trouble::new(given.trouble);
    let mut output = Output::new(given.output);
    let end = prepare(&mut output).and_then(|prepared| {
        let input = Input::new(given.input);
        let end = Container::new(input, prepared).serve(&mut output);
        // Whatever runs ends here; the kernel would see to it at the end of this process.
        kill_everything().ok();
        end
    });
    match end {
        Err(End::Stream(StreamError::Gone)) | Ok(()) => 0,
        Err(End::Stream(StreamError::Nonsense)) => {
            trouble.tell(&"the daemon does not speak this protocol");
            last_word(&mut output, at(Stage::Channels, 12)(Errno::EPROTO))
        }
        Err(End::Failed(failure)) => {
            trouble.tell(&failure);
            last_word(&mut output, failure)
        }
    }
}

fn last_word(output: &mut Output, failure: SetupFailure) -> u8 {
    output.say(&Up::Failed(failure));
    let until = now_nanos().saturating_add(u64::try_from(LAST_WORD.as_nanos()).unwrap_or(0));
    while output.flush().is_ok() && output.is_waiting() && now_nanos() < until {
        let mut watched = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
        poll(&mut watched, PollTimeout::from(100u8)).ok();
    }
    1
}

/// Why PID 1 ends.
enum End {
    Stream(StreamError),
    Failed(SetupFailure),
}

impl From<StreamError> for End {
    fn from(error: StreamError) -> End {
        End::Stream(error)
    }
}

impl From<SetupFailure> for End {
    fn from(failure: SetupFailure) -> End {
        End::Failed(failure)
    }
}

/// What there is before the first order.
struct Prepared {
    posture: Posture,
    workspace: OwnedFd,
    signals: SignalFd,
}

fn prepare(output: &mut Output) -> Result<Prepared, End> {
    let posture = surroundings::secure()?;
    let workspace = surroundings::open_workspace()?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&children, flags).map_err(at(Stage::Channels, 11))?;
    output.say(&Up::Hello {
        version: VERSION,
        posture,
    });
    Ok(Prepared {
        posture,
        workspace,
        signals,
    })
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Input,
    Output,
    Signals,
    Down(DownChannel),
    Up(UpChannel),
}

struct Container {
    input: Input,
    posture: Posture,
    workspace: OwnedFd,
    signals: SignalFd,
    job: Option<Job>,
    /// An order to start that waits for the end of a conversation, and when it came.
    pending: Option<(Start, u64)>,
    job_pipe: DownPipe,
    stdin: DownPipe,
    stdout: UpPipe,
    stderr: UpPipe,
    runner: UpPipe,
    files: Conversation,
    buffer: Vec<u8>,
    /// There are ended children that nobody has reaped yet.
    more_to_reap: bool,
    nobody_left: bool,
}

impl Container {
    fn new(input: Input, prepared: Prepared) -> Container {
        Container {
            input,
            posture: prepared.posture,
            workspace: prepared.workspace,
            signals: prepared.signals,
            job: None,
            pending: None,
            job_pipe: DownPipe::new(DownChannel::Job),
            stdin: DownPipe::new(DownChannel::Stdin),
            stdout: UpPipe::new(UpChannel::Stdout),
            stderr: UpPipe::new(UpChannel::Stderr),
            runner: UpPipe::new(UpChannel::Runner),
            files: Conversation::new(),
            buffer: vec![0; PART],
            more_to_reap: false,
            nobody_left: false,
        }
    }

    /// The story: wait for whatever comes first, and see to it. Ends with the stream, or with trouble.
    fn serve(mut self, output: &mut Output) -> Result<(), End> {
        loop {
            output.flush()?;
            let ready = self.wait(output).map_err(at(Stage::Channels, 13))?;
            if ready.contains(&Watched::Input) {
                self.input.fill()?;
                while let Some(frame) = self.input.next_frame()? {
                    self.obey(frame, output)?;
                }
            }
            self.move_bytes(&ready, output);
            if ready.contains(&Watched::Signals) || self.more_to_reap {
                self.reap();
            }
            self.look_after_job(output)?;
            self.settle(output);
            self.start_if_pending(output)?;
        }
    }

    fn obey(&mut self, frame: Down, output: &mut Output) -> Result<(), End> {
        match frame {
            Down::Start(start) if self.job.is_none() && self.pending.is_none() => {
                // A conversation whose requests have not ended would go on beside the program.
                if self.files.is_open() && !self.files.down.is_ended() {
                    return Err(StreamError::Nonsense.into());
                }
                self.pending = Some((start, now_nanos()));
                self.start_if_pending(output)?;
            }
            Down::Start(_) => return Err(StreamError::Nonsense.into()),
            Down::Renew { lease_nanos } => {
                if let Some(job) = &mut self.job {
                    job.renew(lease_nanos);
                } else if let Some((start, _)) = &mut self.pending {
                    start.lease_nanos = lease_nanos;
                }
            }
            Down::Data { channel, bytes } => self.down(channel)?.receive(&bytes)?,
            Down::Eof(channel) => {
                self.down(channel)?.end()?;
                // The next frame may be about the next conversation.
                self.files.settle(output);
            }
            Down::Credit { channel, bytes } => match (self.up(channel).give(bytes), channel) {
                // It may be for bytes of the conversation before.
                (Ok(()), _) | (Err(_), UpChannel::Files) => {}
                (Err(error), UpChannel::Stdout | UpChannel::Stderr | UpChannel::Runner) => {
                    return Err(error.into());
                }
            },
            Down::Shut(UpChannel::Files) => return Err(StreamError::Nonsense.into()),
            Down::Shut(channel) => {
                if self.up(channel).shut() {
                    output.say(&Up::Eof(channel));
                }
            }
            Down::OpenFiles => {
                let is_busy =
                    self.pending.is_some() || self.job.as_ref().is_some_and(|job| job.phase != Phase::Over);
                let workspace = (!is_busy).then_some(&self.workspace);
                self.files.begin(workspace, output)?;
            }
        }
        Ok(())
    }

    fn down(&mut self, channel: DownChannel) -> Result<&mut DownPipe, StreamError> {
        match channel {
            DownChannel::Job => Ok(&mut self.job_pipe),
            DownChannel::Stdin => Ok(&mut self.stdin),
            DownChannel::Files if self.files.is_open() => Ok(&mut self.files.down),
            DownChannel::Files => Err(StreamError::Nonsense),
        }
    }

    fn up(&mut self, channel: UpChannel) -> &mut UpPipe {
        match channel {
            UpChannel::Files => &mut self.files.up,
            UpChannel::Stdout => &mut self.stdout,
            UpChannel::Stderr => &mut self.stderr,
            UpChannel::Runner => &mut self.runner,
        }
    }

    fn start_if_pending(&mut self, output: &mut Output) -> Result<(), End> {
        if self.files.is_open() {
            return Ok(());
        }
        let Some((start, arrived)) = self.pending.take() else {
            return Ok(());
        };
        let (job, [job_pipe, stdin, stdout, stderr, runner]) = Job::start(&start, arrived, self.posture)?;
        self.job = Some(job);
        self.nobody_left = false;
        output.set_seal(start.seal);
        output.say(&Up::Started);
        let failed = at(Stage::Channels, 14);
        self.job_pipe.attach(job_pipe).map_err(&failed)?;
        self.stdin.attach(stdin).map_err(&failed)?;
        self.stdout.attach(stdout).map_err(&failed)?;
        self.stderr.attach(stderr).map_err(&failed)?;
        self.runner.attach(runner).map_err(&failed)?;
        Ok(())
    }

    fn move_bytes(&mut self, ready: &[Watched], output: &mut Output) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for watched in ready {
            match *watched {
                Watched::Down(channel) => {
                    if let Ok(pipe) = self.down(channel) {
                        pipe.pump();
                    }
                }
                Watched::Up(channel) => {
                    let found = self.up(channel).pump(output, &mut buffer, Writers::MayLive);
                    // A conversation says so itself, when nothing is left of it.
                    if found == Found::End && channel != UpChannel::Files {
                        output.say(&Up::Eof(channel));
                    }
                }
                Watched::Input | Watched::Output | Watched::Signals => {}
            }
        }
        self.buffer = buffer;
    }

    fn reap(&mut self) {
        self.signals.read_signal().ok();
        self.more_to_reap = false;
        for _ in 0..REAPED_PER_TURN {
            match reap_one() {
                Ok(Some((pid, status))) => {
                    self.files.note(pid);
                    if let Some(job) = &mut self.job {
                        job.note(pid, status);
                    }
                }
                Ok(None) => return,
                Err(_no_child) => {
                    self.nobody_left = true;
                    return;
                }
            }
        }
        self.more_to_reap = true;
    }

    fn look_after_job(&mut self, output: &mut Output) -> Result<(), End> {
        let Some(job) = &mut self.job else {
            return Ok(());
        };
        let before = job.phase;
        job.advance(self.nobody_left).map_err(at(Stage::Channels, 15))?;
        if before == Phase::Running && job.phase != Phase::Running {
            // Nobody but the dead would read it.
            self.job_pipe.abandon();
            self.stdin.abandon();
        }
        if job.phase == Phase::Draining {
            let pipes = [
                (UpChannel::Stdout, &mut self.stdout),
                (UpChannel::Stderr, &mut self.stderr),
                (UpChannel::Runner, &mut self.runner),
            ];
            for (channel, pipe) in pipes {
                if pipe.pump(output, &mut self.buffer, Writers::AreDead) == Found::End {
                    output.say(&Up::Eof(channel));
                }
            }
            if ![&self.stdout, &self.stderr, &self.runner]
                .iter()
                .any(|pipe| pipe.is_open())
            {
                output.say(&Up::Ended(job.finish()));
            }
        }
        Ok(())
    }

    fn settle(&mut self, output: &mut Output) {
        self.job_pipe.settle(output);
        self.stdin.settle(output);
        self.files.settle(output);
    }

    /// Waits until something is ready or due.
    fn wait(&self, output: &Output) -> nix::Result<Vec<Watched>> {
        let mut watched = vec![
            (Watched::Input, self.input.as_fd(), PollFlags::POLLIN),
            (Watched::Signals, self.signals.as_fd(), PollFlags::POLLIN),
        ];
        if output.is_waiting() {
            watched.push((Watched::Output, output.as_fd(), PollFlags::POLLOUT));
        }
        let downs = [
            (DownChannel::Job, &self.job_pipe),
            (DownChannel::Stdin, &self.stdin),
            (DownChannel::Files, &self.files.down),
        ];
        for (channel, pipe) in downs {
            if let Some(target) = pipe.wants_to_write() {
                watched.push((Watched::Down(channel), target, PollFlags::POLLOUT));
            }
        }
        let ups = [
            (UpChannel::Files, &self.files.up),
            (UpChannel::Stdout, &self.stdout),
            (UpChannel::Stderr, &self.stderr),
            (UpChannel::Runner, &self.runner),
        ];
        let mut readable = false;
        for (channel, pipe) in ups {
            if let Some(source) = pipe.wants_to_read(output) {
                readable |= channel != UpChannel::Files;
                watched.push((Watched::Up(channel), source, PollFlags::POLLIN));
            }
        }
        look(&watched, self.patience(readable))
    }

    fn patience(&self, readable: bool) -> PollTimeout {
        let draining = self.job.as_ref().is_some_and(|job| job.phase == Phase::Draining);
        if self.more_to_reap || (draining && readable) {
            return PollTimeout::ZERO;
        }
        let Some(patience) = self.job.as_ref().and_then(Job::patience) else {
            return PollTimeout::NONE;
        };
        // Rounded up: a wait that ends just before the deadline would be made again and again.
        let millis = patience.as_nanos().div_ceil(1_000_000);
        i32::try_from(millis).map_or(PollTimeout::MAX, |millis| {
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        })
    }
}

/// Which of them are ready: readable, writable, or at their end.
fn look(watched: &[(Watched, BorrowedFd<'_>, PollFlags)], timeout: PollTimeout) -> nix::Result<Vec<Watched>> {
    let mut polled: Vec<PollFd<'_>> = watched
        .iter()
        .map(|(_, descriptor, flags)| PollFd::new(*descriptor, *flags))
        .collect();
    match poll(&mut polled, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    }
    let ready = polled
        .iter()
        .zip(watched)
        .filter(|(one, _)| one.any().unwrap_or(true));
    Ok(ready.map(|(_, (which, ..))| *which).collect())
}
