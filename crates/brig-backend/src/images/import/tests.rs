use super::*;
use ::tar::{Builder, EntryType, Header};
use sha2::{Digest as _, Sha256};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

mod layers;

#[derive(Debug)]
struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
    fn line(&self, _line: &str) {}
    fn bytes(&self, _done: u64, _of: u64) {}
}

/// An entry as its archive has it: kind, path, link or content.
#[derive(Clone, Copy)]
enum Put<'a> {
    File(&'a str, &'a str),
    Mode(&'a str, u32),
    Directory(&'a str),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Special(EntryType, &'a str),
    /// A header that promises a size, with the bytes that are there.
    Sized(&'a str, u64),
}

use Put::File as Plain;
use Put::{Directory, Hard, Link, Mode, Sized, Special};

/// A tar archive that says exactly this: no path is made harmless on the way in.
fn archive(entries: &[Put]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for put in entries {
        let (kind, path, link, content, size, mode) = match *put {
            Plain(path, content) => (EntryType::Regular, path, "", content, content.len() as u64, 0o644),
            Mode(path, mode) => (EntryType::Regular, path, "", "x", 1, mode),
            Directory(path) => (EntryType::Directory, path, "", "", 0, 0o755),
            Link(path, link) => (EntryType::Symlink, path, link, "", 0, 0o777),
            Hard(path, link) => (EntryType::Link, path, link, "", 0, 0o644),
            Special(kind, path) => (kind, path, "", "", 0, 0o666),
            Sized(path, size) => (EntryType::Regular, path, "", "", size, 0o644),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `docker save` writes for these layers.
fn saved(layers: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("sha256:{}", digest(layer)))
        .collect();
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux",
        "config": { "Env": ["PATH=/opt/bin:/usr/bin", "HOME=/root", "LANG=C.UTF-8", "9=x", "BAD NAME=x"] },
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let names: Vec<String> = (0..layers.len())
        .map(|number| format!("{number}/layer.tar"))
        .collect();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["registry/team/small:1"], "Layers": names }]);
    for (name, layer) in names.iter().zip(layers) {
        put(name, layer);
    }
    put("config.json", config.to_string().as_bytes());
    put("manifest.json", manifest.to_string().as_bytes());
    builder.into_inner().unwrap()
}

fn request(bytes: &[u8]) -> ImportRequest {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    ImportRequest {
        archive: file,
        origin: "archive".to_owned(),
        name: None,
        python: None,
        bounds: Bounds::default(),
    }
}

/// A place with a host's files beside the directory into which archives are unpacked.
struct Place {
    place: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("host")).unwrap();
        std::fs::write(place.path().join("host/secret"), "the host's").unwrap();
        Self { place }
    }

    fn host(&self) -> PathBuf {
        self.place.path().join("host")
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, ImportError> {
        self.unpack_within(bytes, Bounds::default())
    }

    fn unpack_within(&self, bytes: &[u8], bounds: Bounds) -> Result<Unpacked, ImportError> {
        super::super::beneath::remove(&self.root()).unwrap();
        std::fs::create_dir(self.root()).unwrap();
        let unpacked = unpack(
            &ImportRequest {
                bounds,
                ..request(bytes)
            },
            &self.root(),
            &Silent,
        );
        let left: Vec<_> = std::fs::read_dir(self.place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "nothing beside the root: {left:?}");
        assert_eq!(std::fs::read_dir(self.host()).unwrap().count(), 1);
        assert_eq!(
            std::fs::read_to_string(self.host().join("secret")).unwrap(),
            "the host's"
        );
        unpacked
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root().join(path)).ok()
    }
}

#[test]
fn a_path_that_leads_out_is_refused_by_name() {
    let place = Place::new();
    for path in ["../host/new", "a/../../host/new", "/../host/new", ".."] {
        for entry in [Plain(path, "x"), Directory(path), Link(path, "x")] {
            let error = place.unpack(&archive(&[entry])).unwrap_err().to_string();
            assert!(error.contains("leads out") && error.contains(path), "{error}");
        }
    }
}

