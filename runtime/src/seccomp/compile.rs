//! Rules become a program of classic BPF, in which the kernel looks up every call.
//!
//! Calls are found by halving, in ranges of neighbours that fare alike: about ten instructions
//! for a call where a chain of comparisons takes more than a thousand (docs/decisions/0017).

use std::collections::{BTreeMap, BTreeSet};

use super::architecture::Architecture;
use super::{Comparison, Condition, Instruction, Rule, Verdict, about, multiplexer};

// Codes of linux/bpf_common.h and linux/filter.h.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data` of linux/seccomp.h, for little-endian machines.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The kernel takes no longer program (`BPF_MAXINSNS`).
const LIMIT: usize = 4096;

type Code = Vec<Instruction>;

/// What happens to the calls of a range.
#[derive(Clone, PartialEq)]
enum Outcome<'a> {
    Always(Verdict),
    /// The first rule whose conditions hold.
    First(Vec<&'a Rule>),
}

/// Compiles rules.
///
/// # Errors
///
/// Says that the program is longer than the kernel takes.
pub(super) fn compile(
    default: Verdict,
    architectures: &[&Architecture],
    rules: &[Rule],
) -> Result<Code, String> {
    let carrying: Vec<(&str, Vec<Rule>)> =
        multiplexer::ALL.iter().map(|one| (one.name, one.rules(default, rules))).collect();
    let mut program = vec![load(ARCHITECTURE)];
    for architecture in architectures {
        let mut section = vec![load(NUMBER)];
        section.extend(search(&ranges(default, architecture, rules, &carrying), default));
        program.push(Instruction::new(IF_EQUAL, 1, 0, architecture.audit));
        program.push(jump(section.len()));
        program.extend(section);
    }
    program.push(verdict(NO_SUCH_CALL));
    match program.len() {
        0..=LIMIT => Ok(program),
        length => Err(format!("it becomes {length} instructions, the kernel takes {LIMIT}")),
    }
}

/// What a kernel says that was built without a kind of program.
const NO_SUCH_CALL: Verdict = Verdict::Errno(libc::ENOSYS as u16);

/// The first number of each range, in order, and what happens there; the first range starts at 0.
fn ranges<'a>(
    default: Verdict,
    architecture: &Architecture,
    rules: &'a [Rule],
    carrying: &'a [(&str, Vec<Rule>)],
) -> Vec<(u32, Outcome<'a>)> {
    let mut calls: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for name in rules.iter().flat_map(|rule| &rule.calls).collect::<BTreeSet<&String>>() {
        if let Some(number) = (architecture.number)(name) {
            calls.insert(number, about(name, rules));
        }
    }
    for (name, rules) in carrying {
        if let Some(number) = (architecture.number)(name).filter(|_| !rules.is_empty()) {
            calls.insert(number, rules.iter().collect());
        }
    }
    let mut starts = vec![(0, Outcome::Always(default))];
    let mut push = |start, outcome: Outcome<'a>| {
        starts.pop_if(|(last, _)| *last == start);
        if starts.last().is_none_or(|(_, before)| *before != outcome) {
            starts.push((start, outcome));
        }
    };
    for (number, rules) in calls {
        let outcome = match &rules[..] {
            [rule, ..] if rule.when.is_empty() => Outcome::Always(rule.verdict),
            _ => Outcome::First(rules),
        };
        push(number, outcome);
        push(number + 1, Outcome::Always(default));
    }
    push(architecture.end, Outcome::Always(NO_SUCH_CALL));
    starts
}

/// Finds the range of the number that was loaded, by halving.
fn search(ranges: &[(u32, Outcome)], default: Verdict) -> Code {
    if let [(_, outcome)] = ranges {
        return match outcome {
            Outcome::Always(fate) => vec![verdict(*fate)],
            Outcome::First(rules) => first(rules, default),
        };
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (start, _) = above[0];
    let below = search(below, default);
    let mut code = match u8::try_from(below.len()) {
        Ok(short) => vec![Instruction::new(IF_NOT_LESS, short, 0, start)],
        Err(_) => vec![Instruction::new(IF_NOT_LESS, 0, 1, start), jump(below.len())],
    };
    code.extend(below);
    code.extend(search(above, default));
    code
}

/// Tries rules one after the other.
fn first(rules: &[&Rule], default: Verdict) -> Code {
    let mut code = Code::new();
    for rule in rules {
        let mut tried = vec![verdict(rule.verdict)];
        for condition in rule.when.iter().rev() {
            let mut all = check(condition, tried.len());
            all.append(&mut tried);
            tried = all;
        }
        code.append(&mut tried);
    }
    code.push(verdict(default));
    code
}

/// Goes on after itself if the condition holds, and `skip` instructions further if not.
fn check(condition: &Condition, skip: usize) -> Code {
    // A rule has a condition for each of six arguments at most, so jumps fit into 8 bits.
    let no = |rest: usize| u8::try_from(skip + rest).unwrap_or(u8::MAX);
    let low_at = ARGUMENTS + 8 * u32::from(condition.argument);
    let (load_low, load_high) = (load(low_at), load(low_at + 4));
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let test = Instruction::new;
    match condition.is {
        Comparison::Equal => {
            vec![load_high, test(IF_EQUAL, 0, no(2), high), load_low, test(IF_EQUAL, 0, no(0), low)]
        }
        Comparison::NotEqual => {
            vec![load_high, test(IF_EQUAL, 0, 2, high), load_low, test(IF_EQUAL, no(0), 0, low)]
        }
        Comparison::Masked(mask) => vec![
            load_high,
            Instruction::new(AND, 0, 0, (mask >> 32) as u32),
            test(IF_EQUAL, 0, no(3), high),
            load_low,
            Instruction::new(AND, 0, 0, mask as u32),
            test(IF_EQUAL, 0, no(0), low),
        ],
        Comparison::Greater | Comparison::GreaterOrEqual => {
            let last = match condition.is {
                Comparison::Greater => IF_GREATER,
                _ => IF_NOT_LESS,
            };
            vec![
                load_high,
                test(IF_GREATER, 3, 0, high),
                test(IF_EQUAL, 0, no(2), high),
                load_low,
                test(last, 0, no(0), low),
            ]
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let last = match condition.is {
                Comparison::Less => IF_NOT_LESS,
                _ => IF_GREATER,
            };
            vec![
                load_high,
                test(IF_GREATER, no(3), 0, high),
                test(IF_EQUAL, 0, 2, high),
                load_low,
                test(last, no(0), 0, low),
            ]
        }
    }
}

fn load(offset: u32) -> Instruction {
    Instruction::new(LOAD, 0, 0, offset)
}

fn jump(over: usize) -> Instruction {
    Instruction::new(JUMP, 0, 0, u32::try_from(over).unwrap_or(u32::MAX))
}

/// `SECCOMP_RET_*` of linux/seccomp.h.
fn verdict(verdict: Verdict) -> Instruction {
    let number = match verdict {
        Verdict::KillProcess => 0x8000_0000,
        Verdict::KillThread => 0,
        Verdict::Trap => 0x0003_0000,
        Verdict::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Verdict::Trace(data) => 0x7ff0_0000 | u32::from(data),
        Verdict::Log => 0x7ffc_0000,
        Verdict::Allow => 0x7fff_0000,
    };
    Instruction::new(RETURN, 0, 0, number)
}
