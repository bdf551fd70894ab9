//! The index of files.

use super::given::{self, AnyStore, at, tenant};
use brig_core::FileId;
use brig_core::job::Refused;
use brig_core::spec::Content;
use brig_core::store::{FILE_OVERHEAD, StoreError};

pub async fn a_file_is_found_by_its_tenant_alone(store: AnyStore) {
    let file = given::file_of("owner", None, at(3));
    store.put_file(file.clone()).await.unwrap();
    assert_eq!(store.get_file(&tenant("owner"), file.id).await.unwrap(), file);
    let other = tenant("other");
    assert!(matches!(
        store.get_file(&other, file.id).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(
        store.remove_file(&other, file.id).await,
        Err(StoreError::NotFound)
    ));
    assert!(store.list_files(&other, None, 10).await.unwrap().is_empty());
    assert_eq!(store.stored_bytes(&other).await.unwrap(), 0);
    store.remove_file(&tenant("owner"), file.id).await.unwrap();
    let gone = store.remove_file(&tenant("owner"), file.id).await;
    assert!(matches!(gone, Err(StoreError::NotFound)));
}

pub async fn files_are_listed_newest_first_and_by_job(store: AnyStore) {
    let job = given::ended(&store, given::job(), at(0)).await;
    let files: Vec<_> = [None, Some(job), None, Some(job)]
        .into_iter()
        .map(|job| given::file_of("default", job, at(0)))
        .collect();
    for file in &files {
        store.put_file(file.clone()).await.unwrap();
    }
    let ids = |places: &[usize]| {
        places
            .iter()
            .map(|place| files[*place].id)
            .collect::<Vec<FileId>>()
    };
    let default = tenant("default");
    for (job, limit, expected) in [
        (None, 10, ids(&[3, 2, 1, 0])),
        (None, 2, ids(&[3, 2])),
        (Some(job), 10, ids(&[3, 1])),
    ] {
        let listed = store.list_files(&default, job, limit).await.unwrap();
        assert_eq!(listed.iter().map(|file| file.id).collect::<Vec<_>>(), expected);
    }
    assert_eq!(
        store.stored_bytes(&default).await.unwrap(),
        4_000 + 4 * FILE_OVERHEAD
    );
    assert_eq!(store.all_files().await.unwrap().len(), 4);
}

pub async fn a_file_that_a_job_needs_is_kept(store: AnyStore) {
    let file = given::file_of("default", None, at(0));
    store.put_file(file.clone()).await.unwrap();
    let mut job = given::job();
    job.spec.stdin = Some(Content::Stored(file.id));
    given::submitted(&store, job, at(0)).await;
    let default = tenant("default");
    let kept = |result| {
        assert!(matches!(
            result,
            Err(StoreError::Refused(Refused::AlreadyClaimed))
        ))
    };
    kept(store.remove_file(&default, file.id).await);
    let claim = given::claimed(&store, at(0)).await;
    kept(store.remove_file(&default, file.id).await);
    store
        .end(given::attempt_of(&claim), given::finished(), vec![], at(0))
        .await
        .unwrap();
    // Control: nobody needs it now.
    store.remove_file(&default, file.id).await.unwrap();
    assert!(store.all_files().await.unwrap().is_empty());
}
