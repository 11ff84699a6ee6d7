//! What is done with a value of an accepted spec that is out of bounds nevertheless (a spec of another version): it is left out, and
//! told. Which value that is, is for the others here to find.

use std::time::Duration;

use tenbin_model::{FieldError, bounds};

use crate::problem::Problem;

/// The values of a spec, judged one by one; what is wrong with them is a problem for `reason`.
pub(super) struct Judged<'a> {
    pub(super) reason: &'static str,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Judged<'_> {
    /// The value, if it is within bounds.
    pub(super) fn kept<T>(&mut self, judged: Result<T, FieldError>) -> Option<T> {
        let tell = |error: FieldError| {
            let text = format!(
                "{:?} is not accepted, expected {}; it is left out",
                error.value, error.accepted
            );
            self.problems.push(Problem::warning(error.path, self.reason, text));
        };
        judged.map_err(tell).ok()
    }

    /// A time that may be given, within the bounds of `judge`.
    pub(super) fn time(
        &mut self,
        path: &str,
        text: Option<&String>,
        judge: fn(&str, Duration) -> Result<Duration, FieldError>,
    ) -> Option<Duration> {
        let text = text?;
        self.kept(bounds::duration(path, text).and_then(|time| judge(path, time)))
    }

    /// A number that may be given, within the bounds of `judge`.
    pub(super) fn number<T>(
        &mut self,
        path: &str,
        value: Option<impl Into<u64>>,
        judge: fn(&str, u64) -> Result<T, FieldError>,
    ) -> Option<T> {
        let value = value?.into();
        self.kept(judge(path, value))
    }
}
