//! The limits of a plan, as an OCI runtime takes them.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};
use runtime::plan::{Action, Plan};

/// The limits; nothing if there are none.
pub(super) fn of(plan: &Plan) -> Result<Option<LinuxResources>, OciSpecError> {
    let actions = || plan.steps.iter().map(|step| &step.action);
    let settings = actions().flat_map(|action| match action {
        Action::Limit { places, .. } => places.as_slice(),
        _ => &[],
    });
    let settings: Vec<(&str, &str)> = settings
        .flat_map(|place| &place.settings)
        .map(|setting| (setting.file.as_str(), setting.value.as_str()))
        .collect();
    let value = |file: &str| settings.iter().find(|(name, _)| *name == file).map(|set| set.1);
    let number = |file: &str| value(file).and_then(|value| value.parse::<i64>().ok());
    let both = value("cpu.max").and_then(|both| both.split_once(' '));
    let part = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let quota = part(both.map(|both| both.0)).or_else(|| number("cpu.cfs_quota_us"));
    let period = part(both.map(|both| both.1)).or_else(|| number("cpu.cfs_period_us"));
    let cpus = actions().find_map(|action| match action {
        Action::Affinity { cpus } => Some(cpus.as_str()),
        _ => None,
    });
    let mut resources = LinuxResourcesBuilder::default();
    if quota.is_some() || cpus.is_some() {
        let mut cpu = LinuxCpuBuilder::default();
        if let (Some(quota), Some(period)) = (quota, period) {
            cpu = cpu.quota(quota).period(period.unsigned_abs());
        }
        if let Some(cpus) = cpus {
            cpu = cpu.cpus(cpus.to_owned());
        }
        resources = resources.cpu(cpu.build()?);
    }
    let memory = number("memory.max").or_else(|| number("memory.limit_in_bytes"));
    if let Some(memory) = memory {
        resources = resources.memory(LinuxMemoryBuilder::default().limit(memory).build()?);
    }
    if let Some(pids) = number("pids.max") {
        resources = resources.pids(LinuxPidsBuilder::default().limit(pids).build()?);
    }
    let is_any =
        quota.is_some() || cpus.is_some() || memory.is_some() || value("pids.max").is_some();
    let mut resources = resources.build()?;
    resources.set_devices(None);
    Ok(is_any.then_some(resources))
}
