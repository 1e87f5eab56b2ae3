//! The rows about limits.

use nix::errno::Errno;

use super::{ALWAYS, Hint, Operation};

pub(super) const HINTS: &[Hint] = &[
    Hint {
        operations: &[Operation::Limit],
        errnos: &[Errno::EACCES, Errno::EPERM],
        when: ALWAYS,
        text: |_| {
            "the administrator has to hand the group over whole, and no process of another user may be \
             in groups below it (docs/limits.md)"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Limit],
        errnos: &[Errno::EINVAL, Errno::ERANGE, Errno::ENOSPC],
        when: ALWAYS,
        text: |_| {
            "a group around it allows less, or the kernel does not take such a value; ask for another"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Limit],
        errnos: &[Errno::EBUSY],
        when: ALWAYS,
        text: |_| {
            "processes of the group use more than that already, or the group around it has \
             processes of its own"
                .to_owned()
        },
    },
    Hint {
        operations: &[Operation::Limit],
        errnos: &[Errno::EAGAIN, Errno::ENOMEM],
        when: ALWAYS,
        text: |_| "a limit around it leaves no room for another process or group".to_owned(),
    },
    Hint {
        operations: &[Operation::Affinity],
        errnos: &[Errno::EINVAL],
        when: ALWAYS,
        text: |_| {
            "this job has other CPUs now: grep Cpus_allowed_list /proc/self/status says which"
                .to_owned()
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hints::{hint, operation};
    use crate::plan::{Action, Place};

    #[test]
    fn every_row_can_speak_and_names_a_remedy() {
        let place = Place { parent: "/g".into(), enable: Vec::new(), settings: Vec::new() };
        let limit = Action::Limit { shared: None, task: None, places: vec![place], says: None };
        let affinity = Action::Affinity { cpus: "9".to_owned() };
        let remedies = [
            "hand the group over whole",
            "ask for another",
            "use more than that",
            "no room",
            "Cpus_allowed_list",
        ];
        assert_eq!(HINTS.len(), remedies.len());
        for (row, remedy) in HINTS.iter().zip(remedies) {
            let action = if row.operations == [Operation::Limit] { &limit } else { &affinity };
            for errno in row.errnos {
                let text = hint(operation(action).unwrap(), *errno, &Default::default());
                assert!(text.as_ref().is_some_and(|text| text.contains(remedy)), "{text:?}");
            }
        }
    }
}
