//! Secrets are removed from output before anybody sees it: every occurrence, also one cut by the end of a read.
//!
//! One Aho-Corasick automaton over all secrets, so that the cost per byte does not depend on how many there are or
//! how cleverly a program prints almost-secrets. Bytes are held back only while they may be the beginning of a
//! secret, so live output stays live.

use std::collections::{HashMap, VecDeque};

/// What is shown instead.
pub const MARK: &[u8] = b"[redacted]";
/// Shorter values are not redacted: they would be found everywhere.
pub const SHORTEST: usize = 4;

/// The automaton, made once per job and shared by its streams.
#[derive(Debug, Default)]
pub struct Secrets {
    next: HashMap<(u32, u8), u32>,
    /// Per state: where to go on when no byte fits.
    fail: Vec<u32>,
    /// Per state: how many bytes of some secret it stands for.
    depth: Vec<usize>,
    /// Per state: the longest secret that ends here, 0 for none.
    found: Vec<usize>,
}

impl Secrets {
    /// An automaton for these values.
    #[must_use]
    pub fn new<S: AsRef<[u8]>>(values: impl IntoIterator<Item = S>) -> Self {
        let mut secrets = Self::default();
        secrets.add_state(0);
        for value in values {
            let value = value.as_ref();
            if value.len() >= SHORTEST {
                secrets.add(value);
            }
        }
        secrets.link();
        secrets
    }

    /// Whether there is nothing to redact.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Redacts a whole text.
    #[must_use]
    pub fn redact_text(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut redactor = Redactor::default();
        let mut shown = redactor.push(self, text.as_bytes());
        shown.extend(redactor.finish());
        String::from_utf8_lossy(&shown).into_owned()
    }

    fn add_state(&mut self, depth: usize) -> u32 {
        self.fail.push(0);
        self.depth.push(depth);
        self.found.push(0);
        u32::try_from(self.fail.len() - 1).unwrap_or(0)
    }

    fn add(&mut self, value: &[u8]) {
        let mut state = 0;
        for (index, byte) in value.iter().enumerate() {
            state = match self.next.get(&(state, *byte)) {
                Some(known) => *known,
                None => {
                    let fresh = self.add_state(index + 1);
                    self.next.insert((state, *byte), fresh);
                    fresh
                }
            };
        }
        self.found[state as usize] = value.len();
    }

    /// Fills in `fail`, breadth first: a state's fallback is shorter and known already.
    fn link(&mut self) {
        let mut edges: Vec<(u32, u8, u32)> = self
            .next
            .iter()
            .map(|((from, byte), to)| (*from, *byte, *to))
            .collect();
        edges.sort_by_key(|(_, _, to)| self.depth[*to as usize]);
        for (from, byte, to) in edges {
            let fallback = if from == 0 {
                0
            } else {
                self.step(self.fail[from as usize], byte)
            };
            self.fail[to as usize] = fallback;
            self.found[to as usize] = self.found[to as usize].max(self.found[fallback as usize]);
        }
    }

    fn step(&self, mut state: u32, byte: u8) -> u32 {
        loop {
            match self.next.get(&(state, byte)) {
                Some(next) => return *next,
                None if state == 0 => return 0,
                None => state = self.fail[state as usize],
            }
        }
    }
}

/// The state of one stream.
#[derive(Debug, Default)]
pub struct Redactor {
    state: u32,
    /// Bytes not yet let go.
    held: Vec<u8>,
    /// Position in the stream of the first byte held.
    start: u64,
    /// Runs of secret bytes (from, to), in order, neither touching nor overlapping.
    runs: VecDeque<(u64, u64)>,
    /// Where the last run that got its mark ended: one that goes on from there gets no second mark.
    marked_to: Option<u64>,
}

impl Redactor {
    /// Takes the next bytes; returns those that can be shown.
    #[must_use]
    pub fn push(&mut self, secrets: &Secrets, bytes: &[u8]) -> Vec<u8> {
        if secrets.is_empty() {
            return bytes.to_vec();
        }
        let mut at = self.start + length(self.held.len());
        self.held.extend_from_slice(bytes);
        for byte in bytes {
            at += 1;
            self.state = secrets.step(self.state, *byte);
            let found = secrets.found[self.state as usize];
            if found > 0 {
                self.mark(at - length(found), at);
            }
        }
        // What may still be the beginning of a secret is as long as the state is deep.
        let free = self.held.len().saturating_sub(secrets.depth[self.state as usize]);
        self.let_go(free)
    }

