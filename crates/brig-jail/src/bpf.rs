//! Hand-written seccomp programs, for what the compiler of the policy cannot say.

use crate::plan::FilterInstruction;

/// The architectures that Brig knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86, without x32 and 32-bit calls.
    X86_64,
    /// 64-bit ARM, without 32-bit calls.
    Aarch64,
}

impl Architecture {
    /// The one that this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: Architecture = Architecture::X86_64;
    /// The one that this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const HERE: Architecture = Architecture::Aarch64;

    /// The kernel's number (`AUDIT_ARCH_*`).
    pub fn audit_number(self) -> u32 {
        match self {
            Architecture::X86_64 => 0xC000_003E,
            Architecture::Aarch64 => 0xC000_00B7,
        }
    }
}

/// Answers of a filter.
pub const RETURN_ALLOW: u32 = 0x7fff_0000;
/// Kills the process with SIGSYS.
pub const RETURN_KILL_PROCESS: u32 = 0x8000_0000;
/// Asks the listener.
pub const RETURN_USER_NOTIFICATION: u32 = 0x7fc0_0000;
/// Fails with the errno in the low bits.
pub const RETURN_ERRNO: u32 = 0x0005_0000;
/// Asks a tracer; where there is none the call fails with ENOSYS. Ranks below the listener.
pub const RETURN_TRACE: u32 = 0x7ff0_0000;

/// First x32 number; the ones up to [`X32_END`] are x32 calls, -1 and other wild numbers are not.
const X32_START: u32 = 0x4000_0000;
const X32_END: u32 = 0x8000_0000;

