//! Who the caller is: `/etc/passwd`, `/etc/group`, `HOME`, `USER`, `SHELL`.
//!
//! The files are the image's own plus the caller and the names of all the caller's groups, because
//! Python, ssh and many others look the user up and fail without an entry.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::Result;
use crate::ids;
use crate::look::files;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::passwd::{self, Group, User};
use crate::request::Request;

pub(super) const NAME: &str = "identity";

/// What stands for a file the image lacks: root, and the id the kernel shows for everybody else.
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &[u8] = b"root:x:0:\nnogroup:x:65534:\n";

pub(super) fn find(request: &Request, host: &Host, image: &Image) -> Result<Edits> {
    let origin = Origin::injector(NAME);
    let mut edits = Edits::default();
    let mut user = caller(host);
    let has_shell = is_inside(&user.shell, image);
    let own_shell = user.shell.clone();
    if !has_shell {
        user.shell = PathBuf::from("/bin/sh");
    }

    let uid = ids::user(request, host).inside;
    let gid = ids::group(request, host).inside;
    let passwd = read(image, "/etc/passwd");
    if let Some(file) = merged_passwd(passwd.as_deref(), &user, uid, gid, host) {
        edits.replace_file(PathBuf::from("/etc/passwd"), file, &origin);
    }
    let group = read(image, "/etc/group");
    if let Some(file) = merged_group(group.as_deref(), &user, gid, host) {
        edits.replace_file(PathBuf::from("/etc/group"), file, &origin);
    }

    for (name, value) in
        [("HOME", user.home.as_os_str()), ("USER", &user.name), ("LOGNAME", &user.name)]
    {
        if host.variable(name).is_none() {
            edits.set(name, value, &origin);
        }
    }
    if let Some(shell) = host.path_variable("SHELL")
        && !(shell.as_os_str() == own_shell && has_shell || is_inside(&shell, image))
    {
        edits.set("SHELL", &user.shell, &origin);
    }
    Ok(edits)
}

/// Finds the caller in the host's file, in the environment a login set, or in the name services.
///
/// The environment comes before the name services because asking these takes a process, in every
/// rank, and the environment of a job is set from them anyway.
fn caller(host: &Host) -> User {
    let local = host.read("/etc/passwd").and_then(|file| passwd::find_user(&file, host.uid));
    local.or_else(|| from_environment(host)).or_else(|| from_services(host)).unwrap_or_else(|| {
        User {
            name: OsString::from(format!("user{}", host.uid)),
            uid: host.uid,
            gid: host.gid,
            home: PathBuf::from("/"),
            ..User::default()
        }
    })
}

fn from_environment(host: &Host) -> Option<User> {
    Some(User {
        name: host.variable("USER").or_else(|| host.variable("LOGNAME"))?.to_owned(),
        uid: host.uid,
        gid: host.gid,
        home: host.path_variable("HOME")?,
        shell: host.path_variable("SHELL").unwrap_or_default(),
        ..User::default()
    })
}

fn from_services(host: &Host) -> Option<User> {
    passwd::find_user(&host.getent("passwd", &[host.uid]), host.uid)
}

/// Whether a shell is inside; `/bin/sh` stands for one that is not, so nothing is asked about it.
fn is_inside(shell: &Path, image: &Image) -> bool {
    shell.as_os_str() == "/bin/sh" || shell.is_absolute() && image.files.holds(shell)
}

/// An id asked for by option that the image knows keeps the image's name for it.
fn merged_passwd(
    file: Option<&[u8]>,
    user: &User,
    uid: u32,
    gid: u32,
    host: &Host,
) -> Option<Vec<u8>> {
    let file = file.unwrap_or(PASSWD);
    if uid != host.uid && passwd::find_user(file, uid).is_some() {
        return None;
    }
    Some(passwd::merge_user(file, &User { uid, gid, ..user.clone() }))
}

fn merged_group(file: Option<&[u8]>, user: &User, gid: u32, host: &Host) -> Option<Vec<u8>> {
    let file = file.unwrap_or(GROUP);
    if gid != host.gid && passwd::find_group(file, gid).is_some() {
        return None;
    }
    let mut groups = groups(host);
    if let Some(primary) = groups.first_mut() {
        primary.gid = gid;
    }
    Some(passwd::merge_groups(file, &groups, &user.name))
}

/// The caller's primary group and all others, by the host's names; a group without a name gets
/// its number for one.
fn groups(host: &Host) -> Vec<Group> {
    let mut gids = vec![host.gid];
    gids.extend(host.groups.iter().filter(|gid| **gid != host.gid));
    let local = host.read("/etc/group").unwrap_or_default();
    let known: Vec<Option<Group>> =
        gids.iter().map(|gid| passwd::find_group(&local, *gid)).collect();
    let named = gids.iter().copied().zip(known);
    let unknown: Vec<u32> =
        named.clone().filter(|(_, group)| group.is_none()).map(|(gid, _)| gid).collect();
    let services = host.getent("group", &unknown);
    let numbered = |gid| Group { name: OsString::from(format!("group{gid}")), gid };
    named
        .map(|(gid, group)| {
            let group = group.or_else(|| passwd::find_group(&services, gid));
            group.unwrap_or_else(|| numbered(gid))
        })
        .collect()
}

fn read(image: &Image, path: &str) -> Option<Vec<u8>> {
    files::read(&image.files, Path::new(path)).ok()?
}
