//! Hooks of specs, understood by their command line and never run.
//!
//! A hook expects root's rights and the state of an OCI runtime on its standard input. What those
//! of NVIDIA's toolkit do is a handful of things (its `cmd/nvidia-cdi-hook`), and hrun does these
//! itself.

use std::path::{Path, PathBuf};

use super::edits::{CdiEdits, CudaCompat, Link, Source, clean};
use super::spec::{Hook, check_inside};

/// How much of an unknown hook's command line a note shows, in letters.
const MAX_SHOWN: usize = 80;

impl CdiEdits {
    /// Adds what a hook would do; for one that hrun does not know, a note.
    pub(super) fn add_hook(&mut self, hook: &Hook, source: &Source) {
        let Some((command, arguments)) = nvidia_command(hook) else {
            return self.warn(left_out(hook, source));
        };
        match command {
            "create-symlinks" => {
                for link in values(arguments, "link") {
                    match parse_link(link) {
                        Ok(link) => self.add_link(link),
                        Err(reason) => {
                            self.warn(format!("a link of {source} was left out: {reason}"))
                        }
                    }
                }
            }
            // The one writes the loader's cache, the other the links of sonames it would find.
            "update-ldcache" | "create-soname-symlinks" => {
                for folder in values(arguments, "folder") {
                    match check_inside(folder) {
                        Ok(()) => self.add_library_folder(clean(folder)),
                        Err(reason) => {
                            self.warn(format!("libraries of {source} were left out: {reason}"));
                        }
                    }
                }
            }
            "enable-cuda-compat" => {
                let last = |name| values(arguments, name).last().filter(|value| !value.is_empty());
                self.cuda_compat = Some(CudaCompat {
                    host_driver_version: last("host-driver-version").map(str::to_owned),
                    host_cuda_version: last("host-cuda-version").map(str::to_owned),
                    container_root: last("cuda-compat-container-root")
                        .filter(|path| check_inside(path).is_ok())
                        .map(clean),
                });
            }
            "disable-device-node-modification" => self.disable_device_node_modification = true,
            "update-application-profile" => self.update_application_profile = true,
            // Was for directories in /dev, whose modes are the host's here.
            "chmod" => {}
            _ => self.warn(left_out(hook, source)),
        }
    }
}

/// The command of a hook of NVIDIA's toolkit, and the arguments after it.
fn nvidia_command(hook: &Hook) -> Option<(&str, &[String])> {
    let name =
        |path: &str| Path::new(path).file_name().and_then(|name| name.to_str().map(str::to_owned));
    let is = |program: &str| {
        let own_name = hook.args.first().map_or("", String::as_str);
        [&hook.path, own_name].iter().any(|path| name(path).is_some_and(|name| name == program))
    };
    let (command, arguments) = next_command(hook.args.get(1..)?)?;
    if is("nvidia-cdi-hook") {
        return Some((command, arguments));
    }
    if is("nvidia-ctk") && command == "hook" {
        return next_command(arguments);
    }
    None
}

/// The first argument that is no option, and what follows.
fn next_command(arguments: &[String]) -> Option<(&str, &[String])> {
    let at = arguments.iter().position(|argument| !argument.starts_with('-'))?;
    Some((&arguments[at], &arguments[at + 1..]))
}

/// The values of an option, `--name value` or `--name=value`; one dash does as well, as in Go.
fn values<'a>(arguments: &'a [String], name: &str) -> impl Iterator<Item = &'a str> {
    let mut arguments = arguments.iter();
    std::iter::from_fn(move || {
        loop {
            let Some(option) = arguments.next()?.strip_prefix('-') else { continue };
            let option = option.strip_prefix('-').unwrap_or(option);
            match option.strip_prefix(name).map(|rest| (rest, rest.strip_prefix('='))) {
                Some((_, Some(value))) => return Some(value),
                Some(("", None)) => return arguments.next().map(String::as_str),
                _ => {}
            }
        }
    })
}

/// Reads `target::path`.
fn parse_link(text: &str) -> Result<Link, String> {
    match text.split_once("::") {
        Some((target, path))
            if !target.is_empty() && !target.contains('\0') && !path.contains("::") =>
        {
            check_inside(path)?;
            Ok(Link { target: PathBuf::from(target), path: clean(path) })
        }
        _ => Err(format!("{text:?} is not of the form target::path")),
    }
}

fn left_out(hook: &Hook, source: &Source) -> String {
    let own_arguments = hook.args.iter().skip(1).map(String::as_str);
    let line: Vec<&str> = std::iter::once(hook.path.as_str()).chain(own_arguments).collect();
    let line = line.join(" ");
    let mut shown: String = line.chars().take(MAX_SHOWN).collect();
    if shown.len() < line.len() {
        shown.push_str("...");
    }
    format!("the hook {shown:?} of {source} was left out: hrun runs no hooks")
}
