//! Who is to blame for an error, and whether trying again can help.

/// Every boundary error answers with one of these; retry, gRPC status and metric label follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller asked for something impossible; trying again gives the same answer.
    Caller,
    /// A limit of load was reached; trying again later helps.
    Busy,
    /// Something outside is away for the moment; trying again helps.
    Transient,
    /// This host lacks something or is out of something; an operator must act.
    Host,
    /// We are wrong.
    Bug,
}

impl Fault {
    /// The word used in metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Fault::Caller => "caller",
            Fault::Busy => "busy",
            Fault::Transient => "transient",
            Fault::Host => "host",
            Fault::Bug => "bug",
        }
    }
}
