//! Programs are run here as the kernel runs them, and compared with what the rules mean.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::profile::{Circumstances, resolve};
use super::*;
use crate::capabilities::Set;

/// One call, as the kernel shows it to a filter.
struct Call {
    machine: usize,
    number: u32,
    arguments: [u64; 6],
}

fn call(machine: usize, name: &str, arguments: [u64; 6]) -> Call {
    let number = (CALLS[machine].number)(name).unwrap();
    Call { machine, number, arguments }
}

/// Runs a program on a call; what it returns is seccomp(2)'s.
fn run(program: &[Instruction], call: &Call) -> u32 {
    let audit = CALLS.get(call.machine).map_or(0xdead_beef, |machine| machine.audit);
    let mut data = [call.number, audit, 0, 0].to_vec();
    data.extend(call.arguments.iter().flat_map(|word| [*word as u32, (word >> 32) as u32]));
    emulator::run(program, &data)
}

fn fate(filter: &Filter, call: &Call) -> Verdict {
    match run(&filter.program, call) {
        0x8000_0000 => Verdict::KillProcess,
        0 => Verdict::KillThread,
        0x0003_0000 => Verdict::Trap,
        0x7ffc_0000 => Verdict::Log,
        0x7fff_0000 => Verdict::Allow,
        number if number >> 16 == 5 => Verdict::Errno(number as u16),
        number if number >> 16 == 0x7ff0 => Verdict::Trace(number as u16),
        number => panic!("{number:#x}"),
    }
}

fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
    let (argument, value) = (arguments[usize::from(condition.argument)], condition.value);
    match condition.is {
        Comparison::Equal => argument == value,
        Comparison::NotEqual => argument != value,
        Comparison::Less => argument < value,
        Comparison::LessOrEqual => argument <= value,
        Comparison::Greater => argument > value,
        Comparison::GreaterOrEqual => argument >= value,
        Comparison::Masked(mask) => argument & mask == value,
    }
}

/// What rules mean, without any program.
fn meaning(default: Verdict, rules: &[Rule], name: &str, arguments: [u64; 6]) -> Verdict {
    let about: Vec<&Rule> =
        rules.iter().filter(|rule| rule.calls.iter().any(|call| call == name)).collect();
    let always = about.iter().find(|rule| rule.when.is_empty());
    let fits = |rule: &&&Rule| rule.when.iter().all(|condition| holds(condition, arguments));
    always.or_else(|| about.iter().find(fits)).map_or(default, |rule| rule.verdict)
}

/// Calls that neighbour each other and calls that are far apart.
const NAMES: [&str; 8] =
    ["read", "write", "openat", "close", "mmap", "clone3", "openat2", "process_vm_writev"];

/// Values around which comparisons change, in either half of 64 bits.
const VALUES: [u64; 9] =
    [0, 1, 2, 0xffff_fffe, 0xffff_ffff, 1 << 32, (1 << 32) + 1, 7 << 40, u64::MAX];

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        select(vec![Verdict::Allow, Verdict::Log, Verdict::Trap, Verdict::KillThread]),
        Just(Verdict::KillProcess),
        (0..4096_u16).prop_map(Verdict::Errno),
        any::<u16>().prop_map(Verdict::Trace),
    ]
}

fn comparisons() -> impl Strategy<Value = Comparison> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    prop_oneof![
        select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual]),
        select(&VALUES[..]).prop_map(Comparison::Masked),
    ]
}

fn rules() -> impl Strategy<Value = Rule> {
    let condition = (0..6_u8, comparisons(), select(&VALUES[..]))
        .prop_map(|(argument, is, value)| Condition { argument, is, value });
    let calls = vec(select(&NAMES[..]).prop_map(str::to_owned), 1..4);
    (calls, vec(condition, 0..4), verdicts()).prop_map(|(calls, when, verdict)| Rule {
        calls,
        when,
        verdict,
    })
}

