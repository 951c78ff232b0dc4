//! From the outbox to the bus.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::hub::HubState;
use super::link::BusError;
use super::{Half, Shared, keep_trying};

/// Messages of one transaction, and about how many bytes.
const BATCH_MESSAGES: usize = 256;
const BATCH_LEN: usize = 1024 * 1024;
/// How long a connection is idle before it is tried.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// The thread that publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) shared: Arc<Shared>,
    pub(super) hub: Weak<HubState>,
}

impl Publisher {
    /// Publishes until the hub is gone.
    pub(super) fn run(&self) {
        keep_trying(&self.hub, |connected| {
            let published = self.publish(connected);
            if let (Err(error), Some(hub)) = (&published, self.hub.upgrade()) {
                self.shared.set_status(Half::Publisher, Err(error), &hub);
            }
            published
        });
    }

    /// Publishes over one connection.
    fn publish(&self, connected: &dyn Fn()) -> Result<(), BusError> {
        let outbox = &self.shared.outbox;
        let mut link = self.shared.maker.connect()?;
        // A bus that was started anew may have lost what it had: it is given again, and servers that have it know.
        let has = link.last_sent(outbox.server())?;
        outbox.set_published(has).map_err(BusError::Outbox)?;
        if let Some(hub) = self.hub.upgrade() {
            self.shared.set_status(Half::Publisher, Ok(()), &hub);
        }
        connected();
        while self.hub.strong_count() > 0 {
            let entries = outbox.unpublished(BATCH_MESSAGES, BATCH_LEN, IDLE_TIME);
            let Some(last) = entries.last() else {
                link.ping()?;
                continue;
            };
            link.publish(outbox.server(), &entries)?;
            outbox.set_published(Some(last.seq)).map_err(BusError::Outbox)?;
        }
        Ok(())
    }
}
