//! Who the command is: ids and capabilities, and what `/etc/passwd` and `/etc/group` say.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use super::support::scratch::{chmod, copy_program, own};
use super::support::{
    Image, Scratch, Way, hrun, in_every_way, lacks, outcome, probe, program, real, tester,
};

/// The ids inside, as `uid gid`.
fn ids(image: &Image, options: &[&str]) -> String {
    let lines = probe(image.path(), options, "id").lines();
    format!("{} {}", &lines[0][4..], &lines[1][4..])
}

const RIGHTS: &str = "status CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs";

/// The sets of capabilities by their names, and `NoNewPrivs`.
fn rights(image: &Path, options: &[&str]) -> Vec<(String, u64)> {
    let lines = probe(image, options, RIGHTS).lines();
    let fields = lines.iter().map(|line| line.split_once(':').unwrap());
    fields.map(|(name, value)| (name.to_owned(), u64::from_str_radix(value, 16).unwrap())).collect()
}

/// Asserts that the command has no capability, and can get none.
#[track_caller]
fn assert_no_rights(image: &Path, options: &[&str]) {
    for (name, value) in rights(image, options) {
        match name.as_str() {
            "NoNewPrivs" => assert_eq!(value, 1, "{options:?}"),
            // What the bounding set leaves is out of reach: no program gives privileges any more.
            "CapBnd" => {}
            _ => assert_eq!(value, 0, "{name} with {options:?}"),
        }
    }
}

#[test]
fn the_caller_stays_who_he_is() {
    let image = Image::tiny();
    assert_eq!(ids(&image, &[]), format!("{} {}", tester().uid, tester().gid));
    assert_no_rights(image.path(), &[]);
}

#[test]
fn ids_can_be_chosen() {
    let image = Image::tiny();
    let (uid, gid) = (tester().uid, tester().gid);
    for (options, wanted) in [
        (&["-u", "1234"][..], format!("1234 {gid}")),
        (&["-g", "5678"], format!("{uid} 5678")),
        (&["--uid=1234", "--gid=5678"], "1234 5678".into()),
        (&["-u0"], format!("0 {gid}")),
        (&["-u0", "-g0"], "0 0".into()),
        (&["--root"], "0 0".into()),
        (&["--fakeroot"], "0 0".into()),
        (&["--root", "-g", "5678"], "0 5678".into()),
        (&["-u", "4294967294"], format!("4294967294 {gid}")),
    ] {
        assert_eq!(ids(&image, options), wanted, "{options:?}");
    }
}

#[test]
fn what_is_no_id_is_refused() {
    let image = Image::tiny();
    for value in ["", "root", "-1", "1.5", "4294967295", "4294967296", "0x10", "1 "] {
        for option in ["--uid", "--gid"] {
            let part = format!("'{value}' is not a number of an id");
            probe(image.path(), &[&format!("{option}={value}")], "id").fails(&[&part, "from: "]);
        }
    }
}

#[test]
fn another_id_brings_no_rights() {
    let image = Image::tiny();
    for options in [&["-u", "1234"][..], &["-u", "0"], &["-u", "0", "-g", "0"]] {
        assert_no_rights(image.path(), options);
    }
    // Root would get capabilities from every execve(2) if the bounding set held any.
    let rights = rights(image.path(), &["-u", "0"]);
    assert!(rights.contains(&("CapBnd".to_owned(), 0)), "{rights:?}");
}

#[test]
fn root_has_rights_over_the_container() {
    let image = Image::tiny();
    for (name, value) in rights(image.path(), &["--root"]) {
        match name.as_str() {
            "CapPrm" | "CapEff" | "CapBnd" => assert_ne!(value & (1 << 21), 0, "{name}"),
            "NoNewPrivs" => assert_eq!(value, 1),
            _ => assert_eq!(value, 0, "{name}"),
        }
    }
    let script = "busybox mount -t tmpfs mine /opt && echo x > /opt/x && cat /opt/x";
    let mounted = hrun(["--root", image.path().to_str().unwrap(), "/bin/sh", "-c", script]);
    assert_eq!(mounted.ok(), "x\n");
    assert!(!image.join("opt/x").exists());
}

#[test]
fn root_owns_what_is_the_callers_and_nothing_else() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    let mine = data.file("mine", "");
    let other = data.file("other", "");
    chown(&other, Some(20002), Some(20002)).unwrap();
    in_every_way(|way| {
        let owner = |options: &[&str], path: &Path| {
            way.probe(image.path(), options, &format!("owner {}", path.display())).ok()
        };
        assert!(owner(&[], &mine).starts_with("20001 20001 "));
        assert!(owner(&["--root"], &mine).starts_with("0 0 "));
        assert!(owner(&["-u1", "-g2"], &mine).starts_with("1 2 "));
        assert!(owner(&["--root"], &other).starts_with("65534 65534 "));
        let words = format!("write {} x", other.display());
        way.probe(image.path(), &["--root"], &words).refused("EACCES");
    });
}

