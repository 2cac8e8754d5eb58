//! `tripline audit verify`: recomputes the hash chain.

use tripline_store::{AuditHead, AuditVerdict, OpenMode, Scope};

use crate::app::Home;
use crate::args::AuditCommand;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(command: AuditCommand, home: &Home) -> Result<(), Failure> {
    let AuditCommand::Verify { anchor } = command;
    let anchor = anchor.as_deref().map(parse_anchor).transpose()?;
    let store = home.open_store(OpenMode::ReadOnly).await?.store();
    match store.audit.verify(&Scope::default_project(), anchor.as_ref()).await? {
        AuditVerdict::Intact { rows, head } => {
            terminal::line(&format!("intact: {rows} entries, head {}:{}", head.seq, head.hash));
            Ok(())
        }
        AuditVerdict::Broken { seq, reason } => {
            Err(Failure::new(format!("the audit log is broken at entry {seq}: {reason}"))
                .hint("entries from there on cannot be trusted; compare with a backup"))
        }
    }
}

fn parse_anchor(text: &str) -> Result<AuditHead, Failure> {
    let parsed = text.split_once(':').and_then(|(seq, hash)| Some((seq.parse().ok()?, hash)));
    match parsed {
        Some((seq, hash)) if hash.len() == 64 => Ok(AuditHead { seq, hash: hash.to_owned() }),
        _ => Err(Failure::usage("an anchor is SEQ:HASH as printed by an earlier run", "--anchor 120:ab12…")),
    }
}
