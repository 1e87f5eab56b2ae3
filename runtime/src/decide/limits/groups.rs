//! Where a control group is made for each limit, and what is said where there is none.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use super::Facts;
use crate::cpus::CpuList;
use crate::error::Error;
use crate::look::cgroup::{CONTROLLERS, Group, Hierarchy};
use crate::origin::Origin;
use crate::plan::{Action, Note, Place, Setting, Step};
use crate::request::limits::{Limits, PERIOD};

/// A limit, and what the kernel calls it.
struct Wish {
    controller: &'static str,
    /// The limit as people say it: `2.5 CPUs`.
    text: String,
    origin: Origin,
    v1: Vec<Setting>,
    v2: Vec<Setting>,
    /// As systemd-run(1) takes it.
    property: String,
}

/// A limit for which there is no control group.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub controller: &'static str,
    text: String,
    origin: Origin,
}

/// How the limits come into force.
pub(super) struct Way {
    pub places: Vec<Place>,
    /// The step that asks systemd instead.
    pub scope: Option<Step>,
    /// Who asked for the first of them.
    pub origin: Origin,
    by_systemd: bool,
    in_force: Vec<String>,
    missing: Vec<Missing>,
}

/// Finds a place for every limit.
pub(super) fn ways(limits: &Limits, facts: &Facts) -> Way {
    let wishes = wishes(limits, &facts.of_job);
    let origin = wishes.first().map_or(Origin::Default, |wish| wish.origin.clone());
    let mut way = Way {
        places: Vec::new(),
        scope: None,
        origin,
        by_systemd: false,
        in_force: Vec::new(),
        missing: Vec::new(),
    };
    for hierarchy in &facts.hierarchies {
        let wishes = wishes.iter().filter(|wish| has(&hierarchy.controllers, wish.controller));
        let wishes: Vec<&Wish> = wishes.collect();
        let Some(group) = best(hierarchy, &wishes) else { continue };
        way.places.extend(place(hierarchy, group, &wishes, &mut way.in_force));
    }
    let missing = wishes.iter().filter(|wish| !way.in_force.contains(&wish.text));
    way.missing = missing.map(Missing::from).collect();
    if let Some(manager) = &facts.manager
        && !way.missing.is_empty()
        && wishes.iter().all(|wish| has(&manager.controllers, wish.controller))
    {
        let properties = wishes.iter().flat_map(|wish| wish.property.lines());
        let properties = properties.map(str::to_owned).collect();
        let program = manager.program.clone().into();
        way.scope = Some(Action::Scope { program, properties }.asked_by(&way.origin));
        way.in_force = wishes.iter().map(|wish| wish.text.clone()).collect();
        way.by_systemd = true;
        way.missing.clear();
        way.places.clear();
    }
    way
}

impl Way {
    /// The limits that no control group can hold.
    pub(super) fn missing(&self) -> Vec<Missing> {
        self.missing.clone()
    }

    /// Says in one line what was done, and what was not possible.
    pub(super) fn note(
        &self,
        missing: &[Missing],
        allowed: &CpuList,
        facts: &Facts,
    ) -> Option<Note> {
        let mut said = Vec::new();
        if !self.in_force.is_empty() {
            let by = if self.by_systemd { "your systemd" } else { "a control group" };
            said.push(format!("{} by {by}", self.in_force.join(", ")));
        }
        let is_cpu = |missing: &&Missing| matches!(missing.controller, "cpu" | "cpuset");
        let (cpus, others): (Vec<&Missing>, Vec<&Missing>) = missing.iter().partition(is_cpu);
        if !cpus.is_empty() {
            said.push(format!("{} by affinity, CPUs {allowed}", texts(&cpus)));
        }
        if !others.is_empty() {
            said.push(format!("not in force: {}", texts(&others)));
        }
        let mut text = format!("limits: {}", said.join("; "));
        if let Some(worst) = others.first().or(cpus.first()) {
            text += &format!(" ({})", obstacle(worst.controller, facts));
        }
        // One of many ranks is enough to say it.
        let is_warning = !missing.is_empty() && facts.local_rank.unwrap_or(0) == 0;
        // Who asked for CPUs by number and has those does not have to be warned.
        let is_exact = missing.iter().all(|missing| missing.controller == "cpuset");
        Some(if is_warning && !is_exact { Note::warning(text) } else { Note::info(text) })
    }
}

impl Missing {
    /// The error where limits are required.
    pub(super) fn error(&self, facts: &Facts) -> Error {
        let attempt = format!("keep the command to {}", self.text);
        Error::new(attempt, obstacle(self.controller, facts)).asked_by(&self.origin).hint(format!(
            "ask the administrator to hand a control group with the controller {} to you, and name \
             it by --cgroup-parent (docs/limits.md);\nor leave --limits=require out",
            self.controller
        ))
    }
}

impl From<&Wish> for Missing {
    fn from(wish: &Wish) -> Self {
        let (text, origin) = (wish.text.clone(), wish.origin.clone());
        Missing { controller: wish.controller, text, origin }
    }
}

fn texts(missing: &[&Missing]) -> String {
    let texts: Vec<&str> = missing.iter().map(|missing| missing.text.as_str()).collect();
    texts.join(", ")
}

