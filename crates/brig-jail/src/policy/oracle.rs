//! A plain reading of the policy's data, held against what the compiled filters answer. It shares nothing with the
//! compiler: not the parser, not the types, not the way in which conditions become instructions.
#![cfg(test)]

use super::tests::{BOTH, answer_number, stack};
use super::{Architecture, call_number};
use crate::bpf::{RETURN_ALLOW, RETURN_ERRNO, RETURN_KILL_PROCESS, RETURN_USER_NOTIFICATION};
use crate::plan::{FilterStack, Listener};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

/// Call, arguments, and what is expected of them.
pub(super) struct Reading {
    architecture: Architecture,
    /// By number: the rules of `allow` and of `probed`.
    allow: BTreeMap<u32, Value>,
    probed: BTreeMap<u32, Value>,
}

pub(super) fn read(architecture: Architecture) -> Reading {
    let (name, own) = match architecture {
        Architecture::X86_64 => ("x86_64", include_str!("../../policies/x86_64.json")),
        Architecture::Aarch64 => ("aarch64", include_str!("../../policies/aarch64.json")),
    };
    let mut reading = Reading {
        architecture,
        allow: BTreeMap::new(),
        probed: BTreeMap::new(),
    };
    for text in [include_str!("../../policies/common.json"), own] {
        let file: Value = serde_json::from_str(text).unwrap();
        for (list, into) in [("allow", &mut reading.allow), ("probed", &mut reading.probed)] {
            for rule in file[list].as_array().unwrap() {
                let only = rule["only"].as_str().unwrap_or(name);
                if only == name {
                    let call = rule["call"].as_str().unwrap();
                    let number = call_number(architecture, call).unwrap();
                    assert!(
                        into.insert(number, rule.clone()).is_none(),
                        "{call} is there twice"
                    );
                }
            }
        }
    }
    reading
}

/// What the kernel sees of an argument that it takes as an int.
fn as_int(argument: u64) -> u64 {
    argument % (1 << 32)
}

fn holds(condition: &Value, arguments: [u64; 6]) -> bool {
    let number = |name: &str| condition[name].as_u64();
    let whole = arguments[usize::try_from(number("arg").unwrap()).unwrap()];
    let argument = as_int(whole);
    let value = number("value").unwrap();
    match condition["op"].as_str().unwrap() {
        "eq" => argument == value,
        "ne" => argument != value,
        "lt" => argument < value,
        "not_null" => whole != 0,
        "masked_eq" => argument & number("mask").unwrap() == value,
        other => panic!("operator {other}"),
    }
}

fn matches(rule: &Value, arguments: [u64; 6]) -> bool {
    let Some(any) = rule["any"].as_array() else {
        return true;
    };
    let all = |conditions: &Value| {
        conditions
            .as_array()
            .unwrap()
            .iter()
            .all(|one| holds(one, arguments))
    };
    any.is_empty() || any.iter().any(all)
}

fn errno(name: &str) -> u32 {
    match name {
        "EPERM" => 1,
        "EINVAL" => 22,
        "ENOSYS" => 38,
        "EOPNOTSUPP" => 95,
        other => panic!("errno {other}"),
    }
}

impl Reading {
    /// Foreign calls kill, whatever else is said of their number; a probed call fails even if it is also allowed;
    /// the rest is allowed or asks.
    pub(super) fn expect(&self, number: u32, arguments: [u64; 6]) -> u32 {
        if (0x4000_0000..0x8000_0000).contains(&number) {
            return RETURN_KILL_PROCESS;
        }
        if let Some(rule) = self.probed.get(&number)
            && matches(rule, arguments)
        {
            return RETURN_ERRNO | errno(rule["errno"].as_str().unwrap());
        }
        match self.allow.get(&number) {
            Some(rule) if matches(rule, arguments) => RETURN_ALLOW,
            _ => RETURN_USER_NOTIFICATION,
        }
    }

    fn compare(&self, stack: &FilterStack, number: u32, arguments: [u64; 6]) {
        let found = answer_number(stack, self.architecture, number, &arguments);
        let expected = self.expect(number, arguments);
        assert_eq!(
            found, expected,
            "{:?}: call {number} with {arguments:x?}: {found:#x} instead of {expected:#x}",
            self.architecture
        );
    }

    /// Every value of every condition, by argument, with its neighbours and with other bits set.
    pub(super) fn interesting(&self, number: u32) -> [Vec<u64>; 6] {
        let mut values: [Vec<u64>; 6] = Default::default();
        values
            .iter_mut()
            .for_each(|list| list.extend([0, 1, 2, u64::MAX, 1 << 32]));
        let rules = [self.allow.get(&number), self.probed.get(&number)];
        let alternatives = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule["any"].as_array());
        for condition in alternatives.flatten().filter_map(Value::as_array).flatten() {
            let list = &mut values[usize::try_from(condition["arg"].as_u64().unwrap()).unwrap()];
            let value = condition["value"].as_u64().unwrap();
            let mask = condition["mask"].as_u64().unwrap_or(0);
            list.extend([value, value + 1, value.wrapping_sub(1), value ^ 0x8000_0000]);
            list.extend([
                value | 1 << 32,
                value | 0xffff_ffff_0000_0000,
                value << 32,
                value | 0x8_0800,
            ]);
            list.extend((0..32).map(|bit| 1 << bit).filter(|bit| mask & bit != 0));
            list.push(value | !mask);
        }
        values.iter_mut().for_each(|list| {
            list.sort_unstable();
            list.dedup();
        });
        values
    }
}

