//! Profiles of system calls: what they compile to is a program that the kernel takes, and it does for
//! any call one of the things the profile says.
#![no_main]

#[path = "../../runtime/src/seccomp/emulator.rs"]
mod emulator;

use libfuzzer_sys::fuzz_target;
use runtime::capabilities::Set;
use runtime::seccomp::profile::{Circumstances, resolve};
use runtime::seccomp::{Filter, Instruction};

/// The kernel's check of a program (`seccomp_check_filter`, `bpf_check_classic`), for the codes that
/// are used: jumps go forward and stay inside, loads are of whole words, and the end is a return.
fn check(program: &[Instruction]) {
    assert!((1..=4096).contains(&program.len()));
    for (at, instruction) in program.iter().enumerate() {
        let (code, if_true, if_false, k) = instruction.parts();
        let rest = program.len() - at - 1;
        match code {
            0x20 => assert!(k % 4 == 0 && k < 64),
            0x54 | 0x06 => {}
            0x05 => assert!((k as usize) < rest),
            0x15 | 0x25 | 0x35 => assert!(usize::from(if_true.max(if_false)) < rest),
            _ => panic!("code {code:#x}"),
        }
    }
    assert!(program.last().is_some_and(|last| last.parts().0 == 0x06));
}

// The call: sixteen words; and then the profile.
fuzz_target!(|input: &[u8]| {
    let Some((call, json)) = input.split_at_checked(64) else { return };
    let words =
        call.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let mut data: Vec<u32> = words.collect();
    for capabilities in [Set::NONE, Set::ALL] {
        let here =
            Circumstances { capabilities, kernel_is: &|major, minor| (6, 1) >= (major, minor) };
        let Ok(resolved) = resolve(json, &here) else { return };
        let Filter { program, rules, default, .. } = &resolved.filter;
        check(program);
        for audit in [data[1], 0xc000_003e, 0x4000_0003] {
            data[1] = audit;
            // Any call's fate is that of some call, and there are no more fates than verdicts.
            let answer = emulator::run(program, &data);
            let returns = program.iter().filter(|instruction| instruction.parts().0 == 0x06);
            assert!(returns.clone().any(|instruction| instruction.parts().3 == answer));
            let mut fates: Vec<u32> = returns.map(|instruction| instruction.parts().3).collect();
            fates.sort_unstable();
            fates.dedup();
            let mut verdicts: Vec<_> = rules.iter().map(|rule| rule.verdict).collect();
            verdicts.push(*default);
            // And that of calls which are not there.
            assert!(fates.len() <= verdicts.len() + 1);
        }
        let json = serde_json::to_string(&resolved.filter).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Filter>(&json).ok(), Some(resolved.filter));
    }
});
