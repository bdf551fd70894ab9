//! The actor against a socket whose other end is the test.

use super::*;
use brig_jail::client::keeper_socketpair;
use brig_jail::stage::Stage;

fn limits() -> CellLimits {
    crate::jail::cell_limits(&brig_core::limits::LimitsPolicy::default().default)
}

#[tokio::test]
async fn the_death_of_the_keeper_reaches_every_waiter() {
    let (keeper_end, daemon_end) = keeper_socketpair().unwrap();
    let keeper = Keeper::start(KeeperLink::new(daemon_end), &TaskTracker::new()).unwrap();
    let asking = keeper.open(ImageDigest::HOST, Level::Strict, Network::None, limits());
    let dying = async { drop(keeper_end) };
    let (answer, ()) = tokio::join!(asking, dying);
    assert_eq!(answer.unwrap_err(), KeeperRefusal::Lost);
    keeper.lost().await;
    let again = keeper
        .open(ImageDigest::HOST, Level::Strict, Network::None, limits())
        .await;
    assert_eq!(again.unwrap_err(), KeeperRefusal::Lost);
}

#[tokio::test]
async fn the_link_is_closed_with_the_last_handle() {
    let (keeper_end, daemon_end) = keeper_socketpair().unwrap();
    let keeper = Keeper::start(KeeperLink::new(daemon_end), &TaskTracker::new()).unwrap();
    let clone = keeper.clone();
    drop(keeper);
    clone.post(Request::Drain);
    drop(clone);
    let socket = std::os::unix::net::UnixStream::from(keeper_end);
    let mut socket = tokio::net::UnixStream::from_std(socket).unwrap();
    let mut bytes = [0; 1_024];
    assert!(
        tokio::io::AsyncReadExt::read(&mut socket, &mut bytes)
            .await
            .unwrap()
            > 0
    );
    assert_eq!(
        tokio::io::AsyncReadExt::read(&mut socket, &mut bytes)
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn answers_find_their_requests_whatever_their_order() {
    let (keeper_end, daemon_end) = keeper_socketpair().unwrap();
    let keeper = Keeper::start(KeeperLink::new(daemon_end), &TaskTracker::new()).unwrap();
    let open = |keeper: Keeper| async move {
        keeper
            .open(ImageDigest::HOST, Level::Strict, Network::None, limits())
            .await
    };
    let failure = |errno| SetupFailure {
        stage: Stage::Mount,
        item: 1,
        errno,
    };
    let answering = async {
        // Both requests are in the socket when the two futures were polled once.
        tokio::task::yield_now().await;
        for (request, errno) in [(2, 22), (1, 11)] {
            let reply = Reply::Failed {
                request,
                failure: failure(errno),
            };
            nix::unistd::write(&keeper_end, &reply.encode()).unwrap();
        }
    };
    let (first, second, ()) = tokio::join!(open(keeper.clone()), open(keeper.clone()), answering);
    assert_eq!(first.unwrap_err(), KeeperRefusal::Failed(failure(11)));
    assert_eq!(second.unwrap_err(), KeeperRefusal::Failed(failure(22)));
}
