//! The same policy for container engines: as the JSON that runc takes, which hands it to libseccomp.
//!
//! Three stacked filters become one list of rules there, and libseccomp says nothing about which of two rules wins that
//! match the same call. So no two do: what is allowed is written without what is probed, bit by bit where it must be. And it
//! takes two conditions on one argument for alternatives, so a rule has one for each argument, always as
//! *argument & mask = value*, which also says which half of an argument is looked at.

use super::{
    AllowRule, Architecture, Condition, EPERM, Operator, PolicyError, ProbedRule, call_number, errno, rules,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The profile, and what to show of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineProfile {
    /// As the engine takes it.
    pub json: Arc<str>,
    /// SHA-256 of that, hexadecimal.
    pub digest: String,
    /// How many calls are on the allow-list, with or without conditions.
    pub allowed_calls: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: &'static str,
    default_errno_ret: u16,
    architectures: [&'static str; 1],
    syscalls: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    /// The mask.
    value: u64,
    /// What is left of the argument under the mask.
    value_two: u64,
    op: &'static str,
}

/// What an argument must be: some of its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bits {
    mask: u64,
    value: u64,
}

/// What the arguments must be, all of them. An argument that is not named may be anything.
type Cube = BTreeMap<u8, Bits>;

/// The half of an argument that the kernel reads of an int.
const INT: u64 = 0xffff_ffff;

/// The profile for this machine.
///
/// # Errors
/// The policy is wrong, which only a change of `policies/` can cause.
pub fn engine_profile() -> Result<EngineProfile, PolicyError> {
    engine_profile_for(Architecture::HERE)
}

/// The profile for one architecture.
///
/// # Errors
/// As [`engine_profile`].
pub fn engine_profile_for(architecture: Architecture) -> Result<EngineProfile, PolicyError> {
    let all = rules(architecture)?;
    let allowed_calls = u16::try_from(all.allow.len()).unwrap_or(u16::MAX);
    let mut plain = Vec::new();
    let mut others = Vec::new();
    for rule in &all.allow {
        known(architecture, &rule.call)?;
        allow(rule, &all.probed, &mut plain, &mut others);
    }
    for rule in &all.probed {
        known(architecture, &rule.call)?;
        refuse(rule, &mut others)?;
    }
    let mut syscalls = vec![Rule {
        names: plain,
        action: ALLOW,
        errno_ret: None,
        args: Vec::new(),
    }];
    syscalls.append(&mut others);
    let profile = Profile {
        default_action: ERRNO,
        default_errno_ret: EPERM,
        architectures: [match architecture {
            Architecture::X86_64 => "SCMP_ARCH_X86_64",
            Architecture::Aarch64 => "SCMP_ARCH_AARCH64",
        }],
        syscalls,
    };
    let json = serde_json::to_string(&profile).map_err(PolicyError::Parse)?;
    let digest = Sha256::digest(json.as_bytes());
    Ok(EngineProfile {
        json: Arc::from(json),
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        allowed_calls,
    })
}

const ALLOW: &str = "SCMP_ACT_ALLOW";
const ERRNO: &str = "SCMP_ACT_ERRNO";

fn known(architecture: Architecture, call: &str) -> Result<u32, PolicyError> {
    let unknown = || PolicyError::UnknownCall {
        call: call.to_owned(),
    };
    call_number(architecture, call).ok_or_else(unknown)
}

/// What is allowed and not probed.
fn allow(rule: &AllowRule, probed: &[ProbedRule], plain: &mut Vec<String>, others: &mut Vec<Rule>) {
    let mut left = cubes(&rule.any);
    for probed in probed.iter().filter(|probed| probed.call == rule.call) {
        for taken in cubes(&probed.any) {
            left = left.iter().flat_map(|cube| without(cube, &taken)).collect();
        }
    }
    for cube in left {
        if cube.is_empty() {
            plain.push(rule.call.clone());
        } else {
            others.push(conditional(&rule.call, ALLOW, None, &cube));
        }
    }
}

/// What is probed. The error of what nobody allows needs no rule.
fn refuse(rule: &ProbedRule, others: &mut Vec<Rule>) -> Result<(), PolicyError> {
    let number = errno(&rule.errno)?;
    if number != EPERM {
        let cubes = cubes(&rule.any).into_iter();
        others.extend(cubes.map(|cube| conditional(&rule.call, ERRNO, Some(number), &cube)));
    }
    Ok(())
}

fn conditional(call: &str, action: &'static str, errno_ret: Option<u16>, cube: &Cube) -> Rule {
    let arguments = cube.iter().map(|(index, bits)| Argument {
        index: *index,
        value: bits.mask,
        value_two: bits.value,
        op: "SCMP_CMP_MASKED_EQ",
    });
    Rule {
        names: vec![call.to_owned()],
        action,
        errno_ret,
        args: arguments.collect(),
    }
}

/// The alternatives of a rule. None is "whatever the arguments".
fn cubes(any: &[Vec<Condition>]) -> Vec<Cube> {
    if any.is_empty() {
        return vec![Cube::new()];
    }
    let mut all: Vec<Cube> = Vec::new();
    for conditions in any {
        let mut alternatives = vec![Cube::new()];
        for condition in conditions {
            let bits = alternatives_of(condition);
            alternatives = alternatives
                .iter()
                .flat_map(|cube| {
                    bits.iter()
                        .filter_map(|bits| narrowed(cube, condition.arg, *bits))
                })
                .collect();
        }
        // No two may overlap: what an earlier one says is not said again.
        for earlier in all.clone() {
            alternatives = alternatives
                .iter()
                .flat_map(|cube| without(cube, &earlier))
                .collect();
        }
        all.append(&mut alternatives);
    }
    all
}

/// A condition as alternatives of bits that do not overlap.
fn alternatives_of(condition: &Condition) -> Vec<Bits> {
    let value = u64::from(condition.value);
    match condition.op {
        Operator::Eq => vec![Bits { mask: INT, value }],
        Operator::MaskedEq => {
            let mask = condition.mask.map_or(INT, u64::from);
            // Bits outside of the mask are never there.
            if value & !mask == 0 {
                vec![Bits { mask, value }]
            } else {
                Vec::new()
            }
        }
        Operator::Ne => differing(INT, value),
        Operator::NotNull => differing(u64::MAX, 0),
        // Less: where the first bit that differs is a 0 instead of a 1.
        Operator::Lt => {
            let differs = differing(INT, value).into_iter();
            let less = |bits: &Bits| {
                let last = bits.mask & bits.mask.wrapping_neg();
                value & last != 0
            };
            differs.filter(less).collect()
        }
    }
}

/// What is not `value` under the mask: from the highest bit down, the same until one that differs.
fn differing(mask: u64, value: u64) -> Vec<Bits> {
    let mut above = 0;
    let mut found = Vec::new();
    for bit in (0..64)
        .rev()
        .map(|shift| 1_u64 << shift)
        .filter(|bit| mask & bit != 0)
    {
        found.push(Bits {
            mask: above | bit,
            value: (value & above) | (!value & bit),
        });
        above |= bit;
    }
    found
}

/// A cube with one more condition; none, if that contradicts it.
fn narrowed(cube: &Cube, argument: u8, bits: Bits) -> Option<Cube> {
    let before = cube.get(&argument).copied().unwrap_or(Bits { mask: 0, value: 0 });
    let common = before.mask & bits.mask;
    if before.value & common != bits.value & common {
        return None;
    }
    let mut narrowed = cube.clone();
    let both = Bits {
        mask: before.mask | bits.mask,
        value: before.value | bits.value,
    };
    narrowed.insert(argument, both);
    Some(narrowed)
}

/// What of a cube is not in another one: pieces that do not overlap.
fn without(cube: &Cube, taken: &Cube) -> Vec<Cube> {
    let mut pieces = Vec::new();
    let mut rest = cube.clone();
    for (argument, bits) in taken {
        let fixed = rest.get(argument).map_or(0, |bits| bits.mask);
        for other in differing(bits.mask & !fixed, bits.value) {
            pieces.extend(narrowed(&rest, *argument, other));
        }
        match narrowed(&rest, *argument, *bits) {
            Some(narrower) => rest = narrower,
            // They have nothing in common: all of it stays.
            None => return vec![cube.clone()],
        }
    }
    pieces
}
