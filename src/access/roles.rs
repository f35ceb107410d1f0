//! The one table of who may do what. What it does not allow is denied.

use crate::wire::{Op, Operations};

/// What a principal is there for; it may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Orders envelopes, for any sender, and takes them back.
    Issuer,
    /// Claims, for any user.
    Claimer,
    /// Confirms payments; each needs its seal as well.
    Payer,
    /// Receives the settlement stream.
    Settler,
    /// Looks after the server: sees everything and moves no money.
    Admin,
    /// Grades users, keeps the lists, and decides about held shares.
    Risk,
}

use Role::{Admin, Claimer, Issuer, Payer, Risk, Settler};

/// Every operation, and the roles that may ask for it. A handshake is nobody's
/// any more: it has been had.
pub const TABLE: &[(Op, &[Role])] = &[
    (Op::Hello, &[Issuer, Claimer, Payer, Settler, Admin, Risk]),
    (Op::Send, &[Issuer]),
    (Op::Grab, &[Claimer]),
    (Op::Claim, &[Claimer]),
    (Op::Show, &[Issuer, Claimer, Payer, Admin]),
    (Op::Detail, &[Issuer, Claimer, Admin]),
    (Op::Cancel, &[Issuer]),
    (Op::Fund, &[Payer]),
    (Op::Void, &[Issuer]),
    (Op::Reveal, &[Issuer, Claimer, Admin]),
    (Op::SendWith, &[Issuer]),
    (Op::ClaimWith, &[Claimer]),
    (Op::Terms, &[Issuer, Claimer, Admin]),
    (Op::Shake, &[Claimer]),
    (Op::ShakeWith, &[Claimer]),
    (Op::CampaignPlan, &[Issuer]),
    (Op::CampaignCommand, &[Issuer]),
    (Op::CampaignStatus, &[Issuer, Claimer, Admin]),
    (Op::CampaignWins, &[Issuer, Claimer, Admin]),
    (Op::RiskMark, &[Risk]),
    (Op::RiskExplain, &[Risk, Admin]),
    (Op::RiskHolds, &[Risk, Admin]),
    (Op::RiskResolve, &[Risk]),
    (Op::RiskFeed, &[Risk, Admin]),
    (Op::Challenge, &[]),
    (Op::Authenticate, &[]),
];

/// Who may receive the settlement stream, and acknowledge it.
const STREAM: &[Role] = &[Settler];

/// Who may receive what a risk service is to hear, and acknowledge it.
const NEWS: &[Role] = &[Risk];

/// Some roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    const fn bit(role: Role) -> u8 {
        match role {
            Issuer => 1,
            Claimer => 2,
            Payer => 4,
            Settler => 8,
            Admin => 16,
            Risk => 32,
        }
    }

    /// These.
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < roles.len() {
            bits |= Self::bit(roles[at]);
            at += 1;
        }
        Self(bits)
    }

    /// What they may ask for on a data port.
    pub const fn operations(self) -> Operations {
        let (mut operations, mut at) = (Operations::NOTHING, 0);
        while at < TABLE.len() {
            let (op, roles) = TABLE[at];
            if self.meets(roles) {
                operations = operations.with(op);
            }
            at += 1;
        }
        operations
    }

    /// Whether they may receive the settlement stream.
    pub const fn may_settle(self) -> bool {
        self.meets(STREAM)
    }

    /// Whether they may receive what a risk service is to hear.
    pub const fn may_hear_of_risk(self) -> bool {
        self.meets(NEWS)
    }

    const fn meets(self, roles: &[Role]) -> bool {
        self.0 & Self::of(roles).0 != 0
    }
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [
            (Issuer, "issuer"),
            (Claimer, "claimer"),
            (Payer, "payer"),
            (Settler, "settler"),
            (Admin, "admin"),
            (Risk, "risk"),
        ];
        let has = |(role, name)| (self.0 & Self::bit(role) != 0).then_some(name);
        f.write_str(&named.into_iter().filter_map(has).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Role; 6] = [Issuer, Claimer, Payer, Settler, Admin, Risk];

    #[test]
    fn every_operation_has_one_row() {
        for op in (0..=255).filter_map(Op::from_code) {
            let rows = TABLE.iter().filter(|row| row.0 == op).count();
            assert_eq!(rows, 1, "{op:?}: say in the table who may ask for it");
        }
    }

    #[test]
    fn a_role_may_what_its_rows_say_and_nothing_else() {
        for role in ALL {
            let operations = Roles::of(&[role]).operations();
            for code in 0..=63 {
                let row = TABLE.iter().find(|row| row.0.code() == code);
                let expected = row.is_some_and(|row| row.1.contains(&role));
                assert_eq!(operations.has(code), expected, "{role:?} {code}");
            }
        }
        assert!(Roles::default().operations().is_nothing());
    }

    /// Written out once more, so that a slip in the table is seen.
    #[test]
    fn money_moves_only_for_those_whose_role_it_is() {
        let may = |role: Role, op: Op| Roles::of(&[role]).operations().has(op.code());
        for role in ALL {
            assert_eq!(may(role, Op::Send), role == Issuer);
            assert_eq!(may(role, Op::Cancel), role == Issuer);
            assert_eq!(may(role, Op::Void), role == Issuer);
            assert_eq!(may(role, Op::Claim), role == Claimer);
            assert_eq!(may(role, Op::ShakeWith), role == Claimer);
            assert_eq!(may(role, Op::Fund), role == Payer);
            assert_eq!(may(role, Op::RiskResolve), role == Risk);
            assert_eq!(Roles::of(&[role]).may_settle(), role == Settler);
            assert_eq!(Roles::of(&[role]).may_hear_of_risk(), role == Risk);
        }
    }

    #[test]
    fn several_roles_may_what_any_of_them_may() {
        let both = Roles::of(&[Issuer, Claimer]);
        assert!(both.operations().has(Op::Send.code()) && both.operations().has(Op::Claim.code()));
        assert!(!both.operations().has(Op::Fund.code()));
        assert_eq!(both.to_string(), "issuer, claimer");
    }
}
