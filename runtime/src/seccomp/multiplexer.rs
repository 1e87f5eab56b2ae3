//! Calls that carry others: socketcall(2) and ipc(2), by which 32-bit programs on x86 and programs
//! on s390x, ppc64 and mips make sockets and use System V IPC.
//!
//! Which call they carry is their first argument, so a filter can follow the rules of that call.
//! Its arguments lie in memory, where no filter sees them: conditions on them cannot be judged.

use super::{Comparison, Condition, Rule, Verdict, about};

/// A call that carries others.
pub(super) struct Multiplexer {
    /// Its name.
    pub(super) name: &'static str,
    /// The bits of its first argument by which the kernel tells what is carried: for socketcall(2)
    /// an `int`, for ipc(2) the lower half of one, above which there is a version.
    mask: u64,
    /// What it carries, by number. A second name is what the same is called by machines that
    /// have no call of the first.
    carries: &'static [(u64, &'static [&'static str])],
}

/// All there are, on whatever machine; numbers of linux/net.h and linux/ipc.h.
pub(super) const ALL: &[Multiplexer] = &[
    Multiplexer {
        name: "socketcall",
        mask: 0xffff_ffff,
        carries: &[
            (1, &["socket"]),
            (2, &["bind"]),
            (3, &["connect"]),
            (4, &["listen"]),
            (5, &["accept"]),
            (6, &["getsockname"]),
            (7, &["getpeername"]),
            (8, &["socketpair"]),
            (9, &["send", "sendto"]),
            (10, &["recv", "recvfrom"]),
            (11, &["sendto"]),
            (12, &["recvfrom"]),
            (13, &["shutdown"]),
            (14, &["setsockopt"]),
            (15, &["getsockopt"]),
            (16, &["sendmsg"]),
            (17, &["recvmsg"]),
            (18, &["accept4"]),
            (19, &["recvmmsg"]),
            (20, &["sendmmsg"]),
        ],
    },
    Multiplexer {
        name: "ipc",
        mask: 0xffff,
        carries: &[
            (1, &["semop"]),
            (2, &["semget"]),
            (3, &["semctl"]),
            (4, &["semtimedop"]),
            (11, &["msgsnd"]),
            (12, &["msgrcv"]),
            (13, &["msgget"]),
            (14, &["msgctl"]),
            (21, &["shmat"]),
            (22, &["shmdt"]),
            (23, &["shmget"]),
            (24, &["shmctl"]),
        ],
    },
];

impl Multiplexer {
    /// The rules for it in a filter: those it carries by, then its own.
    ///
    /// * What is never made directly is never carried, whatever is said about the multiplexer.
    /// * Else rules about the multiplexer itself count, where there are any.
    /// * Else it follows the rules of what it carries; where those ask for arguments, the
    ///   strictest of all that may happen does.
    pub(super) fn rules(&self, default: Verdict, rules: &[Rule]) -> Vec<Rule> {
        let own: Vec<&Rule> = about(self.name, rules);
        let mut all = Vec::new();
        for (number, names) in self.carries {
            let carried =
                names.iter().map(|name| about(name, rules)).find(|found| !found.is_empty());
            let mut fates: Vec<Verdict> =
                carried.iter().flatten().map(|rule| rule.verdict).collect();
            let is_certain = carried.as_ref().is_some_and(|found| found[0].when.is_empty());
            if !is_certain {
                fates.push(default);
            }
            let is_never_made = !fates.iter().any(|fate| fate.is_made());
            let Some(fate) = fates.into_iter().max_by_key(|fate| fate.severity()) else { continue };
            let says_nothing_new = own.is_empty() && fate == default;
            if says_nothing_new || (!own.is_empty() && !is_never_made) {
                continue;
            }
            let is = Comparison::Masked(self.mask);
            let when = vec![Condition { argument: 0, is, value: *number }];
            all.push(Rule { calls: vec![self.name.to_owned()], when, verdict: fate });
        }
        all.extend(own.into_iter().cloned());
        all
    }

    /// The calls it carries unconditionally by a rule of its own, although the filter makes them
    /// under conditions only.
    pub(super) fn carries_unseen(&self, default: Verdict, rules: &[Rule]) -> Vec<&'static str> {
        let is_made = |rule: &&Rule| rule.verdict.is_made();
        if !about(self.name, rules).iter().any(is_made) {
            return Vec::new();
        }
        let is_partly_made = |name: &&str| {
            let rules = about(name, rules);
            let fates = rules.iter().map(|rule| rule.verdict).chain([default]);
            let some = fates.filter(|fate| fate.is_made()).count();
            rules.first().is_some_and(|first| !first.when.is_empty())
                && (1..=rules.len()).contains(&some)
        };
        let names = self.carries.iter().flat_map(|(_, names)| *names).copied();
        names.filter(is_partly_made).collect()
    }
}

impl Verdict {
    /// Whether the call is made, or may be.
    pub(super) fn is_made(self) -> bool {
        matches!(self, Verdict::Allow | Verdict::Log | Verdict::Trace(_))
    }

    /// The kernel's order, from what is mildest: of several filters the strictest counts
    /// (seccomp(2)).
    fn severity(self) -> u8 {
        match self {
            Verdict::Allow => 0,
            Verdict::Log => 1,
            Verdict::Trace(_) => 2,
            Verdict::Errno(_) => 3,
            Verdict::Trap => 4,
            Verdict::KillThread => 5,
            Verdict::KillProcess => 6,
        }
    }
}
