//! Runs programs as the kernel does (Documentation/networking/filter.rst), for tests and the fuzz target.

use super::Instruction;

/// What a program returns for a call, which is given as the words of `struct seccomp_data`.
pub fn run(program: &[Instruction], data: &[u32]) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let (code, if_true, if_false, k) = program[at].parts();
        at += 1;
        let mut branch =
            |is_true: bool| at += usize::from(if is_true { if_true } else { if_false });
        match code {
            0x20 => accumulator = data[k as usize / 4],
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x06 => return k,
            _ => panic!("code {code:#x}"),
        }
    }
}
