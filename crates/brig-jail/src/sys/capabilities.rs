//! The capabilities of the calling thread: one interface for the keeper, the daemon, PID 1 and the program.

use libc::{c_int, c_ulong};
use nix::errno::Errno;

/// The effective, permitted and inheritable sets, a bit per capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
}

impl Sets {
    /// No capability.
    pub(crate) const NONE: Sets = Sets {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
}

/// SECBIT_NOROOT, NO_SETUID_FIXUP, (KEEP_CAPS stays off) and NO_CAP_AMBIENT_RAISE, each with its lock, and the
/// lock of KEEP_CAPS: no later change of ids gives a capability, and nobody can change that.
pub(crate) const SECUREBITS_LOCKED: c_ulong = 0b1110_1111;

/// No kernel has more capabilities than the sets have bits.
const CAPABILITIES: u8 = 64;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// Half of the sets: the kernel's version 3 has two of 32 bits each, the lower one first.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const fn of_this_thread() -> Header {
    Header {
        version: VERSION_3,
        pid: 0,
    }
}

/// The sets as they are.
pub(crate) fn get() -> nix::Result<Sets> {
    let mut header = of_this_thread();
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 writes exactly two halves; header and array are live, writable and of the kernel's layout.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    Errno::result(result)?;
    let [low, high] = halves;
    let join = |of: fn(Half) -> u32| u64::from(of(high)) << 32 | u64::from(of(low));
    Ok(Sets {
        effective: join(|half| half.effective),
        permitted: join(|half| half.permitted),
        inheritable: join(|half| half.inheritable),
    })
}

/// Replaces the three sets.
pub(crate) fn set(sets: Sets) -> nix::Result<()> {
    let mut header = of_this_thread();
    let part = |set: u64, shift: u32| u32::try_from(set >> shift & u64::from(u32::MAX)).unwrap_or(0);
    let halves = [0, 32].map(|shift| Half {
        effective: part(sets.effective, shift),
        permitted: part(sets.permitted, shift),
        inheritable: part(sets.inheritable, shift),
    });
    // SAFETY: version 3 reads exactly two halves; header and array are of the kernel's layout and live for the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Empties the ambient set.
pub(crate) fn clear_ambient() -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, [number(libc::PR_CAP_AMBIENT_CLEAR_ALL), 0])
}

/// Takes everything but `kept` (a bit per capability) out of the bounding set.
pub(crate) fn limit_bounding(kept: u64) -> nix::Result<()> {
    for capability in (0..CAPABILITIES).filter(|capability| kept & (1 << capability) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, [capability.into(), 0]) {
            Ok(()) => {}
            // Beyond the last one of this kernel.
            Err(Errno::EINVAL) if capability > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets and locks [`SECUREBITS_LOCKED`].
pub(crate) fn lock_securebits() -> nix::Result<()> {
    prctl(libc::PR_SET_SECUREBITS, [SECUREBITS_LOCKED, 0])
}

/// Makes every capability that this process has survive the next exec of a plain file by a uid that is not 0.
pub(crate) fn keep_over_exec() -> nix::Result<()> {
    let mut sets = get()?;
    sets.inheritable = sets.permitted;
    set(sets)?;
    for capability in (0..CAPABILITIES).filter(|capability| sets.permitted & (1 << capability) != 0) {
        prctl(
            libc::PR_CAP_AMBIENT,
            [number(libc::PR_CAP_AMBIENT_RAISE), capability.into()],
        )?;
    }
    Ok(())
}

fn number(option: c_int) -> c_ulong {
    c_ulong::try_from(option).unwrap_or_default()
}

fn prctl(option: c_int, [second, third]: [c_ulong; 2]) -> nix::Result<()> {
    // SAFETY: private to this file; every caller passes an option whose arguments are plain numbers, so the kernel
    // follows no pointer.
    let result = unsafe { libc::prctl(option, second, third, 0 as c_ulong, 0 as c_ulong) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_securebit_is_locked_and_keep_caps_is_off() {
        let (noroot, no_fixup, keep_caps, no_ambient) = (1, 1 << 2, 1 << 4, 1 << 6);
        assert_eq!(SECUREBITS_LOCKED & keep_caps, 0);
        for bit in [noroot, no_fixup, no_ambient] {
            assert_eq!(SECUREBITS_LOCKED & bit, bit);
        }
        for bit in [noroot, no_fixup, keep_caps, no_ambient] {
            assert_eq!(SECUREBITS_LOCKED & (bit << 1), bit << 1, "the lock of {bit:#x}");
        }
    }

    #[test]
    fn sets_read_are_what_the_kernel_shows() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let shown = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        let sets = get().unwrap();
        assert_eq!(
            [sets.effective, sets.permitted, sets.inheritable],
            ["CapEff:", "CapPrm:", "CapInh:"].map(shown)
        );
        // Writing what is there changes nothing, and both halves have to be right for the kernel to take it.
        set(sets).unwrap();
        assert_eq!(get().unwrap(), sets);
    }
}
