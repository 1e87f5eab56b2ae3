//! User and group files: a merged one has the user exactly once, and all other lines as they were.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use runtime::passwd::{Group, User, find_group, find_user, merge_groups, merge_user};

/// A number as the C library reads one.
fn number(field: &[u8]) -> Option<u32> {
    let digits = field.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(field).ok().filter(|_| digits)?.parse().ok()
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').collect()
}

/// What a field can hold of a text.
fn clean(text: &OsStr) -> Vec<u8> {
    text.as_bytes().iter().copied().filter(|byte| !b":\n".contains(byte)).collect()
}

/// Whether a line is an entry of a name or an id, which is followed by more fields.
fn is_of(line: &[u8], name: &[u8], id: u32) -> bool {
    let fields = fields(line);
    let is_named = fields.len() > 1 && fields[0] == name;
    is_named || fields.len() > 3 && number(fields[2]) == Some(id)
}

/// A file without the lines of some names and ids, its last line ended.
fn without(file: &[u8], taken: &[(Vec<u8>, u32)]) -> Vec<u8> {
    let lines = file.split_inclusive(|byte| *byte == b'\n');
    let is_kept = |line: &&[u8]| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        !taken.iter().any(|(name, id)| is_of(line, name, *id))
    };
    let mut kept = lines.filter(is_kept).collect::<Vec<_>>().concat();
    if !kept.is_empty() && !kept.ends_with(b"\n") {
        kept.push(b'\n');
    }
    kept
}

fn check_user(file: &[u8], user: &User) {
    let name = clean(&user.name);
    let merged = merge_user(file, user);
    let kept = without(file, &[(name.clone(), user.uid)]);
    let added = merged.strip_prefix(&kept[..]).expect("all other lines stay as they were");
    let line = added.strip_suffix(b"\n").expect("the last line is ended");
    assert!(!line.contains(&b'\n') && fields(line).len() == 7 && fields(line)[0] == name);

    let lines = merged.split(|byte| *byte == b'\n');
    assert_eq!(lines.filter(|line| is_of(line, &name, user.uid)).count(), 1);
    let found = find_user(&merged, user.uid).expect("the user is found");
    assert_eq!((found.name.as_bytes(), found.uid, found.gid), (&name[..], user.uid, user.gid));
    assert_eq!(found.home.as_os_str().as_bytes(), clean(user.home.as_os_str()));
    assert_eq!(merge_user(&merged, user), merged, "a second time changes nothing");
}

fn check_groups(file: &[u8], groups: &[Group], member: &OsStr) {
    let merged = merge_groups(file, groups, member);
    let taken: Vec<_> = groups.iter().map(|group| (clean(&group.name), group.gid)).collect();
    let added = merged.strip_prefix(&without(file, &taken)[..]);
    let added = added.expect("all other lines stay as they were");
    assert!(added.is_empty() || added.ends_with(b"\n"));
    assert_eq!(added.split_inclusive(|byte| *byte == b'\n').count(), groups.len());
    for group in groups {
        let first = groups.iter().find(|other| other.gid == group.gid).unwrap_or(group);
        let found = find_group(&merged, group.gid).expect("the group is found");
        assert_eq!((found.name.as_bytes(), found.gid), (&clean(&first.name)[..], group.gid));
    }
}

/// Checks that the first sound line of an id is found.
fn check_found(file: &[u8], id: u32) {
    let lines = || file.split(|byte| *byte == b'\n').map(fields);
    let is_user = |fields: &Vec<&[u8]>| {
        fields.len() == 7 && number(fields[2]) == Some(id) && number(fields[3]).is_some()
    };
    let user = find_user(file, id).map(|user| user.name.as_bytes().to_vec());
    assert_eq!(user.as_deref(), lines().find(is_user).map(|fields| fields[0]));
    let is_group = |fields: &Vec<&[u8]>| fields.len() == 4 && number(fields[2]) == Some(id);
    let group = find_group(file, id).map(|group| group.name.as_bytes().to_vec());
    assert_eq!(group.as_deref(), lines().find(is_group).map(|fields| fields[0]));
}

// The user's name, id, group and home directory, each ended by NUL, and then the file.
fuzz_target!(|input: &[u8]| {
    let parts: Vec<&[u8]> = input.splitn(5, |byte| *byte == 0).collect();
    let [name, uid, gid, home, file] = parts[..] else { return };
    let (Some(uid), Some(gid)) = (number(uid), number(gid)) else { return };
    let (name, home) = (OsStr::from_bytes(name), OsStr::from_bytes(home));
    check_found(file, uid);
    let user = User { name: name.into(), uid, gid, home: home.into(), ..User::default() };
    check_user(file, &User { comment: home.into(), shell: Path::new(home).into(), ..user });
    let groups = [Group { name: name.into(), gid }, Group { name: home.into(), gid: uid }];
    for groups in [&groups[..], &groups[..1], &[]] {
        check_groups(file, groups, name);
    }
});
