//! Delivery: one thread writes to many members, and none of them can make it wait.
//!
//! A frame is encoded once and shared. It is sent at once to every member whose socket accepts it. For a member whose
//! socket is full, it is kept in a bounded queue, and the thread polls that socket until it accepts bytes again. Beyond
//! the bound, new frames for that one member are dropped, and it is told how many, or its connection is ended: see
//! [`SlowPolicy`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::event::{Event, Format};
use crate::net::control::Control;
use crate::net::listen::STACK_LEN;
use crate::net::stream::WriteHalf;
use crate::wire::message::Message;

/// Largest number of bytes kept for one slow member.
pub const LEFTOVER_LEN_MAX: usize = 1024 * 1024;
/// Largest number of frames kept for one slow member: a small frame's queue entry costs more than its bytes.
pub const LEFTOVER_FRAMES_MAX: usize = 4_096;
/// Jobs that may wait for a fan-out thread before senders of messages wait too: at most 64 MiB of text.
pub const INBOX_JOBS_MAX: usize = 1_024;
/// Largest number of frames written in one system call.
const BATCH_FRAMES_MAX: usize = 64;

/// What becomes of a member that reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowPolicy {
    /// It misses events, and is told how many.
    #[default]
    Drop,
    /// Its connection is ended; it may come back and get what it missed.
    Disconnect,
}

/// Where a member's events go.
#[derive(Debug)]
pub struct EventSink {
    /// Where to write.
    pub writer: WriteHalf,
    /// In which form.
    pub format: Format,
    /// Ends the connection.
    pub control: Control,
}

/// A job for a fan-out thread.
#[derive(Debug)]
pub enum FanoutJob {
    /// Adds a member: from now on only this thread writes to it.
    Enter {
        /// The member.
        id: u64,
        /// Where its events go.
        sink: EventSink,
    },
    /// Adds a member to a room.
    Join {
        /// The member.
        id: u64,
        /// The room.
        room: Arc<str>,
    },
    /// Removes a member from a room.
    Leave {
        /// The member.
        id: u64,
        /// The room.
        room: Arc<str>,
    },
    /// An event for all members of a room, except one.
    TellRoom {
        /// The room.
        room: Arc<str>,
        /// The event.
        event: Arc<Event>,
        /// The member that sent it and does not get it; `None`: all members get it.
        except: Option<u64>,
    },
    /// An event for all that are in at least one of these rooms: once for each.
    TellRooms {
        /// The rooms.
        rooms: Arc<[Arc<str>]>,
        /// The event.
        event: Arc<Event>,
    },
    /// An event for one member.
    Tell {
        /// The member.
        id: u64,
        /// The event.
        event: Arc<Event>,
    },
    /// Bytes of the connection's own protocol for one member, such as the answer to a ping: not sent where its queue is
    /// full.
    Answer {
        /// The member.
        id: u64,
        /// Whole frames.
        bytes: Arc<[u8]>,
    },
    /// Past events for a member that enters or comes back: all of them, whatever their number.
    Replay {
        /// The member.
        id: u64,
        /// The events, in their order.
        events: Vec<Arc<Event>>,
    },
    /// Removes a member: after the answer, which is the bytes not yet sent, another thread may write to it.
    TakeOut {
        /// The member.
        id: u64,
        /// Receives the bytes that were not yet sent.
        leftover: SyncSender<Vec<u8>>,
    },
}

/// A handle of a fan-out thread. The thread runs as long as the server's process.
#[derive(Debug)]
pub struct Fanout {
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    jobs: Mutex<Vec<FanoutJob>>,
    taken: Condvar,
    wake: OwnedFd,
}

