//! What became of a request's affinity, as it is counted and logged: few words, the same for every kind of affinity.

/// What became of a request's affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It went to the endpoint that it is bound to: that of its cookie, or that of its hash.
    Hit,
    /// It has nothing to be bound by: no key in it, or (not counted) no affinity for it.
    None,
    /// Its client has no session yet.
    New,
    /// Its cookie's time is over, or not come yet.
    Expired,
    /// Its cookie is not one of ours.
    Forged,
    /// Its cookie is sealed with a key that is not, or no longer, known.
    UnknownKey,
    /// The endpoint that it is bound to is not there any more, or where sessions may not move, cannot be used.
    Gone,
    /// The endpoint that it is bound to is there, and another one took it: the first drains, cannot be reached, fails, or is full.
    Moved,
}

impl Outcome {
    /// Every outcome; its place here is its place in [`crate::state::PortStats::affinity`].
    pub const ALL: [Outcome; 8] = [
        Outcome::Hit,
        Outcome::None,
        Outcome::New,
        Outcome::Expired,
        Outcome::Forged,
        Outcome::UnknownKey,
        Outcome::Gone,
        Outcome::Moved,
    ];

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::None => "none",
            Outcome::New => "new",
            Outcome::Expired => "expired",
            Outcome::Forged => "forged",
            Outcome::UnknownKey => "unknown_key",
            Outcome::Gone => "gone",
            Outcome::Moved => "moved",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn places_agree() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
