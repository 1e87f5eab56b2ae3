//! Which of several images runs on this machine.

use oci_spec::image::{Arch, Descriptor, Os};

/// This machine's architecture, as images call it.
pub fn architecture() -> Arch {
    match std::env::consts::ARCH {
        "x86_64" => Arch::Amd64,
        "aarch64" => Arch::ARM64,
        "powerpc64" => Arch::PowerPC64le,
        "s390x" => Arch::s390x,
        "riscv64" => Arch::RISCV64,
        other => Arch::Other(other.to_owned()),
    }
}

/// Whether an image runs here, as far as it says.
pub fn fits(image: &Descriptor) -> bool {
    image.platform().as_ref().is_none_or(|platform| {
        *platform.os() == Os::Linux && *platform.architecture() == architecture()
    })
}

/// What an image says it runs on.
pub fn named(image: &Descriptor) -> Option<String> {
    let platform = image.platform().as_ref()?;
    let variant = platform.variant().iter().map(|variant| format!("/{variant}"));
    let rest: String = variant.collect();
    Some(format!("{}/{}{rest}", platform.os(), platform.architecture()))
}