impl Fanout {
    /// Starts a thread with no members.
    ///
    /// # Errors
    /// It could not start.
    pub fn start(slow: SlowPolicy) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inbox = Arc::new(Inbox { jobs: Mutex::default(), taken: Condvar::new(), wake });
        let worker = Worker { inbox: Arc::clone(&inbox), members: HashMap::new(), rooms: HashMap::new(), slow };
        thread::Builder::new().name("fan-out".into()).stack_size(STACK_LEN).spawn(move || worker.run())?;
        Ok(Self { inbox })
    }

    /// Queues a job for the thread; never waits.
    pub fn give(&self, job: FanoutJob) {
        let mut jobs = self.inbox.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = jobs.is_empty();
        jobs.push(job);
        drop(jobs);
        if was_empty && let Err(error) = rustix::io::write(&self.inbox.wake, &1_u64.to_ne_bytes()) {
            // Only a full counter could refuse, and then the thread is awake anyway.
            tracing::debug!(%error, "a fan-out thread was not woken");
        }
    }

    /// Waits while too many jobs are queued: a member that sends faster than the thread can deliver is slowed down.
    /// Must not be called while holding a lock.
    pub fn wait_for_room(&self) {
        let mut jobs = self.inbox.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        while jobs.len() >= INBOX_JOBS_MAX {
            jobs = self.inbox.taken.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Removes a member; returns the bytes not yet sent to it.
    pub fn take_out(&self, id: u64) -> Vec<u8> {
        let (leftover, answer) = sync_channel(1);
        self.give(FanoutJob::TakeOut { id, leftover });
        answer.recv().unwrap_or_default()
    }
}

struct Worker {
    inbox: Arc<Inbox>,
    members: HashMap<u64, Reader>,
    rooms: HashMap<Arc<str>, HashSet<u64>>,
    slow: SlowPolicy,
}

/// A member as the fan-out sees it: a receiver of frames.
struct Reader {
    rooms: Vec<Arc<str>>,
    writer: WriteHalf,
    format: Format,
    control: Control,
    slow: SlowPolicy,
    waiting: VecDeque<Arc<[u8]>>,
    /// Bytes of the first waiting frame that are sent already: `offset <= waiting[0].len()`.
    offset: usize,
    /// Bytes that wait in all.
    waiting_len: usize,
    dropped: u64,
    is_gone: bool,
    /// Whether it is on the list of members that are written to after this round's jobs.
    is_touched: bool,
}

/// An event for a room, without the member that sent it.
struct RoomEvent {
    event: Arc<Event>,
    except: Option<u64>,
}

impl Worker {
    fn run(mut self) {
        let mut jobs = Vec::new();
        let mut touched = Vec::new();
        loop {
            self.sleep(&mut touched);
            std::mem::swap(&mut jobs, &mut *self.inbox.jobs.lock().unwrap_or_else(PoisonError::into_inner));
            self.inbox.taken.notify_all();
            // Consecutive frames for one room are delivered together: each member is looked up once.
            let mut told: Option<(Arc<str>, Vec<RoomEvent>)> = None;
            for job in jobs.drain(..) {
                match (job, &mut told) {
                    (FanoutJob::TellRoom { room, event, except }, Some((same, events))) if room == *same => {
                        events.push(RoomEvent { event, except });
                    }
                    (FanoutJob::TellRoom { room, event, except }, told) => {
                        self.tell_room(told.replace((room, vec![RoomEvent { event, except }])), &mut touched);
                    }
                    (job, told) => {
                        self.tell_room(told.take(), &mut touched);
                        self.carry_out(job, &mut touched);
                    }
                }
            }
            self.tell_room(told, &mut touched);
            for id in touched.drain(..) {
                if let Some(member) = self.members.get_mut(&id) {
                    member.is_touched = false;
                    member.write();
                }
            }
        }
    }

    /// Waits for jobs, or for room at a member that has something waiting.
    fn sleep(&mut self, touched: &mut Vec<u64>) {
        let slow: Vec<(u64, &WriteHalf)> = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_gone && (!member.waiting.is_empty() || member.writer.has_unsent()))
            .map(|(id, member)| (*id, &member.writer))
            .collect();
        let mut polled = vec![PollFd::new(&self.inbox.wake, PollFlags::IN)];
        polled.extend(slow.iter().map(|(_, writer)| PollFd::new(*writer, PollFlags::OUT)));
        if let Err(error) = poll(&mut polled, None)
            && error != rustix::io::Errno::INTR
        {
            tracing::error!(%error, "a fan-out thread could not wait");
            thread::yield_now();
        }
        let mut counter = [0; 8];
        // The counter's value is not needed: the inbox holds the jobs.
        if let Err(error) = rustix::io::read(&self.inbox.wake, &mut counter)
            && error != rustix::io::Errno::AGAIN
        {
            tracing::debug!(%error, "a fan-out thread's counter could not be read");
        }
        let ready = polled.iter().skip(1).zip(&slow).filter(|(polled, _)| !polled.revents().is_empty());
        touched.extend(ready.map(|(_, (id, _))| *id));
        for id in touched {
            if let Some(member) = self.members.get_mut(id) {
                member.is_touched = true;
            }
        }
    }

    fn tell_room(&mut self, told: Option<(Arc<str>, Vec<RoomEvent>)>, touched: &mut Vec<u64>) {
        let Some((room, events)) = told else { return };
        for id in self.rooms.get(&room).into_iter().flatten() {
            let Some(member) = self.members.get_mut(id) else { continue };
            for told in events.iter().filter(|told| told.except != Some(*id)) {
                member.add(&told.event);
            }
            member.touch(*id, touched);
        }
    }

    fn carry_out(&mut self, job: FanoutJob, touched: &mut Vec<u64>) {
        match job {
            FanoutJob::Enter { id, sink } => {
                self.members.insert(id, Reader::new(sink, self.slow));
            }
            FanoutJob::Join { id, room } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.rooms.push(Arc::clone(&room));
                    self.rooms.entry(room).or_default().insert(id);
                }
            }
            FanoutJob::Leave { id, room } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.rooms.retain(|other| *other != room);
                }
                self.take_out_of(&room, id);
            }
            FanoutJob::TellRoom { room, event, except } => {
                self.tell_room(Some((room, vec![RoomEvent { event, except }])), touched);
            }
            FanoutJob::TellRooms { rooms, event } => {
                let ids: HashSet<u64> =
                    rooms.iter().filter_map(|room| self.rooms.get(room)).flatten().copied().collect();
                for id in ids {
                    self.tell(id, touched, |member| member.add(&event));
                }
            }
            FanoutJob::Tell { id, event } => self.tell(id, touched, |member| member.add(&event)),
            FanoutJob::Answer { id, bytes } => self.tell(id, touched, |member| member.add_answer(bytes)),
            FanoutJob::Replay { id, events } => self.tell(id, touched, |member| member.add_past(&events)),
            FanoutJob::TakeOut { id, leftover } => {
                let member = self.members.remove(&id);
                for room in member.iter().flat_map(|member| &member.rooms) {
                    self.take_out_of(room, id);
                }
                // The connection's thread waits for this answer.
                drop(leftover.send(member.map(Reader::into_leftover).unwrap_or_default()));
            }
        }
    }

    fn tell(&mut self, id: u64, touched: &mut Vec<u64>, add: impl FnOnce(&mut Reader)) {
        if let Some(member) = self.members.get_mut(&id) {
            add(member);
            member.touch(id, touched);
        }
    }

    fn take_out_of(&mut self, room: &Arc<str>, id: u64) {
        if let Some(ids) = self.rooms.get_mut(room) {
            ids.remove(&id);
            if ids.is_empty() {
                self.rooms.remove(room);
            }
        }
    }
}

