//! Page tokens: opaque to callers, and checked when they come back.

use brig_core::store::{JobFilter, StoreError};
use brig_core::{JobId, TenantId};
use std::fmt::Write as _;

/// A token for the page after `last` of this tenant's list with this filter.
pub(crate) fn token(tenant: &TenantId, filter: &JobFilter, last: JobId) -> String {
    let check = checksum(tenant, filter, last);
    let mut text = String::with_capacity(50);
    for byte in [1].iter().chain(last.as_bytes()).chain(&check) {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

/// Where the page begins.
///
/// # Errors
/// [`StoreError::InvalidPageToken`], when it is not a token of this list.
pub(crate) fn parse(tenant: &TenantId, filter: &JobFilter, text: &str) -> Result<JobId, StoreError> {
    let bytes = unhex(text).ok_or(StoreError::InvalidPageToken)?;
    let Some((&1, rest)) = bytes.split_first() else {
        return Err(StoreError::InvalidPageToken);
    };
    let (id, check) = rest.split_at_checked(16).ok_or(StoreError::InvalidPageToken)?;
    let id: [u8; 16] = id
        .try_into()
        .map_err(|_wrong_length| StoreError::InvalidPageToken)?;
    let last = JobId::from_bytes(id);
    if check == checksum(tenant, filter, last) {
        Ok(last)
    } else {
        Err(StoreError::InvalidPageToken)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let canonical = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !canonical || !text.len().is_multiple_of(2) || text.len() > 64 {
        return None;
    }
    let pair = |at: usize| {
        text.get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    (0..text.len()).step_by(2).map(pair).collect()
}

/// FNV-1a over everything that makes the list: it catches a token of another list. It keeps nobody from forging
/// one, which would only show a page of the forger's own list.
fn checksum(tenant: &TenantId, filter: &JobFilter, last: JobId) -> [u8; 8] {
    let JobFilter {
        states,
        labels,
        created_by,
    } = filter;
    let labels = labels
        .iter()
        .flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    let words = [tenant.as_str(), created_by.as_deref().unwrap_or_default()]
        .into_iter()
        .chain(states.iter().map(String::as_str))
        .chain(labels);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for word in words {
        word.bytes().for_each(&mut add);
        add(0xff);
    }
    last.as_bytes().iter().copied().for_each(add);
    hash.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place() {
        let (tenant, filter, last) = (
            TenantId::default_tenant(),
            JobFilter::default(),
            JobId::generate(),
        );
        let text = token(&tenant, &filter, last);
        assert_eq!(parse(&tenant, &filter, &text).unwrap(), last);
    }

    #[test]
    fn a_token_of_another_list_or_a_changed_one_is_refused() {
        let (tenant, filter, last) = (
            TenantId::default_tenant(),
            JobFilter::default(),
            JobId::generate(),
        );
        let text = token(&tenant, &filter, last);
        let other = JobFilter {
            states: vec!["queued".into()],
            ..JobFilter::default()
        };
        assert!(parse(&tenant, &other, &text).is_err());
        assert!(parse(&"other".parse().unwrap(), &filter, &text).is_err());
        for bad in [
            "",
            "01",
            "zz",
            "é",
            &text[2..],
            &text.to_uppercase(),
            &format!("{text}00"),
            &text.replacen("01", "02", 1),
            &"0".repeat(1_000_000),
        ] {
            assert!(parse(&tenant, &filter, bad).is_err(), "{bad:.80}");
        }
    }
}
