//! What people call the machines that programs are made for.

/// The usual name of a machine number of elf(5).
pub(super) fn name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        20 | 21 => "ppc64le",
        22 => "s390x",
        40 => "32-bit ARM",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        _ => return format!("machine {machine}"),
    };
    name.to_owned()
}