impl Reader {
    fn new(EventSink { writer, format, control }: EventSink, slow: SlowPolicy) -> Self {
        Self {
            rooms: Vec::new(),
            writer,
            format,
            control,
            slow,
            waiting: VecDeque::new(),
            offset: 0,
            waiting_len: 0,
            dropped: 0,
            is_gone: false,
            is_touched: false,
        }
    }

    fn touch(&mut self, id: u64, touched: &mut Vec<u64>) {
        if !self.is_touched {
            self.is_touched = true;
            touched.push(id);
        }
    }

    fn add(&mut self, event: &Event) {
        if self.is_gone || !event.is_for(self.format) {
            return;
        }
        let frame = event.bytes(self.format);
        if self.dropped > 0 && self.waiting_len <= LEFTOVER_LEN_MAX / 2 && self.waiting.len() <= LEFTOVER_FRAMES_MAX / 2
        {
            self.own_up();
        }
        // One frame longer than the bound (the nicks of a large room) is still sent to a member with an empty queue.
        let is_too_long = !self.waiting.is_empty() && self.waiting_len + frame.len() > LEFTOVER_LEN_MAX;
        let is_full = is_too_long || self.waiting.len() >= LEFTOVER_FRAMES_MAX;
        if is_full && self.slow == SlowPolicy::Disconnect {
            self.control.stop();
            self.give_up();
            return;
        }
        if is_full || self.dropped > 0 {
            self.dropped += 1;
            return;
        }
        self.push(Arc::clone(frame));
    }

