//! Network: a cell has its own loopback and nothing else.

use super::{Arm, Check};
use crate::cell::Bench;
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N-01",
        title: "there is only a loopback interface",
        needs: &[],
        body: |bench| {
            let seen = bench.program("interfaces.py").go()?;
            seen.exited(0)?;
            ensure!(
                seen.saw("interfaces")? == "lo" && seen.saw("routes")? == "0",
                "{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("interfaces.py", &[])?;
            ensure!(
                seen.saw("interfaces")? != "lo",
                crate::skip::Skip::because("this host has only a loopback itself")
            );
            Ok(())
        }),
    },
    Check {
        id: "N-02",
        title: "nothing outside can be reached, and it fails at once",
        needs: &[],
        body: |bench| quick_refusals(bench, "connect_out.py"),
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("connect_out.py", &[])?;
            // A datagram needs no answer: where the host has a route, sending one works.
            let routed = ["udp 8.8.8.8:53", "udp 169.254.169.254:53"];
            let sent = routed.into_iter().any(|name| seen.reached(name).is_ok());
            ensure!(
                sent,
                crate::skip::Skip::because("this host has no route out itself")
            );
            Ok(())
        }),
    },
    Check {
        id: "N-03",
        title: "names are not resolved, and it fails at once",
        needs: &[],
        body: |bench| quick_refusals(bench, "resolve_names.py"),
        arm: Arm::Within,
    },
    Check {
        id: "N-04",
        title: "services on the host's loopback and sockets are out of reach",
        needs: &[],
        body: |bench| {
            let services = Services::open(bench)?;
            let seen = bench
                .program("reach_host_services.py")
                .args(&services.arguments())
                .go()?;
            seen.refused_everything_but(&[])?;
            ensure!(
                services.accepted() == 0,
                "a service of the host was reached{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let services = Services::open(bench)?;
            let seen = bench.outside("reach_host_services.py", &services.arguments())?;
            seen.reached("loopback")?
                .reached("unix path")?
                .reached("abstract")?;
            ensure!(services.accepted() >= 3, "connections were not counted");
            Ok(())
        }),
    },
    Check {
        id: "N-05",
        title: "metadata addresses are out of reach",
        needs: &[],
        body: |bench| {
            let seen = bench.program("connect_out.py").go()?;
            for address in [
                "tcp 169.254.169.254:80",
                "tcp6 [fd00:ec2::254]:80",
                "udp 169.254.169.254:53",
            ] {
                seen.refused(
                    address,
                    &["ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH", "EPERM", "EACCES"],
                )?;
            }
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "N-06",
        title: "two jobs use the same port at once",
        needs: &[],
        body: |bench| {
            let run = || bench.program("loopback_server.py").args(&["0.8"]).start();
            for one in [run()?, run()?] {
                let seen = one.report()?;
                seen.exited(0)?;
                ensure!(
                    seen.lines("SAW", "answer") == ["hello", "hello"],
                    "{}",
                    seen.told()
                );
            }
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "N-07",
        title: "raw and packet sockets and rare families are refused",
        needs: &[],
        body: |bench| {
            bench
                .program("raw_sockets.py")
                .go()?
                .refused_everything_but(&[])
                .map(drop)
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("raw_sockets.py", &[])?;
            seen.reached("raw icmp")?
                .reached("packet")?
                .reached("netlink kobject")
                .map(drop)
        }),
    },
];

fn quick_refusals(bench: &Bench, program: &str) -> Result<()> {
    let seen = bench.program(program).go()?;
    seen.refused_everything_but(&[])?;
    for line in seen.lines("SAW", "seconds") {
        let seconds: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
        ensure!(seconds < 1.0, "{line}: it hung{}", seen.told());
    }
    Ok(())
}

/// Services of the host that count who reaches them.
struct Services {
    accepted: Arc<AtomicU32>,
    port: String,
    path: String,
    name: String,
    _directory: tempfile::TempDir,
}

impl Services {
    fn open(bench: &Bench) -> Result<Self> {
        let accepted = Arc::new(AtomicU32::new(0));
        let directory = bench.stage.directory(bench.mode)?;
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let port = tcp.local_addr()?.port().to_string();
        let path = directory.path().join("service.sock").display().to_string();
        let unix = UnixListener::bind(&path)?;
        open_to_all(&path)?;
        let name = format!("brig-test-{}", bench.marker());
        let address = SocketAddr::from_abstract_name(&name).context("no abstract name")?;
        let hidden = UnixListener::bind_addr(&address)?;
        answer(&accepted, move || tcp.accept().map(|(stream, _)| stream));
        answer(&accepted, move || unix.accept().map(|(stream, _)| stream));
        answer(&accepted, move || hidden.accept().map(|(stream, _)| stream));
        Ok(Self {
            accepted,
            port,
            path,
            name,
            _directory: directory,
        })
    }

    fn arguments(&self) -> [&str; 3] {
        [&self.port, &self.path, &self.name]
    }

    fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn open_to_all(path: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(0o777),
    )?)
}

/// Greets every caller; the thread ends with the test program.
fn answer<S: Write>(accepted: &Arc<AtomicU32>, accept: impl Fn() -> std::io::Result<S> + Send + 'static) {
    let accepted = Arc::clone(accepted);
    std::thread::spawn(move || {
        while let Ok(mut stream) = accept() {
            accepted.fetch_add(1, Ordering::SeqCst);
            stream.write_all(b"reached").ok();
        }
    });
}
