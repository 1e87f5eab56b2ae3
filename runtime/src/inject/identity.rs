//! Who the caller is: `/etc/passwd`, `/etc/group`, `HOME`, `USER`, `SHELL`.
//!
//! The files are the image's own plus the caller and the names of all the caller's groups, because
//! Python, ssh and many others look the user up and fail without an entry.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::Result;
use crate::ids;
use crate::look::files;
use crate::look::host::Host;
use crate::look::image::Image;
use crate::origin::Origin;
use crate::passwd::{self, Group, User};
use crate::plan::Note;
use crate::request::Request;

pub(super) const NAME: &str = "identity";

/// What stands for a file the image lacks.
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n";
const GROUP: &[u8] = b"root:x:0:\n";

/// What the kernel shows for all ids that mean nothing inside, and its usual names, the first of
/// which counts that the image has not given to another id.
const OTHERS: u32 = 65534;
const OTHER_USERS: [&str; 3] = ["nobody", "nfsnobody", "others"];
const OTHER_GROUPS: [&str; 4] = ["nogroup", "nobody", "nfsnobody", "others"];

pub(super) fn find(request: &Request, host: &Host, image: &Image) -> Result<Edits> {
    let origin = Origin::injector(NAME);
    let mut edits = Edits::default();
    let mut user = caller(host, &mut edits);
    let has_shell = is_inside(&user.shell, image);
    let own_shell = user.shell.clone();
    if !has_shell {
        user.shell = PathBuf::from("/bin/sh");
    }

    let uid = ids::user(request, host).inside;
    let gid = ids::group(request, host).inside;
    let passwd = read(image, "/etc/passwd", &mut edits);
    if let Some(file) = merged_passwd(passwd.as_deref(), &user, uid, gid, host) {
        edits.replace_file(PathBuf::from("/etc/passwd"), file, &origin);
    }
    let group = read(image, "/etc/group", &mut edits);
    if let Some(file) = merged_group(group.as_deref(), &user, gid, host, &mut edits) {
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
fn caller(host: &Host, edits: &mut Edits) -> User {
    let local = read_host(host, "/etc/passwd", edits);
    let local = local.and_then(|file| passwd::find_user(&file, host.uid));
    local.or_else(|| from_environment(host)).or_else(|| from_services(host)).unwrap_or_else(|| {
        let name = host.variable("USER").or_else(|| host.variable("LOGNAME"));
        User {
            name: name.map_or_else(|| format!("user{}", host.uid).into(), OsString::from),
            uid: host.uid,
            gid: host.gid,
            home: host.path_variable("HOME").unwrap_or_else(|| PathBuf::from("/")),
            shell: host.path_variable("SHELL").unwrap_or_default(),
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

/// Without looking: what hrun itself falls back to counts as there.
fn is_inside(shell: &Path, image: &Image) -> bool {
    shell == Path::new("/bin/sh") || shell.is_absolute() && image.files.holds(shell)
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
    let others = passwd::find_user(file, OTHERS).is_none() && uid != OTHERS;
    let others = others.then(|| passwd::free_name(file, &OTHER_USERS)).flatten();
    let named = others.map(|name| {
        let user = User {
            name: name.into(),
            uid: OTHERS,
            gid: OTHERS,
            comment: name.into(),
            home: PathBuf::from("/nonexistent"),
            shell: PathBuf::from("/bin/false"),
        };
        passwd::merge_user(file, &user)
    });
    if uid != host.uid && passwd::find_user(file, uid).is_some() {
        return named;
    }
    let file = named.as_deref().unwrap_or(file);
    Some(passwd::merge_user(file, &User { uid, gid, ..user.clone() }))
}

fn merged_group(
    file: Option<&[u8]>,
    user: &User,
    gid: u32,
    host: &Host,
    edits: &mut Edits,
) -> Option<Vec<u8>> {
    let file = file.unwrap_or(GROUP);
    let others = passwd::find_group(file, OTHERS).is_none() && gid != OTHERS;
    let others = others.then(|| passwd::free_name(file, &OTHER_GROUPS)).flatten();
    let named = others.map(|name| {
        let group = Group { name: name.into(), gid: OTHERS };
        passwd::merge_groups(file, &[group], OsStr::new(""))
    });
    if gid != host.gid && passwd::find_group(file, gid).is_some() {
        return named;
    }
    let mut groups = groups(host, edits);
    if let Some(primary) = groups.first_mut() {
        primary.gid = gid;
    }
    let file = named.as_deref().unwrap_or(file);
    Some(passwd::merge_groups(file, &groups, &user.name))
}

/// The caller's primary group and all others, by the host's names; a group without a name gets
/// its number for one.
fn groups(host: &Host, edits: &mut Edits) -> Vec<Group> {
    let mut gids = vec![host.gid];
    gids.extend(host.groups.iter().filter(|gid| **gid != host.gid));
    let local = read_host(host, "/etc/group", edits).unwrap_or_default();
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

/// A file of the host; one that cannot be read is missed.
fn read_host(host: &Host, path: &str, edits: &mut Edits) -> Option<Vec<u8>> {
    host.try_read(path).unwrap_or_else(|errno| {
        let text = format!("names of this host's {path} are not known inside: {}", errno.desc());
        edits.notes.push(Note::warning(text));
        None
    })
}

fn read(image: &Image, path: &str, edits: &mut Edits) -> Option<Vec<u8>> {
    files::read(&image.files, Path::new(path)).unwrap_or_else(|errno| {
        let text = format!("names of the image's {path} are not known inside: {}", errno.desc());
        edits.notes.push(Note::warning(text));
        None
    })
}
