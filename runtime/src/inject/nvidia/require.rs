//! What an image requires of the driver and the GPUs: `NVIDIA_REQUIRE_*`.
//!
//! `cuda>=12.4 brand=tesla,driver>=470,driver<471` holds if the driver supports CUDA 12.4, or if the
//! GPU is a Tesla and the driver 470: a space is an or, a comma an and. What nobody can know here
//! counts as true; a program finds out for itself.

use std::cmp::Ordering;
use std::fmt;

use crate::plan::Note;

/// The variable that makes requirements count for nothing.
pub const DISABLE: &str = "NVIDIA_DISABLE_REQUIRE";

/// What a driver's branch supports (CUDA release notes); branches between two rows support what
/// the lower one does. Those before the first count as one that every newer CUDA refuses.
const CUDA: [(u64, [u64; 2]); 29] = [
    (0, [8, 0]),
    (384, [9, 0]),
    (387, [9, 1]),
    (396, [9, 2]),
    (410, [10, 0]),
    (418, [10, 1]),
    (440, [10, 2]),
    (450, [11, 0]),
    (455, [11, 1]),
    (460, [11, 2]),
    (465, [11, 3]),
    (470, [11, 4]),
    (495, [11, 5]),
    (510, [11, 6]),
    (515, [11, 7]),
    (520, [11, 8]),
    (525, [12, 0]),
    (530, [12, 1]),
    (535, [12, 2]),
    (545, [12, 3]),
    (550, [12, 4]),
    (555, [12, 5]),
    (560, [12, 6]),
    (565, [12, 7]),
    (570, [12, 8]),
    (575, [12, 9]),
    (580, [13, 0]),
    (590, [13, 1]),
    (595, [13, 2]),
];

/// The first branch that no row is known for; it supports at least this.
const NEWEST: (u64, [u64; 2]) = (610, [13, 3]);

/// From these drivers on, programs of any minor version of a CUDA major version run (CUDA
/// compatibility guide).
const MINOR_COMPATIBLE: [(u64, [u64; 3]); 3] =
    [(11, [450, 80, 2]), (12, [525, 60, 13]), (13, [580, 65, 6])];

/// Words in the name of a product, and the brand they are of; the first that fits counts.
const BRANDS: [(&str, &str); 7] = [
    ("Tesla", "tesla"),
    ("GeForce", "geforce"),
    ("TITAN", "titan"),
    ("Quadro RTX", "quadrortx"),
    ("Quadro", "quadro"),
    ("NVIDIA RTX", "nvidiartx"),
    ("NVIDIA ", "nvidia"),
];

/// Whether a variable says something about requirements.
pub fn is_about(name: &[u8]) -> bool {
    name.starts_with(b"NVIDIA_REQUIRE_") || name == b"CUDA_VERSION" || name == DISABLE.as_bytes()
}

/// What came of the requirements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The requirements that do not hold, in the order of the variables.
    pub unsatisfied: Vec<Unsatisfied>,
    /// What could not be understood.
    pub notes: Vec<Note>,
}

/// A requirement that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsatisfied {
    /// The requirement as the image has it.
    pub condition: String,
    /// What there is instead: `cuda=12.2, driver=535.104.05, brand=tesla`.
    pub host: String,
    /// The driver is of the CUDA major version that is asked for, and new enough for programs of
    /// its other minor versions.
    pub is_minor_compatible: bool,
}

/// Holds what an image requires against a driver and the names of the GPUs' products.
///
/// Without GPUs, what is required of them counts as true.
pub fn check(variables: &[(&[u8], &[u8])], driver: &str, models: &[&str]) -> Verdict {
    let mut verdict = Verdict::default();
    if is_disabled(variables) {
        return verdict;
    }
    let machines = machines(driver, models);
    for text in requirements(variables) {
        let requirement = Requirement::parse(&text, &mut verdict.notes);
        let failed = machines.iter().find(|machine| !requirement.holds(machine, false));
        if let Some(machine) = failed {
            verdict.unsatisfied.push(Unsatisfied {
                host: machine.to_string(),
                is_minor_compatible: machines.iter().all(|each| requirement.holds(each, true)),
                condition: text,
            });
        }
    }
    verdict
}

