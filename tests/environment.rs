//! The command's environment: its layers, the options that change it, environment files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::support::run::command;
use super::support::variables::{command_with, environment, hrun_piped, hrun_with, variables};
use super::support::{Image, Outcome, Scratch, hrun_in, probe, tester};

const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A tiny image with variables of its own, in Charliecloud's form.
fn image_that_sets(lines: &str) -> Image {
    let image = Image::tiny();
    image.file("ch/environment", lines);
    image
}

/// What the probe sees of one variable after some options.
#[track_caller]
fn value(image: &Image, options: &[&str], name: &str) -> Option<String> {
    environment(image.path(), &[], options).remove(name)
}

#[test]
fn host_image_injectors_and_options_follow_one_another() {
    let image = image_that_sets("WHO=image\nSEEN=$WHO:$ONLY\nSHELL=/image/sh\n");
    let names = ["ONLY", "WHO", "SEEN", "SHELL", "HRUN_RUNNING"];
    let host = ["ONLY=host", "WHO=host", "SHELL=/no/such/shell"];
    let seen = variables(image.path(), &names, &host, &[]);
    assert_eq!(
        seen,
        [
            "ONLY=host",
            "WHO=image",
            // The image's second line sees its first one, and the host's variables.
            "SEEN=image:host",
            // The host's shell is not inside: the injector says which one is, after the image.
            "SHELL=/bin/sh",
            "HRUN_RUNNING=1",
        ]
    );
    let options = ["--env=WHO=me", "--env=SHELL=/my/sh", "--set-env=HRUN_RUNNING=no"];
    let seen = variables(image.path(), &["WHO", "SHELL", "HRUN_RUNNING"], &host, &options);
    assert_eq!(seen, ["WHO=me", "SHELL=/my/sh", "HRUN_RUNNING=1"]);
}

#[test]
fn a_fresh_login_gets_a_small_environment() {
    let image = Image::tiny();
    let seen = environment(image.path(), &[], &[]);
    let names: Vec<_> = seen.keys().map(String::as_str).collect();
    let own = ["HOME", "HRUN_IMAGE", "HRUN_RUNNING", "LANG", "LOGNAME", "PATH", "PWD", "SHELL"];
    assert_eq!(names, [&own[..], &["USER"]].concat());
    assert_eq!(Path::new(&seen["HRUN_IMAGE"]), image.path());
}

const DROPPED: [&str; 7] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_AUDIT",
    "PYTHONHOME",
    "PERL5LIB",
    "GCONV_PATH",
    "LOCPATH",
];

#[test]
fn variables_that_name_files_of_the_host_are_dropped() {
    let image = Image::tiny();
    let mut host: Vec<String> = DROPPED.iter().map(|name| format!("{name}=/host")).collect();
    host.extend(["LD_LIBRARY_PATH_64=1", "PYTHONPATH=/p", "OMP_NUM_THREADS=2"].map(String::from));
    let host: Vec<&str> = host.iter().map(String::as_str).collect();
    let seen = environment(image.path(), &host, &[]);
    for name in DROPPED {
        assert!(!seen.contains_key(name), "{name}");
    }
    for name in ["LD_LIBRARY_PATH_64", "PYTHONPATH", "OMP_NUM_THREADS"] {
        assert!(seen.contains_key(name), "{name}");
    }
}

#[test]
fn what_is_dropped_of_the_host_can_still_be_set() {
    let image = image_that_sets("PYTHONHOME=/image\n");
    let host = ["PYTHONHOME=/host", "LD_LIBRARY_PATH=/host"];
    let options = ["--set-env=LD_LIBRARY_PATH=/opt/lib:$LD_LIBRARY_PATH"];
    let seen = variables(image.path(), &["PYTHONHOME", "LD_LIBRARY_PATH"], &host, &options);
    assert_eq!(seen, ["PYTHONHOME=/image", "LD_LIBRARY_PATH=/opt/lib"]);
}

#[test]
fn keep_env_keeps_what_would_be_dropped() {
    let image = Image::tiny();
    let host = ["LD_LIBRARY_PATH=/l", "LD_AUDIT=/a", "PYTHONHOME=/p"];
    let names = ["LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONHOME"];
    let seen = |options: &[&str]| variables(image.path(), &names, &host, options);
    assert_eq!(
        seen(&["--keep-env=LD_LIBRARY_PATH"]),
        ["LD_LIBRARY_PATH=/l", "LD_AUDIT", "PYTHONHOME"]
    );
    assert_eq!(
        seen(&["--keep-env", "LD_*", "--keep-env", "PYTHON*"]),
        ["LD_LIBRARY_PATH=/l", "LD_AUDIT=/a", "PYTHONHOME=/p"]
    );
}

