//! The seccomp policy: commented data in `policies/`, compiled by the keeper, installed by the stub.
//!
//! Three stacked filters. The kernel takes the strictest answer, where an errno is stricter than asking the
//! listener. So: calls of foreign architectures kill; calls that programs merely probe fail with an errno and are
//! not counted; of the rest, what is on the allow-list passes and everything else goes to the keeper's listener,
//! which counts it, refuses it, and tells the user its name.
//!
//! If you change a rule, say in its comment who needs it; `brig doctor` shows the count and the digest.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use thiserror::Error;

use crate::bpf::{Architecture, RETURN_USER_NOTIFICATION, chain, foreign_abi};
use crate::plan::{FilterInstruction, FilterStack, Listener};

mod calls;
mod engine;
mod removal;

pub use engine::{EngineProfile, engine_profile, engine_profile_for};

const COMMON: &str = include_str!("../policies/common.json");
const X86_64: &str = include_str!("../policies/x86_64.json");
const AARCH64: &str = include_str!("../policies/aarch64.json");

/// What is wrong with the policy. Only a change of `policies/` can cause it; tests compile every variant.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not the JSON of a policy.
    #[error("failed to read the seccomp policy")]
    Parse(#[source] serde_json::Error),
    /// A call that does not exist on this architecture.
    #[error("the seccomp policy names {call}, which this architecture does not have")]
    UnknownCall {
        /// Its name.
        call: String,
    },
    /// An errno that programs do not expect of a probed call.
    #[error("the seccomp policy names the errno {errno}, which is not known")]
    UnknownErrno {
        /// Its name.
        errno: String,
    },
    /// A call with two rules.
    #[error("the seccomp policy has two rules for {call}")]
    Twice {
        /// Its name.
        call: String,
    },
    /// A control arm takes a rule off that is not there.
    #[error("there is no rule {rule} on the allow-list")]
    NoSuchRule {
        /// Its name.
        rule: String,
    },
    /// Rules are taken off, and this program was built without control arms.
    #[error("rules are taken off the allow-list, and this program can do without none")]
    RulesTakenOff,
    /// The compiler refused the rules.
    #[error("failed to compile the seccomp policy")]
    Compile(#[from] seccompiler::BackendError),
}

/// Compiled filters and what to show of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledPolicy {
    /// The filters.
    pub stack: FilterStack,
    /// First 16 bytes of the SHA-256 of all instructions.
    pub digest: [u8; 16],
    /// How many calls are on the allow-list, with or without conditions.
    pub allowed_calls: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    /// For the reader of the file.
    #[serde(rename = "about")]
    _about: Vec<String>,
    allow: Vec<AllowRule>,
    probed: Vec<ProbedRule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowRule {
    call: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test insists on it"))]
    comment: String,
    /// What a program makes instead on an architecture that does not have this call.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test compares the architectures by it")
    )]
    generic: Option<String>,
    #[serde(default)]
    any: Vec<Vec<Condition>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbedRule {
    call: String,
    errno: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test insists on it"))]
    comment: String,
    /// The one architecture that has this call; all, when it is missing.
    only: Option<String>,
    #[serde(default)]
    any: Vec<Vec<Condition>>,
}

/// One condition on one argument. `means` is for the reader and for the names of rules.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    arg: u8,
    op: Operator,
    value: u32,
    mask: Option<u32>,
    #[serde(rename = "means")]
    meaning: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operator {
    Eq,
    Ne,
    Lt,
    MaskedEq,
    /// The argument is a pointer, and not null: all 64 bits are looked at.
    NotNull,
}

struct Rules {
    allow: Vec<AllowRule>,
    probed: Vec<ProbedRule>,
}

fn rules(architecture: Architecture) -> Result<Rules, PolicyError> {
    let own = match architecture {
        Architecture::X86_64 => X86_64,
        Architecture::Aarch64 => AARCH64,
    };
    read_rules(architecture, &[COMMON, own])
}

fn read_rules(architecture: Architecture, texts: &[&str]) -> Result<Rules, PolicyError> {
    let name = match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Aarch64 => "aarch64",
    };
    let mut all = Rules {
        allow: Vec::new(),
        probed: Vec::new(),
    };
    for text in texts {
        let file: PolicyFile = serde_json::from_str(text).map_err(PolicyError::Parse)?;
        all.allow.extend(file.allow);
        let here = |rule: &ProbedRule| rule.only.as_deref().is_none_or(|only| only == name);
        all.probed.extend(file.probed.into_iter().filter(here));
    }
    Ok(all)
}

/// Compiles the policy for this machine.
pub fn compile(listener: Listener) -> Result<CompiledPolicy, PolicyError> {
    compile_for(Architecture::HERE, listener)
}

