use super::super::ImageCatalog;
use super::super::meta::tests::sample;
use super::*;

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn python() -> ImageName {
    ImageName("python".to_owned())
}

#[test]
fn a_root_that_is_not_published_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(place.path()).unwrap();
    let root = store.begin().unwrap();
    std::fs::create_dir(root.path().join("usr")).unwrap();
    drop(root);
    assert_eq!(names(&place.path().join(ROOTS)), Vec::<String>::new());
}

#[test]
fn what_a_killed_build_left_is_swept_by_the_next() {
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(place.path()).unwrap();
    let root = store.begin().unwrap();
    std::fs::create_dir(root.path().join("usr")).unwrap();
    std::mem::forget(root);
    std::fs::write(place.path().join(NAMES).join(".new-x"), b"{").unwrap();
    drop(store);
    ImageStore::open(place.path()).unwrap();
    assert_eq!(names(&place.path().join(ROOTS)), Vec::<String>::new());
    assert_eq!(names(&place.path().join(NAMES)), Vec::<String>::new());
}

#[test]
fn only_one_process_writes_to_a_store() {
    let place = tempfile::tempdir().unwrap();
    let first = ImageStore::open(place.path()).unwrap();
    let error = ImageStore::open(place.path()).unwrap_err();
    assert!(error.to_string().contains("another `brig image`"), "{error}");
    drop(first);
    ImageStore::open(place.path()).unwrap();
}

#[test]
fn the_same_content_is_kept_once_under_every_name() {
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(place.path()).unwrap();
    for name in ["python", "other"] {
        let meta = ImageMeta {
            name: name.to_owned(),
            ..sample(8)
        };
        store.publish(store.begin().unwrap(), &meta).unwrap();
    }
    let digest = "08".repeat(32);
    assert_eq!(
        names(&place.path().join(ROOTS)),
        [digest.clone(), format!("{digest}.json")]
    );
    assert_eq!(
        store.names_of(&RootDigest::new([8; 32])).unwrap(),
        ["other", "python"]
    );
}

#[test]
fn a_name_can_be_given_to_another_root_and_the_old_one_stays_until_it_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(place.path()).unwrap();
    let catalog = ImageCatalog::new(vec![place.path().to_owned()]);
    for byte in [1, 2] {
        store.publish(store.begin().unwrap(), &sample(byte)).unwrap();
        assert_eq!(catalog.resolve(&python()).unwrap().meta, sample(byte));
    }
    let old = RootDigest::new([1; 32]);
    catalog.find(&old).unwrap();
    store.remove_root(&old).unwrap();
    assert!(matches!(catalog.find(&old), Err(ImageError::NoRoot { .. })));
    assert_eq!(catalog.resolve(&python()).unwrap().meta, sample(2));
    assert_eq!(
        store.remove_name(&python()).unwrap(),
        Some(RootDigest::new([2; 32]))
    );
    assert_eq!(store.remove_name(&python()).unwrap(), None);
    assert!(matches!(
        catalog.resolve(&python()),
        Err(ImageError::Unknown { .. })
    ));
}

#[test]
fn a_name_is_not_given_to_a_root_that_is_not_there_nor_to_one_that_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let store = ImageStore::open(place.path()).unwrap();
    let error = store.set_name(&python(), &RootDigest::new([1; 32])).unwrap_err();
    assert!(matches!(error, ImageError::NoRoot { .. }), "{error}");
    let mut wrong = sample(1);
    wrong.python = "python3".to_owned();
    assert!(store.publish(store.begin().unwrap(), &wrong).is_err());
    let host = ImageMeta {
        name: "host".to_owned(),
        ..sample(1)
    };
    assert!(store.publish(store.begin().unwrap(), &host).is_err());
    assert_eq!(names(&place.path().join(ROOTS)), Vec::<String>::new());
}

#[test]
fn a_store_can_be_read_by_everybody_and_written_by_its_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("images");
    let store = ImageStore::open(&directory).unwrap();
    let found = store.publish(store.begin().unwrap(), &sample(6)).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for path in [
        &directory,
        &directory.join(NAMES),
        &directory.join(ROOTS),
        &found.root,
    ] {
        assert_eq!(mode(path), 0o755, "{}", path.display());
    }
    assert_eq!(mode(&directory.join(NAMES).join("python.json")), 0o644);
}
