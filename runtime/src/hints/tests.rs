use std::path::PathBuf;

use super::*;
use crate::look::program::{Interpreter, Program};
use crate::origin::{Layer as OriginLayer, Origin};
use crate::plan::{Capabilities, EnterBy, Layer, Map, ReadOnlyBy, Step};

/// A machine and an image on which nothing is wrong.
fn facts() -> Facts {
    Facts {
        max_user_namespaces: Some(65536),
        unprivileged_userns_clone: Some(1),
        apparmor_restricts_userns: Some(0),
        mount_max: Some(100_000),
        hrun: "/opt/hrun/bin/hrun".into(),
        machine: 62,
        program: Program { exists: true, has_execute_bit: true, ..Program::default() },
    }
}

/// The same with another program.
fn with_program(change: impl FnOnce(&mut Program)) -> Facts {
    let mut facts = facts();
    change(&mut facts.program);
    facts
}

fn with_format(format: Format, interpreter: Option<(&str, bool)>) -> Facts {
    with_program(|program| {
        program.format = format;
        program.interpreter = interpreter.map(|(path, exists)| Interpreter {
            path: path.into(),
            exists,
            has_execute_bit: exists,
        });
    })
}

fn unshare() -> Action {
    let map = Map { inside: 1000, outside: 1000 };
    Action::Unshare { uid: map, gid: map }
}

fn meet() -> Action {
    Action::Meet { file: "/dev/shm/hrun-1000/slurm-7.0".into(), layout: None }
}

fn join() -> Action {
    Action::Join { pid: 7, processes: false }
}

fn tmpfs() -> Action {
    Action::Tmpfs { target: "/mnt".into(), mode: 0o755, size: None }
}

fn bind(recursive: bool) -> Action {
    Action::Bind { source: "/scratch".into(), target: "/data".into(), recursive }
}

fn overlay() -> Action {
    Action::Overlay {
        target: "/etc".into(),
        below: Some("/mnt/0".into()),
        layer: None,
        no_exec: false,
    }
}

fn overlay_with_layer() -> Action {
    let layer = Layer { upper: "/layer/upper".into(), work: "/layer/work".into() };
    Action::Overlay { target: "/image".into(), below: None, layer: Some(layer), no_exec: false }
}

fn enter() -> Action {
    Action::Enter { root: "/image".into(), by: EnterBy::PivotRoot }
}

fn directory() -> Action {
    Action::Directory { path: "/image/data".into(), mode: 0o755 }
}

fn change_directory() -> Action {
    Action::ChangeDirectory { path: "/project".into() }
}

fn source() -> Action {
    let scripts = vec!["/.singularity.d/env/90-environment.sh".into()];
    Action::Source { shell: "/bin/sh".into(), scripts, environment: Vec::new() }
}

fn execute() -> Action {
    let arguments = vec!["program".into()];
    Action::Execute { arguments, search: Vec::new(), environment: Vec::new(), changes: Vec::new() }
}

fn explained(action: Action, errno: Errno, facts: &Facts) -> Error {
    let step = Step { action, origin: Origin::Default };
    explain(&Failed { step: &step, errno, program: Some("/bin/program".into()) }, facts)
}

fn hint_of(action: Action, errno: Errno, facts: &Facts) -> String {
    explained(action, errno, facts).hint.unwrap_or_default()
}

