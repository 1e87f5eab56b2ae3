//! Images whose variables are set by scripts: the image's own shell runs them, before the command.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::metadata::singularity_image;
use super::support::live::until;
use super::support::run::{command, outcome};
use super::support::variables::{command_with, environment, hrun_with, variables};
use super::support::{Image, Scratch, hrun, real};

/// What variables the command sees after an environment script.
#[track_caller]
fn after(script: &str, names: &[&str], host: &[&str], options: &[&str]) -> Vec<String> {
    variables(singularity_image(script).path(), names, host, options)
}

#[test]
fn what_a_shell_sets_is_set() {
    let script = "#!/bin/sh\n# set by %environment\nexport A='x y'\n  export B=$A:$NO\n\
        export TORCH=${TORCH}.1\nAPP=/opt/a\nexport PATH=$APP/bin:$PATH\nNAME=v\nexport NAME\n\
        export C=1 D=2; E=`echo e`; export E\nif [ -d /opt ]; then export F=\"$(cat /opt/f)\"; fi\n\
        for x in a b; do export G=$G$x; done\nH() { export H=$1; }\nH h\nexport I=1\nunset I\n\
        case $A in x*) export J=j;; esac\n. /opt/more.sh\nsource /opt/more.sh\n\
        export L='two\nlines'\n";
    let image = singularity_image(script);
    image.file("opt/f", "f f");
    image.file("opt/more.sh", "export K=$K.\n");
    let names = [
        "A", "B", "TORCH", "APP", "NAME", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "PATH",
    ];
    assert_eq!(
        variables(image.path(), &names, &["PATH=/bin"], &[]),
        [
            "A=x y",
            "B=x y:",
            "TORCH=2.4.1",
            "APP",
            "NAME=v",
            "C=1",
            "D=2",
            "E=e",
            "F=f f",
            "G=ab",
            "H=h",
            "I",
            "J=j",
            "K=..",
            "L=two\nlines",
            "PATH=/opt/a/bin:/opt/app:/bin",
        ]
    );
}

