//! Capabilities and the filter of system calls, as an OCI runtime takes them.

use std::str::FromStr;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, Capabilities as OciSet, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder,
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use runtime::capabilities::Set;
use runtime::plan::{Action, Capabilities, Plan};
use runtime::seccomp::{Comparison, Condition, Flag, Rule, Verdict};

type Result<T> = std::result::Result<T, OciSpecError>;

/// The sets of capabilities, where the plan says anything of the bounding set.
pub(super) fn capabilities(plan: &Plan) -> Result<Option<LinuxCapabilities>> {
    let kept = plan.steps.iter().find_map(|step| match step.action {
        Action::Restrict { capabilities } => Some(capabilities),
        _ => None,
    });
    let (kept, ambient) = match kept {
        Some(Capabilities::Kept) => (Set::ALL, false),
        Some(Capabilities::Exactly { kept, ambient }) => (kept, ambient),
        Some(Capabilities::DroppedForRoot) => (Set::NONE, false),
        Some(Capabilities::Dropped) | None => return Ok(None),
    };
    let set = |set: Set| -> OciSet {
        let names = set.names().filter_map(|name| name.strip_prefix("CAP_"));
        names.filter_map(|name| Capability::from_str(name).ok()).collect()
    };
    let inherited = if ambient { kept } else { Set::NONE };
    LinuxCapabilitiesBuilder::default()
        .bounding(set(kept))
        .effective(set(kept))
        .permitted(set(kept))
        .inheritable(set(inherited))
        .ambient(set(inherited))
        .build()
        .map(Some)
}

/// The filter, if the plan loads one.
pub(super) fn seccomp(plan: &Plan) -> Result<Option<LinuxSeccomp>> {
    let filter = plan.steps.iter().find_map(|step| match &step.action {
        Action::Filter { filter } => Some(filter),
        _ => None,
    });
    let Some(filter) = filter else { return Ok(None) };
    let named = |name: &String| serde_json::from_value(name.as_str().into());
    let machines: std::result::Result<Vec<Arch>, _> =
        filter.architectures.iter().map(named).collect();
    let flags = filter.flags.iter().map(|flag| match flag {
        Flag::Log => LinuxSeccompFilterFlag::SeccompFilterFlagLog,
        Flag::SpecAllow => LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
    });
    let (action, errno) = action(filter.default);
    let mut seccomp = LinuxSeccompBuilder::default()
        .default_action(action)
        .architectures(machines.map_err(|error| OciSpecError::Other(error.to_string()))?)
        .syscalls(filter.rules.iter().map(syscall).collect::<Result<Vec<_>>>()?)
        .build()?;
    seccomp.set_default_errno_ret(errno);
    let flags: Vec<_> = flags.collect();
    seccomp.set_flags((!flags.is_empty()).then_some(flags));
    Ok(Some(seccomp))
}

fn syscall(rule: &Rule) -> Result<LinuxSyscall> {
    let (action, errno) = action(rule.verdict);
    let arguments: Vec<_> = rule.when.iter().map(argument).collect::<Result<_>>()?;
    let mut call =
        LinuxSyscallBuilder::default().names(rule.calls.clone()).action(action).build()?;
    call.set_errno_ret(errno);
    call.set_args((!arguments.is_empty()).then_some(arguments));
    Ok(call)
}

fn argument(condition: &Condition) -> Result<LinuxSeccompArg> {
    let (op, value, second) = match condition.is {
        Comparison::Equal => (LinuxSeccompOperator::ScmpCmpEq, condition.value, None),
        Comparison::NotEqual => (LinuxSeccompOperator::ScmpCmpNe, condition.value, None),
        Comparison::Less => (LinuxSeccompOperator::ScmpCmpLt, condition.value, None),
        Comparison::LessOrEqual => (LinuxSeccompOperator::ScmpCmpLe, condition.value, None),
        Comparison::Greater => (LinuxSeccompOperator::ScmpCmpGt, condition.value, None),
        Comparison::GreaterOrEqual => (LinuxSeccompOperator::ScmpCmpGe, condition.value, None),
        Comparison::Masked(mask) => {
            (LinuxSeccompOperator::ScmpCmpMaskedEq, mask, Some(condition.value))
        }
    };
    let argument = LinuxSeccompArgBuilder::default().index(condition.argument).value(value).op(op);
    match second {
        Some(second) => argument.value_two(second).build(),
        None => argument.build(),
    }
}

fn action(verdict: Verdict) -> (LinuxSeccompAction, Option<u32>) {
    match verdict {
        Verdict::Allow => (LinuxSeccompAction::ScmpActAllow, None),
        Verdict::Log => (LinuxSeccompAction::ScmpActLog, None),
        Verdict::Errno(errno) => (LinuxSeccompAction::ScmpActErrno, Some(errno.into())),
        Verdict::Trap => (LinuxSeccompAction::ScmpActTrap, None),
        Verdict::Trace(data) => (LinuxSeccompAction::ScmpActTrace, Some(data.into())),
        Verdict::KillThread => (LinuxSeccompAction::ScmpActKillThread, None),
        Verdict::KillProcess => (LinuxSeccompAction::ScmpActKillProcess, None),
    }
}
