//! The labels that make a sandbox a member of a project.

use std::collections::BTreeMap;

use super::Need;
use crate::config::Condition;

/// The project's name.
pub const LABEL_PROJECT: &str = "dev.monocore.project";
/// The service's name.
pub const LABEL_SERVICE: &str = "dev.monocore.service";
/// The names of the service's groups, separated by commas.
pub const LABEL_GROUPS: &str = "dev.monocore.groups";
/// The number of the replica, from 1.
pub(super) const LABEL_NUMBER: &str = "dev.monocore.number";
/// The services that are needed, as `NAME:CONDITION,…`; a question mark follows where the need is not required.
pub(super) const LABEL_NEEDS: &str = "dev.monocore.needs";

/// Writes `needs` as the value of [`LABEL_NEEDS`].
pub(super) fn write_needs(needs: &[Need]) -> String {
    let text = |need: &Need| {
        let mark = if need.required { "" } else { "?" };
        format!("{}:{}{mark}", need.service, condition_name(need.condition))
    };
    needs.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Reads [`LABEL_NEEDS`]; what it does not understand is passed over, as labels are the user's to change.
pub(super) fn read_needs(labels: &BTreeMap<String, String>) -> Vec<Need> {
    let text = labels.get(LABEL_NEEDS).map_or("", String::as_str);
    let read = |part: &str| {
        let (service, condition) = part.rsplit_once(':')?;
        let optional = condition.strip_suffix('?');
        let condition = parse_condition(optional.unwrap_or(condition))?;
        Some(Need { service: service.to_owned(), condition, required: optional.is_none() })
    };
    text.split(',').filter_map(read).collect()
}

fn condition_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    }
}

fn parse_condition(text: &str) -> Option<Condition> {
    let all = [Condition::Started, Condition::Healthy, Condition::Completed];
    all.into_iter().find(|condition| condition_name(*condition) == text)
}
