//! The profile for engines, read as runc and libseccomp read it, held against the plain reading of the policy's data.
#![cfg(test)]

use super::oracle::{Reading, read};
use super::tests::BOTH;
use super::{Architecture, call_number, engine_profile_for};
use crate::bpf::{RETURN_ALLOW, RETURN_ERRNO, RETURN_USER_NOTIFICATION};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// What an engine makes of the profile: rules by number.
struct Profile {
    rules: BTreeMap<u32, Vec<Value>>,
}

fn profile(architecture: Architecture) -> Profile {
    let made = engine_profile_for(architecture).unwrap();
    let json: Value = serde_json::from_str(&made.json).unwrap();
    assert_eq!(json["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(json["defaultErrnoRet"], 1);
    let mut rules: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
    for rule in json["syscalls"].as_array().unwrap() {
        for name in rule["names"].as_array().unwrap() {
            let number = call_number(architecture, name.as_str().unwrap()).unwrap();
            rules.entry(number).or_default().push(rule.clone());
        }
    }
    Profile { rules }
}

fn holds(condition: &Value, arguments: [u64; 6]) -> bool {
    let number = |name: &str| condition[name].as_u64().unwrap();
    assert_eq!(condition["op"], "SCMP_CMP_MASKED_EQ");
    let argument = arguments[usize::try_from(number("index")).unwrap()];
    argument & number("value") == number("valueTwo")
}

impl Profile {
    /// All answers that rules give to a call; the default, if no rule matches.
    fn answers(&self, number: u32, arguments: [u64; 6]) -> Vec<u32> {
        let mut answers = Vec::new();
        for rule in self.rules.get(&number).into_iter().flatten() {
            let conditions = rule["args"].as_array().map_or(&[][..], Vec::as_slice);
            if conditions.iter().all(|one| holds(one, arguments)) {
                answers.push(match rule["action"].as_str().unwrap() {
                    "SCMP_ACT_ALLOW" => RETURN_ALLOW,
                    "SCMP_ACT_ERRNO" => {
                        RETURN_ERRNO | u32::try_from(rule["errnoRet"].as_u64().unwrap()).unwrap()
                    }
                    other => panic!("action {other}"),
                });
            }
        }
        if answers.is_empty() {
            answers.push(RETURN_ERRNO | 1);
        }
        answers
    }
}

fn compare(profile: &Profile, reading: &Reading, number: u32, arguments: [u64; 6]) {
    let expected = match reading.expect(number, arguments) {
        // An engine has no listener.
        RETURN_USER_NOTIFICATION => RETURN_ERRNO | 1,
        other => other,
    };
    // One rule at most: libseccomp does not say which of two wins.
    assert_eq!(
        profile.answers(number, arguments),
        [expected],
        "call {number} with {arguments:x?}"
    );
}

#[test]
fn an_engine_answers_every_call_with_every_interesting_argument_as_the_jail_does() {
    for architecture in BOTH {
        let (profile, reading) = (profile(architecture), read(architecture));
        for number in 0..=600 {
            let values = reading.interesting(number);
            for &a in &values[0] {
                for &b in &values[1] {
                    for &c in &values[2] {
                        compare(&profile, &reading, number, [a, b, c, 0, 0, 0]);
                    }
                }
            }
            for &d in &values[3] {
                compare(&profile, &reading, number, [0, 0, 0, d, u64::MAX, u64::MAX]);
            }
        }
    }
}

#[test]
fn no_rule_has_two_conditions_on_one_argument_which_libseccomp_takes_for_alternatives() {
    for architecture in BOTH {
        for rule in profile(architecture).rules.values().flatten() {
            let conditions = rule["args"].as_array().map_or(&[][..], Vec::as_slice);
            let arguments: BTreeSet<u64> = conditions
                .iter()
                .map(|one| one["index"].as_u64().unwrap())
                .collect();
            assert_eq!(arguments.len(), conditions.len(), "{rule}");
        }
    }
}

#[test]
fn the_profile_says_how_many_calls_it_allows_and_what_it_is() {
    for architecture in BOTH {
        let made = engine_profile_for(architecture).unwrap();
        let compiled = super::compile_for(architecture, crate::plan::Listener::None).unwrap();
        assert_eq!(made.allowed_calls, compiled.allowed_calls);
        assert_eq!(made.digest.len(), 64);
        // It travels in every request for a container.
        assert!(made.json.len() < 256 * 1_024, "{} bytes", made.json.len());
    }
}

fn cached(architecture: Architecture) -> &'static (Profile, Reading) {
    static X86_64: OnceLock<(Profile, Reading)> = OnceLock::new();
    static AARCH64: OnceLock<(Profile, Reading)> = OnceLock::new();
    let cell = match architecture {
        Architecture::X86_64 => &X86_64,
        Architecture::Aarch64 => &AARCH64,
    };
    cell.get_or_init(|| (profile(architecture), read(architecture)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn an_engine_answers_any_call_with_any_arguments_as_the_jail_does(
        number in 0_u32..600,
        low in any::<[u32; 6]>(),
        high in any::<[u32; 6]>(),
        small in any::<[bool; 6]>(),
        pick in any::<[prop::sample::Index; 4]>(),
    ) {
        for architecture in BOTH {
            let (profile, reading) = cached(architecture);
            let values = reading.interesting(number);
            let mut arguments = [0_u64; 6];
            for (at, argument) in arguments.iter_mut().enumerate() {
                let base = match pick.get(at) {
                    Some(index) if small[at] => *index.get(&values[at]),
                    _ => u64::from(low[at]),
                };
                *argument = base ^ (u64::from(high[at]) << 32);
            }
            compare(profile, reading, number, arguments);
        }
    }
}
