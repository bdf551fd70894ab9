//! Rules taken off the allow-list for a run: how the tests show that each rule has a program that needs it.
//!
//! A rule is named by its call (`getpid`), or by its call and what one of its alternatives means, without remarks
//! after a comma (`ioctl/TCGETS`, `socket/AF_INET+SOCK_STREAM+IPPROTO_TCP`).

use super::{AllowRule, Condition, PolicyError};

/// Takes the named rules off the list. Only for control arms; every other program refuses.
pub(super) fn take_off(allow: &mut Vec<AllowRule>, names: &[String]) -> Result<(), PolicyError> {
    if !names.is_empty() && !cfg!(feature = "control-arms") {
        return Err(PolicyError::RulesTakenOff);
    }
    names.iter().try_for_each(|name| take_one_off(allow, name))
}

fn take_one_off(allow: &mut Vec<AllowRule>, name: &str) -> Result<(), PolicyError> {
    let no_such_rule = || PolicyError::NoSuchRule {
        rule: name.to_owned(),
    };
    let (call, alternative) = match name.split_once('/') {
        Some((call, alternative)) => (call, Some(alternative)),
        None => (name, None),
    };
    let at = allow
        .iter()
        .position(|rule| rule.call == call)
        .ok_or_else(no_such_rule)?;
    if let Some(alternative) = alternative {
        let any = &mut allow[at].any;
        let one = any
            .iter()
            .position(|conditions| name_of(conditions) == alternative);
        any.remove(one.ok_or_else(no_such_rule)?);
        // A call without conditions would pass whatever its arguments.
        if !any.is_empty() {
            return Ok(());
        }
    }
    allow.remove(at);
    Ok(())
}

/// What an alternative is called.
pub(super) fn name_of(conditions: &[Condition]) -> String {
    let names = conditions.iter().map(|condition| {
        let remarkless = condition.meaning.split_once(',');
        remarkless.map_or(condition.meaning.as_str(), |(name, _)| name)
    });
    names.collect::<Vec<_>>().join("+")
}