#[test]
fn files_made_as_somebody_else_are_the_callers_on_the_host() {
    let image = Image::tiny();
    for option in ["--root", "--uid=1234"] {
        let data = Scratch::new();
        let new = data.join("new");
        probe(image.path(), &[option], &format!("write {} x", new.display())).ok();
        let made = fs::metadata(new).unwrap();
        assert_eq!((made.uid(), made.gid()), (tester().uid, tester().gid));
    }
}

#[test]
fn supplementary_groups_still_open_files() {
    if lacks("root") {
        return;
    }
    let (image, data) = (Image::tiny(), Scratch::new());
    let shared = data.file("shared", "of the project");
    chown(&shared, Some(20002), Some(20101)).unwrap();
    chmod(&shared, 0o640);
    let words = format!("cat {}", shared.display());
    for options in [&[][..], &["--root"], &["-g", "5678"]] {
        assert_eq!(probe(image.path(), options, &words).ok(), "of the project");
    }
}

#[test]
fn a_setuid_program_gives_nothing() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny().closed();
    let setuid = image.join("bin/setuid");
    copy_program(&image.join("bin/probe"), &setuid);
    chown(&setuid, Some(0), Some(0)).unwrap();
    chmod(&setuid, 0o6755);
    let uid = tester().uid;
    in_every_way(|way| {
        let run = |words: &[&str]| {
            way.hrun([&[image.path().to_str().unwrap(), "/bin/setuid"], words].concat()).lines()
        };
        assert_eq!(run(&["id"])[0], format!("uid {uid}"));
        assert_eq!(
            run(&["status", "CapPrm", "CapEff"]),
            ["CapPrm:0000000000000000", "CapEff:0000000000000000"]
        );
    });
}

#[test]
fn a_program_with_file_capabilities_gives_nothing() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny().closed();
    let capable = image.join("bin/capable");
    copy_program(&image.join("bin/probe"), &capable);
    let set = Command::new("setcap").arg("cap_net_raw,cap_sys_admin=ep").arg(&capable).status();
    assert!(set.unwrap().success());
    in_every_way(|way| {
        let words = [image.path().to_str().unwrap(), "/bin/capable", "status", "CapPrm", "CapEff"];
        let sets = way.hrun(words).lines();
        assert_eq!(sets, ["CapPrm:0000000000000000", "CapEff:0000000000000000"]);
    });
}

/// A file of the container, by lines.
fn lines_of(way: Way, image: &Image, options: &[&str], file: &str) -> Vec<String> {
    way.probe(image.path(), options, &format!("cat {file}")).lines()
}

/// The one line of a name in passwd(5) or group(5).
#[track_caller]
fn entry<'a>(lines: &'a [String], name: &str) -> Vec<&'a str> {
    let mut found = lines.iter().filter(|line| line.split(':').next() == Some(name));
    let entry = found.next().unwrap_or_else(|| panic!("no {name} in {lines:?}"));
    assert!(found.next().is_none(), "two of {name} in {lines:?}");
    entry.split(':').collect()
}

/// Whether a line of passwd(5) is the caller's, or the caller is in a line of group(5).
fn knows_the_caller(lines: &[String]) -> bool {
    let name = &tester().name;
    lines
        .iter()
        .any(|line| line.split(':').next() == Some(name) || line.ends_with(&format!(":{name}")))
}

#[test]
fn the_caller_is_in_passwd_and_group() {
    let image = Image::tiny();
    let user = tester();
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    in_every_way(|way| {
        let passwd = lines_of(way, &image, &[], "/etc/passwd");
        let caller = entry(&passwd, &user.name);
        assert_eq!((caller[2], caller[3]), (&*uid, &*gid));
        assert_eq!(Path::new(caller[5]), user.home);
        assert_eq!(caller[6], "/bin/sh", "the host's shell does not exist inside");
        assert_eq!(entry(&passwd, "root")[2], "0");
        assert_eq!(passwd.len(), 3);
        let group = lines_of(way, &image, &[], "/etc/group");
        assert!(group.iter().any(|line| line.split(':').nth(2) == Some(&gid)), "{group:?}");
    });
}

#[test]
fn the_callers_entry_is_the_hosts() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    image.program("bin/bash", "");
    in_every_way(|way| {
        let passwd = lines_of(way, &image, &[], "/etc/passwd");
        let wanted = "tester:x:20001:20001:Test User,Room 1:/home/tester:/bin/bash";
        assert_eq!(passwd.last().unwrap(), wanted);
    });
}

