//! What is wrong with which field.

use brig_core::limits::FieldViolation;
use std::fmt;
use std::str::FromStr;

/// Fields of a message that cannot be converted, each with its path on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFields(pub Vec<FieldViolation>);

impl InvalidFields {
    /// One field. An empty path means the message itself.
    pub fn one(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self(vec![FieldViolation::new(field, description)])
    }

    /// The same, seen from the message that holds this one in field `parent`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        for violation in &mut self.0 {
            violation.field = match violation.field.as_str() {
                "" => parent.to_owned(),
                below if below.starts_with('[') => format!("{parent}{below}"),
                below => format!("{parent}.{below}"),
            };
        }
        self
    }
}

impl fmt::Display for InvalidFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, FieldViolation { field, description }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {description}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidFields {}

/// Puts the errors of a part under the field that holds it.
pub(crate) trait At {
    /// The same, with `parent` before every path.
    fn at(self, parent: &str) -> Self;
}

impl<T> At for Result<T, InvalidFields> {
    fn at(self, parent: &str) -> Self {
        self.map_err(|invalid| invalid.within(parent))
    }
}

/// The value, or that it must be given.
pub(crate) fn required<T>(value: Option<T>) -> Result<T, InvalidFields> {
    value.ok_or_else(|| InvalidFields::one("", "is required"))
}

/// The enum's value, or that its number is unknown.
pub(crate) fn known<E: TryFrom<i32>>(number: i32) -> Result<E, InvalidFields> {
    E::try_from(number).map_err(|_unknown| {
        InvalidFields::one(
            "",
            format!("{number} is not a value of this enum that this version knows"),
        )
    })
}

/// That a field which must be set was left at its zero value.
pub(crate) fn unspecified<T>() -> Result<T, InvalidFields> {
    Err(InvalidFields::one("", "must not be unspecified"))
}

/// An id in its one spelling.
pub(crate) fn id<T>(text: &str) -> Result<T, InvalidFields>
where
    T: FromStr<Err = brig_core::id::InvalidId>,
{
    text.parse()
        .map_err(|invalid: brig_core::id::InvalidId| InvalidFields::one("", invalid.to_string()))
}

/// Converts every entry; errors carry the entry's index.
pub(crate) fn each<P, D>(list: Vec<P>) -> Result<Vec<D>, InvalidFields>
where
    D: TryFrom<P, Error = InvalidFields>,
{
    let mut check = Checker::default();
    let converted = list
        .into_iter()
        .enumerate()
        .filter_map(|(index, entry)| check.take(&format!("[{index}]"), D::try_from(entry)))
        .collect();
    check.finish(converted)
}

/// So many violations are named. A message of 4 MiB can have two million parts, and something can be wrong with each.
const NAMED_MAX: usize = 64;

/// Collects what is wrong with a message, so that a caller learns of all of it at once.
#[derive(Default)]
pub(crate) struct Checker {
    bad: Vec<FieldViolation>,
}

impl Checker {
    /// The value of `field`, or a note of what is wrong with it.
    pub(crate) fn take<T>(&mut self, field: &str, result: Result<T, InvalidFields>) -> Option<T> {
        match result.at(field) {
            Ok(value) => Some(value),
            Err(InvalidFields(bad)) => {
                let room = NAMED_MAX.saturating_sub(self.bad.len());
                self.bad.extend(bad.into_iter().take(room));
                None
            }
        }
    }

    /// `value`, unless something was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, InvalidFields> {
        if self.bad.is_empty() {
            Ok(value)
        } else {
            Err(InvalidFields(self.bad))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_a_million_mistakes_is_refused_with_a_few_of_them() {
        let mistakes = vec![crate::pb::EnvEntry::default(); 1_000_000];
        let refused = each::<_, brig_core::spec::EnvEntry>(mistakes).unwrap_err();
        assert_eq!(refused.0.len(), NAMED_MAX);
    }

    #[test]
    fn paths_grow_from_the_inside_out() {
        let inner = InvalidFields::one("", "is bad")
            .within("[2]")
            .within("env")
            .within("spec");
        assert_eq!(inner.to_string(), "spec.env[2]: is bad");
        let field = InvalidFields::one("path", "is bad")
            .within("[0]")
            .within("inputs");
        assert_eq!(field.to_string(), "inputs[0].path: is bad");
    }
}
