//! Who may depend on whom: the table of the architecture, held against `cargo metadata`.

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};

    /// Crate, and which crates of the workspace it may depend on.
    const MAY_DEPEND_ON: [(&str, &[&str]); 9] = [
        ("brig-core", &[]),
        ("brig-jail", &[]),
        ("brig-api", &["brig-core"]),
        ("brig-store", &["brig-core"]),
        ("brig-backend", &["brig-core", "brig-jail"]),
        (
            "brig-daemon",
            &["brig-core", "brig-api", "brig-store", "brig-backend"],
        ),
        (
            "brig-cli",
            &[
                "brig-core",
                "brig-api",
                "brig-store",
                "brig-backend",
                "brig-daemon",
                "brig-jail",
            ],
        ),
        (
            "brig-tests",
            &[
                "brig-core",
                "brig-api",
                "brig-store",
                "brig-backend",
                "brig-daemon",
                "brig-jail",
            ],
        ),
        (
            "brig-fuzz-targets",
            &[
                "brig-core",
                "brig-api",
                "brig-backend",
                "brig-daemon",
                "brig-jail",
            ],
        ),
    ];

    /// Foreign crates that only one of ours may use directly, because of what they can do.
    const ONLY_IN: [(&str, &[&str]); 7] = [
        ("sqlx", &["brig-store"]),
        ("seccompiler", &["brig-jail"]),
        ("landlock", &["brig-jail"]),
        ("libc", &["brig-jail"]),
        ("bollard", &["brig-backend"]),
        ("protox", &["brig-api"]),
        ("tonic-prost-build", &["brig-api"]),
    ];

    /// The core does no I/O, the jail has no async runtime and no logging.
    const NEVER_IN: [(&str, &[&str]); 2] = [
        (
            "brig-core",
            &["tokio", "tonic", "sqlx", "nix", "tracing", "prost"],
        ),
        (
            "brig-jail",
            &["tokio", "tonic", "tracing", "async-trait", "prost"],
        ),
    ];

    /// Direct dependencies of every crate of the workspace; those of their tests left out.
    fn direct() -> BTreeMap<String, BTreeSet<String>> {
        let mut cargo = brig_tests::process::command(env!("CARGO"));
        cargo.args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--locked",
            "--offline",
        ]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        let done = brig_tests::process::run(cargo, Vec::new(), std::time::Duration::from_secs(60)).unwrap();
        let metadata: Value = serde_json::from_slice(&done.stdout).unwrap();
        let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
        let mut crates = BTreeMap::new();
        for package in metadata["packages"].as_array().unwrap() {
            let wanted = |dependency: &&Value| dependency["kind"] != "dev";
            let dependencies = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(wanted)
                .map(name);
            crates.insert(name(package), dependencies.collect());
        }
        crates
    }

    #[test]
    fn every_crate_is_in_the_table() {
        let listed: BTreeSet<String> = MAY_DEPEND_ON.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(direct().into_keys().collect::<BTreeSet<_>>(), listed);
    }

    #[test]
    fn crates_depend_only_in_the_direction_of_the_table() {
        let crates = direct();
        for (name, allowed) in MAY_DEPEND_ON {
            for dependency in crates[name]
                .iter()
                .filter(|dependency| dependency.starts_with("brig-"))
            {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{name} must not depend on {dependency}"
                );
            }
        }
    }

    #[test]
    fn powerful_crates_are_used_where_they_belong() {
        for (name, dependencies) in direct() {
            for (foreign, owners) in ONLY_IN {
                let used = dependencies.contains(foreign);
                assert!(
                    !used || owners.contains(&name.as_str()),
                    "{name} must not use {foreign} itself"
                );
            }
        }
    }

    #[test]
    fn the_core_and_the_jail_stay_small() {
        let crates = direct();
        for (name, never) in NEVER_IN {
            for foreign in never {
                assert!(!crates[name].contains(*foreign), "{name} must not use {foreign}");
            }
        }
    }

    #[test]
    fn unsafe_code_is_forbidden_outside_the_jail() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (name, _) in MAY_DEPEND_ON.iter().filter(|(name, _)| *name != "brig-jail") {
            let directory = match *name {
                "brig-tests" => root.join("tests"),
                "brig-fuzz-targets" => root.join("tests/fuzz-targets"),
                name => root.join("crates").join(name),
            };
            let files = ["src/lib.rs", "src/main.rs"].map(|file| directory.join(file));
            let text: String = files
                .iter()
                .filter_map(|file| std::fs::read_to_string(file).ok())
                .collect();
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{name} does not forbid unsafe code"
            );
        }
    }
}
