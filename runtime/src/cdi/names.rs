//! Names of container devices: `nvidia.com/gpu=0`.

use std::fmt;

/// Names one device: its kind, which is a vendor and a class, and its name within the kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualifiedName {
    kind: String,
    device: String,
}

impl QualifiedName {
    /// Reads `vendor.com/class=name`.
    ///
    /// # Errors
    ///
    /// Says which part is missing or has a letter that none may have there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((kind, device)) = text.split_once('=') else {
            return Err(format!("{text:?} is not of the form vendor.com/class=name"));
        };
        QualifiedName::new(kind, device)
    }

    /// Makes a name of a kind, `vendor.com/class`, and the name of a device.
    ///
    /// # Errors
    ///
    /// As [`QualifiedName::parse`].
    pub fn new(kind: &str, device: &str) -> Result<Self, String> {
        check_kind(kind)?;
        check_device(device)?;
        Ok(QualifiedName { kind: kind.to_owned(), device: device.to_owned() })
    }

    /// The vendor and the class: `nvidia.com/gpu`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name within the kind: `0`, `all`.
    pub fn device(&self) -> &str {
        &self.device
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

/// Checks a kind: a vendor and a class that begin with a letter, with dots in either, as the
/// specification allows since 0.6.0.
pub(super) fn check_kind(kind: &str) -> Result<(), String> {
    let Some((vendor, class)) = kind.split_once('/') else {
        return Err(format!("the kind {kind:?} is not of the form vendor.com/class"));
    };
    let starts = |letter: char| letter.is_ascii_alphabetic();
    check("vendor", vendor, starts, "_-.")?;
    check("class", class, starts, "_-.")
}

/// Checks the name of a device; it may begin with a digit, as the specification allows since
/// 0.5.0.
pub(super) fn check_device(name: &str) -> Result<(), String> {
    check("device name", name, |letter| letter.is_ascii_alphanumeric(), "_-.:")
}

fn check(what: &str, name: &str, starts: fn(char) -> bool, marks: &str) -> Result<(), String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric();
    let wrong = if name.is_empty() {
        "is empty".to_owned()
    } else if let Some(letter) = name.chars().find(|c| !is_plain(*c) && !marks.contains(*c)) {
        format!("has a {letter:?}")
    } else if !name.starts_with(starts) {
        format!("begins with a {:?}", &name[..1])
    } else if !name.ends_with(is_plain) {
        format!("ends with a {:?}", &name[name.len() - 1..])
    } else {
        return Ok(());
    };
    Err(format!("the {what} {name:?} {wrong}"))
}
