//! The one error of hrun: what was attempted, why it failed, who asked, what to do.

use std::fmt;

use nix::errno::Errno;

use crate::origin::Origin;
use crate::text::shown;

/// Shorthand for results that fail with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Exit status when hrun itself failed.
pub const STATUS_FAILED: u8 = 125;
/// Exit status when the command was found but could not be executed.
pub const STATUS_NOT_EXECUTABLE: u8 = 126;
/// Exit status when the command was not found.
pub const STATUS_NOT_FOUND: u8 = 127;

/// Describes one failure completely; only `main` prints it, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was attempted, as it reads after "cannot": `bind /scratch`.
    pub attempt: String,
    /// Why it failed.
    pub cause: Cause,
    /// Who asked for it.
    pub origin: Option<Origin>,
    /// What the user can do about it, one line or several.
    pub hint: Option<String>,
    /// The exit status: 125, 126 or 127.
    pub status: u8,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The kernel's error number.
    Errno(Errno),
    /// A sentence, where no error number says it.
    Reason(String),
}

impl Error {
    /// Makes an error of hrun itself from what was attempted and why it failed.
    pub fn new(attempt: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Error {
            attempt: attempt.into(),
            cause: cause.into(),
            origin: None,
            hint: None,
            status: STATUS_FAILED,
        }
    }

    /// Adds who asked for it.
    pub fn asked_by(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    /// Adds the remedy.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the remedy, where one is known.
    pub fn hint_if_some(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Changes the exit status from 125.
    pub fn status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Cause::Errno(errno)
    }
}

impl From<&str> for Cause {
    fn from(reason: &str) -> Self {
        Cause::Reason(reason.to_owned())
    }
}

impl From<String> for Cause {
    fn from(reason: String) -> Self {
        Cause::Reason(reason)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Errno(errno) => f.write_str(errno.desc()),
            Cause::Reason(reason) => f.write_str(reason),
        }
    }
}

/// Writes the message of DESIGN §2: one line, then `from:` and `hint:` lines where they are known.
///
/// Whatever names and reasons hold, no line begins in them and no terminal obeys them ([`shown`]).
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attempt, cause) = (shown(&self.attempt), self.cause.to_string());
        write!(f, "cannot {attempt}: {}", shown(&cause))?;
        if let Some(origin) = &self.origin {
            write!(f, "\n  from: {}", shown(&origin.to_string()))?;
        }
        for (number, line) in self.hint.iter().flat_map(|hint| hint.lines()).enumerate() {
            let label = if number == 0 { "hint:" } else { "     " };
            write!(f, "\n  {label} {}", shown(line))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Layer;

    #[test]
    fn reads_as_the_design_says() {
        let layer = Layer::Config { file: "/etc/hrun/config.toml".into(), line: 7 };
        let origin = Origin::Setting { option: "--bind /scratch".into(), layer };
        let error = Error::new("bind /scratch", Errno::ENOENT).asked_by(&origin).hint("one\ntwo");
        assert_eq!(
            error.to_string(),
            "cannot bind /scratch: No such file or directory\n  \
             from: --bind /scratch (config /etc/hrun/config.toml:7)\n  \
             hint: one\n        two"
        );
    }

    #[test]
    fn foreign_names_begin_no_line() {
        let origin = Origin::Image("label \x1b[2J".into());
        let error = Error::new("bind /a\nhint: rm -r /", "b\x07\n").asked_by(&origin).hint("c\x1b");
        assert_eq!(
            error.to_string(),
            "cannot bind /a\\nhint: rm -r /: b\\x07\\n\n  \
             from: image: label \\x1b[2J\n  hint: c\\x1b"
        );
    }
}
