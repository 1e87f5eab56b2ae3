//! Profiles as files: the format of Docker and podman, of which that of the OCI's `linux.seccomp`
//! is a part.

use serde::Deserialize;

use super::{
    Architecture, CALLS, Comparison, Condition, Filter, Flag, Rule, Verdict, architecture,
};
use crate::capabilities::Set;
use crate::text;

/// A profile as it is written; what hrun has no use for is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Group>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

/// Calls with one fate, where a condition on the machine holds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    names: Option<Vec<String>>,
    /// As profiles before 2017 have it.
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    includes: Option<Where>,
    excludes: Option<Where>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Where {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What a profile is resolved for.
pub struct Circumstances<'a> {
    /// The capabilities the command has.
    pub capabilities: Set,
    /// Whether the kernel is of this release, major and minor, or newer.
    pub kernel_is: &'a dyn Fn(u32, u32) -> bool,
}

/// A filter, and the names in its profile that neither this machine nor its kin has a call of.
#[derive(Debug)]
pub struct Resolved {
    /// The filter.
    pub filter: Filter,
    /// The names, each once.
    pub unknown: Vec<String>,
}

/// What is wrong with a profile.
#[derive(Debug)]
pub struct Wrong {
    /// What, and where.
    pub reason: String,
    /// What to do about it, where that is no matter of course.
    pub hint: Option<String>,
}

impl From<String> for Wrong {
    fn from(reason: String) -> Self {
        Wrong { reason, hint: None }
    }
}

/// Reads a profile and compiles what of it applies here.
///
/// # Errors
///
/// Says what is wrong with the profile, and where.
pub fn resolve(json: &[u8], here: &Circumstances) -> Result<Resolved, Wrong> {
    let profile: Profile = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let default = verdict(&profile.default_action, profile.default_errno_ret)
        .map_err(|reason| format!("defaultAction: {reason}"))?;
    let flags = profile.flags.iter().flatten().map(|name| flag(name));
    let flags: Vec<Flag> = flags.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    let mut rules = Vec::new();
    let mut unknown = Vec::new();
    for (number, group) in profile.syscalls.iter().flatten().enumerate() {
        let wrong = |reason: String| format!("syscalls[{number}]: {reason}");
        let fate = verdict(&group.action, group.errno_ret).map_err(wrong)?;
        let conditions = conditions(group).map_err(wrong)?;
        let includes = group.includes.as_ref().map_or(Ok(true), |found| found.all(here));
        let excludes = group.excludes.as_ref().map_or(Ok(false), |found| found.any(here));
        let applies = includes.map_err(wrong)? && !excludes.map_err(wrong)?;
        // What happens anyway needs no rule; libseccomp's users pass such rules over, too.
        if !applies || fate == default {
            continue;
        }
        let (mut calls, mut others) = (Vec::new(), Vec::new());
        for name in group.names.iter().flatten().chain(&group.name) {
            let is_known = CALLS.iter().any(|machine| (machine.number)(name).is_some());
            if is_known { calls.push(name.clone()) } else { others.push(name.clone()) }
        }
        if default.is_made() && !fate.is_made() {
            others.iter().try_for_each(|name| forbids_something(number, name))?;
        }
        unknown.extend(others);
        for when in conditions {
            rules.push(Rule { calls: calls.clone(), when, verdict: fate });
        }
    }
    rules.retain(|rule| !rule.calls.is_empty());
    unknown.sort();
    unknown.dedup();
    let filter = Filter::new(default, flags, &architectures(&profile), rules)?;
    Ok(Resolved { filter, unknown })
}

/// A forbidding rule with a mistyped name would leave the call open, and look as if it did not.
fn forbids_something(group: usize, name: &str) -> Result<(), Wrong> {
    if architecture::is_known_elsewhere(name) {
        return Ok(());
    }
    let reason = format!(
        "syscalls[{group}] forbids '{name}', which is a system call of no machine known here, \
         and so would forbid nothing"
    );
    let remove = "take the name out of the profile";
    let hint = match text::nearest(name, CALLS.iter().flat_map(|machine| (machine.names)())) {
        Some(meant) => format!("did you mean {meant}? If not, {remove}"),
        None => remove.to_owned(),
    };
    Err(Wrong { reason, hint: Some(hint) })
}

/// The machines a profile is about: this one, and those of its kin that it names; where it names
/// none, all of its kin.
fn architectures(profile: &Profile) -> Vec<&'static Architecture> {
    let own = CALLS.first().map(|own| own.name);
    let mut named: Vec<&String> = profile.architectures.iter().flatten().collect();
    for map in profile.arch_map.iter().flatten() {
        named.push(&map.architecture);
        if Some(map.architecture.as_str()) == own {
            named.extend(map.sub_architectures.iter().flatten());
        }
    }
    let is_meant = |known: &&Architecture| {
        named.is_empty() || Some(known.name) == own || named.iter().any(|name| *name == known.name)
    };
    CALLS.iter().filter(is_meant).collect()
}

