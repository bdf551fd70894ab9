//! The seccomp policy as data: whatever is written there, a call without a rule is never allowed.

use brig_jail::bpf::{Architecture, RETURN_ALLOW, RETURN_ERRNO, RETURN_KILL_PROCESS};
use brig_jail::plan::{FilterInstruction, Listener};
use brig_jail::policy::{call_number, compile_texts};
use serde_json::Value;
use std::collections::BTreeSet;

/// The JSON of a policy.
pub fn target(data: &[u8]) {
    let (chosen, text) = crate::choice(data);
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let listener = if chosen & 1 == 0 {
        Listener::Keeper
    } else {
        Listener::None
    };
    let here = Architecture::X86_64;
    let Ok(policy) = compile_texts(here, &[text], listener) else {
        return;
    };
    let stack = &policy.stack;
    let policy_file: Value = serde_json::from_str(text).expect("it was read once");
    let allowed = numbers(&policy_file["allow"]);
    assert_eq!(usize::from(policy.allowed_calls), allowed.len(), "a rule is lost");
    let filters = || stack.probed.iter().chain([&stack.foreign_abi, &stack.allow_list]);
    let strange = [5_000, 0x4000_0001, 0x7fff_ffff, u32::MAX];
    for number in (0..480).chain(strange) {
        let answers = filters().map(|filter| run(filter, number, here.audit_number()));
        let passes = answers.clone().all(|answer| answer == RETURN_ALLOW);
        assert!(
            !passes || allowed.contains(&number),
            "{number} passes without a rule"
        );
        let x32 = (0x4000_0000..0x8000_0000).contains(&number);
        assert!(
            !x32 || answers.clone().any(|answer| answer == RETURN_KILL_PROCESS),
            "x32 lives"
        );
        for answer in answers {
            let known = answer & 0xffff_0000 == RETURN_ERRNO || answer >= 0x7fc0_0000;
            assert!(known, "answer {answer:#x} for {number}");
        }
    }
    let foreign = filters().any(|filter| run(filter, 1, 0x4000_0003) == RETURN_KILL_PROCESS);
    assert!(foreign, "a 32-bit call lives");
}

fn numbers(rules: &Value) -> BTreeSet<u32> {
    let names = rules.as_array().into_iter().flatten();
    names
        .filter_map(|rule| call_number(Architecture::X86_64, rule["call"].as_str()?))
        .collect()
}

/// Runs a filter as the kernel would, with all arguments zero. A second implementation on purpose.
fn run(filter: &[FilterInstruction], number: u32, architecture: u32) -> u32 {
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let one = filter.get(at).expect("the filter runs over its end");
        at += 1;
        let mut jump = |condition: bool| at += usize::from(if condition { one.jt } else { one.jf });
        match one.code {
            0x20 => {
                accumulator = match one.k {
                    0 => number,
                    4 => architecture,
                    _ => 0,
                }
            }
            0x54 => accumulator &= one.k,
            0x05 => at += one.k as usize,
            0x15 => jump(accumulator == one.k),
            0x25 => jump(accumulator > one.k),
            0x35 => jump(accumulator >= one.k),
            0x06 => return one.k,
            other => panic!("instruction {other:#x}, which no filter of ours has"),
        }
    }
}
