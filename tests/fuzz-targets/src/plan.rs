//! The plan of a cell, as `brig-jail-init` receives it.

use brig_jail::control::{PLAN_IN_MEMFD, PLAN_INLINE, PLAN_INLINE_MAX, PlanMessage};
use brig_jail::plan::JailPlan;
use std::path::{Component, Path};

/// The JSON of a plan.
pub fn target(data: &[u8]) {
    let Ok(plan) = JailPlan::decode(data) else {
        return;
    };
    assert!(plan.disabled.is_empty(), "a layer is off");
    let landlock = plan.landlock.read_execute.iter().chain(&plan.landlock.read_write);
    let inside = plan.image.iter().map(brig_jail::plan::ImageEntry::inside);
    for path in inside.chain(landlock.map(std::path::PathBuf::as_path)) {
        stays_inside(path);
    }
    let shape = &plan.shape;
    let sizes = [
        shape.workspace_bytes,
        shape.workspace_files,
        shape.tmp_bytes,
        shape.tmp_files,
        shape.shm_bytes,
        shape.processes,
    ];
    assert!(!sizes.contains(&0), "a tmpfs of size 0 has no limit");
    let filters = &plan.filters;
    for filter in filters
        .probed
        .iter()
        .chain([&filters.foreign_abi, &filters.allow_list])
    {
        assert!(
            !filter.is_empty() && filter.len() <= 4096,
            "no filter for the kernel"
        );
    }
    let message = PlanMessage::pack(&plan).expect("a plan can be packed");
    let json = match (message.head.split_first(), &message.memfd) {
        (Some((&PLAN_INLINE, json)), None) => {
            assert!(json.len() <= PLAN_INLINE_MAX, "too long for a message");
            json
        }
        (Some((&PLAN_IN_MEMFD, [])), Some(json)) => json.as_slice(),
        (other, _) => panic!("packed as {other:?}"),
    };
    assert_eq!(JailPlan::decode(json), Ok(plan), "packed, it is another plan");
}

fn stays_inside(path: &Path) {
    assert!(path.is_absolute(), "{} is relative", path.display());
    for component in path.components() {
        let plain = matches!(component, Component::RootDir | Component::Normal(_));
        assert!(plain, "{} leaves the cell", path.display());
    }
}
