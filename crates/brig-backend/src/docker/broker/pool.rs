//! Which containers are kept ready. Decisions only: what there is goes in, what to do comes out.
//!
//! A combination of image, backend and limits is worth keeping ready because it was asked for; one that nobody asks for any
//! more is forgotten. A container leaves the pool for a job and never comes back.

use super::config::WarmPool;
use super::container::Shape;
use std::collections::HashMap;
use std::time::Instant;

/// A container that is ready.
#[derive(Debug)]
pub(super) struct Ready<T> {
    pub(super) shape: Shape,
    pub(super) since: Instant,
    pub(super) container: T,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool<T> {
    config: WarmPool,
    ready: Vec<Ready<T>>,
    /// Combinations that were asked for, and when last.
    asked: HashMap<Shape, Instant>,
    /// One that is being started.
    filling: Option<Shape>,
}

/// More combinations than this are not remembered: the oldest is forgotten.
const SHAPES: usize = 16;

impl<T> Pool<T> {
    pub(super) fn new(config: WarmPool) -> Pool<T> {
        Pool {
            config,
            ready: Vec::new(),
            asked: HashMap::new(),
            filling: None,
        }
    }

    /// A combination was asked for: takes a ready container of it, the oldest first.
    pub(super) fn take(&mut self, shape: &Shape, now: Instant) -> Option<T> {
        let at = self.ready.iter().position(|ready| ready.shape == *shape)?;
        self.asked.insert(shape.clone(), now);
        Some(self.ready.remove(at).container)
    }

    /// A combination was asked for and could be served: it is worth keeping ready.
    pub(super) fn remember(&mut self, shape: &Shape, now: Instant) {
        self.asked.insert(shape.clone(), now);
        while self.asked.len() > SHAPES {
            let oldest = self.asked.iter().min_by_key(|(_, when)| **when);
            let Some(oldest) = oldest.map(|(shape, _)| shape.clone()) else {
                return;
            };
            self.asked.remove(&oldest);
        }
    }

    /// Which combination to start a container of next, and that it is being started. The one asked for last comes first.
    /// `room`: containers that may be started beside those that there are.
    pub(super) fn fill(&mut self, room: usize) -> Option<Shape> {
        if self.filling.is_some() || room == 0 {
            return None;
        }
        let used: u64 = self
            .ready
            .iter()
            .map(|ready| ready.shape.limits.memory_bytes)
            .sum();
        let left = self.config.memory_bytes.saturating_sub(used);
        let ready = |shape: &Shape| self.ready.iter().filter(|ready| ready.shape == *shape).count();
        let wanted = self
            .asked
            .iter()
            .filter(|(shape, _)| ready(shape) < self.config.count && shape.limits.memory_bytes <= left)
            .max_by_key(|(_, when)| **when);
        self.filling = wanted.map(|(shape, _)| shape.clone());
        self.filling.clone()
    }

    /// The container that was being started is there, or failed to be.
    pub(super) fn filled(&mut self, started: Option<T>, now: Instant) {
        if let (Some(shape), Some(container)) = (self.filling.take(), started) {
            self.ready.push(Ready {
                shape,
                since: now,
                container,
            });
        }
    }

    /// Takes out what nobody wanted for too long, and forgets the combinations.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let idle = self.config.idle;
        self.asked
            .retain(|_, when| now.saturating_duration_since(*when) < idle);
        let asked = &self.asked;
        let old = |ready: &mut Ready<T>| {
            !asked.contains_key(&ready.shape) || now.saturating_duration_since(ready.since) >= idle
        };
        self.ready
            .extract_if(.., old)
            .map(|ready| ready.container)
            .collect()
    }

    /// Takes out one container, to make room for a job: of the combination that was asked for longest ago.
    pub(super) fn evict(&mut self) -> Option<T> {
        let oldest = self
            .ready
            .iter()
            .enumerate()
            .min_by_key(|(_, ready)| self.asked.get(&ready.shape));
        let at = oldest.map(|(at, _)| at)?;
        Some(self.ready.remove(at).container)
    }

    /// Takes out every container of which this holds.
    pub(super) fn drain(&mut self, mut gone: impl FnMut(&T) -> bool) -> Vec<T> {
        self.ready
            .extract_if(.., |ready| gone(&ready.container))
            .map(|ready| ready.container)
            .collect()
    }

