//! What a pick promises, by theme.

mod common;
mod evidence;
mod hashing;
mod round_robin;
mod sessions;
mod slow_start;
mod threads;
mod traps;
mod updates;
mod weights;
mod zones;
