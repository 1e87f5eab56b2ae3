//! The pipeline, on one screen: look, decide, report or do.

use std::path::{Path, PathBuf};

use runtime::apply::{self, Ended, Keepers};
use runtime::decide;
use runtime::error::STATUS_NOT_FOUND;
use runtime::hints;
use runtime::look::containers;
use runtime::look::facts;
use runtime::look::host::Host;
use runtime::look::image::Image;
use runtime::look::kernel::Kernel;
use runtime::look::stored;
use runtime::options::{self, Name, Takes};
use runtime::origin::Origin;
use runtime::plan::{FORMAT, Plan};
use runtime::request::{Asked, Format, Given, Join, Request};
use runtime::{Error, Result};

use crate::args::Invocation;
use crate::{config, doctor, help, oci, report};

/// Does what the command line asks for; comes back with the exit status if no command was run.
///
/// # Errors
///
/// The one error that `main` prints.
pub fn run(invocation: Invocation) -> Result<u8> {
    if invocation.is_faulty {
        return Err(help::mistake(&invocation.option_words));
    }
    let has = |name| invocation.settings.iter().any(|setting| setting.name == name);
    if has(Name::Help) {
        return report::print(&help::command().render_help().to_string());
    }
    if has(Name::Version) {
        return report::print(concat!("hrun ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    let detached = detached_value(&invocation);
    let host = Host::look()?;
    let mut settings = match has(Name::NoConfig) {
        true => Vec::new(),
        // The doctor says what is wrong with configuration, among other things.
        false if has(Name::Doctor) => config::read(&host).unwrap_or_default(),
        false => config::read(&host)?,
    };
    settings.extend(invocation.settings);
    let image = invocation.image.map(PathBuf::from);
    let mut request = Request::new(&settings, image.unwrap_or_default(), invocation.command)?;
    let kernel = Kernel::look(&request.assume_missing);

    if let Some(format) = request.doctor {
        return doctor::examine(&request, &host, &kernel, format);
    }
    if let Some(format) = request.ps {
        return report::containers(format);
    }
    if let Some(Asked { value: Join::Process(pid), .. }) = &mut request.join {
        *pid = containers::watched(*pid);
    }
    let entered = container(&mut request, invocation.is_separated);
    let (mut image, mut unlikely) = (None, None);
    let plan = match (&request.plan, entered) {
        (Some(file), _) => read_plan(&host, file)?,
        (None, Some((pid, origin))) => {
            decide::enter(&request, &host, &kernel, pid, &origin, containers::inhabitant(pid))?
        }
        (None, None) => {
            let seen = look_at_image(&request, &host).map_err(|error| match detached {
                Some(hint) => error.hint(hint),
                None => error,
            })?;
            let seen = image.insert(decide::unpacked::choose(&request, &host, seen)?);
            unlikely = decide::writable::if_no_image(&request, seen);
            decide::plan(&request, &host, &kernel, seen)?
        }
    };
    // Who starts again says it then.
    if request.dry_run.is_some() || !apply::starts_again(&plan) {
        report::notes(&plan.notes, &request);
    }
    if let Some(format) = request.dry_run {
        if format == Format::Oci {
            report::notes(&oci::unsaid(&plan), &request);
        }
        return report::plan(&plan, format);
    }
    carry_out(&plan, image).map_err(|error| match error.status {
        STATUS_NOT_FOUND => error.hint_if_some(unlikely),
        _ => error,
    })
}

/// The process whose container is entered as it is: with no IMAGE, or with `--` before the command.
fn container(request: &mut Request, is_separated: bool) -> Option<(u32, Origin)> {
    let Asked { value: Join::Process(pid), origin } = request.join.as_ref()? else { return None };
    let entered = (*pid, origin.clone());
    if request.image.as_os_str().is_empty() {
        return Some(entered);
    }
    is_separated.then(|| {
        let first = std::mem::take(&mut request.image);
        request.command.insert(0, first.into());
        entered
    })
}

/// A word after an option whose value must be attached was perhaps not meant as IMAGE.
fn detached_value(invocation: &Invocation) -> Option<String> {
    let (last, image) = (invocation.settings.last()?, invocation.image.as_ref()?);
    let row = options::row(last.name);
    let is_bare = last.given == Given::On && matches!(row.takes, Takes::OptionalValue(_));
    let written = row.written(Some(&image.to_string_lossy()));
    is_bare.then(|| format!("a value of --{} must be attached: {written}", row.long))
}

fn look_at_image(request: &Request, host: &Host) -> Result<Image> {
    if request.image.as_os_str().is_empty() {
        return Err(Error::new("start", "IMAGE is missing")
            .hint("hrun [OPTION]... IMAGE [COMMAND [ARG]...]; hrun --help says more"));
    }
    stored::look(&request.image, request.store.as_deref(), host)
}

#[derive(serde::Deserialize)]
struct PlanHeader {
    format: u32,
}

fn read_plan(host: &Host, file: &Path) -> Result<Plan> {
    let attempt = || format!("read plan {}", file.display());
    let json = host.read_named(file).map_err(|errno| Error::new(attempt(), errno))?;
    let fail = |error: serde_json::Error| Error::new(attempt(), error.to_string());
    // A plan of another format may have other fields.
    let PlanHeader { format } = serde_json::from_slice(&json).map_err(fail)?;
    if format != FORMAT {
        let reason = format!("it has format {format}, this hrun reads format {FORMAT}");
        return Err(Error::new(attempt(), reason));
    }
    serde_json::from_slice(&json).map_err(fail)
}

/// Those who stay behind where a plan asks for it.
const KEEPERS: Keepers = Keepers {
    watch: shim::watch::start,
    isolate: shim::init::start,
    show: shim::init::show,
    source: shim::source::run,
    supervise: shim::supervise::start,
    serve: shim::serve::start,
    unpack: shim::unpack::unpack,
    outlive: shim::unpack::outlive,
};

/// Becomes the command; comes back with the reason it could not, or with the exit status of a
/// command that was watched over.
fn carry_out(plan: &Plan, image: Option<Image>) -> Result<u8> {
    match apply::apply(plan, KEEPERS, image) {
        Ended::Status(status) => Ok(status),
        Ended::Failed(failed) => {
            Err(hints::explain(&failed, &facts::look(failed.program.as_deref())))
        }
        Ended::WithoutCommand => {
            Err(Error::new("carry out the plan", "it does not end with a command"))
        }
    }
}
