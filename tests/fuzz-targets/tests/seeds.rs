//! Every target over its seeds and a few thousand small changes of them: what a toolchain without a fuzzer can do.

#[cfg(test)]
mod tests {
    use brig_fuzz_targets::mutate::{Random, mutate};
    use brig_fuzz_targets::{TARGETS, Target};
    use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
    use std::alloc::System;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::{Path, PathBuf};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    /// Changes per target, where `BRIG_FUZZ_CHANGES` says nothing else.
    const CHANGES: usize = 3_000;

    /// What a target may allocate, all in all: so much, and so much per byte of its input. The targets read everything
    /// several times; what must not happen is that a length in the input decides.
    const ALLOCATED: usize = 4 * 1024 * 1024;
    const ALLOCATED_PER_BYTE: usize = 2_000;

    fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/seeds")
            .join(target);
        let mut found: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        found.sort();
        found
    }

    /// Runs one input; says which one it was where something is wrong.
    fn run(name: &str, target: Target, input: &[u8]) {
        let region = Region::new(ALLOCATOR);
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        let allocated = region.change().bytes_allocated;
        assert!(
            outcome.is_ok(),
            "{name}: this input breaks it: {:?}",
            input.escape_ascii().to_string()
        );
        let most = ALLOCATED + ALLOCATED_PER_BYTE * input.len();
        assert!(
            allocated <= most,
            "{name}: {} bytes make it allocate {allocated}: {:?}",
            input.len(),
            input.escape_ascii().to_string()
        );
    }

    // One test, one thread: what is allocated is counted for the whole process.
    #[test]
    fn no_seed_and_no_change_of_one_breaks_a_target() {
        let changes = std::env::var("BRIG_FUZZ_CHANGES").ok();
        let changes = changes.map_or(CHANGES, |text| text.parse().unwrap());
        for (index, (name, target)) in TARGETS.into_iter().enumerate() {
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name} has no seeds");
            let mut random = Random::new(index as u64 + 1);
            for (_, seed) in &seeds {
                run(name, target, seed);
            }
            for _ in 0..changes {
                let (_, seed) = &seeds[random.below(seeds.len())];
                let (_, other) = &seeds[random.below(seeds.len())];
                run(name, target, &mutate(seed, other, &mut random));
            }
        }
    }

    #[test]
    fn seeds_are_few_and_small() {
        let sizes = TARGETS.iter().flat_map(|(name, _)| seeds(name));
        let total: usize = sizes.map(|(_, bytes)| bytes.len()).sum();
        assert!(total <= 200 * 1024, "{total} bytes of seeds");
    }

    #[test]
    fn every_target_has_a_program_for_the_fuzzer() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            let program = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(program.contains(&format!("{name}::target")), "{name}");
            assert!(
                manifest.contains(&format!("\"fuzz_targets/{name}.rs\"")),
                "{name}"
            );
        }
    }
}
