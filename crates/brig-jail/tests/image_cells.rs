//! Cells on an image of a store, made by a real keeper: as root, with subordinate uids, and bare.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "a test program"
)]

mod support;

use brig_jail::keeper::KeeperConfig;
use brig_jail::protocol::{ImageDigest, Level, MainExit, UidKind};
use brig_jail::remedy::{self, HostSigns, item};
use brig_jail::stage::{SetupFailure, Stage};
use libtest_mimic::{Arguments, Trial};
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use support::{Keeper, Outcome, SECOND, be_keeper_if_asked, config, is_root, seen_or_skipped, skip, small};
use tempfile::TempDir;

fn main() -> ExitCode {
    if let Some(code) = be_keeper_if_asked() {
        return code;
    }
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit_code()
}

macro_rules! trials {
    ($($name:ident),+ $(,)?) => {
        vec![$(Trial::ignorable_test(stringify!($name), || seen_or_skipped($name))),+]
    };
}

fn trials() -> Vec<Trial> {
    trials![
        a_cell_of_an_image_sees_the_images_files_and_nothing_of_the_host,
        every_mount_of_an_image_is_read_only_without_devices_and_set_user_id,
        links_at_the_top_of_an_image_are_there,
        what_every_cell_has_of_its_own_is_its_own_whatever_the_image_brings,
        the_program_holds_no_way_back_into_the_store,
        cells_of_the_host_and_of_images_stand_side_by_side,
        a_spare_of_another_image_is_never_handed_over,
        an_image_that_was_removed_is_refused_and_one_that_was_made_is_found,
        an_image_that_others_can_change_is_refused_with_the_remedy,
        a_root_without_the_program_ends_as_command_not_found,
        an_image_in_a_closed_home_works_with_subordinate_uids,
        an_image_in_a_closed_home_works_bare,
    ]
}

const DIGEST: [u8; 32] = [0x5a; 32];
const IMAGE: ImageDigest = ImageDigest(DIGEST);

/// A store with one image: a few commands and the libraries that they need, found as a loader finds them.
struct Store {
    place: TempDir,
}

impl Store {
    fn new() -> Store {
        Store::below(Path::new("/var/tmp"))
    }

    fn below(above: &Path) -> Store {
        let place = tempfile::tempdir_in(above).unwrap();
        let store = Store { place };
        let root = store.root(&DIGEST);
        for command in [
            "/bin/sh",
            "/bin/cat",
            "/bin/ls",
            "/bin/sleep",
            "/bin/readlink",
            "/bin/mkdir",
        ] {
            install(&root, Path::new(command));
        }
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/passwd"), "of-the-image:x:1:1::/:/bin/sh\n").unwrap();
        std::fs::create_dir(root.join("opt")).unwrap();
        symlink("opt", root.join("link")).unwrap();
        store.open_up(&DIGEST);
        store
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("images")
    }

    fn root(&self, digest: &[u8; 32]) -> PathBuf {
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let root = self.directory().join("roots").join(name);
        std::fs::create_dir_all(&root).unwrap();
        root
    }

    /// As a builder leaves it.
    fn open_up(&self, digest: &[u8; 32]) {
        for path in [
            self.directory(),
            self.directory().join("roots"),
            self.root(digest),
        ] {
            set_mode(&path, 0o755);
        }
    }

    fn config(&self, name: &str) -> KeeperConfig {
        let mut config = config(name);
        config.images = vec![self.directory()];
        config
    }

