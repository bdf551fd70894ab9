//! Which paths of an image a definition takes out: `*` stands for anything within a name, `**` for any number of names.

use std::path::Path;

/// Whether a path (relative, `/` between names) is one that the pattern means.
pub(super) fn matches(pattern: &str, path: &Path) -> bool {
    let names: Vec<_> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parts: Vec<&str> = pattern.split('/').collect();
    match_names(&parts, &names)
}

fn match_names(parts: &[&str], names: &[&str]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((&"**", more)), None) => match_names(more, names),
        (Some((&"**", more)), Some((_, rest))) => match_names(more, names) || match_names(parts, rest),
        (Some((part, more)), Some((name, rest))) => match_name(part, name) && match_names(more, rest),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn match_name(part: &str, name: &str) -> bool {
    let Some((first, rest)) = part.split_once('*') else {
        return part == name;
    };
    let Some(name) = name.strip_prefix(first) else {
        return false;
    };
    name.char_indices()
        .map(|(at, _)| at)
        .chain([name.len()])
        .any(|at| match_name(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_whole_names() {
        for (pattern, path, meant) in [
            ("usr/share/doc", "usr/share/doc", true),
            ("usr/share/doc", "usr/share/doc/x", false),
            ("usr/lib/python3*/x", "usr/lib/python3.11/x", true),
            ("usr/lib/python3*/x", "usr/lib/python2/x", false),
            ("a/**/tests", "a/tests", true),
            ("a/**/tests", "a/b/c/tests", true),
            ("a/**/tests", "a/b/c/testsuite", false),
            ("a/*/tests", "a/b/c/tests", false),
            ("*.so", "x.so", true),
            ("*.so", "é.so", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2b", false),
        ] {
            assert_eq!(matches(pattern, Path::new(path)), meant, "{pattern} {path}");
        }
    }
}
