//! Filters of system calls: --seccomp with profiles, and what they do to real calls.

use std::path::Path;

use serde_json::{Value, json};

use super::support::oci::{configuration, crun};
use super::support::scratch::copy_program;
use super::support::{Image, Scratch, hrun, lacks, program};

/// A profile of one group of calls.
fn profile(scratch: &Scratch, default: &str, group: Value) -> String {
    let profile = json!({"defaultAction": default, "syscalls": [group]});
    scratch.file("profile.json", profile.to_string()).to_str().unwrap().to_owned()
}

/// An image with the program that makes calls (`tests/fakes/calls.c`).
fn caller() -> Image {
    let image = Image::tiny();
    copy_program(&program("calls"), &image.join("bin/calls"));
    image
}

/// Makes calls under a filter; what came of each, in the order the program has them in.
#[track_caller]
fn results(image: &Image, options: &[&str], calls: &[&str]) -> Vec<String> {
    let words = [options, &[image.path().to_str().unwrap(), "/bin/calls"], calls].concat();
    let last = |line: &String| {
        let words: Vec<&str> = line.split(' ').skip(8).collect();
        words.join(" ")
    };
    hrun(words).lines().iter().map(last).collect()
}

#[test]
fn actions_do_what_they_are_called() {
    let (image, scratch) = (caller(), Scratch::new());
    for (action, result) in [
        (json!({"action": "SCMP_ACT_ERRNO"}), "1"),
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 28}), "28"),
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 0}), "0"),
        (json!({"action": "SCMP_ACT_TRAP"}), "signal 31"),
        (json!({"action": "SCMP_ACT_KILL"}), "signal 31"),
        (json!({"action": "SCMP_ACT_KILL_PROCESS"}), "signal 31"),
        // Without a tracer.
        (json!({"action": "SCMP_ACT_TRACE"}), "38"),
        (json!({"action": "SCMP_ACT_LOG"}), "22"),
        (json!({"action": "SCMP_ACT_ALLOW"}), "22"),
    ] {
        let mut group = action.clone();
        group["names"] = json!(["kill"]);
        let option = format!("--seccomp={}", profile(&scratch, "SCMP_ACT_ALLOW", group));
        let seen = results(&image, &[&option], &["read", "close", "kill"]);
        assert_eq!(seen, ["9", "9", result], "{action}");
    }
}

#[test]
fn arguments_decide_where_the_profile_says_so() {
    let (image, scratch) = (caller(), Scratch::new());
    let argument = |op: &str, value: u64| json!({"index": 0, "value": value, "op": op});
    for (condition, failing) in [
        (argument("SCMP_CMP_EQ", 8), [false, false, true, false]),
        (argument("SCMP_CMP_NE", 8), [true, true, false, true]),
        (argument("SCMP_CMP_LT", 8), [false, true, false, false]),
        (argument("SCMP_CMP_LE", 8), [false, true, true, false]),
        (argument("SCMP_CMP_GT", 8), [true, false, false, true]),
        (argument("SCMP_CMP_GE", 8), [true, false, true, true]),
        // 0xffffffff, 0, 8 and 0x42 under the mask 0x40.
        (
            json!({"index": 0, "value": 0x40, "valueTwo": 0x40, "op": "SCMP_CMP_MASKED_EQ"}),
            [true, false, false, true],
        ),
    ] {
        let group =
            json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [condition]});
        let option = format!("--seccomp={}", profile(&scratch, "SCMP_ACT_ALLOW", group));
        let seen = results(&image, &[&option], &["personality"]);
        assert_eq!(seen, failing.map(|fails| if fails { "1" } else { "0" }), "{condition}");
    }
}

#[test]
fn calls_of_32_bit_programs_are_filtered_by_name() {
    let (image, scratch) = (caller(), Scratch::new());
    let calls = ["mount", "int80-getpid", "int80-mount", "x32-getpid"];
    assert_eq!(results(&image, &[], &calls)[..3], ["14", "0", "14"]);
    let group = json!({"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28});
    let option = format!("--seccomp={}", profile(&scratch, "SCMP_ACT_ALLOW", group.clone()));
    assert_eq!(results(&image, &[&option], &calls), ["28", "0", "28", "38"]);
    // A profile that is not about them does not kill them either.
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [group]});
    let option = format!("--seccomp={}", scratch.file("own", profile.to_string()).display());
    assert_eq!(results(&image, &[&option], &calls), ["28", "38", "38", "38"]);
}

#[test]
fn calls_that_carry_others_follow_the_rules_of_those() {
    let (image, scratch) = (caller(), Scratch::new());
    let calls = ["socket", "int80-socketcall", "int80-ipc"];
    let free = results(&image, &[], &calls);
    assert_eq!(free[4..7], ["14", "14", "14"]);
    let under = |default: &str, group: Value| {
        let option = format!("--seccomp={}", profile(&scratch, default, group));
        results(&image, &[&option], &calls)
    };
    let names = ["socket", "sendto", "shmget"];
    let seen = under(
        "SCMP_ACT_ALLOW",
        json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 28}),
    );
    let (bind, semget) = (&free[5], &free[9]);
    assert_eq!(seen, ["28", "28", "28", "28", "28", bind, "28", "28", "28", semget]);
    // A condition on arguments that lie in memory: the call may have those that are forbidden.
    let vsock = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]);
    let seen = under(
        "SCMP_ACT_ALLOW",
        json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": vsock}),
    );
    assert_eq!(
        (&seen[..2], &seen[4..6]),
        (&[free[0].clone(), "28".to_owned()][..], &["28".to_owned(), bind.clone()][..])
    );
}