/// The driver with each brand of GPU there is.
fn machines(driver: &str, models: &[&str]) -> Vec<Machine> {
    let mut brands: Vec<_> = models.iter().map(|model| brand(model)).collect();
    brands.sort_unstable();
    brands.dedup();
    if brands.is_empty() {
        brands.push(None);
    }
    brands.into_iter().map(|brand| Machine::new(driver, brand)).collect()
}

fn brand(model: &str) -> Option<&'static str> {
    BRANDS.iter().find(|(word, _)| model.contains(word)).map(|(_, brand)| *brand)
}

/// Any value counts but those that say no.
fn is_disabled(variables: &[(&[u8], &[u8])]) -> bool {
    let value = value(variables, DISABLE.as_bytes()).map(<[u8]>::trim_ascii);
    let no: [&[u8]; 4] = [b"", b"0", b"f", b"false"];
    value.is_some_and(|value| !no.iter().any(|word| value.eq_ignore_ascii_case(word)))
}

/// The requirements, as text.
fn requirements(variables: &[(&[u8], &[u8])]) -> Vec<String> {
    let is_requirement = |name: &[u8]| {
        name.starts_with(b"NVIDIA_REQUIRE_") && !name.starts_with(b"NVIDIA_REQUIRE_JETPACK")
    };
    let required = variables.iter().filter(|(name, _)| is_requirement(name));
    let required = required.map(|(_, value)| String::from_utf8_lossy(value).trim().to_owned());
    required.chain(of_old_image(variables)).collect()
}

/// Old images say only which CUDA is in them.
fn of_old_image(variables: &[(&[u8], &[u8])]) -> Option<String> {
    if value(variables, b"NVIDIA_REQUIRE_CUDA").is_some() {
        return None;
    }
    let version = String::from_utf8_lossy(value(variables, b"CUDA_VERSION")?);
    match numbers(version.trim())?.as_slice() {
        [major, minor, ..] => Some(format!("cuda>={major}.{minor}")),
        _ => None,
    }
}

/// The value of a variable; later ones of the same name are never seen.
fn value<'a>(variables: &[(&[u8], &'a [u8])], name: &[u8]) -> Option<&'a [u8]> {
    variables.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

/// What requirements are held against.
#[derive(Debug)]
struct Machine {
    driver: String,
    version: Option<Vec<u64>>,
    cuda: Option<[u64; 2]>,
    /// The driver is of a branch that no row is known for, and `cuda` the least it supports.
    is_newer: bool,
    brand: Option<&'static str>,
}

impl Machine {
    fn new(driver: &str, brand: Option<&'static str>) -> Self {
        let version = numbers(driver);
        let branch = version.as_ref().and_then(|version| version.first().copied());
        let is_newer = branch.is_some_and(|branch| branch >= NEWEST.0);
        let row = branch.and_then(|branch| CUDA.iter().rfind(|(first, _)| *first <= branch));
        let cuda = if is_newer { Some(NEWEST.1) } else { row.map(|(_, cuda)| *cuda) };
        Machine { driver: driver.to_owned(), version, cuda, is_newer, brand }
    }

    /// Whether the driver runs programs of any minor version of a CUDA major version.
    fn is_minor_compatible(&self, major: u64) -> bool {
        let (Some(version), Some([own, _])) = (&self.version, self.cuda) else { return false };
        let least = MINOR_COMPATIBLE.iter().find(|(of, _)| *of == major);
        own == major && least.is_some_and(|(_, least)| compare(version, least).is_ge())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some([major, minor]) = self.cuda {
            write!(f, "cuda={major}.{minor}, ")?;
        }
        write!(f, "driver={}", self.driver)?;
        if let Some(brand) = self.brand { write!(f, ", brand={brand}") } else { Ok(()) }
    }
}

