//! Whose system calls a filter sees, and their numbers: crate `syscalls`.
//!
//! A processor runs programs of more than one kind, and each kind numbers its calls anew.

/// A kind of program this machine may run.
#[derive(Debug)]
pub struct Architecture {
    /// As the OCI calls it: `SCMP_ARCH_X86_64`.
    pub name: &'static str,
    /// As Docker's profiles call it in conditions: `amd64`.
    pub go_name: &'static str,
    /// `AUDIT_ARCH_*` of linux/audit.h, by which the kernel tells a filter.
    pub(super) audit: u32,
    /// The first number that is none of its calls; on x86-64 the calls of x32 start here.
    pub(super) end: u32,
    /// The number of a call.
    pub(super) number: fn(&str) -> Option<u32>,
    /// The names of all calls.
    pub(super) names: fn() -> Vec<&'static str>,
}

const LITTLE_ENDIAN: u32 = 0x4000_0000;
const SIXTY_FOUR_BITS: u32 = 0x8000_0000;

/// `Sysno` of one machine as a function from names to numbers.
macro_rules! numbers {
    ($machine:ident) => {
        |name| {
            let call: syscalls::$machine::Sysno = name.parse().ok()?;
            u32::try_from(call.id()).ok()
        }
    };
}

/// The names in `Sysno` of one machine.
macro_rules! names {
    ($machine:ident) => {
        || syscalls::$machine::Sysno::iter().map(|call| call.name()).collect()
    };
}

/// The kinds of programs hrun knows on the machine it is built for; its own kind comes first.
#[cfg(target_arch = "x86_64")]
pub const CALLS: &[Architecture] = &[
    Architecture {
        name: "SCMP_ARCH_X86_64",
        go_name: "amd64",
        audit: 62 | SIXTY_FOUR_BITS | LITTLE_ENDIAN,
        end: 0x4000_0000,
        number: numbers!(x86_64),
        names: names!(x86_64),
    },
    Architecture {
        name: "SCMP_ARCH_X86",
        go_name: "x86",
        audit: 3 | LITTLE_ENDIAN,
        end: u32::MAX,
        number: numbers!(x86),
        names: names!(x86),
    },
];

/// The kinds of programs hrun knows on the machine it is built for; its own kind comes first.
#[cfg(target_arch = "aarch64")]
pub const CALLS: &[Architecture] = &[
    Architecture {
        name: "SCMP_ARCH_AARCH64",
        go_name: "arm64",
        audit: 183 | SIXTY_FOUR_BITS | LITTLE_ENDIAN,
        end: u32::MAX,
        number: numbers!(aarch64),
        names: names!(aarch64),
    },
    Architecture {
        name: "SCMP_ARCH_ARM",
        go_name: "arm",
        audit: 40 | LITTLE_ENDIAN,
        end: u32::MAX,
        number: numbers!(arm),
        names: names!(arm),
    },
];

/// Whether a machine that hrun does not run on has a call of this name; profiles are written for
/// all machines at once.
pub(super) fn is_known_elsewhere(name: &str) -> bool {
    let numbers: &[fn(&str) -> Option<u32>] = &[
        numbers!(arm),
        numbers!(loongarch64),
        numbers!(mips),
        numbers!(mips64),
        numbers!(powerpc64),
        numbers!(riscv64),
        numbers!(s390x),
        numbers!(x86),
    ];
    numbers.iter().any(|number| number(name).is_some())
}