    fn keeper(&self, name: &str) -> Keeper {
        Keeper::start(&self.config(name))
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Copies a program and its libraries, each to the path by which it is looked for.
fn install(root: &Path, program: &Path) {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let mut files: BTreeSet<PathBuf> = libraries.map(PathBuf::from).collect();
    files.insert(program.to_owned());
    for file in files {
        let target = root.join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}

/// A whole job on the image.
fn job(keeper: &mut Keeper, script: &str) -> Outcome {
    let mut cell = keeper.open_image(IMAGE, Level::Workstation, small()).unwrap();
    keeper.begin(&mut cell, &["/bin/sh", "-c", script], 20 * SECOND, 20 * SECOND);
    keeper.finish(cell)
}

fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.stdout.lines().collect()
}

fn a_cell_of_an_image_sees_the_images_files_and_nothing_of_the_host() {
    let store = Store::new();
    let mut keeper = store.keeper("image-sees");
    let outcome = job(&mut keeper, "cat /etc/passwd; ls / ; ls /usr /home /etc/hostname");
    let mut seen = lines(&outcome);
    assert_eq!(seen.remove(0), "of-the-image:x:1:1::/:/bin/sh");
    for own in [
        "bin",
        "dev",
        "etc",
        "lib",
        "link",
        "opt",
        "proc",
        "tmp",
        "workspace",
    ] {
        assert!(seen.contains(&own), "{own}: {seen:?}");
    }
    for foreign in ["usr", "home", "root", "var", "run", "sys", ".old"] {
        assert!(!seen.contains(&foreign), "{foreign}: {seen:?}");
    }
    assert_eq!(
        outcome.stderr.matches("No such file").count(),
        3,
        "{}",
        outcome.stderr
    );
}

fn every_mount_of_an_image_is_read_only_without_devices_and_set_user_id() {
    let store = Store::new();
    let mut keeper = store.keeper("image-mounts");
    let outcome = job(
        &mut keeper,
        "cat /proc/self/mountinfo; mkdir /etc/x /opt/x /x 2>/dev/null || echo refused",
    );
    let mounts: Vec<Vec<&str>> = lines(&outcome)
        .iter()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for place in ["/bin", "/etc", "/lib", "/opt"] {
        let found: Vec<&Vec<&str>> = mounts
            .iter()
            .filter(|mount| mount.get(4) == Some(&place))
            .collect();
        assert_eq!(found.len(), 1, "{place}: {}", outcome.stdout);
        let options: Vec<&str> = found[0][5].split(',').collect();
        for option in ["ro", "nosuid", "nodev"] {
            assert!(options.contains(&option), "{place}: {options:?}");
        }
    }
    assert_eq!(lines(&outcome).last(), Some(&"refused"));
}

fn links_at_the_top_of_an_image_are_there() {
    let store = Store::new();
    let mut keeper = store.keeper("image-links");
    assert_eq!(job(&mut keeper, "readlink /link").stdout, "opt\n");
}

fn what_every_cell_has_of_its_own_is_its_own_whatever_the_image_brings() {
    let store = Store::new();
    let root = store.root(&DIGEST);
    for own in ["tmp", "dev", "proc", "workspace", "sys", "run", ".old"] {
        std::fs::create_dir_all(root.join(own)).unwrap();
        std::fs::write(root.join(own).join("of-the-image"), b"").unwrap();
    }
    let mut keeper = store.keeper("image-own");
    let outcome = job(
        &mut keeper,
        "for d in tmp dev proc workspace sys run .old; do [ -e /$d/of-the-image ] && echo $d; done; \
         echo x > /tmp/x && echo y > /workspace/y && echo > /dev/null && [ -r /proc/self/status ] && echo fine",
    );
    assert_eq!(lines(&outcome), ["fine"], "{}", outcome.stderr);
}

/// PID 1 starts in the root of the image, in the old tree of mounts. Neither it nor the program may still be there.
fn the_program_holds_no_way_back_into_the_store() {
    let store = Store::new();
    let mut keeper = store.keeper("image-back");
    let outcome = job(
        &mut keeper,
        "readlink /proc/self/cwd /proc/self/root; ls -l /proc/self/fd; cat /proc/self/mountinfo",
    );
    assert_eq!(lines(&outcome)[..2], ["/workspace", "/"]);
    let place = store
        .place
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let without_mounts: String = outcome
        .stdout
        .lines()
        .filter(|line| !line.contains(" - "))
        .collect();
    assert!(!without_mounts.contains(&place), "{}", outcome.stdout);
    // A complete cell that waits for its program, seen from outside.
    let cell = keeper.open_image(IMAGE, Level::Workstation, small()).unwrap();
    let mut seen = Vec::new();
    for init in support::residue::children(keeper.child.id()) {
        let stub = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
        for process in [init.to_string()]
            .into_iter()
            .chain(stub.split_whitespace().map(str::to_owned))
        {
            seen.extend(std::fs::read_link(format!("/proc/{process}/cwd")));
        }
    }
    if !is_root() {
        skip("only root may look at a cell's processes");
    }
    assert!(seen.len() >= 2, "{seen:?}");
    assert!(
        seen.iter().all(|directory| directory == Path::new("/")),
        "{seen:?}"
    );
    drop(cell);
}

fn cells_of_the_host_and_of_images_stand_side_by_side() {
    let store = Store::new();
    let mut keeper = store.keeper("image-both");
    for _ in 0..3 {
        assert_eq!(job(&mut keeper, "ls -d /usr").stdout, "");
        let mut host = keeper.open_at(Level::Workstation, small()).unwrap();
        keeper.begin(&mut host, &["/bin/ls", "-d", "/usr"], 20 * SECOND, 0);
        assert_eq!(keeper.finish(host).stdout, "/usr\n");
    }
}

fn a_spare_of_another_image_is_never_handed_over() {
    let store = Store::new();
    let mut config = store.config("image-spare");
    config.spares = 1;
    config.prewarm = Some((IMAGE, Level::Workstation, small()));
    let mut keeper = Keeper::start(&config);
    keeper.await_spare();
    let host = keeper.open_at(Level::Workstation, small()).unwrap();
    assert!(!host.receipt.prepared);
    let mut image = keeper.open_image(IMAGE, Level::Workstation, small()).unwrap();
    assert!(image.receipt.prepared);
    keeper.begin(
        &mut image,
        &["/bin/sh", "-c", "ls -d /usr || cat /etc/passwd"],
        20 * SECOND,
        0,
    );
    assert_eq!(keeper.finish(image).stdout, "of-the-image:x:1:1::/:/bin/sh\n");
}

fn refused(errno: i32) -> SetupFailure {
    SetupFailure {
        stage: Stage::Request,
        item: item::UNKNOWN_IMAGE,
        errno,
    }
}

fn an_image_that_was_removed_is_refused_and_one_that_was_made_is_found() {
    let store = Store::new();
    let mut keeper = store.keeper("image-gone");
    job(&mut keeper, "true");
    let aside = store.directory().join("aside");
    std::fs::rename(store.root(&DIGEST), &aside).unwrap();
    let failure = keeper
        .open_image(IMAGE, Level::Workstation, small())
        .err()
        .unwrap();
    assert_eq!(failure, refused(libc::ENOENT));
    let remedy = remedy::for_failure(&failure, &HostSigns::default()).unwrap();
    assert!(remedy.fix.contains("brig image build"), "{remedy:?}");
    // The keeper goes on, and finds what was made meanwhile.
    std::fs::rename(&aside, store.directory().join("roots").join("5a".repeat(32))).unwrap();
    assert_eq!(job(&mut keeper, "echo again").stdout, "again\n");
}

fn an_image_that_others_can_change_is_refused_with_the_remedy() {
    let store = Store::new();
    let mut keeper = store.keeper("image-shared");
    set_mode(&store.directory().join("roots"), 0o777);
    let failure = keeper
        .open_image(IMAGE, Level::Workstation, small())
        .err()
        .unwrap();
    assert_eq!(failure, refused(libc::EPERM));
    let remedy = remedy::for_failure(&failure, &HostSigns::default()).unwrap();
    assert!(remedy.fix.contains("chmod"), "{remedy:?}");
}

fn a_root_without_the_program_ends_as_command_not_found() {
    let store = Store::new();
    let empty = [0x11; 32];
    std::fs::create_dir_all(store.root(&empty).join("usr")).unwrap();
    store.open_up(&empty);
    let mut keeper = store.keeper("image-empty");
    let mut cell = keeper
        .open_image(ImageDigest(empty), Level::Workstation, small())
        .unwrap();
    keeper.begin(&mut cell, &["/bin/sh"], 20 * SECOND, 0);
    assert_eq!(keeper.finish(cell).facts.main, MainExit::Exited(127));
}

/// The home of this user, which nobody else may enter, with a store in it; and the words that make a command that user's.
fn closed_home(user: &str) -> (TempDir, Store, [String; 5]) {
    if !is_root() {
        skip("becoming another user takes root");
    }
    let known = Command::new("id").args(["-u", user]).output().unwrap();
    if !known.status.success() {
        skip("no users of the tests: tests/run makes them");
    }
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Store::below(home.path());
    for path in [home.path(), store.place.path()] {
        set_mode(path, 0o700);
    }
    let owned = Command::new("chown").args(["-R", user]).arg(home.path()).status();
    assert!(owned.unwrap().success());
    let become_user = [
        "setpriv",
        &format!("--reuid={user}"),
        &format!("--regid={user}"),
        "--init-groups",
        "--inh-caps=-all",
    ];
    (home, store, become_user.map(str::to_owned))
}

fn an_image_in_a_closed_home_works_with_subordinate_uids() {
    if !std::fs::read_to_string("/etc/subuid").is_ok_and(|text| text.contains("brig-sub:")) {
        skip("no user brig-sub with subordinate ids: tests/run makes it");
    }
    let (_home, store, user) = closed_home("brig-sub");
    works_as(&store, &store.config("image-sub"), &user, UidKind::Subordinate);
}

fn an_image_in_a_closed_home_works_bare() {
    let (_home, store, user) = closed_home("brig-bare");
    works_as(&store, &store.config("image-bare"), &user, UidKind::Own);
}

fn works_as(store: &Store, config: &KeeperConfig, user: &[String], kind: UidKind) {
    let user: Vec<&str> = user.iter().map(String::as_str).collect();
    let mut keeper = Keeper::start_as(config, &user);
    let mut cell = keeper.open_image(IMAGE, Level::Workstation, small()).unwrap();
    assert_eq!(cell.receipt.uid_kind, kind);
    let script = "cat /etc/passwd; ls -d /usr /home; echo x > /etc/passwd; ls /workspace";
    keeper.begin(&mut cell, &["/bin/sh", "-c", script], 20 * SECOND, 0);
    let outcome = keeper.finish(cell);
    assert_eq!(
        outcome.stdout, "of-the-image:x:1:1::/:/bin/sh\n",
        "{}",
        outcome.stderr
    );
    let passwd = std::fs::read_to_string(store.root(&DIGEST).join("etc/passwd")).unwrap();
    assert_eq!(passwd, "of-the-image:x:1:1::/:/bin/sh\n");
}
