//! `/etc/passwd` and `/etc/group` as text: find an entry, merge one into an image's file.

use std::ffi::{OsStr, OsString};
use std::iter;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::sys;

/// One line of passwd(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: OsString,
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The comment field.
    pub comment: OsString,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

/// One line of group(5), without its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: OsString,
    /// The group id.
    pub gid: u32,
}

/// Finds the user of an id; lines that are no entries are passed over.
pub fn find_user(file: &[u8], uid: u32) -> Option<User> {
    lines_of_id(file, uid).find_map(|line| user(&file[line]))
}

/// Finds the group of an id; the first line of it counts.
pub fn find_group(file: &[u8], gid: u32) -> Option<Group> {
    lines_of_id(file, gid).find_map(|line| group(&file[line]))
}

/// Adds a user to a file, in place of all lines with the same name or id.
pub fn merge_user(file: &[u8], user: &User) -> Vec<u8> {
    let mut merged = without(file, &[(&user.name, user.uid)]);
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    let fields = [
        user.name.as_bytes(),
        b"x",
        uid.as_bytes(),
        gid.as_bytes(),
        user.comment.as_bytes(),
        user.home.as_os_str().as_bytes(),
        user.shell.as_os_str().as_bytes(),
    ];
    push_line(&mut merged, &fields);
    merged
}

/// Adds groups to a file, each in place of all lines with the same name or id, with one member.
pub fn merge_groups(file: &[u8], groups: &[Group], member: &OsStr) -> Vec<u8> {
    let taken: Vec<(&OsStr, u32)> =
        groups.iter().map(|group| (group.name.as_os_str(), group.gid)).collect();
    let mut merged = without(file, &taken);
    for group in groups {
        let gid = group.gid.to_string();
        push_line(&mut merged, &[group.name.as_bytes(), b"x", gid.as_bytes(), member.as_bytes()]);
    }
    merged
}

/// The first of some names that no entry has.
pub fn free_name<'a>(file: &[u8], names: &[&'a str]) -> Option<&'a str> {
    let is_free = |name: &&&str| lines_of_name(file, OsStr::new(name)).next().is_none();
    names.iter().find(is_free).copied()
}

/// The lines of entries with an id.
fn lines_of_id(file: &[u8], wanted: u32) -> impl Iterator<Item = Range<usize>> {
    // Zeros may stand before it, so it need not follow a colon.
    let text = format!("{wanted}:").into_bytes();
    lines_with(file, text).filter(move |line| id(&file[line.clone()]) == Some(wanted))
}

/// The lines of entries with a name.
fn lines_of_name(file: &[u8], wanted: &OsStr) -> impl Iterator<Item = Range<usize>> {
    let mut start: Vec<u8> = in_field(wanted.as_bytes()).collect();
    start.push(b':');
    lines_with(file, start.clone()).filter(move |line| file[line.clone()].starts_with(&start))
}

/// The lines that hold a text.
///
/// Taking every line apart would be a good part of all that hrun does before the command starts
/// (docs/decisions/0009); the C library finds a text many bytes at a time.
fn lines_with(file: &[u8], text: Vec<u8>) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    iter::from_fn(move || {
        let at = from + sys::find(file.get(from..)?, &text)?;
        let before = file[from..at].iter().rposition(|byte| *byte == b'\n');
        let after = file[at..].iter().position(|byte| *byte == b'\n');
        let line =
            before.map_or(from, |end| from + end + 1)..after.map_or(file.len(), |end| at + end);
        from = line.end + 1;
        Some(line)
    })
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b':')
}

/// The id is the third field of both files, and not the last one.
fn id(line: &[u8]) -> Option<u32> {
    let (_, rest) = cut(line)?;
    let (_, rest) = cut(rest)?;
    number(cut(rest)?.0)
}

