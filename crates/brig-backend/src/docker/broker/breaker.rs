//! Whether the engine is asked at all.
//!
//! ```text
//!            failure × 3, or nobody listens                  time is up
//!   Closed ───────────────────────────────▶ Open ───────────────────────▶ HalfOpen
//!     ▲  (everything is asked)               (nothing is asked)             (one probe is asked)
//!     │                                        ▲          failure              │
//!     │                                        └───────────────────────────────┤
//!     └────────────────────────────────────────────────────────────────────────┘ success
//! ```
//!
//! A user's request is never the probe: while it is open they are refused at once.

use std::time::{Duration, Instant};

/// Failures in a row after which the engine is taken for one that does not answer.
const FAILURES: u32 = 3;
/// The first pause.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MOST: Duration = Duration::from_secs(8);

/// What a call brought, as far as the breaker cares. An answer that says no is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered.
    Answered,
    /// It did not, or nonsense.
    Failed,
    /// Nobody listens.
    Absent,
}

/// The state machine. Pure: the time comes from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// Everything is asked.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// Nothing is asked.
    Open {
        /// Until then.
        until: Instant,
        /// How long that was.
        pause: Duration,
    },
    /// One probe is under way.
    HalfOpen {
        /// How long the last pause was.
        pause: Duration,
    },
}

impl Breaker {
    pub(super) const CLOSED: Breaker = Breaker::Closed { failures: 0 };

    /// Whether a request may be made.
    pub(super) fn allows(self) -> bool {
        match self {
            Breaker::Closed { .. } => true,
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => false,
        }
    }

    /// The state for a probe that is made now; `Err`: how long to wait before that.
    pub(super) fn probe(self, now: Instant) -> Result<Breaker, Duration> {
        match self {
            Breaker::Closed { .. } | Breaker::HalfOpen { .. } => Ok(self),
            Breaker::Open { until, pause } if now >= until => Ok(Breaker::HalfOpen { pause }),
            Breaker::Open { until, .. } => Err(until - now),
        }
    }

    /// The state after a call.
    #[must_use]
    pub(super) fn next(self, outcome: Outcome, now: Instant) -> Breaker {
        let open = |pause: Duration| Breaker::Open {
            until: now + pause,
            pause,
        };
        match (self, outcome) {
            // A late answer to a call from before tells nothing about now.
            (Breaker::Open { .. }, _) => self,
            (Breaker::Closed { .. } | Breaker::HalfOpen { .. }, Outcome::Answered) => Breaker::CLOSED,
            (Breaker::Closed { failures }, Outcome::Failed) if failures + 1 < FAILURES => Breaker::Closed {
                failures: failures + 1,
            },
            (Breaker::Closed { .. }, Outcome::Failed | Outcome::Absent) => open(PAUSE_FIRST),
            (Breaker::HalfOpen { pause }, Outcome::Failed | Outcome::Absent) => {
                open((pause * 2).min(PAUSE_MOST))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_failures_in_a_row_open_it_and_an_answer_between_them_does_not_let_them_add_up() {
        let now = Instant::now();
        let twice = Breaker::CLOSED
            .next(Outcome::Failed, now)
            .next(Outcome::Failed, now);
        assert!(twice.allows());
        assert!(!twice.next(Outcome::Failed, now).allows());
        assert_eq!(twice.next(Outcome::Answered, now), Breaker::CLOSED);
    }

    #[test]
    fn where_nobody_listens_one_failure_is_enough() {
        let now = Instant::now();
        assert!(!Breaker::CLOSED.next(Outcome::Absent, now).allows());
    }

    #[test]
    fn it_lets_a_single_probe_through_when_its_time_is_up_and_closes_when_that_is_answered() {
        let now = Instant::now();
        let open = Breaker::CLOSED.next(Outcome::Absent, now);
        assert_eq!(open.probe(now), Err(PAUSE_FIRST));
        let half = open.probe(now + PAUSE_FIRST).unwrap();
        assert!(!half.allows(), "a user's request would be the probe");
        assert_eq!(half.next(Outcome::Answered, now), Breaker::CLOSED);
    }

    #[test]
    fn every_failed_probe_doubles_the_pause_up_to_the_longest() {
        let now = Instant::now();
        let mut state = Breaker::CLOSED.next(Outcome::Absent, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let Breaker::Open { until, pause } = state else {
                panic!("not open: {state:?}");
            };
            pauses.push(pause);
            state = state.probe(until).unwrap().next(Outcome::Failed, until);
        }
        assert_eq!(pauses[0], PAUSE_FIRST);
        assert_eq!(pauses[1], PAUSE_FIRST * 2);
        assert_eq!(pauses[7], PAUSE_MOST);
    }

    #[test]
    fn a_late_answer_does_not_close_it() {
        let now = Instant::now();
        let open = Breaker::CLOSED.next(Outcome::Absent, now);
        assert_eq!(open.next(Outcome::Answered, now), open);
    }

    proptest! {
        #[test]
        fn whatever_happened_an_engine_that_answers_again_is_asked_again(outcomes in proptest::collection::vec(0_u8..3, 0..40)) {
            let mut now = Instant::now();
            let mut state = Breaker::CLOSED;
            for outcome in outcomes {
                let outcome = [Outcome::Answered, Outcome::Failed, Outcome::Absent][usize::from(outcome)];
                state = state.next(outcome, now);
                if let Ok(probing) = state.probe(now) { state = probing; }
                now += Duration::from_millis(300);
            }
            let now = now + PAUSE_MOST;
            prop_assert!(state.probe(now).unwrap().next(Outcome::Answered, now).allows());
        }
    }
}
