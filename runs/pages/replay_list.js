// The list of videos: searched, filtered, sorted, and drawn a part at a time.
"use strict";

const PART = 60; // videos that are drawn at once: a split may have thousands

// All videos of the split, and those that are shown besides, with what each policy made of them.
function makeEntries({ listing, videos, classes, steps }) {
  const shownAt = new Map(videos.map((v, i) => [v.row, i]));
  const nameOf = (label) => classes[label];
  const entries = listing.rows.map((row, i) => ({
    row,
    name: listing.names[i],
    label: listing.labels[i].map(nameOf).join("; "),
    shown: shownAt.get(row),
    ends: listing.policies.map((p) => ({
      prediction: nameOf(p.predictions[i]), correct: Boolean(p.correct[i]), confidence: p.confidences[i], looks: p.looks[i],
    })),
  }));
  const listed = new Set(listing.rows);
  const strangers = videos.filter((v) => !listed.has(v.row)).map((v) => ({
    row: v.row,
    name: v.name,
    label: v.label,
    shown: shownAt.get(v.row),
    ends: v.episodes.map((e) => ({
      prediction: e.predictions[steps - 1], correct: e.correct[steps - 1], confidence: e.confidences[steps - 1], looks: (e.ran ? e.ran.flat() : e.attended).filter(Boolean).length,
    })),
  }));
  for (const entry of entries.concat(strangers)) {
    entry.text = [entry.row, entry.name, entry.label, ...entry.ends.map((end) => end.prediction)].join("\n").toLowerCase();
  }
  return strangers.concat(entries);
}

const FILTERS = {
  all: () => true,
  right: ({ ends }) => ends[0].correct,
  wrong: ({ ends }) => !ends[0].correct,
  changed: ({ ends }) => ends[0].correct !== ends[1].correct,
};

const byRow = (a, b) => a.row - b.row;
const ORDERS = {
  shown: (a, b) => (a.shown ?? Infinity) - (b.shown ?? Infinity) || byRow(a, b),
  row: byRow,
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }) || byRow(a, b),
  class: (a, b) => a.label.localeCompare(b.label, undefined, { numeric: true }) || byRow(a, b),
  lost: (a, b) => a.ends[0].confidence - b.ends[0].confidence || byRow(a, b),
  sure: (a, b) => b.ends[0].confidence - a.ends[0].confidence || byRow(a, b),
  gain: (a, b) => b.ends[0].confidence - b.ends[1].confidence - (a.ends[0].confidence - a.ends[1].confidence) || byRow(a, b),
  looks: (a, b) => a.ends[0].looks - b.ends[0].looks || byRow(a, b),
};

// The entries that are asked for, in the order that is asked for.
function chooseEntries(entries, { search, filter, sort, withPictures }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = (entry) =>
    FILTERS[filter](entry) && (!withPictures || entry.shown !== undefined) && words.every((word) => entry.text.includes(word));
  // Infinity less Infinity is no number: where it comes up, the rows decide.
  return entries.filter(wanted).sort((a, b) => ORDERS[sort](a, b) || byRow(a, b));
}
