//! The wire in the runtime, against a container that the test plays.

use super::*;
use brig_jail::container::wire::{Ended, Killed, Main, Seal, Up, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

const SEAL: Seal = Seal::from_number(5);
const ENDED: Ended = Ended {
    main: Main::Exited(3),
    killed: Killed::No,
    wall_nanos: 1,
    cpu_nanos: 1,
    leftovers_killed: 0,
};

fn said(seal: Seal, frames: &[Up]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.encode(seal, &mut out));
    out
}

fn hello() -> Up {
    Up::Hello {
        version: VERSION,
        posture: Posture {
            seccomp_mode: 2,
            init_closed: true,
            program_first_out: true,
        },
    }
}

fn data(channel: UpChannel, bytes: Vec<u8>) -> Up {
    Up::Data { channel, bytes }
}

/// A wire, the container's end of its socket, and the task that moves bytes.
fn wire() -> (Arc<Wire>, UnixStream, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let wire = Wire::new();
    #[expect(clippy::disallowed_methods, reason = "a test")]
    let task = tokio::spawn(Arc::clone(&wire).carry(ours));
    (wire, theirs, task)
}

async fn started() -> (Arc<Wire>, UnixStream, JoinHandle<()>) {
    let (wire, mut container, task) = wire();
    container.write_all(&said(Seal::NONE, &[hello()])).await.unwrap();
    assert!(wire.greeted().await.unwrap().init_closed);
    wire.start(Start {
        wall_nanos: 0,
        cpu_nanos: 0,
        lease_nanos: 0,
        file_size_bytes: 0,
        open_files: 0,
        seal: SEAL,
    });
    container.write_all(&said(SEAL, &[Up::Started])).await.unwrap();
    (wire, container, task)
}

#[tokio::test]
async fn a_reader_that_stalls_delays_no_other_channel_and_gets_everything_in_the_end() {
    let (wire, mut container, _task) = started().await;
    let (mut stdout, mut stderr) = (wire.reader(UpChannel::Stdout), wire.reader(UpChannel::Stderr));
    // A whole window that nobody reads, and behind it the rest of a job.
    let big = vec![b'x'; 256 * 1024];
    let all = [
        data(UpChannel::Stdout, big.clone()),
        data(UpChannel::Stderr, b"now".to_vec()),
        Up::Eof(UpChannel::Stdout),
        Up::Eof(UpChannel::Stderr),
        Up::Eof(UpChannel::Runner),
        Up::Ended(ENDED),
    ];
    container.write_all(&said(SEAL, &all)).await.unwrap();
    let mut told = String::new();
    stderr.read_to_string(&mut told).await.unwrap();
    assert_eq!(told, "now");
    assert_eq!(wire.ended().await, Ok(End::Ended(ENDED)));
    let mut late = Vec::new();
    stdout.read_to_end(&mut late).await.unwrap();
    assert!(late == big);
}

#[tokio::test]
async fn nonsense_ends_the_cell_for_everyone_who_waits_and_what_was_said_before_it_is_not_believed() {
    let (wire, mut container, task) = started().await;
    let (mut stdout, mut stdin) = (wire.reader(UpChannel::Stdout), wire.writer(DownChannel::Stdin));
    let ends = [UpChannel::Stdout, UpChannel::Stderr, UpChannel::Runner].map(Up::Eof);
    let claim = said(SEAL, &[ends.as_slice(), &[Up::Ended(ENDED)]].concat());
    container.write_all(&claim).await.unwrap();
    container.write_all(&[0xff; 64]).await.unwrap();
    task.await.unwrap();
    assert!(matches!(wire.ended().await, Err(Broken::Nonsense(_))));
    assert_eq!(stdout.read(&mut [0; 9]).await.unwrap(), 0);
    assert_eq!(
        stdin.write(b"x").await.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    assert!(matches!(wire.open_files().await, Err(Broken::Nonsense(_))));
}

#[tokio::test]
async fn the_end_of_the_stream_is_heard_by_everyone_who_waits() {
    let (wire, container, task) = started().await;
    let mut stdout = wire.reader(UpChannel::Stdout);
    let mut buffer = [0; 9];
    let waiting = async { tokio::join!(stdout.read(&mut buffer), wire.ended()) };
    let ((read, ended), ()) = tokio::join!(waiting, async { drop(container) });
    assert_eq!((read.unwrap(), ended), (0, Err(Broken::Ended)));
    task.await.unwrap();
    // The same where the task is given up.
    let (wire, _container, task) = started().await;
    task.abort();
    assert_eq!(wire.ended().await, Err(Broken::Ended));
}

#[tokio::test]
async fn a_container_that_takes_nothing_holds_up_its_writer_and_no_order() {
    let (wire, mut container, _task) = started().await;
    let mut stdin = wire.writer(DownChannel::Stdin);
    let endless = async {
        loop {
            stdin.write_all(&[b'x'; 4_096]).await.unwrap();
        }
    };
    let full = tokio::time::timeout(Duration::from_millis(300), endless).await;
    assert!(full.is_err());
    wire.renew(9);
    let ends = [UpChannel::Stdout, UpChannel::Stderr, UpChannel::Runner].map(Up::Eof);
    let over = said(SEAL, &[ends.as_slice(), &[Up::Ended(ENDED)]].concat());
    container.write_all(&over).await.unwrap();
    assert_eq!(wire.ended().await, Ok(End::Ended(ENDED)));
}