proptest! {
    #[test]
    fn a_program_does_what_its_rules_mean(
        default in verdicts(),
        rules in vec(rules(), 0..9),
        name in select(&NAMES[..]),
        machine in 0..CALLS.len(),
        arguments in proptest::array::uniform6(select(&VALUES[..])),
    ) {
        let machines: Vec<&Architecture> = CALLS.iter().collect();
        let filter = Filter::new(default, Vec::new(), &machines, rules.clone()).unwrap();
        let wanted = meaning(default, &rules, name, arguments);
        prop_assert_eq!(fate(&filter, &call(machine, name, arguments)), wanted);
    }
}

/// Resolves a profile for a command without capabilities on Linux 5.10.
fn resolved(json: &str) -> Result<profile::Resolved, profile::Wrong> {
    resolved_with(json, Set::NONE)
}

fn resolved_with(json: &str, capabilities: Set) -> Result<profile::Resolved, profile::Wrong> {
    let kernel_is = |major, minor| (5, 10) >= (major, minor);
    resolve(json.as_bytes(), &Circumstances { capabilities, kernel_is: &kernel_is })
}

/// What happens to calls without arguments, by a profile of one group of calls.
fn fates(group: &str, names: &[&str]) -> Vec<Verdict> {
    let json = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{group}]}}"#);
    let filter = resolved(&json).unwrap().filter;
    names.iter().map(|name| fate(&filter, &call(0, name, [0; 6]))).collect()
}