/// Compiles the policy for one architecture.
pub fn compile_for(architecture: Architecture, listener: Listener) -> Result<CompiledPolicy, PolicyError> {
    compile_rules(architecture, rules(architecture)?, listener)
}

/// Compiles a policy that is not Brig's own: for tests, which try what no file of ours says.
#[doc(hidden)]
pub fn compile_texts(
    architecture: Architecture,
    texts: &[&str],
    listener: Listener,
) -> Result<CompiledPolicy, PolicyError> {
    compile_rules(architecture, read_rules(architecture, texts)?, listener)
}

/// Compiles the policy for this machine without some of its rules. Only control arms take any off.
pub fn compile_without(listener: Listener, names: &[String]) -> Result<CompiledPolicy, PolicyError> {
    let mut rules = rules(Architecture::HERE)?;
    removal::take_off(&mut rules.allow, names)?;
    compile_rules(Architecture::HERE, rules, listener)
}

fn compile_rules(
    architecture: Architecture,
    rules: Rules,
    listener: Listener,
) -> Result<CompiledPolicy, PolicyError> {
    let Rules { allow, probed } = rules;
    let allowed_calls = u16::try_from(allow.len()).unwrap_or(u16::MAX);
    let stack = FilterStack {
        foreign_abi: foreign_abi(architecture),
        probed: compile_probed(architecture, &probed)?,
        allow_list: compile_allow_list(architecture, &allow, &probed, listener)?,
        listener,
    };
    let digest = digest(&stack);
    Ok(CompiledPolicy {
        stack,
        digest,
        allowed_calls,
    })
}

fn target(architecture: Architecture) -> TargetArch {
    match architecture {
        Architecture::X86_64 => TargetArch::x86_64,
        Architecture::Aarch64 => TargetArch::aarch64,
    }
}

/// The compiler gives a filter one answer for what matches, so it makes one program per errno; they are chained to one
/// filter, because every filter costs 30 ns at every call whose arguments are looked at.
fn compile_probed(
    architecture: Architecture,
    probed: &[ProbedRule],
) -> Result<Vec<Vec<FilterInstruction>>, PolicyError> {
    let mut by_errno: BTreeMap<u16, BTreeMap<i64, Vec<SeccompRule>>> = BTreeMap::new();
    for rule in probed {
        let errno = errno(&rule.errno)?;
        add_rule(
            by_errno.entry(errno).or_default(),
            architecture,
            &rule.call,
            &rule.any,
        )?;
    }
    let programs = by_errno.into_iter().map(|(errno, rules)| {
        let answer = SeccompAction::Errno(u32::from(errno));
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, target(architecture))?;
        Ok(instructions(&BpfProgram::try_from(filter)?))
    });
    let chained = chain(programs.collect::<Result<_, PolicyError>>()?);
    Ok(if chained.is_empty() {
        Vec::new()
    } else {
        vec![chained]
    })
}

/// Marks the answer that becomes "ask the listener": the compiler does not know that answer yet.
const MARK: u16 = 0x5afe;

fn compile_allow_list(
    architecture: Architecture,
    allow: &[AllowRule],
    probed: &[ProbedRule],
    listener: Listener,
) -> Result<Vec<FilterInstruction>, PolicyError> {
    let mut rules = BTreeMap::new();
    for rule in allow {
        add_rule(&mut rules, architecture, &rule.call, &rule.any)?;
    }
    if listener == Listener::None {
        // Where two filters fail a call, the newer one names the error, and that is this one. So it lets probed calls
        // pass, and the older filter says what it has to say: threads need to hear that clone3 does not exist.
        for rule in probed {
            let mut single = BTreeMap::new();
            add_rule(&mut single, architecture, &rule.call, &rule.any)?;
            for (number, more) in single {
                // No condition at all means "whatever the arguments", on either side.
                match rules.get_mut(&number) {
                    None => drop(rules.insert(number, more)),
                    Some(known) if known.is_empty() => {}
                    Some(known) if more.is_empty() => known.clear(),
                    Some(known) => known.extend(more),
                }
            }
        }
    }
    let otherwise = match listener {
        Listener::Keeper => SeccompAction::Trace(u32::from(MARK)),
        Listener::None => SeccompAction::Errno(u32::from(EPERM)),
    };
    let marked = u32::from(otherwise.clone());
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, target(architecture))?;
    let mut program = instructions(&BpfProgram::try_from(filter)?);
    if listener == Listener::Keeper {
        for one in &mut program {
            if one.code == RETURN && one.k == marked {
                one.k = RETURN_USER_NOTIFICATION;
            }
        }
    }
    Ok(program)
}