#[test]
fn every_number_with_every_interesting_argument_is_answered_as_the_data_says() {
    for architecture in BOTH {
        let (stack, reading) = (stack(architecture), read(architecture));
        let numbers = (0..=600).chain([1_000, 0x3fff_ffff, 0x4000_0000, 0x4000_0027, 0x7fff_ffff]);
        for number in numbers.chain([0x8000_0000, 0x8000_0001, u32::MAX]) {
            let values = reading.interesting(number);
            // No rule looks at arguments beyond the fourth; a rule that does makes this assertion fail first.
            assert!(values[4].len() <= 5 && values[5].len() <= 5, "call {number}");
            for &a in &values[0] {
                for &b in &values[1] {
                    for &c in &values[2] {
                        reading.compare(&stack, number, [a, b, c, 0, 0, 0]);
                    }
                }
            }
            for &d in &values[3] {
                reading.compare(&stack, number, [0, 0, 0, d, u64::MAX, u64::MAX]);
            }
        }
    }
}

#[test]
fn calls_of_another_architecture_kill_whatever_their_number() {
    use crate::bpf::interpreter::{CallData, run};
    for architecture in BOTH {
        let stack = stack(architecture);
        for foreign in [
            0x4000_0003,
            0x4000_0028,
            0,
            u32::MAX,
            architecture.audit_number() ^ 1,
        ] {
            for number in 0..=600 {
                let data = CallData {
                    number,
                    architecture: foreign,
                    arguments: [0; 6],
                };
                assert_eq!(
                    run(&stack.foreign_abi, &data),
                    RETURN_KILL_PROCESS,
                    "{foreign:#x}"
                );
            }
        }
    }
}

/// A comparison that looked at an upper half could be passed, or failed, by bits that the kernel does not read. The
/// one pointer that a rule looks at, the new limit of prlimit64, is read whole.
#[test]
fn no_filter_reads_the_upper_half_of_an_argument_that_is_no_pointer() {
    const LOAD_WORD: u16 = 0x20;
    const THIRD_UPPER: u32 = 16 + 2 * 8 + 4;
    for architecture in BOTH {
        for listener in [Listener::Keeper, Listener::None] {
            let stack = super::compile_for(architecture, listener).unwrap().stack;
            for one in stack.probed.iter().flatten().chain(&stack.allow_list) {
                let is_upper_half = one.k >= 16 && one.k % 8 != 0 && one.k != THIRD_UPPER;
                assert!(
                    one.code != LOAD_WORD || !is_upper_half,
                    "{architecture:?} reads at {}",
                    one.k
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn any_call_with_any_arguments_is_answered_as_the_data_says(
        number in prop_oneof![0_u32..600, any::<u32>()],
        low in any::<[u32; 6]>(),
        high in any::<[u32; 6]>(),
        small in any::<[bool; 6]>(),
        pick in any::<[prop::sample::Index; 4]>(),
    ) {
        for architecture in BOTH {
            let (stack, without_listener, reading) = cached(architecture);
            let values = reading.interesting(number);
            let mut arguments = [0_u64; 6];
            for (at, argument) in arguments.iter_mut().enumerate() {
                let base = match pick.get(at) {
                    Some(index) if small[at] => *index.get(&values[at]),
                    _ => u64::from(low[at]),
                };
                *argument = base ^ (u64::from(high[at]) << 32);
            }
            reading.compare(stack, number, arguments);
            // Without a listener what would have asked fails with EPERM, and nothing else changes.
            let found = answer_number(without_listener, architecture, number, &arguments);
            let expected = match reading.expect(number, arguments) {
                RETURN_USER_NOTIFICATION => RETURN_ERRNO | errno("EPERM"),
                other => other,
            };
            prop_assert_eq!(found, expected, "call {} with {:x?}", number, arguments);
        }
    }
}

/// Compiled and read once: the property is asked many times.
fn cached(architecture: Architecture) -> &'static (FilterStack, FilterStack, Reading) {
    use std::sync::OnceLock;
    static X86_64: OnceLock<(FilterStack, FilterStack, Reading)> = OnceLock::new();
    static AARCH64: OnceLock<(FilterStack, FilterStack, Reading)> = OnceLock::new();
    let cell = match architecture {
        Architecture::X86_64 => &X86_64,
        Architecture::Aarch64 => &AARCH64,
    };
    cell.get_or_init(|| {
        let none = super::compile_for(architecture, Listener::None).unwrap().stack;
        (stack(architecture), none, read(architecture))
    })
}
