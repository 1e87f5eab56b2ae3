//! The pipeline, on one screen: look, decide, report or do.

use std::path::{Path, PathBuf};

use runtime::apply;
use runtime::decide;
use runtime::hints;
use runtime::look::facts;
use runtime::look::host::Host;
use runtime::look::image::Image;
use runtime::look::kernel::Kernel;
use runtime::options::Name;
use runtime::plan::{FORMAT, Plan};
use runtime::request::Request;
use runtime::{Error, Result};

use crate::args::Invocation;
use crate::{config, doctor, help, report};

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
    let host = Host::look()?;
    let mut settings = Vec::new();
    if !has(Name::NoConfig) {
        settings = config::read(&host)?;
    }
    settings.extend(invocation.settings);
    let image = invocation.image.map(PathBuf::from);
    let request = Request::new(&settings, image.unwrap_or_default(), invocation.command)?;
    let kernel = Kernel::look(&request.assume_missing);

    if let Some(format) = request.doctor {
        return doctor::examine(&host, &kernel, format);
    }
    let plan = match &request.plan {
        Some(file) => read_plan(&host, file)?,
        None => make_plan(&request, &host, &kernel)?,
    };
    report::notes(&plan.notes, &request);
    if let Some(format) = request.dry_run {
        return report::plan(&plan, format);
    }
    Err(carry_out(&plan))
}

fn make_plan(request: &Request, host: &Host, kernel: &Kernel) -> Result<Plan> {
    if request.image.as_os_str().is_empty() {
        return Err(Error::new("start", "IMAGE is missing")
            .hint("hrun [OPTION]... IMAGE [COMMAND [ARG]...]; hrun --help says more"));
    }
    let image = Image::look(&request.image, host)?;
    decide::plan(request, host, kernel, &image)
}

fn read_plan(host: &Host, file: &Path) -> Result<Plan> {
    let attempt = || format!("read plan {}", file.display());
    let json = host.read_named(file).map_err(|errno| Error::new(attempt(), errno))?;
    let plan: Plan =
        serde_json::from_slice(&json).map_err(|error| Error::new(attempt(), error.to_string()))?;
    if plan.format != FORMAT {
        let reason = format!("it has format {}, this hrun reads format {FORMAT}", plan.format);
        return Err(Error::new(attempt(), reason));
    }
    Ok(plan)
}

/// Becomes the command; comes back with the reason it could not.
fn carry_out(plan: &Plan) -> Error {
    match apply::apply(plan) {
        Some(failed) => hints::explain(&failed, &facts::look(failed.program.as_deref())),
        None => Error::new("carry out the plan", "it does not end with a command"),
    }
}
