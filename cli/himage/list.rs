//! `himage list`.

use clap::{ArgMatches, Command};
use images::reference::Reference;
use images::store::Kept;
use nix::errno::Errno;
use runtime::error::{Cause, Result};
use serde_json::{Value, json};

use crate::{report, store, usage};

/// The words of `himage list`.
pub fn command() -> Command {
    Command::new("list")
        .visible_alias("ls")
        .about("Lists the images of the store")
        .arg(usage::json())
}

/// Runs it.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub fn run(words: &ArgMatches) -> Result<()> {
    let mut images = Vec::new();
    for store in store::read(words)? {
        images.extend(store.images()?);
    }
    if words.get_flag("json") {
        return report::print_json(&Value::Array(images.iter().map(json_of).collect()));
    }
    let mut rows = vec![["NAME", "DIGEST", "SIZE", "CREATED"].map(str::to_owned)];
    for kept in &images {
        let (size, created) = match &kept.contents {
            Ok(contents) => {
                let created = contents.config.created().as_deref().and_then(|time| time.get(..10));
                (report::size(contents.size()), created.unwrap_or("-").to_owned())
            }
            Err(error) if error.cause == Cause::Errno(Errno::EACCES) => {
                ("closed".to_owned(), "-".to_owned())
            }
            Err(_) => ("broken".to_owned(), "-".to_owned()),
        };
        let names: Vec<String> = match kept.names.as_slice() {
            [] => vec!["-".to_owned()],
            names => names.iter().map(Reference::familiar).collect(),
        };
        for name in names {
            rows.push([name, kept.digest.short(), size.clone(), created.clone()]);
        }
    }
    let widths = [0, 1, 2]
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |[name, digest, size, created]: &[String; 4]| {
        let [first, second, third] = widths;
        format!("{name:first$}  {digest:second$}  {size:>third$}  {created}\n")
    };
    report::print(&rows.iter().map(line).collect::<String>())
}

fn json_of(kept: &Kept) -> Value {
    let names: Vec<String> = kept.names.iter().map(Reference::to_string).collect();
    let mut value = json!({
        "names": names,
        "digest": kept.digest.to_string(),
        "tree": kept.tree.join("rootfs").to_string_lossy(),
    });
    match &kept.contents {
        Ok(contents) => {
            value["size"] = contents.size().into();
            value["created"] = json!(contents.config.created());
        }
        Err(error) => value["broken"] = error.to_string().into(),
    }
    value
}
