//! Rules of the repository that no compiler checks.

#[cfg(test)]
mod tests {
    use brig_core::id::WorkerId;
    use brig_core::job::{JobState, Lease};
    use brig_core::outcome::{Failure, TimeLimit, Verdict};
    use brig_core::time::Timestamp;
    use serde_json::Value;
    use std::path::{Path, PathBuf};

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    fn read(path: &str) -> String {
        std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// All files below `directory` whose name ends with `end`.
    fn files(directory: &str, end: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![root().join(directory)];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    if !path.ends_with("target") {
                        open.push(path);
                    }
                } else if path.to_string_lossy().ends_with(end) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// The rules of a policy: every object that names a system call.
    fn rules<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(fields) => {
                if ["syscall", "call", "name", "calls"]
                    .iter()
                    .any(|key| fields.contains_key(*key))
                {
                    found.push(value);
                }
                fields.values().for_each(|inner| rules(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| rules(inner, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_seccomp_rule_has_a_comment() {
        let policies = files("crates/brig-jail/policies", ".json");
        assert!(!policies.is_empty(), "no policies are found");
        let mut count = 0;
        for path in policies {
            let policy: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let mut found = Vec::new();
            rules(&policy, &mut found);
            count += found.len();
            for rule in found {
                let comment = rule["comment"].as_str().unwrap_or_default();
                assert!(comment.len() >= 10, "{}: no comment: {rule}", path.display());
            }
        }
        assert!(
            count >= 100,
            "only {count} rules are found: has the form of a policy changed?"
        );
    }

    /// The words of the states, from the one enum that defines them.
    fn state_words() -> Vec<&'static str> {
        let now = Timestamp::now();
        let lease = Lease {
            worker: WorkerId::generate(),
            attempt: 1,
            until: now,
        };
        [
            JobState::Queued {
                attempts_used: 0,
                not_before: now,
                expires: now,
            },
            JobState::Running(lease),
            JobState::Cancelling(lease),
            JobState::Finished,
            JobState::Failed,
            JobState::Cancelled,
        ]
        .map(|state| state.word())
        .to_vec()
    }

    /// The words of verdicts and of failures.
    fn kind_words() -> (Vec<&'static str>, Vec<&'static str>) {
        let verdicts = [
            Verdict::Exited { code: 0 },
            Verdict::Signalled { signal: 1 },
            Verdict::TimedOut {
                limit: TimeLimit::Wall,
            },
            Verdict::OutOfMemory,
            Verdict::OutputLimit,
            Verdict::DiskLimit,
            Verdict::RefusedCall { name: String::new() },
            Verdict::Cancelled,
        ];
        let text = String::new;
        let failures = [
            Failure::SetupError {
                stage: text(),
                item: text(),
                errno: 0,
                remedy: text(),
            },
            Failure::Interrupted {
                retryable: true,
                reason: text(),
            },
            Failure::InternalError {
                correlation_id: text(),
            },
            Failure::QueueExpired,
        ];
        (
            verdicts.iter().map(Verdict::kind).collect(),
            failures.iter().map(Failure::kind).collect(),
        )
    }

    #[test]
    fn state_words_are_the_same_in_the_wire_contract() {
        let proto = read("proto/brig/v1/job.proto");
        let named: Vec<String> = proto
            .lines()
            .filter_map(|line| line.trim().strip_prefix("JOB_STATE_"))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|word| *word != "UNSPECIFIED")
            .map(str::to_lowercase)
            .collect();
        assert_eq!(named, state_words());
    }

    #[test]
    fn state_words_are_the_same_in_the_store() {
        let schema: String = files("crates/brig-store/migrations", ".sql")
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        let list: Vec<String> = state_words().iter().map(|word| format!("'{word}'")).collect();
        let squeezed = schema
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace("( ", "(")
            .replace(" )", ")");
        assert!(
            squeezed.contains(&format!("({})", list.join(", "))),
            "no CHECK lists {list:?}"
        );
    }

    #[test]
    fn state_words_in_metrics_come_from_the_enum() {
        for path in files("crates/brig-daemon/src", ".rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.lines().filter(|line| line.contains("\"state\" =>")) {
                let by_hand = state_words()
                    .iter()
                    .any(|word| line.contains(&format!("\"{word}\"")));
                assert!(!by_hand, "{}: a state is written by hand: {line}", path.display());
            }
        }
    }

    #[test]
    fn verdict_words_are_the_same_in_the_wire_contract() {
        let proto = read("proto/brig/v1/outcome.proto");
        let named = |prefix: &str| -> Vec<String> {
            let words = proto.lines().filter_map(|line| line.trim().strip_prefix(prefix));
            let words = words
                .filter_map(|line| line.split_whitespace().next())
                .filter(|word| *word != "UNSPECIFIED");
            words.map(str::to_lowercase).collect()
        };
        let (verdicts, failures) = kind_words();
        assert_eq!(named("VERDICT_KIND_"), verdicts);
        assert_eq!(named("FAILURE_KIND_"), failures);
    }

    #[test]
    fn the_changelog_keeps_its_form() {
        let changelog = read("CHANGELOG.md");
        assert!(changelog.starts_with("# Changelog\n"));
        assert!(
            changelog.contains("\n## [Unreleased]\n"),
            "no section for what is not released"
        );
        let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
        for line in changelog.lines() {
            if let Some(kind) = line.strip_prefix("### ") {
                assert!(kinds.contains(&kind), "unknown kind of change: {kind}");
            }
            if let Some(version) = line.strip_prefix("## ") {
                assert!(
                    version.starts_with('['),
                    "a version is written in brackets: {version}"
                );
            }
        }
    }

    #[test]
    fn files_are_short_enough_to_be_read() {
        // Tests do not count, neither at the end of a file nor in files of their own: they are read one by one.
        let lines = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines()
                .take_while(|line| !line.starts_with("#[cfg(test)]"))
                .count()
        };
        let paths = files("crates", ".rs").into_iter();
        let long: Vec<String> = paths
            .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
            .filter(|path| lines(path) > 500)
            .map(|path| format!("{} ({})", path.display(), lines(&path)))
            .collect();
        assert!(long.is_empty(), "split these: {long:?}");
    }

    #[test]
    fn every_program_of_the_corpus_is_used_and_explains_itself() {
        let sources: String = ["tests/src", "tests/tests"]
            .iter()
            .flat_map(|directory| files(directory, ".rs"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        for path in files("tests/programs", ".py") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(sources.contains(&name), "{name} is run by no check");
            let is_ordinary = path.parent().is_some_and(|parent| parent.ends_with("ordinary"));
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                is_ordinary || text.starts_with("\"\"\""),
                "{name} does not say what it tries"
            );
        }
    }

    #[test]
    fn every_check_has_its_own_id_and_title() {
        let checks = brig_tests::hostile::checks();
        for (index, check) in checks.iter().enumerate() {
            let twins = checks
                .iter()
                .skip(index + 1)
                .filter(|other| other.id == check.id || other.title == check.title);
            assert_eq!(twins.count(), 0, "{} {}", check.id, check.title);
        }
    }

    #[test]
    fn the_readme_speaks_of_every_crate() {
        let readme = read("README.md");
        for entry in std::fs::read_dir(root().join("crates")).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(
                readme.contains(&format!("`{name}`")),
                "README.md does not say what {name} owns"
            );
        }
    }
}
