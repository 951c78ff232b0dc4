//! The operator's limits on commands, and the slots of the commands that run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::trust::Owner;

/// Limits on commands, set by the operator.
#[derive(Debug, Clone, Copy)]
pub struct CommandCaps {
    /// Largest number of commands that run at the same time.
    pub running: usize,
    /// Bytes a second that one command may write, both outputs together; `None`: no limit.
    pub output_rate: Option<u64>,
    /// Processes and threads that one command may have; `None`: as many as the system permits.
    pub processes: Option<u64>,
}

impl Default for CommandCaps {
    fn default() -> Self {
        Self { running: RUNNING_MAX, output_rate: None, processes: None }
    }
}

/// Default of [`CommandCaps::running`]: enough for a command on a large group of clients, and below the limits of a
/// machine's processes and pipes.
pub const RUNNING_MAX: usize = 512;

/// The party that a command counts for, among those that share the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotShare {
    /// The server's own user, who gets a slot however many the others have.
    Own,
    /// A known peer, or a token.
    Peer(Owner),
    /// All guests together: one guest may have any number of keys and addresses.
    Guests,
}

/// The limits, and the commands that count against them.
///
/// No peer can hold all slots: a peer that holds as many as are free gets no more. So one peer gets half of them, a
/// second peer a quarter, and one is left for the next (a dynamic threshold, as switches use for their buffers). All
/// guests together count as one peer. The own user's commands take slots too, but only their own number is limited.
#[derive(Debug)]
pub struct CommandSlots {
    caps: CommandCaps,
    running: Mutex<HashMap<SlotShare, usize>>,
}

/// No further command may run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// All slots are taken.
    #[error("{0} commands run already, which is the limit here; try again later")]
    AllRun(usize),
    /// The peer's share of the slots is taken.
    #[error(
        "{yours} commands of yours run already, which is your share of the {limit} that may run here; \
         try again when one has ended"
    )]
    Share {
        /// Commands that this peer, or all guests together, run now.
        yours: usize,
        /// The limit of all.
        limit: usize,
    },
}

impl CommandSlots {
    /// Slots with these limits, and no command running.
    pub fn new(caps: CommandCaps) -> Arc<Self> {
        Arc::new(Self { caps, running: Mutex::default() })
    }

    /// Takes a slot for one command.
    ///
    /// # Errors
    /// All slots are taken, or the party's share of them is.
    pub fn take(self: &Arc<Self>, share: SlotShare) -> Result<CommandSlot, NoSlot> {
        let limit = self.caps.running;
        let mut running = self.running();
        let total: usize = running.values().sum();
        let yours = running.get(&share).copied().unwrap_or(0);
        match share {
            SlotShare::Own if yours >= limit => return Err(NoSlot::AllRun(limit)),
            SlotShare::Peer(_) | SlotShare::Guests if total >= limit => return Err(NoSlot::AllRun(limit)),
            SlotShare::Peer(_) | SlotShare::Guests if yours >= limit - total => {
                return Err(NoSlot::Share { yours, limit });
            }
            SlotShare::Own | SlotShare::Peer(_) | SlotShare::Guests => {}
        }
        *running.entry(share).or_insert(0) += 1;
        drop(running);
        Ok(CommandSlot { slots: Arc::clone(self), share })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<SlotShare, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of one command, given back when it is dropped.
#[derive(Debug)]
pub struct CommandSlot {
    slots: Arc<CommandSlots>,
    share: SlotShare,
}

impl CommandSlot {
    /// The limits of the command.
    pub fn caps(&self) -> &CommandCaps {
        &self.slots.caps
    }
}

impl Drop for CommandSlot {
    fn drop(&mut self) {
        let mut running = self.slots.running();
        if let Some(count) = running.get_mut(&self.share) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.remove(&self.share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::identity::Fingerprint;

    fn slots(running: usize) -> Arc<CommandSlots> {
        CommandSlots::new(CommandCaps { running, ..CommandCaps::default() })
    }

    fn peer(name: &str) -> SlotShare {
        SlotShare::Peer(Owner::Key(Fingerprint::of_spki(name.as_bytes())))
    }

    fn all_of(slots: &Arc<CommandSlots>, share: SlotShare) -> Vec<CommandSlot> {
        std::iter::from_fn(|| slots.take(share).ok()).collect()
    }

    #[test]
    fn so_many_run_and_no_more_until_one_has_ended() {
        let commands = slots(2);
        let first = commands.take(SlotShare::Own).unwrap();
        let second = commands.take(SlotShare::Own).unwrap();
        let refused = commands.take(SlotShare::Own).unwrap_err().to_string();
        assert_eq!(refused, "2 commands run already, which is the limit here; try again later");
        assert_eq!(commands.take(peer("a")).unwrap_err(), NoSlot::AllRun(2));
        drop(first);
        let third = commands.take(SlotShare::Own).unwrap();
        assert!(commands.take(SlotShare::Own).is_err());
        drop((second, third));
        assert!(commands.running().is_empty());
    }

    #[test]
    fn no_peer_holds_all_slots_and_the_own_user_always_gets_in() {
        let commands = slots(RUNNING_MAX);
        let mut held = Vec::new();
        for (n, want) in [256, 128, 64, 32, 16, 8, 4, 2, 1].into_iter().enumerate() {
            let share = peer(&n.to_string());
            let theirs = all_of(&commands, share);
            assert_eq!(theirs.len(), want, "peer {n}");
            assert_eq!(commands.take(share).unwrap_err(), NoSlot::Share { yours: want, limit: RUNNING_MAX });
            held.extend(theirs);
        }
        let last = commands.take(peer("the tenth")).unwrap();
        assert_eq!(commands.take(peer("the eleventh")).unwrap_err(), NoSlot::AllRun(RUNNING_MAX));
        assert_eq!(all_of(&commands, SlotShare::Own).len(), RUNNING_MAX);
        drop(last);
        held.truncate(100);
        assert!(commands.take(peer("the eleventh")).is_ok());
    }

    #[test]
    fn all_guests_together_are_one_peer() {
        let commands = slots(8);
        let held: Vec<_> = (0..100).filter_map(|_| commands.take(SlotShare::Guests).ok()).collect();
        assert_eq!(held.len(), 4);
        assert_eq!(all_of(&commands, peer("a")).len(), 2);
        // With one slot, every party may take it.
        for share in [peer("a"), SlotShare::Guests, SlotShare::Own] {
            assert_eq!(all_of(&slots(1), share).len(), 1, "{share:?}");
        }
    }

    #[test]
    fn however_many_ask_at_once() {
        let commands = slots(3);
        let taken: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| commands.take(SlotShare::Own))).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 3);
    }
}
