//! What a bind shows: sources relative to the current directory, with odd names, the host's root,
//! and places that hrun covers for itself while it starts.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::support::scratch::own;
use super::support::{Image, Scratch, bind, in_every_way, lacks, on_host, outcome};

#[test]
fn sources_may_be_relative_to_the_current_directory() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("a/note", "from the host");
    data.directory("b");
    in_every_way(|way| {
        for (directory, source) in
            [("", "a"), ("", "./a/"), ("a", "."), ("b", "../a"), ("b", "../b/../a")]
        {
            let option = format!("--bind={source}:/data:ro");
            let mut command = way.prober(image.path(), &[&option], "cat /data/note");
            let note = outcome(command.current_dir(data.join(directory)));
            assert_eq!(note.ok(), "from the host", "{source} from {directory}");
        }
    });
}

#[test]
fn a_relative_source_is_shown_at_its_whole_path_by_default() {
    let (image, data) = (Image::tiny(), Scratch::below("/var/tmp".as_ref()));
    let note = data.file("a/note", "from the host");
    data.directory("b");
    in_every_way(|way| {
        let words = format!("cat {}", note.display());
        let mut command = way.prober(image.path(), &["--no-cwd", "--bind=../a"], &words);
        assert_eq!(outcome(command.current_dir(data.join("b"))).ok(), "from the host");
    });
}

#[test]
fn a_missing_relative_source_is_named_in_full() {
    let (image, data) = (Image::tiny(), Scratch::new());
    let mut command = super::support::Way(&[]).prober(image.path(), &["--bind=a:/data"], "cwd");
    let missing = format!("cannot bind {}: No such file", data.join("a").display());
    outcome(command.current_dir(data.path())).fails(&[&missing, "from: --bind a:/data\n"]);
}

/// Names that mean something to a shell, to mountinfo, to overlay's options or to nobody.
const NAMES: [&[u8]; 12] = [
    b"a b",
    b" ",
    b"tab\there",
    b"line\nbreak",
    b"back\\slash",
    b"back\\040slash",
    b"quote'\"`$(true)",
    b"#;&|<>*?[]{}!~",
    b"caf\xc3\xa9",
    b"latin\xe9",
    b"\x01\x7f\xff",
    b"-x",
];

fn path(base: &OsStr, name: &[u8]) -> OsString {
    OsString::from_vec([base.as_bytes(), b"/", name].concat())
}

fn joined(parts: &[&OsStr]) -> OsString {
    OsString::from_vec(parts.iter().flat_map(|part| part.as_bytes()).copied().collect())
}

#[test]
fn names_of_any_bytes_are_fine_on_both_sides() {
    let (image, data) = (Image::tiny(), Scratch::new());
    for name in NAMES {
        let source = path(data.path().as_os_str(), name);
        fs::create_dir(&source).unwrap();
        own(source.as_ref());
        fs::write(path(&source, b"note"), name).unwrap();
        own(path(&source, b"note").as_ref());
        let target = path(OsStr::new("/new dir"), name);
        let option = joined(&["--bind=".as_ref(), &source, ":".as_ref(), &target, ":ro".as_ref()]);
        let note = path(&target, b"note");
        in_every_way(|way| {
            let probe = |verb: &str, rest: &[&OsStr]| {
                let mut words = vec![&option, image.path().as_os_str(), "/bin/probe".as_ref()];
                words.push(verb.as_ref());
                words.extend(rest);
                way.hrun(words)
            };
            assert_eq!(probe("cat", &[&note]).bytes, name);
            probe("write", &[&note, "x".as_ref()]).refused("EROFS");
        });
    }
}

#[test]
fn a_destination_below_one_with_an_odd_name_is_made() {
    let (image, outer, inner) = (Image::tiny(), Scratch::new(), Scratch::new());
    outer.file("outer", "");
    inner.file("note", "inner");
    in_every_way(|way| {
        for name in ["a b", "we\\ird", "new\nline"] {
            let outer = bind(outer.path(), &format!(":/new/{name}:ro"));
            let inner = bind(inner.path(), &format!(":/new/{name}/sub"));
            let note = format!("/new/{name}/sub/note");
            let words =
                [&outer, &inner, image.path().to_str().unwrap(), "/bin/probe", "cat", &note];
            assert_eq!(way.hrun(words).ok(), "inner", "{name}");
        }
    });
}

#[test]
fn mount_takes_paths_with_colons() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("a:b/note", "from the host");
    let source = data.join("a:b").display().to_string();
    in_every_way(|way| {
        let option = format!("--mount=type=bind,src={source},dst=/x:y/z,ro");
        let inner = format!("--mount=type=bind,src={source},dst=/x:y/z/new:er");
        let see = |words: &str| way.probe(image.path(), &[&option, &inner], words);
        assert_eq!(see("cat /x:y/z/note").ok(), "from the host");
        assert_eq!(see("cat /x:y/z/new:er/note").ok(), "from the host");
        see("write /x:y/z/note x").refused("EROFS");
    });
}

