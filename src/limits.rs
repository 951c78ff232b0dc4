//! What commands may take of a server, as its operator decides; and how many of them run now.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an operator decides.
#[derive(Debug, Clone, Copy)]
pub struct CommandCaps {
    /// Commands that run at the same time.
    pub running: usize,
    /// Bytes a second that one command may write, both outputs together; `None`: as fast as it can.
    pub output_rate: Option<u64>,
    /// Processes and threads; `None`: as many as the machine lets it.
    pub processes: Option<u64>,
}

impl Default for CommandCaps {
    fn default() -> Self {
        Self { running: RUNNING_MAX, output_rate: None, processes: None }
    }
}

/// Commands that run at the same time, if nobody says: a fan-out of a whole room of clients, and below what a machine's
/// processes and pipes bear.
pub const RUNNING_MAX: usize = 512;

/// The caps, and who counts against them.
#[derive(Debug)]
pub struct CommandSlots {
    caps: CommandCaps,
    running: AtomicUsize,
}

/// No command more may run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} commands run already (--exec-max-running {0}); try again later")]
pub struct AllRun(usize);

impl CommandSlots {
    /// With these caps, and nothing running.
    pub fn new(caps: CommandCaps) -> Arc<Self> {
        Arc::new(Self { caps, running: AtomicUsize::new(0) })
    }

    /// A slot for one command.
    ///
    /// # Errors
    /// All are taken.
    pub fn take(self: &Arc<Self>) -> Result<CommandSlot, AllRun> {
        let more = |running: usize| (running < self.caps.running).then_some(running + 1);
        match self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(CommandSlot(Arc::clone(self))),
            Err(_) => Err(AllRun(self.caps.running)),
        }
    }
}

/// The slot of one command, given back when it is dropped.
#[derive(Debug)]
pub struct CommandSlot(Arc<CommandSlots>);

impl CommandSlot {
    /// What the command may take.
    pub fn caps(&self) -> &CommandCaps {
        &self.0.caps
    }
}

impl Drop for CommandSlot {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_run_and_no_more_until_one_has_ended() {
        let commands = CommandSlots::new(CommandCaps { running: 2, ..CommandCaps::default() });
        let first = commands.take().unwrap();
        let second = commands.take().unwrap();
        let refused = commands.take().unwrap_err().to_string();
        assert_eq!(refused, "2 commands run already (--exec-max-running 2); try again later");
        drop(first);
        let third = commands.take().unwrap();
        assert!(commands.take().is_err());
        drop((second, third));
        assert_eq!(commands.running.load(Ordering::Acquire), 0);
    }

    #[test]
    fn however_many_ask_at_once() {
        let commands = CommandSlots::new(CommandCaps { running: 3, ..CommandCaps::default() });
        let taken: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| commands.take())).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 3);
    }
}