/// One of the alternatives has to hold.
#[derive(Debug)]
struct Requirement(Vec<Vec<Predicate>>);

/// What is said of one property.
#[derive(Debug)]
enum Predicate {
    Cuda(Operator, Vec<u64>),
    Driver(Operator, Vec<u64>),
    /// The word, and whether the brand has to be another.
    Brand {
        word: String,
        is_other: bool,
    },
    /// What nobody can know here.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The longer ones first: `>=` begins like `>`.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("=", Operator::Equal),
];

impl Requirement {
    fn parse(text: &str, notes: &mut Vec<Note>) -> Self {
        let alternatives = text.split_whitespace().map(|alternative| {
            let tokens = alternative.split(',').filter(|token| !token.is_empty());
            tokens.map(|token| Predicate::parse(token, notes)).collect::<Vec<_>>()
        });
        Requirement(alternatives.filter(|predicates| !predicates.is_empty()).collect())
    }

    /// Whether it holds; if `any_minor`, minor versions of CUDA are made light of.
    fn holds(&self, machine: &Machine, any_minor: bool) -> bool {
        let holds = |predicate: &Predicate| predicate.holds(machine, any_minor);
        self.0.is_empty() || self.0.iter().any(|predicates| predicates.iter().all(holds))
    }
}

impl Predicate {
    fn parse(token: &str, notes: &mut Vec<Note>) -> Self {
        let known = split(token).and_then(|(name, operator, value)| match (name, operator) {
            ("cuda", _) => Some(Predicate::Cuda(operator, numbers(value)?)),
            ("driver", _) => Some(Predicate::Driver(operator, numbers(value)?)),
            ("brand", Operator::Equal | Operator::NotEqual) => Some(Predicate::Brand {
                word: value.to_owned(),
                is_other: operator == Operator::NotEqual,
            }),
            ("arch", _) => Some(Predicate::Unknown),
            _ => None,
        });
        known.unwrap_or_else(|| {
            notes.push(Note::info(format!(
                "the image requires {token:?}, which means nothing to hrun and is passed over"
            )));
            Predicate::Unknown
        })
    }

    fn holds(&self, machine: &Machine, any_minor: bool) -> bool {
        match self {
            Predicate::Cuda(operator, version) => cuda(machine, *operator, version, any_minor),
            Predicate::Driver(operator, version) => {
                machine.version.as_ref().is_none_or(|own| operator.holds(compare(own, version)))
            }
            Predicate::Brand { word, is_other } => {
                machine.brand.is_none_or(|brand| brand.eq_ignore_ascii_case(word) != *is_other)
            }
            Predicate::Unknown => true,
        }
    }
}

/// Whether the CUDA version a driver supports is as required.
fn cuda(machine: &Machine, operator: Operator, version: &[u64], any_minor: bool) -> bool {
    let Some(own) = machine.cuda else { return true };
    let order = compare(&own, version);
    let is_lower_bound =
        matches!(operator, Operator::Equal | Operator::Greater | Operator::GreaterOrEqual);
    let major = version.first().copied().unwrap_or(0);
    operator.holds(order)
        || machine.is_newer && order.is_le()
        || any_minor && is_lower_bound && machine.is_minor_compatible(major)
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// Takes `cuda>=12.4` apart.
fn split(token: &str) -> Option<(&str, Operator, &str)> {
    let (name, rest) = token.split_at(token.find(['<', '>', '=', '!'])?);
    OPERATORS.iter().find_map(|(sign, operator)| Some((name, *operator, rest.strip_prefix(sign)?)))
}

/// The numbers of a version; nothing if it has anything else.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    version.split('.').map(|part| part.parse().ok().filter(|_| is_number(part))).collect()
}

/// Compares versions number by number; those that are missing are zero.
fn compare(one: &[u64], other: &[u64]) -> Ordering {
    let number = |version: &[u64], place| version.get(place).copied().unwrap_or(0);
    let places = 0..one.len().max(other.len());
    places
        .map(|place| number(one, place).cmp(&number(other, place)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests;