/// The first field, and what follows it.
fn cut(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

fn user(line: &[u8]) -> Option<User> {
    let fields: Vec<&[u8]> = fields(line).collect();
    let [name, _, uid, gid, comment, home, shell] = fields.as_slice() else { return None };
    Some(User {
        name: text(name),
        uid: number(uid)?,
        gid: number(gid)?,
        comment: text(comment),
        home: PathBuf::from(text(home)),
        shell: PathBuf::from(text(shell)),
    })
}

fn group(line: &[u8]) -> Option<Group> {
    let fields: Vec<&[u8]> = fields(line).collect();
    let [name, _, gid, _] = fields.as_slice() else { return None };
    Some(Group { name: text(name), gid: number(gid)? })
}

fn text(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn number(bytes: &[u8]) -> Option<u32> {
    let mut number = (!bytes.is_empty()).then_some(0u32);
    for byte in bytes {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number = number?.checked_mul(10)?.checked_add(digit);
    }
    number
}

/// A file without the lines of some names and ids.
fn without(file: &[u8], taken: &[(&OsStr, u32)]) -> Vec<u8> {
    let mut lines: Vec<Range<usize>> = Vec::new();
    for (name, id) in taken {
        lines.extend(lines_of_name(file, name));
        lines.extend(lines_of_id(file, *id));
    }
    lines.sort_by_key(|line| line.start);
    let mut kept = Vec::with_capacity(file.len() + 256);
    let mut from = 0;
    for line in lines {
        kept.extend_from_slice(file.get(from..line.start).unwrap_or_default());
        from = line.end + 1;
    }
    kept.extend_from_slice(file.get(from..).unwrap_or_default());
    if !kept.is_empty() && !kept.ends_with(b"\n") {
        kept.push(b'\n');
    }
    kept
}

/// What a field can hold of a text: no colon and no newline; names from directories sometimes do.
fn in_field(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().copied().filter(|byte| !matches!(byte, b':' | b'\n'))
}

fn push_line(file: &mut Vec<u8>, fields: &[&[u8]]) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            file.push(b':');
        }
        file.extend(in_field(field));
    }
    file.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        # a comment\n\
        ubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\n\
        short:x:1\n\
        nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin";

    fn alice() -> User {
        User {
            name: "alice".into(),
            uid: 1000,
            gid: 100,
            comment: "Alice: A".into(),
            home: "/users/alice".into(),
            shell: "/bin/zsh".into(),
        }
    }

    #[test]
    fn finds_users() {
        let ubuntu = find_user(PASSWD, 1000).unwrap();
        assert_eq!(
            (ubuntu.name.to_str(), ubuntu.home.to_str()),
            (Some("ubuntu"), Some("/home/ubuntu"))
        );
        assert_eq!(find_user(PASSWD, 65534).unwrap().name, "nobody");
        assert_eq!(find_user(PASSWD, 1), None);
    }

    #[test]
    fn the_caller_replaces_the_images_user_of_the_same_id() {
        let merged = String::from_utf8(merge_user(PASSWD, &alice())).unwrap();
        assert!(!merged.contains("ubuntu"), "{merged}");
        assert!(merged.ends_with("\nalice:x:1000:100:Alice A:/users/alice:/bin/zsh\n"), "{merged}");
        assert!(merged.contains("nobody:x:65534"), "a last line without a newline stays: {merged}");
    }

    #[test]
    fn groups_get_the_caller_as_member() {
        let file = b"root:x:0:\nstaff:x:50:\nproj:x:7000:bob\n";
        let groups =
            [Group { name: "proj".into(), gid: 5000 }, Group { name: "gpu".into(), gid: 50 }];
        let merged = String::from_utf8(merge_groups(file, &groups, OsStr::new("alice"))).unwrap();
        assert_eq!(merged, "root:x:0:\nproj:x:5000:alice\ngpu:x:50:alice\n");
    }

    #[test]
    fn an_id_counts_only_where_it_is_one() {
        let file = b"a:x:10:20:1000:/:\nb:x:20:1000::/:\nc:x:1000:10::/:\nd:x:10:::/:";
        assert_eq!(find_user(file, 1000).unwrap().name, "c");
        assert_eq!(find_user(file, 20).unwrap().name, "b");
        assert_eq!(find_group(b"ab:x:7:\nb:x:7:\nb:x:70:", 7).unwrap().name, "ab");
        let user = User { name: "b".into(), uid: 10, ..User::default() };
        let merged = String::from_utf8(merge_user(file, &user)).unwrap();
        assert_eq!(
            merged, "c:x:1000:10::/:\nb:x:10:0:::\n",
            "two lines of the id, one of the name"
        );
    }

    #[test]
    fn a_name_that_no_field_can_hold_replaces_what_is_written_for_it() {
        let user = User { name: "al:i\nce".into(), uid: 7, ..User::default() };
        let merged =
            String::from_utf8(merge_user(b"alice:x:8:8:::\nal:x:9:9:::\n", &user)).unwrap();
        assert_eq!(merged, "al:x:9:9:::\nalice:x:7:0:::\n");
        let groups = [Group { name: "st:aff".into(), gid: 5 }];
        let merged = merge_groups(b"staff:x:50:\n", &groups, OsStr::new("alice"));
        assert_eq!(merged, b"staff:x:5:alice\n");
    }

    #[test]
    fn zeros_before_an_id_change_nothing() {
        let file = b"old:x:007:1:::\nten:x:17:1:::\n";
        assert_eq!(find_user(file, 7).unwrap().name, "old");
        let user = User { name: "new".into(), uid: 7, ..User::default() };
        assert_eq!(merge_user(file, &user), b"ten:x:17:1:::\nnew:x:7:0:::\n");
    }

    #[test]
    fn a_line_that_ends_with_an_id_is_no_entry_of_it() {
        let file = b"a:x:7\nb7:x:7\n";
        let groups = [Group { name: "c".into(), gid: 7 }];
        let merged = merge_groups(file, &groups, OsStr::new("alice"));
        assert_eq!(merged, b"a:x:7\nb7:x:7\nc:x:7:alice\n");
    }

    #[test]
    fn an_empty_file_becomes_one_line() {
        let merged = merge_user(b"", &alice());
        assert_eq!(merged.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
