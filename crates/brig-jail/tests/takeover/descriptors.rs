//! Descriptors that nobody asked for.

use crate::support::residue::{Residue, until_as_before};
use crate::support::{Keeper, SECOND, config, send_spec, skip, small};
use brig_jail::client::LinkError;
use brig_jail::protocol::{KillReason, Level, Request};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, UnixAddr, sendmsg, setsockopt, sockopt};
use std::fs::File;
use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A good request with these descriptors.
fn send_with(keeper: &Keeper, descriptors: &[RawFd]) -> nix::Result<()> {
    let record = Request::OpenFiles { request: 1, cell: 0 }.encode();
    let rights = [ControlMessage::ScmRights(descriptors)];
    let parts = [IoSlice::new(&record)];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<UnixAddr>(keeper.link.as_raw_fd(), &parts, &rights, flags, None).map(drop)
}

/// One of each kind.
fn kinds(keeper: &Keeper) -> Vec<OwnedFd> {
    let (read, write) = nix::unistd::pipe().unwrap();
    let own = |descriptor: BorrowedFd<'_>| descriptor.try_clone_to_owned().unwrap();
    vec![
        read,
        write,
        own(File::open("/").unwrap().as_fd()),
        own(File::open("/dev/null").unwrap().as_fd()),
        own(TcpListener::bind("127.0.0.1:0").unwrap().as_fd()),
        memfd_create(c"hostile", MFdFlags::empty()).unwrap(),
        own(keeper.link.as_fd()),
    ]
}

pub fn descriptors_with_a_request_are_not_kept() {
    for count in [1, 2, 7, 253] {
        let mut keeper = Keeper::start(&config("passed"));
        keeper.probe();
        let before = Residue::idle(&keeper);
        let kinds = kinds(&keeper);
        let descriptors: Vec<RawFd> = kinds.iter().map(AsRawFd::as_raw_fd).cycle().take(count).collect();
        match send_with(&keeper, &descriptors) {
            // This kernel lets a socket refuse descriptors, and nothing was sent.
            Err(Errno::EPERM) => {
                until_as_before(&keeper, &before, || {});
                keeper.probe();
            }
            Err(errno) => panic!("{count}: {errno}"),
            // Else one is closed unseen, and more are no request of this protocol.
            Ok(()) if count == 1 => {
                keeper.reply();
                until_as_before(&keeper, &before, || {});
            }
            Ok(()) => {
                assert!(matches!(
                    keeper.link.recv_within(Duration::from_secs(20)),
                    Err(LinkError::Closed)
                ));
                assert_eq!(keeper.child.wait().unwrap().code(), Some(70));
            }
        }
    }
}

/// A connection that waits long when it is closed: data that its peer never reads, and `SO_LINGER`.
fn slow_to_close() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (silent, _) = listener.accept().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.write(&[0; 65_536]).is_ok() {}
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 30,
    };
    sender.set_nonblocking(false).unwrap();
    setsockopt(&sender, sockopt::Linger, &linger).unwrap();
    (sender, silent)
}

pub fn a_descriptor_that_is_slow_to_close_delays_no_deadline() {
    let mut keeper = Keeper::start(&config("linger"));
    let mut cell = keeper.open_at(Level::Workstation, small()).unwrap();
    let (sender, silent) = slow_to_close();
    keeper.start_deadlines(&cell, SECOND, 60 * SECOND);
    send_spec(&mut cell, &["/bin/sleep", "60"]);
    let begun = Instant::now();
    let sent = send_with(&keeper, &[sender.as_raw_fd()]);
    if sent.is_ok() {
        // A kernel before 6.16. The daemon's own filter refuses `SO_LINGER` there: it cannot come this far.
        skip("this kernel cannot refuse descriptors; the daemon's own filter refuses SO_LINGER");
    }
    assert_eq!(sent, Err(Errno::EPERM));
    let peer: nix::Result<SockaddrIn> = nix::sys::socket::getpeername(sender.as_raw_fd());
    assert!(peer.is_ok());
    assert_eq!(keeper.await_end(cell.number).killed, Some(KillReason::WallTime));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    // Its peer first: the control arm of the claim that it is slow would take half a minute.
    drop(silent);
}