/// BPF_RET | BPF_K.
const RETURN: u16 = 0x06;

fn instructions(program: &BpfProgram) -> Vec<FilterInstruction> {
    program
        .iter()
        .map(|one| FilterInstruction {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        })
        .collect()
}

fn add_rule(
    rules: &mut BTreeMap<i64, Vec<SeccompRule>>,
    architecture: Architecture,
    call: &str,
    any: &[Vec<Condition>],
) -> Result<(), PolicyError> {
    let unknown = || PolicyError::UnknownCall {
        call: call.to_owned(),
    };
    let number = call_number(architecture, call).ok_or_else(unknown)?;
    let mut compiled = Vec::with_capacity(any.len());
    for conditions in any {
        let conditions = conditions
            .iter()
            .map(compile_condition)
            .collect::<Result<_, _>>()?;
        compiled.push(SeccompRule::new(conditions)?);
    }
    match rules.insert(i64::from(number), compiled) {
        None => Ok(()),
        Some(_) => Err(PolicyError::Twice {
            call: call.to_owned(),
        }),
    }
}

/// All conditions look at 32 bits: the kernel takes these arguments as ints, unsigned ints or flags below bit 32 and
/// ignores the upper halves (of `clone` it takes the lower half, of the mode of `mknodat` 16 bits). A comparison of 64
/// bits would be passed by `family | 1 << 32`. The one that it reads whole, the second argument of PR_CAP_AMBIENT, it
/// refuses itself when a bit of the upper half is set.
/// Pointers are compared with null, and whole.
fn compile_condition(condition: &Condition) -> Result<SeccompCondition, seccompiler::BackendError> {
    let operator = match condition.op {
        Operator::Eq => SeccompCmpOp::Eq,
        Operator::Ne => SeccompCmpOp::Ne,
        Operator::Lt => SeccompCmpOp::Lt,
        Operator::MaskedEq => SeccompCmpOp::MaskedEq(u64::from(condition.mask.unwrap_or(u32::MAX))),
        Operator::NotNull => SeccompCmpOp::Ne,
    };
    let length = match condition.op {
        Operator::Eq | Operator::Ne | Operator::Lt | Operator::MaskedEq => SeccompCmpArgLen::Dword,
        Operator::NotNull => SeccompCmpArgLen::Qword,
    };
    SeccompCondition::new(condition.arg, length, operator, u64::from(condition.value))
}

const EPERM: u16 = 1;

fn errno(name: &str) -> Result<u16, PolicyError> {
    match name {
        "EPERM" => Ok(EPERM),
        "EINVAL" => Ok(22),
        "ENOSYS" => Ok(38),
        "EOPNOTSUPP" => Ok(95),
        other => Err(PolicyError::UnknownErrno {
            errno: other.to_owned(),
        }),
    }
}

fn digest(stack: &FilterStack) -> [u8; 16] {
    let mut hash = Sha256::new();
    let programs = std::iter::once(&stack.foreign_abi)
        .chain(&stack.probed)
        .chain([&stack.allow_list]);
    for program in programs {
        hash.update(program.len().to_le_bytes());
        for one in program {
            hash.update(u64::from(*one).to_le_bytes());
        }
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

/// The number of a call on an architecture. `None`: it has no such call, or Brig does not know it.
pub fn call_number(architecture: Architecture, name: &str) -> Option<u32> {
    let (_, x86_64, aarch64) = calls::CALLS.iter().find(|(known, _, _)| *known == name)?;
    match architecture {
        Architecture::X86_64 => *x86_64,
        Architecture::Aarch64 => *aarch64,
    }
}

/// The name of a call of this machine, for people. `None`: Brig does not know such a call.
pub fn call_name(number: u32) -> Option<&'static str> {
    let known = calls::CALLS
        .iter()
        .find(|(_, x86_64, aarch64)| match Architecture::HERE {
            Architecture::X86_64 => *x86_64 == Some(number),
            Architecture::Aarch64 => *aarch64 == Some(number),
        });
    known.map(|(name, _, _)| *name)
}

/// Whether a number is a call that Brig knows: refused with EPERM. Others are refused with ENOSYS, as a kernel
/// that is older than the program would.
pub fn is_known_call(number: u32) -> bool {
    call_name(number).is_some()
}

/// The names on the allow-list, for tests of what must not touch them.
#[cfg(test)]
pub(crate) fn allowed_names(architecture: Architecture) -> Vec<String> {
    let all = rules(architecture).unwrap();
    all.allow.into_iter().map(|rule| rule.call).collect()
}

#[cfg(test)]
mod engine_oracle;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
