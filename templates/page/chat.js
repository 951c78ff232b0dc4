// The chat. It stands behind the script of all pages, whose queue takes the files that are dropped here.
// A message has a number and stays in sight as one that waits until the server has acknowledged it: what was not
// acknowledged is sent again over the next connection. Texts and names of others are texts, never HTML.

if (page.page === "chat") {
  const FIRST_ROOM = "lobby";
  const HISTORY = 50;
  const LINES_MAX = 1_000;
  const TEXT_LEN_MAX = 64 * 1024;
  const MESSAGE_LEN_MAX = 132 * 1024;
  /** An answer that takes longer means that the connection is lost, whatever the browser thinks. */
  const ANSWER_TIME = 10_000;
  const STARTED = Date.now();

  const chat = find("#chat");
  const talk = find("#talk");
  const enterForm = find("#enter");
  const nickField = find("#nick");
  const field = find("#text");
  const state = find("#state");
  const roomList = find("#rooms ul");
  const people = find("#people");
  const heading = document.title;
  people.open = matchMedia("(min-width: 60rem)").matches;

  /** What this tab keeps: a reload goes on with it. */
  const kept = { secret: "", nick: "", last: 0, waiting: [], rooms: [FIRST_ROOM] };
  const store = (area, key, value) => { try { area()[key] = value; } catch { /* It keeps nothing. */ } };
  const stored = (area, key) => { try { return area()[key]; } catch { return undefined; } };
  const keep = () => store(() => sessionStorage, "chat", JSON.stringify(kept));

  /** Rooms by name: { name, log, after, people, topic, unread, isMentioned, seen } */
  const rooms = new Map();
  /** Own messages by number: those that wait, and those of this page. */
  const own = new Map();
  let current = FIRST_ROOM;
  let nick = "";
  let wantedNick = "";
  let origin;
  let socket;
  let isIn = false;
  let isOver = false;
  let attempts = 0;
  let directAfter = 0;
  let lostAt = 0;
  let again;
  let answerTimer;

  const clean = (text) =>
    String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

  function setState(name, key, values) {
    chat.dataset.state = name;
    state.textContent = say(key, values);
  }

  /* The log */

  function roomOf(name) {
    if (rooms.has(name)) return rooms.get(name);
    const log = make("div", { className: "log", role: "log", ariaLive: "polite", tabIndex: 0, hidden: true,
      ariaLabel: say("log_of", { room: name }) });
    find("#logs").append(log);
    const room = { name, log, after: undefined, people: new Set(), topic: "", unread: 0, isMentioned: false,
      seen: new Set() };
    rooms.set(name, room);
    showRooms();
    return room;
  }

  const isAtEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;

  /** Puts a line where its number belongs: those that wait are last. */
  function place(room, line, seq) {
    const { log } = room;
    const follows = isAtEnd(log) || line.classList.contains("own");
    line.dataset.seq = seq ?? "";
    let before = null;
    for (let one = log.lastElementChild; one; one = one.previousElementSibling) {
      if (one === line) continue;
      const isLater = one.classList.contains("waits") || (seq !== undefined && Number(one.dataset.seq) > seq);
      if (!isLater || line.classList.contains("waits")) break;
      before = one;
    }
    if (before !== (line.isConnected ? line.nextElementSibling : undefined)) log.insertBefore(line, before);
    while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
    if (follows) log.scrollTop = log.scrollHeight;
  }

  function timeOf(milliseconds) {
    const at = new Date(milliseconds);
    return make("time", { dateTime: at.toISOString(), title: at.toLocaleString(root.lang) },
      at.toLocaleTimeString(root.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
  }

  /** A text whose addresses of the web are links. */
  function linked(text) {
    return clean(text).split(/(https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}])/u).map((part, at) => at % 2 === 0 ? part
      : make("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part));
  }

  function mentions(text) {
    if (!nick) return false;
    if (/\p{Script=Han}/u.test(nick)) return text.includes(nick);
    const name = nick.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    return new RegExp(`(^|[^\\p{L}\\p{N}_])${name}($|[^\\p{L}\\p{N}_])`, "iu").test(text);
  }

  function lineOf({ who, text, time, isGuest, isAction, to, isOwn }) {
    const name = make("span", { className: "who" }, clean(isAction ? `* ${who}` : who));
    if (isGuest) name.append(" ", make("small", {}, say("guest_mark")));
    if (to) name.append(" ", make("small", {}, say("private_to", { nick: clean(to) })));
    const body = make("div", {}, name, make("span", { className: "text", dir: "auto" }, linked(text)));
    const line = make("div", { className: isOwn ? "own" : "" }, timeOf(time), body);
    line.body = body;
    return line;
  }

  function note(room, text, time = Date.now(), className = "note") {
    const line = make("div", {}, timeOf(time), make("span", { className }, clean(text)));
    place(room, line, room.after);
    return line;
  }

  /** A line above what came while the page was not looked at. */
  function markAway(room) {
    if (!document.hidden && room.name === current) return;
    if (room.unread > 0) return;
    find(".away", room.log)?.remove();
    const line = make("div", { className: "away" }, say("unread_here"));
    place(room, line, room.after);
  }

  function count(room, isMention) {
    if (!document.hidden && room.name === current) return;
    room.unread += 1;
    room.isMentioned ||= isMention;
    showRooms();
  }

  function showRooms() {
    const buttons = [...rooms.values()].map((room) => {
      const one = button(make("bdi", {}, clean(room.name)), () => show(room.name), { ariaPressed: room.name === current });
      if (room.unread > 0) {
        const className = room.isMentioned ? "unread mentioned" : "unread";
        one.append(make("span", { className, title: say("unread", { count: room.unread }) }, String(room.unread)));
      }
      return make("li", {}, one);
    });
    roomList.replaceChildren(...buttons, make("li", {}, button("+", joinAnother, { ariaLabel: say("join_room"), title: say("join_room") })));
    const unread = [...rooms.values()].reduce((sum, room) => sum + room.unread, 0);
    document.title = unread > 0 ? `(${unread}) ${heading}` : heading;
  }

  function show(name) {
    current = name;
    const room = roomOf(name);
    for (const { log } of rooms.values()) log.hidden = log !== room.log;
    seen(room);
    showPeople();
    find("#topic").textContent = clean(room.topic);
    room.log.scrollTop = room.log.scrollHeight;
    if (!isTouch) field.focus();
  }

  function seen(room) {
    room.unread = 0;
    room.isMentioned = false;
    showRooms();
  }

  function showPeople() {
    const room = roomOf(current);
    const sorted = [...room.people].sort((one, other) => one.localeCompare(other, root.lang));
    find("summary span", people).textContent = `(${sorted.length})`;
    find("ul", people).replaceChildren(...sorted.map((name) => make("li", {},
      button(make("bdi", {}, clean(name)), () => insert(name), { title: say("mention", { nick: clean(name) }) }))));
  }

  function insert(name) {
    field.setRangeText(`${field.value && !field.value.endsWith(" ") ? " " : ""}${name} `, field.value.length,
      field.value.length, "end");
    field.focus();
  }

  /* The connection */

  const transmit = (message) => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify(message));
    expectAnswer();
  };

  function expectAnswer() {
    const asked = socket;
    answerTimer ??= setTimeout(() => lost(asked), ANSWER_TIME);
  }

  function connect() {
    clearTimeout(again);
    if (socket || isOver || !wantedNick) return;
    setState("connecting", "connecting");
    const url = new URL(`${page.path}?chat`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const opened = new WebSocket(url);
    socket = opened;
    expectAnswer();
    on(opened, "open", enter);
    on(opened, "message", ({ data }) => {
      if (socket !== opened) return;
      clearTimeout(answerTimer);
      answerTimer = undefined;
      if (typeof data === "string") receive(JSON.parse(data));
    });
    on(opened, "close", ({ code, reason }) => lost(opened, code, reason));
  }

  function enter() {
    const first = rooms.get(kept.rooms[0]);
    transmit({ type: "chat", room: kept.rooms[0], nick: wantedNick, client: kept.secret, history: HISTORY,
      after: first?.after, direct_after: directAfter });
  }

  /** The connection is gone. It is made again, later each time. */
  async function lost(which, code, reason) {
    if (!which || which !== socket) return;
    socket = undefined;
    which.close();
    clearTimeout(answerTimer);
    answerTimer = undefined;
    if (isIn) lostAt = Date.now();
    const wasIn = isIn;
    isIn = false;
    if (isOver) return;
    const wait = Math.min(30_000, 500 * 2 ** Math.min(attempts, 6)) * (0.75 + Math.random() / 2);
    attempts += 1;
    setState("lost", kept.waiting.length > 0 ? "lost_waiting" : "lost", { count: kept.waiting.length });
    if (code === 1008 && reason) tellError(clean(reason));
    again = setTimeout(connect, wait);
    if (wasIn && attempts < 2) return;
    // A handshake that is refused looks like a network that is gone: a request tells them apart.
    try {
      await send("HEAD", `${page.path}?chat`);
    } catch (error) {
      if (error instanceof Refused && [401, 403].includes(error.status)) stop(error.message);
    }
  }

  function stop(why) {
    isOver = true;
    clearTimeout(again);
    accessEnded();
    setState("lost", "chat_ended", { why });
    field.disabled = true;
  }

  /** Whether the connection still works, where the browser may not have noticed. */
  function probe() {
    if (isIn) transmit({ type: "names", room: current });
    else connect();
  }

  /* What comes */

  function receive(message) {
    const work = { joined, left, renamed, say: said, ack, refused, names, topic, dropped, error: failed, who, moderate };
    work[message.type]?.(message);
  }

  /** This tab has its own nick; the browser keeps the last one for the next tab. */
  function setNick(to) {
    nick = to;
    wantedNick = to;
    kept.nick = to;
    keep();
    store(() => localStorage, "chat-nick", to);
  }

  function joined({ room: name, nick: who, seq }) {
    if (!isIn) {
      isIn = true;
      setNick(who);
      enterForm.hidden = true;
      talk.hidden = false;
      find("#rooms").hidden = false;
      setState("in", "in_as", { nick: clean(who) });
      if (!kept.rooms.includes(name)) kept.rooms[0] = name;
      const which = socket;
      setTimeout(() => { if (which === socket) attempts = 0; }, 10_000);
      for (const other of kept.rooms.slice(1)) {
        transmit({ type: "join", room: other, history: HISTORY, after: rooms.get(other)?.after });
      }
      const isFirst = !rooms.has(name);
      entered(name, seq);
      for (const waiting of kept.waiting) transmit(waiting);
      if (isFirst) show(name);
    } else if (who === nick) {
      if (!kept.rooms.includes(name)) kept.rooms.push(name);
      keep();
      entered(name, seq);
      if (name === wantedRoom) show(name);
    } else {
      const room = roomOf(name);
      room.people.add(who);
      note(room, say("joined", { nick: who }));
      if (name === current) showPeople();
    }
  }

  /** This client is in a room, or is in it again. */
  function entered(name, seq) {
    const room = roomOf(name);
    transmit({ type: "names", room: name });
    if (lostAt && room.after !== undefined) {
      note(room, say("back", { time: durationText((Date.now() - lostAt) / 1_000) }));
    }
    // What came before this is on its way, or is not kept.
    room.after ??= seq === undefined ? undefined : Math.max(0, seq - HISTORY);
    if (kept.rooms.indexOf(name) === kept.rooms.length - 1) lostAt = 0;
  }

  function left({ room: name, nick: who, lost: isLost }) {
    const room = roomOf(name ?? current);
    room.people.delete(who);
    if (who === nick) return leftRoom(room);
    note(room, say(isLost ? "left_lost" : "has_left", { nick: who }));
    if (room.name === current) showPeople();
  }

  function leftRoom(room) {
    room.log.remove();
    rooms.delete(room.name);
    kept.rooms = kept.rooms.filter((name) => name !== room.name);
    keep();
    if (kept.rooms.length === 0) {
      kept.rooms = [FIRST_ROOM];
      transmit({ type: "join", room: FIRST_ROOM, history: HISTORY });
    }
    if (room.name === current) show(kept.rooms[0]);
    showRooms();
  }

  function renamed({ nick: from, to }) {
    for (const room of rooms.values()) {
      if (!room.people.delete(from) && from !== nick) continue;
      room.people.add(to);
      note(room, say("renamed", { nick: from, to }));
    }
    if (from === nick) {
      setNick(to);
      setState("in", "in_as", { nick: clean(to) });
    }
    showPeople();
  }

  function said(message) {
    const { room: name, nick: who, text = "", id, origin: from, seq, time_ms: time = Date.now(), to } = message;
    const room = roomOf(to ? current : name ?? current);
    if (to) directAfter = Math.max(directAfter, seq ?? 0);
    else if (seq !== undefined) room.after = Math.max(room.after ?? 0, seq);
    const isOwn = own.has(id) && (from === origin || (origin === undefined && who === nick));
    if (isOwn) {
      origin = from;
      return;
    }
    const key = from === undefined || id === undefined ? `${seq} ${who}` : `${from} ${id}`;
    if (room.seen.has(key)) return;
    room.seen.add(key);
    if (room.seen.size > 2 * LINES_MAX) room.seen.delete(room.seen.values().next().value);
    const isMention = Boolean(to) || (who !== nick && mentions(text));
    if (!message.past) markAway(room);
    const line = lineOf({ who, text, time, isGuest: message.guest, isAction: message.action, to: to && nick });
    if (isMention) line.classList.add("mention");
    place(room, line, to ? room.after : seq);
    if (!message.past) count(room, isMention);
  }

  function ack({ id, seq, time_ms: time }) {
    const message = own.get(id);
    forget(id);
    if (!message) return;
    const { line, room } = message;
    line.classList.remove("waits");
    line.mark?.remove();
    if (time !== undefined) find("time", line).replaceWith(timeOf(time));
    if (seq !== undefined && !message.to) {
      room.after = Math.max(room.after ?? 0, seq);
      place(room, line, seq);
    }
  }

  function refused({ id, message: why }) {
    const { line } = own.get(id) ?? {};
    forget(id);
    if (!line) return;
    line.classList.add("failed");
    line.mark.textContent = say("not_sent", { why: clean(why) });
  }

  function forget(id) {
    kept.waiting = kept.waiting.filter((waiting) => waiting.id !== id);
    keep();
    if (isIn) setState("in", "in_as", { nick: clean(nick) });
  }

  function names({ room: name, text = "" }) {
    const room = roomOf(name ?? current);
    room.people = new Set(text.split("\n").filter(Boolean));
    if (room.name === current) showPeople();
  }

  function topic({ room: name, nick: who, text = "" }) {
    const room = roomOf(name);
    room.topic = text;
    if (who) note(room, text ? say("topic_set", { nick: who, text }) : say("topic_none", { nick: who }));
    if (name === current) find("#topic").textContent = clean(text);
  }

  function dropped({ room: name, count: missing }) {
    note(roomOf(name ?? current), missing > 0 ? say("missed", { count: missing }) : say("not_kept"));
  }

  function who({ text = "{}" }) {
    const { nick: name, kind, name: known, fingerprint, rooms: inRooms = [] } = JSON.parse(text);
    const parts = [say(`kind_${kind}`), known, fingerprint, inRooms.join(", ")].filter(Boolean);
    note(roomOf(current), `${name}: ${parts.join(" · ")}`);
  }

  function moderate({ act, nick: name, by, text = "" }) {
    note(roomOf(current), `${by} ${act} ${name}${text ? `: ${text}` : ""}`);
  }

  function failed({ code, message: why }) {
    if (isIn) {
      note(roomOf(current), why);
    } else if (["name-taken", "bad-name", "bad-request"].includes(code)) {
      askNick(clean(why));
    } else if (code === "not-allowed") {
      stop(clean(why));
      socket?.close();
    } else {
      socket?.close();
    }
  }

  function askNick(why = "") {
    enterForm.hidden = false;
    nickField.value = wantedNick || chat.dataset.name;
    wantedNick = "";
    find("#nick-note").textContent = why;
    setState("out", "choose_nick");
    nickField.focus();
    nickField.select();
  }

  /* What goes */

  function post(text, { to, action } = {}) {
    const room = roomOf(current);
    // Greater than every number before, also those of an earlier page.
    const id = Math.max(kept.last + 1, Date.now() * 1_000);
    const message = { type: "say", room: room.name, id, to, action, text };
    const json = JSON.stringify(message);
    const lengthOf = (one) => new TextEncoder().encode(one).length;
    if (lengthOf(text) > TEXT_LEN_MAX || lengthOf(json) > MESSAGE_LEN_MAX) {
      tellError(say("too_long"));
      return false;
    }
    kept.last = id;
    kept.waiting.push(JSON.parse(json));
    keep();
    showOwn(message, room);
    find(".away", room.log)?.remove();
    if (isIn) transmit(message);
    else setState("lost", "lost_waiting", { count: kept.waiting.length });
    return true;
  }

  function showOwn({ id, text, to, action }, room) {
    const line = lineOf({ who: nick || wantedNick, text, time: Date.now(), isAction: action, to, isOwn: true });
    line.classList.add("waits");
    line.mark = make("span", { className: "mark" }, say("waits"));
    line.body.append(line.mark);
    own.set(id, { line, room, to });
    place(room, line);
  }

  let wantedRoom;
  function join(name) {
    wantedRoom = name;
    if (rooms.has(name)) show(name);
    else transmit({ type: "join", room: name, history: HISTORY });
  }
  async function joinAnother() {
    const name = await askName(say("join_room"), say("join"));
    if (name) join(name.trim());
  }

  const commands = {
    me: (rest) => post(rest, { action: true }),
    msg: (rest) => {
      const [to, ...words] = rest.split(" ");
      return words.length > 0 && post(words.join(" "), { to });
    },
    nick: (rest) => transmit({ type: "nick", nick: rest }),
    join: (rest) => join(rest),
    leave: (rest) => transmit({ type: "leave", room: rest || current }),
    topic: (rest) => transmit({ type: "topic", room: current, text: rest }),
    who: (rest) => transmit({ type: "who", nick: rest }),
    help: () => note(roomOf(current), say("commands")),
  };

  function submit() {
    const text = field.value.trim();
    if (!text) return;
    const [, name, rest] = /^\/([a-z]+) ?(.*)$/s.exec(text) ?? [];
    let isDone = true;
    if (name && commands[name]) isDone = commands[name](rest.trim()) !== false;
    else if (name) isDone = void note(roomOf(current), say("no_command", { name })) ?? false;
    else isDone = post(text.replace(/^\/\//, "/"));
    if (isDone) field.value = "";
  }

  on(find("#message"), "submit", (event) => {
    event.preventDefault();
    submit();
    field.focus();
  });
  on(field, "keydown", (event) => {
    // While characters are composed, Enter is part of that.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  });
  on(field, "paste", (event) => {
    const files = [...event.clipboardData?.files ?? []];
    if (files.length === 0 || !may.has("upload")) return;
    event.preventDefault();
    enqueue(page.path, files.map((file) => ({ file, path: pastedName(file) })));
  });
  on(enterForm, "submit", (event) => {
    event.preventDefault();
    wantedNick = nickField.value.trim();
    find("#nick-note").textContent = "";
    if (socket?.readyState === WebSocket.OPEN) enter();
    else connect();
  });
  on(window, "online", probe);
  on(window, "offline", probe);
  on(document, "visibilitychange", () => {
    if (document.hidden) return;
    const room = rooms.get(current);
    if (room) seen(room);
    probe();
  });

  /* A file that was dropped here is told to the room */

  const told = new Set();
  // What the queue shows waits for a tab that is seen; this does not.
  setInterval(() => {
    for (const upload of uploads) {
      const isNew = upload.state === "done" && upload.base === page.path && !told.has(upload);
      if (!isNew || Number(upload.id.split("-")[0]) < STARTED) continue;
      told.add(upload);
      post(say("sent_file", { name: upload.path, url: new URL(urlIn(upload.base, upload.path), location.href).href }));
    }
  }, 1_000);

  /* The beginning */

  /** A secret that no other open tab has: a tab that was duplicated begins as another client. */
  async function claim(secret) {
    const channel = new BroadcastChannel("landline-chat");
    let isTaken = false;
    const ask = { wanted: secret, by: Math.random() };
    on(channel, "message", ({ data }) => {
      if (data.taken === kept.secret || data.taken === secret && !kept.secret) isTaken = true;
      if (data.wanted && data.wanted === kept.secret) channel.postMessage({ taken: data.wanted });
    });
    if (secret) {
      channel.postMessage(ask);
      await pause(150);
    }
    if (secret && !isTaken) return secret;
    return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  async function begin() {
    const left = JSON.parse(stored(() => sessionStorage, "chat") ?? "{}");
    const candidate = left.secret ?? stored(() => localStorage, "chat-client");
    const secret = await claim(candidate);
    if (secret === left.secret) Object.assign(kept, left);
    kept.secret = secret;
    wantedNick = kept.nick || (stored(() => localStorage, "chat-nick") ?? "");
    keep();
    store(() => localStorage, "chat-client", secret);
    for (const waiting of kept.waiting) showOwn(waiting, roomOf(waiting.room));
    if (wantedNick) connect();
    else askNick();
  }
  begin();
}
