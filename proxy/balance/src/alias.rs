//! A weighted draw in constant time. Source: Vose, "A linear algorithm for generating random numbers with a given distribution"
//! (1991), Walker's alias method.

use crate::Rng;

/// Draws a place by weight.
#[derive(Debug)]
pub(crate) struct Alias(Box<[Column]>);

/// A column of equal width: its own place below the line, another's above.
#[derive(Clone, Copy, Debug)]
struct Column {
    line: u32,
    other: u32,
}

impl Alias {
    /// The draw among places of these weights, not all of them 0; at most `u32` can count.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let sum: f64 = weights.iter().sum();
        let scale = weights.len() as f64 / sum;
        let mut heights: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut columns: Vec<Column> = (0..weights.len() as u32)
            .map(|place| Column {
                line: u32::MAX,
                other: place,
            })
            .collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..heights.len()).partition(|&place| heights[place] < 1.0);
        while let (Some(&tall), Some(short)) = (high.last(), low.pop()) {
            columns[short] = Column {
                line: (heights[short] * f64::from(u32::MAX)) as u32,
                other: tall as u32,
            };
            heights[tall] -= 1.0 - heights[short];
            if heights[tall] < 1.0 {
                high.pop();
                low.push(tall);
            }
        }
        Alias(columns.into())
    }

    /// Draws a place.
    pub(crate) fn draw(&self, rng: &mut Rng) -> usize {
        let random = rng.next_u64();
        let place = ((random >> 32) * self.0.len() as u64) >> 32;
        let column = self.0[place as usize];
        if (random as u32) < column.line || column.line == u32::MAX {
            place as usize
        } else {
            column.other as usize
        }
    }
}
