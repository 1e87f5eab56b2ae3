//! Lists of CPUs, as the kernel writes them: `0-3,8`.

use std::fmt;

/// CPUs by number, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuList(Vec<u32>);

/// No machine has more; the kernel's own limit is far below.
const MOST: u32 = 1 << 16;

impl CpuList {
    /// Reads a list; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut cpus = Vec::new();
        for piece in text.trim().split(',').filter(|piece| !piece.is_empty()) {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let number = |text: &str| text.trim().parse::<u32>().ok().filter(|cpu| *cpu < MOST);
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(cpus.into_iter().collect())
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a CPU is one of them.
    pub fn has(&self, cpu: u32) -> bool {
        self.0.binary_search(&cpu).is_ok()
    }

    /// Those of another list too.
    pub fn common(&self, other: &CpuList) -> CpuList {
        self.iter().filter(|cpu| other.has(*cpu)).collect()
    }

    /// Those that another list has not.
    pub fn without(&self, other: &CpuList) -> CpuList {
        self.iter().filter(|cpu| !other.has(*cpu)).collect()
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut cpus: Vec<u32> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        CpuList(cpus)
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let mut comma = "";
        while let Some(&first) = rest.first() {
            let length = (first..).zip(rest).take_while(|(wanted, cpu)| wanted == *cpu).count();
            match length {
                1 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{}", rest[length - 1])?,
            }
            rest = &rest[length..];
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, written) in
            [("0", "0"), ("3,1,2", "1-3"), ("0-1,8-9,4\n", "0-1,4,8-9"), ("", ""), ("5,5", "5")]
        {
            assert_eq!(CpuList::parse(text).map(|cpus| cpus.to_string()).as_deref(), Some(written));
        }
        for text in ["x", "3-1", "0-", "-1", "0-99999999", "1.5"] {
            assert_eq!(CpuList::parse(text), None, "{text}");
        }
    }

    #[test]
    fn lists_are_compared() {
        let list = |text| CpuList::parse(text).unwrap();
        assert_eq!(list("0-3").common(&list("2-5")), list("2-3"));
        assert_eq!(list("0-3").without(&list("2-5")), list("0-1"));
        assert!(list("0-3").common(&list("7")).is_empty());
    }
}