#[test]
fn drop_env_replaces_the_list() {
    let image = Image::tiny();
    let host = ["LD_LIBRARY_PATH=/l", "SECRET_KEY=k", "TOKEN=t"];
    let names = ["LD_LIBRARY_PATH", "SECRET_KEY", "TOKEN"];
    let seen = |options: &[&str]| variables(image.path(), &names, &host, options);
    assert_eq!(seen(&["--drop-env=SECRET_*"]), ["LD_LIBRARY_PATH=/l", "SECRET_KEY", "TOKEN=t"]);
    let both = ["--drop-env=SECRET_*", "--drop-env=TOKEN"];
    assert_eq!(seen(&both), ["LD_LIBRARY_PATH=/l", "SECRET_KEY", "TOKEN"]);
    let none = ["--drop-env="];
    assert_eq!(seen(&none), ["LD_LIBRARY_PATH=/l", "SECRET_KEY=k", "TOKEN=t"]);
    let kept = ["--drop-env=*", "--keep-env=TOKEN"];
    assert_eq!(seen(&kept), ["LD_LIBRARY_PATH", "SECRET_KEY", "TOKEN=t"]);
}

#[test]
fn clean_env_keeps_who_and_what_a_rank_is() {
    let image = image_that_sets("FROM_IMAGE=1\n");
    let stays = [
        "HOME",
        "USER",
        "LOGNAME",
        "TERM",
        "TZ",
        "LANG",
        "SLURM_PROCID",
        "PMI_RANK",
        "PMIX_RANK",
        "OMPI_COMM_WORLD_RANK",
        "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
    ];
    let goes = ["EDITOR", "PYTHONPATH", "SLURMISH", "LC_ALL", "SSH_AUTH_SOCK", "MODULEPATH"];
    let host: Vec<String> =
        stays[3..].iter().chain(&goes).map(|name| format!("{name}=x")).collect();
    let host: Vec<&str> = host.iter().map(String::as_str).collect();
    let seen = environment(image.path(), &host, &["--clean-env"]);
    for name in stays {
        assert!(seen.contains_key(name), "{name} is gone");
    }
    for name in goes {
        assert!(!seen.contains_key(name), "{name} is still there");
    }
    assert_eq!(seen["FROM_IMAGE"], "1");
    assert_eq!(seen["HRUN_RUNNING"], "1");

    let seen = environment(image.path(), &host, &["--clean-env", "--keep-env=*PATH"]);
    assert!(seen.contains_key("PYTHONPATH") && !seen.contains_key("EDITOR"));
}

#[test]
fn unset_env_takes_globs() {
    let image = Image::tiny();
    let host = ["A1=1", "A2=1", "AB=1", "B1=1", "C1=1"];
    let seen = |glob: &str| {
        let option = format!("--unset-env={glob}");
        let left = environment(image.path(), &host, &[&option]).into_keys();
        left.filter(|name| name.len() == 2).collect::<Vec<_>>()
    };
    assert_eq!(seen("A*"), ["B1", "C1"]);
    assert_eq!(seen("?1"), ["A2", "AB"]);
    assert_eq!(seen("A[0-9]"), ["AB", "B1", "C1"]);
    assert_eq!(seen("!(A*|B*)"), ["A1", "A2", "AB", "B1"]);
    assert_eq!(seen("@(A1|C1)"), ["A2", "AB", "B1"]);
    assert_eq!(seen("A"), ["A1", "A2", "AB", "B1", "C1"]);
}

#[test]
fn everything_can_be_unset_but_what_hrun_says_itself() {
    let image = Image::tiny();
    let seen = environment(image.path(), &[], &["--unset-env=*"]);
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["HRUN_IMAGE", "HRUN_RUNNING", "PWD"]);
}

#[test]
fn environment_options_count_in_their_order() {
    let image = Image::tiny();
    let seen = |options: &[&str]| value(&image, options, "A");
    assert_eq!(seen(&["--unset-env=A", "--set-env=A=1"]).as_deref(), Some("1"));
    assert_eq!(seen(&["--set-env=A=1", "--unset-env=A"]), None);
    assert_eq!(seen(&["--env=A=1", "--set-env=A=${A}2", "-eA=3"]).as_deref(), Some("3"));
    assert_eq!(seen(&["--env=A=1", "--set-env=A=${A}2"]).as_deref(), Some("12"));
}