fn verdict(action: &str, errno: Option<u32>) -> Result<Verdict, String> {
    let number = || match errno.map(u16::try_from) {
        None => Ok(libc::EPERM as u16),
        // The kernel takes no larger one (MAX_ERRNO).
        Some(Ok(errno)) if errno <= 4095 => Ok(errno),
        Some(_) => Err("errnoRet is larger than 4095".to_owned()),
    };
    Ok(match action {
        "SCMP_ACT_ALLOW" => Verdict::Allow,
        "SCMP_ACT_LOG" => Verdict::Log,
        "SCMP_ACT_ERRNO" => Verdict::Errno(number()?),
        "SCMP_ACT_TRAP" => Verdict::Trap,
        "SCMP_ACT_TRACE" => Verdict::Trace(number()?),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Verdict::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Verdict::KillProcess,
        "SCMP_ACT_NOTIFY" => {
            return Err("SCMP_ACT_NOTIFY asks another program, and hrun has none".to_owned());
        }
        _ => return Err(format!("'{action}' is not an action it knows")),
    })
}

/// Some flags mean nothing for a process of one thread that nobody is asked about.
fn flag(name: &str) -> Result<Option<Flag>, String> {
    match name {
        "SECCOMP_FILTER_FLAG_LOG" => Ok(Some(Flag::Log)),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(Some(Flag::SpecAllow)),
        "SECCOMP_FILTER_FLAG_TSYNC" | "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Ok(None),
        _ => Err(format!("flags: '{name}' is not a flag it knows")),
    }
}

/// The conditions of a group, for each of the rules it becomes.
///
/// Conditions on different arguments must all hold. Where two are on the same, any one is enough:
/// so runc and crun read them, because libseccomp takes one for each.
fn conditions(group: &Group) -> Result<Vec<Vec<Condition>>, String> {
    let arguments = group.args.iter().flatten();
    let conditions: Vec<Condition> = arguments.map(condition).collect::<Result<_, _>>()?;
    let repeats = (1..conditions.len()).any(|index| {
        let (before, rest) = conditions.split_at(index);
        before.iter().any(|other| other.argument == rest[0].argument)
    });
    if repeats {
        return Ok(conditions.into_iter().map(|condition| vec![condition]).collect());
    }
    Ok(vec![conditions])
}

fn condition(written: &Argument) -> Result<Condition, String> {
    if written.index > 5 {
        return Err(format!("args: a call has no argument {}", written.index));
    }
    let (is, value) = match written.op.as_str() {
        "SCMP_CMP_EQ" => (Comparison::Equal, written.value),
        "SCMP_CMP_NE" => (Comparison::NotEqual, written.value),
        "SCMP_CMP_LT" => (Comparison::Less, written.value),
        "SCMP_CMP_LE" => (Comparison::LessOrEqual, written.value),
        "SCMP_CMP_GT" => (Comparison::Greater, written.value),
        "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, written.value),
        "SCMP_CMP_MASKED_EQ" => (Comparison::Masked(written.value), written.value_two),
        op => return Err(format!("args: '{op}' is not a comparison it knows")),
    };
    Ok(Condition { argument: written.index, is, value })
}

impl Where {
    /// Whether all that is asked for is there: the machine is one of several, every capability.
    fn all(&self, here: &Circumstances) -> Result<bool, String> {
        let arches = self.arches.as_deref().unwrap_or_default();
        let kernel = self.kernel(here)?.unwrap_or(true);
        let has_all = self.caps().all(|one| one.is_some_and(|one| here.capabilities.holds(one)));
        Ok((arches.is_empty() || is_this_machine(arches)) && has_all && kernel)
    }

    /// Whether anything of it is there.
    fn any(&self, here: &Circumstances) -> Result<bool, String> {
        let arches = self.arches.as_deref().unwrap_or_default();
        let kernel = self.kernel(here)?.unwrap_or(false);
        let has_any = self.caps().any(|one| one.is_some_and(|one| here.capabilities.holds(one)));
        Ok(is_this_machine(arches) || has_any || kernel)
    }

    /// The capabilities; one that is not known here is one that nobody has.
    fn caps(&self) -> impl Iterator<Item = Option<Set>> {
        self.caps.iter().flatten().map(|name| Set::parse(name).ok())
    }

    fn kernel(&self, here: &Circumstances) -> Result<Option<bool>, String> {
        let Some(wanted) = &self.min_kernel else { return Ok(None) };
        let release = wanted.split_once('.').unwrap_or((wanted, "0"));
        match (release.0.parse(), release.1.parse()) {
            (Ok(major), Ok(minor)) => Ok(Some((here.kernel_is)(major, minor))),
            _ => Err(format!("minKernel: '{wanted}' is not a release such as 4.8")),
        }
    }
}

fn is_this_machine(arches: &[String]) -> bool {
    CALLS.first().is_some_and(|own| arches.iter().any(|arch| arch == own.go_name))
}
