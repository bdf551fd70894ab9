//! Small random changes of a seed, for toolchains without a fuzzer. Reproducible: the same number, the same changes.

/// Numbers from a seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end` (0 where there is none).
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.next_u64() >> 16) % end).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next_u64().to_be_bytes()[2]
    }
}

/// Numbers and letters at which decoders change their minds.
const TELLING: [u8; 14] = [
    0, 1, 2, 0x7f, 0x80, 0xff, b'.', b'/', b'*', b'"', b'[', b'{', b'=', b'\n',
];

/// `seed` with one to eight changes, perhaps with a part of `other`.
#[must_use]
pub fn mutate(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] = random.byte(),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = TELLING[random.below(TELLING.len())],
            3 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            4 => bytes.truncate(at),
            5 => {
                let until = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at.min(until)..until);
            }
            6 => {
                let until = (at + 1 + random.below(32)).min(bytes.len());
                let part = bytes[at.min(until)..until].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = random.below(other.len() + 1);
                let until = (from + random.below(32)).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
        }
    }
    bytes
}