    fn add_answer(&mut self, bytes: Arc<[u8]>) {
        let is_full = self.waiting_len + bytes.len() > LEFTOVER_LEN_MAX || self.waiting.len() >= LEFTOVER_FRAMES_MAX;
        if !self.is_gone && !is_full {
            self.push(bytes);
        }
    }

    /// The past is bounded by the room's log. It is one piece, so that its number of frames does not count.
    fn add_past(&mut self, events: &[Arc<Event>]) {
        if self.is_gone || events.is_empty() {
            return;
        }
        let frames: Vec<Arc<[u8]>> = events.iter().map(|event| event.past_bytes(self.format)).collect();
        self.push(frames.concat().into());
    }

    /// Queues the notice of dropped frames, at the position where they are missing.
    fn own_up(&mut self) {
        let notice = Event::of(Message::Dropped { count: self.dropped, room: None }, &[]);
        self.dropped = 0;
        self.push(Arc::clone(notice.bytes(self.format)));
    }

    fn push(&mut self, frame: Arc<[u8]>) {
        self.waiting_len += frame.len();
        self.waiting.push_back(frame);
    }

    /// Writes what the socket accepts now.
    fn write(&mut self) {
        while !self.is_gone {
            if self.waiting.is_empty() {
                if self.dropped == 0 {
                    return self.write_unsent();
                }
                self.own_up();
            }
            let slices: Vec<IoSlice<'_>> = self
                .waiting
                .iter()
                .take(BATCH_FRAMES_MAX)
                .enumerate()
                .map(|(at, frame)| IoSlice::new(frame.get(if at == 0 { self.offset } else { 0 }..).unwrap_or_default()))
                .collect();
            match self.writer.try_write(&slices) {
                Ok(len) => self.count_sent(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.give_up(),
            }
        }
    }

    /// An encrypted connection may have taken more than its socket did.
    fn write_unsent(&mut self) {
        match self.writer.try_flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.give_up(),
            Ok(()) | Err(_) => {}
        }
    }

    /// The connection's own thread sees the same end and takes this member out.
    fn give_up(&mut self) {
        self.is_gone = true;
        self.waiting.clear();
        self.waiting_len = 0;
        self.offset = 0;
    }

    fn count_sent(&mut self, mut len: usize) {
        self.waiting_len -= len;
        while let Some(first) = self.waiting.front() {
            let left = first.len() - self.offset;
            if len < left {
                self.offset += len;
                return;
            }
            len -= left;
            self.offset = 0;
            self.waiting.pop_front();
        }
    }

    fn into_leftover(self) -> Vec<u8> {
        let mut leftover = Vec::with_capacity(self.waiting_len);
        for (at, frame) in self.waiting.iter().enumerate() {
            leftover.extend_from_slice(frame.get(if at == 0 { self.offset } else { 0 }..).unwrap_or_default());
        }
        leftover
    }
}