    /// The stream has ended: what was held back.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        self.let_go(self.held.len())
    }

    /// Runs that the new one reaches into become part of it; each is merged at most once, so this costs nothing
    /// over time however long the secrets are.
    fn mark(&mut self, mut from: u64, to: u64) {
        while let Some((last_from, last_to)) = self.runs.back().copied()
            && last_to >= from
        {
            from = from.min(last_from);
            self.runs.pop_back();
        }
        self.runs.push_back((from, to));
    }

    fn let_go(&mut self, count: usize) -> Vec<u8> {
        let free: Vec<u8> = self.held.drain(..count).collect();
        let (begin, end) = (self.start, self.start + length(count));
        self.start = end;
        let mut shown = Vec::with_capacity(count);
        let mut at = begin;
        while let Some((from, to)) = self.runs.front().copied()
            && from < end
        {
            shown.extend_from_slice(part(&free, at - begin, from.max(begin) - begin));
            if from >= begin && self.marked_to != Some(from) {
                shown.extend_from_slice(MARK);
            }
            at = to.min(end);
            self.marked_to = Some(at);
            self.runs.pop_front();
            if to > end {
                self.runs.push_front((end, to));
                break;
            }
        }
        shown.extend_from_slice(part(&free, at - begin, end - begin));
        shown
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// `bytes[from..to]` for positions that are small because `bytes` is in memory.
fn part(bytes: &[u8], from: u64, to: u64) -> &[u8] {
    match (usize::try_from(from), usize::try_from(to)) {
        (Ok(from), Ok(to)) => bytes.get(from..to).unwrap_or_default(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redact(values: &[&str], chunks: &[&str]) -> String {
        let secrets = Secrets::new(values);
        let mut redactor = Redactor::default();
        let mut shown = Vec::new();
        for chunk in chunks {
            shown.extend(redactor.push(&secrets, chunk.as_bytes()));
        }
        shown.extend(redactor.finish());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_secret_cut_by_a_read_is_found() {
        assert_eq!(redact(&["hunter2"], &["x hun", "ter", "2 y"]), "x [redacted] y");
    }

    #[test]
    fn bytes_that_cannot_begin_a_secret_are_let_go_at_once() {
        let secrets = Secrets::new(["hunter2"]);
        let mut redactor = Redactor::default();
        assert_eq!(redactor.push(&secrets, b"progress 10 %\n"), b"progress 10 %\n");
        assert_eq!(redactor.push(&secrets, b"hunt"), b"");
        assert_eq!(redactor.push(&secrets, b"ing\n"), b"hunting\n");
    }

    #[test]
    fn overlapping_secrets_leave_nothing_between_them() {
        assert_eq!(redact(&["abcd", "cdef"], &["-abc", "def-"]), "-[redacted]-");
    }

    #[test]
    fn a_value_of_three_bytes_is_left_alone() {
        assert_eq!(redact(&["abc", ""], &["abc"]), "abc");
    }

    /// The obvious way: mark every occurrence, show each marked run once.
    fn naive(values: &[String], text: &[u8]) -> Vec<u8> {
        let mut secret = vec![false; text.len()];
        for value in values.iter().filter(|v| v.len() >= SHORTEST) {
            for (at, window) in text.windows(value.len()).enumerate() {
                if window == value.as_bytes() {
                    secret[at..at + value.len()].fill(true);
                }
            }
        }
        let mut shown = Vec::new();
        for (at, byte) in text.iter().enumerate() {
            match (secret[at], at > 0 && secret[at - 1]) {
                (false, _) => shown.push(*byte),
                (true, false) => shown.extend_from_slice(MARK),
                (true, true) => {}
            }
        }
        shown
    }

    proptest! {
        #[test]
        fn every_cut_gives_what_the_whole_text_gives(
            values in proptest::collection::vec("[ab]{0,7}", 0..4),
            text in "[abc]{0,200}",
            cut in 1usize..20,
        ) {
            let secrets = Secrets::new(&values);
            let mut redactor = Redactor::default();
            let mut shown = Vec::new();
            for chunk in text.as_bytes().chunks(cut) {
                shown.extend(redactor.push(&secrets, chunk));
            }
            shown.extend(redactor.finish());
            prop_assert_eq!(shown, naive(&values, text.as_bytes()));
        }
    }
}