#[test]
fn all_groups_of_the_caller_have_their_names() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    in_every_way(|way| {
        let group = lines_of(way, &image, &[], "/etc/group");
        assert_eq!(entry(&group, "tester"), ["tester", "x", "20001", "tester"]);
        assert_eq!(entry(&group, "projecta"), ["projecta", "x", "20101", "tester"]);
        assert_eq!(entry(&group, "projectb"), ["projectb", "x", "20102", "tester"]);
        assert_eq!(entry(&group, "root")[2], "0");
        assert_eq!(group.len(), 5);
    });
}

#[test]
fn the_caller_replaces_users_and_groups_of_the_image_with_the_same_name_or_id() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    image.file(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         ubuntu:x:20001:20001:Ubuntu:/home/ubuntu:/bin/bash\n\
         tester:x:1000:1000:Another:/home/another:/bin/bash\n\
         daemon:x:1:1::/:",
    );
    image.file("etc/group", "root:x:0:\nprojecta:x:7:bin\nubuntu:x:20001:\nmail:x:8:");
    in_every_way(|way| {
        let passwd = lines_of(way, &image, &[], "/etc/passwd");
        let names: Vec<_> = passwd.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(names, ["root", "daemon", "nobody", "tester"]);
        assert_eq!(
            entry(&passwd, "tester")[2..6],
            ["20001", "20001", "Test User,Room 1", "/home/tester"]
        );
        let group = lines_of(way, &image, &[], "/etc/group");
        let names: Vec<_> = group.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(names, ["root", "mail", "nogroup", "tester", "projecta", "projectb"]);
        assert_eq!(entry(&group, "projecta")[2], "20101");
    });
}

#[test]
fn an_image_without_passwd_or_group_gets_them() {
    for missing in [&["etc/passwd"][..], &["etc/group"], &["etc/passwd", "etc/group"]] {
        let image = Image::tiny();
        for file in missing {
            fs::remove_file(image.join(file)).unwrap();
        }
        in_every_way(|way| {
            for file in ["/etc/passwd", "/etc/group"] {
                let lines = lines_of(way, &image, &[], file);
                entry(&lines, "root");
                assert!(knows_the_caller(&lines), "{lines:?}");
            }
        });
    }
}

#[test]
fn passwd_and_group_may_be_links_in_the_image() {
    let image = Image::tiny();
    for name in ["passwd", "group"] {
        fs::rename(image.join("etc").join(name), image.join("opt").join(name)).unwrap();
        image.link(&format!("etc/{name}"), &format!("../opt/{name}"));
    }
    in_every_way(|way| {
        for file in ["/etc/passwd", "/etc/group", "/opt/passwd", "/opt/group"] {
            let lines = lines_of(way, &image, &[], file);
            entry(&lines, "root");
            assert!(knows_the_caller(&lines), "{lines:?}");
        }
    });
}

#[test]
fn an_id_the_image_knows_keeps_the_images_name() {
    let image = Image::tiny();
    image.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1234:5678:App:/app:/bin/sh\n");
    image.file("etc/group", "root:x:0:\napps:x:5678:app\n");
    for (options, name) in [(&["--root"][..], "root"), (&["-u1234", "-g5678"], "app")] {
        let passwd = lines_of(Way(&[]), &image, options, "/etc/passwd");
        assert_eq!(passwd.len(), 3, "{options:?} {passwd:?}");
        let id = hrun(options.iter().chain(&[image.path().to_str().unwrap(), "/bin/id", "-un"]));
        assert_eq!(id.ok(), format!("{name}\n"));
    }
}

#[test]
fn an_id_nobody_knows_has_the_callers_name() {
    let image = Image::tiny();
    let options = ["-u", "4321", "-g", "8765", image.path().to_str().unwrap(), "/bin/id"];
    let name = &tester().name;
    assert_eq!(hrun(options.iter().chain(&["-un"])).ok(), format!("{name}\n"));
    let passwd = lines_of(Way(&[]), &image, &["-u4321", "-g8765"], "/etc/passwd");
    assert_eq!(entry(&passwd, name)[2..4], ["4321", "8765"]);
}

#[test]
fn programs_find_the_caller_and_his_groups() {
    if lacks("root") {
        return;
    }
    let script = "import pwd, grp, os, getpass; p = pwd.getpwuid(os.getuid()); \
                  print(getpass.getuser(), p.pw_name, p.pw_dir, p.pw_shell, \
                  os.path.expanduser('~'), grp.getgrnam('projecta').gr_mem)";
    let image = real("bookworm");
    in_every_way(|way| {
        let seen = way.hrun([image.to_str().unwrap(), "python3", "-c", script]);
        assert_eq!(seen.ok(), "tester tester /home/tester /bin/bash /home/tester ['tester']\n");
    });
}

