//! What can go wrong between here and a registry, and whether it is worth trying again.

use std::time::Duration;
use std::{fmt, io};

use runtime::error::Error;

/// One failed request, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether trying again may help.
    pub kind: Kind,
    /// Who did not do what: `registry-1.docker.io says 404 Not Found`.
    pub reason: String,
    /// The remedy.
    pub hint: Option<String>,
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It may, after this time if the server named one.
    Again(Option<Duration>),
    /// It may if the server has ever been there: else its name or address is wrong.
    Unreachable,
    /// The server does not have what was asked for.
    Missing,
    /// It will not.
    Final,
}

impl Failure {
    /// A failure that will not go away.
    pub fn new(reason: impl Into<String>) -> Self {
        Failure { kind: Kind::Final, reason: reason.into(), hint: None }
    }

    /// A failure of another kind.
    pub fn of(kind: Kind, reason: impl Into<String>) -> Self {
        Failure { kind, reason: reason.into(), hint: None }
    }

    /// Adds the remedy.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a line to the remedy.
    pub fn also(mut self, line: &str) -> Self {
        self.hint = Some(match self.hint.take() {
            Some(hint) => format!("{hint}\n{line}"),
            None => line.to_owned(),
        });
        self
    }

    /// The error of whoever wanted it.
    pub fn into_error(self, attempt: impl Into<String>) -> Error {
        Error::new(attempt, self.reason).hint_if_some(self.hint)
    }
}

/// So that it can travel through [`std::io::Read`], and come out as it was.
impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Failure::new(error.to_string()))
    }
}

/// How often something has been tried in vain, and what that means for the next time.
#[derive(Debug, Default)]
pub struct Tries {
    in_vain: u32,
    cuts: u32,
}

impl Tries {
    /// So often without any progress in between.
    const IN_VAIN: u32 = 5;
    /// So often in all: a connection that gives a byte each time makes progress, too.
    const CUTS: u32 = 1000;
    /// The first wait; each further one is twice as long.
    const FIRST: Duration = Duration::from_millis(250);
    /// Nobody sits and waits longer than this because a server asks for it.
    const LONGEST: Duration = Duration::from_secs(120);

    /// Something was got: the next failure is the first one again.
    pub fn progress(&mut self) {
        self.in_vain = 0;
    }

    /// How long to wait before the next try.
    ///
    /// # Errors
    ///
    /// Gives the failure back if it is not worth another try.
    pub fn wait(&mut self, failure: Failure, was_reached: bool) -> Result<Duration, Failure> {
        let asked = match failure.kind {
            Kind::Again(asked) => asked,
            Kind::Unreachable if was_reached => None,
            Kind::Unreachable | Kind::Missing | Kind::Final => return Err(failure),
        };
        self.in_vain += 1;
        self.cuts += 1;
        if let Some(asked) = asked.filter(|asked| *asked > Self::LONGEST) {
            let line =
                format!("it asks to be left alone for {} s: try again then", asked.as_secs());
            return Err(failure.also(&line));
        }
        if self.in_vain >= Self::IN_VAIN || self.cuts >= Self::CUTS {
            let reason = match self.in_vain >= Self::IN_VAIN {
                true => format!("{} ({} tries)", failure.reason, self.in_vain),
                false => format!("{} ({} cut connections)", failure.reason, self.cuts),
            };
            return Err(Failure { reason, ..failure });
        }
        let usual = Self::FIRST * 2_u32.pow(self.in_vain - 1);
        Ok(asked.map_or(usual, |asked| asked.max(usual)))
    }
}

/// Text of a server, made fit to be shown: on one line, not long, without control characters.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    let clean = |letter: char| if letter.is_control() { ' ' } else { letter };
    let line: String = text.trim().chars().map(clean).take(LONGEST).collect();
    if text.trim().chars().count() > LONGEST { line + "..." } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again() -> Failure {
        Failure::of(Kind::Again(None), "it is busy")
    }

    #[test]
    fn waits_grow_and_end() {
        let mut tries = Tries::default();
        let waits: Vec<u128> =
            (0..4).map(|_| tries.wait(again(), false).unwrap().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000]);
        assert_eq!(tries.wait(again(), false).unwrap_err().reason, "it is busy (5 tries)");
    }

    #[test]
    fn progress_begins_anew_but_not_for_ever() {
        let mut tries = Tries::default();
        let mut count = 0;
        while tries.wait(again(), false).is_ok() {
            tries.progress();
            count += 1;
        }
        assert_eq!(count, 999);
    }

    #[test]
    fn a_server_may_ask_for_time_within_reason() {
        let asks = |seconds| Failure::of(Kind::Again(Some(Duration::from_secs(seconds))), "busy");
        let mut tries = Tries::default();
        assert_eq!(tries.wait(asks(0), false), Ok(Duration::from_millis(250)));
        assert_eq!(tries.wait(asks(7), false), Ok(Duration::from_secs(7)));
        assert!(tries.wait(asks(3600), false).unwrap_err().hint.unwrap().contains("3600 s"));
    }

    #[test]
    fn what_was_never_there_is_not_waited_for() {
        let unreachable = Failure::of(Kind::Unreachable, "refused");
        assert!(Tries::default().wait(unreachable.clone(), false).is_err());
        assert!(Tries::default().wait(unreachable, true).is_ok());
        for kind in [Kind::Missing, Kind::Final] {
            assert!(Tries::default().wait(Failure::of(kind, "no"), true).is_err());
        }
    }

    #[test]
    fn text_of_servers_is_shown_on_one_line() {
        assert_eq!(shown(" a\n\u{1b}[31mb\t "), "a  [31mb");
        assert_eq!(shown(&"x".repeat(300)).len(), 203);
    }
}