#[test]
fn the_shell_by_hand_says_the_same() {
    let values = [
        "two words",
        "a;b|c<d>e",
        "f(x) & y",
        r#"{\"a\": \"b\"}"#,
        r"\$HOME \`x\` a\\b",
        "'",
        "#",
        "*",
        "-Xmx1g -Dx=$ {y}",
    ];
    let mut script = String::new();
    for (index, value) in values.iter().enumerate() {
        script.push_str(&format!("export V{index}=\"${{V{index}:-\"{value}\"}}\"\n"));
    }
    let names: Vec<String> = (0..values.len()).map(|index| format!("V{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for shell in ["busybox", "bash", "dash"] {
        let image = singularity_image(&script);
        if shell != "busybox" {
            std::fs::remove_file(image.join("bin/sh")).unwrap();
            image.link("bin/sh", &format!("/usr/bin/{shell}"));
        }
        let system = real("bookworm");
        let binds = ["/usr", "/lib", "/lib64"]
            .map(|path| format!("--bind={}{path}:{path}", system.display()));
        let binds: Vec<&str> = binds.iter().map(String::as_str).collect();
        let ours = variables(image.path(), &names, &[], &binds);
        let mut by_hand = Command::new(format!("/bin/{shell}"));
        if shell == "busybox" {
            by_hand.arg("sh");
        }
        let line = format!(
            ". {}/.singularity.d/env/90-environment.sh; exec env -0",
            image.path().display()
        );
        let output =
            by_hand.arg("-c").arg(line).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        for (name, ours) in names.iter().zip(ours) {
            let theirs = theirs.split('\0').find(|item| item.starts_with(&format!("{name}=")));
            assert_eq!(Some(ours.as_str()), theirs, "{shell}");
        }
    }
}

#[test]
fn the_images_value_comes_before_the_hosts() {
    let script = "export JAVA_HOME=\"${JAVA_HOME:-\"/opt/java\"}\"\nexport WHO=\"${USER}\"\n";
    let names = ["JAVA_HOME", "LANG", "TORCH", "HOST", "HOME"];
    let host = ["JAVA_HOME=/tmp", "LANG=de", "TORCH=1", "HOST=h"];
    let home = format!("HOME={}", super::support::tester().home.display());
    let seen = after(&format!("{script}export HOME=/root\n"), &names, &host, &[]);
    assert_eq!(seen, ["JAVA_HOME=/opt/java", "LANG=C.UTF-8", "TORCH=2.4", "HOST=h", &home]);
}

#[test]
fn options_come_after_the_scripts_in_their_order() {
    let script = "export A=image\nexport B=image\nexport LIST=/image\n";
    let names = ["A", "B", "C", "LIST"];
    let seen = |options: &[&str]| after(script, &names, &["C=host"], options);
    assert_eq!(
        seen(&["--env=A=me", "--set-env=LIST=/mine:$LIST:$C", "--unset-env=B"]),
        ["A=me", "B", "C=host", "LIST=/mine:/image:host"]
    );
    assert_eq!(seen(&["--unset-env=*", "--set-env"]), ["A=image", "B=image", "C", "LIST=/image"]);
    assert_eq!(seen(&["--env=A", "--clean-env"]), ["A", "B=image", "C", "LIST=/image"]);
    let path = "--set-env=PATH=/mine:$PATH";
    let image = singularity_image("export PATH=/opt/x:$PATH\n");
    let path = environment(image.path(), &["PATH=/bin"], &[path]).remove("PATH");
    assert_eq!(path.as_deref(), Some("/mine:/opt/x:/opt/app:/bin"));
}

#[test]
fn a_shell_leaves_nothing_of_its_own() {
    let image = singularity_image("export A=1\n");
    let seen = environment(image.path(), &[], &[]);
    for name in ["_", "SHLVL", "OLDPWD", "HRUN_SOURCED", "HRUN_SCRIPT"] {
        assert!(!seen.contains_key(name), "{name} in {seen:?}");
    }
    let seen = environment(image.path(), &["SHLVL=3"], &[]);
    assert_eq!(seen["SHLVL"], "3");
}

#[test]
fn scripts_run_in_the_order_of_their_names() {
    let image = singularity_image("export ORDER=$ORDER:90\n");
    image.file(".singularity.d/env/01-base.sh", "export ORDER=01\n");
    image.file(".singularity.d/env/91-environment.sh", "export ORDER=$ORDER:91\n");
    image.file(".singularity.d/env/95-site.sh", "export ORDER=$ORDER:95\n");
    image.file(
        ".singularity.d/env/99-base.sh",
        "export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:/.singularity.d/libs\n",
    );
    image.file(".singularity.d/env/note.txt", "export ORDER=no\n");
    image.directory(".singularity.d/env/97-directory.sh");
    image.link(".singularity.d/env/98-nowhere.sh", "/no/such");
    let seen = variables(image.path(), &["ORDER", "LD_LIBRARY_PATH"], &[], &[]);
    assert_eq!(seen, ["ORDER=01:90:91:95", "LD_LIBRARY_PATH=:/.singularity.d/libs"]);
}

#[test]
fn images_of_singularity_2_have_one_script() {
    let image = Image::tiny();
    image.file(
        "environment",
        "if test -z \"$SINGULARITY_INIT\"; then\nPATH=$PATH:/opt\nexport PATH OLD=1\nfi\n",
    );
    image.program("singularity", "#!/bin/sh\necho \"old $OLD $*\"\n");
    assert_eq!(hrun([image.path()]).ok(), "old 1 \n");
    let path = environment(image.path(), &["PATH=/bin"], &[]).remove("PATH").unwrap();
    assert!(path.ends_with("/bin:/opt"), "{path}");
    // A file of that name alone means nothing.
    let image = Image::tiny();
    image.file("environment", "export OLD=1\n");
    assert_eq!(variables(image.path(), &["OLD"], &[], &[]), ["OLD"]);
}

#[test]
fn the_command_is_what_it_would_be_without_scripts() {
    let image = singularity_image("export A=1\n");
    let path = image.path().to_str().unwrap();
    assert_eq!(hrun([path, "sh", "-c", "exit 7"]).status, Some(7));
    assert_eq!(hrun([path, "sh", "-c", "kill -TERM $$"]).signal, Some(15));
    assert_eq!(hrun([path, "/bin/probe", "args", "a b", ""]).items(), ["a b", ""]);
    let missing = hrun([path, "no-such-program"]);
    missing.fails_with(127, &["cannot run no-such-program", "no such program inside"]);
    image.file("opt/closed", "x");
    hrun([path, "/opt/closed"]).fails_with(126, &["cannot run /opt/closed", "chmod +x"]);
    // Found by the PATH that the scripts make.
    let image = singularity_image("X=/opt/x; export PATH=$PATH:$X\n");
    image.program("opt/x/tool", "#!/bin/sh\necho tool\n");
    assert_eq!(hrun([image.path(), Path::new("tool")]).ok(), "tool\n");
}

#[test]
fn words_and_input_of_scripts_are_theirs() {
    let image = singularity_image("echo from the script >&2\n");
    let outcome = hrun([image.path().to_str().unwrap(), "sh", "-c", "read x; echo $x"]);
    assert_eq!(outcome.stderr, "from the script\n");
    let mut run = command([image.path().to_str().unwrap(), "cat"]);
    run.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = run.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"all of it\n").unwrap();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"all of it\n");
}

