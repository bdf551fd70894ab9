//! A seccomp filter with a listener, as a container engine may have installed it: a chain of filters takes only one.

use nix::errno::Errno;

/// Allows everything, and occupies the listener.
pub fn install() {
    nix::sys::prctl::set_no_new_privs().unwrap();
    let mut allow = libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut allow,
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: `program` points to one live instruction, which the kernel copies; it writes nothing.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    // Never closed: the listener has to live as long as this process.
    Errno::result(listener).unwrap();
}
