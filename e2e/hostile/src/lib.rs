//! What hostile clients send: frames of HTTP/2 as they are on the wire (`frames`), the floods that are made of them (`floods`), and what
//! slow clients begin and never end (`slow`). Bytes alone: no sockets, no clocks, and nothing of what must come of it.

pub mod floods;
pub mod frames;
pub mod slow;

pub use floods::Flood;
