//! What `brig-jail-init` does: the stages of a cell, as types. Each stage consumes the one before, so that the
//! order cannot be changed by accident.
//!
//! Two processes share the work. **PID 1** builds what is common (mounts, network, host name) while it still has
//! the capabilities of its own user namespace, gives them up, and supervises. The **stub** is forked before
//! anything else, so that it stays in the `job` control group when PID 1 is moved out of it; it locks itself
//! down, waits for the program's specification, and becomes the program.
//!
//! ```text
//!  PID 1   Alone ─▶ Forked ─▶ Planned ─▶ Built ─▶ Limited ─▶ Sealed ─▶ Powerless ─▶ Waiting ─▶ supervise
//!                     │                                                    │  ▲
//!                     │ (fork)                                       plan  ▼  │ Ready + descriptors
//!  stub               └─▶ Waiting ───────────────────────────────▶ Bounded ─▶ Unprivileged ─▶ Connected
//!                                                                        ─▶ Fenced ─▶ Locked ─▶ exec
//! ```
//!
//! The order inside the stub is fixed: identity before the channels (they belong to the agent), Landlock before
//! seccomp (its calls are not on the list), and Landlock after every mount (it makes `mount` fail).

mod channels;
mod exec;
mod files;
mod identity;
mod namespaces;
mod root;
mod syscalls;

use nix::errno::Errno;
use std::os::fd::OwnedFd;

use crate::control::{CONTROL_FD, FromInit};
use crate::plan::JailPlan;
use crate::stage::{SetupFailure, Stage};
use crate::supervise::{self, Supervised};
use crate::sys::child as sys;
use channels::{PlanSource, Received, StubReport};

pub(crate) use channels::{Channels, default_signals};
pub(crate) use exec::wait_and_execute;
pub(crate) use identity::{
    IdentityKind, Limits, ProgramLimits, apply_limits, check_ids, drop_power, own_session,
};
pub(crate) use syscalls::install_small;

/// The outcome of a step.
pub(crate) type Step<T> = Result<T, SetupFailure>;

/// Names the step that an errno came from.
pub(crate) fn at(stage: Stage, item: u16) -> impl Fn(Errno) -> SetupFailure {
    move |errno| SetupFailure {
        stage,
        item,
        errno: errno as i32,
    }
}

/// `main` of PID 1: builds the cell, starts its stub and keeps it. The result is the exit code, which nobody
/// needs: what happened went through the control socket.
pub fn run() -> u8 {
    let Some(control) = sys::take_inherited(CONTROL_FD) else {
        return 2;
    };
    let side = match Alone::sanitise(control) {
        Ok(alone) => alone.fork_stub(),
        Err((control, failure)) => return report_failure(&control, failure),
    };
    match side {
        Ok(Forked::Init(init)) => match build(&init) {
            Ok(supervised) => supervise::run(&init.control, supervised),
            Err(Ending::Failed(failure)) => report_failure(&init.control, failure),
            Err(Ending::KeeperGone) => 1,
        },
        Ok(Forked::Stub(stub)) => stub_story(stub),
        Err((control, failure)) => report_failure(&control, failure),
    }
}

/// The story of PID 1.
fn build(init: &InitSide) -> Result<Supervised, Ending> {
    channels::send(&init.control, &FromInit::Forked.encode(), &[])
        .map_err(|errno| at(Stage::Channels, 1)(errno))?;
    let planned = init.receive_plan()?;
    let powerless = planned
        .build_root()?
        .limit_namespaces()?
        .seal_root()?
        .drop_power()?;
    powerless.release_stub(init)?.announce(init)
}

/// The story of the stub. It ends in `execve` or in an exit code.
fn stub_story(stub: StubSide) -> u8 {
    // PID 1 starts in the root of the image. There the stub would keep hold of the old tree of mounts, while the old root
    // is exchanged for the new one in every process that is in it.
    let left = nix::unistd::chdir("/").map_err(at(Stage::Clone, 1));
    match left.and_then(|()| lock_down(&stub.inner)) {
        Ok(Some(locked)) => {
            drop(stub);
            locked.wait_and_execute()
        }
        Ok(None) => crate::control::STUB_GAVE_UP,
        Err(failure) => {
            // PID 1 tells the keeper; if it is gone too, there is nobody left to tell.
            channels::send(&stub.inner, &FromInit::Failed(failure).encode(), &[]).ok();
            crate::control::STUB_GAVE_UP
        }
    }
}

