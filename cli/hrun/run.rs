//! The pipeline, on one screen: look, decide, report or do.

use std::path::{Path, PathBuf};

use runtime::apply;
use runtime::decide;
use runtime::hints;
use runtime::look::facts;
use runtime::look::host::Host;
use runtime::look::image::Image;
use runtime::look::kernel::Kernel;
use runtime::options::{self, Name, Takes};
use runtime::plan::{FORMAT, Plan};
use runtime::request::{Given, Request};
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
    let request = Request::new(&settings, image.unwrap_or_default(), invocation.command)?;
    let kernel = Kernel::look(&request.assume_missing);

    if let Some(format) = request.doctor {
        return doctor::examine(&request, &host, &kernel, format);
    }
    let image;
    let plan = match &request.plan {
        Some(file) => read_plan(&host, file)?,
        None => {
            image = look_at_image(&request, &host).map_err(|error| match detached {
                Some(hint) => error.hint(hint),
                None => error,
            })?;
            decide::plan(&request, &host, &kernel, &image)?
        }
    };
    report::notes(&plan.notes, &request);
    if let Some(format) = request.dry_run {
        return report::plan(&plan, format);
    }
    Err(carry_out(&plan))
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
    Image::look(&request.image, host)
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

/// Becomes the command; comes back with the reason it could not.
fn carry_out(plan: &Plan) -> Error {
    match apply::apply(plan, shim::serve::start) {
        Some(failed) => hints::explain(&failed, &facts::look(failed.program.as_deref())),
        None => Error::new("carry out the plan", "it does not end with a command"),
    }
}
