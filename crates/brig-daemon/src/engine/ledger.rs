//! Which stored output is dropped so that of each stream its head and its tail stay: pure, and told only of what
//! the store has committed.
//!
//! ```text
//!  stdout   [ head: kept for ever ][ gap ][ tail: the newest pieces ]
//!  stderr      [ head ]                [ tail ]          one line of numbers, two streams
//! ```
//!
//! A gap covers neighbouring numbers only, so a piece that must stay splits it in two.

use brig_core::StreamName;
use brig_core::store::Trim;
use std::collections::VecDeque;

/// What one stream amounts to.
#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    /// Bytes that were committed.
    recorded: u64,
    /// Bytes of them that are in the tail.
    tail: u64,
    /// Bytes of them that were dropped.
    dropped: u64,
}

/// A range of numbers behind the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Piece {
        seq: u64,
        stream: StreamName,
        bytes: u64,
    },
    Gap {
        from: u64,
        to: u64,
        bytes: u64,
    },
}

impl Slot {
    fn from(self) -> u64 {
        match self {
            Self::Piece { seq, .. } => seq,
            Self::Gap { from, .. } => from,
        }
    }

    fn to(self) -> u64 {
        match self {
            Self::Piece { seq, .. } => seq,
            Self::Gap { to, .. } => to,
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Piece { bytes, .. } | Self::Gap { bytes, .. } => bytes,
        }
    }
}

/// The bookkeeping of one attempt's output.
#[derive(Debug)]
pub(crate) struct Ledger {
    head: u64,
    tail: u64,
    stdout: Stream,
    stderr: Stream,
    slots: VecDeque<Slot>,
}

impl Ledger {
    /// Of each stream at most `kept` bytes stay.
    pub(crate) fn new(kept: u64) -> Self {
        Self {
            head: kept / 2,
            tail: kept - kept / 2,
            stdout: Stream::default(),
            stderr: Stream::default(),
            slots: VecDeque::new(),
        }
    }

    /// Bytes of each stream's head.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Largest useful piece: small enough that the tail is cut finely, large enough that rows are few.
    pub(crate) fn piece_max(&self) -> usize {
        usize::try_from((self.head + self.tail) / 8).map_or(64 * 1024, |eighth| eighth.clamp(512, 64 * 1024))
    }

    /// A piece was committed under this number. Pieces never cross the end of the head.
    pub(crate) fn record(&mut self, seq: u64, stream: StreamName, bytes: u64) {
        let head = self.head;
        let total = self.of(stream);
        total.recorded += bytes;
        if total.recorded > head {
            total.tail += bytes;
            self.slots.push_back(Slot::Piece { seq, stream, bytes });
        }
    }

    /// Bytes of a stream that are stored.
    pub(crate) fn kept(&self, stream: StreamName) -> u64 {
        let total = match stream {
            StreamName::Stdout => &self.stdout,
            StreamName::Stderr => &self.stderr,
        };
        total.recorded - total.dropped
    }

    /// Whether so many more bytes of a stream fit without dropping any.
    pub(crate) fn has_room_for(&self, stream: StreamName, bytes: u64) -> bool {
        let total = match stream {
            StreamName::Stdout => &self.stdout,
            StreamName::Stderr => &self.stderr,
        };
        total.recorded + bytes <= self.head + self.tail || total.tail + bytes <= self.tail
    }

    /// The next range to drop, if more is stored than is kept. Ask again until there is none.
    pub(crate) fn next_trim(&mut self) -> Option<Trim> {
        if self.excess(StreamName::Stdout) == 0 && self.excess(StreamName::Stderr) == 0 {
            return None;
        }
        let first = (0..self.slots.len()).find(|index| self.may_drop(*index))?;
        let mut range = self.slots[first];
        self.drop_piece(first);
        let mut end = first + 1;
        while let Some(next) = self.slots.get(end).copied() {
            let joins = next.from() == range.to() + 1;
            if !joins || !(matches!(next, Slot::Gap { .. }) || self.may_drop(end)) {
                break;
            }
            self.drop_piece(end);
            range = join(range, next);
            end += 1;
        }
        let mut start = first;
        if let Some(before) = first.checked_sub(1).map(|index| self.slots[index])
            && matches!(before, Slot::Gap { .. })
            && before.to() + 1 == range.from()
        {
            range = join(before, range);
            start = first - 1;
        }
        let gap = Slot::Gap {
            from: range.from(),
            to: range.to(),
            bytes: range.bytes(),
        };
        self.slots.drain(start..end);
        self.slots.insert(start, gap);
        Some(Trim {
            from_seq: range.from(),
            to_seq: range.to(),
            bytes: range.bytes(),
        })
    }

    /// A piece of a stream that has too much in its tail, unless it is all that the tail has.
    fn may_drop(&self, index: usize) -> bool {
        match self.slots[index] {
            Slot::Gap { .. } => false,
            Slot::Piece { stream, bytes, .. } => {
                let total = match stream {
                    StreamName::Stdout => &self.stdout,
                    StreamName::Stderr => &self.stderr,
                };
                self.excess(stream) > 0 && total.tail > bytes
            }
        }
    }

