//! What a pick is asked for, and what it gives. Plain data.

use std::sync::Arc;

use crate::{Load, Open, Time};

/// What an endpoint is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Now.
    pub now: Time,
    /// The hash of the request's affinity key, where it has one.
    pub key: Option<u64>,
    /// The endpoint of the request's session, where it has one.
    pub home: Option<Home>,
    /// Whether more than this request is decided: a connection that stays open for long, as a WebSocket, or where a session lives.
    pub lasts: bool,
    /// Endpoints that it was sent to already.
    pub tried: &'a Tried,
}

impl<'a> Ask<'a> {
    /// A request that nothing is known of.
    pub fn new(now: Time, tried: &'a Tried) -> Self {
        Ask {
            now,
            key: None,
            home: None,
            lasts: false,
            tried,
        }
    }
}

/// The endpoint of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its place among the members.
    pub index: usize,
    /// Whether the session stays there while it drains.
    pub keep_draining: bool,
}

/// Endpoints that a request was sent to already. Empty until the first failure, so the first pick allocates nothing.
#[derive(Debug, Default)]
pub struct Tried(Vec<Arc<Load>>);

impl Tried {
    /// Remembers an endpoint.
    pub fn push(&mut self, load: Arc<Load>) {
        self.0.push(load);
    }

    /// Whether an endpoint was tried.
    pub fn contains(&self, load: &Arc<Load>) -> bool {
        self.0.iter().any(|tried| Arc::ptr_eq(tried, load))
    }
}

/// Why an endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The algorithm chose it among the good ones.
    Policy,
    /// The request's key leads to it.
    Hash,
    /// The request's key leads to another one, which is skipped, was tried, or has all the load it may have.
    Overflow,
    /// It is its session's.
    Affinity,
    /// It was left alone for so long that it was time to see how it does.
    Floor,
    /// It was skipped for long enough, and this request tries it.
    Trial,
    /// Every ready one is skipped, or most of what they all answer is failures, so they are all used: a wrong suspicion must not take the whole
    /// set down.
    Panic,
    /// Only endpoints of weight 0 are left.
    Reserve,
    /// No ready one is left; it still serves.
    Draining,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 9] = [
        Reason::Policy,
        Reason::Hash,
        Reason::Overflow,
        Reason::Affinity,
        Reason::Floor,
        Reason::Trial,
        Reason::Panic,
        Reason::Reserve,
        Reason::Draining,
    ];

    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Policy => "policy",
            Reason::Hash => "hash",
            Reason::Overflow => "overflow",
            Reason::Affinity => "affinity",
            Reason::Floor => "floor",
            Reason::Trial => "trial",
            Reason::Panic => "panic",
            Reason::Reserve => "reserve",
            Reason::Draining => "draining",
        }
    }
}

/// A picked endpoint.
#[derive(Debug)]
pub struct Pick {
    /// Its place among the members that the balancer was made of.
    pub index: usize,
    /// Why.
    pub reason: Reason,
    /// Among how many it was chosen.
    pub candidates: u32,
    /// The request, counted as open there while this lives.
    pub open: Open,
}
