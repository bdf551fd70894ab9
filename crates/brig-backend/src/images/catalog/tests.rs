use super::super::meta::tests::sample;
use super::super::{ImageStore, Package};
use super::*;
use brig_core::Fault;
use brig_core::backend::BackendError;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

fn name(name: &str) -> ImageName {
    ImageName(name.to_owned())
}

/// A store with one image of that name, whose content is named by `byte`.
fn with_image(named: &str, byte: u8) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    add_image(place.path(), named, byte);
    place
}

fn add_image(store: &Path, named: &str, byte: u8) {
    let store = ImageStore::open(store).unwrap();
    let root = store.begin().unwrap();
    std::fs::write(root.path().join("file"), [byte]).unwrap();
    let meta = ImageMeta {
        name: named.to_owned(),
        ..sample(byte)
    };
    store.publish(root, &meta).unwrap();
}

fn catalog(stores: &[&TempDir]) -> ImageCatalog {
    ImageCatalog::new(stores.iter().map(|store| store.path().to_owned()).collect())
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_name_leads_to_the_root_and_what_is_known_of_it() {
    let store = with_image("python", 3);
    let found = catalog(&[&store]).resolve(&name("python")).unwrap();
    assert_eq!(found.meta, sample(3));
    assert_eq!(std::fs::read(found.root.join("file")).unwrap(), [3]);
    assert_eq!(catalog(&[&store]).find(&found.meta.digest).unwrap(), found);
}

#[test]
fn of_two_stores_the_first_wins_and_both_are_listed() {
    let (own, system) = (with_image("python", 1), with_image("python", 2));
    add_image(system.path(), "python-data", 4);
    let both = catalog(&[&own, &system]);
    assert_eq!(
        both.resolve(&name("python")).unwrap().meta.digest,
        RootDigest::new([1; 32])
    );
    // What only the second has is still found by its content.
    assert_eq!(both.find(&RootDigest::new([2; 32])).unwrap().store, system.path());
    assert_eq!(both.names().unwrap(), ["python", "python-data"]);
    let listed = both.list().unwrap();
    assert!(listed.iter().all(|listed| listed.image.is_ok()), "{listed:?}");
}

#[test]
fn a_store_that_is_not_there_has_no_images_until_it_is_made() {
    let place = tempfile::tempdir().unwrap();
    let later = place.path().join("share/brig/images");
    let catalog = ImageCatalog::new(vec![later.clone()]);
    assert_eq!(catalog.names().unwrap(), Vec::<String>::new());
    let error = catalog.resolve(&name("python")).unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    add_image(&later, "python", 5);
    assert_eq!(catalog.resolve(&name("python")).unwrap().meta, sample(5));
}

#[test]
fn an_unknown_image_is_answered_with_those_that_there_are() {
    let store = with_image("python", 3);
    let error = catalog(&[&store]).resolve(&name("pyhton")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no image named pyhton; there are: host, python"
    );
    let error = error.into_backend_error("pyhton");
    assert!(matches!(error, BackendError::UnknownImage(image) if image == "pyhton"));
    // A name is never a path.
    for path in ["../names/python", "python.json/..", "/etc/passwd", "host"] {
        let error = catalog(&[&store]).resolve(&name(path)).unwrap_err();
        assert!(matches!(error, ImageError::BadName { .. }), "{path}: {error}");
    }
}

#[test]
fn a_name_without_its_root_says_what_is_gone_and_how_to_get_it_back() {
    let store = with_image("python", 3);
    let root = store.path().join(ROOTS).join("03".repeat(32));
    std::fs::rename(&root, store.path().join("elsewhere")).unwrap();
    let error = catalog(&[&store]).resolve(&name("python")).unwrap_err();
    assert!(matches!(&error, ImageError::NoRoot { digest, .. } if *digest == RootDigest::new([3; 32])));
    let BackendError::Setup {
        stage, item, remedy, ..
    } = error.into_backend_error("python")
    else {
        panic!("not a set-up error");
    };
    assert_eq!(stage, "image");
    assert!(
        item.contains("python") && item.contains(&"03".repeat(32)),
        "{item}"
    );
    assert!(remedy.contains("brig image build python"), "{remedy}");
}

#[test]
fn what_others_can_write_to_is_no_image() {
    let parts = |store: &TempDir| {
        let roots = store.path().join(ROOTS);
        [
            store.path().to_owned(),
            store.path().join(NAMES),
            store.path().join(NAMES).join("python.json"),
            roots.clone(),
            roots.join("03".repeat(32)),
            roots.join(format!("{}.json", "03".repeat(32))),
        ]
    };
    let store = with_image("python", 3);
    for path in parts(&store) {
        let right = std::fs::metadata(&path).unwrap().permissions();
        for shared in [0o020, 0o002] {
            set_mode(&path, right.mode() | shared);
            let error = catalog(&[&store]).resolve(&name("python")).unwrap_err();
            assert!(
                matches!(&error, ImageError::Unsafe { path: named, .. } if named.ends_with(path.file_name().unwrap())),
                "{error}"
            );
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
        std::fs::set_permissions(&path, right).unwrap();
        catalog(&[&store]).resolve(&name("python")).unwrap();
    }
}

#[test]
fn a_store_below_a_directory_of_everybody_is_refused_unless_entries_are_protected_there() {
    let place = tempfile::tempdir().unwrap();
    let store = place.path().join("images");
    add_image(&store, "python", 3);
    let catalog = ImageCatalog::new(vec![store]);
    set_mode(place.path(), 0o777);
    let error = catalog.resolve(&name("python")).unwrap_err();
    assert!(matches!(error, ImageError::Unsafe { .. }), "{error}");
    set_mode(place.path(), 0o1777);
    catalog.resolve(&name("python")).unwrap();
}

#[test]
fn links_pipes_and_giants_in_place_of_the_stores_files_are_refused() {
    let store = with_image("python", 3);
    let file = store.path().join(NAMES).join("python.json");
    let right = std::fs::read(&file).unwrap();
    let aside = store.path().join("aside.json");
    std::fs::write(&aside, &right).unwrap();
    std::fs::remove_file(&file).unwrap();
    symlink(&aside, &file).unwrap();
    assert!(catalog(&[&store]).resolve(&name("python")).is_err());
    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = catalog(&[&store]).resolve(&name("python")).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, vec![b' '; 5_000]).unwrap();
    set_mode(&file, 0o644);
    let error = catalog(&[&store]).resolve(&name("python")).unwrap_err();
    assert!(error.to_string().contains("larger than 4096 bytes"), "{error}");
    // A root that is a link would lead anywhere.
    std::fs::write(&file, &right).unwrap();
    let root = store.path().join(ROOTS).join("03".repeat(32));
    std::fs::rename(&root, store.path().join("real")).unwrap();
    symlink("/", &root).unwrap();
    let error = catalog(&[&store]).resolve(&name("python")).unwrap_err();
    assert!(error.to_string().contains("not a directory"), "{error}");
}

#[test]
fn a_description_of_another_root_is_refused() {
    let store = with_image("python", 3);
    let file = store.path().join(ROOTS).join(format!("{}.json", "03".repeat(32)));
    std::fs::write(&file, serde_json::to_vec(&sample(4)).unwrap()).unwrap();
    let error = catalog(&[&store]).resolve(&name("python")).unwrap_err();
    assert!(error.to_string().contains("describes another image"), "{error}");
    std::fs::write(&file, b"{").unwrap();
    let error = catalog(&[&store]).resolve(&name("python")).unwrap_err();
    assert!(error.to_string().contains("cannot be understood"), "{error}");
    // The list and the offer tell of it instead of hiding it or failing.
    let offers = catalog(&[&store]).offers();
    assert_eq!(
        (offers[0].name.clone(), offers[0].digest.clone()),
        (name("python"), None)
    );
    let listed = catalog(&[&store]).list().unwrap();
    assert!(matches!(&listed[..], [ListedImage { image: Err(_), .. }]));
}

#[test]
fn a_description_with_ten_thousand_packages_is_read() {
    let store = tempfile::tempdir().unwrap();
    let open = ImageStore::open(store.path()).unwrap();
    let mut meta = sample(9);
    meta.packages = (0..10_000)
        .map(|number| Package {
            name: format!("a-package-with-a-long-name-{number}"),
            version: "1.2.3-4+deb12u5".to_owned(),
        })
        .collect();
    open.publish(open.begin().unwrap(), &meta).unwrap();
    assert_eq!(catalog(&[&store]).resolve(&name("python")).unwrap().meta, meta);
}