/// The stages of the stub up to the point where it waits for the program. `None`: PID 1 is gone.
fn lock_down(inner: &OwnedFd) -> Step<Option<Locked>> {
    let Some(source) = channels::receive_plan(inner)? else {
        return Ok(None);
    };
    let waiting = Waiting { plan: source.plan };
    let fenced = waiting
        .apply_limits()?
        .drop_power()?
        .connect()?
        .restrict_files()?;
    fenced.restrict_calls()?.report(inner).map(Some)
}

fn report_failure(control: &OwnedFd, failure: SetupFailure) -> u8 {
    channels::send(control, &FromInit::Failed(failure).encode(), &[]).ok();
    1
}

/// Why PID 1 stops before it supervises.
enum Ending {
    Failed(SetupFailure),
    KeeperGone,
}

impl From<SetupFailure> for Ending {
    fn from(failure: SetupFailure) -> Ending {
        Ending::Failed(failure)
    }
}

/// The process as exec left it, with everything inherited closed.
struct Alone {
    control: OwnedFd,
}

enum Forked {
    Init(InitSide),
    Stub(StubSide),
}

/// PID 1 after the fork.
struct InitSide {
    control: OwnedFd,
    stub: OwnedFd,
    main: nix::unistd::Pid,
}

/// The stub after the fork.
struct StubSide {
    inner: OwnedFd,
}

impl Alone {
    /// Closes everything that came from outside but the control socket. On failure the socket comes back, to
    /// report on.
    fn sanitise(control: OwnedFd) -> Result<Alone, (OwnedFd, SetupFailure)> {
        match channels::sanitise(&control) {
            Ok(()) => Ok(Alone { control }),
            Err(failure) => Err((control, failure)),
        }
    }

    fn fork_stub(self) -> Result<Forked, (OwnedFd, SetupFailure)> {
        let forked = channels::socket_pair().and_then(|pair| {
            supervise::block_child_signal()?;
            sys::fork().map(|side| (pair, side))
        });
        match forked {
            Ok(((ours, _theirs), sys::Side::Parent(main))) => Ok(Forked::Init(InitSide {
                control: self.control,
                stub: ours,
                main,
            })),
            Ok(((_theirs, inner), sys::Side::Child)) => Ok(Forked::Stub(StubSide { inner })),
            Err(errno) => Err((self.control, at(Stage::Clone, 1)(errno))),
        }
    }
}

impl InitSide {
    fn receive_plan(&self) -> Result<Planned, Ending> {
        match channels::receive_plan(&self.control)? {
            Some(source) => Ok(Planned { source }),
            None => Err(Ending::KeeperGone),
        }
    }
}

/// PID 1 knows what to build.
struct Planned {
    source: PlanSource,
}

/// The new root is complete and still writable; the old one hangs below it.
struct Built {
    source: PlanSource,
    user_namespace: OwnedFd,
}

/// Host name, loopback and the limits of the namespaces are set.
struct Limited {
    source: PlanSource,
    user_namespace: OwnedFd,
}

/// The old root is gone, `/proc` is masked, the root is read-only.
struct Sealed {
    source: PlanSource,
    user_namespace: OwnedFd,
    workspace: OwnedFd,
}

/// PID 1 has no capability left.
struct Powerless {
    source: PlanSource,
    user_namespace: OwnedFd,
    workspace: OwnedFd,
}

/// The stub waits for the program; its descriptors are on their way to the keeper.
struct Prepared {
    report: StubReport,
    user_namespace: OwnedFd,
    workspace: OwnedFd,
}

impl Planned {
    fn build_root(self) -> Step<Built> {
        let user_namespace = namespaces::own_user_namespace()?;
        root::build(&self.source.plan)?;
        Ok(Built {
            source: self.source,
            user_namespace,
        })
    }
}

