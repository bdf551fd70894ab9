//! Versions of engines and runtimes: three numbers, and whatever a distribution adds.

/// The numbers at the start of a version: `1.1.5+ds1` is 1, 1, 5. Missing ones are 0.
pub(super) fn numbers(text: &str) -> Option<[u32; 3]> {
    let text = text.trim_start_matches('v');
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let mut parts = text.get(..end)?.split('.');
    let first = parts.next()?.parse().ok()?;
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Some([first, next(), next()])
}

/// Whether a release candidate or the like: it comes before the version that it names.
fn is_candidate(text: &str) -> bool {
    ["-rc", "-beta", "-alpha", "~rc"]
        .iter()
        .any(|word| text.contains(word))
}

/// What is known to be wrong with a runc of this version: a way out of the container, and in which versions it is mended.
pub(super) fn holes_of_runc(text: &str) -> Vec<&'static str> {
    let Some(version) = numbers(text) else {
        return Vec::new();
    };
    let mut holes = Vec::new();
    if version < [1, 1, 12] {
        holes.push("CVE-2024-21626 (mended in 1.1.12)");
    }
    let line = [version[0], version[1]];
    let mended = match line {
        [1, 0..=1] | [0, _] => false,
        [1, 2] => version >= [1, 2, 8],
        [1, 3] => version >= [1, 3, 3],
        [1, 4] => version > [1, 4, 0] || !is_candidate(text),
        _ => true,
    };
    if !mended {
        holes.push("CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881 (mended in 1.2.8 and 1.3.3)");
    }
    holes
}

/// Whether a distribution built it: its revisions mend holes without a new version.
pub(super) fn is_a_distributions(version: &str, revision: &str) -> bool {
    let marks = ["+ds", "~ds", "+dfsg", "deb", "ubuntu", ".el", ".fc"];
    marks
        .iter()
        .any(|mark| version.contains(mark) || revision.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_whatever_follows_them() {
        for (text, wanted) in [
            ("1.1.5+ds1", Some([1, 1, 5])),
            ("v1.3.3", Some([1, 3, 3])),
            ("20.10.24+dfsg1", Some([20, 10, 24])),
            ("1.41", Some([1, 41, 0])),
            ("release-2024", None),
            ("", None),
        ] {
            assert_eq!(numbers(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_runc_with_known_holes_is_known() {
        for (version, count) in [
            ("1.0.3", 2),
            ("1.1.11", 2),
            ("1.1.12", 1),
            ("1.2.7", 1),
            ("1.2.8", 0),
            ("1.3.2", 1),
            ("1.3.3", 0),
            ("1.4.0-rc.2", 1),
            ("1.4.0", 0),
            ("2.0.0", 0),
            ("unknown", 0),
        ] {
            assert_eq!(holes_of_runc(version).len(), count, "{version}");
        }
        assert!(is_a_distributions("1.1.5+ds1", "1.1.5+ds1-1+deb12u1"));
        assert!(!is_a_distributions("1.1.5", "v1.1.5-0-gf19387a6"));
    }
}