/// One case for each row of the table: a failure and the remedy that must be named.
fn cases() -> Vec<(Action, Errno, Facts, &'static str)> {
    let off = Facts { max_user_namespaces: Some(0), ..facts() };
    let clone = Facts { unprivileged_userns_clone: Some(0), ..facts() };
    let apparmor = Facts { apparmor_restricts_userns: Some(1), ..facts() };
    let missing = with_program(|program| program.exists = false);
    let dos = with_format(Format::DosScript, Some(("/bin/sh\r", false)));
    let loader = with_format(Format::Elf { machine: 62 }, Some(("/lib/ld.so", false)));
    let foreign = with_format(Format::Elf { machine: 183 }, None);
    let is_directory = with_program(|program| program.is_directory = true);
    let plain = with_program(|program| program.has_execute_bit = false);
    let noexec = with_program(|program| program.is_on_noexec = true);
    let closed = with_program(|program| {
        let path = "/bin/closed".into();
        program.format = Format::Script;
        program.interpreter = Some(Interpreter { path, exists: true, has_execute_bit: false });
    });
    vec![
        (meet(), Errno::EPERM, facts(), "ask the administrator to remove it"),
        (meet(), Errno::ENOSPC, facts(), "--no-join"),
        (Action::Isolate, Errno::EPERM, facts(), "leave --pid out there"),
        (Action::Supervise, Errno::ENOMEM, facts(), "start it again"),
        (join(), Errno::ESRCH, facts(), "its number on the host"),
        (join(), Errno::EINVAL, facts(), "runs in no container"),
        (join(), Errno::EPERM, facts(), "containers of your own"),
        (unshare(), Errno::ENOSPC, off, "sysctl -w user.max_user_namespaces="),
        (unshare(), Errno::ENOSPC, facts(), "sysctl -w user.max_user_namespaces="),
        (unshare(), Errno::EPERM, clone, "sysctl -w kernel.unprivileged_userns_clone=1"),
        (unshare(), Errno::EACCES, apparmor, "apparmor_parser -r"),
        (unshare(), Errno::EPERM, facts(), "hrun --doctor"),
        (unshare(), Errno::ENOENT, facts(), "mount -t proc proc /proc"),
        (unshare(), Errno::EINVAL, facts(), "CONFIG_USER_NS"),
        (tmpfs(), Errno::ENOSPC, facts(), "fs.mount-max is 100000"),
        (overlay(), Errno::ENODEV, facts(), "modprobe overlay"),
        (overlay_with_layer(), Errno::EINVAL, facts(), "local file system"),
        (overlay_with_layer(), Errno::EBUSY, facts(), "give each run its own"),
        (overlay(), Errno::EINVAL, facts(), "--assume-missing=overlay"),
        (bind(false), Errno::EINVAL, facts(), "leave out norec"),
        (bind(true), Errno::EACCES, facts(), "root_squash"),
        (enter(), Errno::EINVAL, facts(), "--assume-missing=pivot-root"),
        (directory(), Errno::EFBIG, facts(), "ulimit -f"),
        (directory(), Errno::EROFS, facts(), "use --write-fake"),
        (change_directory(), Errno::EACCES, facts(), "--cd"),
        (execute(), Errno::ENOENT, dos, "sed -i"),
        (execute(), Errno::ENOENT, loader, "the loader /lib/ld.so"),
        (execute(), Errno::ENOENT, missing.clone(), "--bind"),
        (execute(), Errno::ENOEXEC, foreign, "get the image for this architecture"),
        (execute(), Errno::ENOEXEC, facts(), "#!/bin/sh"),
        (execute(), Errno::EACCES, is_directory, "it is a directory"),
        (execute(), Errno::EACCES, plain, "chmod +x"),
        (execute(), Errno::EACCES, noexec, "noexec"),
        (execute(), Errno::EACCES, closed, "chmod +x it"),
        (execute(), Errno::EACCES, missing, "closed to you"),
        (execute(), Errno::ENOTDIR, facts(), "is a file"),
        (execute(), Errno::ELOOP, facts(), "in a circle"),
        (execute(), Errno::E2BIG, facts(), "--clean-env"),
    ]
}

/// The row that speaks, by its number.
fn row(action: &Action, errno: Errno, facts: &Facts) -> Option<usize> {
    let operation = operation(action)?;
    HINTS.iter().position(|hint| {
        hint.operations.contains(&operation) && hint.errnos.contains(&errno) && (hint.when)(facts)
    })
}

#[test]
fn every_row_can_speak_and_names_a_remedy() {
    let mut silent: Vec<usize> = (0..HINTS.len()).collect();
    for (action, errno, facts, remedy) in cases() {
        let speaking = row(&action, errno, &facts);
        silent.retain(|row| Some(*row) != speaking);
        let text = hint_of(action.clone(), errno, &facts);
        assert!(text.contains(remedy), "{action:?} {errno}: no '{remedy}' in '{text}'");
    }
    assert_eq!(silent, Vec::<usize>::new(), "these rows are never reached by a case");
    assert_eq!(cases().len(), HINTS.len(), "a case for each row");
}

#[test]
fn every_errno_of_every_row_can_be_reached() {
    let actions = [
        meet(),
        join(),
        Action::Isolate,
        unshare(),
        tmpfs(),
        bind(true),
        bind(false),
        overlay(),
        overlay_with_layer(),
        enter(),
        directory(),
        change_directory(),
        execute(),
    ];
    let worlds: Vec<Facts> = cases().into_iter().map(|(_, _, facts, _)| facts).collect();
    let speaks = |number: usize, errno: Errno| {
        actions
            .iter()
            .any(|action| worlds.iter().any(|facts| row(action, errno, facts) == Some(number)))
    };
    for (number, hint) in HINTS.iter().enumerate() {
        for errno in hint.errnos {
            assert!(speaks(number, *errno), "row {number} never speaks for {errno}");
        }
    }
}