#[test]
fn env_without_a_value_takes_the_hosts() {
    let image = image_that_sets("WHO=image\n");
    let host = ["WHO=host", "LD_LIBRARY_PATH=/host/lib", "HOST=h"];
    let names = ["WHO", "LD_LIBRARY_PATH", "HOST", "NOWHERE"];
    let options = ["-e", "WHO", "--env=LD_LIBRARY_PATH", "--clean-env", "-eHOST", "-eNOWHERE"];
    let seen = variables(image.path(), &names, &host, &options);
    assert_eq!(seen, ["WHO=host", "LD_LIBRARY_PATH=/host/lib", "HOST=h", "NOWHERE"]);

    // What the host does not have is removed.
    let image = image_that_sets("NOWHERE=image\n");
    assert_eq!(variables(image.path(), &["NOWHERE"], &host, &["-eNOWHERE"]), ["NOWHERE"]);
}

#[test]
fn env_with_a_value_is_literal() {
    let image = Image::tiny();
    let literal = "$HOME ${NO:-x} $$ 'q' \"q\" \\n # x = y ";
    let option = format!("--env=A={literal}");
    assert_eq!(value(&image, &[&option], "A").as_deref(), Some(literal));
    assert_eq!(value(&image, &["-e", "A="], "A").as_deref(), Some(""));
}

#[test]
fn set_env_sees_the_containers_variables() {
    let image = image_that_sets("WHERE=/image\n");
    let host = ["WHERE=/host"];
    let options = ["--set-env=A=$WHERE/x", "--set-env=B=$A:$NO:'$A'", "--set-env=C=a b"];
    let seen = variables(image.path(), &["A", "B", "C"], &host, &options);
    assert_eq!(seen, ["A=/image/x", "B=/image/x:'/image/x'", "C=a b"]);
}

#[test]
fn env_no_expand_holds_for_what_follows() {
    let image = Image::tiny();
    let files = Scratch::new();
    let file = files.file("a.env", "C=$HOME # c\n");
    let file = format!("--set-env={}", file.display());
    let options = ["--set-env=A=$USER", "--env-no-expand", "--set-env=B=$USER", &file];
    let seen = variables(image.path(), &["A", "B", "C"], &["USER=u"], &options);
    assert_eq!(seen, ["A=u", "B=$USER", "C=$HOME"]);
}

#[test]
fn set_env_alone_applies_the_images_variables_again() {
    let image = image_that_sets("WHO=image\nLIST=/image:$LIST\n");
    let names = ["WHO", "LIST"];
    let seen = |options: &[&str]| variables(image.path(), &names, &[], options);
    assert_eq!(seen(&["--unset-env=WHO", "--set-env"]), ["WHO=image", "LIST=/image:/image"]);
    assert_eq!(seen(&["--env=WHO=me", "--set-env"])[0], "WHO=image");
    assert_eq!(seen(&["--set-env", "--env=WHO=me"])[0], "WHO=me");
    assert_eq!(seen(&["--unset-env=*", "--set-env"]), ["WHO=image", "LIST=/image"]);
}

#[test]
fn a_file_means_what_people_write() {
    let image = image_that_sets("PREFIX=/opt\n");
    let files = Scratch::new();
    let text = "# settings\r\nexport A=\"$PREFIX/a b\" # why\r\n\r\nB='$PREFIX'\r\nC = ${A}:$NO\\\r\nx\r\n";
    files.file("my.env", text);
    let words = ["--set-env=my.env", image.path().to_str().unwrap(), "/bin/probe", "env"];
    let seen = hrun_in(files.path(), words).items();
    for expected in ["A=/opt/a b", "B=$PREFIX", "C=/opt/a b:x"] {
        assert!(seen.iter().any(|item| item == expected), "{expected} in {seen:?}");
    }
}

#[test]
fn a_file_may_be_a_pipe() {
    let image = Image::tiny();
    let image = image.path().to_str().unwrap();
    let seen = |writer, option| hrun_piped(writer, [option, image, "/bin/probe", "env", "A"]).ok();
    assert_eq!(seen("echo 'A=$USER'", "--set-env=/dev/stdin"), format!("{}\n", tester().name));
    let records = "printf 'A=$USER\\nx\\000B=2\\000'";
    assert_eq!(seen(records, "--set-env0=/dev/stdin"), "$USER\nx\n");
}

#[test]
fn a_missing_file_is_named_with_the_remedy() {
    let image = Image::tiny();
    probe(image.path(), &["--set-env=no.env"], "env").fails(&[
        "cannot read environment file no.env: No such file or directory",
        "from: --set-env=no.env",
        "hint: to set one variable, write --set-env=NAME=VALUE",
    ]);
    probe(image.path(), &["--set-env0=no.env"], "env")
        .fails(&["no.env", "from: --set-env0 no.env"]);
    probe(image.path(), &["--set-env=/"], "env").fails(&["environment file /: Is a directory"]);
}