#[test]
fn a_filter_is_kept_by_all_that_the_command_starts() {
    let (image, scratch) = (caller(), Scratch::new());
    let group = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28});
    let option = format!("--seccomp={}", profile(&scratch, "SCMP_ACT_ALLOW", group));
    let script =
        "probe mkdir /tmp/x || sh -c 'probe mkdir /tmp/x'; probe status NoNewPrivs Seccomp";
    let seen = hrun([&option, image.path().to_str().unwrap(), "sh", "-c", script]).lines();
    assert_eq!(seen, ["ENOSPC", "ENOSPC", "NoNewPrivs:1", "Seccomp:2"]);
}

#[test]
fn without_the_option_nothing_is_filtered() {
    let image = Image::tiny();
    let words = [image.path().to_str().unwrap(), "/bin/probe", "status", "Seccomp"];
    assert_eq!(hrun(words).ok(), "Seccomp:0\n");
    let words = [&["--seccomp=fakeroot", "--seccomp=unconfined"][..], &words].concat();
    assert_eq!(hrun(words).ok(), "Seccomp:0\n");
}

#[test]
fn a_mistyped_name_forbids_nothing_in_silence() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let group = json!({"names": ["kill", "ptarce"], "action": "SCMP_ACT_ERRNO"});
    let file = profile(&scratch, "SCMP_ACT_ALLOW", group);
    hrun(["--seccomp", &file, image.path().to_str().unwrap(), "true"]).fails(&[
        "use seccomp profile",
        "syscalls[0] forbids 'ptarce'",
        "hint: did you mean ptrace?",
    ]);
}

#[test]
fn unknown_names_are_noted_with_v_only_where_they_open_nothing() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let names = ["read_minds", "kill", "of_tomorrow"];
    let group = json!({"names": names, "action": "SCMP_ACT_LOG"});
    let file = profile(&scratch, "SCMP_ACT_ALLOW", group);
    let words = ["--seccomp", &file, image.path().to_str().unwrap(), "true"];
    hrun(words).ok();
    let noted = hrun([&["-v"], &words[..]].concat());
    let text =
        format!("{file} names 2 system calls that are unknown here: of_tomorrow, read_minds");
    assert!(noted.stderr.contains(&text), "{}", noted.stderr);
}

#[test]
fn a_bad_profile_starts_nothing() {
    let (image, scratch) = (Image::tiny(), Scratch::new());
    let file = |name: &str, text: &str| scratch.file(name, text).to_str().unwrap().to_owned();
    let bad_action = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_DENY"}]}"#;
    let no_execve = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}"#;
    for (file, parts) in [
        (
            "/nowhere.json".to_owned(),
            &["read seccomp profile /nowhere.json", "No such file", "fakeroot, unconfined"][..],
        ),
        ("fakerot".to_owned(), &["read seccomp profile fakerot", "fakeroot, unconfined"]),
        (scratch.directory("directory").display().to_string(), &["Is a directory"]),
        (file("empty", ""), &["use seccomp profile", "line 1 column 0"]),
        (file("text", "{\n\"defaultAction\": 7}"), &["line 2"]),
        (file("action", bad_action), &["syscalls[0]: 'SCMP_ACT_DENY' is not an action it knows"]),
        (file("execve", no_execve), &["it forbids execve(2)", "hint: allow execve"]),
    ] {
        let option = format!("--seccomp={file}");
        let words = [&option, image.path().to_str().unwrap(), "touch", "/tmp/started"];
        let message = hrun(words).fails(parts);
        assert!(message.contains(&format!("from: --seccomp {file}")), "{message}");
    }
    let words = ["--seccomp=", image.path().to_str().unwrap(), "true"];
    hrun(words).fails(&["cannot use option --seccomp: it names no profile"]);
}