#[test]
fn texts_read_well_below_a_message() {
    for (action, errno, facts, _) in cases() {
        let text = hint_of(action, errno, &facts);
        assert!(!text.ends_with(['.', '\n']), "{text}");
        for line in text.lines() {
            assert!(!line.trim().is_empty() && line.trim_end() == line, "'{line}'");
        }
    }
}

#[test]
fn a_setting_that_forbids_everybody_comes_before_one_that_may_be_used_up() {
    let off = Facts { max_user_namespaces: Some(0), ..facts() };
    assert!(hint_of(unshare(), Errno::ENOSPC, &off).contains("switched off"));
    let limited = Facts { max_user_namespaces: Some(7), ..facts() };
    let text = hint_of(unshare(), Errno::ENOSPC, &limited);
    assert!(text.contains("user.max_user_namespaces is 7"), "{text}");
    let unknown = Facts { max_user_namespaces: None, ..facts() };
    let text = hint_of(unshare(), Errno::ENOSPC, &unknown);
    assert!(text.contains("user.max_user_namespaces is its limit"), "{text}");
}

#[test]
fn debians_setting_comes_before_apparmor_and_both_before_a_guess() {
    let apparmor = Facts { apparmor_restricts_userns: Some(1), ..facts() };
    let both = Facts { unprivileged_userns_clone: Some(0), ..apparmor.clone() };
    assert!(hint_of(unshare(), Errno::EPERM, &both).contains("unprivileged_userns_clone"));
    assert!(hint_of(unshare(), Errno::EPERM, &apparmor).contains("AppArmor"));
    assert!(hint_of(unshare(), Errno::EPERM, &facts()).contains("security module"));
}

#[test]
fn apparmor_is_named_wherever_it_strikes() {
    let apparmor = Facts { apparmor_restricts_userns: Some(1), ..facts() };
    let actions = [
        unshare(),
        tmpfs(),
        bind(true),
        bind(false),
        overlay(),
        overlay_with_layer(),
        enter(),
        Action::ReadOnly { target: "/".into(), recursive: true, by: ReadOnlyBy::Remount },
    ];
    for action in actions {
        for errno in [Errno::EPERM, Errno::EACCES] {
            let text = hint_of(action.clone(), errno, &apparmor);
            assert!(text.contains("AppArmor"), "{action:?} {errno}: {text}");
        }
    }
    assert!(!hint_of(execute(), Errno::EACCES, &apparmor).contains("AppArmor"));
}

#[test]
fn the_apparmor_profile_is_for_this_program() {
    let apparmor = Facts { apparmor_restricts_userns: Some(1), ..facts() };
    let text = hint_of(unshare(), Errno::EPERM, &apparmor);
    for line in [
        "/etc/apparmor.d/hrun",
        "abi <abi/4.0>,",
        "profile hrun /opt/hrun/bin/hrun flags=(unconfined) { userns, }",
        "apparmor_parser -r /etc/apparmor.d/hrun",
    ] {
        assert!(text.contains(line), "no '{line}' in:\n{text}");
    }
}

#[test]
fn a_dos_script_comes_before_its_odd_interpreter() {
    let dos = with_format(Format::DosScript, Some(("/bin/sh\r", false)));
    let text = hint_of(execute(), Errno::ENOENT, &dos);
    assert!(text.contains("Windows line ends") && !text.contains("wants"), "{text}");
}

#[test]
fn scripts_and_programs_lack_different_things() {
    let script = with_format(Format::Script, Some(("/usr/bin/python9", false)));
    let text = hint_of(execute(), Errno::ENOENT, &script);
    assert!(text.contains("the interpreter /usr/bin/python9, which the image lacks"), "{text}");
    let program = with_format(Format::Elf { machine: 62 }, Some(("/lib/ld-musl.so.1", false)));
    let text = hint_of(execute(), Errno::ENOENT, &program);
    assert!(text.contains("the loader /lib/ld-musl.so.1, which the image lacks"), "{text}");
}