const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const fn plain(code: u16, k: u32) -> FilterInstruction {
    FilterInstruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> FilterInstruction {
    FilterInstruction { code, jt, jf, k }
}

/// Calls of another architecture (32-bit ones through `int 0x80`) and x32 calls kill the process: they have
/// numbers of their own, so that a list of 64-bit numbers would mean something else for them. Unknown numbers
/// beyond that range pass; the allow-list refuses them.
pub fn foreign_abi(architecture: Architecture) -> Vec<FilterInstruction> {
    vec![
        plain(LOAD, ARCHITECTURE),
        jump(JUMP_IF_EQUAL, architecture.audit_number(), 1, 0),
        plain(RETURN, RETURN_KILL_PROCESS),
        plain(LOAD, NUMBER),
        jump(JUMP_IF_GREATER_OR_EQUAL, X32_END, 2, 0),
        jump(JUMP_IF_GREATER_OR_EQUAL, X32_START, 0, 1),
        plain(RETURN, RETURN_KILL_PROCESS),
        plain(RETURN, RETURN_ALLOW),
    ]
}

/// Allows exactly these calls, whatever their arguments; everything else fails with `errno`.
pub fn only(architecture: Architecture, numbers: &[u32], errno: u16) -> Vec<FilterInstruction> {
    let mut program = vec![
        plain(LOAD, ARCHITECTURE),
        jump(JUMP_IF_EQUAL, architecture.audit_number(), 1, 0),
        plain(RETURN, RETURN_KILL_PROCESS),
        plain(LOAD, NUMBER),
    ];
    for number in numbers {
        program.push(jump(JUMP_IF_EQUAL, *number, 0, 1));
        program.push(plain(RETURN, RETURN_ALLOW));
    }
    program.push(plain(RETURN, RETURN_ERRNO | u32::from(errno)));
    program
}

/// Refuses exactly these calls, whatever their arguments, with [`RETURN_TRACE`].
pub fn deny(architecture: Architecture, numbers: &[u32]) -> Vec<FilterInstruction> {
    let mut program = vec![
        plain(LOAD, ARCHITECTURE),
        jump(JUMP_IF_EQUAL, architecture.audit_number(), 1, 0),
        plain(RETURN, RETURN_ALLOW),
        plain(LOAD, NUMBER),
    ];
    for number in numbers {
        program.push(jump(JUMP_IF_EQUAL, *number, 0, 1));
        program.push(plain(RETURN, RETURN_TRACE));
    }
    program.push(plain(RETURN, RETURN_ALLOW));
    program
}

/// One program out of several: what one of them allows is asked of the next, and any other answer is the answer.
pub fn chain(programs: Vec<Vec<FilterInstruction>>) -> Vec<FilterInstruction> {
    let mut chained = Vec::new();
    let last = programs.len().saturating_sub(1);
    for (index, program) in programs.into_iter().enumerate() {
        let length = u32::try_from(program.len()).unwrap_or(u32::MAX);
        for (at, one) in (1..=length).zip(program) {
            let is_allowed = one.code == RETURN && one.k == RETURN_ALLOW;
            chained.push(if is_allowed && index < last {
                plain(JUMP, length - at)
            } else {
                one
            });
        }
    }
    chained
}

#[cfg(test)]
pub(crate) mod interpreter {
    //! Runs a seccomp program as the kernel would, for tests of filters.
    use super::*;

    /// `struct seccomp_data`, without the instruction pointer.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct CallData {
        pub(crate) number: u32,
        pub(crate) architecture: u32,
        pub(crate) arguments: [u64; 6],
    }

    fn load(data: &CallData, offset: u32) -> u32 {
        match offset {
            NUMBER => data.number,
            ARCHITECTURE => data.architecture,
            _ => {
                let index = usize::try_from(offset - 16).unwrap() / 4;
                let argument = data.arguments[index / 2];
                let half = if index.is_multiple_of(2) {
                    argument
                } else {
                    argument >> 32
                };
                u32::try_from(half & u64::from(u32::MAX)).unwrap()
            }
        }
    }

    /// The filter's answer.
    pub(crate) fn run(program: &[FilterInstruction], data: &CallData) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let one = program[at];
            at += 1;
            let taken = match one.code {
                LOAD => {
                    accumulator = load(data, one.k);
                    continue;
                }
                0x54 => {
                    accumulator &= one.k;
                    continue;
                }
                JUMP => {
                    at += usize::try_from(one.k).unwrap();
                    continue;
                }
                RETURN => return one.k,
                JUMP_IF_EQUAL => accumulator == one.k,
                JUMP_IF_GREATER_OR_EQUAL => accumulator >= one.k,
                0x25 => accumulator > one.k,
                other => panic!("instruction {other:#x} is not known here"),
            };
            at += usize::from(if taken { one.jt } else { one.jf });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interpreter::{CallData, run};
    use super::*;

    fn call(number: u32, architecture: u32) -> CallData {
        CallData {
            number,
            architecture,
            arguments: [0; 6],
        }
    }

    #[test]
    fn x32_and_compat_calls_kill_and_wild_numbers_do_not() {
        let filter = foreign_abi(Architecture::X86_64);
        let native = Architecture::X86_64.audit_number();
        for (number, architecture, answer) in [
            (0, native, RETURN_ALLOW),
            (0x3fff_ffff, native, RETURN_ALLOW),
            (X32_START, native, RETURN_KILL_PROCESS),
            (X32_START + 39, native, RETURN_KILL_PROCESS),
            (0x7fff_ffff, native, RETURN_KILL_PROCESS),
            (0x8000_0000, native, RETURN_ALLOW),
            (u32::MAX, native, RETURN_ALLOW),
            (20, 0x4000_0003, RETURN_KILL_PROCESS),
        ] {
            assert_eq!(run(&filter, &call(number, architecture)), answer, "{number:#x}");
        }
    }

    #[test]
    fn the_first_program_of_a_chain_that_does_not_allow_answers() {
        let native = Architecture::X86_64.audit_number();
        let refuse = |number, errno| {
            vec![
                plain(LOAD, NUMBER),
                jump(JUMP_IF_EQUAL, number, 1, 0),
                plain(RETURN, RETURN_ALLOW),
                plain(RETURN, RETURN_ERRNO | errno),
            ]
        };
        let one = chain(vec![refuse(3, 1), refuse(4, 2), refuse(3, 7)]);
        for (number, answer) in [(3, RETURN_ERRNO | 1), (4, RETURN_ERRNO | 2), (5, RETURN_ALLOW)] {
            assert_eq!(run(&one, &call(number, native)), answer, "{number}");
        }
        assert_eq!(chain(vec![refuse(3, 1)]), refuse(3, 1));
        assert!(chain(Vec::new()).is_empty());
    }

    #[test]
    fn a_small_list_allows_what_it_names_and_nothing_else() {
        let filter = only(Architecture::Aarch64, &[3, 5], 1);
        let native = Architecture::Aarch64.audit_number();
        assert_eq!(run(&filter, &call(3, native)), RETURN_ALLOW);
        assert_eq!(run(&filter, &call(5, native)), RETURN_ALLOW);
        assert_eq!(run(&filter, &call(4, native)), RETURN_ERRNO | 1);
        assert_eq!(
            run(&filter, &call(3, Architecture::X86_64.audit_number())),
            RETURN_KILL_PROCESS
        );
    }
}
