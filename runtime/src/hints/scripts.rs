//! The rows about scripts of images that set variables.

use nix::errno::Errno;

use super::{ALWAYS, Hint, Operation};

pub(super) const HINTS: &[Hint] = &[
    Hint {
        operations: &[Operation::Source],
        errnos: &[Errno::ECANCELED],
        when: ALWAYS,
        text: |_| {
            "the image's shell ended before they were through, by an error or an exit in one of them; \
             repair it,\nor leave it out, for example: --bind \
             /dev/null:/.singularity.d/env/90-environment.sh"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Source],
        errnos: &[Errno::EAGAIN, Errno::ENOMEM, Errno::EPERM, Errno::EACCES],
        when: ALWAYS,
        text: |_| {
            "the image's shell runs in a process of its own, which could not be started or looked at; see \
             ulimit -u, the limits of the job and the filter of system calls"
                .to_owned()
        },
    },
];
