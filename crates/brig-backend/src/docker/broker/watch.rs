//! The broker's own deadlines of a cell. Init in the container keeps time itself and is the first to act; the broker does
//! not rely on it, because a program that took over init would not stop.

use brig_jail::protocol::KillReason;
use std::time::{Duration, Instant};

/// How much later than init the broker acts.
const MARGIN: Duration = Duration::from_secs(1);
/// How much CPU time a program may use after the daemon was told that it has none left.
const CPU_MARGIN: Duration = Duration::from_secs(1);
/// How long files may be fetched after the program ended.
const COLLECTING: Duration = Duration::from_secs(120);
/// A counter is read at least so often, and at most.
const POLL_MOST: Duration = Duration::from_secs(1);
const POLL_LEAST: Duration = Duration::from_millis(20);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing before then.
    Wait(Instant),
    /// Tell the daemon, once.
    Overrun,
    /// Kill the container.
    Kill(KillReason),
}

/// The deadlines of one cell. Pure: time and counter come from the caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    /// No cell waits longer for its program, and no program runs longer.
    ceiling: Duration,
    wall_until: Instant,
    lease_until: Option<Instant>,
    cpu: Option<CpuWatch>,
    collecting: bool,
}

#[derive(Debug, Clone, Copy)]
struct CpuWatch {
    baseline: Duration,
    limit: Duration,
    /// CPUs that the container can use at once.
    width: f64,
    told: bool,
}

/// What a program gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spans {
    /// Wall-clock limit.
    pub(super) wall: Duration,
    /// CPU-time limit.
    pub(super) cpu: Duration,
    /// Until the lease ends without a renewal.
    pub(super) lease: Duration,
}

/// Zero stands for the ceiling.
fn clamp(span: Duration, ceiling: Duration) -> Duration {
    if span.is_zero() {
        ceiling
    } else {
        span.min(ceiling)
    }
}

impl Watch {
    /// A cell that has no program yet.
    pub(super) fn opened(ceiling: Duration, now: Instant) -> Watch {
        Watch {
            ceiling,
            wall_until: now + ceiling + MARGIN,
            lease_until: None,
            cpu: None,
            collecting: false,
        }
    }

    /// The program starts; `cpu_used` is what the container has used until now.
    pub(super) fn start(&mut self, spans: Spans, cpu_used: Duration, cpu_millis: u32, now: Instant) {
        self.wall_until = now + clamp(spans.wall, self.ceiling) + MARGIN;
        self.lease_until = Some(now + clamp(spans.lease, self.ceiling) + MARGIN);
        self.cpu = Some(CpuWatch {
            baseline: cpu_used,
            limit: clamp(spans.cpu, self.ceiling),
            width: f64::from(cpu_millis.max(1)) / 1_000.0,
            told: false,
        });
    }

    /// The lease was renewed.
    pub(super) fn renew(&mut self, lease: Duration, now: Instant) {
        if self.lease_until.is_some() {
            self.lease_until = Some(now + clamp(lease, self.ceiling) + MARGIN);
        }
    }

    /// The program is over, says the daemon: there is a while for files, and that once.
    pub(super) fn collect(&mut self, now: Instant) {
        if !self.collecting {
            self.collecting = true;
            self.wall_until = now + COLLECTING;
            self.lease_until = None;
        }
    }

    /// What of the CPU time is the program's.
    pub(super) fn program_cpu(&self, used: Duration) -> Duration {
        used.saturating_sub(self.cpu.map_or(Duration::ZERO, |cpu| cpu.baseline))
    }