#[test]
fn a_program_for_another_machine_names_both() {
    for (machine, name) in [(183, "aarch64"), (21, "ppc64le"), (40, "32-bit ARM"), (9, "machine 9")]
    {
        let foreign = with_format(Format::Elf { machine }, None);
        let text = hint_of(execute(), Errno::ENOEXEC, &foreign);
        let cause = format!("the program is for {name}, this machine is x86_64");
        assert!(text.contains(&cause), "{text}");
    }
    let own = with_format(Format::Elf { machine: 62 }, None);
    assert!(!hint_of(execute(), Errno::ENOEXEC, &own).contains("this machine"));
}

#[test]
fn a_directory_comes_before_execute_bits_and_these_before_noexec() {
    let everything = with_program(|program| {
        program.is_directory = true;
        program.has_execute_bit = false;
        program.is_on_noexec = true;
    });
    assert_eq!(hint_of(execute(), Errno::EACCES, &everything), "it is a directory");
    let plain = with_program(|program| {
        program.has_execute_bit = false;
        program.is_on_noexec = true;
    });
    assert!(hint_of(execute(), Errno::EACCES, &plain).contains("chmod +x"));
}

#[test]
fn scripts_that_fail_can_be_left_out() {
    assert!(hint_of(source(), Errno::ECANCELED, &facts()).contains("--bind /dev/null:"));
    assert!(hint_of(source(), Errno::EAGAIN, &facts()).contains("ulimit -u"));
    assert_eq!(explained(source(), Errno::ECANCELED, &facts()).status, 125);
}

#[test]
fn statuses() {
    let gone = with_program(|program| program.exists = false);
    assert_eq!(explained(execute(), Errno::ENOENT, &gone).status, 127);
    for errno in [Errno::EACCES, Errno::ENOEXEC, Errno::ENOENT, Errno::E2BIG] {
        assert_eq!(explained(execute(), errno, &facts()).status, 126, "{errno}");
    }
    for (action, errno, facts, _) in cases() {
        if !matches!(action, Action::Execute { .. }) {
            assert_eq!(explained(action.clone(), errno, &facts).status, 125, "{action:?}");
            assert_eq!(explained(action.clone(), errno, &gone).status, 125, "{action:?}");
        }
    }
}

#[test]
fn messages_say_what_was_attempted_and_who_asked() {
    let origin = Origin::Setting {
        option: "--bind /scratch:/data".to_owned(),
        layer: OriginLayer::CommandLine,
    };
    let step = Step { action: bind(true), origin };
    let error = explain(&Failed { step: &step, errno: Errno::EACCES, program: None }, &facts());
    let message = error.to_string();
    assert!(message.starts_with("cannot bind /scratch at /data: Permission denied\n"), "{message}");
    assert!(message.contains("\n  from: --bind /scratch:/data\n  hint: "), "{message}");

    let by_default = explained(tmpfs(), Errno::ENOSPC, &facts());
    assert_eq!(by_default.origin, None, "nobody asked for it");
}

#[test]
fn a_command_is_named_by_the_path_that_was_found() {
    let step = Step { action: execute(), origin: Origin::Default };
    let failed = |program: Option<PathBuf>| Failed { step: &step, errno: Errno::EACCES, program };
    let found = explain(&failed(Some("/opt/bin/program".into())), &facts());
    assert_eq!(found.attempt, "run /opt/bin/program");
    assert_eq!(explain(&failed(None), &facts()).attempt, "run program");
}

#[test]
fn what_nobody_can_help_has_no_hint() {
    let restrict = Action::Restrict { capabilities: Capabilities::Dropped };
    assert_eq!(explained(restrict, Errno::EPERM, &facts()).hint, None);
    assert_eq!(explained(tmpfs(), Errno::ENOMEM, &facts()).hint, None);
    assert_eq!(
        explained(Action::Leave { by: EnterBy::PivotRoot }, Errno::EINVAL, &facts()).hint,
        None
    );
}

#[test]
fn the_examination_of_a_machine_uses_the_same_table() {
    let off = Facts { max_user_namespaces: Some(0), ..facts() };
    assert_eq!(for_unshare(Errno::ENOSPC, &off), explained(unshare(), Errno::ENOSPC, &off).hint);
    assert_eq!(for_mount(Errno::ENOSPC, &off), explained(tmpfs(), Errno::ENOSPC, &off).hint);
    assert_eq!(for_overlay(Errno::ENODEV, &off), explained(overlay(), Errno::ENODEV, &off).hint);
}