#[test]
fn a_caller_in_no_file_is_known_by_the_environment() {
    if lacks("root") {
        return;
    }
    let image = Image::in_scratch(Scratch::below(Path::new("/var/tmp")));
    // A uid that /etc/passwd lacks, as of a user from a directory service.
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "20077", "--regid", "20078", "--clear-groups", "--"])
        .arg(program("hrun"))
        .arg(image.path())
        .args(["/bin/probe", "cat", "/etc/passwd"])
        .env_clear()
        .envs([("USER", "ldap"), ("HOME", "/home/ldap"), ("PATH", "/usr/bin:/bin")])
        .current_dir("/");
    let passwd = outcome(&mut command).lines();
    assert_eq!(
        entry(&passwd, "ldap"),
        ["ldap", "x", "20077", "20078", "", "/home/ldap", "/bin/sh"]
    );
}

/// The id the kernel shows for groups and users that mean nothing inside.
#[test]
fn what_belongs_to_others_has_a_name_in_every_image() {
    let named = |passwd: &str, group: &str, options: &[&str]| {
        let image = Image::tiny();
        image.file("etc/passwd", passwd);
        image.file("etc/group", group);
        let name = |file: &str| {
            let lines = lines_of(Way(&[]), &image, options, file);
            let mut found = lines.iter().filter(|line| line.split(':').nth(2) == Some("65534"));
            let name = found.next().map(|line| line.split(':').next().unwrap().to_owned());
            assert_eq!(found.count(), 0, "{lines:?}");
            name.unwrap_or_else(|| panic!("{lines:?}"))
        };
        [name("/etc/passwd"), name("/etc/group")]
    };
    let root = "root:x:0:0:root:/root:/bin/sh\n";
    for options in [&[][..], &["--root"], &["-u1234", "-g5678"]] {
        assert_eq!(named(root, "root:x:0:\n", options), ["nobody", "nogroup"]);
        // As Red Hat 7 and Alpine have them.
        let seven = format!("{root}nobody:x:99:99:Nobody:/:/sbin/nologin\n");
        let groups = "root:x:0:\nnogroup:x:98:\nnobody:x:99:\n";
        assert_eq!(named(&seven, groups, options), ["nfsnobody", "nfsnobody"]);
        let alpine = format!("{root}nobody:x:65534:65534:nobody:/:/sbin/nologin\n");
        assert_eq!(named(&alpine, "root:x:0:\nnobody:x:65534:\n", options), ["nobody", "nobody"]);
    }
    for image in [real("bookworm"), real("musl"), real("trixie")] {
        let seen = hrun([image.as_os_str(), "sh".as_ref(), "-c".as_ref(), "id -Gn".as_ref()]);
        seen.ok();
    }
}

#[test]
fn a_caller_in_no_database_has_the_home_of_the_environment() {
    if lacks("root") {
        return;
    }
    let image = Image::in_scratch(Scratch::below(Path::new("/var/tmp")));
    let entry_with = |variables: &[(&str, &str)]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "20077", "--regid", "20078", "--clear-groups", "--"])
            .arg(program("hrun"))
            .arg(image.path())
            .args(["/bin/probe", "cat", "/etc/passwd"])
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir("/");
        let lines = outcome(&mut command).lines();
        let found = lines.iter().find(|line| line.split(':').nth(2) == Some("20077"));
        found.unwrap_or_else(|| panic!("{lines:?}")).clone()
    };
    let path = ("PATH", "/usr/bin:/bin");
    assert_eq!(
        entry_with(&[path, ("HOME", "/home/x")]),
        "user20077:x:20077:20078::/home/x:/bin/sh"
    );
    assert_eq!(entry_with(&[path, ("USER", "me")]), "me:x:20077:20078::/:/bin/sh");
    assert_eq!(entry_with(&[path]), "user20077:x:20077:20078::/:/bin/sh");
}

#[test]
fn the_shell_is_one_that_exists_inside() {
    let image = Image::tiny();
    let shell = |shell: &str| {
        let mut command = Way(&[]).prober(image.path(), &[], "env SHELL");
        outcome(command.env("SHELL", shell)).ok()
    };
    assert_eq!(shell("/usr/bin/zsh"), "/bin/sh\n");
    let bash = image.program("bin/bash", "");
    own(&bash);
    if !lacks("root") {
        assert_eq!(shell("/bin/bash"), "/bin/bash\n");
    }
}
