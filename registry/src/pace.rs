//! Whether bytes come fast enough for a connection to be worth keeping.

use std::time::{Duration, Instant};

/// Less in a second is no download: a modem does more.
const PER_SECOND: u64 = 1024;
/// Time enough for what only stumbles to catch up.
const WINDOW: Duration = Duration::from_secs(60);
/// What the first moments of a connection have to bring to count.
const LEAST: u64 = 4096;

/// What a connection is slow, in words.
pub const TOO_SLOW: &str = "sends less than 1 KiB a second";

/// Counts what comes through a connection.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    bytes: u64,
}

/// How a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is too early to tell.
    Open,
    /// It has kept up for a while.
    Fair,
    /// It has not: it is to be given up.
    Slow,
}

impl Pace {
    /// Begins to count.
    pub fn begin() -> Self {
        Pace { since: Instant::now(), bytes: 0 }
    }

    /// So many bytes more have come.
    pub fn count(&mut self, bytes: usize) -> Verdict {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.since.elapsed() < WINDOW {
            return Verdict::Open;
        }
        let verdict = if self.kept_up() { Verdict::Fair } else { Verdict::Slow };
        *self = Pace::begin();
        verdict
    }

    /// Whether it has kept up until now: if it is cut, something has been got.
    pub fn kept_up(&self) -> bool {
        self.bytes >= LEAST.max(self.since.elapsed().as_secs() * PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(time: Duration, bytes: u64) -> Pace {
        Pace { since: Instant::now().checked_sub(time).unwrap(), bytes }
    }

    #[test]
    fn a_connection_that_only_drips_is_given_up() {
        assert_eq!(Pace::begin().count(1), Verdict::Open);
        assert_eq!(after(WINDOW, 59).count(1), Verdict::Slow);
        assert_eq!(after(WINDOW, 30 << 10).count(1), Verdict::Slow);
        assert_eq!(after(WINDOW, 60 << 10).count(1), Verdict::Fair);
        // One that was fast once does not live on that.
        let mut pace = after(WINDOW, 1 << 30);
        assert_eq!(pace.count(1), Verdict::Fair);
        assert!(!pace.kept_up());
    }

    #[test]
    fn a_cut_connection_has_brought_something_or_not() {
        assert!(!after(Duration::ZERO, 1).kept_up());
        assert!(after(Duration::ZERO, 4096).kept_up());
        assert!(!after(Duration::from_secs(50), 5000).kept_up());
    }
}
