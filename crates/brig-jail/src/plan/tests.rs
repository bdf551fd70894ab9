#![cfg(test)]

use super::*;

fn plan() -> JailPlan {
    let instruction = FilterInstruction {
        code: 6,
        jt: 0,
        jf: 0,
        k: 0x7fff_0000,
    };
    JailPlan {
        shape: CellShape {
            workspace_bytes: 1,
            workspace_files: 1,
            tmp_bytes: 1,
            tmp_files: 1,
            shm_bytes: 1,
            file_size_bytes: 1,
            open_files: 1,
            processes: 1,
            process_memory_bytes: None,
            cpu_seconds: 1,
        },
        image: Vec::new(),
        proc_mount: ProcMount::Own,
        host_name: "cell".to_owned(),
        landlock: LandlockPlan {
            read_execute: vec!["/usr".into()],
            read_write: vec!["/workspace".into()],
            requirement: Requirement::Required,
        },
        filters: FilterStack {
            foreign_abi: vec![instruction],
            probed: vec![vec![instruction]],
            allow_list: vec![instruction],
            listener: Listener::Keeper,
        },
        disabled: Vec::new(),
    }
}

#[test]
fn a_plan_survives_json() {
    let plan = plan();
    assert_eq!(plan.validate(), Ok(()));
    let json = serde_json::to_vec(&plan).unwrap();
    assert_eq!(serde_json::from_slice::<JailPlan>(&json).unwrap(), plan);
}

#[test]
fn an_instruction_survives_its_packed_form() {
    let one = FilterInstruction {
        code: 0x15,
        jt: 3,
        jf: 255,
        k: u32::MAX - 1,
    };
    assert_eq!(FilterInstruction::from(u64::from(one)), one);
}

#[test]
fn a_disabled_layer_is_refused_unless_this_is_a_build_for_control_arms() {
    let mut plan = plan();
    plan.disabled.push(DisabledLayer::Seccomp);
    let expected = if cfg!(feature = "control-arms") {
        Ok(())
    } else {
        Err(PlanError::DisabledLayer)
    };
    assert_eq!(plan.validate(), expected);
}

#[test]
fn paths_inside_are_absolute_and_plain() {
    for bad in ["etc/passwd", "/etc/../usr", "../x", ""] {
        let mut plan = plan();
        plan.image.push(ImageEntry::Directory { target: bad.into() });
        assert_eq!(plan.validate(), Err(PlanError::Target), "{bad:?}");
    }
    let mut plan = plan();
    plan.image.push(ImageEntry::Directory {
        target: "/a\0b".into(),
    });
    assert_eq!(plan.validate(), Err(PlanError::NulByte));
}

#[test]
fn a_limit_of_zero_is_refused_because_tmpfs_takes_it_for_none() {
    let mut plan = plan();
    plan.shape.workspace_files = 0;
    assert_eq!(plan.validate(), Err(PlanError::Zero));
}

#[test]
fn host_names_and_filters_that_the_kernel_refuses_are_refused() {
    let mut long_name = plan();
    long_name.host_name = "x".repeat(65);
    assert_eq!(long_name.validate(), Err(PlanError::HostName));
    let mut no_filter = plan();
    no_filter.filters.allow_list.clear();
    assert_eq!(no_filter.validate(), Err(PlanError::Filter));
}