impl Built {
    fn limit_namespaces(self) -> Step<Limited> {
        namespaces::limit(&self.source.plan)?;
        Ok(Limited {
            source: self.source,
            user_namespace: self.user_namespace,
        })
    }
}

impl Limited {
    fn seal_root(self) -> Step<Sealed> {
        let workspace = root::seal(&self.source.plan)?;
        Ok(Sealed {
            source: self.source,
            user_namespace: self.user_namespace,
            workspace,
        })
    }
}

impl Sealed {
    fn drop_power(self) -> Step<Powerless> {
        identity::drop_power(IdentityKind::Init)?;
        Ok(Powerless {
            source: self.source,
            user_namespace: self.user_namespace,
            workspace: self.workspace,
        })
    }
}

impl Powerless {
    /// The plan is the signal for the stub that the root is complete.
    fn release_stub(self, init: &InitSide) -> Result<Prepared, Ending> {
        channels::forward_plan(&init.stub, &self.source).map_err(at(Stage::Plan, 20))?;
        let report = match channels::wait_for_stub(&init.stub, &init.control)? {
            Received::Report(report) => report,
            Received::KeeperGone => return Err(Ending::KeeperGone),
        };
        Ok(Prepared {
            report,
            user_namespace: self.user_namespace,
            workspace: self.workspace,
        })
    }
}

impl Prepared {
    fn announce(self, init: &InitSide) -> Result<Supervised, Ending> {
        syscalls::restrict_init()?;
        let Prepared {
            report,
            user_namespace,
            workspace,
        } = self;
        channels::announce(&init.control, report, [workspace, user_namespace], init.main)?;
        Ok(Supervised { main: init.main })
    }
}

/// The stub with its plan.
struct Waiting {
    plan: JailPlan,
}

/// Resource limits are set.
struct Bounded {
    plan: JailPlan,
}

/// The unprivileged user, for good.
struct Unprivileged {
    plan: JailPlan,
}

/// The pipes exist.
struct Connected {
    plan: JailPlan,
    channels: channels::Channels,
}

/// The Landlock domain is in force.
struct Fenced {
    plan: JailPlan,
    channels: channels::Channels,
    landlock: files::Fence,
}

/// All filters are in force.
struct Filtered {
    plan: JailPlan,
    channels: channels::Channels,
    landlock: files::Fence,
    listener: Option<OwnedFd>,
}

/// Ready for the program.
struct Locked {
    stdio: channels::ProgramEnds,
}

impl Waiting {
    fn apply_limits(self) -> Step<Bounded> {
        identity::own_session()?;
        identity::apply_rlimits(&self.plan, identity::Limits::Others)?;
        Ok(Bounded { plan: self.plan })
    }
}

impl Bounded {
    fn drop_power(self) -> Step<Unprivileged> {
        let kind = if self.plan.has(crate::plan::DisabledLayer::Capabilities) {
            IdentityKind::Program
        } else {
            IdentityKind::ProgramWithPower
        };
        identity::drop_power(kind)?;
        Ok(Unprivileged { plan: self.plan })
    }
}

impl Unprivileged {
    fn connect(self) -> Step<Connected> {
        Ok(Connected {
            plan: self.plan,
            channels: channels::Channels::open()?,
        })
    }
}

impl Connected {
    fn restrict_files(self) -> Step<Fenced> {
        let landlock = files::restrict(&self.plan)?;
        Ok(Fenced {
            plan: self.plan,
            channels: self.channels,
            landlock,
        })
    }
}

impl Fenced {
    fn restrict_calls(self) -> Step<Filtered> {
        let listener = syscalls::restrict(&self.plan)?;
        Ok(Filtered {
            plan: self.plan,
            channels: self.channels,
            landlock: self.landlock,
            listener,
        })
    }
}

impl Filtered {
    fn report(self, inner: &OwnedFd) -> Step<Locked> {
        let stdio = self.channels.report(inner, self.landlock, self.listener)?;
        identity::apply_rlimits(&self.plan, identity::Limits::OpenFiles)?;
        Ok(Locked { stdio })
    }
}

impl Locked {
    fn wait_and_execute(self) -> u8 {
        exec::wait_and_execute(self.stdio)
    }
}