#[test]
fn a_line_that_cannot_be_read_is_named_and_nothing_starts() {
    let image = Image::tiny();
    let files = Scratch::new();
    let image = image.path().to_str().unwrap();
    let run = |text: &[u8], option: &str| {
        files.file("config.env", text);
        let outcome = hrun_in(files.path(), [option, image, "touch", "started"]);
        assert!(!files.join("started").exists());
        outcome
    };
    for (text, reason) in [
        ("A=1\n\nB\n", "config.env:3: line without '='"),
        ("A=1\nB='x\n", "config.env:2: unclosed single quote"),
        ("=x\n", "config.env:1: empty name before '='"),
        ("A=1\nA=${B%c}\n", "config.env:2: '${B' must go on with"),
        ("# c\nA B=1\n", "config.env:2: 'A B' is not a variable name"),
    ] {
        let message = format!("cannot read environment file {reason}");
        run(text.as_bytes(), "--set-env=config.env")
            .fails(&[&message, "from: --set-env=config.env"]);
    }
    run(b"A=1\0B\0", "--set-env0=config.env").fails(&["config.env:2: record without '='"]);
    run(b"", "--set-env=A=${B").fails(&["cannot set A: '${' without '}'"]);
}

#[test]
fn a_dry_run_says_who_set_a_variable() {
    let image = image_that_sets("FROM_IMAGE=1\n");
    let files = Scratch::new();
    files.file("my.env", "# first\nFROM_FILE=1\n");
    let image = image.path().to_str().unwrap();
    let words = ["--dry-run", "--set-env=my.env", "--env=FROM_OPTION=1", image, "true"];
    let plan = hrun_in(files.path(), words).ok();
    let origin = |assignment: &str| {
        let line = plan.lines().find(|line| line.contains(assignment)).unwrap();
        line[line.rfind('[').unwrap()..].to_owned()
    };
    assert_eq!(origin("FROM_FILE=1"), "[my.env:2]");
    assert_eq!(origin("FROM_OPTION=1"), "[--env FROM_OPTION=1]");
    assert_eq!(origin("FROM_IMAGE=1"), "[image: /ch/environment]");
    assert_eq!(origin("LANG=C.UTF-8"), "[host environment]");
    assert_eq!(origin("HRUN_RUNNING=1"), "[default]");
}

/// The command's PATH, given the host's and options.
#[track_caller]
fn path(image: &Image, host: &str, options: &[&str]) -> String {
    let host = format!("PATH={host}");
    environment(image.path(), &[&host], options).remove("PATH").unwrap()
}

#[test]
fn path_is_the_standard_one_and_what_of_the_hosts_is_inside() {
    let image = Image::tiny();
    image.directory("opt/tool/bin");
    image.file("opt/file", "");
    let home = Scratch::new();
    let mine = home.directory("bin");
    let mine = mine.to_str().unwrap();
    let host = format!("/opt/tool/bin:/bin:/no/such:{mine}:/opt/file:.::relative:/opt/tool/bin");
    assert_eq!(path(&image, &host, &[]), format!("{STANDARD_PATH}:/opt/tool/bin:{mine}"));
    assert_eq!(
        path(&image, &host, &["--no-home", "--no-cwd"]),
        format!("{STANDARD_PATH}:/opt/tool/bin")
    );
    assert_eq!(path(&image, &host, &["--clean-env"]), STANDARD_PATH);
    assert_eq!(path(&image, "", &[]), STANDARD_PATH);
}

#[test]
fn path_of_the_image_comes_first() {
    let image = image_that_sets("PATH=/opt/app/bin:/bin\n");
    image.directory("opt/app/bin");
    assert_eq!(path(&image, "/usr/bin:/bin:/no/such", &[]), "/opt/app/bin:/bin:/usr/bin");
    assert_eq!(path(&image, "/usr/bin", &["--clean-env"]), "/opt/app/bin:/bin");
    let option = "--set-env=PATH=/mine:$PATH";
    assert_eq!(path(&image, "/usr/bin", &[option]), "/mine:/opt/app/bin:/bin:/usr/bin");
}

#[test]
fn commands_are_found_by_the_path_inside() {
    let image = image_that_sets("PATH=/opt/app:/bin\n");
    image.program("opt/app/greet", "#!/bin/sh\necho hello\n");
    let image = image.path().to_str().unwrap();
    assert_eq!(hrun_with::<&str, _>([], [image, "greet"]).ok(), "hello\n");
    let outcome = hrun_with::<&str, _>([], ["--env=PATH=/bin", image, "greet"]);
    outcome.fails_with(127, &["greet"]);
}