    fn drop_piece(&mut self, index: usize) {
        if let Slot::Piece { stream, bytes, .. } = self.slots[index] {
            let total = self.of(stream);
            total.tail -= bytes;
            total.dropped += bytes;
        }
    }

    fn excess(&self, stream: StreamName) -> u64 {
        match stream {
            StreamName::Stdout => self.stdout.tail.saturating_sub(self.tail),
            StreamName::Stderr => self.stderr.tail.saturating_sub(self.tail),
        }
    }

    fn of(&mut self, stream: StreamName) -> &mut Stream {
        match stream {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        }
    }
}

/// Two neighbouring ranges as one.
fn join(first: Slot, second: Slot) -> Slot {
    Slot::Gap {
        from: first.from(),
        to: second.to(),
        bytes: first.bytes() + second.bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The store's side: numbers to pieces, and gaps.
    #[derive(Default)]
    struct Stored {
        pieces: BTreeMap<u64, (StreamName, u64)>,
        gaps: BTreeMap<u64, (u64, u64)>,
    }

    impl Stored {
        fn trim(&mut self, trim: Trim) {
            let mut bytes = 0;
            for seq in trim.from_seq..=trim.to_seq {
                bytes += self.pieces.remove(&seq).map_or(0, |(_, bytes)| bytes);
                bytes += self.gaps.remove(&seq).map_or(0, |(_, bytes)| bytes);
            }
            assert_eq!(bytes, trim.bytes, "{trim:?}");
            self.gaps.insert(trim.from_seq, (trim.to_seq, trim.bytes));
        }

        fn bytes(&self, stream: StreamName) -> u64 {
            self.pieces
                .values()
                .filter(|(s, _)| *s == stream)
                .map(|(_, bytes)| bytes)
                .sum()
        }
    }

    fn run(kept: u64, pieces: &[(StreamName, u64)]) -> (Ledger, Stored) {
        let mut ledger = Ledger::new(kept);
        let mut stored = Stored::default();
        for (seq, (stream, bytes)) in (1u64..).zip(pieces) {
            ledger.record(seq, *stream, *bytes);
            stored.pieces.insert(seq, (*stream, *bytes));
            while let Some(trim) = ledger.next_trim() {
                stored.trim(trim);
            }
        }
        (ledger, stored)
    }

    #[test]
    fn output_within_the_limit_is_never_dropped() {
        let (_, stored) = run(1000, &[(StreamName::Stdout, 100); 10]);
        assert!(stored.gaps.is_empty());
    }

    #[test]
    fn a_flood_leaves_head_and_tail_and_one_gap() {
        let (ledger, stored) = run(1000, &[(StreamName::Stdout, 100); 500]);
        assert_eq!(stored.gaps.len(), 1);
        assert_eq!(stored.gaps[&6], (495, 49_000));
        assert_eq!(stored.bytes(StreamName::Stdout), 1000);
        assert_eq!(ledger.kept(StreamName::Stdout), 1000);
    }

    #[test]
    fn a_line_on_stderr_survives_a_flood_on_stdout() {
        let mut pieces = vec![(StreamName::Stdout, 100); 500];
        pieces[250] = (StreamName::Stderr, 30);
        let (_, stored) = run(1000, &pieces);
        assert_eq!(stored.pieces[&251], (StreamName::Stderr, 30));
        assert_eq!(stored.gaps.len(), 2);
    }

    #[test]
    fn two_floods_at_once_keep_both_tails_within_the_limit() {
        let pieces: Vec<_> = (0..1000)
            .map(|n| {
                let stream = if n % 2 == 0 {
                    StreamName::Stdout
                } else {
                    StreamName::Stderr
                };
                (stream, 50)
            })
            .collect();
        let (ledger, stored) = run(1000, &pieces);
        for stream in [StreamName::Stdout, StreamName::Stderr] {
            assert_eq!(stored.bytes(stream), 1000);
            assert_eq!(ledger.kept(stream), 1000);
        }
        assert_eq!(stored.gaps.len(), 1);
    }

    #[test]
    fn the_newest_piece_stays_even_when_it_is_too_large() {
        let (_, stored) = run(
            10,
            &[
                (StreamName::Stdout, 5),
                (StreamName::Stdout, 512),
                (StreamName::Stdout, 512),
            ],
        );
        assert_eq!(stored.pieces.len(), 2);
        assert!(stored.pieces.contains_key(&3));
    }

    #[test]
    fn numbers_of_others_are_never_dropped() {
        let mut ledger = Ledger::new(200);
        for seq in [1, 2, 4, 5, 6] {
            ledger.record(seq, StreamName::Stdout, 100);
        }
        let trims: Vec<Trim> = std::iter::from_fn(|| ledger.next_trim()).collect();
        let ranges: Vec<_> = trims.iter().map(|t| (t.from_seq, t.to_seq, t.bytes)).collect();
        assert_eq!(ranges, [(2, 2, 100), (4, 5, 200)]);
    }
}