/// All limits asked for, in the kernel's words.
fn wishes(limits: &Limits, of_job: &CpuList) -> Vec<Wish> {
    let mut wishes = Vec::new();
    if let Some(asked) = &limits.cpus {
        let quota = asked.value.0;
        let v1 =
            [("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota.to_string())];
        let percent = quota as f64 * 100.0 / PERIOD as f64;
        wishes.push(Wish {
            controller: "cpu",
            text: format!("{} CPU{}", asked.value, if quota == PERIOD { "" } else { "s" }),
            origin: asked.origin.clone(),
            v1: v1.map(|(file, value)| set(file, value)).into(),
            v2: vec![set("cpu.max", format!("{quota} {PERIOD}"))],
            property: format!("CPUQuota={percent}%"),
        });
    }
    if let Some(asked) = &limits.cpuset {
        let allowed = asked.value.common(of_job);
        wishes.push(Wish {
            controller: "cpuset",
            text: format!("the CPUs {}", asked.value),
            origin: asked.origin.clone(),
            v1: vec![set("cpuset.cpus", allowed.to_string())],
            v2: vec![set("cpuset.cpus", allowed.to_string())],
            property: format!("AllowedCPUs={allowed}"),
        });
    }
    if let Some(asked) = &limits.memory {
        let bytes = asked.value.to_string();
        let swap = |file: &str, value: &str| Setting { optional: true, ..set(file, value) };
        wishes.push(Wish {
            controller: "memory",
            text: format!("{} of memory", size(asked.value)),
            origin: asked.origin.clone(),
            v1: vec![
                set("memory.limit_in_bytes", &bytes),
                swap("memory.memsw.limit_in_bytes", &bytes),
            ],
            v2: vec![set("memory.max", &bytes), swap("memory.swap.max", "0")],
            property: format!("MemoryMax={bytes}\nMemorySwapMax=0"),
        });
    }
    if let Some(asked) = &limits.pids {
        wishes.push(Wish {
            controller: "pids",
            text: format!("{} processes", asked.value),
            origin: asked.origin.clone(),
            v1: vec![set("pids.max", asked.value.to_string())],
            v2: vec![set("pids.max", asked.value.to_string())],
            property: format!("TasksMax={}", asked.value),
        });
    }
    wishes
}

fn set(file: &str, value: impl Into<String>) -> Setting {
    Setting { file: file.to_owned(), value: value.into(), optional: false }
}

/// The group that can hold most of the limits; of equal ones the first.
fn best<'a>(hierarchy: &'a Hierarchy, wishes: &[&Wish]) -> Option<&'a Group> {
    let held =
        |group: &Group| wishes.iter().filter(|wish| has(&group.available, wish.controller)).count();
    let usable = hierarchy.groups.iter().filter(|group| is_usable(group) && held(group) > 0);
    usable.rev().max_by_key(|group| held(group))
}

/// The controllers for which a group can be made.
pub(super) fn held(facts: &Facts) -> Vec<&'static str> {
    let holds = |name: &&str| {
        let groups = facts.hierarchies.iter().flat_map(|hierarchy| &hierarchy.groups);
        groups.filter(|group| is_usable(group)).any(|group| has(&group.available, name))
    };
    CONTROLLERS.into_iter().filter(holds).collect()
}

/// Whether a group with limits can be made in it without harm to others.
fn is_usable(group: &Group) -> bool {
    let is_ours = group.is_named || !(group.is_managed || group.is_above_limits);
    group.is_open && !group.is_occupied && is_ours
}

fn place(
    hierarchy: &Hierarchy,
    group: &Group,
    wishes: &[&Wish],
    in_force: &mut Vec<String>,
) -> Option<Place> {
    let held = wishes.iter().filter(|wish| has(&group.available, wish.controller));
    let mut place =
        Place { parent: group.path.clone().into(), enable: Vec::new(), settings: Vec::new() };
    for wish in held {
        in_force.push(wish.text.clone());
        if hierarchy.is_v2 && !has(&group.enabled, wish.controller) {
            place.enable.push(wish.controller.to_owned());
        }
        if !hierarchy.is_v2 && wish.controller == "cpuset" {
            place.settings.push(set("cpuset.mems", &group.memory_nodes));
        }
        let settings = if hierarchy.is_v2 { &wish.v2 } else { &wish.v1 };
        place.settings.extend(settings.iter().cloned());
    }
    (!place.settings.is_empty()).then_some(place)
}

/// What ranks of a step call their group: those with the same limits share one.
pub(super) fn name(step: &str, places: &[Place]) -> String {
    let mut hasher = FxHasher::default();
    places.hash(&mut hasher);
    format!("{step}-{:x}", hasher.finish())
}

/// Why there is no control group for a limit.
pub(super) fn obstacle(controller: &str, facts: &Facts) -> String {
    let mut trees = facts.hierarchies.iter();
    let Some(tree) = trees.find(|tree| has(&tree.controllers, controller)) else {
        return format!("this machine has no control groups with the controller {controller}");
    };
    let open: Vec<&Group> = tree.groups.iter().filter(|group| group.is_open).collect();
    let Some(group) = open.last() else {
        return "no control group here is yours to make others in".to_owned();
    };
    let path = group.path.display();
    match group {
        Group { is_occupied: true, .. } => {
            format!("control group {path} is yours, and has processes in it")
        }
        Group { is_above_limits: true, .. } => {
            format!("control group {path} is yours, and outside of limits this process has")
        }
        _ if !has(&group.available, controller) => {
            format!("control group {path} is yours, and lacks the controller {controller}")
        }
        _ => format!("control group {path} is yours, and is left to who looks after it"),
    }
}

fn has(controllers: &[String], controller: &str) -> bool {
    controllers.iter().any(|has| has == controller)
}

/// A size as people write it.
pub(super) fn size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let fits = |(shift, _): &&(u32, &str)| bytes.is_multiple_of(1 << shift);
    match units.iter().find(fits) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}