/// As mpirun of a moved Open MPI sets it for its ranks.
#[test]
fn the_place_of_the_hosts_mpi_is_dropped_when_it_is_missing_inside() {
    let image = Image::tiny();
    image.directory("opt/mpi");
    let seen = |host: &str, options: &[&str]| {
        variables(image.path(), &["OPAL_PREFIX"], &[host], options).remove(0)
    };
    assert_eq!(seen("OPAL_PREFIX=/opt/elsewhere", &[]), "OPAL_PREFIX");
    assert_eq!(seen("OPAL_PREFIX=/opt/mpi", &[]), "OPAL_PREFIX=/opt/mpi");
    let set = "--set-env=OPAL_PREFIX=/opt/later";
    assert_eq!(seen("OPAL_PREFIX=/opt/elsewhere", &[set]), "OPAL_PREFIX=/opt/later");
}

#[test]
fn tmpdir_is_dropped_when_it_is_missing_inside() {
    let image = Image::tiny();
    let home = Scratch::new();
    let there = home.directory("job");
    let there = format!("TMPDIR={}", there.display());
    let tmpdir = |host: &str, options: &[&str]| {
        variables(image.path(), &["TMPDIR"], &[host], options).remove(0)
    };
    assert_eq!(tmpdir(&there, &[]), there);
    assert_eq!(tmpdir(&there, &["--no-home", "--no-cwd"]), there);
    assert_eq!(tmpdir("TMPDIR=/no/such/directory", &[]), "TMPDIR");
    assert_eq!(tmpdir("TMPDIR=/tmp", &["--private-tmp"]), "TMPDIR=/tmp");

    let words = ["-v".as_ref(), image.path(), Path::new("/bin/true")];
    let outcome = hrun_with(["TMPDIR=/no/such"], words);
    assert!(
        outcome.stderr.contains("hrun: note: TMPDIR is dropped: no /no/such inside\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn pwd_is_where_the_command_starts() {
    let image = Image::tiny();
    let home = Scratch::new();
    let work = home.directory("work");
    let start = |options: &[&str]| {
        let image = image.path().to_str().unwrap();
        let words = options.iter().copied().chain([image, "/bin/sh", "-c", "echo $PWD; pwd -P"]);
        let mut command = command_with(["PWD=/a/lie"], words);
        Outcome::new(command.current_dir(&work).output().unwrap()).lines()
    };
    let work = work.to_str().unwrap();
    assert_eq!(start(&[]), [work, work]);
    assert_eq!(start(&["--cd=/etc"]), ["/etc", "/etc"]);
    assert_eq!(start(&["--unset-env=PWD", "--env=PWD=/x"]), [work, work]);
}

#[test]
fn bytes_that_are_no_text_survive() {
    let image = Image::tiny();
    let files = Scratch::new();
    files.file("my.env", b"FILE=\xfe\nEXPANDED=$RAW\xfd\n");
    let option = OsString::from_vec(b"--env=OPTION=\xfc".to_vec());
    let words = [
        OsString::from("--set-env=my.env"),
        option,
        image.path().into(),
        "/bin/probe".into(),
        "env".into(),
    ];
    let mut command = command_with([OsString::from_vec(b"RAW=\xff".to_vec())], words);
    let outcome = Outcome::new(command.current_dir(files.path()).output().unwrap());
    let items: Vec<&[u8]> = outcome.bytes.split(|byte| *byte == 0).collect();
    for expected in [&b"RAW=\xff"[..], b"FILE=\xfe", b"EXPANDED=\xff\xfd", b"OPTION=\xfc"] {
        assert!(items.contains(&expected), "{}", expected.escape_ascii());
    }
}

#[test]
fn large_environments_pass() {
    let image = Image::tiny();
    let long = format!("LONG={}", "x".repeat(100_000));
    let many = (0..2000).map(|number| format!("MANY_{number}=value {number}"));
    let host: Vec<String> = many.chain([long]).collect();
    let mut command = command(["--set-env=LONGER=${LONG}y".as_ref(), image.path()]);
    command.args(["/bin/probe", "env"]);
    for (name, value) in host.iter().map(|variable| variable.split_once('=').unwrap()) {
        command.env(name, value);
    }
    let items = Outcome::new(command.output().unwrap()).items();
    assert_eq!(items.iter().filter(|item| host.contains(item)).count(), 2001);
    assert!(items.iter().any(|item| item.len() == "LONGER=".len() + 100_001));
}