#[test]
fn the_plan_has_the_filter_and_does_the_same_when_it_is_read_back() {
    let (image, scratch) = (caller(), Scratch::new());
    let group = json!({"names": ["kill", "pciconfig_read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
        "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]});
    let file = profile(&scratch, "SCMP_ACT_ALLOW", group);
    let plan = |format: &str| {
        hrun(["--seccomp", &file, format, image.path().to_str().unwrap(), "calls", "kill"]).ok()
    };
    let text = plan("--dry-run");
    let line = text.lines().find(|line| line.starts_with("filter")).unwrap();
    assert!(line.contains("1 system calls, others allow"), "{line}");
    assert!(line.ends_with(&format!("[--seccomp {file}]")), "{line}");
    let spec: Value = serde_json::from_str(&plan("--dry-run=oci")).unwrap();
    let rule = &spec["linux"]["seccomp"]["syscalls"][0];
    assert_eq!((&rule["names"], &rule["errnoRet"]), (&json!(["kill"]), &json!(28)));
    let read_back = scratch.file("plan", plan("--dry-run=json"));
    let line = hrun([Path::new("--plan"), &read_back]).ok();
    assert!(line.ends_with(" 28\n"), "{line}");
}

// Docker's default profile.

/// A line of the program that makes calls.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: Vec<u64>,
    result: String,
}

fn calls(output: &str) -> Vec<Call> {
    let call = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let arguments = words[2..8].iter().map(|word| word.parse().unwrap()).collect();
        Call { name: words[1].to_owned(), arguments, result: words[8..].join(" ") }
    };
    output.lines().map(call).collect()
}

/// What Docker's profile says about a call, read as its documentation explains it, for amd64 and a
/// command with all capabilities or none: the error number, or nothing for a call that is made.
fn dockers_word(profile: &Value, call: &Call, has_capabilities: bool) -> Option<u64> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let applies = |group: &Value| {
        let (includes, excludes) = (&group["includes"], &group["excludes"]);
        let is_here = |arches: &Value| list(arches).contains(&json!("amd64"));
        (includes["arches"].is_null() || is_here(&includes["arches"]))
            && !is_here(&excludes["arches"])
            && (has_capabilities || list(&includes["caps"]).is_empty())
            && (!has_capabilities || list(&excludes["caps"]).is_empty())
    };
    let holds = |argument: &Value| {
        let number = |key: &str| argument[key].as_u64().unwrap_or(0);
        let given = call.arguments[number("index") as usize];
        match argument["op"].as_str().unwrap() {
            "SCMP_CMP_EQ" => given == number("value"),
            "SCMP_CMP_MASKED_EQ" => given & number("value") == number("valueTwo"),
            op => panic!("{op} is new in Docker's profile"),
        }
    };
    let name = call.name.trim_start_matches("int80-");
    let fitting = list(&profile["syscalls"]).into_iter().find(|group| {
        list(&group["names"]).contains(&json!(name))
            && applies(group)
            && list(&group["args"]).iter().all(holds)
    });
    match fitting {
        Some(group) if group["action"] == "SCMP_ACT_ALLOW" => None,
        Some(group) => Some(group["errnoRet"].as_u64().unwrap_or(1)),
        None => Some(1),
    }
}

#[test]
fn dockers_default_profile_behaves_as_it_reads() {
    let image = caller();
    let file = program("docker-seccomp.json");
    let profile: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let option = format!("--seccomp={}", file.display());
    let path = image.path().to_str().unwrap();
    for options in [&[][..], &["--root"]] {
        let run = |more: &[&str]| calls(&hrun([options, more, &[path, "calls"]].concat()).ok());
        let (free, filtered) = (run(&[]), run(&[&option]));
        assert!(filtered.len() >= 60, "{} calls", filtered.len());
        let mut refused = 0;
        for (free, filtered) in free.iter().zip(&filtered) {
            let word = dockers_word(&profile, free, !options.is_empty());
            let wanted = match word {
                _ if free.name == "x32-getpid" => "38".to_owned(),
                None => free.result.clone(),
                Some(errno) => errno.to_string(),
            };
            refused += usize::from(wanted != free.result);
            assert_eq!(filtered.result, wanted, "{options:?} {filtered:?}");
        }
        println!("{options:?}: {} calls, {refused} fare otherwise than without", filtered.len());
        assert!(refused > if options.is_empty() { 20 } else { 3 }, "{refused}");
    }
}

/// crun's filters are compiled by libseccomp.
#[test]
fn crun_filters_the_same() {
    if lacks("root") || lacks("crun") {
        return;
    }
    let image = caller();
    let file = format!("--seccomp={}", program("docker-seccomp.json").display());
    for options in [&[&*file][..], &[&file, "--root"], &["--seccomp=fakeroot"]] {
        let ours = hrun([options, &[image.path().to_str().unwrap(), "calls"]].concat()).lines();
        let theirs = crun(&configuration(&image, options, &["calls"])).lines();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs.iter()) {
            // libseccomp kills what the profile is not about; hrun says that it is not there.
            if !ours.contains("x32-") {
                assert_eq!(ours, theirs, "{options:?}");
            }
        }
    }
}

// The built-in profile.

#[test]
fn fakeroot_pretends_and_does_nothing() {
    let image = caller();
    let calls =
        ["chown", "kill", "setuid", "mknod", "int80-chown32", "int80-setuid32", "int80-mknod"];
    assert_eq!(results(&image, &[], &calls), ["14", "22", "22", "14", "14", "22", "14"]);
    for options in [&["--seccomp=fakeroot"][..], &["--seccomp=fakeroot", "--root"]] {
        assert_eq!(results(&image, options, &calls), ["0", "22", "0", "0", "0", "0", "0"]);
    }
}