    /// What to do, `used` being the container's CPU time where it is known.
    pub(super) fn decide(&mut self, now: Instant, used: Option<Duration>) -> Decision {
        if now >= self.wall_until {
            return Decision::Kill(if self.collecting {
                KillReason::Abandoned
            } else {
                KillReason::WallTime
            });
        }
        if self.lease_until.is_some_and(|until| now >= until) {
            return Decision::Kill(KillReason::Lease);
        }
        let mut next = self
            .lease_until
            .map_or(self.wall_until, |until| until.min(self.wall_until));
        if let (Some(cpu), Some(used)) = (&mut self.cpu, used) {
            let used = used.saturating_sub(cpu.baseline);
            let last = cpu.limit + CPU_MARGIN;
            if used >= last {
                return Decision::Kill(KillReason::CpuTime);
            }
            if used >= cpu.limit && !cpu.told {
                cpu.told = true;
                return Decision::Overrun;
            }
            let left = if cpu.told { last } else { cpu.limit } - used;
            // It cannot be used up sooner than by all CPUs together.
            let soonest = left.div_f64(cpu.width).clamp(POLL_LEAST, POLL_MOST);
            next = next.min(now + soonest);
        }
        Decision::Wait(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const SECOND: Duration = Duration::from_secs(1);

    fn started(now: Instant) -> Watch {
        let mut watch = Watch::opened(HOUR, now);
        let spans = Spans {
            wall: SECOND * 10,
            cpu: SECOND * 4,
            lease: SECOND * 5,
        };
        watch.start(spans, SECOND / 2, 2_000, now);
        watch
    }

    #[test]
    fn init_has_a_second_to_end_the_program_at_its_wall_limit_itself() {
        let now = Instant::now();
        let mut watch = started(now);
        watch.renew(SECOND * 100, now);
        let late = now + SECOND * 11;
        assert!(matches!(watch.decide(late - SECOND / 2, None), Decision::Wait(_)));
        assert_eq!(watch.decide(late, None), Decision::Kill(KillReason::WallTime));
    }

    #[test]
    fn a_lease_that_nobody_renews_ends_the_cell() {
        let now = Instant::now();
        let mut watch = started(now);
        assert_eq!(watch.decide(now, None), Decision::Wait(now + SECOND * 6));
        assert_eq!(
            watch.decide(now + SECOND * 6, None),
            Decision::Kill(KillReason::Lease)
        );
        watch.renew(SECOND * 5, now + SECOND * 3);
        assert!(matches!(watch.decide(now + SECOND * 6, None), Decision::Wait(_)));
    }

    #[test]
    fn cpu_time_before_the_program_is_not_the_programs() {
        let now = Instant::now();
        let mut watch = started(now);
        let Decision::Wait(until) = watch.decide(now, Some(SECOND * 4)) else {
            panic!("half a second is left");
        };
        assert_eq!(until, now + SECOND / 4, "half a second of two CPUs");
        assert_eq!(watch.program_cpu(SECOND * 4), SECOND * 7 / 2);
    }

    #[test]
    fn used_up_cpu_time_is_told_once_and_then_ends_the_cell() {
        let now = Instant::now();
        let mut watch = started(now);
        let used = SECOND * 9 / 2;
        assert_eq!(watch.decide(now, Some(used)), Decision::Overrun);
        assert!(matches!(watch.decide(now, Some(used)), Decision::Wait(_)));
        assert_eq!(
            watch.decide(now, Some(used + SECOND)),
            Decision::Kill(KillReason::CpuTime)
        );
    }

    #[test]
    fn files_are_fetched_after_the_wall_limit_but_not_for_ever() {
        let now = Instant::now();
        let mut watch = started(now);
        watch.collect(now + SECOND * 10);
        assert!(matches!(watch.decide(now + SECOND * 60, None), Decision::Wait(_)));
        watch.collect(now + SECOND * 60);
        let end = now + SECOND * 10 + COLLECTING;
        assert_eq!(watch.decide(end, None), Decision::Kill(KillReason::Abandoned));
    }

    #[test]
    fn no_request_lasts_longer_than_the_ceiling() {
        let now = Instant::now();
        let mut watch = Watch::opened(SECOND * 20, now);
        assert_eq!(watch.decide(now, None), Decision::Wait(now + SECOND * 21));
        let spans = Spans {
            wall: Duration::ZERO,
            cpu: HOUR,
            lease: HOUR,
        };
        watch.start(spans, Duration::ZERO, 1_000, now);
        assert_eq!(
            watch.decide(now + SECOND * 21, None),
            Decision::Kill(KillReason::WallTime)
        );
        let mut watch = Watch::opened(SECOND * 20, now);
        watch.start(spans, Duration::ZERO, 1_000, now);
        assert_eq!(
            watch.decide(now, Some(SECOND * 21)),
            Decision::Kill(KillReason::CpuTime)
        );
    }
}
