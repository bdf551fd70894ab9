//! What layers make of each other, and what an archive says beside its files.

use super::*;

#[test]
fn whiteouts_take_away_what_lower_layers_put_there_and_nothing_else() {
    let place = Place::new();
    let lower = archive(&[
        Plain("etc/a", "1"),
        Plain("etc/b", "1"),
        Plain("opt/x/one", "1"),
        Plain("opt/x/two", "1"),
        Plain("gone/deep/file", "1"),
        Link("lib", "usr/lib"),
        Plain("usr/lib/old", "1"),
    ]);
    let upper = archive(&[
        Plain("etc/.wh.a", ""),
        Plain("opt/x/new", "2"),
        Plain("opt/x/.wh..wh..opq", ""),
        Plain("gone/deep/kept", "2"),
        Plain(".wh.gone", ""),
        Plain("lib/.wh.old", ""),
        Plain("lib/new", "2"),
        Plain(".wh.missing", ""),
        Plain(".wh..wh.plnk", ""),
    ]);
    place.unpack(&saved(&[lower, upper])).unwrap();
    for (path, content) in [
        ("etc/a", None),
        ("etc/b", Some("1")),
        ("opt/x/one", None),
        ("opt/x/new", Some("2")),
        ("gone/deep/file", None),
        ("gone/deep/kept", Some("2")),
        ("usr/lib/old", None),
        ("usr/lib/new", Some("2")),
    ] {
        assert_eq!(place.read(path).as_deref(), content, "{path}");
    }
    assert_eq!(
        std::fs::read_link(place.root().join("lib")).unwrap(),
        Path::new("usr/lib")
    );
    for name in [".wh.", ".wh..", ".wh..."] {
        let error = place.unpack(&saved(&[archive(&[Plain(name, "")])])).unwrap_err();
        assert!(matches!(error, ImportError::Refused { .. }), "{name}: {error}");
    }
    // In a plain archive they are names like any other.
    place
        .unpack(&archive(&[Plain("a", "1"), Plain(".wh.a", "2")]))
        .unwrap();
    assert_eq!(
        (place.read("a").as_deref(), place.read(".wh.a").as_deref()),
        (Some("1"), Some("2"))
    );
}

#[test]
fn a_later_entry_replaces_an_earlier_one_of_any_kind() {
    let place = Place::new();
    let lower = archive(&[
        Plain("a", "1"),
        Plain("b/c", "1"),
        Link("d", "b"),
        Plain("e", "1"),
    ]);
    let upper = archive(&[
        Directory("a"),
        Plain("a/x", "2"),
        Plain("b", "2"),
        Plain("d", "2"),
        Link("e", "a"),
    ]);
    place.unpack(&saved(&[lower, upper])).unwrap();
    assert_eq!(place.read("a/x").as_deref(), Some("2"));
    assert_eq!(place.read("b").as_deref(), Some("2"));
    assert_eq!(place.read("d").as_deref(), Some("2"));
    assert!(place.root().join("e").is_symlink());
    let below = place
        .unpack(&archive(&[Plain("f", "1"), Plain("f/x", "1")]))
        .unwrap_err();
    assert!(below.to_string().contains("below a file"), "{below}");
}

#[test]
fn an_archive_of_docker_save_brings_its_name_and_environment() {
    let place = Place::new();
    let unpacked = place.unpack(&saved(&[archive(&[Plain("a", "1")])])).unwrap();
    assert_eq!(unpacked.name.as_deref(), Some("small"));
    let env: Vec<(&str, &str)> = unpacked
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env, [("LANG", "C.UTF-8"), ("PATH", "/opt/bin:/usr/bin")]);
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_refused() {
    let place = Place::new();
    let layer = archive(&[Plain("a", "honest")]);
    let mut bytes = saved(&[layer]);
    let at = bytes.windows(6).position(|window| window == b"honest").unwrap();
    bytes[at] = b'H';
    let error = place.unpack(&bytes).unwrap_err().to_string();
    assert!(error.contains("has the digest"), "{error}");
}

#[test]
fn what_is_no_archive_is_refused() {
    let place = Place::new();
    for bytes in [
        &b""[..],
        &b"hello"[..],
        &[0x1f, 0x8b, 0, 0][..],
        &[0xff; 4096][..],
    ] {
        let error = place.unpack(bytes).unwrap_err();
        assert!(matches!(error, ImportError::Broken(_)), "{error}");
    }
}

#[test]
fn a_cut_archive_is_refused_wherever_it_is_cut() {
    let place = Place::new();
    let whole = saved(&[archive(&[
        Plain("a", &"x".repeat(700)),
        Directory("d"),
        Plain("d/b", "y"),
    ])]);
    assert!(place.unpack(&whole).is_ok());
    // What is behind the last file but the end's first block may be missing.
    for cut in (0..=whole.len() - 1_024).step_by(97) {
        let error = place.unpack(&whole[..cut]).unwrap_err();
        assert!(matches!(error, ImportError::Broken(_)), "cut at {cut}: {error}");
    }
}

#[test]
fn an_import_becomes_an_image_with_the_identity_of_every_cell() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = ImageStore::open(&place.path().join("images")).unwrap();
    let host = place.path().join("host");
    std::fs::create_dir(&host).unwrap();
    let bytes = saved(&[archive(&[
        Mode("usr/bin/python3.11", 0o755),
        Link("usr/bin/python3", "python3.11"),
        Plain("etc/shadow", "root:secret"),
        Link("etc/passwd", "/etc/passwd"),
        Plain("tmp/left", "x"),
        Plain("opt/own", "x"),
    ])]);
    let imported = import(&store, request(&bytes), None, &Silent).unwrap();
    let meta = &imported.image.meta;
    assert_eq!(
        (meta.name.as_str(), meta.python.as_str()),
        ("small", "/usr/bin/python3")
    );
    assert_eq!(
        crate::images::tar::digest_root(&imported.image.root).unwrap(),
        meta.digest
    );
    let root = &imported.image.root;
    assert!(
        std::fs::read_to_string(root.join("etc/passwd"))
            .unwrap()
            .contains("agent:x:10001")
    );
    assert!(!root.join("etc/shadow").exists() && !root.join("tmp/left").exists());
    assert!(root.join("opt/own").exists());
    // Nothing of an import that fails is left.
    let hostile = saved(&[archive(&[Link("etc", host.to_str().unwrap()), Plain("x", "x")])]);
    let no_python = import(&store, request(&hostile), None, &Silent).unwrap_err();
    assert!(no_python.to_string().contains("python3"), "{no_python}");
    assert_eq!(
        std::fs::read_dir(place.path().join("images/roots"))
            .unwrap()
            .count(),
        2
    );
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 0);
}