    /// How many are ready, and how many are ready or being started, of a backend or of all.
    pub(super) fn count(&self, which: impl Fn(&Shape) -> bool) -> usize {
        self.ready.iter().filter(|ready| which(&ready.shape)).count()
    }

    /// Whether one is being started.
    pub(super) fn is_filling(&self) -> bool {
        self.filling.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::protocol::tests::{backend, digest};
    use brig_jail::protocol::CellLimits;
    use std::time::Duration;

    fn shape(processes: u32) -> Shape {
        let limits = CellLimits {
            processes,
            memory_bytes: 1 << 30,
            ..CellLimits::DEFAULT
        };
        Shape::new(digest(), backend(), limits)
    }

    fn pool() -> Pool<u32> {
        Pool::new(WarmPool {
            count: 2,
            idle: Duration::from_secs(60),
            memory_bytes: 3 << 30,
        })
    }

    /// Starts containers until the pool wants none; gives how many.
    fn fill(pool: &mut Pool<u32>, now: Instant) -> u32 {
        let mut number = 0;
        while pool.fill(100).is_some() {
            number += 1;
            pool.filled(Some(number), now);
            assert!(number < 100, "the pool never has enough");
        }
        number
    }

    #[test]
    fn only_what_was_asked_for_is_kept_ready_and_never_more_than_configured() {
        let now = Instant::now();
        let mut pool = pool();
        assert_eq!(pool.fill(100), None);
        pool.remember(&shape(1), now);
        assert_eq!(fill(&mut pool, now), 2);
        pool.remember(&shape(2), now);
        assert_eq!(fill(&mut pool, now), 1, "a third GiB is left, and not a fourth");
    }

    #[test]
    fn a_container_is_given_out_once_and_only_for_what_it_is() {
        let now = Instant::now();
        let mut pool = pool();
        pool.remember(&shape(1), now);
        fill(&mut pool, now);
        assert_eq!(pool.take(&shape(2), now), None);
        assert_eq!(pool.take(&shape(1), now), Some(1));
        assert_eq!(pool.take(&shape(1), now), Some(2));
        assert_eq!(pool.take(&shape(1), now), None);
    }

    #[test]
    fn limits_that_init_is_told_at_the_start_make_no_other_container() {
        let mut limits = shape(1).limits;
        limits.cpu_time_nanos = 77;
        limits.file_size_bytes = 5;
        assert_eq!(Shape::new(digest(), backend(), limits), shape(1));
    }

    #[test]
    fn one_is_started_at_a_time_and_a_failure_is_no_container() {
        let now = Instant::now();
        let mut pool = pool();
        pool.remember(&shape(1), now);
        assert!(pool.fill(1).is_some());
        assert_eq!(pool.fill(1), None);
        assert!(pool.is_filling());
        pool.filled(None, now);
        assert_eq!(pool.count(|_| true), 0);
        assert_eq!(pool.fill(0), None, "there is no room");
        assert!(pool.fill(1).is_some());
    }

    #[test]
    fn what_nobody_wants_any_more_is_given_up() {
        let now = Instant::now();
        let mut pool = pool();
        pool.remember(&shape(1), now);
        fill(&mut pool, now);
        assert_eq!(pool.expire(now + Duration::from_secs(59)), Vec::<u32>::new());
        assert_eq!(pool.expire(now + Duration::from_secs(60)), [1, 2]);
        assert_eq!(pool.fill(100), None, "the combination is forgotten, too");
    }

    #[test]
    fn a_job_is_worth_more_than_a_container_that_waits() {
        let now = Instant::now();
        let mut pool = pool();
        pool.remember(&shape(1), now);
        fill(&mut pool, now);
        pool.remember(&shape(2), now + Duration::from_secs(1));
        fill(&mut pool, now);
        assert_eq!(
            pool.evict(),
            Some(1),
            "of the combination that was asked for longest ago"
        );
        assert_eq!(pool.count(|_| true), 2);
    }

    #[test]
    fn only_so_many_combinations_are_remembered() {
        let now = Instant::now();
        let mut pool: Pool<u32> = pool();
        for number in 0..100 {
            pool.remember(&shape(number), now + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(pool.asked.len(), SHAPES);
        assert!(pool.asked.contains_key(&shape(99)) && !pool.asked.contains_key(&shape(1)));
    }
}