#[test]
fn a_comma_of_a_path_can_be_written_and_is_never_taken_apart_in_silence() {
    let (image, data) = (Image::tiny(), Scratch::new());
    for name in ["a,b", "a", "b"] {
        data.file(&format!("{name}/note"), name);
    }
    let here = data.path().display();
    let see = |option: &str, words: &str| {
        let mut command = super::support::Way(&[]).prober(image.path(), &[option], words);
        outcome(command.current_dir(data.path()))
    };
    for option in [
        format!(r"--bind={here}/a\,b:/x"),
        r"--bind=a\,b:/x:ro".to_owned(),
        format!(r#"--mount=type=bind,"src={here}/a,b",dst=/x"#),
        format!(r#"--mount=type=bind,src="{here}/a,b",dst=/x"#),
    ] {
        assert_eq!(see(&option, "cat /x/note").ok(), "a,b", "{option}");
    }
    for option in [format!("--bind={here}/a,b:/x"), format!("--bind={here}/a,b"), "-ba,b:/x".into()]
    {
        see(&option, "cwd").fails(&["a comma separates binds", "a,b'", r"a\,b", "hint: "]);
    }
    fs::remove_dir_all(data.join("a,b")).unwrap();
    assert_eq!(see(&format!("--bind={here}/a,b:/x"), "cat /x/note").ok(), "b");
}

#[test]
fn a_current_directory_with_commas_and_colons_can_be_bound() {
    let (image, data) = (Image::tiny(), Scratch::below("/var/tmp".as_ref()));
    let odd = data.directory("a,b:c d");
    data.file("a,b:c d/note", "from the host");
    in_every_way(|way| {
        let mut command = way.prober(image.path(), &["--bind=.:/data:ro"], "cat /data/note");
        assert_eq!(outcome(command.current_dir(&odd)).ok(), "from the host");
        let mut command = way.prober(image.path(), &[], "cat note");
        assert_eq!(outcome(command.current_dir(&odd)).ok(), "from the host");
    });
}

/// A file system on the first of the directories that hrun may cover while it starts.
const SRV: &str = "mount -t tmpfs srv /srv && mkdir /srv/sub && echo host > /srv/note \
                   && echo deep > /srv/sub/note";

#[test]
fn the_place_hrun_would_cover_can_be_bound() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    in_every_way(|way| {
        let see = |options: &[&str], words| on_host(SRV, &way.prober(image.path(), options, words));
        assert_eq!(see(&["--bind=/srv:/data"], "ls /data").lines(), ["note", "sub"]);
        assert_eq!(see(&["--bind=/srv:/data:ro"], "cat /data/note").ok(), "host\n");
        assert_eq!(see(&["--bind=/srv"], "cat /srv/note").ok(), "host\n");
        assert_eq!(see(&["--bind=/srv/sub:/data"], "cat /data/note").ok(), "deep\n");
        let both = ["--bind=/srv:/data", "--bind=/mnt:/data2", "--bind=/media:/data3"];
        assert_eq!(see(&both, "cat /data/note").ok(), "host\n");
    });
}

#[test]
fn the_whole_host_is_shown_without_what_hrun_covers() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    in_every_way(|way| {
        for options in [["--bind=/:/host"], ["--bind=/:/host:ro"]] {
            let see = |words| on_host(SRV, &way.prober(image.path(), &options, words));
            assert_eq!(see("ls /host/srv").lines(), ["note", "sub"]);
            let kinds = see("kind /host/etc/passwd /host/proc/version /host/home/tester /host/usr");
            assert_eq!(kinds.lines(), ["file", "file", "directory", "directory"]);
        }
    });
}

#[test]
fn the_whole_host_shows_an_empty_directory_that_hrun_covers_as_empty() {
    let image = Image::tiny();
    let on_host: Vec<String> = fs::read_dir("/srv")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    in_every_way(|way| {
        let seen = way.probe(image.path(), &["--bind=/:/host"], "ls /host/srv").lines();
        assert_eq!(seen.len(), on_host.len(), "{seen:?}");
    });
}

#[test]
fn a_destination_is_made_below_the_read_only_host() {
    let (image, data) = (Image::tiny(), Scratch::new());
    data.file("note", "from the host");
    in_every_way(|way| {
        let options = ["--bind=/:/host:ro", &bind(data.path(), ":/host/new/place")];
        let see = |words| way.probe(image.path(), &options, words);
        assert_eq!(see("cat /host/new/place/note").ok(), "from the host");
        let srv = see("ls /host/srv").lines();
        assert!(!srv.contains(&"passwd".to_owned()), "hrun's own files: {srv:?}");
        assert_eq!(see("kind /host/proc/self/status").ok(), "file\n");
    });
    assert!(!fs::exists("/new").unwrap());
}

#[test]
fn an_image_may_lie_where_hrun_would_cover_it() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let setup = format!("mount -t tmpfs srv /srv && cp -a {} /srv/image", image.path().display());
    in_every_way(|way| {
        let command = way.prober("/srv/image".as_ref(), &[], "kind /bin/probe");
        assert_eq!(on_host(&setup, &command).ok(), "file\n");
    });
}

#[test]
fn the_current_directory_may_lie_where_hrun_would_cover_it() {
    if lacks("root") {
        return;
    }
    let image = Image::tiny();
    let setup = format!("{SRV} && cd /srv/sub");
    in_every_way(|way| {
        let see = |words| on_host(&setup, &way.prober(image.path(), &[], words));
        assert_eq!(see("cwd").ok(), "/srv/sub\n");
        assert_eq!(see("cat note").ok(), "deep\n");
    });
}

#[test]
fn without_a_place_to_cover_the_error_names_the_candidates() {
    let image = Image::tiny();
    let places = ["/srv", "/mnt", "/media", "/opt", "/var/empty", "/var/lib", "/usr"];
    let options: Vec<String> =
        places.iter().map(|path| format!("--bind={path}:/host{path}:optional")).collect();
    let mut words: Vec<&str> = options.iter().map(String::as_str).collect();
    words.push(image.path().to_str().unwrap());
    in_every_way(|way| {
        way.hrun(words.iter().chain([&"true"]))
            .fails(&["find a place for hrun's own files", "/srv, /mnt, /media"]);
    });
}
