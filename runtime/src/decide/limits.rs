//! By which of the kernel's means the limits that were asked for come into force.
//!
//! In order: a control group, made where the caller may make one; the systemd of the user; the CPUs
//! the process may run on. What none of them can do is said, or refused (`--limits=require`).

mod choice;
mod groups;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use crate::cpus::CpuList;
use crate::edits::SetVariable;
use crate::error::{Error, Result};
use crate::inject::survey::Finding;
use crate::look::cgroup::{self, Hierarchy, UserManager};
use crate::look::cpus::{self, Topology};
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::plan::{Action, Note, Step, Task};
use crate::ranks;
use crate::request::Request;
use crate::request::limits::Limits;

/// What limits take.
#[derive(Debug, Default)]
pub struct Decided {
    /// Steps before all others.
    pub steps: Vec<Step>,
    /// What programs are told.
    pub variable: Option<SetVariable>,
    /// How it is done, and what is not.
    pub notes: Vec<Note>,
}

/// What a choice rests on.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The trees of control groups.
    pub hierarchies: Vec<Hierarchy>,
    /// The systemd of the user, where it may be asked.
    pub manager: Option<UserManager>,
    /// The CPUs the process may run on.
    pub allowed: CpuList,
    /// The CPUs of the job on this node; more than `allowed` where a launcher has chosen some for
    /// each rank.
    pub of_job: CpuList,
    /// How they lie together.
    pub topology: Topology,
    /// What the group of this step is called, if it is shared.
    pub shared: Option<String>,
    /// Which of the ranks of the step the process is, by all that launchers say.
    pub task: Option<Task>,
    /// Which of the ranks of a step on this node the process is.
    pub local_rank: Option<usize>,
}

/// Decides how the limits come into force; nothing is looked at where none are asked for.
///
/// # Errors
///
/// Fails if the job has none of the CPUs asked for, or if something cannot be had and
/// `--limits=require` is given.
pub fn decide(request: &Request, host: &Host, image: &Image) -> Result<Decided> {
    if !request.limits.are_asked_for() {
        return Ok(Decided::default());
    }
    let facts = look(request, host);
    let mut decided = choose(&request.limits, &facts, request.quiet)?;
    let is_set = host.variable("OMP_NUM_THREADS").is_some()
        || image.config.environment.iter().any(|set| set.name == "OMP_NUM_THREADS");
    decided.variable = decided.variable.filter(|_| !is_set);
    Ok(decided)
}

/// Finds out which limits can be had here, for the examination of a machine.
pub fn survey(request: &Request, host: &Host) -> Finding {
    const SUBJECT: &str = "limits";
    let facts = look(request, host);
    let by_group = groups::held(&facts);
    let manager = facts.manager.as_ref().map_or(&[][..], |manager| &manager.controllers);
    let is_held = |name: &str| by_group.contains(&name) || manager.iter().any(|has| has == name);
    let missing = cgroup::CONTROLLERS.into_iter().find(|name| !is_held(name));
    let mut ways = Vec::new();
    if !by_group.is_empty() {
        ways.push(format!("{} by control groups", by_group.join(", ")));
    }
    if !manager.is_empty() {
        ways.push(format!("{} by your systemd", manager.join(", ")));
    }
    let Some(missing) = missing else { return Finding::fine(SUBJECT, ways.join("; ")) };
    if ways.is_empty() {
        ways.push("CPUs by affinity alone".to_owned());
    }
    let why = format!("not {missing}: {} (docs/limits.md)", groups::obstacle(missing, &facts));
    // Few machines have all of them, and few runs need them.
    Finding { details: vec![why], ..Finding::fine(SUBJECT, ways.join("; ")) }
}

