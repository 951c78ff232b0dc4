// Sizes, times and speeds for people: short where they stand, exact on hover.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

function sizeText(bytes) {
  const power = bytes < 1024 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  const value = bytes / 1024 ** power;
  // Rounded down, as the server does: no file seems larger than it is.
  const digits = power > 0 && value < 10 ? 1 : 0;
  const shown = Math.floor(value * 10 ** digits) / 10 ** digits;
  return `${shown.toLocaleString(root.lang, { minimumFractionDigits: digits })} ${UNITS[power]}`;
}

function durationText(seconds) {
  if (seconds < 60) return say("seconds", { count: Math.max(1, Math.round(seconds)) });
  if (seconds < 3600) return say("minutes", { count: Math.round(seconds / 60) });
  return say("hours", { count: Math.round(seconds / 3600) });
}

const thisYear = new Date().getFullYear();
const day = { day: "numeric", month: "short" };
const recent = new Intl.DateTimeFormat(root.lang, { ...day, hour: "2-digit", minute: "2-digit" });
const older = new Intl.DateTimeFormat(root.lang, { ...day, year: "numeric" });
const exact = new Intl.DateTimeFormat(root.lang, { dateStyle: "full", timeStyle: "long" });

const dateText = (date) => (date.getFullYear() === thisYear ? recent : older).format(date);

/** Shows the times of a list in the reader's zone. */
function localTimes(within = document) {
  for (const time of findAll("time", within)) {
    if (!time.dateTime) time.dateTime = time.textContent.replace(" ", "T");
    time.textContent = dateText(new Date(time.dateTime));
  }
}
// To write out a long time takes a while: only for the one that is looked at.
on(document, "pointerover", ({ target }) => {
  if (target.dateTime && !target.title) target.title = exact.format(new Date(target.dateTime));
});
localTimes();
