//! The one source of randomness here: small, fast, seeded by the caller. Not for secrets.

/// A SplitMix64 generator: eight bytes of state, two multiplications a number. Every proxy's ring follows from its numbers: they never change.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose numbers follow from `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, each as likely as any other (up to 2⁻³² of bias, as `n` is small against 2⁶⁴). 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.next_u64()) * n as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from 0 to 1, 1 excluded.
    pub fn unit(&mut self) -> f32 {
        // The 24 bits that an `f32` holds.
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Two different numbers below `n`, each ordered pair as likely as any other. `n` is at least 2.
    pub fn two_below(&mut self, n: usize) -> (usize, usize) {
        let first = self.below(n);
        let second = self.below(n - 1);
        (first, if second >= first { second + 1 } else { second })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_distinct_and_even() {
        let mut rng = Rng::new(7);
        let mut seen = [[0u32; 4]; 4];
        for _ in 0..12_000 {
            let (a, b) = rng.two_below(4);
            seen[a][b] += 1;
        }
        for (a, row) in seen.iter().enumerate() {
            for (b, &n) in row.iter().enumerate() {
                if a == b {
                    assert_eq!(n, 0);
                } else {
                    assert!((850..1150).contains(&n), "pair {a},{b} came {n} times of 1000 expected");
                }
            }
        }
    }

    #[test]
    fn the_seed_is_all_that_counts() {
        let (mut a, mut b) = (Rng::new(42), Rng::new(42));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Rng::new(1).next_u64(), Rng::new(2).next_u64());
    }
}