fn look(request: &Request, host: &Host) -> Facts {
    let limits = &request.limits;
    let named = limits.parent.as_ref().map(|asked| asked.value.as_path());
    let allowed = cpus::allowed(host).unwrap_or_default();
    let of_job = cpus::of_job(host).unwrap_or_else(|| allowed.clone());
    // Whoever moves a process takes it out of what a job is known by.
    let is_in_job = ranks::is_in_job(host);
    Facts {
        hierarchies: cgroup::hierarchies(host, named),
        manager: if is_in_job { None } else { cgroup::user_manager(host) },
        of_job,
        topology: cpus::topology(host, &allowed),
        allowed,
        shared: ranks::group(request, host).filter(|_| limits.per_rank.is_none()),
        task: ranks::task_of_group(request, host),
        local_rank: ranks::local_rank(host),
    }
}

/// The choice itself.
fn choose(limits: &Limits, facts: &Facts, is_quiet: bool) -> Result<Decided> {
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    let mut allowed = facts.allowed.clone();
    if let Some(asked) = &limits.cpuset {
        allowed = narrowed(asked.value.common(&allowed), &facts.allowed, &asked.origin)?;
        let others = asked.value.without(&allowed);
        if !others.is_empty() {
            notes.push(Note::warning(format!(
                "CPUs {others} of --cpuset are not among those of this job, {}",
                facts.allowed
            )));
        }
    }
    let mut ways = groups::ways(limits, facts);
    let rest = ways.missing();
    if let Some(scope) = ways.scope.take() {
        steps.push(scope);
    } else if let Some(refusal) = rest.first().filter(|_| limits.require.is_some()) {
        return Err(refusal.error(facts));
    } else if !ways.places.is_empty() {
        let says = limits.memory.as_ref().filter(|_| !is_quiet).map(|asked| {
            let size = groups::size(asked.value);
            format!("the memory limit of {size} was reached, and the kernel has killed for it")
        });
        let places = std::mem::take(&mut ways.places);
        let shared = facts.shared.as_ref().map(|step| groups::name(step, &places));
        let task = facts.task.clone().filter(|_| shared.is_some());
        steps.push(Action::Limit { shared, task, places, says }.asked_by(&ways.origin));
    }
    let by_affinity = rest.iter().any(|missing| missing.controller == "cpu");
    if let Some(asked) = limits.cpus.as_ref().filter(|_| by_affinity) {
        let apart = (limits.per_rank.is_some() && facts.allowed == facts.of_job)
            .then_some(facts.local_rank);
        let rank = apart.flatten().unwrap_or(0);
        allowed = choice::choose(&allowed, &facts.topology, asked.value.rounded_up(), rank);
    }
    // Who moves to a group with CPUs is given all of them.
    if allowed != facts.allowed || limits.cpuset.is_some() {
        let origin = limits.cpuset.as_ref().map(|asked| &asked.origin);
        let origin = origin.or(limits.cpus.as_ref().map(|asked| &asked.origin));
        let cpus = allowed.to_string();
        steps.push(Action::Affinity { cpus }.asked_by(origin.unwrap_or(&Origin::Default)));
    }
    notes.extend(ways.note(&rest, &allowed, facts));
    Ok(Decided { steps, variable: threads(limits, &rest, &allowed), notes })
}

/// The CPUs that are left; none is an error.
fn narrowed(cpus: CpuList, allowed: &CpuList, origin: &Origin) -> Result<CpuList> {
    if !cpus.is_empty() {
        return Ok(cpus);
    }
    let reason = format!("this job may use the CPUs {allowed}, and none of those");
    Err(Error::new("keep the command to its CPUs", reason)
        .asked_by(origin)
        .hint("grep Cpus_allowed_list /proc/self/status says which CPUs a process may use"))
}

/// Programs count the CPUs they may run on; of a quota, they have to be told.
fn threads(limits: &Limits, rest: &[groups::Missing], allowed: &CpuList) -> Option<SetVariable> {
    let asked = limits.cpus.as_ref()?;
    let has_quota = !rest.iter().any(|missing| missing.controller == "cpu");
    let count = asked.value.rounded();
    (has_quota && count < allowed.count()).then(|| SetVariable {
        name: OsString::from("OMP_NUM_THREADS"),
        value: OsString::from(count.to_string()),
        origin: asked.origin.clone(),
    })
}
