//! Governance put together: one value that the server and the command line hold.

use std::sync::Arc;

use tripline_engine::SharedClock;

use super::GovernError;
use super::clicks::{Clicks, ClicksParts};
use super::desk::Desk;
use super::fixes::{Fixes, FixesParts};
use super::gate::{Gate, GateParts};
use super::refusals::RefusalLog;
use crate::AgentContext;
use crate::actions::{Destinations, Notices, Outbox, OutboxOptions, OutboxParts, Waker};

/// Everything of governance, sharing one waker and one record of refusals. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Governance {
    /// Takes incidents.
    pub gate: Arc<Gate>,
    /// Makes decisions.
    pub desk: Desk,
    /// Takes clicks.
    pub clicks: Clicks,
    /// Takes fixes of prompts.
    pub fixes: Fixes,
    /// Does what was decided.
    pub outbox: Outbox,
    /// Tells.
    pub notices: Notices,
    /// Where actions go.
    pub destinations: Arc<Destinations>,
}

impl Governance {
    /// Governance over an agent's store.
    ///
    /// `system_clock` is the machine's: signatures and vendors' stamps are by it, whatever the product's clock was set
    /// to.
    ///
    /// # Errors
    /// When the HTTP client for actions cannot be made.
    pub fn new(
        context: &AgentContext,
        system_clock: SharedClock,
        destinations: Destinations,
        options: OutboxOptions,
    ) -> Result<Self, GovernError> {
        let destinations = Arc::new(destinations);
        let notices = Notices::new(context.store.clone(), Waker::default());
        let refusals = Arc::new(RefusalLog::new(context.store.clone(), context.scope.clone()));
        let desk = Desk::new(context.store.clone(), context.settings.clone(), notices.clone());
        let gate = Gate::new(GateParts {
            store: context.store.clone(),
            clock: context.clock.clone(),
            settings: context.settings.clone(),
            destinations: Arc::clone(&destinations),
            desk: desk.clone(),
            notices: notices.clone(),
            refusals: Arc::clone(&refusals),
        });
        let clicks = Clicks::new(ClicksParts {
            store: context.store.clone(),
            scope: context.scope.clone(),
            clock: context.clock.clone(),
            system_clock: system_clock.clone(),
            destinations: Arc::clone(&destinations),
            desk: desk.clone(),
            notices: notices.clone(),
            refusals,
        });
        let outbox = Outbox::new(OutboxParts {
            store: context.store.clone(),
            scope: context.scope.clone(),
            clock: context.clock.clone(),
            system_clock,
            settings: context.settings.clone(),
            destinations: Arc::clone(&destinations),
            notices: notices.clone(),
            options,
        })?;
        let fixes = Fixes::new(FixesParts {
            store: context.store.clone(),
            scope: context.scope.clone(),
            clock: context.clock.clone(),
            settings: context.settings.clone(),
            destinations: Arc::clone(&destinations),
            desk: desk.clone(),
            notices: notices.clone(),
            outbox: outbox.clone(),
        });
        Ok(Self { gate: Arc::new(gate), desk, clicks, fixes, outbox, notices, destinations })
    }
}
