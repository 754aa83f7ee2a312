//! What delegations allow: looked at where effects happen, so that counts are counted in one place (I11).

use serde::Serialize;

use super::Kernel;
use crate::event::Content;
use crate::policy::Usage;
use crate::span::Millis;
use crate::table::{Delegation, Grant};

/// What stands before the id of a delegation where a rule would be named.
const RULE: &str = "delegation ";

/// Where a delegation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It lets something be done.
    Valid,
    /// All that it let be done was done.
    Spent,
    /// Its time is over.
    Expired,
    /// The operator took it back.
    Revoked,
}

/// A delegation and what was done by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegated<'k> {
    /// Its id.
    pub id: &'k str,
    /// What it lets do.
    pub grant: &'k Grant,
    /// What it allowed so far.
    pub used: Usage,
    /// Where it stands.
    pub standing: Standing,
}

/// What the decision names that a delegation made.
pub(super) fn rule(id: &str) -> String {
    format!("{RULE}{id}")
}

impl Kernel {
    /// All delegations of operators who are such now, the latest first.
    pub fn delegations(&self, now: Millis) -> Vec<Delegated<'_>> {
        let delegated = |(id, it)| {
            let it: &Delegation = it;
            let grant = it.grant.as_ref()?;
            let used = self.allowed_since(&rule(id), 0);
            let spent = used.count >= grant.count || grant.money.is_some_and(|most| used.money >= most);
            let standing = match (it.revoked, it.valid(now)) {
                (Some(_), _) => Standing::Revoked,
                (None, None) => Standing::Expired,
                (None, Some(_)) if spent => Standing::Spent,
                (None, Some(_)) => Standing::Valid,
            };
            Some(Delegated { id, grant, used, standing })
        };
        let mut out: Vec<Delegated<'_>> = self.tables.delegations().filter_map(delegated).collect();
        out.sort_by_key(|it| (std::cmp::Reverse(it.grant.at), it.id));
        out
    }

    /// The delegation that an effect is done by which otherwise asks, of several the one that ends first; `used` says what one allowed
    /// so far.
    pub(super) fn delegated(
        &self,
        content: &Content,
        now: Millis,
        used: &dyn Fn(&str) -> Usage,
    ) -> Option<(String, String)> {
        let agent = content.agent.as_deref();
        let mut found: Vec<(&str, &Grant)> = (self.tables.delegations())
            .filter_map(|(id, it)| Some((id, it.valid(now)?)))
            .filter(|(_, grant)| grant.is_about(&content.capability, &content.target, agent))
            .collect();
        found.sort_by_key(|(id, grant)| (grant.until, *id));
        found.into_iter().find_map(|(id, grant)| {
            let rule = rule(id);
            let used = used(&rule);
            let money = used.money.plus(content.amount.unwrap_or_default());
            let fits = used.count < grant.count && grant.money.is_none_or(|most| money <= most);
            let why = format!("delegated to {}, {} of {}", grant.agent, used.count + 1, grant.count);
            fits.then_some((rule, why))
        })
    }

    /// Whether the delegation that allowed something is void by now; nothing that a policy or the operator allowed is.
    pub(super) fn is_void(&self, rule: Option<&str>, now: Millis) -> bool {
        let id = rule.and_then(|rule| rule.strip_prefix(RULE));
        id.is_some_and(|id| self.tables.delegation(id).is_none_or(|it| it.valid(now).is_none()))
    }

    /// The start of the id of a delegation as it is in events.
    pub fn delegation_id(&self, prefix: &str) -> Option<String> {
        let mut found = self.tables.delegations().filter(|(id, _)| id.starts_with(prefix));
        found.next().filter(|_| found.next().is_none()).map(|(id, _)| id.to_owned())
    }
}