#[test]
fn a_path_through_a_link_stays_inside() {
    let place = Place::new();
    let host = place.host();
    let host = host.to_str().unwrap();
    for target in [host, "../host", "../../../../../../../../host"] {
        let hostile = [
            Link("way", target),
            Plain("way/secret", "x"),
            Directory("way/new"),
        ];
        place.unpack(&archive(&hostile)).unwrap();
        let meant = if target == host { host } else { "host" };
        assert_eq!(
            place
                .read(&format!("{}/secret", meant.trim_start_matches('/')))
                .as_deref(),
            Some("x"),
            "{target}"
        );
    }
    // The link is made after everything else, so it replaces nothing that was written through it.
    let late = [Directory("d"), Plain("d/f", "x"), Link("d", host)];
    place.unpack(&archive(&late)).unwrap();
    assert!(
        std::fs::symlink_metadata(place.root().join("d"))
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn links_in_a_circle_and_deep_trees_are_refused() {
    let place = Place::new();
    let circle = place
        .unpack(&archive(&[Link("a", "b"), Link("b", "a"), Plain("a/x", "x")]))
        .unwrap_err();
    assert!(circle.to_string().contains("too many links"), "{circle}");
    let deep = "d/".repeat(45);
    let mut entries = vec![Link("l0", &deep)];
    let names: Vec<(String, String)> = (1..4)
        .map(|n| (format!("l{n}"), format!("l{}/{}", n - 1, "e/".repeat(40))))
        .collect();
    for (name, target) in &names {
        entries.push(Link(name, target));
    }
    entries.push(Plain("l3/x", "x"));
    let error = place.unpack(&archive(&entries)).unwrap_err();
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[test]
fn a_hard_link_names_a_file_of_the_image_or_nothing() {
    let place = Place::new();
    let secret = place.host().join("secret");
    for target in [secret.to_str().unwrap(), "../host/secret", "missing", "d", ""] {
        let error = place
            .unpack(&archive(&[Directory("d"), Hard("stolen", target)]))
            .unwrap_err();
        assert!(matches!(error, ImportError::Refused { .. }), "{target}: {error}");
    }
    // Through a link to the host: the path is meant inside, where there is nothing.
    let host = place.host();
    let through = [Link("way", host.to_str().unwrap()), Hard("stolen", "way/secret")];
    assert!(place.unpack(&archive(&through)).is_err());
    // A second name of a link is a link, not what it points to.
    place
        .unpack(&archive(&[Link("l", secret.to_str().unwrap()), Hard("m", "l")]))
        .unwrap();
    assert!(
        std::fs::symlink_metadata(place.root().join("m"))
            .unwrap()
            .is_symlink()
    );
    place
        .unpack(&archive(&[Plain("a", "x"), Hard("b/c", "/a"), Plain("a", "new")]))
        .unwrap();
    assert_eq!(
        (place.read("a").as_deref(), place.read("b/c").as_deref()),
        (Some("new"), Some("x"))
    );
}

#[test]
fn devices_pipes_setuid_bits_and_owners_are_not_taken() {
    let place = Place::new();
    let entries = [
        Special(EntryType::Char, "dev/mem"),
        Special(EntryType::Block, "disk"),
        Special(EntryType::Fifo, "pipe"),
        Mode("bin/su", 0o4755),
        Mode("bin/wall", 0o2711),
        Mode("note", 0o1666),
    ];
    let unpacked = place.unpack(&archive(&entries)).unwrap();
    assert_eq!(unpacked.left_out, 3);
    for path in ["dev/mem", "disk", "pipe"] {
        assert!(!place.root().join(path).exists(), "{path}");
    }
    for (path, mode) in [("bin/su", 0o755), ("bin/wall", 0o755), ("note", 0o644)] {
        let found = std::fs::metadata(place.root().join(path)).unwrap();
        assert_eq!(
            found.permissions().mode() & 0o7777 & !0o022,
            mode & !0o022,
            "{path}"
        );
        assert_eq!(found.uid(), nix::unistd::geteuid().as_raw());
    }
}

#[test]
fn sizes_are_bounded_by_what_is_there_and_not_by_what_is_said() {
    let place = Place::new();
    let small = Bounds {
        bytes: 1_000,
        entries: 20,
    };
    let long = "x".repeat(600);
    let error = place
        .unpack_within(&archive(&[Plain("a", &long), Plain("b", &long)]), small)
        .unwrap_err();
    assert!(
        matches!(error, ImportError::TooLarge { most: 1_000, .. }),
        "{error}"
    );
    let promised = place.unpack(&archive(&[Sized("a", 8 << 40)])).unwrap_err();
    assert!(matches!(promised, ImportError::Broken(_)), "{promised}");
    let names: Vec<String> = (0..30).map(|number| format!("f{number}")).collect();
    let many: Vec<Put> = names.iter().map(|name| Directory(name)).collect();
    let error = place.unpack_within(&archive(&many), small).unwrap_err();
    assert!(matches!(error, ImportError::TooLarge { most: 20, .. }), "{error}");
    let deep = "d/".repeat(30);
    let error = place
        .unpack_within(&archive(&[Directory(&deep)]), small)
        .unwrap_err();
    assert!(
        matches!(error, ImportError::TooLarge { .. }),
        "directories above count, too: {error}"
    );
}

#[test]
fn a_compressed_bomb_ends_at_the_bound() {
    let place = Place::new();
    #[expect(clippy::disallowed_methods, reason = "a test")]
    let mut gzip = std::process::Command::new("gzip")
        .arg("-1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&vec![0; 64 << 20]).unwrap());
    let bomb = gzip.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    assert!(bomb.len() < 1 << 20);
    let bounds = Bounds {
        bytes: 1 << 20,
        entries: 100,
    };
    let error = place.unpack_within(&bomb, bounds).unwrap_err();
    assert!(matches!(error, ImportError::TooLarge { .. }), "{error}");
    // The same inside: a packed layer whose digest nobody gets to count.
    let mut layered = saved(&[archive(&[Plain("a", "x")])]);
    assert!(place.unpack(&layered).is_ok());
    layered = saved(&[bomb]);
    let error = place.unpack_within(&layered, bounds).unwrap_err();
    assert!(matches!(error, ImportError::TooLarge { .. }), "{error}");
}

#[test]
fn a_name_that_would_fill_the_memory_is_refused_before_it_is_read() {
    let place = Place::new();
    for kind in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 20);
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        builder.append(&header, vec![b'a'; 1 << 20].as_slice()).unwrap();
        let error = place.unpack(&builder.into_inner().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("longer than any path"),
            "{kind:?}: {error}"
        );
    }
}
