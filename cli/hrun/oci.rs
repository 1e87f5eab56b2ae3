//! A plan as the configuration of an OCI runtime (`--dry-run=oci`).
//!
//! What only hrun can do has no place in that format: generated files and missing mount points.
//! The whole plan stands in an annotation, so nothing is lost.

mod resources;
mod rights;

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    Mount, MountBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};
use runtime::plan::{Action, Map, Note, Plan, Step};
use runtime::text::Text;
use runtime::{Error, Result};

/// The annotation that holds the plan as JSON.
const ANNOTATION: &str = "org.hrun.plan";

/// Writes a plan as an OCI runtime configuration.
///
/// # Errors
///
/// Fails if the plan lacks a step every plan has.
pub fn spec(plan: &Plan) -> Result<Spec> {
    let json = serde_json::to_string(plan).unwrap_or_default();
    let spec = build(plan, json);
    spec.map_err(|error| Error::new("write the plan as an OCI configuration", error.to_string()))
}

/// What of a plan a configuration does not say, or what not every runtime takes.
pub fn unsaid(plan: &Plan) -> Vec<Note> {
    let has = |is: fn(&Action) -> bool| plan.steps.iter().any(|step| is(&step.action));
    let mut notes = Vec::new();
    if has(|action| matches!(action, Action::Overlay { layer: Some(_), .. })) {
        notes.push(Note::warning(
            "the configuration has no layer for what is written: its root is the image, read-only",
        ));
    }
    if has(|action| matches!(action, Action::Serve { .. } | Action::Unpack { .. })) {
        notes.push(Note::warning(
            "the configuration names a root directory that only hrun makes of a packed image: \
             himage convert IMAGE DIR makes one for other runtimes",
        ));
    }
    let (uid, gid) = ids(plan);
    if uid.inside != 0 || gid.inside != 0 {
        notes.push(Note::info(
            "runc takes no user namespace without the ids 0: use crun, or --root",
        ));
    }
    notes
}

fn build(plan: &Plan, json: String) -> std::result::Result<Spec, OciSpecError> {
    let (uid, gid) = ids(plan);
    let root =
        RootBuilder::default().path(plan.image.as_path()).readonly(!is_writable(plan)).build()?;
    let is_isolated = plan.steps.iter().any(|step| step.action == Action::Isolate);
    let pid = is_isolated.then_some(LinuxNamespaceType::Pid);
    let namespaces = [LinuxNamespaceType::User, LinuxNamespaceType::Mount].into_iter().chain(pid);
    let namespaces = namespaces.map(|kind| LinuxNamespaceBuilder::default().typ(kind).build());
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces.collect::<std::result::Result<Vec<_>, _>>()?)
        .uid_mappings(vec![mapping(uid)?])
        .gid_mappings(vec![mapping(gid)?])
        .build()?;
    // What a plan does not say stays unsaid; the builders have defaults of their own.
    linux.set_masked_paths(None).set_readonly_paths(None);
    linux.set_resources(resources::of(plan)?);
    linux.set_seccomp(rights::seccomp(plan)?);
    let mut process = process(plan, uid, gid)?;
    process.set_rlimits(None).set_capabilities(rights::capabilities(plan)?);
    let mut spec = SpecBuilder::default()
        .version("1.0.2")
        .root(root)
        .mounts(mounts(plan)?)
        .process(process)
        .linux(linux)
        .annotations(HashMap::from([(ANNOTATION.to_owned(), json)]))
        .build()?;
    spec.set_hostname(None);
    Ok(spec)
}

/// Whether the command may write to the image itself: it is bound, and never made read-only.
fn is_writable(plan: &Plan) -> bool {
    let is_image = |target: &Text| *target == plan.image;
    let mut steps = plan.steps.iter().map(|step| &step.action);
    steps.clone().any(|action| {
        matches!(action, Action::Bind { source, target, .. } if is_image(source) && is_image(target))
    }) && !steps.any(|action| matches!(action, Action::ReadOnly { target, .. } if is_image(target)))
}

fn ids(plan: &Plan) -> (Map, Map) {
    let ids = plan.steps.iter().find_map(|step| match step.action {
        Action::Unshare { uid, gid } => Some((uid, gid)),
        _ => None,
    });
    ids.unwrap_or((Map { inside: 0, outside: 0 }, Map { inside: 0, outside: 0 }))
}

fn mapping(map: Map) -> std::result::Result<LinuxIdMapping, OciSpecError> {
    LinuxIdMappingBuilder::default()
        .container_id(map.inside)
        .host_id(map.outside)
        .size(1_u32)
        .build()
}

fn is_read_only(step: &Step, path: &Text) -> bool {
    matches!(&step.action, Action::ReadOnly { target, .. } if target == path)
}

/// The mounts made inside, with sources of the host; those from the stage are hrun's own files.
fn mounts(plan: &Plan) -> std::result::Result<Vec<Mount>, OciSpecError> {
    let stage = plan.steps.iter().find_map(|step| match &step.action {
        Action::Tmpfs { target, .. } => Some(target.as_path()),
        _ => None,
    });
    let inside = plan.steps.iter().skip_while(|step| !matches!(step.action, Action::Enter { .. }));
    let mut mounts = Vec::new();
    for step in inside {
        match &step.action {
            Action::Bind { source, target, recursive } => {
                if stage.is_some_and(|stage| source.as_path().starts_with(stage)) {
                    continue;
                }
                let mut options = vec![if *recursive { "rbind" } else { "bind" }.to_owned()];
                if plan.steps.iter().any(|step| is_read_only(step, target)) {
                    options.push("ro".to_owned());
                }
                mounts.push(mount("bind", source.as_path().into(), target, options)?);
            }
            Action::Tmpfs { target, mode, size } => {
                let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
                options.push(format!("mode={mode:o}"));
                options.extend(size.as_ref().map(|size| format!("size={size}")));
                mounts.push(mount("tmpfs", PathBuf::from("tmpfs"), target, options)?);
            }
            _ => {}
        }
    }
    Ok(mounts)
}

fn mount(
    kind: &str,
    source: PathBuf,
    target: &Text,
    options: Vec<String>,
) -> std::result::Result<Mount, OciSpecError> {
    let mount = MountBuilder::default().typ(kind).source(source).destination(target.as_path());
    mount.options(options).build()
}

fn process(plan: &Plan, uid: Map, gid: Map) -> std::result::Result<Process, OciSpecError> {
    let cwd = plan.steps.iter().find_map(|step| match &step.action {
        Action::ChangeDirectory { path } => Some(path.as_path()),
        _ => None,
    });
    let (arguments, environment) = match plan.execute() {
        Some(Action::Execute { arguments, environment, .. }) => (
            arguments.iter().map(Text::to_string).collect(),
            environment.iter().map(|set| format!("{}={}", set.name, set.value)).collect(),
        ),
        _ => (Vec::new(), Vec::new()),
    };
    ProcessBuilder::default()
        .args(arguments)
        .env(environment)
        .cwd(cwd.unwrap_or("/".as_ref()))
        .no_new_privileges(true)
        .user(UserBuilder::default().uid(uid.inside).gid(gid.inside).build()?)
        .build()
}