#[test]
fn actions_are_those_of_libseccomp() {
    for (action, verdict) in [
        (r#""SCMP_ACT_ERRNO""#, Verdict::Errno(1)),
        (r#""SCMP_ACT_ERRNO", "errnoRet": 38"#, Verdict::Errno(38)),
        (r#""SCMP_ACT_ERRNO", "errnoRet": 0"#, Verdict::Errno(0)),
        (r#""SCMP_ACT_KILL""#, Verdict::KillThread),
        (r#""SCMP_ACT_KILL_THREAD""#, Verdict::KillThread),
        (r#""SCMP_ACT_KILL_PROCESS""#, Verdict::KillProcess),
        (r#""SCMP_ACT_TRAP""#, Verdict::Trap),
        (r#""SCMP_ACT_TRACE", "errnoRet": 7"#, Verdict::Trace(7)),
        (r#""SCMP_ACT_LOG""#, Verdict::Log),
        (r#""SCMP_ACT_ALLOW""#, Verdict::Allow),
    ] {
        for names in [r#""names": ["read"]"#, r#""name": "read", "args": null"#] {
            let group = format!(r#"{{{names}, "action": {action}}}"#);
            assert_eq!(fates(&group, &["read", "write"]), [verdict, Verdict::Allow], "{group}");
        }
    }
}

#[test]
fn groups_apply_where_their_conditions_say() {
    let (yes, no) = (Verdict::Errno(1), Verdict::Allow);
    let own = CALLS[0].go_name;
    for (condition, verdict) in [
        (format!(r#""includes": {{"arches": ["{own}", "s390x"]}}"#), yes),
        (r#""includes": {"arches": ["s390x"]}"#.to_owned(), no),
        (format!(r#""excludes": {{"arches": ["s390x", "{own}"]}}"#), no),
        (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#.to_owned(), no),
        (r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#.to_owned(), yes),
        (r#""excludes": {"caps": ["CAP_OF_TOMORROW"]}"#.to_owned(), yes),
        (r#""includes": {"minKernel": "5.10"}"#.to_owned(), yes),
        (r#""includes": {"minKernel": "5.11"}"#.to_owned(), no),
        (r#""excludes": {"minKernel": "4.8"}"#.to_owned(), no),
        (r#""includes": {}, "excludes": {}"#.to_owned(), yes),
        (r#""includes": null, "excludes": null"#.to_owned(), yes),
    ] {
        let group = format!(r#"{{"names": ["read"], "action": "SCMP_ACT_ERRNO", {condition}}}"#);
        assert_eq!(fates(&group, &["read"]), [verdict], "{condition}");
    }
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
        "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}]}"#;
    for (held, verdict) in [("chown", no), ("kill", no), ("kill,chown", yes), ("all", yes)] {
        let filter = resolved_with(json, Set::parse(held).unwrap()).unwrap().filter;
        assert_eq!(fate(&filter, &call(0, "read", [0; 6])), verdict, "{held}");
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    let eq =
        |index, value| format!(r#"{{"index": {index}, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
    let filter = |args: &[String]| {
        let args = args.join(",");
        let json = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["socket"],
                "action": "SCMP_ACT_ERRNO", "args": [{args}]}}]}}"#
        );
        resolved(&json).unwrap().filter
    };
    let both = filter(&[eq(0, 16), eq(2, 9)]);
    let either = filter(&[eq(0, 16), eq(0, 40)]);
    let fails = |filter: &Filter, domain, protocol| {
        fate(filter, &call(0, "socket", [domain, 0, protocol, 0, 0, 0])) == Verdict::Errno(1)
    };
    assert_eq!([(16, 9), (16, 0), (2, 9)].map(|(d, p)| fails(&both, d, p)), [true, false, false]);
    assert_eq!([16, 40, 2].map(|d| fails(&either, d, 0)), [true, true, false]);
}

#[test]
fn calls_of_other_kinds_of_programs_are_not_there() {
    let json = |more: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW"{more}}}"#);
    let gone = Verdict::Errno(38);
    let all = resolved(&json("")).unwrap().filter;
    let own = format!(r#", "architectures": ["{}"]"#, CALLS[0].name);
    let own = resolved(&json(&own)).unwrap().filter;
    for machine in 0..CALLS.len() {
        let read = call(machine, "read", [0; 6]);
        assert_eq!(fate(&all, &read), Verdict::Allow);
        assert_eq!(fate(&own, &read), if machine == 0 { Verdict::Allow } else { gone });
    }
    let unknown = Call { machine: CALLS.len(), number: 0, arguments: [0; 6] };
    assert_eq!(fate(&all, &unknown), gone);
    // A call of x32 on x86-64.
    let x32 = Call { machine: 0, number: CALLS[0].end, arguments: [0; 6] };
    assert_eq!(fate(&all, &x32), gone);
}

#[test]
fn a_machines_kin_is_what_the_profile_says() {
    let [own, kin] = [0, 1].map(|machine| CALLS[machine].name);
    let named = |maps: &str| {
        let json = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{maps}]}}"#);
        resolved(&json).unwrap().filter.architectures
    };
    let map = |name: &str, kin: &str| {
        format!(r#"{{"architecture": "{name}", "subArchitectures": [{kin}]}}"#)
    };
    assert_eq!(named(&map(own, &format!(r#""{kin}""#))), [own, kin]);
    assert_eq!(named(&map(own, "")), [own]);
    assert_eq!(named(&map("SCMP_ARCH_S390X", &format!(r#""{kin}""#))), [own]);
}

#[test]
fn unknown_names_are_counted_and_passed_over() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "of_tomorrow", "execve"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["of_tomorrow", "of_yesterday"], "action": "SCMP_ACT_LOG"}]}"#;
    let resolved = resolved(json).unwrap();
    assert_eq!(resolved.unknown, ["of_tomorrow", "of_yesterday"]);
    assert_eq!(resolved.filter.rules.len(), 1);
    assert!(!resolved.filter.forbids("execve") && resolved.filter.forbids("write"));
}

#[test]
fn a_forbidding_rule_needs_names_that_some_machine_has() {
    let profile = |default: &str, action: &str, name: &str| {
        let json = format!(
            r#"{{"defaultAction": "{default}", "syscalls": [
                {{"names": ["read", "{name}"], "action": "{action}"}}]}}"#
        );
        resolved(&json)
    };
    for (default, action) in [
        ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"),
        ("SCMP_ACT_LOG", "SCMP_ACT_KILL"),
        ("SCMP_ACT_ALLOW", "SCMP_ACT_TRAP"),
    ] {
        let wrong = profile(default, action, "ptarce").unwrap_err();
        assert!(wrong.reason.contains("syscalls[0] forbids 'ptarce'"), "{wrong:?}");
        assert!(wrong.hint.unwrap().starts_with("did you mean ptrace?"));
        let wrong = profile(default, action, "read_all_the_minds_there_are").unwrap_err();
        assert_eq!(wrong.hint.unwrap(), "take the name out of the profile");
        // A call of ppc64, and one of s390x.
        for name in ["pciconfig_read", "s390_runtime_instr", "mount"] {
            profile(default, action, name).unwrap();
        }
    }
    // Such a rule opens a call or changes how it fails: a name that is not there does no harm.
    profile("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "ptarce").unwrap();
    profile("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "ptarce").unwrap();
    profile("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "ptarce").unwrap();
}

/// What a filter with these rules says of a call that is carried, and of `getpid` for comparison.
#[cfg(target_arch = "x86_64")]
mod carried {
    use super::*;

    const NO: Verdict = Verdict::Errno(28);

    fn rule(call: &str, when: &[Condition], verdict: Verdict) -> Rule {
        Rule { calls: vec![call.to_owned()], when: when.to_vec(), verdict }
    }

    fn carried(default: Verdict, rules: &[Rule], carrier: &str, number: u64) -> Verdict {
        let machines: Vec<&Architecture> = CALLS.iter().collect();
        let filter = Filter::new(default, Vec::new(), &machines, rules.to_vec()).unwrap();
        fate(&filter, &call(1, carrier, [number, 7, 7, 7, 7, 7]))
    }

    const VSOCK: Condition = Condition { argument: 0, is: Comparison::Equal, value: 40 };

    #[test]
    fn calls_follow_their_own_rules() {
        use Verdict::{Allow, Errno, KillProcess};
        let eperm = Errno(1);
        for (default, rules, carrier, number, wanted) in [
            // What is forbidden is not carried, under whatever version of ipc(2).
            (Allow, vec![rule("socket", &[], NO)], "socketcall", 1, NO),
            (Allow, vec![rule("socket", &[], NO)], "socketcall", 3, Allow),
            (Allow, vec![rule("shmget", &[], NO)], "ipc", 23, NO),
            (Allow, vec![rule("shmget", &[], NO)], "ipc", 23 | 1 << 16, NO),
            (Allow, vec![rule("shmget", &[], NO)], "ipc", 24, Allow),
            (Allow, vec![rule("sendto", &[], NO)], "socketcall", 9, NO),
            (Allow, vec![rule("semop", &[], KillProcess)], "ipc", 1, KillProcess),
            // What is allowed is carried, though nothing says so.
            (eperm, vec![rule("socket", &[], Allow)], "socketcall", 1, Allow),
            (eperm, vec![rule("socket", &[], Allow)], "socketcall", 2, eperm),
            (eperm, vec![rule("msgget", &[], Allow)], "ipc", 13, Allow),
            // What is forbidden for some arguments may have those.
            (Allow, vec![rule("socket", &[VSOCK], NO)], "socketcall", 1, NO),
            (eperm, vec![rule("socket", &[VSOCK], Allow)], "socketcall", 1, eperm),
            // The multiplexer's own rules.
            (Allow, vec![rule("socketcall", &[], NO)], "socketcall", 1, NO),
            (eperm, vec![rule("socketcall", &[], Allow)], "socketcall", 1, eperm),
            (
                eperm,
                vec![rule("socketcall", &[], Allow), rule("socket", &[VSOCK], Allow)],
                "socketcall",
                1,
                Allow,
            ),
            (
                eperm,
                vec![rule("socketcall", &[], NO), rule("socket", &[], Allow)],
                "socketcall",
                1,
                NO,
            ),
            // A number that carries nothing known.
            (Allow, vec![rule("socket", &[], NO)], "socketcall", 99, Allow),
        ] {
            let seen = carried(default, &rules, carrier, number);
            assert_eq!(seen, wanted, "{default:?} {rules:?} {carrier}({number})");
        }
    }

    proptest! {
        #[test]
        fn what_is_never_made_is_never_carried(
            default in verdicts(),
            rules in vec(rules(), 0..6),
            fates in vec((select(&["socket", "socketcall"][..]), verdicts()), 0..4),
            rest in proptest::array::uniform5(select(&VALUES[..])),
        ) {
            let more = fates.into_iter().zip(rules).map(|((name, verdict), rule)| Rule {
                calls: vec![name.to_owned()], when: rule.when, verdict
            });
            let machines: Vec<&Architecture> = CALLS.iter().collect();
            let filter = Filter::new(default, Vec::new(), &machines, more.collect()).unwrap();
            if filter.forbids("socket") {
                let [b, c, d, e, f] = rest;
                let seen = fate(&filter, &call(1, "socketcall", [1, b, c, d, e, f]));
                prop_assert!(!seen.is_made(), "{:?}", seen);
            }
        }
    }
}

#[test]
fn a_wrong_profile_is_named_by_its_fault() {
    for (json, reason) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{}", "missing field `defaultAction`"),
        (r#"{"defaultAction": "ALLOW"}"#, "defaultAction: 'ALLOW' is not an action it knows"),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY asks another program"),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#,
            "errnoRet is larger than 4095",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FAST"]}"#,
            "flags: 'FAST' is not a flag it knows",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": [], "action": "SCMP_ACT_LOG"}, {"names": [], "action": "NO"}]}"#,
            "syscalls[1]: 'NO' is not an action it knows",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
                "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 0, "op": "x"}]}]}"#,
            "syscalls[0]: args: a call has no argument 6",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
                "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 0, "op": "=="}]}]}"#,
            "args: '==' is not a comparison it knows",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
                "action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}]}"#,
            "minKernel: 'new' is not a release such as 4.8",
        ),
    ] {
        let error = resolved(json).unwrap_err();
        assert!(error.reason.contains(reason), "{error:?}");
    }
}

#[test]
fn flags_that_mean_something_are_kept() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}"#;
    assert_eq!(resolved(json).unwrap().filter.flags, [Flag::Log, Flag::SpecAllow]);
}

#[test]
fn fakeroot_pretends_what_only_root_may() {
    let filter = fakeroot::filter().unwrap();
    let pretended = Verdict::Errno(0);
    for machine in 0..CALLS.len() {
        for (name, arguments, verdict) in [
            ("fchownat", [0; 6], pretended),
            ("setgroups", [0; 6], pretended),
            ("setresuid", [0; 6], pretended),
            ("mknodat", [3, 0, 0o020_666, 0, 0, 0], pretended),
            ("mknodat", [3, 0, 0o060_660, 0, 0, 0], pretended),
            ("mknodat", [3, 0, 0o010_644, 0, 0, 0], Verdict::Allow),
            ("openat", [0; 6], Verdict::Allow),
            ("getuid", [0; 6], Verdict::Allow),
            ("capset", [0; 6], Verdict::Allow),
        ] {
            assert_eq!(fate(&filter, &call(machine, name, arguments)), verdict, "{name}");
        }
    }
    // Younger machines have no call of this name.
    if (CALLS[0].number)("mknod").is_some() {
        let fate = |mode| fate(&filter, &call(0, "mknod", [0, mode, 0, 0, 0, 0]));
        assert_eq!([0o020_666, 0o100_644].map(fate), [pretended, Verdict::Allow]);
    }
}

#[test]
fn more_rules_than_the_kernel_takes_are_refused() {
    let condition = Condition { argument: 0, is: Comparison::Equal, value: 1 };
    let calls = vec!["read".to_owned()];
    let rule = Rule { calls, when: vec![condition; 6], verdict: Verdict::Log };
    let machines: Vec<&Architecture> = CALLS.iter().collect();
    let error = Filter::new(Verdict::Allow, Vec::new(), &machines, vec![rule; 400]).unwrap_err();
    assert!(error.contains("the kernel takes 4096"), "{error}");
}
