//! Where lines end: CR LF and nothing else. What a line says is read in `start`, `fields` and `chunks`.

use std::ops::Range;

use crate::Malformed;

/// Where the search for line ends stands: no byte is searched twice, however the lines come.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Where the line under way begins.
    begin: usize,
    /// How many bytes were searched.
    searched: usize,
}

impl Lines {
    /// The next line without its end, if all of it is within the first `limit` bytes of `bytes`; `too_long` where it cannot be
    /// any more.
    pub(crate) fn next(
        &mut self,
        bytes: &[u8],
        limit: usize,
        too_long: Malformed,
    ) -> Result<Option<Range<usize>>, Malformed> {
        let within = bytes.get(..limit).unwrap_or(bytes);
        let rest = within.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', rest) else {
            self.searched = within.len();
            return if within.len() >= limit { Err(too_long) } else { Ok(None) };
        };
        let lf = self.searched + found;
        let line = within.get(self.begin..lf).unwrap_or_default();
        if line.last() != Some(&b'\r') {
            return Err(Malformed::BareLf);
        }
        let line = self.begin..lf - 1;
        self.begin = lf + 1;
        self.searched = lf + 1;
        Ok(Some(line))
    }

    /// Where the line under way begins: after all those that were found.
    pub(crate) fn begin(&self) -> usize {
        self.begin
    }

    /// Whether a byte was looked at.
    pub(crate) fn has_begun(&self) -> bool {
        self.searched > 0
    }
}
