//! Whether counts are what chance gives. Numbers in, numbers out; which limit is asked for is the tests' part.

/// Pearson's chi-square of counts that all should be the same: the sum of (count − mean)² / mean. For chance, with one degree of freedom
/// less than there are counts, it is above 30.665 of three once in a million times, and above 23.928 of one.
pub fn chi_square(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let mean = total as f64 / counts.len() as f64;
    counts.iter().map(|&count| (count as f64 - mean).powi(2) / mean).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_textbooks() {
        assert_eq!(chi_square(&[25, 25, 25, 25]), 0.0);
        // (30-25)² + (20-25)² + (24-25)² + (26-25)² = 52, by 25.
        assert!((chi_square(&[30, 20, 24, 26]) - 2.08).abs() < 1e-9);
        assert_eq!(chi_square(&[0, 0]), 0.0);
        // All on one of four: three times as many as there are.
        assert!((chi_square(&[100, 0, 0, 0]) - 300.0).abs() < 1e-9);
    }

    #[test]
    fn tells_chance_from_bias() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut draw = |favour: u64| {
            let mut counts = [0_u64; 4];
            for _ in 0..10_000 {
                let n = random.u64(0..100 + favour);
                counts[usize::try_from(n / 25).unwrap_or(3).min(3)] += 1;
            }
            chi_square(&counts)
        };
        assert!((0..20).all(|_| draw(0) < 30.665));
        // One that is favoured by a quarter is found out.
        assert!((0..20).all(|_| draw(8) > 30.665));
    }
}