#[test]
fn a_script_that_fails_is_said_and_can_be_left_out() {
    for script in ["exit 3\n", "if then\n", "exec true\n"] {
        let image = singularity_image(script);
        let path = image.path().to_str().unwrap();
        let outcome = hrun([path, "echo", "ran"]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(125), ""), "{outcome:?}");
        for part in [
            "cannot have the image's scripts set variables",
            "--bind /dev/null:/.singularity.d/env",
        ] {
            assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
        }
        let without = "--bind=/dev/null:/.singularity.d/env/90-environment.sh";
        assert_eq!(hrun([without, path, "sh", "-c", "echo $TORCH"]).ok(), "2.4\n");
    }
}

#[test]
fn an_image_without_a_shell_gets_what_can_be_read_and_a_warning() {
    let image = singularity_image("export A=1\nB=2\nexport B\n");
    std::fs::remove_file(image.join("bin/sh")).unwrap();
    let outcome = hrun([image.path().to_str().unwrap(), "/bin/probe", "env"]);
    let said = &outcome.stderr;
    assert!(said.contains("the image has no /bin/sh to run them"), "{said}");
    for line in ["B=2", "export B"] {
        assert!(said.contains(&format!("90-environment.sh: {line}")), "{said}");
    }
    let seen: Vec<&str> = outcome.stdout.split('\0').collect();
    assert!(seen.contains(&"A=1") && seen.contains(&"TORCH=2.4"), "{seen:?}");
}

#[test]
fn the_dry_run_says_that_scripts_set_variables() {
    let image = singularity_image("export A=1\n");
    let plan = outcome(&mut command_with(
        ["HOST=h"],
        ["--dry-run", "--set-env=B=$A", image.path().to_str().unwrap(), "true"],
    ))
    .ok();
    let line = |parts: &[&str]| {
        assert!(
            plan.lines().any(|line| parts.iter().all(|part| line.contains(part))),
            "no {parts:?} in\n{plan}"
        );
    };
    line(&[
        "source",
        "/.singularity.d/env/90-environment.sh",
        "/bin/sh",
        "image: /.singularity.d/env",
    ]);
    line(&["set", "HOST=h", "unless the scripts set it"]);
    line(&["set", "B=\"${A}\"", "--set-env=B=$A"]);
}

#[test]
fn a_plan_with_scripts_can_be_carried_out() {
    let image = singularity_image("export A=\"$(echo 1)\"\n");
    let plan = hrun([
        "--dry-run=json",
        "--set-env=B=$A:x",
        image.path().to_str().unwrap(),
        "sh",
        "-c",
        "echo $A $B",
    ])
    .ok();
    let files = Scratch::new();
    let plan = files.file("plan.json", plan);
    assert_eq!(hrun([format!("--plan={}", plan.display())]).ok(), "1 1:x\n");
}

#[test]
fn restrictions_hold_for_scripts() {
    let image = singularity_image("export RIGHTS=\"$(cat /proc/self/status)\"\n");
    let status = environment(image.path(), &[], &[]).remove("RIGHTS").unwrap();
    for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{status}");
    }
}

#[test]
fn scripts_run_in_a_pid_namespace_too() {
    let image = singularity_image("export A=\"$(echo 1)\"\n");
    let seen = hrun(["--pid", image.path().to_str().unwrap(), "sh", "-c", "echo $A"]);
    assert_eq!(seen.ok(), "1\n");
}

#[test]
fn a_script_ends_with_hrun() {
    let image = singularity_image("echo $$; read answer\n");
    let mut run = command([image.path().to_str().unwrap(), "true"]);
    run.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = run.spawn().unwrap();
    let mut shell = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut shell).unwrap();
    let shell = Path::new("/proc").join(shell.trim());
    assert!(shell.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    until("the shell has ended", || (!shell.exists()).then_some(()));
}

#[test]
fn other_images_start_no_shell() {
    let image = Image::tiny();
    let plan = hrun_with(["A=1"], ["--dry-run", image.path().to_str().unwrap(), "true"]).ok();
    assert!(!plan.contains("source"), "{plan}");
}

#[test]
fn bash_is_taken_where_the_image_has_it() {
    let image = singularity_image("[[ -d /usr ]] && LIST=(a b c) && export A=${LIST[1]}\n");
    image.link("bin/bash", "/usr/bin/bash");
    let system = real("bookworm");
    let binds = ["/usr", "/lib", "/lib64"];
    let binds = binds.map(|path| format!("--bind={}{path}:{path}", system.display()));
    let binds: Vec<&str> = binds.iter().map(String::as_str).collect();
    assert_eq!(variables(image.path(), &["A"], &[], &binds), ["A=b"]);
}
